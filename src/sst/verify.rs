//! [`Sst::verify`]: reads every byte of a file again, by read calls, and checks all that a reader relies on.
//!
//! Checked: header, footer and sections against their checksums; blocks tile the region between header and filter;
//! every block's frame, checksum and decompression; entries ascend; separators separate, hashes are their keys'; every value's place is in a
//! block of its kind and inside it; the list of references has all ids that entries refer to and no others; partitions lie where the top says; the filter knows every key; properties count what there is.
//!
//! The work divides into parts ([`Verification`]), so that all cores can share one large file.
//!
//! Callers: scrub, repair, tools, tests. Takes as long as reading the file twice: once in file order for the blocks,
//! once for the key blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::footer::HEADER_LEN;
use super::frame::BlockKind;
use super::index_reader::IndexReader;
use super::offset_table::BlockPlace;
use super::order::{SortOrder, split};
use super::properties::{BlockTotals, Properties};
use super::reader::{Access, Sst, SstReadOptions};
use super::references::WholeList;
use crate::types::{ObjectRef, SeqNo, ValuePlace};
use crate::{Error, Result, Slice};

/// Bytes of blocks in one part of the first pass: 4 MiB, some milliseconds of work.
const PART_BYTES: u64 = 4 << 20;
/// Key blocks in one part of the second pass: a mebibyte of them at the default size.
const PART_KEY_BLOCKS: u32 = 64;

/// What a verification has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes of the file, all of them checked.
    pub file_bytes: u64,
    /// Blocks of all kinds.
    pub blocks: u64,
    /// Entries of all kinds.
    pub entries: u64,
    /// Different objects that entries refer to.
    pub references: u64,
}

/// A block as far as places in it need to know it.
#[derive(Clone, Copy)]
struct Seen {
    uncompressed_len: u32,
}

/// The check of one file in parts that any threads may do, in any order: all parts of the first pass, then all of the second, then
/// `finish` with what they gave, in order. Eight bytes for each block are held, the list of references, and one block for each thread.
#[derive(Debug)]
pub struct Verification {
    sst: Arc<Sst>,
    list: WholeList,
    /// Kind and length of each block by its number, once its part of the first pass is done.
    seen: Vec<AtomicU64>,
    /// Block numbers in the order of the file, and where each part begins in them.
    order: Vec<u32>,
    parts: Vec<usize>,
}

/// What one part has found.
#[derive(Clone, Debug, Default)]
pub struct PartReport {
    counted: Properties,
    /// The first key of the part, its number, and whether it is the separator in front of it.
    first: Option<(Vec<u8>, SeqNo, bool)>,
    last: Option<(Vec<u8>, SeqNo)>,
}

impl Sst {
    /// Checks the whole file. The first thing found wrong is the error; see the module's comment for what is checked.
    pub fn verify(&self) -> Result<VerifyReport> {
        let verification = self.verification()?;
        let blocks = (0..verification.block_parts()).map(|part| verification.check_blocks(part));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let keys = (0..verification.key_parts()).map(|part| verification.check_keys(part));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        verification.finish(blocks, keys)
    }

    /// Begins a check in parts. Reads and checks the ends and all sections again, by read calls.
    ///
    /// # Errors
    /// As [`Sst::open`]; blocks that do not tile their region.
    pub fn verification(&self) -> Result<Verification> {
        let options = SstReadOptions {
            access: Access::Pread,
            cache: Arc::new(super::BlockCache::new(0)),
        };
        let again = Sst::open(Arc::clone(&self.file), self.path(), &options)?;
        if again.footer != self.footer || again.properties() != self.properties() {
            return Err(Error::corruption(
                self.path(),
                0,
                "the file has changed since it was opened",
            ));
        }
        Verification::new(Arc::new(again))
    }
}

impl Verification {
    fn new(sst: Arc<Sst>) -> Result<Verification> {
        let count = sst.footer.block_count;
        let mut places: Vec<(u32, BlockPlace)> = (0..count)
            .map(|number| Ok((number, sst.block_place(number)?)))
            .collect::<Result<_>>()?;
        places.sort_unstable_by_key(|(_, place)| place.start);
        let mut at = HEADER_LEN as u64;
        let (mut order, mut parts, mut part_end) = (Vec::with_capacity(places.len()), Vec::new(), 0);
        for (number, place) in places {
            if u64::from(place.start) != at {
                let what = format!("expected block {number} at {at}, its place is {}", place.start);
                return Err(Error::corruption(
                    sst.path(),
                    sst.footer.offset_table.offset,
                    what,
                ));
            }
            if at >= part_end {
                parts.push(order.len());
                part_end = at + PART_BYTES;
            }
            at += u64::from(place.len);
            order.push(number);
        }
        if at != sst.footer.filter.offset {
            let what = "blocks that end where the filter starts";
            return Err(Error::corruption(sst.path(), at, what));
        }
        let seen = std::iter::repeat_with(|| AtomicU64::new(0))
            .take(count as usize)
            .collect();
        let list = WholeList::read(&sst)?;
        Ok(Verification {
            sst,
            list,
            seen,
            order,
            parts,
        })
    }

