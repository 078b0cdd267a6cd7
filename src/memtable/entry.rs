//! What entries of every memtable have in common: their limits, and how a cursor tells where a value lies.
//!
//! Callers: the implementations of `SortedTable`.

use crate::types::{
    EntryKind, MAX_INLINE_LEN, MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN, ObjectRef, SeqNo, ValuePlace,
};
use crate::{Error, Result};

/// Whether an entry may be inserted at all. A reference has one length, and a shorter one is refused like a longer one.
#[inline]
pub(super) fn check(key: &[u8], seq: SeqNo, kind: EntryKind, value: &[u8]) -> Result<()> {
    check_limit("key", key.len() as u64, MAX_KEY_LEN as u64)?;
    if kind == EntryKind::Object && value.len() != ObjectRef::LEN {
        return Err(Error::LimitExceeded {
            what: "reference",
            size: value.len() as u64,
            limit: ObjectRef::LEN as u64,
        });
    }
    check_limit("value", value.len() as u64, MAX_VALUE_LEN as u64)?;
    check_limit("sequence number", seq, MAX_SEQ)
}

fn check_limit(what: &'static str, size: u64, limit: u64) -> Result<()> {
    if size > limit {
        Err(Error::LimitExceeded { what, size, limit })
    } else {
        Ok(())
    }
}

/// An entry's value: itself if it is short, else the handle.
#[inline]
pub(super) fn value_place(kind: EntryKind, value: &[u8], handle: u64) -> ValuePlace {
    match kind {
        EntryKind::Put => {}
        EntryKind::Object => return ValuePlace::MemoryObject { handle },
        EntryKind::Tombstone => return ValuePlace::Tombstone,
    }
    let mut bytes = [0; MAX_INLINE_LEN];
    match bytes.get_mut(..value.len()) {
        Some(room) => {
            room.copy_from_slice(value);
            ValuePlace::Inline {
                len: value.len() as u8,
                bytes,
            }
        }
        None => ValuePlace::Memory { handle },
    }
}

/// Whether a handle stands for an entry of the kind that its place says.
#[inline]
pub(super) fn check_handle(place: &ValuePlace, handle: u64, kind: EntryKind) -> Result<()> {
    let is_object = matches!(place, ValuePlace::MemoryObject { .. });
    match is_object == (kind == EntryKind::Object) {
        true => Ok(()),
        false => Err(foreign(handle)),
    }
}

/// The handle of a value that no cursor of this memtable gave.
pub(super) fn foreign(handle: u64) -> Error {
    Error::corruption(
        "(memtable)".as_ref(),
        handle,
        "a value handle that this memtable never gave",
    )
}
