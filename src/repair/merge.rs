//! The entries of several SSTs, whole and damaged, in one order: key ascending, number descending.
//!
//! The same key and number in two files is one write, copied by a flush or a compaction, and comes out once. Two zeros of one
//! key with different values are two writes of which nobody knows which is newer: a conflict.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use super::survey::{Condition, Found};
use super::{Repair, UndecidedChoice};
use crate::cursor::Cursor;
use crate::inspect::open_sst;
use crate::sst::salvage::{LostKeys, SalvageCursor};
use crate::sst::{CursorOptions, SstCursor};
use crate::types::{EntryKind, SeqNo};
use crate::{Result, Slice};

/// Who is told of entries: key, number, kind, value; of an object the 24 bytes of its reference, of a tombstone nothing.
pub(super) type EntrySink<'a> = &'a mut dyn FnMut(&[u8], SeqNo, EntryKind, &[u8]) -> Result<()>;

/// The entries of one file.
enum Stream {
    Whole(Box<SstCursor>, bool),
    Damaged(Box<SalvageCursor>),
}

impl Stream {
    fn advance(&mut self) -> Result<bool> {
        match self {
            Stream::Whole(cursor, started) => {
                match std::mem::replace(started, true) {
                    false => cursor.seek_to_first()?,
                    true => cursor.next()?,
                }
                Ok(cursor.valid())
            }
            Stream::Damaged(cursor) => cursor.advance(),
        }
    }

    fn key(&self) -> &[u8] {
        match self {
            Stream::Whole(cursor, _) => cursor.key(),
            Stream::Damaged(cursor) => cursor.key(),
        }
    }

    fn seq(&self) -> SeqNo {
        match self {
            Stream::Whole(cursor, _) => cursor.seq(),
            Stream::Damaged(cursor) => cursor.seq(),
        }
    }

    fn value(&self) -> Result<(EntryKind, Slice)> {
        match self {
            Stream::Whole(cursor, _) => Ok((cursor.value().kind(), cursor.load(cursor.value())?)),
            Stream::Damaged(cursor) => Ok((cursor.kind(), cursor.value().clone())),
        }
    }
}

/// A key that two files claim with the number zero.
pub(super) struct Conflict {
    pub(super) key: Slice,
    pub(super) paths: Vec<PathBuf>,
}

/// What a merge is told to do, and what it found besides entries.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) conflicts: Vec<Conflict>,
    /// By the file's place in the list of files.
    pub(super) lost: Vec<(usize, LostKeys)>,
}

/// Hands on the entries of `files` in order.
pub(super) fn merge(repair: &Repair<'_>, files: &[&Found], sink: EntrySink<'_>) -> Result<Merged> {
    let mut streams = Vec::new();
    for found in files {
        streams.push(open(repair, found)?);
    }
    let mut merged = Merged::default();
    let mut heap = BinaryHeap::new();
    // Of equal ones the file with the greater number comes first.
    let entry = |index: usize, stream: &Stream| {
        let number = files.get(index).map_or(0, |found| found.number);
        Reverse((
            stream.key().to_vec(),
            Reverse(stream.seq()),
            Reverse(number),
            index,
        ))
    };
    for (index, stream) in streams.iter_mut().enumerate() {
        if stream.advance()? {
            heap.push(entry(index, stream));
        }
    }
    // The entry that is handed on next, once it is known that nobody disputes it.
    let mut held: Option<Held> = None;
    while let Some(Reverse((key, Reverse(seq), _, index))) = heap.pop() {
        let Some(stream) = streams.get_mut(index) else {
            continue;
        };
        let same = held
            .as_ref()
            .is_some_and(|held| held.seq == seq && held.key == key);
        if !same {
            flush(&mut held, sink)?;
            held = Some(Held {
                value: stream.value()?,
                key,
                seq,
                from: index,
                disputed: false,
            });
        } else if seq == 0
            && let Some(held) = &mut held
            && stream.value()? != held.value
        {
            let of = |index: usize| files.get(index).map(|found| found.path.clone());
            merged.conflicts.push(Conflict {
                key: Slice::from(held.key.as_slice()),
                paths: of(held.from).into_iter().chain(of(index)).collect(),
            });
            held.disputed = repair.options.undecided == UndecidedChoice::LeaveOut;
        }
        if stream.advance()? {
            heap.push(entry(index, stream));
        }
    }
    flush(&mut held, sink)?;
    for (index, stream) in streams.into_iter().enumerate() {
        if let Stream::Damaged(cursor) = stream {
            merged
                .lost
                .extend(cursor.into_lost().into_iter().map(|lost| (index, lost)));
        }
    }
    Ok(merged)
}

struct Held {
    key: Vec<u8>,
    seq: SeqNo,
    value: (EntryKind, Slice),
    from: usize,
    disputed: bool,
}

fn flush(held: &mut Option<Held>, sink: EntrySink<'_>) -> Result<()> {
    match held.take() {
        Some(held) if !held.disputed => {
            let (kind, value) = &held.value;
            sink(&held.key, held.seq, *kind, value)
        }
        _ => Ok(()),
    }
}

fn open(repair: &Repair<'_>, found: &Found) -> Result<Stream> {
    if let Condition::Damaged(_) = found.condition {
        return Ok(Stream::Damaged(Box::new(SalvageCursor::new(
            found.salvage(repair)?,
        ))));
    }
    let sst = open_sst(&*repair.env.fs, &found.path)?;
    let options = CursorOptions {
        access: None,
        fill_cache: false,
        read_ahead: true,
    };
    Ok(Stream::Whole(Box::new(sst.cursor(options)), false))
}
