//! The cursor: a record, and the way to it from the root.
//!
//! Each frame of the way is a node (or the versions of a key) and what was chosen there. A step looks for the next choice in
//! the lowest frame, then in the one above it, and goes down from there. Nodes are looked at as they are at that time: a
//! cursor on a node whose larger copy has taken its place goes on with the node, which leads to everything that was there
//! when the cursor came by, in order. What was inserted since then may appear or not.
//!
//! A key of n bytes has at most n + 2 frames, of eight bytes each.
//!
//! Callers: the engine, through `Cursor`.

use std::cmp::Ordering as Order;
use std::sync::Arc;

use super::super::arena::Place;
use super::super::entry;
use super::RadixTree;
use super::link::{Link, Target};
use super::node::Node;
use super::path::{self, END, Symbol};
use super::record::Record;
use super::versions::Versions;
use crate::cursor::Cursor;
use crate::types::{SeqNo, ValuePlace, ValueRef};
use crate::{Result, Slice};

/// No record.
const NONE: Place = 0;

/// A node on the way, and the choice there. Choices ascend in the order of the cursor.
struct Frame {
    /// Leads to a node or to versions.
    link: Link,
    choice: Choice,
}

/// In a node its symbol; in versions the complement of the index, since the newest comes first and the oldest is 0.
type Choice = u32;

/// A position in a [`RadixTree`].
pub(crate) struct RadixCursor {
    tree: Arc<RadixTree>,
    /// The way to `at`; empty if the cursor stands nowhere.
    way: Vec<Frame>,
    /// `NONE`, or the place of a record that this cursor reached over links of the tree.
    at: Place,
}

impl RadixCursor {
    pub(super) fn new(tree: Arc<RadixTree>) -> Self {
        RadixCursor {
            tree,
            way: Vec::new(),
            at: NONE,
        }
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        // SAFETY: `at` is as its comment says, and links are loaded with Acquire.
        (self.at != NONE).then(|| unsafe { Record::at(&self.tree.arena, self.at) })
    }

    /// Goes to the first (forward) or last record below a link.
    fn descend(&mut self, mut link: Link, forward: bool) {
        loop {
            // SAFETY: the link was loaded from this tree, with Acquire.
            let next = match unsafe { link.follow(&self.tree.arena) } {
                Target::Record(record) => {
                    self.at = record.place();
                    return;
                }
                Target::Node(node) => {
                    node.prefetch_records();
                    node.neighbour(None, forward)
                }
                Target::Versions(versions) => next_version(versions, None, forward),
                Target::Nothing => None,
            };
            // There is always something below a link, and always a choice in a node.
            let Some((choice, next)) = next else {
                return self.leave();
            };
            self.way.push(Frame { link, choice });
            link = next;
        }
    }

    /// Goes to the nearest record behind the choices made, in one direction or the other.
    fn step(&mut self, forward: bool) {
        while let Some(frame) = self.way.last_mut() {
            // SAFETY: the frame's link was loaded from this tree, with Acquire.
            let next = match unsafe { frame.link.follow(&self.tree.arena) } {
                Target::Node(node) => node.neighbour(Some(frame.choice), forward),
                Target::Versions(versions) => next_version(versions, Some(frame.choice), forward),
                Target::Record(_) | Target::Nothing => None,
            };
            if let Some((choice, link)) = next {
                frame.choice = choice;
                return self.descend(link, forward);
            }
            self.way.pop();
        }
        self.leave();
    }

    /// Stands nowhere from now on.
    fn leave(&mut self) {
        self.way.clear();
        self.at = NONE;
    }

