//! [`SstCursor`]: a position in one file, moving in both directions.
//!
//! Its keys are sort keys (`order`). It keeps the key block that it stands in, parsed, and the sort key in a buffer of its own:
//! the prefix is written once per block, the suffix (and in hash order the hash) at every step. Values are read when they are asked for; a scan of keys touches no value block. The
//! value block that was read last is kept, so that neighbouring small values cost one look-up together.
//!
//! With read-ahead (pread only) blocks are read through two windows of up to 256 KiB (`read_ahead`).
//!
//! Invariant: `valid` implies that a block is loaded and `key`, `seq`, `place` are those of its entry `i`.
//!
//! Callers: merges of sources in the engine, compaction (`access: Some(Pread)`, `fill_cache: false`, `read_ahead: true`),
//! tools. A cursor belongs to one thread at a time.

use std::cell::RefCell;
use std::sync::Arc;

use super::frame::{BlockKind, FRAME_LEN};
use super::index_reader::IndexReader;
use super::key_block::KeyBlock;
use super::order::split;
use super::read_ahead::Windows;
use super::reader::{Access, BlockBytes, RawBlock, Sst};
use crate::cursor::Cursor;
use crate::types::{ObjectRef, SeqNo, ValuePlace, ValueRef};
use crate::{Result, Slice};

/// How a cursor reads.
#[derive(Clone, Copy, Debug)]
pub struct CursorOptions {
    /// Mapped or pread; `None`: as the file was opened. A file opened for pread can't be read mapped.
    pub access: Option<Access>,
    /// Whether blocks that it reads are kept in the cache. Large scans say no, and leave the cache to others.
    pub fill_cache: bool,
    /// Whether to read ahead; pread only.
    pub read_ahead: bool,
}

impl Default for CursorOptions {
    fn default() -> Self {
        CursorOptions {
            access: None,
            fill_cache: true,
            read_ahead: false,
        }
    }
}

/// A key block that the cursor stands in.
struct Loaded {
    /// Its entry of the index.
    at: u32,
    number: u32,
    block: BlockBytes,
    keys: KeyBlock,
}

/// What `load`, which takes `&self`, remembers.
#[derive(Default)]
struct Reading {
    last_values: Option<(u32, BlockBytes)>,
    windows: Windows,
}

/// A position in an SST. See the module's comment.
pub struct SstCursor {
    sst: Arc<Sst>,
    access: Access,
    fill_cache: bool,
    read_ahead: bool,
    index: IndexReader,
    loaded: Option<Loaded>,
    i: u32,
    valid: bool,
    key: Vec<u8>,
    seq: SeqNo,
    place: ValuePlace,
    reading: RefCell<Reading>,
}

impl Sst {
    /// A cursor that stands nowhere. It keeps the file open.
    pub fn cursor(self: &Arc<Self>, options: CursorOptions) -> SstCursor {
        let access = self.access_or(options.access);
        SstCursor {
            sst: Arc::clone(self),
            access,
            fill_cache: options.fill_cache,
            read_ahead: options.read_ahead && access == Access::Pread,
            index: IndexReader::new(access, options.fill_cache),
            loaded: None,
            i: 0,
            valid: false,
            key: Vec::new(),
            seq: 0,
            place: ValuePlace::Tombstone,
            reading: RefCell::default(),
        }
    }
}

impl SstCursor {
    /// The file that it reads.
    pub fn sst(&self) -> &Arc<Sst> {
        &self.sst
    }

    /// Reads ahead by so many bytes at most, instead of 256 KiB, which is more than any.
    pub(crate) fn with_window(mut self, bytes: u64) -> SstCursor {
        self.reading.get_mut().windows.limit(bytes);
        self
    }

    /// As [`Sst::raw_block`], through the cursor's read-ahead.
    pub fn raw_block(&self, place: ValuePlace) -> Result<RawBlock> {
        let ValuePlace::Medium { block, len } = place else {
            return self.sst.raw_block(place);
        };
        let block_place = self.sst.place_of_kind(block, BlockKind::Medium)?;
        let mut reading = self.reading.borrow_mut();
        if !self.read_ahead || u64::from(block_place.len) > reading.windows.size() {
            return self.sst.raw_block(place);
        }
        let stored = reading.windows.frame(&self.sst, block_place)?;
        let frame = self.sst.check_frame(block, block_place, stored)?;
        if frame.uncompressed_len != len {
            return Err(self
                .sst
                .block_damaged(block, "a medium value of another length than its entry says"));
        }
        let stored = stored.get(FRAME_LEN..).unwrap_or_default().to_vec();
        Ok(RawBlock {
            codec: frame.codec,
            stored,
            uncompressed_len: len,
        })
    }

