//! The radix tree: a memtable with one writer at a time and lock-free readers. It is searched by bytes of the key, not by
//! comparisons of keys, so a search touches a dense node for each byte that tells keys apart, and one record at the end.
//!
//! ```text
//!                     root
//!                      |                      node at depth 3, skip "use": keys differ in their fourth byte
//!                [ END  r  s ]
//!                   |   |   \                 END: the key "use" itself
//!          record "use" |    record "uses"
//!                       |
//!              versions of "user"             a key that was written more than once: newest last
//!                 /          \
//!       record (user, 3)  record (user, 9)
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `record.rs` | the record of one entry: number, kind, key, value |
//! | `node.rs` | nodes, which tell keys apart by a byte |
//! | `search.rs` | looking for a byte in a node |
//! | `versions.rs` | the records of a key that has several |
//! | `link.rs` | links between these |
//! | `cursor.rs` | the cursor |
//! | `path.rs` | keys as paths; arithmetic on bytes |
//!
//! A link leads to a record as soon as one key is left: no node is made for bytes that tell nothing apart. Records lie
//! in chunks of their own, apart from nodes, in the order of their arrival.
//!
//! Why readers need no lock: whatever a link led to stays reachable through what it leads to later (`link`, invariant 2),
//! and nothing is freed before the memtable is. The writer changes the tree in three ways, each by one Release store:
//! 1. a byte is added to a node that has room for it;
//! 2. a full node's larger copy takes its place in the one link that led to it;
//! 3. a node is put in between: it takes the place of a record, of versions or of a node, and leads on to it.
//!
//! A reader that stands on a node whose copy has taken its place (2) sees that node for ever as it was then: all that was
//! inserted before is there, and further changes below it still show, as far as they don't replace a link of the copy.
//! Whoever starts at the root after an `insert` has returned loads, at each step, a link at least as new as the
//! one that `insert` went over or stored, and so finds the entry.
//!
//! Callers: the engine, through `SortedTable`.
#![allow(
    unsafe_code,
    reason = "nodes and records are raw memory in the arena, shared between one writer and lock-free readers"
)]

mod cursor;
mod link;
mod node;
mod path;
mod record;
mod search;
mod versions;

use std::mem::size_of;
use std::sync::Arc;

pub(crate) use self::cursor::RadixCursor;
use self::link::{Link, Slot, Target};
use self::node::{Node, Parting, Skip};
use self::path::{END, Symbol};
use self::record::Record;
use self::versions::Versions;
use super::arena::{Arena, Bump};
use super::entry;
use super::{Held, SortedTable};
use crate::Result;
use crate::sync::lock_free::{AtomicU32, AtomicUsize, Mutex, Ordering};
use crate::types::{EntryKind, SeqNo};

/// A memtable. See the module's comment.
pub(crate) struct RadixTree {
    root: AtomicU32,
    arena: Arena,
    len: AtomicUsize,
    writer: Mutex<Writer>,
}

struct Writer {
    records: Bump,
    nodes: Bump,
}

