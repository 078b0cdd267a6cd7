//! The blocks of an open file: from the mapping, from the cache, or by a read call; verified before they are believed. And the pages
//! of its offset table, which come the same ways.
//!
//! Callers: everything that reads SSTs, through [`Sst`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::footer::{HEADER_LEN, SectionPlace};
use super::frame::{BlockKind, Codec, FRAME_LEN, Frame};
use super::key_block::EntryError;
use super::offset_table::{BlockPlace, PLACE_LEN, page_fits, place_at, sums_len};
use super::reader::{Access, BlockBytes, Sst};
use crate::env::Mapping;
use crate::{Error, Result};

/// One bit each, that is set once and for all.
#[derive(Debug)]
pub(super) struct Bits(Box<[AtomicU64]>);

impl Bits {
    pub(super) fn new(count: u32) -> Self {
        let words = (count as usize).div_ceil(64);
        Bits(std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect())
    }

    #[inline]
    fn get(&self, i: u32) -> bool {
        let word = self.0.get(i as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (i % 64) & 1 == 1)
    }

    pub(super) fn set(&self, i: u32) {
        if let Some(word) = self.0.get(i as usize / 64) {
            word.fetch_or(1 << (i % 64), Ordering::Relaxed);
        }
    }

    /// How many are set.
    pub(super) fn count(&self) -> u64 {
        let ones = |word: &AtomicU64| u64::from(word.load(Ordering::Relaxed).count_ones());
        self.0.iter().map(ones).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<AtomicU64>()
    }
}

impl Sst {
    #[inline]
    fn mapped(&self, access: Access) -> Option<&Mapping> {
        self.source.mapping.as_ref().filter(|_| access == Access::Mapped)
    }

    /// The bytes of a block, verified; `fill`: keep a copy in the cache.
    #[inline]
    pub(crate) fn block(
        &self,
        number: u32,
        kind: BlockKind,
        access: Access,
        fill: bool,
    ) -> Result<BlockBytes> {
        if let Some(mapping) = self.mapped(access) {
            let place = self.place_of_kind(number, kind)?;
            return self.block_from_mapping(mapping, number, place, fill);
        }
        if let Some(bytes) = self.cached(number, kind) {
            return Ok(bytes);
        }
        let place = self.place_of_kind(number, kind)?;
        self.block_by_pread(number, place, fill)
    }

    /// As `block`, where the place is known.
    #[inline]
    pub(super) fn block_at(
        &self,
        number: u32,
        place: BlockPlace,
        access: Access,
        fill: bool,
    ) -> Result<BlockBytes> {
        if let Some(mapping) = self.mapped(access) {
            return self.block_from_mapping(mapping, number, place, fill);
        }
        match self.cached(number, place.kind) {
            Some(bytes) => Ok(bytes),
            None => self.block_by_pread(number, place, fill),
        }
    }

    #[inline]
    fn block_from_mapping(
        &self,
        mapping: &Mapping,
        number: u32,
        place: BlockPlace,
        fill: bool,
    ) -> Result<BlockBytes> {
        let range = place.start as usize..place.start as usize + place.len as usize;
        if place.codec == Codec::Raw && self.verified.get(number) {
            return Ok(BlockBytes::Mapped(range.start + FRAME_LEN..range.end));
        }
        self.block_first_touched(mapping, number, place, range, fill)
    }

    /// The slow path: a compressed block, or the first touch of a raw one.
    fn block_first_touched(
        &self,
        mapping: &Mapping,
        number: u32,
        place: BlockPlace,
        range: Range<usize>,
        fill: bool,
    ) -> Result<BlockBytes> {
        if let Some(bytes) = self.cached(number, place.kind) {
            return Ok(bytes);
        }
        let stored = mapping
            .get(range.clone())
            .ok_or_else(|| self.block_damaged(number, "a block inside the file"))?;
        let frame = self.check_frame(number, place, stored)?;
        match frame.codec {
            Codec::Raw => {
                self.verified.set(number);
                Ok(BlockBytes::Mapped(range.start + FRAME_LEN..range.end))
            }
            Codec::Lz4 => self.decoded(number, frame, stored, fill),
        }
    }

    fn block_by_pread(&self, number: u32, place: BlockPlace, fill: bool) -> Result<BlockBytes> {
        let stored = self.read_frame(place)?;
        let frame = self.check_frame(number, place, &stored)?;
        self.decoded(number, frame, &stored, fill)
    }

    /// A block out of the cache.
    #[inline]
    pub(crate) fn cached(&self, number: u32, kind: BlockKind) -> Option<BlockBytes> {
        self.cache
            .get(self.cache_id, number, kind)
            .map(BlockBytes::Shared)
    }

