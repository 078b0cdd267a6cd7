//! [`Cursor`]: a position in a sorted run of entries. Memtables, SSTs, levels and merges of them all have one.

use crate::types::{SeqNo, ValueRef};
use crate::{Result, Slice};

/// A position in a run of entries that is ordered by key ascending, then by sequence number descending, so that the
/// newest entry of a key comes first.
///
/// A new cursor stands nowhere (`valid()` is false) until one of the seeks has been called. After an error it stands
/// nowhere. `key`, `seq` and `value` REQUIRE `valid()`; on a cursor that stands nowhere they give an empty key, zero and a
/// tombstone, never a panic.
pub trait Cursor {
    /// Goes to the first entry.
    fn seek_to_first(&mut self) -> Result<()>;
    /// Goes to the last entry.
    fn seek_to_last(&mut self) -> Result<()>;
    /// Goes to the first entry at or after (`key`, `seq`): the newest entry of `key` that a snapshot at `seq` sees, if
    /// it has one, else the first entry of a later key. (`key`, `MAX_SEQ`) is the first entry at or after `key`.
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()>;
    /// Goes to the last entry strictly before (`key`, `seq`). (`key`, `MAX_SEQ`) is the last entry of the keys below
    /// `key`, provided no entry has the number `MAX_SEQ`, which none ever has.
    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()>;
    /// One entry on. REQUIRES `valid()`.
    fn next(&mut self) -> Result<()>;
    /// One entry back. REQUIRES `valid()`.
    fn prev(&mut self) -> Result<()>;
    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;
    /// The key. Valid until the cursor moves.
    fn key(&self) -> &[u8];
    /// The sequence number.
    fn seq(&self) -> SeqNo;
    /// Where the value lies; reads nothing.
    fn value(&self) -> ValueRef;
    /// Reads a value that this cursor gave, whether or not it has moved since. A tombstone loads as an empty slice.
    fn load(&self, value: ValueRef) -> Result<Slice>;
    /// The same into the caller's buffer, whose contents are replaced.
    fn load_into(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        let value = self.load(value)?;
        out.clear();
        out.extend_from_slice(&value);
        Ok(())
    }
}
