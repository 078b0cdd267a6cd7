//! [`Sst`]: an open file, for point look-ups and for loading values. Scans are in `cursor`, the full check in `verify`.
//!
//! Open reads header, footer, filter, index, properties and offset table, and verifies their checksums. Of a large file filter and
//! index sections are small (`partitions`), and of the offset table only the sums are read. Blocks and pages are verified when
//! they are first touched.
//!
//! Two ways to read ([`Access`]): *mapped* borrows raw blocks from the mapping, without copy or count, and keeps
//! decompressed ones in the cache; *pread* brings every block into the cache by a read call, and holds the sections on
//! the heap, which one read call brings there. Answers are the same.
//!
//! Thread safety: everything takes `&self`; the only state that changes is one bit per block, "verified", which is set
//! after the check and may be set twice.
//!
//! Callers: the engine's read path; `cursor`; `verify`; tools.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocks::Bits;
use super::cache::BlockCache;
use super::filter::Filter;
use super::footer::{Footer, SectionPlace};
use super::frame::{BlockKind, Codec, FRAME_LEN, Seed};
use super::index::Index;
use super::key_block::{BlockUse, KeyBlock};
use super::offset_table::page_count;
use super::open::{Opening, Source};
use super::order::SortOrder;
use super::partitions::Top;
use super::properties::Properties;
use super::resident::{Heads, Part, parts_bytes};
use crate::env::File;
use crate::types::{ObjectRef, SeqNo, ValuePlace};
use crate::{Error, Result, Slice};

/// How blocks are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// From a mapping: fastest; a page that the medium cannot deliver kills the process.
    #[default]
    Mapped,
    /// By read calls: such a page is an error.
    Pread,
}

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct SstReadOptions {
    /// How blocks are read.
    pub access: Access,
    /// Where decompressed blocks are kept.
    pub cache: Arc<BlockCache>,
}

/// What the engine keeps of every file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstSummary {
    /// The number that the file was given.
    pub file_number: u64,
    /// Bytes.
    pub file_size: u64,
    /// Entries of all kinds.
    pub entry_count: u64,
    /// Tombstones among them.
    pub tombstone_count: u64,
    /// The first sort key.
    pub min_key: Slice,
    /// The last sort key.
    pub max_key: Slice,
    /// The smallest sequence number.
    pub min_seq: SeqNo,
    /// The largest sequence number.
    pub max_seq: SeqNo,
    /// Bytes of all keys, once per entry.
    pub raw_key_bytes: u64,
    /// Bytes of all values, uncompressed.
    pub raw_value_bytes: u64,
    /// Different objects that entries refer to.
    pub references: u64,
    /// The lengths of the objects that entries refer to, once per entry.
    pub referenced_bytes: u64,
    /// The file's random identity.
    pub identity: [u8; 16],
}

impl SstSummary {
    pub(crate) fn new(properties: &Properties, file_size: u64, identity: [u8; 16]) -> Self {
        SstSummary {
            file_number: properties.file_number,
            file_size,
            entry_count: properties.entry_count,
            tombstone_count: properties.tombstone_count,
            min_key: properties.min_key.clone(),
            max_key: properties.max_key.clone(),
            min_seq: properties.min_seq,
            max_seq: properties.max_seq,
            raw_key_bytes: properties.raw_key_bytes,
            raw_value_bytes: properties.raw_value_bytes,
            references: properties.references,
            referenced_bytes: properties.referenced_bytes,
            identity,
        }
    }
}

/// A medium block as it is stored, to be carried over to another file. Its checksum has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBlock {
    pub(crate) codec: Codec,
    pub(crate) stored: Vec<u8>,
    pub(crate) uncompressed_len: u32,
}

impl RawBlock {
    /// The length of the value, in bytes.
    pub fn uncompressed_len(&self) -> u32 {
        self.uncompressed_len
    }

    /// The bytes that it takes in a file, frame not counted.
    pub fn stored_len(&self) -> usize {
        self.stored.len()
    }
}

