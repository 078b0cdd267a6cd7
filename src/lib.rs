//! Packstone: an embedded, crash-safe, log-structured key-value engine.
//!
//! A database is a directory that holds named, ordered maps (keyspaces) from bytes to bytes. Writes go to a log and to
//! memory, and from there in the background to sorted files (SSTs), which compaction keeps few. What has been
//! acknowledged survives the death of the process, and with [`Durability::Sync`] the loss of power.
//!
//! ```
//! # fn main() -> packstone::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path();
//! use packstone::{Db, Durability};
//!
//! let db = Db::open(path)?;
//! let users = db.keyspace("users")?;
//! users.put("alice", "1")?;
//!
//! let mut batch = db.batch(); // atomic, across keyspaces
//! batch.put(&users, "bob", "2");
//! batch.delete(&users, "alice");
//! batch.commit(Durability::Sync)?;
//!
//! for entry in users.prefix("b") {
//!     let (key, value) = entry?;
//!     assert_eq!((key, value), (b"bob"[..].into(), b"2"[..].into()));
//! }
//! db.close()
//! # }
//! ```
//!
//! The design, with every format byte by byte, is in `DESIGN.md`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented
)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod api;
mod codec;
mod coding;
mod cursor;
mod engine;
pub mod env;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
mod manifest;
mod memtable;
#[cfg(all(test, packstone_shuttle))]
mod models;
mod names;
mod options;
pub mod pack;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
#[cfg(feature = "planted-bugs")]
#[doc(hidden)]
pub mod planted;
mod record_log;
pub mod repair;
mod slice;
pub mod sst;
mod sync;
mod types;
mod wal;

pub use api::{
    Activity, AdoptMode, AdoptOptions, AdoptReport, AsOf, Batch, CheckpointReport, CollectionReport, Cursor,
    DamagedValue, Db, FilterMetrics, Health, Keys, Keyspace, KeyspaceMetrics, Latency, LatencyMetrics,
    LevelMetrics, MemoryMetrics, Metrics, ObjectMetrics, ObjectVerification, Range, Snapshot, SstFile,
    StallMetrics, Stalls, ValueReader, ValueWriter,
};
pub use error::{Error, Result};
pub use options::{Durability, KeyspaceOptions, Options, Order};
pub use record_log::RecoveryMode;
pub use slice::Slice;
pub use sst::{Access, Compression};
pub use types::{
    KeyspaceId, MAX_BATCH_LEN, MAX_INLINE_LEN, MAX_KEY_LEN, MAX_SEQ, MAX_SMALL_LEN, MAX_VALUE_LEN, SeqNo,
};
pub use wal::LogMedium;
