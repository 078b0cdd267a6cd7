//! How an SST is laid out, and which file it is.
//!
//! Callers: `builder`; the engine, tools.

use super::order::SortOrder;
use crate::KeyspaceId;

/// The least and the largest [`SstOptions::partition_size`], in bytes.
pub(crate) const PARTITION_SIZES: std::ops::RangeInclusive<u32> = 64..=1 << 20;

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// All blocks are stored raw.
    None,
    /// LZ4 for blocks that it makes smaller by an eighth or more.
    #[default]
    Lz4,
}

/// How an SST is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstOptions {
    /// A key block is closed before it passes this many bytes, counted as keys plus 20 per entry: 16 KiB, at most 4 MiB.
    pub key_block_size: u32,
    /// A shared value block is closed once it has this many bytes: 4 KiB, at most 4 MiB. Decompression dominates a cold
    /// read, so small is fast; large compresses better, more so the more alike the values are. Measured once on 200-byte
    /// windows of Rust sources with LZ4: 0.664, 0.635, 0.605, 0.577 of their size at 2, 4, 8, 16 KiB, and 1.0, 1.9, 4.1,
    /// 7.2 us to decompress; on db_bench's values the ratio is 0.557 at 4 KiB and 0.550 at 64. From 8 to 4 KiB random
    /// reads of 100-byte values went from 188 to 326 thousand a second.
    pub value_block_size: u32,
    /// Whether blocks are compressed.
    pub compression: Compression,
    /// Whether the file gets a filter.
    pub filter: bool,
    /// What its entries are sorted by.
    pub order: SortOrder,
    /// About how many bytes a partition of filter, index or offset table has: 32 KiB, 64 B to 1 MiB. A filter's has as many slots
    /// as the power of two at or below says, and takes a seventh more bytes than slots. Files of fewer keys than one such filter holds
    /// (31,130) have filter and index in one piece.
    pub partition_size: u32,
}

impl Default for SstOptions {
    fn default() -> Self {
        SstOptions {
            key_block_size: 16 << 10,
            value_block_size: 4 << 10,
            compression: Compression::Lz4,
            filter: true,
            order: SortOrder::Key,
            partition_size: 32 << 10,
        }
    }
}

/// Which file is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SstIdentity {
    /// The keyspace that its entries belong to.
    pub keyspace: KeyspaceId,
    /// Its number in the manifest.
    pub file_number: u64,
    /// Random bytes that no other file has: the seed of its checksums.
    pub identity: [u8; 16],
    /// The files whose contents it takes over.
    pub replaces: Vec<u64>,
}
