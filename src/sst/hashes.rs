//! The hashes of a key block in hash order, and the search by them.
//!
//! ```text
//! base u64 | scale u64 | count x width bytes
//!
//! width 8: hash - base                        the hash is stored
//! width 2: (hash - base) x scale >> 64        only its place between the block's ends; the hash is computed where it is asked for
//! ```
//!
//! `base` is the first entry's hash; `scale` spreads the block's hashes over 0 to 65,535. Either way a hash's scaled value
//! tells its entry's place (`interpolation`). A look-up compares keys where the words are equal, which in 65,536 places a
//! few hundred entries seldom are by chance, and hashes no key again. A cursor that asks for whole sort keys does: so long keys, above
//! [`SHORT_KEY`] bytes, have their hashes stored, and short ones spend 2 bytes instead of 8.
//!
//! Invariant: words ascend with the entries (invariant of `key_block`, by hash). Bytes that break it lead to a wrong place in the
//! block, where keys are compared as everywhere: an entry may be missed, never confused.
//!
//! Callers: `key_block` and its builder.

use super::index::scale;
use super::interpolation::{REACH, first_at_least, scaled, word};
use super::key_block::KeyBlock;
use super::order::SortOrder;
use crate::coding::u64_at;
use crate::planted::{self, Bug};
use crate::types::SeqNo;

/// Blocks whose longest key has at most this many bytes do not store hashes: hashing again costs less (spec/sst.md).
const SHORT_KEY: usize = 32;
/// Bytes of `base` and `scale`.
pub(super) const FRONT_LEN: usize = 16;
/// The values that two bytes take.
const PLACES: u64 = 1 << 16;
/// Entries of equal words that are looked at one by one before bisection takes over.
const NEAR: u32 = 8;

/// Where a block's hashes lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    base: u64,
    scale: u64,
    width: u8,
    at: usize,
    end: usize,
}

/// What a look-up found in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Entry(u32),
    Absent,
    /// All that the block holds comes before it.
    Beyond,
}

impl Hashes {
    /// `at`: where `base` is. Returns where the words end, too.
    pub(super) fn parse(bytes: &[u8], at: usize, width: u8, count: u32) -> Option<(Hashes, usize)> {
        if !matches!(width, 2 | 8) {
            return None;
        }
        let (base, scale) = (u64_at(bytes, at)?, u64_at(bytes, at + 8)?);
        let at = at + FRONT_LEN;
        let end = at + count as usize * usize::from(width);
        let hashes = Hashes {
            base,
            scale,
            width,
            at,
            end,
        };
        (end <= bytes.len()).then_some((hashes, end))
    }

    /// Bytes an entry, for descriptions.
    pub(super) fn width(&self) -> u8 {
        self.width
    }

    #[inline]
    fn first_at_least(&self, bytes: &[u8], guess: usize, word: u64) -> u32 {
        let words = bytes.get(self.at..self.end).unwrap_or_default();
        let found = match self.width {
            2 => first_at_least::<2>(words, guess, REACH, word),
            _ => first_at_least::<8>(words, guess, REACH, word),
        };
        found as u32
    }

    #[inline]
    fn word(&self, bytes: &[u8], i: u32) -> Option<u64> {
        let words = bytes.get(self.at..self.end)?;
        match self.width {
            2 => word::<2>(words, i as usize),
            _ => word::<8>(words, i as usize),
        }
    }

    /// The word of a hash, and the entry where it should be; `None` for a hash below all of the block.
    #[inline]
    fn locate(&self, hash: u64, count: u32) -> Option<(u64, usize)> {
        let above = hash.checked_sub(self.base)?;
        let place = scaled(above, self.scale);
        let guess = (place.min(PLACES) * u64::from(count)) / PLACES;
        Some((if self.width == 2 { place } else { above }, guess as usize))
    }

    /// The whole hash, if it is stored.
    #[inline]
    pub(super) fn stored(&self, bytes: &[u8], i: u32) -> Option<u64> {
        match self.width {
            8 => Some(self.base.wrapping_add(self.word(bytes, i)?)),
            _ => None,
        }
    }
}

/// Appends the hashes of a block's entries. Returns the width.
pub(super) fn encode(hashes: &[u64], longest_key: usize, out: &mut Vec<u8>) -> u8 {
    let (first, last) = (
        hashes.first().copied().unwrap_or(0),
        hashes.last().copied().unwrap_or(0),
    );
    let scale = scale(PLACES, last.saturating_sub(first));
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&scale.to_le_bytes());
    let above = hashes.iter().map(|hash| hash.saturating_sub(first));
    if longest_key > SHORT_KEY {
        out.extend(above.flat_map(u64::to_le_bytes));
        return 8;
    }
    out.extend(above.flat_map(|above| (scaled(above, scale).min(PLACES - 1) as u16).to_le_bytes()));
    2
}

