//! The index of a file: which key block a sort key lies in.
//!
//! In key order it is a block of separators (`key_block`, type 3). In hash order its entries have a fixed size and, being
//! hashes, lie evenly, so that interpolation finds the block in about one probe:
//!
//! ```text
//!   0  type u8 = 8
//!   1  reserved [u8; 3] = 0
//!   4  count u32
//!   8  least hash u64        of the file's entries
//!  16  last hashes           count x u64: the hash of each key block's last entry, ascending
//!      key blocks            count x u32: their numbers
//! ```
//!
//! An entry costs 12 bytes. Blocks that share a last hash hold keys that share it: a look-up goes on from one to the next.
//!
//! A large file's index has two levels, each in this form: partitions, and above them the separators of the partitions
//! (`partitions`).
//!
//! Callers: `partition_builder` writes; `index_reader` and `partitions` read.

use super::interpolation::{first_at_least, scaled, word};
use super::key_block::{BlockUse, KeyBlock};
use super::key_block_builder::KeyBlockBuilder;
use super::order::{HASH_LEN, SortOrder, split};
use crate::coding::{u32_at, u64_at};
use crate::planted::{self, Bug};
use crate::types::SeqNo;

const TYPE_HASHES: u8 = 8;
const HASHES_AT: usize = 16;
/// How far the guess may be off, in blocks, before bisection takes over. With 450 entries a block the block that a hash
/// lies in is within two of the guess up to a million entries, and within four up to ten million; eight words are one
/// cache line.
const INDEX_REACH: usize = 4;

/// A parsed index: positions only, the bytes are passed to every call.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one for each open file, and a look-up saves the indirection"
)]
pub(crate) enum Index {
    Keys(KeyBlock),
    Hashes(HashIndex),
}

#[derive(Clone, Debug)]
pub(crate) struct HashIndex {
    count: u32,
    least: u64,
    /// Blocks for each hash, as a fraction of 2^64.
    scale: u64,
    children_at: usize,
}

impl Index {
    /// Checks sizes and notes positions; `None` when the bytes are not an index of this order.
    pub(crate) fn parse(bytes: &[u8], order: SortOrder) -> Option<Index> {
        match order {
            SortOrder::Key => KeyBlock::parse(bytes, BlockUse::Index).map(Index::Keys),
            SortOrder::Hash { .. } => HashIndex::parse(bytes).map(Index::Hashes),
        }
    }

    /// Key blocks.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        match self {
            Index::Keys(keys) => keys.count(),
            Index::Hashes(hashes) => hashes.count,
        }
    }

    /// The first entry whose separator is at or above a key, given with its hash, or as a sort key of key order.
    #[inline]
    pub(crate) fn lower_bound(&self, bytes: &[u8], key: &[u8], hash: u64) -> Option<u32> {
        match self {
            // Separators carry the number zero, so any number finds the first of equal ones.
            Index::Keys(keys) => keys.lower_bound(bytes, key, SeqNo::MAX, SortOrder::Key),
            Index::Hashes(hashes) => Some(hashes.lower_bound(bytes, hash)),
        }
    }

    /// Whether what is sought may go on in the next block: separator `at` is the key, or its hash.
    #[inline]
    pub(crate) fn goes_on(&self, bytes: &[u8], at: u32, key: &[u8], hash: u64) -> Option<bool> {
        match self {
            Index::Keys(keys) => keys.key_equals(bytes, at, key),
            Index::Hashes(hashes) => Some(hashes.last_hash(bytes, at)? == hash),
        }
    }

    /// The number of the key block of entry `at`.
    #[inline]
    pub(crate) fn child(&self, bytes: &[u8], at: u32) -> Option<u32> {
        match self {
            Index::Keys(keys) => keys.child(bytes, at),
            Index::Hashes(hashes) => u32_at(bytes, hashes.children_at + at as usize * 4),
        }
    }

    /// Separator `at`: a key, or a hash, big endian.
    pub(crate) fn separator(&self, bytes: &[u8], at: u32) -> Option<Vec<u8>> {
        match self {
            Index::Keys(keys) => Some([keys.prefix(bytes)?, keys.suffix(bytes, at)?].concat()),
            Index::Hashes(hashes) => Some(hashes.last_hash(bytes, at)?.to_be_bytes().to_vec()),
        }
    }

    /// The least hash that the index states; `None` in key order.
    pub(crate) fn least_hash(&self) -> Option<u64> {
        match self {
            Index::Keys(_) => None,
            Index::Hashes(hashes) => Some(hashes.least),
        }
    }
}

impl HashIndex {
    fn parse(bytes: &[u8]) -> Option<HashIndex> {
        let (front, count) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
        let least = u64_at(bytes, 8)?;
        // Sums and products of u32s in 64 bits.
        let children_at = HASHES_AT + count as usize * HASH_LEN;
        if front != u32::from(TYPE_HASHES) || count == 0 || children_at + count as usize * 4 != bytes.len() {
            return None;
        }
        let last = u64_at(bytes, children_at - HASH_LEN)?;
        Some(HashIndex {
            count,
            least,
            scale: scale(count.into(), last.saturating_sub(least)),
            children_at,
        })
    }

    #[inline]
    fn lower_bound(&self, bytes: &[u8], hash: u64) -> u32 {
        let guess = scaled(hash.saturating_sub(self.least), self.scale) as usize;
        let words = bytes.get(HASHES_AT..self.children_at).unwrap_or_default();
        let found = first_at_least::<HASH_LEN>(words, guess, INDEX_REACH, hash) as u32;
        if planted::is(Bug::LastBlockMissed) && found + 1 == self.count {
            return found.saturating_sub(1);
        }
        found
    }