/// One block, as the offset table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its number.
    pub number: u32,
    /// Where its frame starts in the file.
    pub offset: u64,
    /// What it holds.
    pub kind: BlockKind,
    /// How it is stored.
    pub codec: Codec,
    /// Bytes stored, frame not counted.
    pub stored_len: u32,
}

/// A block's bytes: a range of the mapping, or a cached copy.
#[derive(Clone, Debug)]
pub(crate) enum BlockBytes {
    Mapped(Range<usize>),
    Shared(Arc<[u8]>),
}

/// An open SST.
pub struct Sst {
    pub(crate) file: Arc<dyn File>,
    path: PathBuf,
    pub(super) access: Access,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) cache_id: u64,
    pub(super) source: Source,
    pub(crate) seed: Seed,
    pub(crate) footer: Footer,
    /// If it is in one piece.
    pub(super) filter: Option<Filter>,
    pub(super) order: SortOrder,
    /// Of a file with partitions, that of their separators.
    pub(super) index: Index,
    /// Where it begins in its section.
    index_at: usize,
    /// Of `index`.
    pub(super) heads: Heads,
    /// Of a file with partitions.
    pub(super) top: Option<Top>,
    /// Of the partitions, in mapped mode.
    pub(super) parts: Box<[Part]>,
    /// The offset table is at hand and verified; otherwise it is read by pages.
    pub(super) table_held: bool,
    /// One bit per block: its checksum has been verified in the mapping.
    pub(super) verified: Bits,
    /// The same for pages of the offset table.
    pub(super) verified_pages: Bits,
    properties: Properties,
    summary: SstSummary,
}

impl std::fmt::Debug for Sst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sst")
            .field("path", &self.path)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Drop for Sst {
    fn drop(&mut self) {
        let footer = &self.footer;
        self.cache.remove(
            self.cache_id,
            footer.block_count,
            page_count(footer.block_count, footer.page_places),
        );
    }
}

impl Sst {
    /// Opens a file: checks header, footer and all sections, no block.
    pub fn open(file: Arc<dyn File>, path: &Path, options: &SstReadOptions) -> Result<Sst> {
        let opening = Opening { file: &*file, path };
        let (header, footer) = opening.ends()?;
        let seed = Seed::new(&footer.identity);
        let pages = page_count(footer.block_count, footer.page_places);
        // A page that the cache does not keep would be read again for every block.
        let table_held = pages <= 1 || (options.access == Access::Pread && options.cache.is_off());
        let source = opening.source(&footer, options.access, table_held)?;
        opening.check_sections(&source, &footer, seed, table_held)?;

        let damaged = |place: SectionPlace, what| Error::corruption(path, place.offset, what);
        let filter = match source.section(footer.filter) {
            [] => None,
            bytes => Some(Filter::parse(bytes).ok_or_else(|| damaged(footer.filter, "expected a filter"))?),
        };
        let properties = Properties::decode(source.section(footer.properties))
            .ok_or_else(|| damaged(footer.properties, "expected properties"))?;
        if properties.entry_count != footer.entry_count {
            return Err(damaged(
                footer.properties,
                "properties and footer count different numbers of entries",
            ));
        }
        let order = header.order;
        if properties.order != order {
            return Err(damaged(
                footer.properties,
                "properties and header state different orders",
            ));
        }
        let index_bytes = source.section(footer.index);
        let (top, index, index_at) = if Top::is_one(index_bytes) {
            let parsed = Top::parse(index_bytes, &footer, order);
            parsed.map(|(top, index, at)| (Some(top), index, at))
        } else {
            let index = Index::parse(index_bytes, order);
            index
                .filter(|index| index.count() <= footer.block_count)
                .map(|index| (None, index, 0))
        }
        .ok_or_else(|| damaged(footer.index, "expected an index block"))?;
        let heads = Heads::of(&index, index_bytes.get(index_at..).unwrap_or_default());
        let heads = heads.ok_or_else(|| damaged(footer.index, "expected sorted separators in the index"))?;
        let parts = match options.access {
            Access::Mapped => top.as_ref().map_or(0, Top::count),
            Access::Pread => 0,
        };
        Ok(Sst {
            path: path.to_owned(),
            access: options.access,
            cache: Arc::clone(&options.cache),
            cache_id: options.cache.new_file(),
            source,
            seed,
            filter,
            order,
            index,
            index_at,
            heads,
            top,
            parts: (0..parts).map(|_| Part::default()).collect(),
            table_held,
            verified: Bits::new(footer.block_count),
            verified_pages: Bits::new(if table_held { 0 } else { pages }),
            summary: SstSummary::new(&properties, footer.file_len, footer.identity),
            properties,
            footer,
            file,
        })
    }