    /// Decodes a block whose frame has been checked.
    pub(crate) fn decoded(&self, number: u32, frame: Frame, stored: &[u8], fill: bool) -> Result<BlockBytes> {
        let bytes = self.decode_frame(number, frame, stored)?;
        if fill {
            self.cache.insert(self.cache_id, number, frame.kind, &bytes);
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

    /// Frame and stored bytes of a block, by a read call; unchecked. REQUIRES: the place has been checked against the file's
    /// length, so that there is no larger allocation than the input.
    pub(crate) fn read_frame(&self, place: BlockPlace) -> Result<Vec<u8>> {
        let mut bytes = vec![0; place.len as usize];
        let read = self.file.read_exact_at(place.start.into(), &mut bytes);
        read.map_err(|e| Error::io("read", self.path(), e))?;
        Ok(bytes)
    }

    /// Checks a whole frame: that it is one, agrees with its place, and that its checksum is right.
    pub(crate) fn check_frame(&self, number: u32, place: BlockPlace, bytes: &[u8]) -> Result<Frame> {
        let frame =
            Frame::parse(bytes).ok_or_else(|| self.block_damaged(number, "expected a block's frame"))?;
        if !Frame::checksum_fits(self.seed, number, bytes) {
            return Err(self.block_damaged(number, "the block's checksum does not fit"));
        }
        let agrees = frame.kind == place.kind
            && frame.codec == place.codec
            && bytes.len() as u64 == u64::from(frame.stored_len) + FRAME_LEN as u64;
        if !agrees {
            return Err(self.block_damaged(number, "the block's frame disagrees with the offset table"));
        }
        Ok(frame)
    }

    /// The place of a block that must be of a kind.
    #[inline]
    pub(crate) fn place_of_kind(&self, number: u32, kind: BlockKind) -> Result<BlockPlace> {
        let place = self.block_place(number)?;
        if place.kind != kind {
            return Err(self.block_damaged(number, "a block of another kind than was asked for"));
        }
        Ok(place)
    }

    /// A block's place, inside the region of the blocks.
    #[inline]
    pub(crate) fn block_place(&self, number: u32) -> Result<BlockPlace> {
        let place = if self.table_held {
            let sums = sums_len(self.footer.block_count, self.footer.page_places) as usize;
            let table = self.source.section(self.footer.offset_table);
            place_at(table.get(sums..).unwrap_or_default(), number as usize)
        } else {
            self.place_in_page(number)?
        };
        place
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
                Error::corruption(self.path(), self.footer.offset_table.offset, what)
            })
    }

    /// The same out of a table that is read by pages.
    fn place_in_page(&self, number: u32) -> Result<Option<BlockPlace>> {
        let footer = &self.footer;
        // A power of two, checked at open.
        let page_places = footer.page_places.max(1);
        let (page, i) = (number / page_places, (number % page_places) as usize);
        if number >= footer.block_count {
            return Ok(None);
        }
        let first = page.saturating_mul(page_places);
        let count = page_places.min(footer.block_count - first);
        let range = SectionPlace {
            offset: footer.offset_table.offset
                + sums_len(footer.block_count, footer.page_places)
                + u64::from(first) * PLACE_LEN as u64,
            // The table's length is a u32.
            len: count * PLACE_LEN as u32,
            crc: 0,
        };
        if self.source.mapping.is_some() {
            let bytes = self.source.section(range);
            if !self.verified_pages.get(page) {
                self.check_page(page, range, bytes)?;
                self.verified_pages.set(page);
            }
            return Ok(place_at(bytes, i));
        }
        if let Some(bytes) = self.cache.get_page(self.cache_id, page) {
            return Ok(place_at(&bytes, i));
        }
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, range.len as usize).collect();
        if let Some(room) = Arc::get_mut(&mut bytes) {
            let read = self.file.read_exact_at(range.offset, room);
            read.map_err(|e| Error::io("read", self.path(), e))?;
        }
        self.check_page(page, range, &bytes)?;
        self.cache.insert_page(self.cache_id, page, &bytes);
        Ok(place_at(&bytes, i))
    }

    fn check_page(&self, page: u32, range: SectionPlace, bytes: &[u8]) -> Result<()> {
        let footer = &self.footer;
        let sums = self.source.section(SectionPlace {
            len: sums_len(footer.block_count, footer.page_places) as u32,
            ..footer.offset_table
        });
        if page_fits(sums, page, bytes, self.seed) {
            return Ok(());
        }
        let what = format!("the checksum of page {page} of the offset table does not fit");
        Err(Error::corruption(self.path(), range.offset, what))
    }

    #[inline]
    pub(crate) fn bytes<'a>(&'a self, block: &'a BlockBytes) -> &'a [u8] {
        match (block, &self.source.mapping) {
            (BlockBytes::Shared(bytes), _) => bytes,
            (BlockBytes::Mapped(range), Some(mapping)) => mapping.get(range.clone()).unwrap_or_default(),
            (BlockBytes::Mapped(_), None) => &[],
        }
    }

    // Errors.

    #[cold]
    pub(crate) fn block_damaged(&self, number: u32, what: &str) -> Error {
        let offset = self
            .block_place(number)
            .map_or(self.footer.offset_table.offset, |place| place.start.into());
        Error::corruption(self.path(), offset, format!("block {number}: {what}"))
    }

    #[cold]
    pub(crate) fn entry_refused(&self, number: u32, error: EntryError) -> Error {
        match error {
            EntryError::Damaged => self.block_damaged(number, "expected an entry"),
            EntryError::Newer(kind) => {
                let what = format!("block {number} has an entry of kind {kind}, written by a newer release");
                Error::NewerFormat {
                    path: self.path().to_path_buf(),
                    what,
                }
            }
        }
    }
}
