//! Values: slices of a buffer that compresses to --compression_ratio, each marked with what it belongs to.
//!
//! ```text
//!  ├──── 8 bytes ────┤├──── the rest ─────────────────────────┤
//!  │ mark            ││ slice of pieces of 100 bytes, each of which │
//!  │                 ││ repeats its random first part               │
//! ```
//!
//! The mark is a hash of the key, the length and the contents, so that a reader needs no other knowledge to tell that a
//! value is whole and belongs to its key. Of long values the ends are hashed: else the check would be what is measured.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Random;
use crate::flags::{Config, SizeDistribution};

/// Bytes of the mark.
const MARK: usize = 8;
/// Values up to this length are hashed whole, of longer ones this much at both ends together.
const HASHED: usize = 1024;
/// The least buffer, and LevelDB's.
const BUFFER: usize = 1 << 20;
/// Every piece has a random part of its own.
const PIECE: usize = 100;
/// LevelDB's and RocksDB's seed: values are the same in every run.
const SEED: u64 = 301;

fn mark(key: &[u8], body: &[u8]) -> [u8; MARK] {
    let seed = xxh3_64(key) ^ body.len() as u64;
    let hash = match body.len() {
        0..=HASHED => xxh3_64_with_seed(body, seed),
        len => {
            let ends = xxh3_64_with_seed(&body[..HASHED / 2], seed);
            xxh3_64_with_seed(&body[len - HASHED / 2..], ends)
        }
    };
    hash.to_le_bytes()
}

/// Whether a value is one that was made for this key, whole.
pub(crate) fn is_value_of(key: &[u8], value: &[u8]) -> bool {
    match value.split_at_checked(MARK) {
        Some((found, body)) => mark(key, body) == found,
        // Too short for the mark: as much of it as there is.
        None => value.len() < MARK && mark(key, &[])[..value.len()] == *value,
    }
}

pub(crate) struct ValueMaker {
    buffer: Vec<u8>,
    at: usize,
    /// The bytes below the last mark, and where they belong.
    hidden: (usize, [u8; MARK]),
}

impl ValueMaker {
    /// For values of at most `longest` bytes, typically of `typical`.
    pub(crate) fn new(ratio: f64, typical: usize, longest: usize) -> Self {
        let mut random = Random::new(SEED);
        // The mark does not compress: the other bytes compress better by that, and the whole as asked.
        let typical = typical.max(2 * MARK) as f64;
        let marked = MARK as f64;
        let ratio = ((ratio * typical - marked) / (typical - marked)).clamp(0.0, 1.0);
        let raw = ((PIECE as f64 * ratio) as usize).clamp(1, PIECE);
        let mut buffer = Vec::with_capacity(BUFFER.max(longest) + PIECE);
        while buffer.len() < BUFFER.max(longest) {
            let start = buffer.len();
            buffer.extend((0..raw).map(|_| b' ' + random.below(95) as u8));
            while buffer.len() < start + PIECE {
                let repeated = (start + PIECE - buffer.len()).min(raw);
                buffer.extend_from_within(start..start + repeated);
            }
        }
        let hidden = buffer.first_chunk().copied().unwrap_or_default();
        ValueMaker {
            buffer,
            at: 0,
            hidden: (0, hidden),
        }
    }

    /// A value of `len` bytes for a key. The bytes are good until the next call.
    pub(crate) fn value(&mut self, key: &[u8], len: usize) -> &[u8] {
        let (place, bytes) = self.hidden;
        self.buffer[place..place + MARK].copy_from_slice(&bytes);
        if self.at + len.max(MARK) > self.buffer.len() {
            self.at = 0;
        }
        let start = self.at;
        self.at += len;
        if let Some(bytes) = self.buffer[start..].first_chunk() {
            self.hidden = (start, *bytes);
        }
        let body = start + MARK.min(len)..start + len;
        let mark = mark(key, &self.buffer[body]);
        let shown = MARK.min(len);
        self.buffer[start..start + shown].copy_from_slice(&mark[..shown]);
        &self.buffer[start..start + len]
    }
}

impl ValueMaker {
    /// Like the last value but for its mark, which is this key's.
    pub(crate) fn same_value(&mut self, key: &[u8], len: usize) -> &[u8] {
        self.at = self.hidden.0;
        self.value(key, len)
    }
}

