//! [`Values`] and [`Checker`]: what is stored under a key, and whether it is what came back.
//!
//! ```text
//!  ├──── 8 bytes ────┤├──────────── the rest ────────────┤
//!  │ mark            ││ window of a buffer               │
//! ```
//!
//! The mark is a hash of the key, the value's length and its version (how often the workloads have overwritten it), and
//! the window's place follows from the mark. So a reader can check that a value is whole, belongs to its key, and is of
//! a version that may be there, and needs no memory for that. The buffer is one of three:
//! * half-compressible, as db_bench's: pieces of 100 bytes, each of which repeats its random first part, such that a
//!   value with its mark compresses to about half;
//! * random bytes;
//! * real text.

use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::random::{Random, mix, scale};
use crate::Result;

/// What values are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ValueKind {
    /// Pieces as db_bench's, which compress to about half.
    Half,
    /// Random bytes, which do not compress.
    Random,
    /// Windows of real text.
    Text,
}

impl ValueKind {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            ValueKind::Half => "of which half repeat",
            ValueKind::Random => "random, incompressible",
            ValueKind::Text => "windows of real text",
        }
    }
}

/// Bytes of the mark, and so the shortest value.
const MARK: usize = 8;
const PIECE: usize = 100;
/// The buffer is this or sixteen values long, whichever is more: small enough for a processor's cache, and so long that
/// two windows in one block of an engine rarely overlap.
const BUFFER: usize = 4 << 20;
const BUFFER_VALUES: usize = 16;
/// One value in this many is compared byte by byte.
const WHOLE_CHECKS: u64 = 16;
const SEED: u64 = 301;

/// Makes values of one length. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Values {
    buffer: Arc<Vec<u8>>,
    len: usize,
    /// Windows begin at multiples of this, of which there are so many.
    step: usize,
    windows: u64,
}

