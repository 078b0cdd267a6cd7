//! Links: how one part of the tree leads to another.
//!
//! ```text
//! link: | 1 | place of a record  |      zero leads nowhere
//!       | 0 | place of a node    |
//! ```
//!
//! Invariants:
//! 1. A link is published (Release) after what it leads to is whole, and followed by an Acquire load: whoever follows it
//!    sees the whole, and its chunk.
//! 2. A link is only ever replaced by one that leads to a superset. Whatever could be reached through a link at some time
//!    is reached for ever by whoever loads it then or later, and by whoever has loaded it.
//!
//! Callers: the radix tree.

use super::super::arena::{Arena, Place, prefetch};
use super::node::Node;
use super::record::Record;
use super::versions::Versions;
use crate::sync::lock_free::{AtomicU32, Ordering};

/// The bit that says record.
const RECORD: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link(u32);

impl Link {
    pub(super) const NONE: Link = Link(0);

    #[inline]
    pub(super) fn to_record(place: Place) -> Link {
        Link(place | RECORD)
    }

    #[inline]
    pub(super) fn to_node(place: Place) -> Link {
        Link(place)
    }

    /// Where the link leads.
    ///
    /// # Safety
    /// The link is `NONE` or leads to a whole node or record of this arena, and this thread learned of it through an
    /// Acquire load or a lock.
    #[inline]
    pub(super) unsafe fn follow(self, arena: &Arena) -> Target<'_> {
        // SAFETY: the caller's promise.
        unsafe {
            if self.0 & RECORD != 0 {
                Target::Record(Record::at(arena, self.0 & !RECORD))
            } else if self == Link::NONE {
                Target::Nothing
            } else {
                let node = Node::at(arena, self);
                match Versions::from_node(node) {
                    Some(versions) => Target::Versions(versions),
                    None => Target::Node(node),
                }
            }
        }
    }

    /// Asks the processor to fetch the start of the record, if the link leads to one.
    ///
    /// # Safety
    /// As for `follow`.
    #[inline]
    pub(super) unsafe fn prefetch_record(self, arena: &Arena) {
        if self.0 & RECORD != 0 {
            // SAFETY: the caller's promise.
            prefetch(unsafe { arena.resolve(self.0 & !RECORD) });
        }
    }

    /// The place of the node that the link leads to.
    #[inline]
    pub(super) fn node_place(self) -> Place {
        self.0
    }
}

/// What a link leads to.
pub(super) enum Target<'a> {
    /// Nothing yet.
    Nothing,
    /// The only entry of its key.
    Record(Record<'a>),
    /// The entries of one key.
    Versions(Versions<'a>),
    /// A node that tells keys apart.
    Node(Node<'a>),
}

/// A link in its place: in a node, or the root.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    link: &'a AtomicU32,
    arena: &'a Arena,
}

impl<'a> Slot<'a> {
    /// # Safety
    /// `link` belongs to a tree in `arena`, and keeps the invariants above.
    #[inline]
    pub(super) unsafe fn new(link: &'a AtomicU32, arena: &'a Arena) -> Slot<'a> {
        Slot { link, arena }
    }

    #[inline]
    pub(super) fn load(self) -> Link {
        Link(self.link.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn follow(self) -> Target<'a> {
        // SAFETY: invariant 1.
        unsafe { self.load().follow(self.arena) }
    }

    /// Publishes a link.
    ///
    /// # Safety
    /// The caller is the writer. The link leads to a whole node or record of this arena, through which everything can be
    /// reached that could be reached through the link that it replaces (invariant 2).
    #[inline]
    pub(super) unsafe fn publish(self, link: Link) {
        self.link.store(link.0, Ordering::Release);
    }
}