    /// Goes to the first entry at or after (forward) or the last one before (`key`, `seq`).
    fn locate(&mut self, key: &[u8], seq: SeqNo, forward: bool) {
        self.leave();
        let mut link = self.tree.root().load();
        let mut from = 0;
        loop {
            // SAFETY: the link was loaded from this tree, with Acquire.
            let is_before = match unsafe { link.follow(&self.tree.arena) } {
                Target::Node(node) => match choose(node, key, &mut from) {
                    Ok((choice, next)) => {
                        self.way.push(Frame { link, choice });
                        if next == Link::NONE {
                            return self.step(forward);
                        }
                        link = next;
                        continue;
                    }
                    Err(is_before) => is_before,
                },
                Target::Record(record) => record.is_before(key, seq),
                Target::Versions(versions) => match versions.newest().key().cmp(key) {
                    Order::Less => true,
                    Order::Greater => false,
                    Order::Equal => {
                        // The newer ones come before.
                        let newer = versions.newer_than(seq);
                        let index = if forward {
                            newer.checked_sub(1)
                        } else {
                            Some(newer)
                        };
                        let Some(record) = index.and_then(|index| versions.get(index)) else {
                            return self.step(forward);
                        };
                        let choice = !(index.unwrap_or(0) as u32);
                        self.at = record.place();
                        self.way.push(Frame { link, choice });
                        return;
                    }
                },
                Target::Nothing => return,
            };
            // All below the link is on the same side of the target.
            return if is_before == forward {
                self.step(forward)
            } else {
                self.descend(link, forward)
            };
        }
    }
}

/// What a key chooses in a node, and where that leads. The error says that the key is not below the node, and whether the
/// node's keys come before it.
#[inline]
fn choose(node: Node<'_>, key: &[u8], from: &mut usize) -> std::result::Result<(Symbol, Link), bool> {
    let depth = node
        .depth(key, *from)
        .map_err(|parting| path::symbol_of(parting.byte) < path::symbol_at(key, parting.at))?;
    let symbol = path::symbol_at(key, depth);
    *from = depth + usize::from(symbol != END);
    let next = node.slot(symbol).map_or(Link::NONE, |slot| slot.load());
    Ok((symbol, next))
}

/// The version after (forward: the older) or before a choice, or the first or last of all.
#[inline]
fn next_version(versions: Versions<'_>, choice: Option<Choice>, forward: bool) -> Option<(Choice, Link)> {
    let chosen = choice.map(|choice| !choice as usize);
    let index = match (chosen, forward) {
        (Some(index), true) => index.checked_sub(1)?,
        (Some(index), false) => index + 1,
        (None, true) => versions.count().checked_sub(1)?,
        (None, false) => 0,
    };
    let record = versions.get(index)?;
    Some((!(index as u32), record.link()))
}

impl Cursor for RadixCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.leave();
        self.descend(self.tree.root().load(), true);
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.leave();
        self.descend(self.tree.root().load(), false);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.locate(key, seq, true);
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.locate(key, seq, false);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.step(true);
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.step(false);
        Ok(())
    }

    fn valid(&self) -> bool {
        self.at != NONE
    }

    fn key(&self) -> &[u8] {
        self.record().map_or(&[], Record::key)
    }

    fn seq(&self) -> SeqNo {
        self.record().map_or(0, Record::seq)
    }

    fn value(&self) -> ValueRef {
        ValueRef::new(match self.record() {
            Some(record) => entry::value_place(record.kind(), record.value(), u64::from(self.at)),
            None => ValuePlace::Tombstone,
        })
    }

    fn load(&self, value: ValueRef) -> Result<Slice> {
        self.value_of(&value.place).map(Slice::from)
    }

    fn load_into(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.extend_from_slice(self.value_of(&value.place)?);
        Ok(())
    }
}

impl RadixCursor {
    fn value_of<'a>(&'a self, value_place: &'a ValuePlace) -> Result<&'a [u8]> {
        match value_place {
            ValuePlace::Tombstone => Ok(&[]),
            ValuePlace::Inline { len, bytes } => Ok(bytes.get(..usize::from(*len)).unwrap_or_default()),
            ValuePlace::Memory { handle } | ValuePlace::MemoryObject { handle } => {
                let place = u32::try_from(*handle).unwrap_or(NONE);
                // A handle is a number that anybody may make up, so it counts only if a record starts there.
                if place == NONE || place != self.at && !self.tree.arena.is_start(place) {
                    return Err(entry::foreign(*handle));
                }
                // SAFETY: `place` is this cursor's own, or its start bit, set after the record was written, was just
                // read with Acquire.
                let record = unsafe { Record::at(&self.tree.arena, place) };
                entry::check_handle(value_place, *handle, record.kind())?;
                Ok(record.value())
            }
            ValuePlace::InKeyBlock { .. }
            | ValuePlace::Small { .. }
            | ValuePlace::Medium { .. }
            | ValuePlace::Object { .. } => Err(entry::foreign(0)),
        }
    }
}
