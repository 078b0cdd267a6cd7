//! Collects and encodes key blocks and index blocks, and makes separators. The layout is drawn in `key_block`.
//!
//! Callers: `builder`.

use super::column::{self, DESCRIPTOR_LEN};
use super::hashes;
use super::key_block::{
    BlockUse, ENTRY_OVERHEAD, HASHED_COLUMNS, HASHED_HEADER_LEN, HEADER_LEN, INLINE_MIN, KIND_IN_ROW,
    KIND_MEDIUM, KIND_OBJECT, KIND_SMALL, KIND_TOMBSTONE, TYPE_FIXED, TYPE_HASHED_FIXED,
    TYPE_HASHED_VARIABLE, TYPE_INDEX, TYPE_VARIABLE,
};
use super::order::{SortOrder, split};
use crate::types::{SeqNo, ValuePlace};

/// A column under construction, whose unused places repeat a neighbour.
#[derive(Debug, Default)]
struct Sparse {
    values: Vec<u64>,
    used: bool,
}

impl Sparse {
    fn push(&mut self, value: Option<u64>) {
        if let (Some(value), false) = (value, self.used) {
            self.values.fill(value);
            self.used = true;
        }
        let filler = self.values.last().copied().unwrap_or(0);
        self.values.push(value.unwrap_or(filler));
    }

    fn clear(&mut self) {
        self.values.clear();
        self.used = false;
    }
}

/// Collects the entries of one block. Holds about the block's target size, and one key more.
#[derive(Debug, Default)]
pub(crate) struct KeyBlockBuilder {
    order: SortOrder,
    /// In hash order.
    hashes: Vec<u64>,
    /// Keys without hashes, each followed by the value that shares its row.
    keys: Vec<u8>,
    ends: Vec<usize>,
    /// In hash order: the keys' own lengths.
    key_lens: Vec<u64>,
    kinds: Vec<u64>,
    seqs: Vec<u64>,
    value_blocks: Sparse,
    value_offsets: Sparse,
    value_lens: Sparse,
    inline: Vec<u8>,
    /// Bytes of `inline` that are references.
    references_len: usize,
    longest_key: usize,
    row_len: usize,
    same_len: bool,
    /// How many bytes all keys share.
    shared: usize,
}