/// What two values have in common that were made by `value` and `same_value`.
pub(crate) fn contents(value: &[u8]) -> &[u8] {
    value.get(MARK..).unwrap_or_default()
}

/// How long values are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueSizes {
    distribution: SizeDistribution,
    fixed: usize,
    min: usize,
    max: usize,
}

impl ValueSizes {
    pub(crate) fn new(config: &Config) -> Self {
        ValueSizes {
            distribution: config.value_sizes,
            fixed: config.value_size,
            min: config.value_size_min,
            max: config.value_size_max,
        }
    }

    pub(crate) fn fixed(len: usize) -> Self {
        ValueSizes {
            distribution: SizeDistribution::Fixed,
            fixed: len,
            min: len,
            max: len,
        }
    }

    pub(crate) fn next(&self, random: &mut Random) -> usize {
        let (min, max) = (self.min as f64, self.max as f64);
        match self.distribution {
            SizeDistribution::Fixed => self.fixed,
            SizeDistribution::Uniform => self.min + random.below((self.max - self.min) as u64 + 1) as usize,
            // RocksDB's: the bounds lie three deviations from the middle.
            SizeDistribution::Normal => {
                let len = (min + max) / 2.0 + random.normal() * (max - min) / 6.0;
                len.clamp(min, max) as usize
            }
        }
    }

    /// The one length, if there is only one.
    pub(crate) fn only(&self) -> Option<usize> {
        (self.distribution == SizeDistribution::Fixed).then_some(self.fixed)
    }

    pub(crate) fn typical(&self) -> usize {
        self.only().unwrap_or((self.min + self.max) / 2)
    }

    pub(crate) fn longest(&self) -> usize {
        self.only().unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_key_length_and_contents() {
        let mut maker = ValueMaker::new(0.5, 100, 5000);
        for len in [0, 1, 7, 8, 9, 100, 1032, 1033, 5000] {
            for _ in 0..300 {
                let value = maker.value(b"key", len).to_vec();
                assert_eq!(value.len(), len);
                assert!(is_value_of(b"key", &value), "{len}");
                assert!(len < 2 || !is_value_of(b"other", &value), "{len}");
                assert!(len < 9 || !is_value_of(b"key", &value[..len - 1]), "{len}");
                for flipped in [0, len / 4, len.saturating_sub(1)] {
                    let mut damaged = value.clone();
                    if let Some(byte) = damaged.get_mut(flipped) {
                        *byte ^= 1;
                        // The middle of a long value is not looked at.
                        assert!(flipped >= 512 && flipped + 512 < len || !is_value_of(b"key", &damaged));
                    }
                }
            }
        }
    }

    #[test]
    fn values_compress_as_asked() {
        for ratio in [0.25, 0.5, 0.75, 1.0] {
            let mut maker = ValueMaker::new(ratio, 100, 100);
            let block: Vec<u8> = (0..40_u32)
                .flat_map(|i| maker.value(&i.to_be_bytes(), 100).to_vec())
                .collect();
            let compressed = lz4_flex::block::compress(&block).len() as f64 / block.len() as f64;
            assert!((compressed - ratio).abs() < 0.12, "{ratio} {compressed}");
        }
    }

    #[test]
    fn the_buffer_is_the_same_after_a_round_of_values() {
        let mut maker = ValueMaker::new(0.5, 100, 100);
        let before = maker.buffer.clone();
        for i in 0..30_000_u32 {
            maker.value(&i.to_be_bytes(), 90 + i as usize % 20);
        }
        let (place, bytes) = maker.hidden;
        maker.buffer[place..place + MARK].copy_from_slice(&bytes);
        assert!(maker.buffer == before);
    }

    #[test]
    fn sizes_stay_within_their_bounds() {
        let mut random = Random::new(7);
        for distribution in [SizeDistribution::Uniform, SizeDistribution::Normal] {
            let sizes = ValueSizes {
                distribution,
                fixed: 0,
                min: 100,
                max: 1000,
            };
            let drawn: Vec<usize> = (0..5000).map(|_| sizes.next(&mut random)).collect();
            assert!(drawn.iter().all(|len| (100..=1000).contains(len)));
            let mean = drawn.iter().sum::<usize>() / drawn.len();
            assert!((520..580).contains(&mean), "{mean}");
        }
    }
}