impl KeyBlock {
    /// The entry that a snapshot at `seq` sees of `key`, given with its hash. In key order a sort key is a key.
    #[inline]
    pub(crate) fn look_up(
        &self,
        bytes: &[u8],
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        order: SortOrder,
    ) -> Option<Look> {
        let at = match self.hashes() {
            None => self.lower_bound(bytes, key, seq, order)?,
            Some(hashes) => {
                let Some((word, guess)) = hashes.locate(hash, self.count()) else {
                    return Some(Look::Absent);
                };
                let first = hashes.first_at_least(bytes, guess, word);
                if first >= self.count() {
                    return Some(Look::Beyond);
                }
                // Where equal words go on to the block's end, only the order of keys tells what lies beyond.
                for i in first..first.saturating_add(NEAR).min(self.count()) {
                    if hashes.word(bytes, i)? != word {
                        return Some(Look::Absent);
                    }
                    if self.is_entry_of(bytes, i, key, hash, order)? && self.seq(bytes, i)? <= seq {
                        return Some(Look::Entry(i));
                    }
                }
                self.hashed_lower_bound(hashes, bytes, (hash, key, seq), order)?
            }
        };
        Some(if at >= self.count() {
            Look::Beyond
        } else if self.is_entry_of(bytes, at, key, hash, order)? {
            Look::Entry(at)
        } else {
            Look::Absent
        })
    }

    #[inline]
    fn is_entry_of(&self, bytes: &[u8], i: u32, key: &[u8], hash: u64, order: SortOrder) -> Option<bool> {
        if planted::is(Bug::EqualHashesEqualKeys) && order.is_hash() {
            return Some(self.hash(bytes, i, order)? == hash);
        }
        self.key_equals(bytes, i, key)
    }

    /// As `lower_bound`, for a sort key taken apart.
    pub(super) fn hashed_lower_bound(
        &self,
        hashes: &Hashes,
        bytes: &[u8],
        target: (u64, &[u8], SeqNo),
        order: SortOrder,
    ) -> Option<u32> {
        let (hash, key, seq) = target;
        let Some((word, guess)) = hashes.locate(hash, self.count()) else {
            return Some(0);
        };
        let mut low = hashes.first_at_least(bytes, guess, word);
        let mut high = match word.checked_add(1) {
            Some(next) => hashes.first_at_least(bytes, low as usize, next),
            None => self.count(),
        };
        let mut room = Vec::new();
        while low < high {
            let middle = low + (high - low) / 2;
            let of_entry = self.whole_key(bytes, middle, &mut room)?;
            let entry_hash = hashes
                .stored(bytes, middle)
                .unwrap_or_else(|| order.hash(of_entry));
            let ordering = entry_hash.cmp(&hash).then_with(|| of_entry.cmp(key));
            if ordering.is_lt() || (ordering.is_eq() && self.seq(bytes, middle)? > seq) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// Key `i`, put together in `room` if it has to be.
    fn whole_key<'a>(&self, bytes: &'a [u8], i: u32, room: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let (prefix, suffix) = (self.prefix(bytes)?, self.suffix(bytes, i)?);
        if prefix.is_empty() {
            return Some(suffix);
        }
        room.clear();
        room.extend_from_slice(prefix);
        room.extend_from_slice(suffix);
        Some(room)
    }

    /// The hash of entry `i`, stored or computed.
    fn hash(&self, bytes: &[u8], i: u32, order: SortOrder) -> Option<u64> {
        let stored = self.hashes()?.stored(bytes, i);
        match stored {
            Some(hash) => Some(hash),
            None => Some(order.hash(self.whole_key(bytes, i, &mut Vec::new())?)),
        }
    }

    /// Replaces the contents of `key` with what the sort keys of all entries begin with. What `sort_key` adds to.
    pub(crate) fn begin_key(&self, bytes: &[u8], key: &mut Vec<u8>) -> Option<()> {
        key.clear();
        key.resize(self.hash_len(), 0);
        key.extend_from_slice(self.prefix(bytes)?);
        Some(())
    }

    /// Makes `key`, which `begin_key` of this block has begun, the sort key of entry `i`.
    #[inline]
    pub(crate) fn sort_key(&self, bytes: &[u8], i: u32, order: SortOrder, key: &mut Vec<u8>) -> Option<()> {
        let suffix = self.suffix(bytes, i)?;
        key.truncate(self.hash_len() + self.prefix_len());
        key.extend_from_slice(suffix);
        if let Some(hashes) = self.hashes()
            && let Some((front, rest)) = key.split_first_chunk_mut()
        {
            let hash = hashes.stored(bytes, i).unwrap_or_else(|| order.hash(rest));
            *front = hash.to_be_bytes();
        }
        Some(())
    }
}
