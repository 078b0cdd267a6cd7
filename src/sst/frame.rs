//! Block frames: what stands in front of every block's bytes, its checksum, and its codec.
//!
//! ```text
//!  0  kind u8             1 key block, 2 shared value block, 3 medium value block, 4 filter partition, 5 index partition,
//!                        6 list of references
//!  1  codec u8            0 raw, 1 LZ4
//!  2  reserved u16 = 0
//!  4  stored length u32
//!  8  uncompressed length u32
//! 12  crc32 u32           of identity[16], block number u32, the 12 bytes above, the stored bytes
//! 16  stored bytes
//! ```
//!
//! Because the file's identity and the block's number go into the checksum, a block that is read from the wrong file or
//! the wrong place is noticed as surely as a flipped bit.
//!
//! Callers: `builder` writes frames; `reader`, `cursor` and `verify` open them.

use std::sync::Arc;

use super::references::MAX_REFERENCES_LEN;
use crate::codec;
use crate::coding::{array_at, u32_at};
use crate::planted::{self, Bug};
use crate::types::MAX_VALUE_LEN;

/// Bytes of a frame's header.
pub(crate) const FRAME_LEN: usize = 16;
/// The part of the header that the checksum covers.
const CHECKED_HEADER_LEN: usize = 12;

/// The largest target size of key and value blocks, in bytes: 4 MiB.
pub(crate) const MAX_BLOCK_TARGET: u32 = 4 << 20;
/// The largest key block that a reader accepts, in bytes: a target's worth of entries, whose columns can take more than
/// they are counted with, and one more entry.
const MAX_KEY_BLOCK_LEN: u32 = 4 * MAX_BLOCK_TARGET;
/// The largest shared value block that a reader accepts, in bytes: a target and one more value.
const MAX_VALUE_BLOCK_LEN: u32 = 2 * MAX_BLOCK_TARGET;
/// The largest partition of a filter or index that a reader accepts, in bytes: a target of a mebibyte, which a filter passes by a
/// fifth, and one more separator.
const MAX_PARTITION_LEN: u32 = MAX_BLOCK_TARGET;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Keys, numbers, where values lie; the shortest values, and references.
    Key,
    /// Values of 9 to 4096 bytes, back to back.
    Value,
    /// One value of more than 4096 bytes.
    Medium,
    /// A partition of a large file's filter.
    Filter,
    /// A partition of a large file's index.
    Index,
    /// A part of the list of references.
    References,
}

impl BlockKind {
    pub(crate) fn to_bits(self) -> u8 {
        match self {
            BlockKind::Key => 1,
            BlockKind::Value => 2,
            BlockKind::Medium => 3,
            BlockKind::Filter => 4,
            BlockKind::Index => 5,
            BlockKind::References => 6,
        }
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => BlockKind::Key,
            2 => BlockKind::Value,
            3 => BlockKind::Medium,
            4 => BlockKind::Filter,
            5 => BlockKind::Index,
            6 => BlockKind::References,
            _ => return None,
        })
    }

    fn max_len(self) -> u32 {
        match self {
            BlockKind::Key => MAX_KEY_BLOCK_LEN,
            BlockKind::Value => MAX_VALUE_BLOCK_LEN,
            BlockKind::Medium => MAX_VALUE_LEN as u32,
            BlockKind::Filter | BlockKind::Index => MAX_PARTITION_LEN,
            BlockKind::References => MAX_REFERENCES_LEN,
        }
    }
}

/// How a block's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One LZ4 block.
    Lz4,
}

impl Codec {
    pub(crate) fn to_bits(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Lz4 => 1,
        }
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Lz4),
            _ => None,
        }
    }
}

/// A frame's header, apart from the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: BlockKind,
    pub(crate) codec: Codec,
    pub(crate) stored_len: u32,
    pub(crate) uncompressed_len: u32,
}

/// The checksum of one file's blocks and sections, apart from what is particular to each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(identity: &[u8; 16]) -> Self {
        Seed(crc32fast::hash(identity))
    }

    /// The checksum of a section.
    pub(crate) fn section(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }

    fn block(self, number: u32, header: &[u8], stored: &[u8]) -> u32 {
        let mut front = [0; 4 + CHECKED_HEADER_LEN];
        let (number_at, header_at) = front.split_at_mut(4);
        number_at.copy_from_slice(&number.to_le_bytes());
        for (to, from) in header_at.iter_mut().zip(header) {
            *to = *from;
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&front);
        hasher.update(stored);
        hasher.finalize()
    }
}