impl RadixTree {
    #[inline]
    fn root(&self) -> Slot<'_> {
        // SAFETY: the root leads into this tree's own arena, and is changed through the slot only.
        unsafe { Slot::new(&self.root, &self.arena) }
    }

    /// Puts a record into the tree: finds the link that has to lead to it, and stores it there.
    fn attach(&self, nodes: &mut Bump, record: Record<'_>) -> Result<()> {
        let key = record.key();
        let mut slot = self.root();
        // How many bytes of the key are behind us, all of them compared.
        let mut from = 0;
        loop {
            match slot.follow() {
                Target::Nothing => {
                    // SAFETY: we are the writer; the record is whole; nothing could be reached.
                    unsafe { slot.publish(record.link()) };
                    return Ok(());
                }
                Target::Record(old) => return self.beside_record(nodes, slot, from, old, record),
                Target::Versions(old) => return self.beside_versions(nodes, slot, from, old, record),
                Target::Node(node) => {
                    let depth = match node.depth(key, from) {
                        Ok(depth) => depth,
                        Err(Parting { at, byte }) => {
                            let old = (path::symbol_of(byte), node.link());
                            return self.fork(nodes, slot, from, at, old, record);
                        }
                    };
                    let symbol = path::symbol_at(key, depth);
                    match node.slot(symbol) {
                        Some(next) if next.load() != Link::NONE => slot = next,
                        _ => return self.add(nodes, slot, node, symbol, record.link()),
                    }
                    from = depth + usize::from(symbol != END);
                }
            }
        }
    }

    /// The link leads to a record: of the same key, or of one that goes another way from some byte on.
    fn beside_record(
        &self,
        nodes: &mut Bump,
        slot: Slot<'_>,
        from: usize,
        old: Record<'_>,
        new: Record<'_>,
    ) -> Result<()> {
        let at = path::common_len(old.key(), new.key(), from);
        let (was, is) = (path::symbol_at(old.key(), at), path::symbol_at(new.key(), at));
        if was != is {
            return self.fork(nodes, slot, from, at, (was, old.link()), new);
        }
        let ascending = if old.seq() < new.seq() {
            [old, new]
        } else {
            [new, old]
        };
        // SAFETY: we are the writer; both are whole and of the same key; the old one can be reached through the new link.
        unsafe {
            let link = Versions::make(&self.arena, nodes, 2, ascending.into_iter())?;
            slot.publish(link);
        }
        Ok(())
    }

    /// The same for the records of a key that has several.
    fn beside_versions(
        &self,
        nodes: &mut Bump,
        slot: Slot<'_>,
        from: usize,
        old: Versions<'_>,
        new: Record<'_>,
    ) -> Result<()> {
        let key = old.newest().key();
        let at = path::common_len(key, new.key(), from);
        let was = path::symbol_at(key, at);
        if was != path::symbol_at(new.key(), at) {
            return self.fork(nodes, slot, from, at, (was, old.link()), new);
        }
        // SAFETY: we are the writer, and the slot leads to the newest state; the new list has all that the old one has.
        unsafe {
            if !old.append(new) {
                slot.publish(old.with(nodes, new)?);
            }
        }
        Ok(())
    }

    /// Puts a node in between, at the depth where the new key leaves the path to what is there.
    fn fork(
        &self,
        nodes: &mut Bump,
        slot: Slot<'_>,
        from: usize,
        at: usize,
        old: (Symbol, Link),
        new: Record<'_>,
    ) -> Result<()> {
        let skip = (at > from).then(|| Skip::new(new.key(), at, new.place()));
        let new = (path::symbol_at(new.key(), at), new.link());
        // SAFETY: we are the writer; both links lead to something whole, the old one to what the slot leads to now; the
        // symbols differ, since the keys part here.
        unsafe {
            let node = Node::fork(&self.arena, nodes, skip, old, new)?;
            slot.publish(node.link());
        }
        Ok(())
    }

    /// Adds a link to a node, or to a larger copy of it.
    fn add(
        &self,
        nodes: &mut Bump,
        slot: Slot<'_>,
        mut node: Node<'_>,
        symbol: Symbol,
        link: Link,
    ) -> Result<()> {
        // SAFETY: we are the writer; the slot leads to this node, so that it is the newest state, and it was found to
        // have no link for the symbol. A copy has all that the node has.
        unsafe {
            if !node.add(symbol, link) {
                slot.publish(node.grow(nodes, symbol, link)?.link());
            }
        }
        Ok(())
    }
}

impl SortedTable for RadixTree {
    type Cursor = RadixCursor;

    fn new() -> Self {
        RadixTree {
            root: AtomicU32::new(0),
            arena: Arena::new(),
            len: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                records: Bump::new(),
                nodes: Bump::for_nodes(),
            }),
        }
    }

    fn insert(&self, key: &[u8], seq: SeqNo, kind: EntryKind, value: &[u8]) -> Result<()> {
        entry::check(key, seq, kind, value)?;
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        // SAFETY: the bump pointers belong to this arena and lie behind the lock that we hold; lengths were checked.
        let record = unsafe { Record::write(&self.arena, &mut writer.records, key, seq, kind, value) }?;
        self.attach(&mut writer.nodes, record)?;
        // Under the lock: nobody else adds.
        self.len
            .store(self.len.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(())
    }

    fn find(&self, key: &[u8], snapshot: SeqNo) -> Option<(SeqNo, Held<'_>)> {
        let mut target = self.root().follow();
        let mut from = 0;
        loop {
            match target {
                Target::Node(node) => {
                    let depth = node.probable_depth(key, from)?;
                    let slot = match key.get(depth) {
                        Some(&byte) => node.child(byte)?,
                        None => node.terminal()?,
                    };
                    target = slot.follow();
                    from = depth + 1;
                }
                Target::Record(record) => {
                    return (record.seq() <= snapshot && record.key() == key).then(|| record.found());
                }
                Target::Versions(versions) => {
                    let visible = versions.newer_than(snapshot).checked_sub(1)?;
                    let record = versions.get(visible)?;
                    return (record.key() == key).then(|| record.found());
                }
                Target::Nothing => return None,
            }
        }
    }

    fn cursor(self: &Arc<Self>) -> RadixCursor {
        RadixCursor::new(Arc::clone(self))
    }

    fn memory_usage(&self) -> usize {
        size_of::<Self>() + self.arena.allocated()
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}
