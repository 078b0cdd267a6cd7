//! Packstone: an embedded, crash-safe, log-structured key-value engine.

pub mod env;
mod coding;
mod cursor;
mod error;
pub(crate) mod record_log;
mod memtable;
mod slice;
pub mod sst;
mod types;
pub(crate) mod wal;

pub use error::{Error, Result};
pub use slice::Slice;
pub use types::{KeyspaceId, SeqNo};