impl Frame {
    /// Appends the frame of block `number` to `out`: header and stored bytes.
    pub(crate) fn write(&self, seed: Seed, number: u32, stored: &[u8], out: &mut Vec<u8>) {
        let mut header = [0; CHECKED_HEADER_LEN];
        header[0] = self.kind.to_bits();
        header[1] = self.codec.to_bits();
        header[4..8].copy_from_slice(&self.stored_len.to_le_bytes());
        header[8..12].copy_from_slice(&self.uncompressed_len.to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&seed.block(number, &header, stored).to_le_bytes());
        out.extend_from_slice(stored);
    }

    /// Reads the header in front of `bytes`; `None` when it is not one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Frame> {
        let [kind, codec, reserved @ ..] = array_at::<4>(bytes, 0)?;
        let frame = Frame {
            kind: BlockKind::from_bits(kind)?,
            codec: Codec::from_bits(codec)?,
            stored_len: u32_at(bytes, 4)?,
            uncompressed_len: u32_at(bytes, 8)?,
        };
        let sane = reserved == [0; 2]
            && frame.uncompressed_len <= frame.kind.max_len()
            && match frame.codec {
                Codec::Raw => frame.stored_len == frame.uncompressed_len,
                Codec::Lz4 => frame.stored_len < frame.uncompressed_len,
            };
        sane.then_some(frame)
    }

    /// Whether the checksum in front of `bytes`, a whole frame, is that of block `number`.
    pub(crate) fn checksum_fits(seed: Seed, number: u32, bytes: &[u8]) -> bool {
        let parts = bytes
            .split_at_checked(CHECKED_HEADER_LEN)
            .zip(bytes.get(FRAME_LEN..));
        parts.is_some_and(|((header, _), stored)| {
            planted::is(Bug::ChecksumIgnored)
                || u32_at(bytes, CHECKED_HEADER_LEN) == Some(seed.block(number, header, stored))
        })
    }

    /// The block number that makes the checksum in front of `bytes`, a whole frame, right. There is exactly one; that it is
    /// a likely one is what makes the frame a block of this file. For walking a file that has lost its offset table.
    pub(crate) fn number_of(seed: Seed, bytes: &[u8]) -> Option<u32> {
        let (header, _) = bytes.split_at_checked(CHECKED_HEADER_LEN)?;
        let stored = bytes.get(FRAME_LEN..)?;
        // A CRC can be run backwards, from the sum at the end to the state behind the number.
        let mut state = !u32_at(bytes, CHECKED_HEADER_LEN)?;
        for byte in stored.iter().rev().chain(header.iter().rev()) {
            state = backwards(state, *byte);
        }
        // Four bytes go into the state by an xor, and are then stepped over like zeros.
        let stepped = (0..4).fold(state, |state, _| backwards(state, 0));
        Some(!seed.0 ^ stepped)
    }

    /// The block's own bytes out of `stored`; `None` when they do not decompress to the stated length.
    pub(crate) fn decode(&self, stored: &[u8]) -> Option<Arc<[u8]>> {
        match self.codec {
            Codec::Raw => Some(Arc::from(stored)),
            Codec::Lz4 => {
                // The length is sane (see `parse`) and checksummed; so memory for it is had before `stored` is looked at.
                if !codec::is_possible(stored.len(), self.uncompressed_len as usize) {
                    return None;
                }
                let mut block: Arc<[u8]> = std::iter::repeat_n(0, self.uncompressed_len as usize).collect();
                let room = Arc::get_mut(&mut block)?;
                codec::decompress(stored, room).map(|()| block)
            }
        }
    }
}

/// The CRC-32 register before `byte` went into it.
fn backwards(state: u32, byte: u8) -> u32 {
    let [.., top] = state.to_le_bytes();
    let (entry, index) = BACKWARDS.get(usize::from(top)).copied().unwrap_or_default();
    ((state ^ entry) << 8) | u32::from(index ^ byte)
}

/// For each top byte of a table entry of the CRC-32 (polynomial 0xEDB88320): the entry, and its index.
static BACKWARDS: [(u32, u8); 256] = backwards_table();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn backwards_table() -> [(u32, u8); 256] {
    let mut table = [(0, 0); 256];
    let mut index = 0;
    while index < 256 {
        let (mut entry, mut bit) = (index as u32, 0);
        while bit < 8 {
            entry = if entry & 1 == 1 {
                (entry >> 1) ^ 0xEDB8_8320
            } else {
                entry >> 1
            };
            bit += 1;
        }
        table[(entry >> 24) as usize] = (entry, index as u8);
        index += 1;
    }
    table
}

/// Compresses `block` into `out`, replacing its contents. False (and `out` is of no use) when that saves less than an
/// eighth: reading such a block raw, from the mapping and without a copy, is worth more.
pub(crate) fn compress(block: &[u8], out: &mut Vec<u8>) -> bool {
    out.resize(codec::most_compressed(block.len()), 0);
    match codec::compress(block, out) {
        Some(len) if len <= block.len() - block.len().div_ceil(8) => {
            out.truncate(len);
            true
        }
        _ => false,
    }
}
