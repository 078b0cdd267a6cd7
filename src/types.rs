//! The words that every layer shares: numbers, kinds of entries, limits. No logic, no I/O.

use crate::Slice;

/// The number of one write. Every put and delete gets the next number; a batch gets a run of them.
///
/// A snapshot is a number: it sees the writes at or below it. Zero is the oldest number there is, and is what
/// compaction into the last level assigns to an entry whose age no longer matters.
pub type SeqNo = u64;

/// The largest sequence number: 2^56 - 1. At a billion writes a second it lasts two years and three months, at a
/// million two thousand years; the top byte stays free for packing a number beside a kind.
pub const MAX_SEQ: SeqNo = (1 << 56) - 1;

/// The identity of a keyspace. Never used again after the keyspace has been dropped.
pub type KeyspaceId = u32;

/// The longest key, in bytes.
pub const MAX_KEY_LEN: usize = 65_535;

/// The longest value, in bytes: 64 MiB.
pub const MAX_VALUE_LEN: usize = 64 << 20;

/// The most bytes of a batch: 1 GiB. It is in memory twice while it is written, and one frame of the log.
pub const MAX_BATCH_LEN: usize = 1 << 30;

/// Values of at most this many bytes are stored beside their key. In hash order without compression small ones are, too.
pub const MAX_INLINE_LEN: usize = 8;

/// Values above [`MAX_INLINE_LEN`] and of at most this many bytes share value blocks with their neighbours; longer
/// ones get a block of their own. The source design's figure (spec/sst.md).
pub const MAX_SMALL_LEN: usize = 4096;

/// What one entry says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The key has a value.
    Put,
    /// The key has a value, which is an object in a pack; stored is a reference of 24 bytes ([`ObjectRef`]).
    Object,
    /// The key has no value: older entries of it are hidden.
    Tombstone,
}

/// A reference: what memtables, SSTs and the log hold of a value that is an object in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The object's id.
    pub id: [u8; 16],
    /// The length of its content, in bytes.
    pub len: u64,
}

impl ObjectRef {
    /// Bytes of a reference.
    pub const LEN: usize = 24;

    /// The id, then the length, little endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (id, len) = bytes.split_at_mut(self.id.len());
        id.copy_from_slice(&self.id);
        len.copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// `None` if these are not 24 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<ObjectRef> {
        let (id, len) = bytes.split_first_chunk()?;
        Some(ObjectRef {
            id: *id,
            len: u64::from_le_bytes(len.try_into().ok()?),
        })
    }
}

/// What a look-up of one key in one source found: its newest entry at or below the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value, and the number of the write.
    Value(SeqNo, Slice),
    /// A reference to an object in a pack, and the number of the write.
    Object(SeqNo, ObjectRef),
    /// A tombstone, and the number of the delete: older sources need not be asked.
    Tombstone(SeqNo),
}

/// Where the value of an entry lies, as a cursor reports it: cheap to copy, read only when asked for.
///
/// A `ValueRef` means something only to the cursor (or the file, or the memtable) that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef {
    /// Which file of a level: set and understood by a cursor that walks several files, zero elsewhere.
    pub source: u32,
    /// The place inside that file or memtable.
    pub place: ValuePlace,
}

/// The places that a value can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuePlace {
    /// No value: the entry is a tombstone.
    Tombstone,
    /// The value itself, `len <= 8` bytes of it.
    Inline {
        /// How many of `bytes` count.
        len: u8,
        /// The value, then zeros.
        bytes: [u8; MAX_INLINE_LEN],
    },
    /// In a memtable; the handle is the memtable's own.
    Memory {
        /// Meaningful to the memtable only.
        handle: u64,
    },
    /// In a memtable, a reference of 24 bytes to an object in a pack.
    MemoryObject {
        /// Meaningful to the memtable only.
        handle: u64,
    },
    /// In a key block of an SST in hash order, behind its key.
    InKeyBlock {
        /// Block number.
        block: u32,
        /// First byte within the uncompressed block.
        offset: u32,
        /// Length in bytes.
        len: u32,
    },
    /// In a shared value block of an SST.
    Small {
        /// Block number.
        block: u32,
        /// First byte within the uncompressed block.
        offset: u32,
        /// Length in bytes.
        len: u32,
    },
    /// A value block of its own in an SST.
    Medium {
        /// Block number.
        block: u32,
        /// Uncompressed length in bytes.
        len: u32,
    },
    /// In a key block of an SST, a reference of 24 bytes to an object in a pack.
    Object {
        /// Block number.
        block: u32,
        /// First byte within the uncompressed block.
        offset: u32,
    },
}

impl ValueRef {
    /// A place in a source that is one file or one memtable.
    pub fn new(place: ValuePlace) -> Self {
        ValueRef { source: 0, place }
    }

    /// Whether the entry is a put, a reference or a tombstone.
    pub fn kind(&self) -> EntryKind {
        match self.place {
            ValuePlace::Tombstone => EntryKind::Tombstone,
            ValuePlace::Object { .. } | ValuePlace::MemoryObject { .. } => EntryKind::Object,
            _ => EntryKind::Put,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_an_id_and_a_length_of_24_bytes() {
        let reference = ObjectRef {
            id: *b"sixteen bytes id",
            len: 0x0102_0304_0506_0708,
        };
        let bytes = reference.to_bytes();
        assert_eq!(&bytes, b"sixteen bytes id\x08\x07\x06\x05\x04\x03\x02\x01");
        assert_eq!(ObjectRef::from_bytes(&bytes), Some(reference));
        assert_eq!(ObjectRef::from_bytes(&bytes[1..]), None);
        assert_eq!(ObjectRef::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(ObjectRef::from_bytes(&[]), None);
    }

    #[test]
    fn a_place_takes_16_bytes() {
        assert_eq!(size_of::<ValuePlace>(), 16);
        assert_eq!(size_of::<ValueRef>(), 24);
    }
}