    fn read_block(&self, reading: &mut Reading, number: u32, kind: BlockKind) -> Result<BlockBytes> {
        if !self.read_ahead {
            return self.sst.block(number, kind, self.access, self.fill_cache);
        }
        if let Some(block) = self.sst.cached(number, kind) {
            return Ok(block);
        }
        let place = self.sst.place_of_kind(number, kind)?;
        if u64::from(place.len) > reading.windows.size() {
            return self.sst.block_at(number, place, self.access, self.fill_cache);
        }
        let stored = reading.windows.frame(&self.sst, place)?;
        let frame = self.sst.check_frame(number, place, stored)?;
        self.sst.decoded(number, frame, stored, self.fill_cache)
    }

    /// A value or reference in a key block: this cursor's, as a rule.
    fn with_row<T>(&self, block: u32, offset: u32, len: u32, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if let Some(loaded) = self.loaded.as_ref().filter(|loaded| loaded.number == block) {
            let bytes = self.sst.bytes(&loaded.block);
            return Ok(take(self.sst.small(bytes, block, offset, len)?));
        }
        let bytes = self.read_block(&mut self.reading.borrow_mut(), block, BlockKind::Key)?;
        Ok(take(self.sst.small(
            self.sst.bytes(&bytes),
            block,
            offset,
            len,
        )?))
    }

    fn with_small<T>(&self, block: u32, offset: u32, len: u32, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let mut reading = self.reading.borrow_mut();
        if reading
            .last_values
            .as_ref()
            .is_none_or(|(number, _)| *number != block)
        {
            reading.last_values = None;
            let bytes = self.read_block(&mut reading, block, BlockKind::Value)?;
            reading.last_values = Some((block, bytes));
        }
        let values = reading
            .last_values
            .as_ref()
            .map_or(&[][..], |(_, bytes)| self.sst.bytes(bytes));
        Ok(take(self.sst.small(values, block, offset, len)?))
    }

    fn medium(&self, place: ValuePlace) -> Result<BlockBytes> {
        let ValuePlace::Medium { block, len } = place else {
            return Ok(BlockBytes::Shared(Arc::from([])));
        };
        let bytes = self.read_block(&mut self.reading.borrow_mut(), block, BlockKind::Medium)?;
        if self.sst.bytes(&bytes).len() != len as usize {
            return Err(self
                .sst
                .block_damaged(block, "a medium value of another length than its entry says"));
        }
        Ok(bytes)
    }

    /// Makes the key block of entry `at` of the index the current one.
    fn load_block(&mut self, at: u32) -> Result<()> {
        if self.loaded.as_ref().is_some_and(|loaded| loaded.at == at) {
            return Ok(());
        }
        self.valid = false;
        self.loaded = None;
        let number = self.index.child(&self.sst, at)?;
        let block = self.read_block(&mut self.reading.borrow_mut(), number, BlockKind::Key)?;
        let bytes = self.sst.bytes(&block);
        let keys = self.sst.key_block(number, bytes)?;
        keys.begin_key(bytes, &mut self.key)
            .ok_or_else(|| self.sst.block_damaged(number, "expected a key block"))?;
        self.loaded = Some(Loaded {
            at,
            number,
            block,
            keys,
        });
        Ok(())
    }

    /// Stands on entry `i` of the current block.
    #[inline]
    fn stand(&mut self, i: u32) -> Result<()> {
        let Some(loaded) = &self.loaded else {
            self.valid = false;
            return Ok(());
        };
        let bytes = self.sst.bytes(&loaded.block);
        let key = loaded.keys.sort_key(bytes, i, self.sst.order(), &mut self.key);
        let entry = loaded.keys.entry(bytes, i, loaded.number);
        match (key, entry) {
            (Some(()), Ok((seq, place))) => {
                (self.seq, self.place, self.i, self.valid) = (seq, place, i, true);
                Ok(())
            }
            (_, entry) => {
                let error = entry.err().unwrap_or(super::key_block::EntryError::Damaged);
                let error = self.sst.entry_refused(loaded.number, error);
                self.forget();
                Err(error)
            }
        }
    }

    /// Stands nowhere.
    fn forget(&mut self) {
        self.valid = false;
        self.loaded = None;
    }

    fn count(&self) -> u32 {
        self.loaded.as_ref().map_or(0, |loaded| loaded.keys.count())
    }

    /// Where (`key`, `seq`) would stand in the current block.
    fn lower_bound(&self, key: &[u8], seq: SeqNo) -> Result<u32> {
        let Some(loaded) = &self.loaded else { return Ok(0) };
        let found = loaded
            .keys
            .lower_bound(self.sst.bytes(&loaded.block), key, seq, self.sst.order());
        found.ok_or_else(|| self.sst.block_damaged(loaded.number, "expected sorted keys"))
    }

