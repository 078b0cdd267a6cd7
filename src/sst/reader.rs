//! [`Sst`]: an open file, for point look-ups and for loading values. Scans are in `cursor`, the full check in `verify`.
//!
//! Open reads header, footer, filter, index, properties and offset table, and verifies their checksums. Blocks are
//! verified when they are first touched.
//!
//! Two ways to read ([`Access`]): *mapped* borrows raw blocks from the mapping, without copy or count, and keeps
//! decompressed ones in the cache; *pread* brings every block into the cache by a read call, and holds the sections on
//! the heap. Answers are the same.
//!
//! Thread safety: everything takes `&self`; the only state that changes is one bit per block, "verified", which is set
//! after the check and may be set twice.
//!
//! Callers: the engine's read path; `cursor`; `verify`; tools.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::BlockCache;
use super::filter::Filter;
use super::footer::{BlockPlace, Footer, HEADER_LEN, PLACE_LEN, SectionPlace};
use super::frame::{BlockKind, Codec, FRAME_LEN, Frame, Seed};
use super::index::Index;
use super::key_block::{BlockUse, EntryError, KeyBlock};
use super::open::Opening;
use super::order::SortOrder;
use super::properties::Properties;
use crate::coding::array_at;
use crate::env::{File, Mapping};
use crate::types::{SeqNo, ValuePlace};
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

/// A section's bytes: a range of the mapping, or a copy.
#[derive(Debug)]
pub(super) enum Section {
    Mapped(Range<usize>),
    Heap(Box<[u8]>),
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
    /// Present in mapped mode.
    mapping: Option<Mapping>,
    pub(crate) seed: Seed,
    pub(crate) footer: Footer,
    filter: Option<Filter>,
    filter_bytes: Section,
    pub(super) order: SortOrder,
    index: Index,
    index_bytes: Section,
    table_bytes: Section,
    /// One bit per block: its checksum has been verified in the mapping.
    verified: Box<[AtomicU64]>,
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
        self.cache.remove(self.cache_id, self.footer.block_count);
    }
}

impl Sst {
    /// Opens a file: checks header, footer and all sections, no block.
    pub fn open(file: Arc<dyn File>, path: &Path, options: &SstReadOptions) -> Result<Sst> {
        let opening = Opening { file: &*file, path };
        let (header, footer) = opening.ends()?;
        let mapping = match options.access {
            Access::Mapped => Some(opening.map(footer.file_len)?),
            Access::Pread => None,
        };
        let seed = Seed::new(&footer.identity);
        let section = |place, name| opening.section(mapping.as_ref(), seed, place, name);
        let filter_bytes = section(footer.filter, "filter")?;
        let index_bytes = section(footer.index, "index")?;
        let properties_bytes = section(footer.properties, "properties")?;
        let table_bytes = section(footer.offset_table, "offset table")?;

        let bytes = |section| section_bytes(mapping.as_ref(), section);
        let damaged = |place: SectionPlace, what| Error::corruption(path, place.offset, what);
        let filter = match bytes(&filter_bytes) {
            [] => None,
            bytes => Some(Filter::parse(bytes).ok_or_else(|| damaged(footer.filter, "expected a filter"))?),
        };
        let properties = Properties::decode(bytes(&properties_bytes))
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
        let index = Index::parse(bytes(&index_bytes), order)
            .filter(|index| index.count() <= footer.block_count)
            .ok_or_else(|| damaged(footer.index, "expected an index block"))?;
        let words = (footer.block_count as usize).div_ceil(64);
        Ok(Sst {
            path: path.to_owned(),
            access: options.access,
            cache: Arc::clone(&options.cache),
            cache_id: options.cache.new_file(),
            seed,
            filter,
            filter_bytes,
            order,
            index,
            index_bytes,
            table_bytes,
            verified: std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect(),
            summary: SstSummary::new(&properties, footer.file_len, footer.identity),
            properties,
            footer,
            mapping,
            file,
        })
    }