impl KeyBlockBuilder {
    pub(crate) fn new(order: SortOrder) -> Self {
        KeyBlockBuilder {
            order,
            ..KeyBlockBuilder::default()
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// What the entries weigh when blocks are cut, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.keys.len() + self.references_len + self.count() * ENTRY_OVERHEAD
    }

    /// Bytes buffered.
    pub(crate) fn buffered(&self) -> usize {
        let columns = self.count() * (5 * size_of::<u64>() + size_of::<usize>());
        self.keys.len() + self.inline.len() + self.hashes.len() * 2 * size_of::<u64>() + columns
    }

    /// About how long an index block of these separators is, in bytes: an end and a child cost up to 8.
    pub(crate) fn separators_len(&self) -> usize {
        let elided = self.shared * self.count().saturating_sub(1);
        HEADER_LEN + self.keys.len() - elided + self.count() * 8
    }

    pub(crate) fn longest_key(&self) -> usize {
        self.longest_key
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = i
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(i).copied().unwrap_or(start);
        self.keys.get(start..end).unwrap_or_default()
    }

    /// Adds an entry. REQUIRES: it comes after all others in the order of the block; `place` is a place in an SST, and `value` is the
    /// value, or the reference, if that is in this block.
    pub(crate) fn push(&mut self, sort_key: &[u8], seq: SeqNo, place: &ValuePlace, value: &[u8]) {
        let key = self.order.key_of(sort_key);
        if self.order.is_hash() {
            self.hashes.push(split(sort_key).0);
            self.key_lens.push(key.len() as u64);
        }
        let in_row = match place {
            ValuePlace::InKeyBlock { .. } => value,
            ValuePlace::Inline { .. } | ValuePlace::Object { .. } if self.order.is_hash() => value,
            _ => &[],
        };
        self.push_key(key, in_row);
        self.seqs.push(seq);
        let (kind, block, offset, len) = match *place {
            ValuePlace::InKeyBlock { .. } => (KIND_IN_ROW, None, None, None),
            ValuePlace::Inline { .. } if self.order.is_hash() => (KIND_IN_ROW, None, None, None),
            ValuePlace::Inline { len, bytes } => {
                let offset = self.inline.len() as u64;
                self.inline.extend(bytes.iter().take(usize::from(len)));
                (INLINE_MIN + len, None, Some(offset), None)
            }
            ValuePlace::Small { block, offset, len } => (
                KIND_SMALL,
                Some(block.into()),
                Some(offset.into()),
                Some(len.into()),
            ),
            ValuePlace::Medium { block, len } => (KIND_MEDIUM, Some(block.into()), None, Some(len.into())),
            ValuePlace::Object { .. } if self.order.is_hash() => (KIND_OBJECT, None, None, None),
            ValuePlace::Object { .. } => {
                let offset = self.inline.len() as u64;
                self.inline.extend_from_slice(value);
                self.references_len += value.len();
                (KIND_OBJECT, None, Some(offset), None)
            }
            ValuePlace::Tombstone | ValuePlace::Memory { .. } | ValuePlace::MemoryObject { .. } => {
                (KIND_TOMBSTONE, None, None, None)
            }
        };
        self.kinds.push(kind.into());
        self.value_blocks.push(block);
        self.value_offsets.push(offset);
        self.value_lens.push(len);
    }

    /// Adds a separator to an index block.
    pub(crate) fn push_separator(&mut self, separator: &[u8], child: u32) {
        self.push_key(separator, &[]);
        self.seqs.push(0);
        self.kinds.push(0);
        self.value_blocks.push(Some(child.into()));
        self.value_offsets.push(None);
        self.value_lens.push(None);
    }

    fn push_key(&mut self, key: &[u8], value: &[u8]) {
        let row_len = key.len() + value.len();
        self.same_len = self.ends.is_empty() || (self.same_len && row_len == self.row_len);
        self.row_len = row_len;
        self.longest_key = self.longest_key.max(key.len());
        self.shared = match self.ends.is_empty() {
            true => key.len(),
            false => common_prefix(self.key(0).get(..self.shared).unwrap_or_default(), key),
        };
        self.keys.extend_from_slice(key);
        self.keys.extend_from_slice(value);
        self.ends.push(self.keys.len());
    }

    /// Replaces the contents of `out` with the block. REQUIRES at least one entry.
    pub(crate) fn encode(&self, usage: BlockUse, out: &mut Vec<u8>) {
        let count = self.count();
        let prefix_len = self.shared;
        let suffixes_len = self.keys.len() - prefix_len * count;
        let (end_width, stride) = match (self.same_len, suffixes_len) {
            (true, _) => (0, self.row_len - prefix_len),
            (false, 0..=0xffff) => (2, 0),
            (false, _) => (4, 0),
        };
        let block_type = match (usage, self.order, self.same_len) {
            (BlockUse::Index, ..) => TYPE_INDEX,
            (BlockUse::Keys, SortOrder::Key, true) => TYPE_FIXED,
            (BlockUse::Keys, SortOrder::Key, false) => TYPE_VARIABLE,
            (BlockUse::Keys, SortOrder::Hash { .. }, true) => TYPE_HASHED_FIXED,
            (BlockUse::Keys, SortOrder::Hash { .. }, false) => TYPE_HASHED_VARIABLE,
        };
        let (mut hashes, mut hash_width, mut header_len) = (Vec::new(), 0, HEADER_LEN);
        if self.order.is_hash() {
            hash_width = hashes::encode(&self.hashes, self.longest_key, &mut hashes);
            header_len = HASHED_HEADER_LEN;
        }
        let (mut descriptors, mut bodies) = (Vec::with_capacity(HASHED_COLUMNS * DESCRIPTOR_LEN), Vec::new());
        let values = [&self.value_blocks, &self.value_offsets, &self.value_lens].map(|column| &column.values);
        for column in [&self.kinds, &self.seqs].into_iter().chain(values) {
            column::encode(column, &mut descriptors, &mut bodies);
        }
        if self.order.is_hash() {
            let lens: Vec<u64> = self.key_lens.iter().map(|len| len - prefix_len as u64).collect();
            column::encode(&lens, &mut descriptors, &mut bodies);
        }
        let inline_at =
            header_len + hashes.len() + prefix_len + count * end_width + suffixes_len + bodies.len();

        out.clear();
        out.extend_from_slice(&[block_type, end_width as u8]);
        out.extend_from_slice(&(prefix_len as u16).to_le_bytes());
        for field in [count, suffixes_len, stride, inline_at, usize::from(hash_width)] {
            out.extend_from_slice(&(field as u32).to_le_bytes());
        }
        out.extend_from_slice(&descriptors);
        out.extend_from_slice(&hashes);
        out.extend_from_slice(self.key(0).get(..prefix_len).unwrap_or_default());
        if end_width > 0 {
            for (i, end) in self.ends.iter().enumerate() {
                let end = (end - prefix_len * (i + 1)) as u32;
                out.extend(end.to_le_bytes().iter().take(end_width));
            }
        }
        for i in 0..count {
            out.extend_from_slice(self.key(i).get(prefix_len..).unwrap_or_default());
        }
        out.extend_from_slice(&bodies);
        out.extend_from_slice(&self.inline);
    }

    /// Forgets all entries, keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.key_lens.clear();
        self.keys.clear();
        self.ends.clear();
        self.kinds.clear();
        self.seqs.clear();
        self.value_blocks.clear();
        self.value_offsets.clear();
        self.value_lens.clear();
        self.inline.clear();
        self.references_len = 0;
        self.longest_key = 0;
    }
}

