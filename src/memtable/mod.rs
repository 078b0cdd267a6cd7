//! The memtable: the newest writes of one keyspace, sorted, in memory.
//!
//! The trait is the seam: the engine knows nothing else of a memtable. Rules that every implementation keeps:
//! 1. Readers never block writers, and never see a torn entry.
//! 2. An inserted entry never changes and never goes away while the memtable lives.
//! 3. An entry inserted before a reader starts is seen by it (the reader filters by sequence number).
//! 4. `memory_usage` counts every byte allocated. A new memtable is small; it grows as it fills.
//!
//! Callers: the engine's write path inserts (several threads may call `insert`; implementations that take one writer
//! at a time serialise inside), the read path and the flush read.

use std::sync::Arc;

use crate::Result;
use crate::cursor::Cursor;
#[cfg(test)]
use crate::types::Found;
#[cfg(test)]
use crate::types::ObjectRef;
use crate::types::{EntryKind, SeqNo};

mod arena;
mod entry;
#[cfg(test)]
pub(crate) mod failing;
#[cfg(all(test, packstone_loom))]
mod models;
mod radix;
#[cfg(all(test, packstone_loom))]
mod radix_models;
#[allow(
    dead_code,
    reason = "what the radix tree is compared with: the tests run on both, the benchmark measures both"
)]
pub(crate) mod skip_list;
#[cfg(test)]
mod tests;

/// The memtable that the engine uses.
pub(crate) use radix::RadixTree as Memtable;

/// What an entry of a memtable holds of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held<'a> {
    Value(&'a [u8]),
    /// A reference to an object in a pack: 24 bytes.
    Object(&'a [u8]),
    Tombstone,
}

/// What the engine asks of a memtable.
pub(crate) trait SortedTable: Send + Sync + Sized {
    type Cursor: Cursor + Send;

    fn new() -> Self;
    /// Adds an entry; the value of one of kind `Object` is its reference, of 24 bytes. REQUIRES: (`key`, `seq`) is not in
    /// the table; key and value are within the limits.
    /// Fails only when the table cannot hold it or there is no memory for it (`LimitExceeded`); nothing is inserted then.
    fn insert(&self, key: &[u8], seq: SeqNo, kind: EntryKind, value: &[u8]) -> Result<()>;
    /// The newest entry of `key` with a number at or below `snapshot`: its number, and what it holds.
    fn find(&self, key: &[u8], snapshot: SeqNo) -> Option<(SeqNo, Held<'_>)>;
    /// The same, owned.
    #[cfg(test)]
    fn get(&self, key: &[u8], snapshot: SeqNo) -> Option<Found> {
        self.find(key, snapshot).map(|(seq, held)| match held {
            Held::Value(value) => Found::Value(seq, value.into()),
            Held::Object(bytes) => Found::Object(seq, ObjectRef::from_bytes(bytes).expect("24 bytes")),
            Held::Tombstone => Found::Tombstone(seq),
        })
    }
    /// A cursor that keeps the memtable alive. Entries inserted later may or may not appear.
    fn cursor(self: &Arc<Self>) -> Self::Cursor;
    /// Bytes allocated.
    fn memory_usage(&self) -> usize;
    /// Number of entries.
    fn len(&self) -> usize;
}
