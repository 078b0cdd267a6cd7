//! What an open file keeps in memory so that finding a key block takes few instructions: [`Heads`] of an index, and in mapped mode the
//! parsed [`Part`]s.
//!
//! ```text
//! separators   "user:0001" "user:0017" "user:2003"         prefix "user:" is the index's own
//! heads          "0001...."  "0017...."  "2003...."        eight bytes behind it, as numbers; zeros where they end
//! ```
//!
//! Where the head that is sought differs from all, its place among them is the answer: a bisection over words that lie side by side,
//! instead of one over keys of any length. Where it is equal to one, the separators themselves are asked.
//!
//! Eight bytes for each key block, and in mapped mode some 430 for each partition ([`parts_bytes`]), which holds tens of thousands of keys at the
//! default size: less than a bit a key together.
//!
//! Callers: `index_reader`, `reader`.

use std::sync::OnceLock;

use super::filter::Filter;
use super::index::Index;
use super::reader::BlockBytes;

/// The first eight bytes behind an index's common prefix, by entry. Empty in hash order, which interpolates.
pub(super) struct Heads(Box<[u64]>);

impl Heads {
    /// `None` when the bytes are not those of the index.
    pub(super) fn of(index: &Index, bytes: &[u8]) -> Option<Heads> {
        let Index::Keys(keys) = index else {
            return Some(Heads(Box::default()));
        };
        let heads = (0..keys.count()).map(|at| keys.suffix(bytes, at).map(head));
        heads.collect::<Option<_>>().map(Heads)
    }

    /// As [`Index::lower_bound`] of the same index.
    #[inline]
    pub(super) fn lower_bound(&self, index: &Index, bytes: &[u8], key: &[u8], hash: u64) -> Option<u32> {
        let Index::Keys(keys) = index else {
            return index.lower_bound(bytes, key, hash);
        };
        let prefix = keys.prefix(bytes)?;
        let Some(rest) = key.strip_prefix(prefix) else {
            return Some(if key < prefix { 0 } else { keys.count() });
        };
        let sought = head(rest);
        let at = self.0.partition_point(|head| *head < sought);
        if self.0.get(at) == Some(&sought) {
            return index.lower_bound(bytes, key, hash);
        }
        Some(at as u32)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Heads ascend as what they are of: unequal heads decide.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(front) => u64::from_be_bytes(*front),
        None => {
            let mut front = [0; 8];
            front.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(front)
        }
    }
}

/// A partition of the index at hand.
pub(super) struct Leaf {
    pub(super) partition: u32,
    /// The first key block of it, counted through the file.
    pub(super) first: u32,
    pub(super) index: Index,
    pub(super) block: BlockBytes,
    /// Where it is kept.
    pub(super) heads: Option<Heads>,
}

impl Leaf {
    /// As [`Index::lower_bound`], counted through the file.
    #[inline]
    pub(super) fn lower_bound(&self, bytes: &[u8], key: &[u8], hash: u64) -> Option<u32> {
        let at = match &self.heads {
            Some(heads) => heads.lower_bound(&self.index, bytes, key, hash),
            None => self.index.lower_bound(bytes, key, hash),
        };
        at.map(|at| self.first + at)
    }
}

/// A partition's filter, if it has one, and its block.
pub(super) type PartFilter = Option<(Filter, BlockBytes)>;

/// What has been parsed of a partition in a mapping; the bytes stay there.
#[derive(Default)]
pub(super) struct Part {
    pub(super) filter: OnceLock<PartFilter>,
    pub(super) leaf: OnceLock<Leaf>,
}

/// Bytes that so many parts take when all have been parsed, with so many key blocks in them.
pub(super) fn parts_bytes(parts: usize, key_blocks: usize) -> usize {
    // A filter has one table, as a rule, which is noted outside of the part.
    parts * (size_of::<Part>() + 64) + key_blocks * size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sst::index::IndexBuilder;
    use crate::sst::order::SortOrder;

    /// Separators with and without a common prefix, shorter and longer than a head, with equal heads, and with zeros at their ends.
    #[test]
    fn heads_find_what_the_index_finds() {
        let sets: [&[&[u8]]; 4] = [
            &[b"a", b"b", b"c"],
            &[
                b"k1",
                b"k10000000",
                b"k10000000a",
                b"k10000000b",
                b"k2",
                b"k2\0",
                b"k2\0\0",
            ],
            &[b"", b"\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0", b"\x01"],
            &[b"only"],
        ];
        for separators in sets {
            let mut builder = IndexBuilder::new(SortOrder::Key);
            for (number, separator) in (0..).zip(separators) {
                builder.push(separator, separator, separator, number);
            }
            let mut bytes = Vec::new();
            builder.encode(&mut bytes);
            let index = Index::parse(&bytes, SortOrder::Key).unwrap();
            let heads = Heads::of(&index, &bytes).unwrap();
            let near = |separator: &&[u8]| {
                let mut longer = [separator, &b"\0"[..]].concat();
                longer.extend(b"x".repeat(9));
                let shorter = &separator[..separator.len().saturating_sub(1)];
                [
                    shorter.to_vec(),
                    separator.to_vec(),
                    longer[..separator.len() + 1].to_vec(),
                    longer,
                ]
            };
            let mut sought: Vec<Vec<u8>> = separators.iter().flat_map(near).collect();
            sought.extend([
                b"".to_vec(),
                b"z".to_vec(),
                b"\xff".repeat(20),
                b"j".to_vec(),
                b"on".to_vec(),
            ]);
            for key in sought {
                let exact = separators
                    .iter()
                    .filter(|separator| **separator < &key[..])
                    .count() as u32;
                assert_eq!(index.lower_bound(&bytes, &key, 0), Some(exact), "{key:?}");
                assert_eq!(heads.lower_bound(&index, &bytes, &key, 0), Some(exact), "{key:?}");
            }
        }
    }
}