/// How many bytes `a` and `b` share in front.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Replaces the contents of `out` with a short key `s` with `last <= s`, and `s < next` if `last < next`.
/// REQUIRES `last <= next`.
pub(crate) fn separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let shared = common_prefix(last, next);
    if let (Some(&low), Some(&high)) = (last.get(shared), next.get(shared)) {
        if next.len() > shared + 1 {
            // A proper prefix of `next` that is above `last`.
            out.extend_from_slice(next.get(..=shared).unwrap_or_default());
            return;
        }
        if low + 1 < high {
            out.extend_from_slice(last.get(..shared).unwrap_or_default());
            out.push(low + 1);
            return;
        }
        // `next` is `shared` and `low + 1`: anything that starts with `last[..=shared]` is below it.
        let tail = last.iter().enumerate().skip(shared + 1);
        if let Some((i, byte)) = tail.into_iter().find(|(_, byte)| **byte < 0xff) {
            out.extend_from_slice(last.get(..i).unwrap_or_default());
            out.push(byte + 1);
            return;
        }
    }
    out.extend_from_slice(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_lie_between_and_are_short() {
        let mut out = Vec::new();
        let cases: &[(&[u8], &[u8], &[u8])] = &[
            (b"apple", b"banana", b"b"),
            (b"apple", b"apply", b"applf"),
            (b"app", b"apple", b"app"),
            (b"abc", b"abd", b"abc"),
            (b"abc\xff\x01z", b"abd", b"abc\xff\x02"),
            (b"abc\xff\xff", b"abd", b"abc\xff\xff"),
            (b"same", b"same", b"same"),
            (b"", b"\0", b""),
        ];
        for (last, next, expected) in cases {
            separator(last, next, &mut out);
            assert_eq!(out, *expected, "{last:?} {next:?}");
            assert!(*last <= &out[..] && (last == next || &out[..] < *next));
        }
    }
}