    #[inline]
    pub(super) fn filter_bytes(&self) -> &[u8] {
        self.source.section(self.footer.filter)
    }

    #[inline]
    pub(super) fn top_bytes(&self) -> &[u8] {
        self.source.section(self.footer.index)
    }

    /// The bytes of `index`.
    #[inline]
    pub(super) fn index_bytes(&self) -> &[u8] {
        self.top_bytes().get(self.index_at..).unwrap_or_default()
    }

    /// Parses key block `number`, and checks that it is of the file's order.
    #[inline]
    pub(crate) fn key_block(&self, number: u32, bytes: &[u8]) -> Result<KeyBlock> {
        KeyBlock::parse(bytes, BlockUse::Keys)
            .filter(|keys| keys.is_of(self.order))
            .ok_or_else(|| self.block_damaged(number, "expected a key block"))
    }

    /// Reads the value at a place that a look-up or a cursor of this file gave. A tombstone loads as an empty slice, an object
    /// as the 24 bytes of its reference.
    #[inline]
    pub fn load(&self, place: ValuePlace) -> Result<Slice> {
        match place {
            ValuePlace::Medium { block, len } => match self.medium(block, len)? {
                BlockBytes::Shared(bytes) => Ok(Slice::from(bytes)),
                mapped => Ok(Slice::from(self.bytes(&mapped))),
            },
            ValuePlace::InKeyBlock { block, offset, len } => {
                let bytes = self.block(block, BlockKind::Key, self.access, true)?;
                Ok(Slice::from(self.small(self.bytes(&bytes), block, offset, len)?))
            }
            ValuePlace::Object { .. } => Ok(Slice::from(&self.object(place)?.to_bytes()[..])),
            ValuePlace::Small { block, offset, len } => {
                let bytes = self.block(block, BlockKind::Value, self.access, true)?;
                Ok(Slice::from(self.small(self.bytes(&bytes), block, offset, len)?))
            }
            _ => Ok(Slice::from(in_place(&place))),
        }
    }

    /// As [`Sst::load`], into the caller's buffer, whose contents are replaced.
    pub fn load_into(&self, place: ValuePlace, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match place {
            ValuePlace::Medium { block, len } => {
                let bytes = self.medium(block, len)?;
                out.extend_from_slice(self.bytes(&bytes));
            }
            ValuePlace::InKeyBlock { block, offset, len } => {
                let bytes = self.block(block, BlockKind::Key, self.access, true)?;
                out.extend_from_slice(self.small(self.bytes(&bytes), block, offset, len)?);
            }
            ValuePlace::Object { .. } => out.extend_from_slice(&self.object(place)?.to_bytes()),
            ValuePlace::Small { block, offset, len } => {
                let bytes = self.block(block, BlockKind::Value, self.access, true)?;
                out.extend_from_slice(self.small(self.bytes(&bytes), block, offset, len)?);
            }
            _ => out.extend_from_slice(in_place(&place)),
        }
        Ok(())
    }

    /// The reference at a place that a look-up or a cursor of this file gave. Touches the key block only.
    pub fn object(&self, place: ValuePlace) -> Result<ObjectRef> {
        let ValuePlace::Object { block, offset } = place else {
            let kind = std::io::Error::new(std::io::ErrorKind::InvalidInput, "only objects have references");
            return Err(Error::io("read", &self.path, kind));
        };
        let bytes = self.block(block, BlockKind::Key, self.access, true)?;
        self.reference(self.bytes(&bytes), block, offset)
    }

