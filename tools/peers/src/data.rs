//! Keys and values: the same for every engine and every run, with no table of them in memory.
//!
//! Key number i is 16 decimal digits of a permutation of 0..10^16 at i: present keys are the numbers below the count of
//! entries, absent ones the numbers from there on, so both have the same form and are spread alike. A value follows from
//! its key, so that whoever meets one can check it.

use crate::Result;

pub(crate) const KEY_LEN: usize = 16;

pub(crate) type Key = [u8; KEY_LEN];

const KEY_SPACE: u64 = 10_000_000_000_000_000;

/// The permutation works on numbers of this many bits: the first power of two above the key space.
const BITS: u32 = 54;
const MASK: u64 = (1 << BITS) - 1;

/// One value in this many is checked byte by byte.
const WHOLE_CHECKS: u64 = 16;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`. The bias of the multiplication is far below what a benchmark could see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A permutation of the numbers of [`BITS`] bits: odd multiplications and shifts can be undone.
fn scramble(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x1234_5678_9abc_def1) & MASK;
    for factor in [
        0x00bf_5847_6d1c_e4e5,
        0x0094_d049_bb13_3111,
        0x009e_3779_b97f_4a7d,
    ] {
        z ^= z >> (BITS / 2 + 1);
        z = z.wrapping_mul(factor) & MASK;
    }
    z ^ (z >> (BITS / 2 + 1))
}

/// The key of a number: numbers that differ have keys that differ.
pub(crate) fn key(number: u64) -> Key {
    let mut n = scramble(number & MASK);
    // Following the permutation until it comes back into the key space is again a permutation of the key space.
    while n >= KEY_SPACE {
        n = scramble(n);
    }
    let mut key = [b'0'; KEY_LEN];
    for digit in key.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
    key
}

fn seed(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Writes the value of a key into `value`: the first half random, the second half the first again.
pub(crate) fn fill_value(key: &[u8], value: &mut [u8]) {
    let half = value.len().div_ceil(2);
    let mut random = Random::new(seed(key));
    let (first, second) = value.split_at_mut(half);
    for chunk in first.chunks_mut(8) {
        let bytes = random.next().to_le_bytes();
        chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
    second.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
}

/// Checks values against their keys: length and identity of each, all bytes of one in sixteen.
pub(crate) struct Checker {
    expected: Vec<u8>,
    checked: u64,
}

impl Checker {
    pub(crate) fn new(value_size: usize) -> Self {
        Checker {
            expected: vec![0; value_size],
            checked: 0,
        }
    }

    pub(crate) fn check(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let identity = Random::new(seed(key)).next().to_le_bytes();
        if value.len() != self.expected.len() || value.first_chunk() != Some(&identity) {
            return Err(wrong(key));
        }
        self.checked += 1;
        if self.checked.is_multiple_of(WHOLE_CHECKS) {
            fill_value(key, &mut self.expected);
            if value != self.expected {
                return Err(wrong(key));
            }
        }
        Ok(())
    }
}

fn wrong(key: &[u8]) -> Box<dyn std::error::Error> {
    format!("the value of key {} is not what was written", key.escape_ascii()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_differ_have_keys_that_differ() {
        let mut keys: Vec<Key> = (0..200_000).map(key).collect();
        assert!(keys.windows(2).any(|pair| pair[0] > pair[1]), "not in order");
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(keys.iter().all(|key| key.iter().all(u8::is_ascii_digit)));
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0u32; 10];
        (0..100_000).for_each(|n| counts[usize::from(key(n)[0] - b'0')] += 1);
        assert!(
            counts.iter().all(|count| (9_000..11_000).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_wrong_value_is_noticed() {
        let (a, b) = (key(1), key(2));
        let mut value = [0; 100];
        fill_value(&a, &mut value);
        let mut checker = Checker::new(100);
        assert!((0..32).all(|_| checker.check(&a, &value).is_ok()));
        assert!(checker.check(&b, &value).is_err(), "another key's value");
        assert!(checker.check(&a, &value[..99]).is_err(), "too short");
        value[99] ^= 1;
        assert!(
            (0..16).any(|_| checker.check(&a, &value).is_err()),
            "a changed byte, within sixteen checks"
        );
    }
}
