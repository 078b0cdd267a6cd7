//! Point look-ups in an open SST: filter, index, one key block.
//!
//! A key's versions, or keys that share a hash, may go on over several key blocks; all but the last of those have one
//! separator. The first block answers nearly always; otherwise bisection finds the block that does.
//!
//! Callers: the engine's read path; tools.

use super::frame::BlockKind;
use super::hashes::Look;
use super::index_reader::IndexReader;
use super::reader::Sst;
use crate::types::{Found, SeqNo, ValuePlace};
use crate::{Error, Result, Slice};

/// What a look-up found in one key block.
enum Looked<T> {
    Entry(T),
    Absent,
    /// All that the block holds comes before it.
    Beyond,
}

impl<T> Looked<T> {
    fn entry(self) -> Option<T> {
        match self {
            Looked::Entry(entry) => Some(entry),
            Looked::Absent | Looked::Beyond => None,
        }
    }
}

impl Sst {
    /// The newest entry of `key` at or below `snapshot`. `hash` is [`super::SortOrder::hash`] of the key in this file's order: the
    /// filter is asked first, and an absent key mostly costs nothing more.
    #[inline]
    pub fn get(&self, key: &[u8], hash: u64, snapshot: SeqNo) -> Result<Option<Found>> {
        // A value or reference that lies beside its key is taken while its block is at hand.
        let found = self.seek(key, hash, snapshot, |block, seq, place| match place {
            ValuePlace::InKeyBlock {
                block: number,
                offset,
                len,
            } => {
                let value = self.small(block, number, offset, len)?;
                Ok((seq, place, Some(Found::Value(seq, Slice::from(value)))))
            }
            ValuePlace::Object {
                block: number,
                offset,
            } => {
                let reference = self.reference(block, number, offset)?;
                Ok((seq, place, Some(Found::Object(seq, reference))))
            }
            ValuePlace::Tombstone => Ok((seq, place, Some(Found::Tombstone(seq)))),
            _ => Ok((seq, place, None)),
        })?;
        match found {
            None => Ok(None),
            Some((_, _, Some(found))) => Ok(Some(found)),
            Some((seq, place, None)) => Ok(Some(Found::Value(seq, self.load(place)?))),
        }
    }

    /// As [`Sst::get`], without reading the value.
    pub fn find(&self, key: &[u8], hash: u64, snapshot: SeqNo) -> Result<Option<(SeqNo, ValuePlace)>> {
        self.seek(key, hash, snapshot, |_, seq, place| Ok((seq, place)))
    }

    /// Finds the entry and gives its block, number and place to `take`.
    #[inline]
    fn seek<T>(
        &self,
        key: &[u8],
        hash: u64,
        snapshot: SeqNo,
        take: impl Fn(&[u8], SeqNo, ValuePlace) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some((first, number)) = self.candidate(key, hash)? else {
            return Ok(None);
        };
        let found = self.look_up(number, key, hash, snapshot, &take)?;
        if !matches!(found, Looked::Beyond) {
            return Ok(found.entry());
        }
        match self.block_beyond(first, key, hash, snapshot)? {
            Some(number) => Ok(self.look_up(number, key, hash, snapshot, &take)?.entry()),
            None => Ok(None),
        }
    }

    /// Where the versions of a key, or keys of one hash, go on behind the block of entry `first`: the block that has the entry, if any
    /// has. All of these but the last have one separator; bisection keeps this short however many there are.
    #[cold]
    fn block_beyond(&self, first: u32, key: &[u8], hash: u64, snapshot: SeqNo) -> Result<Option<u32>> {
        let mut index = IndexReader::new(self.access, true);
        if !index.goes_on(self, first, key, hash)? {
            return Ok(None);
        }
        let bisect = |mut low: u32, mut high: u32, before: &mut dyn FnMut(u32) -> Result<bool>| {
            while low < high {
                let middle = low + (high - low) / 2;
                match before(middle)? {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            Ok::<u32, Error>(low)
        };
        let count = self.index_count();
        let end = bisect(first + 1, count, &mut |middle| {
            index.goes_on(self, middle, key, hash)
        })?;
        let at = bisect(first + 1, end, &mut |middle| {
            let number = index.child(self, middle)?;
            let found = self.look_up(number, key, hash, snapshot, &|_, _, _| Ok(()))?;
            Ok(matches!(found, Looked::Beyond))
        })?;
        match at < count {
            true => index.child(self, at).map(Some),
            false => Ok(None),
        }
    }

    /// Looks for `key` in a key block.
    #[inline]
    fn look_up<T>(
        &self,
        number: u32,
        key: &[u8],
        hash: u64,
        snapshot: SeqNo,
        take: &impl Fn(&[u8], SeqNo, ValuePlace) -> Result<T>,
    ) -> Result<Looked<T>> {
        let block = self.block(number, BlockKind::Key, self.access, true)?;
        let bytes = self.bytes(&block);
        let keys = self.key_block(number, bytes)?;
        let found = keys.look_up(bytes, key, hash, snapshot, self.order);
        match found.ok_or_else(|| self.block_damaged(number, "expected a key block"))? {
            Look::Beyond => Ok(Looked::Beyond),
            Look::Absent => Ok(Looked::Absent),
            Look::Entry(i) => {
                let entry = keys.entry(bytes, i, number);
                let (seq, place) = entry.map_err(|e| self.entry_refused(number, e))?;
                take(bytes, seq, place).map(Looked::Entry)
            }
        }
    }
}