impl Values {
    /// REQUIRES: `len` is at least 8; for text, that `text` is longer than `len`.
    pub(crate) fn new(kind: ValueKind, len: usize, text: Option<Vec<u8>>) -> Result<Self> {
        let target = BUFFER.max(len * BUFFER_VALUES);
        let (buffer, step) = match (kind, text) {
            (ValueKind::Half, _) => (pieces(len, target), PIECE),
            (ValueKind::Random, _) => (random_bytes(target), 1),
            (ValueKind::Text, Some(text)) => (text, 1),
            (ValueKind::Text, None) => return Err("values of text need a text".into()),
        };
        let body = len.checked_sub(MARK).ok_or("values have at least 8 bytes")?;
        let room = buffer
            .len()
            .checked_sub(body)
            .ok_or_else(|| format!("the text has {} bytes, fewer than a value", buffer.len()))?;
        Ok(Values {
            buffer: Arc::new(buffer),
            len,
            step,
            windows: (room / step) as u64 + 1,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn mark(&self, key: u64, version: u64) -> u64 {
        mix(key ^ (self.len as u64).rotate_left(40) ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn window(&self, mark: u64) -> &[u8] {
        let start = scale(mix(mark), self.windows) as usize * self.step;
        &self.buffer[start..start + self.len - MARK]
    }

    /// Writes the value that a version of a key has.
    pub(crate) fn write(&self, key: &[u8], version: u64, value: &mut Vec<u8>) {
        let mark = self.mark(xxh3_64(key), version);
        value.clear();
        value.extend_from_slice(&mark.to_le_bytes());
        value.extend_from_slice(self.window(mark));
    }
}

fn pieces(len: usize, target: usize) -> Vec<u8> {
    let mut random = Random::new(SEED);
    // The mark does not compress: the rest compresses better by that.
    let typical = len.clamp(2 * MARK + 1, PIECE) as f64;
    let random_part = ((typical / 2.0 - MARK as f64) / (typical - MARK as f64)).max(0.01);
    let raw = ((PIECE as f64 * random_part) as usize).clamp(1, PIECE);
    let mut buffer = Vec::with_capacity(target + PIECE);
    while buffer.len() < target {
        let start = buffer.len();
        buffer.extend((0..raw).map(|_| b' ' + random.below(95) as u8));
        while buffer.len() < start + PIECE {
            let repeated = (start + PIECE - buffer.len()).min(raw);
            buffer.extend_from_within(start..start + repeated);
        }
    }
    buffer
}

fn random_bytes(target: usize) -> Vec<u8> {
    let mut random = Random::new(SEED);
    let words = (0..target.div_ceil(8)).map(|_| random.next().to_le_bytes());
    words.flatten().collect()
}

/// Checks values against their keys: length and identity of each, all bytes of one in sixteen.
pub(crate) struct Checker {
    values: Values,
    checked: u64,
    /// The versions that may be found, both ends counted.
    versions: (u64, u64),
}

impl Checker {
    pub(crate) fn new(values: &Values, versions: (u64, u64)) -> Self {
        Checker {
            values: values.clone(),
            checked: 0,
            versions,
        }
    }

    pub(crate) fn check(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let hash = xxh3_64(key);
        let Some((found, window)) = value
            .split_first_chunk()
            .filter(|_| value.len() == self.values.len)
        else {
            return Err(wrong(key, "length"));
        };
        let found = u64::from_le_bytes(*found);
        let (oldest, newest) = self.versions;
        if !(oldest..=newest).any(|version| self.values.mark(hash, version) == found) {
            return Err(wrong(key, "mark"));
        }
        self.checked += 1;
        if self.checked.is_multiple_of(WHOLE_CHECKS) && window != self.values.window(found) {
            return Err(wrong(key, "contents"));
        }
        Ok(())
    }
}

fn wrong(key: &[u8], what: &str) -> Box<dyn std::error::Error + Send + Sync> {
    let key = key.escape_ascii();
    format!("the value of key {key} has another {what} than was written").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &Values, key: &[u8], version: u64) -> Vec<u8> {
        let mut value = Vec::new();
        values.write(key, version, &mut value);
        value
    }

    #[test]
    fn values_are_the_same_in_every_run_and_of_the_length_asked_for() {
        for kind in [ValueKind::Half, ValueKind::Random, ValueKind::Text] {
            for len in [8, 9, 100, 5000, 1 << 20] {
                let text = || Some((0..2_000_000_u32).map(|n| (n % 251) as u8).collect());
                let first = value(&Values::new(kind, len, text()).unwrap(), b"key", 0);
                let again = value(&Values::new(kind, len, text()).unwrap(), b"key", 0);
                assert_eq!(first.len(), len);
                assert!(first == again, "{kind:?} {len}");
            }
        }
    }

    #[test]
    fn a_wrong_value_is_noticed() {
        let values = Values::new(ValueKind::Half, 100, None).unwrap();
        let mut right = value(&values, b"a", 0);
        let mut checker = Checker::new(&values, (0, 1));
        assert!((0..32).all(|_| checker.check(b"a", &right).is_ok()));
        assert!(
            checker.check(b"a", &value(&values, b"a", 1)).is_ok(),
            "overwritten"
        );
        assert!(
            checker.check(b"a", &value(&values, b"a", 2)).is_err(),
            "a version from the future"
        );
        assert!(checker.check(b"b", &right).is_err(), "another key's value");
        assert!(checker.check(b"a", &right[..99]).is_err(), "too short");
        assert!(checker.check(b"a", &[]).is_err(), "empty");
        right[99] ^= 1;
        assert!(
            (0..16).any(|_| checker.check(b"a", &right).is_err()),
            "a changed byte, within sixteen checks"
        );
    }

    #[test]
    fn a_value_that_an_overwrite_lost_is_noticed() {
        let values = Values::new(ValueKind::Random, 8, None).unwrap();
        let mut checker = Checker::new(&values, (2, 2));
        assert!(checker.check(b"a", &value(&values, b"a", 1)).is_err());
        assert!(checker.check(b"a", &value(&values, b"a", 2)).is_ok());
    }

    #[test]
    fn half_compressible_values_repeat_half_of_their_bytes() {
        let values = Values::new(ValueKind::Half, 100, None).unwrap();
        let body = &value(&values, b"key", 0)[MARK..];
        let period = (1..body.len())
            .find(|period| body[*period..] == body[..body.len() - period])
            .unwrap();
        assert!(
            (40..=50).contains(&period),
            "{period}: the mark and one period are half"
        );
    }
}