    /// Parts of the first pass.
    pub fn block_parts(&self) -> usize {
        self.parts.len()
    }

    /// Parts of the second pass.
    pub fn key_parts(&self) -> usize {
        self.sst.index_count().div_ceil(PART_KEY_BLOCKS) as usize
    }

    /// A part of the first pass: every block's frame, checksum and decompression.
    ///
    /// # Errors
    /// The first damaged block.
    pub fn check_blocks(&self, part: usize) -> Result<PartReport> {
        let sst = &self.sst;
        let begin = self.parts.get(part).copied().unwrap_or(self.order.len());
        let end = self.parts.get(part + 1).copied().unwrap_or(self.order.len());
        let mut report = PartReport::default();
        for number in self.order.get(begin..end).unwrap_or_default() {
            let (number, place) = (*number, sst.block_place(*number)?);
            let stored = sst.read_frame(place)?;
            let frame = sst.check_frame(number, place, &stored)?;
            sst.decoded(number, frame, &stored, false)?;
            let totals = match place.kind {
                BlockKind::Key => &mut report.counted.key_blocks,
                BlockKind::Value => &mut report.counted.value_blocks,
                BlockKind::Medium => &mut report.counted.medium_blocks,
                BlockKind::Filter => &mut report.counted.filter_blocks,
                BlockKind::Index => &mut report.counted.index_blocks,
                BlockKind::References => &mut report.counted.reference_blocks,
            };
            *totals = BlockTotals {
                count: totals.count + 1,
                stored_bytes: totals.stored_bytes + u64::from(frame.stored_len),
                uncompressed_bytes: totals.uncompressed_bytes + u64::from(frame.uncompressed_len),
            };
            if let Some(seen) = self.seen.get(number as usize) {
                let packed = u64::from(place.kind.to_bits()) << 32 | u64::from(frame.uncompressed_len);
                seen.store(packed, Ordering::Release);
            }
        }
        Ok(report)
    }

    /// A part of the second pass: order, places of values, references, filter answers, counts. REQUIRES: the first pass has found all whole.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check_keys(&self, part: usize) -> Result<PartReport> {
        let begin = u32::try_from(part)
            .unwrap_or(u32::MAX)
            .saturating_mul(PART_KEY_BLOCKS);
        let end = begin.saturating_add(PART_KEY_BLOCKS).min(self.sst.index_count());
        let mut walk = Walk {
            all: self,
            report: PartReport::default(),
            index: IndexReader::new(Access::Pread, false),
        };
        walk.run(begin, end)?;
        Ok(walk.report)
    }

    /// Puts the parts together, in their order, and compares their sum with what the file says.
    ///
    /// # Errors
    /// Keys that do not ascend from part to part; counts that differ.
    pub fn finish(self, blocks: Vec<PartReport>, keys: Vec<PartReport>) -> Result<VerifyReport> {
        let mut sum = Properties::default();
        for part in &blocks {
            add_totals(&mut sum.key_blocks, &part.counted.key_blocks);
            add_totals(&mut sum.value_blocks, &part.counted.value_blocks);
            add_totals(&mut sum.medium_blocks, &part.counted.medium_blocks);
            add_totals(&mut sum.filter_blocks, &part.counted.filter_blocks);
            add_totals(&mut sum.index_blocks, &part.counted.index_blocks);
            add_totals(&mut sum.reference_blocks, &part.counted.reference_blocks);
        }
        for partition in 0..self.sst.partition_count() {
            self.sst.check_partition(partition)?;
        }
        let [filters, indexes] = self.sst.partition_blocks()?;
        if u64::from(self.sst.index_count()) != sum.key_blocks.count
            || filters != sum.filter_blocks.count
            || indexes != sum.index_blocks.count
        {
            return Err(self.sst.index_damaged());
        }
        let mut last: Option<(Vec<u8>, SeqNo)> = None;
        for part in keys {
            let Some((key, seq, is_separator)) = &part.first else {
                continue;
            };
            let order = last.as_ref().map(|(before, _)| before.cmp(key));
            let goes_on = order == Some(std::cmp::Ordering::Equal);
            let ascends = match order {
                None | Some(std::cmp::Ordering::Less) => true,
                Some(std::cmp::Ordering::Equal) => last.as_ref().is_some_and(|(_, before)| before > seq),
                Some(std::cmp::Ordering::Greater) => false,
            };
            if !ascends || (*is_separator && !goes_on) {
                return Err(self.sst.index_damaged());
            }
            add_entries(&mut sum, &part.counted);
            sum.key_count -= u64::from(goes_on);
            last = part.last;
        }
        sum.references = self.list.noted();
        sum.max_key = last.map(|(key, _)| Slice::from(key)).unwrap_or_default();
        self.sst.compare(&sum)?;
        Ok(VerifyReport {
            file_bytes: self.sst.footer.file_len,
            blocks: self.order.len() as u64,
            entries: sum.entry_count,
            references: sum.references,
        })
    }

    fn seen(&self, block: u32, kind: BlockKind) -> Option<Seen> {
        let packed = self.seen.get(block as usize)?.load(Ordering::Acquire);
        let found = BlockKind::from_bits((packed >> 32) as u8)?;
        (found == kind).then_some(Seen {
            uncompressed_len: packed as u32,
        })
    }
}