    /// Parses key block `number`, and checks that it is of the file's order.
    #[inline]
    pub(crate) fn key_block(&self, number: u32, bytes: &[u8]) -> Result<KeyBlock> {
        KeyBlock::parse(bytes, BlockUse::Keys)
            .filter(|keys| keys.is_of(self.order))
            .ok_or_else(|| self.block_damaged(number, "expected a key block"))
    }

    /// False: no key of this hash is in the file. Always true for a file without a filter.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        match &self.filter {
            Some(filter) => {
                filter.may_contain(section_bytes(self.mapping.as_ref(), &self.filter_bytes), hash)
            }
            None => true,
        }
    }

    /// The filter's tables: slots and remainder bits of each. `None`: the file has no filter.
    pub(crate) fn filter_tables(&self) -> Option<Vec<(u64, u32)>> {
        self.filter.as_ref().map(|filter| filter.tables().collect())
    }

    /// Reads the value at a place that a look-up or a cursor of this file gave. A tombstone loads as an empty slice.
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
            ValuePlace::Small { block, offset, len } => {
                let bytes = self.block(block, BlockKind::Value, self.access, true)?;
                out.extend_from_slice(self.small(self.bytes(&bytes), block, offset, len)?);
            }
            _ => out.extend_from_slice(in_place(&place)),
        }
        Ok(())
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
        let mut bytes = self.read_frame(block, BlockKind::Medium)?;
        let frame = self.check_frame(block, BlockKind::Medium, &bytes)?;
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

    /// Bytes that this open file holds on the heap, blocks in the cache not counted.
    pub fn heap_bytes(&self) -> usize {
        let section = |section: &Section| match section {
            Section::Mapped(_) => 0,
            Section::Heap(bytes) => bytes.len(),
        };
        let sections = [&self.filter_bytes, &self.index_bytes, &self.table_bytes].map(section);
        sections.iter().sum::<usize>() + self.verified.len() * size_of::<AtomicU64>() + size_of::<Sst>()
    }

    /// Bytes of the file that are mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.as_ref().map_or(0, |mapping| mapping.len() as u64)
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

    // The index, for this module's neighbours.

    fn index_bytes(&self) -> &[u8] {
        section_bytes(self.mapping.as_ref(), &self.index_bytes)
    }

    /// How many key blocks there are.
    pub(crate) fn index_count(&self) -> u32 {
        self.index.count()
    }

    /// The first entry of the index whose separator is at or above a key, given with its hash.
    #[inline]
    pub(crate) fn index_lower_bound(&self, key: &[u8], hash: u64) -> Result<u32> {
        self.index
            .lower_bound(self.index_bytes(), key, hash)
            .ok_or_else(|| self.index_damaged())
    }

    /// The same for a sort key.
    pub(crate) fn index_lower_bound_of(&self, sort_key: &[u8]) -> Result<u32> {
        self.index_lower_bound(sort_key, super::order::split(sort_key).0)
    }

    /// Whether what is sought may go on behind the key block of entry `at`.
    #[inline]
    pub(super) fn index_goes_on(&self, at: u32, key: &[u8], hash: u64) -> Result<bool> {
        self.index
            .goes_on(self.index_bytes(), at, key, hash)
            .ok_or_else(|| self.index_damaged())
    }

    /// The same for a sort key.
    pub(crate) fn index_goes_on_of(&self, at: u32, sort_key: &[u8]) -> Result<bool> {
        self.index_goes_on(at, sort_key, super::order::split(sort_key).0)
    }

    /// The key block of entry `at` of the index.
    #[inline]
    pub(crate) fn index_child(&self, at: u32) -> Result<u32> {
        self.index
            .child(self.index_bytes(), at)
            .ok_or_else(|| self.index_damaged())
    }

    /// Separator `at`, whole: a key, or the eight bytes of a hash.
    pub(crate) fn index_separator(&self, at: u32) -> Result<Vec<u8>> {
        self.index
            .separator(self.index_bytes(), at)
            .ok_or_else(|| self.index_damaged())
    }

    /// The least hash that the index states; `None` in key order.
    pub(crate) fn index_least_hash(&self) -> Option<u64> {
        self.index.least_hash()
    }

    // Blocks, for this module's neighbours.

    /// The bytes of a block, verified; `fill`: keep a copy in the cache.
    #[inline]
    pub(crate) fn block(
        &self,
        number: u32,
        kind: BlockKind,
        access: Access,
        fill: bool,
    ) -> Result<BlockBytes> {
        let Some(mapping) = self.mapping.as_ref().filter(|_| access == Access::Mapped) else {
            return self.block_by_pread(number, kind, fill);
        };
        let place = self.block_place(number)?;
        let range = place.start as usize..place.start as usize + place.len as usize;
        if place.codec == Codec::Raw && place.kind == kind && self.is_verified(number) {
            return Ok(BlockBytes::Mapped(range.start + FRAME_LEN..range.end));
        }
        self.block_from_mapping(mapping, number, kind, range, fill)
    }

    /// The slow path of `block`: a compressed block, or the first touch of a raw one.
    fn block_from_mapping(
        &self,
        mapping: &Mapping,
        number: u32,
        kind: BlockKind,
        range: Range<usize>,
        fill: bool,
    ) -> Result<BlockBytes> {
        if let Some(bytes) = self.cached(number, kind)? {
            return Ok(bytes);
        }
        let stored = mapping
            .get(range.clone())
            .ok_or_else(|| self.block_damaged(number, "a block inside the file"))?;
        let frame = self.check_frame(number, kind, stored)?;
        match frame.codec {
            Codec::Raw => {
                self.set_verified(number);
                Ok(BlockBytes::Mapped(range.start + FRAME_LEN..range.end))
            }
            Codec::Lz4 => self.decoded(number, frame, stored, fill),
        }
    }

    fn block_by_pread(&self, number: u32, kind: BlockKind, fill: bool) -> Result<BlockBytes> {
        if let Some(bytes) = self.cached(number, kind)? {
            return Ok(bytes);
        }
        let stored = self.read_frame(number, kind)?;
        let frame = self.check_frame(number, kind, &stored)?;
        self.decoded(number, frame, &stored, fill)
    }

    /// A block out of the cache.
    #[inline]
    pub(crate) fn cached(&self, number: u32, kind: BlockKind) -> Result<Option<BlockBytes>> {
        if self.block_place(number)?.kind != kind {
            return Err(self.block_damaged(number, "a block of another kind than its reference says"));
        }
        Ok(self.cache.get(self.cache_id, number).map(BlockBytes::Shared))
    }

    /// Decodes a block whose frame has been checked.
    pub(crate) fn decoded(&self, number: u32, frame: Frame, stored: &[u8], fill: bool) -> Result<BlockBytes> {
        let bytes = self.decode_frame(number, frame, stored)?;
        if fill {
            self.cache.insert(self.cache_id, number, &bytes);
        }
        Ok(BlockBytes::Shared(bytes))
    }

    /// As `decoded`, without the cache.
    pub(crate) fn decode_frame(&self, number: u32, frame: Frame, stored: &[u8]) -> Result<Arc<[u8]>> {
        let payload = stored.get(FRAME_LEN..).unwrap_or_default();
        frame.decode(payload).ok_or_else(|| {
            self.block_damaged(number, "a block that does not decompress to its stated length")
        })
    }

    /// Frame and stored bytes of a block, by a read call; unchecked.
    pub(crate) fn read_frame(&self, number: u32, kind: BlockKind) -> Result<Vec<u8>> {
        let place = self.block_place(number)?;
        if place.kind != kind {
            return Err(self.block_damaged(number, "a block of another kind than its reference says"));
        }
        // `block_place` has checked that the length is within the file: no larger allocation than the input.
        let mut bytes = vec![0; place.len as usize];
        let read = self.file.read_exact_at(place.start.into(), &mut bytes);
        read.map_err(|e| Error::io("read", &self.path, e))?;
        Ok(bytes)
    }

    /// Checks a whole frame: that it is one, agrees with the offset table, and that its checksum is right.
    pub(crate) fn check_frame(&self, number: u32, kind: BlockKind, bytes: &[u8]) -> Result<Frame> {
        let place = self.block_place(number)?;
        let frame =
            Frame::parse(bytes).ok_or_else(|| self.block_damaged(number, "expected a block's frame"))?;
        if !Frame::checksum_fits(self.seed, number, bytes) {
            return Err(self.block_damaged(number, "the block's checksum does not fit"));
        }
        let agrees = frame.kind == kind
            && frame.codec == place.codec
            && bytes.len() as u64 == u64::from(frame.stored_len) + FRAME_LEN as u64;
        if !agrees {
            return Err(self.block_damaged(number, "the block's frame disagrees with the offset table"));
        }
        Ok(frame)
    }

    /// A block's place, inside the region of the blocks.
    #[inline]
    pub(crate) fn block_place(&self, number: u32) -> Result<BlockPlace> {
        let table = section_bytes(self.mapping.as_ref(), &self.table_bytes);
        array_at(table, number as usize * PLACE_LEN)
            .and_then(BlockPlace::decode)
            .filter(|place| {
                let end = u64::from(place.start) + u64::from(place.len);
                place.start as usize >= HEADER_LEN
                    && place.len as usize >= FRAME_LEN
                    && end <= self.footer.filter.offset
            })
            .ok_or_else(|| {
                let what = format!(
                    "expected the place of block {number} of {}",
                    self.footer.block_count
                );
                Error::corruption(&self.path, self.footer.offset_table.offset, what)
            })
    }

    #[inline]
    pub(crate) fn bytes<'a>(&'a self, block: &'a BlockBytes) -> &'a [u8] {
        match (block, &self.mapping) {
            (BlockBytes::Shared(bytes), _) => bytes,
            (BlockBytes::Mapped(range), Some(mapping)) => mapping.get(range.clone()).unwrap_or_default(),
            (BlockBytes::Mapped(_), None) => &[],
        }
    }

    #[inline]
    fn is_verified(&self, number: u32) -> bool {
        let word = self.verified.get(number as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1)
    }

    fn set_verified(&self, number: u32) {
        if let Some(word) = self.verified.get(number as usize / 64) {
            word.fetch_or(1 << (number % 64), Ordering::Relaxed);
        }
    }

    // Errors.

    #[cold]
    pub(crate) fn block_damaged(&self, number: u32, what: &str) -> Error {
        let offset = self
            .block_place(number)
            .map_or(self.footer.offset_table.offset, |place| place.start.into());
        Error::corruption(&self.path, offset, format!("block {number}: {what}"))
    }

    #[cold]
    pub(crate) fn index_damaged(&self) -> Error {
        Error::corruption(
            &self.path,
            self.footer.index.offset,
            "expected sorted separators in the index",
        )
    }

    #[cold]
    pub(crate) fn entry_refused(&self, number: u32, error: EntryError) -> Error {
        match error {
            EntryError::Damaged => self.block_damaged(number, "expected an entry"),
            EntryError::Newer(kind) => {
                let what = format!("block {number} has an entry of kind {kind}, written by a newer release");
                Error::NewerFormat {
                    path: self.path.clone(),
                    what,
                }
            }
        }
    }
}

/// The value of an entry that needs no block.
fn in_place(place: &ValuePlace) -> &[u8] {
    match place {
        ValuePlace::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        _ => &[],
    }
}

#[inline]
pub(super) fn section_bytes<'a>(mapping: Option<&'a Mapping>, section: &'a Section) -> &'a [u8] {
    match (section, mapping) {
        (Section::Heap(bytes), _) => bytes,
        (Section::Mapped(range), Some(mapping)) => mapping.get(range.clone()).unwrap_or_default(),
        (Section::Mapped(_), None) => &[],
    }
}
