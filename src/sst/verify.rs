//! [`Sst::verify`]: reads every byte of a file again, by read calls, and checks all that a reader relies on.
//!
//! Checked: header, footer and sections against their checksums; blocks tile the region between header and filter;
//! every block's frame, checksum and decompression; entries ascend; separators separate; every value reference leads to a
//! block of its kind and inside it; the filter knows every key; properties count what there is.
//!
//! Callers: scrub, repair, tools, tests. Takes as long as reading the file twice: once in file order for the blocks,
//! once for the key blocks.

use super::footer::{BlockPlace, HEADER_LEN};
use super::frame::BlockKind;
use super::hash_key;
use super::key_block::{BlockUse, KeyBlock};
use super::properties::{BlockTotals, Properties};
use super::reader::{Access, Sst, SstReadOptions};
use crate::types::{SeqNo, ValuePlace};
use crate::{Error, Result, Slice};

/// What a verification has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes of the file, all of them checked.
    pub file_bytes: u64,
    /// Blocks of all kinds.
    pub blocks: u64,
    /// Entries of all kinds.
    pub entries: u64,
}

/// A block as far as references to it need to know it.
#[derive(Clone, Copy)]
struct Seen {
    kind: BlockKind,
    uncompressed_len: u32,
}

impl Sst {
    /// Checks the whole file. The first thing found wrong is the error; see the module's comment for what is checked.
    pub fn verify(&self) -> Result<VerifyReport> {
        // Opening again, for pread, reads and checks the ends and all sections.
        let options = SstReadOptions {
            access: Access::Pread,
            cache: std::sync::Arc::new(super::BlockCache::new(0)),
        };
        let again = Sst::open(std::sync::Arc::clone(&self.file), self.path(), &options)?;
        if again.footer != self.footer || again.properties() != self.properties() {
            return Err(Error::corruption(
                self.path(),
                0,
                "the file has changed since it was opened",
            ));
        }
        let mut counted = Properties::default();
        let blocks = again.verify_blocks(&mut counted)?;
        Walk {
            sst: &again,
            blocks: &blocks,
            counted: &mut counted,
            last: None,
        }
        .run()?;
        again.compare(&counted)?;
        Ok(VerifyReport {
            file_bytes: self.footer.file_len,
            blocks: blocks.len() as u64,
            entries: counted.entry_count,
        })
    }

    /// Reads all blocks in file order: they tile their region, and each is whole.
    fn verify_blocks(&self, counted: &mut Properties) -> Result<Vec<Seen>> {
        let count = self.footer.block_count;
        let mut places: Vec<(u32, BlockPlace)> = (0..count)
            .map(|number| Ok((number, self.block_place(number)?)))
            .collect::<Result<_>>()?;
        places.sort_unstable_by_key(|(_, place)| place.start);
        let mut seen = vec![
            Seen {
                kind: BlockKind::Key,
                uncompressed_len: 0
            };
            count as usize
        ];
        let mut at = HEADER_LEN as u64;
        for (number, place) in places {
            if u64::from(place.start) != at {
                let what = format!("expected block {number} at {at}, its place is {}", place.start);
                return Err(Error::corruption(
                    self.path(),
                    self.footer.offset_table.offset,
                    what,
                ));
            }
            at += u64::from(place.len);
            let stored = self.read_frame(number, place.kind)?;
            let frame = self.check_frame(number, place.kind, &stored)?;
            self.decoded(number, frame, &stored, false)?;
            let totals = match place.kind {
                BlockKind::Key => &mut counted.key_blocks,
                BlockKind::Value => &mut counted.value_blocks,
                BlockKind::Medium => &mut counted.medium_blocks,
            };
            *totals = BlockTotals {
                count: totals.count + 1,
                stored_bytes: totals.stored_bytes + u64::from(frame.stored_len),
                uncompressed_bytes: totals.uncompressed_bytes + u64::from(frame.uncompressed_len),
            };
            if let Some(seen) = seen.get_mut(number as usize) {
                *seen = Seen {
                    kind: place.kind,
                    uncompressed_len: frame.uncompressed_len,
                };
            }
        }
        if at != self.footer.filter.offset {
            return Err(Error::corruption(
                self.path(),
                at,
                "blocks that end where the filter starts",
            ));
        }
        Ok(seen)
    }