fn add_totals(sum: &mut BlockTotals, part: &BlockTotals) {
    sum.count += part.count;
    sum.stored_bytes += part.stored_bytes;
    sum.uncompressed_bytes += part.uncompressed_bytes;
}

fn add_entries(sum: &mut Properties, part: &Properties) {
    if sum.entry_count == 0 {
        (sum.min_key, sum.min_seq, sum.max_seq) = (part.min_key.clone(), part.min_seq, part.max_seq);
    }
    sum.min_seq = sum.min_seq.min(part.min_seq);
    sum.max_seq = sum.max_seq.max(part.max_seq);
    sum.entry_count += part.entry_count;
    sum.key_count += part.key_count;
    sum.inline_count += part.inline_count;
    sum.small_count += part.small_count;
    sum.medium_count += part.medium_count;
    sum.tombstone_count += part.tombstone_count;
    sum.object_count += part.object_count;
    sum.referenced_bytes = sum.referenced_bytes.saturating_add(part.referenced_bytes);
    sum.raw_key_bytes += part.raw_key_bytes;
    sum.raw_value_bytes += part.raw_value_bytes;
}

impl Sst {
    /// Compares what was counted with what the properties say.
    fn compare(&self, counted: &Properties) -> Result<()> {
        let said = self.properties();
        let expected = Properties {
            keyspace: said.keyspace,
            file_number: said.file_number,
            compression: said.compression,
            replaces: said.replaces.clone(),
            order: said.order,
            // Every id behind it has been found there.
            first_reference_block: match said.references {
                0 => 0,
                _ => said.first_reference_block,
            },
            origin: said.origin.clone(),
            ..counted.clone()
        };
        if *said != expected {
            let what =
                format!("properties that agree with the contents; said {said:?}, counted {expected:?}");
            return Err(Error::corruption(
                self.path(),
                self.footer.properties.offset,
                what,
            ));
        }
        Ok(())
    }
}

/// The walk over the entries of a part, in order.
struct Walk<'a> {
    all: &'a Verification,
    report: PartReport,
    index: IndexReader,
}

