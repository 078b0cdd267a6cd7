//! [`SortOrder`]: what the entries of a keyspace's files are sorted by, and the one hash of a key.
//!
//! Everything below the API sorts by a *sort key*, a string of bytes that is compared byte by byte:
//!
//! ```text
//! key order:   the key
//! hash order:  hash of the key u64, big endian | the key
//! ```
//!
//! So memtables, cursors, merges, levels and file bounds are the same for both orders, and two keys that share a hash are
//! two sort keys. The hash is xxh3 with a seed that is the keyspace's own: whoever chooses keys can't choose hashes. A
//! look-up computes it once; filters are asked with the same hash (in hash order a file holds a range of hashes: the top bits
//! say which file, the low ones are the filter's fingerprint).
//!
//! In builds for tests every fourth seed is weak: eight hashes in all, so that many keys share one.
//!
//! Callers: the SST modules; the engine, at the edges where keys come in and go out.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::coding::array_at;
use crate::types::MAX_KEY_LEN;

/// Bytes of the hash in front of a sort key.
pub(crate) const HASH_LEN: usize = 8;

/// What entries are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// The key's bytes.
    #[default]
    Key,
    /// The key's hash, then its bytes.
    Hash {
        /// The keyspace's own number that goes into the hash.
        seed: u64,
    },
}

/// Room for the sort key of one look-up: on the stack for keys of up to 120 bytes.
#[derive(Debug)]
pub struct SortKeyBuffer {
    short: [u8; HASH_LEN + SHORT_KEY],
    long: Vec<u8>,
}

/// Longer keys than most.
const SHORT_KEY: usize = 120;

impl Default for SortKeyBuffer {
    #[inline]
    fn default() -> Self {
        SortKeyBuffer {
            short: [0; HASH_LEN + SHORT_KEY],
            long: Vec::new(),
        }
    }
}

impl SortOrder {
    /// The hash of a key: what filters are asked with, and in hash order what entries are sorted by.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        match self {
            SortOrder::Key => xxh3_64(key),
            SortOrder::Hash { seed } => weakened(xxh3_64_with_seed(key, seed), seed),
        }
    }

    /// Whether entries are sorted by hash.
    #[inline]
    pub fn is_hash(self) -> bool {
        matches!(self, SortOrder::Hash { .. })
    }

    /// The longest key, in bytes: its sort key has at most [`MAX_KEY_LEN`].
    pub fn max_key_len(self) -> usize {
        MAX_KEY_LEN - self.hash_len()
    }

    /// Bytes of a sort key that stand before the key.
    #[inline]
    pub(crate) fn hash_len(self) -> usize {
        match self {
            SortOrder::Key => 0,
            SortOrder::Hash { .. } => HASH_LEN,
        }
    }

    /// The sort key of `key`, whose hash is `hash`.
    #[inline]
    pub fn sort_key<'a>(self, key: &'a [u8], hash: u64, room: &'a mut SortKeyBuffer) -> &'a [u8] {
        if self == SortOrder::Key {
            return key;
        }
        let len = HASH_LEN + key.len();
        let SortKeyBuffer { short, long } = room;
        if let Some(short) = short.get_mut(..len)
            && let Some((front, rest)) = short.split_first_chunk_mut::<HASH_LEN>()
        {
            *front = hash.to_be_bytes();
            rest.copy_from_slice(key);
            return short;
        }
        long.clear();
        long.reserve(len);
        long.extend_from_slice(&hash.to_be_bytes());
        long.extend_from_slice(key);
        long
    }

    /// The key in a sort key.
    #[inline]
    pub fn key_of(self, sort_key: &[u8]) -> &[u8] {
        sort_key.get(self.hash_len()..).unwrap_or_default()
    }

    /// Whether these bytes are a sort key: in hash order whether they begin with the hash of the rest.
    pub fn is_sort_key(self, bytes: &[u8]) -> bool {
        match self {
            SortOrder::Key => true,
            SortOrder::Hash { .. } => {
                array_at(bytes, 0).map(u64::from_be_bytes) == Some(self.hash(self.key_of(bytes)))
            }
        }
    }
}

/// The hash in front of a sort key of hash order. Bytes that are missing count as zeros, which is right for bounds.
#[inline]
pub(crate) fn split(sort_key: &[u8]) -> (u64, &[u8]) {
    match sort_key.split_first_chunk::<HASH_LEN>() {
        Some((hash, key)) => (u64::from_be_bytes(*hash), key),
        None => {
            let mut hash = [0; HASH_LEN];
            hash.iter_mut().zip(sort_key).for_each(|(to, from)| *to = *from);
            (u64::from_be_bytes(hash), &[])
        }
    }
}

#[inline]
fn weakened(hash: u64, seed: u64) -> u64 {
    let weak = cfg!(any(test, feature = "fuzzing", feature = "planted-bugs")) && seed.is_multiple_of(4);
    if weak { hash & (7 << 61) } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_key_is_the_hash_and_the_key() {
        let order = SortOrder::Hash { seed: 7 };
        for len in [0, 1, 119, 120, 121, 5000] {
            let key = vec![b'k'; len];
            let mut room = SortKeyBuffer::default();
            let sort_key = order.sort_key(&key, order.hash(&key), &mut room);
            assert_eq!(sort_key.len(), len + 8);
            assert_eq!(order.key_of(sort_key), key);
            assert_eq!(split(sort_key), (order.hash(&key), &key[..]));
            assert!(order.is_sort_key(sort_key));
            assert!(!SortOrder::Hash { seed: 9 }.is_sort_key(sort_key), "another seed");
        }
        assert!(!order.is_sort_key(b"short"));
        let mut room = SortKeyBuffer::default();
        assert_eq!(SortOrder::Key.sort_key(b"k", 1, &mut room), b"k");
    }

    #[test]
    fn a_bound_shorter_than_a_hash_is_below_all_that_begin_with_it() {
        assert_eq!(split(b""), (0, &[][..]));
        assert_eq!(split(&[0xff, 1]), (0xff01 << 48, &[][..]));
    }

    #[test]
    fn without_a_seed_the_hash_is_plain_xxh3() {
        assert_eq!(SortOrder::Key.hash(b"abc"), xxh3_64(b"abc"));
        assert_ne!(
            SortOrder::Hash { seed: 1 }.hash(b"abc"),
            SortOrder::Hash { seed: 2 }.hash(b"abc")
        );
    }

    #[test]
    fn weak_seeds_make_keys_share_hashes() {
        let order = SortOrder::Hash { seed: 4 };
        let mut hashes: Vec<u64> = (0u32..100).map(|i| order.hash(&i.to_le_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 8);
    }
}
