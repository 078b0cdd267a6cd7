//! The public handles. Thin: they check limits and states, and call the engine.

mod adopt;
mod batch;
mod bounds;
mod checkpoint;
mod cursor;
mod db;
mod files;
mod handle;
mod health;
mod keyspace;
mod limits;
mod metrics;
mod objects;
mod range;
mod snapshot;
mod value;

pub use crate::engine::checkpoint::CheckpointReport;
pub use crate::engine::health::{Activity, Health};
pub use crate::engine::latency::{FilterMetrics, Latency, LatencyMetrics};
pub use crate::engine::objects::adopt::AdoptReport;
pub use crate::engine::objects::collect::CollectionReport;
pub use adopt::{AdoptMode, AdoptOptions};
pub use batch::Batch;
pub use cursor::Cursor;
pub use db::{AsOf, Db};
pub use files::SstFile;
pub use keyspace::Keyspace;
pub use metrics::{
    KeyspaceMetrics, LevelMetrics, MemoryMetrics, Metrics, ObjectMetrics, StallMetrics, Stalls,
};
pub use objects::{DamagedValue, ObjectVerification};
pub use range::{Keys, Range};
pub use snapshot::Snapshot;
pub use value::{ValueReader, ValueWriter};