    /// Compares what was counted with what the properties say.
    fn compare(&self, counted: &Properties) -> Result<()> {
        let said = self.properties();
        let expected = Properties {
            keyspace: said.keyspace,
            file_number: said.file_number,
            compression: said.compression,
            replaces: said.replaces.clone(),
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

/// The walk over all entries in order.
struct Walk<'a> {
    sst: &'a Sst,
    blocks: &'a [Seen],
    counted: &'a mut Properties,
    last: Option<(Vec<u8>, SeqNo)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let count = self.sst.index_count();
        if u64::from(count) != self.counted.key_blocks.count {
            return Err(self.sst.index_damaged());
        }
        let mut separator: Option<Vec<u8>> = None;
        let mut last_child = None;
        for at in 0..count {
            let number = self.sst.index_child(at)?;
            // Numbers are reserved in the order of the keys, so that every block comes up once.
            if last_child >= Some(number) {
                return Err(self.sst.index_damaged());
            }
            last_child = Some(number);
            self.key_block(number, separator.as_deref())?;
            let above = self.sst.index_separator(at)?;
            if self.last.as_ref().is_some_and(|(key, _)| *key > above) {
                return Err(self.sst.index_damaged());
            }
            separator = Some(above);
        }
        self.counted.max_key = self
            .last
            .take()
            .map(|(key, _)| Slice::from(key))
            .unwrap_or_default();
        Ok(())
    }

    fn key_block(&mut self, number: u32, separator: Option<&[u8]>) -> Result<()> {
        let sst = self.sst;
        let damaged = |what: &str| sst.block_damaged(number, what);
        let block = sst.block(number, BlockKind::Key, Access::Pread, false)?;
        let bytes = sst.bytes(&block);
        let keys = KeyBlock::parse(bytes, BlockUse::Keys).ok_or_else(|| damaged("expected a key block"))?;
        let prefix = keys.prefix(bytes).ok_or_else(|| damaged("expected a prefix"))?;
        for i in 0..keys.count() {
            let suffix = keys.suffix(bytes, i).ok_or_else(|| damaged("expected a key"))?;
            let key = [prefix, suffix].concat();
            let (seq, place) = keys.entry(bytes, i).map_err(|e| sst.entry_refused(number, e))?;
            let last = self.last.as_ref();
            let new_key = last.is_none_or(|(last, _)| *last != key);
            // A separator lies below the next block's first key, or is that key if its versions go on.
            if i == 0 && separator.is_some_and(|s| s > key.as_slice() || (s == key && new_key)) {
                return Err(sst.index_damaged());
            }
            if last.is_some_and(|(last, last_seq)| *last > key || (*last == key && *last_seq <= seq)) {
                return Err(damaged("entries that ascend by key and descend by number"));
            }
            if !sst.may_contain(hash_key(&key)) {
                return Err(damaged("a key that the filter knows"));
            }
            let value_len = self
                .reference(place)
                .ok_or_else(|| damaged("a reference to a value"))?;
            self.count(&key, seq, place, value_len, new_key);
            self.last = Some((key, seq));
        }
        Ok(())
    }

    /// The length of the value; `None` when the reference leads nowhere.
    fn reference(&self, place: ValuePlace) -> Option<u32> {
        let seen = |block: u32, kind| self.blocks.get(block as usize).filter(|seen| seen.kind == kind);
        match place {
            ValuePlace::Tombstone => Some(0),
            ValuePlace::Inline { len, .. } => Some(len.into()),
            ValuePlace::Small { block, offset, len } => {
                let end = u64::from(offset) + u64::from(len);
                seen(block, BlockKind::Value)
                    .filter(|seen| end <= seen.uncompressed_len.into())
                    .map(|_| len)
            }
            ValuePlace::Medium { block, len } => seen(block, BlockKind::Medium)
                .filter(|seen| seen.uncompressed_len == len)
                .map(|_| len),
            ValuePlace::Memory { .. } => None,
        }
    }

    fn count(&mut self, key: &[u8], seq: SeqNo, place: ValuePlace, value_len: u32, new_key: bool) {
        let c = &mut *self.counted;
        if c.entry_count == 0 {
            (c.min_key, c.min_seq, c.max_seq) = (Slice::from(key), seq, seq);
        }
        c.entry_count += 1;
        c.key_count += u64::from(new_key);
        c.min_seq = c.min_seq.min(seq);
        c.max_seq = c.max_seq.max(seq);
        c.raw_key_bytes += key.len() as u64;
        c.raw_value_bytes += u64::from(value_len);
        match place {
            ValuePlace::Inline { .. } | ValuePlace::Memory { .. } => c.inline_count += 1,
            ValuePlace::Small { .. } => c.small_count += 1,
            ValuePlace::Medium { .. } => c.medium_count += 1,
            ValuePlace::Tombstone => c.tombstone_count += 1,
        }
    }
}