    fn last_hash(&self, bytes: &[u8], at: u32) -> Option<u64> {
        word::<HASH_LEN>(bytes.get(HASHES_AT..self.children_at)?, at as usize)
    }
}

/// The factor that spreads `0..=span` over `0..count`, as a fraction of 2^64.
pub(super) fn scale(count: u64, span: u64) -> u64 {
    let exact = (u128::from(count) << 64) / (u128::from(span) + 1);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Collects the entries of an index. The builder closes a key block when it knows the next sort key.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one for each file that is being written"
)]
pub(crate) enum IndexBuilder {
    Keys(KeyBlockBuilder),
    Hashes {
        least: Option<u64>,
        last: Vec<u64>,
        children: Vec<u32>,
    },
}

impl IndexBuilder {
    pub(crate) fn new(order: SortOrder) -> Self {
        match order {
            SortOrder::Key => IndexBuilder::Keys(KeyBlockBuilder::new(SortOrder::Key)),
            SortOrder::Hash { .. } => IndexBuilder::Hashes {
                least: None,
                last: Vec::new(),
                children: Vec::new(),
            },
        }
    }

    /// Adds key block `child`, whose sort keys reach from `first` to `last`; `separator` separates it from the next one.
    pub(crate) fn push(&mut self, first: &[u8], last: &[u8], separator: &[u8], child: u32) {
        match self {
            IndexBuilder::Keys(keys) => keys.push_separator(separator, child),
            IndexBuilder::Hashes {
                least,
                last: hashes,
                children,
            } => {
                least.get_or_insert(split(first).0);
                hashes.push(split(last).0);
                children.push(child);
            }
        }
    }

    /// Bytes buffered.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            IndexBuilder::Keys(keys) => keys.buffered(),
            IndexBuilder::Hashes { last, .. } => HASHES_AT + last.len() * 12,
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            IndexBuilder::Keys(keys) => keys.count(),
            IndexBuilder::Hashes { last, .. } => last.len(),
        }
    }

    /// About how long `encode` would make it, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            IndexBuilder::Keys(keys) => keys.separators_len(),
            IndexBuilder::Hashes { .. } => self.buffered(),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            IndexBuilder::Keys(keys) => keys.clear(),
            IndexBuilder::Hashes {
                least,
                last,
                children,
            } => {
                *least = None;
                last.clear();
                children.clear();
            }
        }
    }

    /// Replaces the contents of `out` with the index. REQUIRES at least one entry.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            IndexBuilder::Keys(keys) => keys.encode(BlockUse::Index, out),
            IndexBuilder::Hashes {
                least,
                last,
                children,
            } => {
                out.clear();
                out.extend_from_slice(&u32::from(TYPE_HASHES).to_le_bytes());
                out.extend_from_slice(&(last.len() as u32).to_le_bytes());
                out.extend_from_slice(&least.unwrap_or(0).to_le_bytes());
                out.extend(last.iter().flat_map(|hash| hash.to_le_bytes()));
                out.extend(children.iter().flat_map(|child| child.to_le_bytes()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: SortOrder = SortOrder::Hash { seed: 1 };

    fn built(least: u64, last: &[u64]) -> Vec<u8> {
        let mut builder = IndexBuilder::new(HASH);
        let mut first = least;
        for (child, hash) in (0..).zip(last) {
            builder.push(&first.to_be_bytes(), &hash.to_be_bytes(), b"", child * 3);
            first = *hash;
        }
        let mut out = Vec::new();
        builder.encode(&mut out);
        out
    }

    #[test]
    fn entries_are_twelve_bytes_as_drawn() {
        let bytes = built(7, &[100, 1 << 40]);
        assert_eq!(
            bytes,
            [
                &[8, 0, 0, 0, 2, 0, 0, 0][..],
                &7u64.to_le_bytes(),
                &100u64.to_le_bytes(),
                &(1u64 << 40).to_le_bytes(),
                &0u32.to_le_bytes(),
                &3u32.to_le_bytes()
            ]
            .concat()
        );
    }

    #[test]
    fn every_hash_finds_the_first_block_that_reaches_it() {
        let spread: Vec<u64> = (1..300u64).map(|i| i * (u64::MAX / 300) + i * i).collect();
        let skewed: Vec<u64> = (1..300u64).map(|i| i * i * i * i).collect();
        let equal = vec![9; 300];
        for last in [spread, skewed, equal, vec![0], vec![u64::MAX]] {
            let bytes = built(last[0] / 2, &last);
            let index = Index::parse(&bytes, HASH).unwrap();
            let around = last
                .iter()
                .flat_map(|h| [h.saturating_sub(1), *h, h.saturating_add(1)]);
            for hash in around.chain([0, u64::MAX]) {
                let expected = last.partition_point(|last| *last < hash) as u32;
                assert_eq!(index.lower_bound(&bytes, b"", hash), Some(expected));
                if let Some(found) = last.get(expected as usize) {
                    assert_eq!(index.goes_on(&bytes, expected, b"", hash), Some(*found == hash));
                    assert_eq!(index.child(&bytes, expected), Some(expected * 3));
                }
            }
            assert_eq!(index.child(&bytes, last.len() as u32), None);
        }
    }

    #[test]
    fn what_is_not_an_index_is_refused() {
        let bytes = built(7, &[100, 200]);
        assert!(Index::parse(&bytes, HASH).is_some());
        assert!(Index::parse(&bytes, SortOrder::Key).is_none());
        for len in 0..bytes.len() {
            assert!(Index::parse(&bytes[..len], HASH).is_none());
        }
        for at in [0, 1, 4] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Index::parse(&bad, HASH).is_none());
        }
    }
}