impl Walk<'_> {
    fn run(&mut self, begin: u32, end: u32) -> Result<()> {
        let sst = &self.all.sst;
        let before = begin.checked_sub(1);
        let mut separator = before.map(|at| self.index.separator(sst, at)).transpose()?;
        let mut last_child = before.map(|at| self.index.child(sst, at)).transpose()?;
        for at in begin..end {
            let number = self.index.child(sst, at)?;
            // Numbers are reserved in the order of the keys, so that every block comes up once.
            if last_child >= Some(number) {
                return Err(sst.index_damaged());
            }
            last_child = Some(number);
            let least = self.index.least_hash(sst, at)?;
            self.key_block(number, separator.as_deref(), least)?;
            let above = self.index.separator(sst, at)?;
            let last = self.report.last.as_ref().map(|(key, _)| key.as_slice());
            let fits = match sst.order() {
                SortOrder::Key => last.is_none_or(|key| *key <= *above),
                SortOrder::Hash { .. } => last.is_none_or(|key| key.starts_with(&above)),
            };
            if !fits {
                return Err(sst.index_damaged());
            }
            separator = Some(above);
        }
        Ok(())
    }

    /// `least`: the hash that the index says the block begins with, if it does.
    fn key_block(&mut self, number: u32, separator: Option<&[u8]>, least: Option<u64>) -> Result<()> {
        let sst = &self.all.sst;
        let damaged = |what: &str| sst.block_damaged(number, what);
        let block = sst.block(number, BlockKind::Key, Access::Pread, false)?;
        let bytes = sst.bytes(&block);
        let keys = sst.key_block(number, bytes)?;
        let mut whole = Vec::new();
        keys.begin_key(bytes, &mut whole)
            .ok_or_else(|| damaged("expected a prefix"))?;
        for i in 0..keys.count() {
            keys.sort_key(bytes, i, sst.order(), &mut whole)
                .ok_or_else(|| damaged("expected a key"))?;
            let key = whole.clone();
            if !sst.order().is_sort_key(&key) {
                return Err(damaged("a hash that is its key's"));
            }
            let (seq, place) = keys
                .entry(bytes, i, number)
                .map_err(|e| sst.entry_refused(number, e))?;
            let last = self.report.last.as_ref();
            let new_key = last.is_none_or(|(last, _)| *last != key);
            // A separator lies below the next block's first key, or is that key if its versions go on.
            // What that key was is not known at the beginning of a part: `finish` looks at it.
            let is_separator = i == 0 && separator.is_some_and(|s| s == key);
            let disputed = is_separator && new_key && last.is_some();
            if i == 0 && (disputed || separator.is_some_and(|s| s > key.as_slice())) {
                return Err(sst.index_damaged());
            }
            // What interpolation starts from.
            if i == 0 && least.is_some_and(|least| least != split(&key).0) {
                return Err(sst.index_damaged());
            }
            if last.is_none() {
                self.report.first = Some((key.clone(), seq, is_separator));
            }
            if last.is_some_and(|(last, last_seq)| *last > key || (*last == key && *last_seq <= seq)) {
                return Err(damaged("entries that ascend by key and descend by number"));
            }
            let hash = match sst.order() {
                SortOrder::Key => SortOrder::Key.hash(&key),
                SortOrder::Hash { .. } => split(&key).0,
            };
            if !self.index.may_contain(sst, &key, hash)? {
                return Err(damaged("a key that the filter knows"));
            }
            if let ValuePlace::Object { block, offset } = place {
                self.object(sst.reference(bytes, block, offset)?)
                    .ok_or_else(|| damaged("a reference whose id is in the list of references"))?;
            }
            let value_len = self
                .value_len(place)
                .ok_or_else(|| damaged("a value where its entry says"))?;
            self.count(&key, seq, place, value_len, new_key);
            self.report.last = Some((key, seq));
        }
        Ok(())
    }

    /// Counts a reference; `None` when the list of references lacks it.
    fn object(&mut self, object: ObjectRef) -> Option<()> {
        let sum = &mut self.report.counted.referenced_bytes;
        *sum = sum.saturating_add(object.len);
        self.all.list.note(&object.id).then_some(())
    }

    /// The length of the value; `None` when there is none at its place.
    fn value_len(&self, place: ValuePlace) -> Option<u32> {
        let seen = |block: u32, kind| self.all.seen(block, kind);
        match place {
            ValuePlace::Tombstone => Some(0),
            ValuePlace::Inline { len, .. } => Some(len.into()),
            // Taken from this very block, and inside it.
            ValuePlace::InKeyBlock { len, .. } => Some(len),
            ValuePlace::Small { block, offset, len } => {
                let end = u64::from(offset) + u64::from(len);
                seen(block, BlockKind::Value)
                    .filter(|seen| end <= seen.uncompressed_len.into())
                    .map(|_| len)
            }
            ValuePlace::Medium { block, len } => seen(block, BlockKind::Medium)
                .filter(|seen| seen.uncompressed_len == len)
                .map(|_| len),
            // Taken from this very block, and inside it.
            ValuePlace::Object { .. } => Some(ObjectRef::LEN as u32),
            ValuePlace::Memory { .. } | ValuePlace::MemoryObject { .. } => None,
        }
    }

    fn count(&mut self, key: &[u8], seq: SeqNo, place: ValuePlace, value_len: u32, new_key: bool) {
        let c = &mut self.report.counted;
        if c.entry_count == 0 {
            (c.min_key, c.min_seq, c.max_seq) = (Slice::from(key), seq, seq);
        }
        c.entry_count += 1;
        c.key_count += u64::from(new_key);
        c.min_seq = c.min_seq.min(seq);
        c.max_seq = c.max_seq.max(seq);
        c.raw_key_bytes += self.all.sst.order().key_of(key).len() as u64;
        c.raw_value_bytes += u64::from(value_len);
        match place {
            ValuePlace::Inline { .. } | ValuePlace::InKeyBlock { .. } | ValuePlace::Memory { .. } => {
                c.inline_count += 1;
            }
            ValuePlace::Small { .. } => c.small_count += 1,
            ValuePlace::Medium { .. } => c.medium_count += 1,
            ValuePlace::Object { .. } | ValuePlace::MemoryObject { .. } => c.object_count += 1,
            ValuePlace::Tombstone => c.tombstone_count += 1,
        }
    }
}
