//! What entries of every memtable have in common: their limits, and how a cursor tells where a value lies.
//!
//! Callers: the implementations of `SortedTable`.

use crate::types::{MAX_INLINE_LEN, MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN, SeqNo, ValuePlace};
use crate::{Error, Result};

/// Whether an entry may be inserted at all.
#[inline]
pub(super) fn check(key: &[u8], seq: SeqNo, value: &[u8]) -> Result<()> {
    check_limit("key", key.len() as u64, MAX_KEY_LEN as u64)?;
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

/// A put's value: itself if it is short, else the handle.
#[inline]
pub(super) fn value_place(value: &[u8], handle: u64) -> ValuePlace {
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

/// A reference to a value that no cursor of this memtable gave.
pub(super) fn foreign(handle: u64) -> Error {
    Error::corruption(
        "(memtable)".as_ref(),
        handle,
        "a value reference that this memtable never gave",
    )
}