    /// The reference at `offset` of a key block.
    #[inline]
    pub(crate) fn reference(&self, block_bytes: &[u8], block: u32, offset: u32) -> Result<ObjectRef> {
        let bytes = self.small(block_bytes, block, offset, ObjectRef::LEN as u32)?;
        ObjectRef::from_bytes(bytes).ok_or_else(|| self.block_damaged(block, "expected a reference"))
    }

    fn medium(&self, block: u32, len: u32) -> Result<BlockBytes> {
        let bytes = self.block(block, BlockKind::Medium, self.access, true)?;
        if self.bytes(&bytes).len() != len as usize {
            return Err(self.block_damaged(block, "a medium value of another length than its entry says"));
        }
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn small<'a>(&self, values: &'a [u8], block: u32, offset: u32, len: u32) -> Result<&'a [u8]> {
        let range = offset as usize..offset as usize + len as usize;
        values
            .get(range)
            .ok_or_else(|| self.block_damaged(block, "a value beyond the end of its block"))
    }

    /// A medium value's block as it is stored, read by a read call, its checksum verified.
    pub fn raw_block(&self, place: ValuePlace) -> Result<RawBlock> {
        let ValuePlace::Medium { block, len } = place else {
            let kind = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "only medium values have raw blocks",
            );
            return Err(Error::io("read", &self.path, kind));
        };
        let place_of_block = self.place_of_kind(block, BlockKind::Medium)?;
        let mut bytes = self.read_frame(place_of_block)?;
        let frame = self.check_frame(block, place_of_block, &bytes)?;
        if frame.uncompressed_len != len {
            return Err(self.block_damaged(block, "a medium value of another length than its entry says"));
        }
        bytes.drain(..FRAME_LEN);
        Ok(RawBlock {
            codec: frame.codec,
            stored: bytes,
            uncompressed_len: len,
        })
    }

    /// Counts and bounds, as the builder returned them.
    pub fn summary(&self) -> &SstSummary {
        &self.summary
    }

    /// What its entries are sorted by.
    #[inline]
    pub fn order(&self) -> SortOrder {
        self.order
    }

    /// All that the file says of itself.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The file's path, as given to `open`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How blocks are read.
    pub fn access(&self) -> Access {
        self.access
    }

    /// How to read if it is to be done this way; `None`: as the file was opened.
    pub(super) fn access_or(&self, asked: Option<Access>) -> Access {
        match self.access {
            Access::Pread => Access::Pread,
            Access::Mapped => asked.unwrap_or(Access::Mapped),
        }
    }

    /// Bytes that this open file holds on the heap, blocks in the cache not counted.
    pub fn heap_bytes(&self) -> usize {
        let key_blocks = self.top.as_ref().map_or(0, |top| top.key_blocks() as usize);
        let parts = match self.parts.len() {
            0 => 0,
            parts => parts_bytes(parts, key_blocks),
        };
        let bits = self.verified.bytes() + self.verified_pages.bytes();
        self.source.heap_bytes() + self.heads.bytes() + parts + bits + size_of::<Sst>()
    }

    /// Bytes of the file that are mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.source
            .mapping
            .as_ref()
            .map_or(0, |mapping| mapping.len() as u64)
    }

    /// The sections between the blocks and the footer: name, offset, length.
    pub fn sections(&self) -> [(&'static str, u64, u32); 4] {
        let f = &self.footer;
        let named = [
            ("filter", f.filter),
            ("index", f.index),
            ("properties", f.properties),
            ("offset table", f.offset_table),
        ];
        named.map(|(name, place)| (name, place.offset, place.len))
    }

    /// All blocks in the order of their numbers, from the offset table; reads no block.
    pub fn blocks(&self) -> Result<Vec<BlockInfo>> {
        let info = |number| {
            let place = self.block_place(number)?;
            let stored_len = place.len.saturating_sub(FRAME_LEN as u32);
            Ok(BlockInfo {
                number,
                offset: place.start.into(),
                kind: place.kind,
                codec: place.codec,
                stored_len,
            })
        };
        (0..self.footer.block_count).map(info).collect()
    }
}

/// The value of an entry that needs no block.
fn in_place(place: &ValuePlace) -> &[u8] {
    match place {
        ValuePlace::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        _ => &[],
    }
}
