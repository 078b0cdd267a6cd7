//! SSTs: immutable, sorted, self-describing files of entries.
//!
//! ```text
//! header | block | block | ... | filter | index | properties | offset table | footer
//! ```
//!
//! | part | what | drawn in |
//! | --- | --- | --- |
//! | header | magic, version, identity | `footer.rs` |
//! | block | a frame with a seeded checksum, and the stored bytes | `frame.rs` |
//! | key block | keys and columns | `key_block.rs`, `column.rs`, `hashes.rs` |
//! | shared value block | values of 9 to 4096 bytes, back to back | |
//! | medium block | one value of more than 4096 bytes | |
//! | list of references | ids of the objects that entries refer to, in blocks of their own | `references.rs` |
//! | filter | quotient filters of the keys' hashes | `filter.rs` |
//! | index | one separator, or hash, per key block, never compressed | `index.rs`, `key_block.rs` |
//! | partitions | of a large file: filter and index in pieces, each a block; the index section then says where they are | `partitions.rs` |
//! | properties | counts, bounds, origin | `properties.rs` |
//! | offset table | where every block lies, in pages | `offset_table.rs` |
//! | footer | where everything else lies | `footer.rs` |
//!
//! Blocks are addressed by number. A number is reserved when a block is opened, so that the place of an entry's value is
//! known at once, although the value block is written later: blocks lie in the order in which they were *closed*, and
//! the offset table says where. Nothing waits, so the writer's memory is bounded by one open value block and one open
//! key block, whatever mixture of values comes; and by 16 bytes for each reference.
//!
//! Invariants:
//! 1. Entries ascend by sort key (`order.rs`: the key, or its hash and the key), then descend by sequence number, strictly. Versions
//!    of one key may straddle key blocks.
//! 2. Every byte of the file is covered by a checksum that depends on the file's identity (and the block's number).
//! 3. A file never changes once it is finished.
//! 4. Nothing read from a file is trusted for memory or time: every access is bounds-checked, also after verification.
//!
//! In mapped mode a raw block is verified once per open file and then read from the mapping: decay of a page after
//! that goes unseen until the file is opened again. Pread mode verifies whenever a block enters the cache.
//!
//! Callers: the engine (flush, compaction, reads), the tools. This module knows nothing of levels.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod blocks;
mod builder;
mod cache;
mod column;
mod cursor;
pub(crate) mod describe;
mod filter;
mod footer;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hashes;
mod index;
mod index_reader;
mod interpolation;
mod key_block;
mod key_block_builder;
mod look_up;
mod offset_table;
mod open;
mod options;
mod order;
mod output;
mod partition_builder;
mod partitions;
mod properties;
mod read_ahead;
mod reader;
mod references;
mod resident;
pub(crate) mod salvage;
#[cfg(test)]
mod tests;
mod verify;

pub use builder::{EntryValue, SstBuilder, write_sorted};
pub use cache::BlockCache;
pub use cursor::{CursorOptions, SstCursor};
pub use describe::FilterPiece;
pub(crate) use footer::{FOOTER_LEN, FOOTER_MAGIC, HEADER_MAGIC};
pub use frame::{BlockKind, Codec};
pub(crate) use options::PARTITION_SIZES;
pub use options::{Compression, SstIdentity, SstOptions};
pub use order::{SortKeyBuffer, SortOrder};
pub(crate) use output::MOST_GATHERED;
pub use properties::{BlockTotals, Properties, SstOrigin};
pub(crate) use read_ahead::MOST_WINDOW;
pub use reader::{Access, BlockInfo, RawBlock, Sst, SstReadOptions, SstSummary};
pub use references::References;
pub use verify::{PartReport, Verification, VerifyReport};

pub use crate::cursor::Cursor;
pub use crate::types::{Found, ObjectRef, ValuePlace, ValueRef};