    fn try_seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let mut at = self.index.lower_bound(&self.sst, key, split(key).0)?;
        while at < self.sst.index_count() {
            self.load_block(at)?;
            let i = self.lower_bound(key, seq)?;
            if i < self.count() {
                return self.stand(i);
            }
            at += 1;
        }
        self.forget();
        Ok(())
    }

    fn try_seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        // The block of the last entry that is known to lie before the target, beginning with the whole blocks below `key`.
        let mut at = self.index.lower_bound(&self.sst, key, split(key).0)?;
        let mut before = at.checked_sub(1);
        while at < self.sst.index_count() {
            self.load_block(at)?;
            let i = self.lower_bound(key, seq)?;
            if i > 0 && i < self.count() {
                return self.stand(i - 1);
            }
            if i == 0 {
                break;
            }
            before = Some(at);
            // Only versions of `key` itself, or keys of its hash, can go on before the target in the next block.
            if !self.index.goes_on(&self.sst, at, key, split(key).0)? {
                break;
            }
            at += 1;
        }
        let Some(before) = before else {
            self.forget();
            return Ok(());
        };
        self.load_block(before)?;
        self.stand(self.count() - 1)
    }

    /// Stands nowhere if moving failed.
    #[inline]
    fn moved(&mut self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.forget();
        }
        result
    }

    #[inline]
    fn set_direction(&mut self, backwards: bool) {
        if self.read_ahead {
            self.reading.get_mut().windows.backwards = backwards;
        }
    }

    #[cold]
    fn next_block(&mut self) -> Result<()> {
        let at = self.loaded.as_ref().map_or(0, |loaded| loaded.at) + 1;
        if at >= self.sst.index_count() {
            self.forget();
            return Ok(());
        }
        self.set_direction(false);
        self.load_block(at)?;
        self.stand(0)
    }

    #[cold]
    fn previous_block(&mut self) -> Result<()> {
        let Some(at) = self.loaded.as_ref().and_then(|loaded| loaded.at.checked_sub(1)) else {
            self.forget();
            return Ok(());
        };
        self.set_direction(true);
        self.load_block(at)?;
        self.stand(self.count() - 1)
    }
}

impl Cursor for SstCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.set_direction(false);
        let result = self.load_block(0).and_then(|()| self.stand(0));
        self.moved(result)
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.set_direction(true);
        let last = self.sst.index_count() - 1;
        let result = self.load_block(last).and_then(|()| self.stand(self.count() - 1));
        self.moved(result)
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.set_direction(false);
        let result = self.try_seek(key, seq);
        self.moved(result)
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.set_direction(true);
        let result = self.try_seek_before(key, seq);
        self.moved(result)
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if !self.valid {
            return Ok(());
        }
        if self.i + 1 < self.count() {
            return self.stand(self.i + 1);
        }
        let result = self.next_block();
        self.moved(result)
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if !self.valid {
            return Ok(());
        }
        if self.i > 0 {
            return self.stand(self.i - 1);
        }
        let result = self.previous_block();
        self.moved(result)
    }

    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> &[u8] {
        if self.valid { &self.key } else { &[] }
    }

    #[inline]
    fn seq(&self) -> SeqNo {
        if self.valid { self.seq } else { 0 }
    }

    #[inline]
    fn value(&self) -> ValueRef {
        ValueRef::new(if self.valid {
            self.place
        } else {
            ValuePlace::Tombstone
        })
    }

    fn load(&self, value: ValueRef) -> Result<Slice> {
        match value.place {
            ValuePlace::InKeyBlock { block, offset, len } => {
                self.with_row(block, offset, len, |v| Slice::from(v))
            }
            ValuePlace::Object { block, offset } => {
                self.with_row(block, offset, ObjectRef::LEN as u32, |v| Slice::from(v))
            }
            ValuePlace::Small { block, offset, len } => {
                self.with_small(block, offset, len, |v| Slice::from(v))
            }
            place @ ValuePlace::Medium { .. } => match self.medium(place)? {
                BlockBytes::Shared(bytes) => Ok(Slice::from(bytes)),
                mapped => Ok(Slice::from(self.sst.bytes(&mapped))),
            },
            place => self.sst.load(place),
        }
    }

    fn load_into(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        match value.place {
            ValuePlace::InKeyBlock { block, offset, len } => {
                out.clear();
                self.with_row(block, offset, len, |value| out.extend_from_slice(value))
            }
            ValuePlace::Object { block, offset } => {
                out.clear();
                let len = ObjectRef::LEN as u32;
                self.with_row(block, offset, len, |reference| out.extend_from_slice(reference))
            }
            ValuePlace::Small { block, offset, len } => {
                out.clear();
                self.with_small(block, offset, len, |value| out.extend_from_slice(value))
            }
            place @ ValuePlace::Medium { .. } => {
                out.clear();
                let block = self.medium(place)?;
                out.extend_from_slice(self.sst.bytes(&block));
                Ok(())
            }
            place => self.sst.load_into(place, out),
        }
    }
}
