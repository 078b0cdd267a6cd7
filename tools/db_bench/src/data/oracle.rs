//! [`Oracle`]: which keys are in the database, as far as this run has written them, one bit a key. What reads find is
//! compared with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Keys beyond which no bits are kept: 32 MiB of them.
const MOST_KEYS: u64 = 1 << 28;
/// `entry_bytes` before the first write, and after writes of different sizes.
const NONE_YET: u64 = u64::MAX;
const MIXED: u64 = u64::MAX - 1;

#[derive(Debug)]
pub(crate) struct Oracle {
    bits: Vec<AtomicU64>,
    /// The database was empty, and the bits tell everything about the numbers below the limit.
    known: bool,
    /// Whether anything has been written that has no bit.
    others: AtomicBool,
    /// Bytes of key and value of every entry, if all are alike.
    entry_bytes: AtomicU64,
}

impl Oracle {
    /// Of an empty database that will get keys of numbers below `num`, of which `distinct` are different.
    pub(crate) fn of_empty(num: u64, distinct: u64) -> Self {
        let known = num <= MOST_KEYS.min(distinct);
        let words = if known { num.div_ceil(64) } else { 0 };
        Oracle {
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
            known,
            others: AtomicBool::new(false),
            entry_bytes: AtomicU64::new(NONE_YET),
        }
    }

    /// Of a database that somebody else has filled.
    pub(crate) fn ignorant() -> Self {
        Oracle {
            known: false,
            ..Oracle::of_empty(0, 0)
        }
    }

    fn word(&self, number: u64) -> Option<(&AtomicU64, u64)> {
        Some((self.bits.get((number / 64) as usize)?, 1 << (number % 64)))
    }

    /// Whether the key is there; `None` if that is not known.
    pub(crate) fn has(&self, number: u64) -> Option<bool> {
        let (word, bit) = self.word(number)?;
        Some(word.load(Ordering::Acquire) & bit != 0)
    }

    /// Takes note of a write that has been acknowledged.
    pub(crate) fn put(&self, number: u64, bytes: u64) {
        match self.word(number) {
            Some((word, bit)) => {
                if word.load(Ordering::Relaxed) & bit == 0 {
                    word.fetch_or(bit, Ordering::Release);
                }
            }
            None => self.note_others(),
        }
        let mut known = self.entry_bytes.load(Ordering::Relaxed);
        while known != bytes && known != MIXED {
            let next = if known == NONE_YET { bytes } else { MIXED };
            match self
                .entry_bytes
                .compare_exchange(known, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => known = now,
            }
        }
    }

    /// Takes note of a delete that is about to happen.
    pub(crate) fn delete(&self, number: u64) {
        if let Some((word, bit)) = self.word(number) {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Keys that have no bit have been written.
    pub(crate) fn note_others(&self) {
        self.others.store(true, Ordering::Relaxed);
    }

    /// How many keys there are, if that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        let all = self.known && !self.others.load(Ordering::Relaxed);
        all.then(|| {
            self.bits
                .iter()
                .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
                .sum()
        })
    }

    /// Bytes of all keys and values, if they are known.
    pub(crate) fn live_bytes(&self) -> Option<u64> {
        match self.entry_bytes.load(Ordering::Relaxed) {
            MIXED => None,
            NONE_YET => self.len().map(|_| 0),
            bytes => self.len().map(|len| len * bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_it_was_told() {
        let oracle = Oracle::of_empty(100, u64::MAX);
        assert_eq!((oracle.has(5), oracle.len()), (Some(false), Some(0)));
        oracle.put(5, 116);
        oracle.put(99, 116);
        oracle.put(99, 116);
        assert_eq!(
            (oracle.has(5), oracle.len(), oracle.live_bytes()),
            (Some(true), Some(2), Some(232))
        );
        oracle.delete(5);
        assert_eq!((oracle.has(5), oracle.len()), (Some(false), Some(1)));
        oracle.put(7, 20);
        assert_eq!(oracle.live_bytes(), None, "sizes differ");
        oracle.put(1000, 20);
        assert_eq!(oracle.len(), None, "a key without a bit");
    }

    #[test]
    fn it_says_nothing_where_it_knows_nothing() {
        let oracle = Oracle::ignorant();
        oracle.put(5, 116);
        assert_eq!(
            (oracle.has(5), oracle.len(), oracle.live_bytes()),
            (None, None, None)
        );
        assert_eq!(
            Oracle::of_empty(1000, 256).has(5),
            None,
            "keys that share their bytes"
        );
    }
}
