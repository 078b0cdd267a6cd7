//! [`Keys`]: from an entry's number to its key, present or absent.
//!
//! Numbers count entries in the order in which a load writes them. Keys of different numbers differ, and for every
//! number there is also an absent key, which no load ever writes, of the same length and form and from the same places
//! of the key space.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::random::{mix, scale, unit};
use draws::Permutation;

/// What keys look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyKind {
    /// 16 decimal digits, spread evenly, in random order.
    Random,
    /// 16 decimal digits, counting upwards by two (absent keys lie between).
    Sequential,
    /// 16 decimal digits, crowded: the first four follow a power law, as tenants of unequal size would.
    Skewed,
    /// URLs of 40 to 110 bytes: a few thousand hosts of unequal size, one to four directories.
    Urls,
    /// Paths of 30 to 130 bytes below a few thousand directories of unequal size.
    Paths,
}

impl KeyKind {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            KeyKind::Random => "keys of 16 ASCII digits in random order",
            KeyKind::Sequential => "keys of 16 ASCII digits, ascending",
            KeyKind::Skewed => {
                "keys of 16 ASCII digits, crowded by a power law in the first four, in random order"
            }
            KeyKind::Urls => "URLs of 40 to 110 bytes with shared prefixes, in random order",
            KeyKind::Paths => "file paths of 30 to 130 bytes with shared prefixes, in random order",
        }
    }
}

/// Numbers of absent keys begin here, where no load reaches, and below the end of every space of scrambled numbers.
const ABSENT: u64 = 1 << 39;
/// The scrambled numbers: 10^16 of them, so that all have 16 digits.
const DIGITS: usize = 16;
const DIGITS_SPACE: u64 = 10_u64.pow(16);
const SKEWED_PREFIXES: u64 = 10_000;
const SKEWED_SPACE: u64 = 10_u64.pow(12);
/// Digits of base 36 in a URL's or a path's own part, and how many numbers they hold.
const OWN_DIGITS: usize = 10;
const OWN_SPACE: u64 = 36_u64.pow(10);
const HOSTS: u64 = 3_000;
const DIRECTORIES: u64 = 4_000;
const SEED: u64 = 0x7061_636b;

const WORDS: [&str; 32] = [
    "account", "archive", "article", "assets", "blog", "build", "cache", "catalog", "client", "config",
    "content", "data", "docs", "download", "forum", "gallery", "images", "index", "library", "media", "news",
    "package", "product", "profile", "public", "review", "search", "server", "source", "static", "test",
    "topic",
];
const ENDINGS: [&str; 8] = ["", ".html", ".rs", "/", ".json", ".tar.gz", ".txt", ".jpeg"];

/// Makes keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    kind: KeyKind,
    scrambled: Permutation,
    /// The order of insertion of keys that are not scrambled in themselves.
    order: Option<Permutation>,
}

impl Keys {
    pub(crate) fn new(kind: KeyKind) -> Self {
        let space = match kind {
            KeyKind::Random | KeyKind::Sequential => DIGITS_SPACE,
            KeyKind::Skewed => SKEWED_SPACE,
            KeyKind::Urls | KeyKind::Paths => OWN_SPACE,
        };
        Keys {
            kind,
            scrambled: Permutation::new(space, SEED),
            order: None,
        }
    }

    /// Sequential keys that are nevertheless loaded in random order: the first `entries` numbers are shuffled.
    pub(crate) fn shuffled(mut self, entries: u64) -> Self {
        if self.kind == KeyKind::Sequential {
            self.order = Some(Permutation::new(entries, SEED));
        }
        self
    }

    /// Writes the key of an entry.
    pub(crate) fn present(&self, number: u64, key: &mut Vec<u8>) {
        self.write(number, false, key);
    }

    /// Writes a key of the same length that is never loaded.
    pub(crate) fn absent(&self, number: u64, key: &mut Vec<u8>) {
        self.write(number, true, key);
    }

    fn write(&self, number: u64, absent: bool, key: &mut Vec<u8>) {
        key.clear();
        let own = |absent: bool| self.scrambled.at(if absent { number + ABSENT } else { number });
        match self.kind {
            KeyKind::Random => push_digits(key, own(absent), 10, DIGITS),
            KeyKind::Sequential => {
                let place = match &self.order {
                    Some(order) if number < order.bound() => order.at(number),
                    _ => number,
                };
                push_digits(key, 2 * place + u64::from(absent), 10, DIGITS);
            }
            KeyKind::Skewed => {
                let prefix = power_law(mix(number ^ SEED), SKEWED_PREFIXES);
                push_digits(key, prefix, 10, 4);
                // The twelve digits alone tell numbers apart.
                push_digits(key, own(absent), 10, 12);
            }
            KeyKind::Urls => url(number, own(absent), key),
            KeyKind::Paths => path(number, own(absent), key),
        }
    }
}

/// A number below `n`, small ones more often: the tenth part of them gets about half.
fn power_law(hash: u64, n: u64) -> u64 {
    ((unit(hash).powi(3) * n as f64) as u64).min(n - 1)
}

/// So many digits of a number, the greatest first.
fn push_digits(key: &mut Vec<u8>, mut n: u64, base: u64, digits: usize) {
    let start = key.len();
    key.resize(start + digits, b'0');
    for place in key[start..].iter_mut().rev() {
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % base) as usize];
        n /= base;
    }
}

fn word(hash: u64) -> &'static [u8] {
    WORDS[scale(hash, WORDS.len() as u64) as usize].as_bytes()
}

/// Everything but the own part follows from the number, so that its absent partner has the same length.
fn url(number: u64, own: u64, key: &mut Vec<u8>) {
    let hash = mix(number ^ SEED);
    let host = power_law(hash, HOSTS);
    key.extend_from_slice(b"https://");
    key.extend_from_slice(if host.is_multiple_of(3) { b"www." } else { b"" });
    key.extend_from_slice(word(mix(host)));
    key.extend_from_slice(b"-");
    push_digits(key, host, 10, 4);
    key.extend_from_slice(b".example.org/");
    for level in 0..1 + mix(hash) % 4 {
        // Few directories a host: they are shared.
        let choice = mix(host * 8 + level) ^ (mix(hash ^ level) % 4);
        key.extend_from_slice(word(mix(choice)));
        key.push(b'/');
    }
    push_digits(key, own, 36, OWN_DIGITS);
    key.extend_from_slice(ENDINGS[(mix(hash ^ 99) % 8) as usize].as_bytes());
}

fn path(number: u64, own: u64, key: &mut Vec<u8>) {
    let hash = mix(number ^ SEED);
    let directory = power_law(hash, DIRECTORIES);
    key.extend_from_slice(b"/home/user/");
    for level in 0..2 + mix(directory) % 6 {
        key.extend_from_slice(word(mix(directory * 8 + level)));
        push_digits(key, mix(directory + level) % 100, 10, 2);
        key.push(b'/');
    }
    key.extend_from_slice(word(mix(hash ^ 7)));
    key.push(b'_');
    push_digits(key, own, 36, OWN_DIGITS);
    key.extend_from_slice(ENDINGS[(mix(hash ^ 99) % 8) as usize].as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [KeyKind; 5] = [
        KeyKind::Random,
        KeyKind::Sequential,
        KeyKind::Skewed,
        KeyKind::Urls,
        KeyKind::Paths,
    ];
    const N: u64 = 50_000;

    fn key(keys: &Keys, number: u64, absent: bool) -> Vec<u8> {
        let mut key = Vec::new();
        keys.write(number, absent, &mut key);
        key
    }

    #[test]
    fn present_and_absent_keys_are_disjoint_and_none_comes_twice() {
        for kind in ALL {
            let keys = Keys::new(kind).shuffled(N);
            let both = [false, true];
            let all: BTreeSet<Vec<u8>> = both
                .iter()
                .flat_map(|absent| (0..N).map(|n| key(&keys, n, *absent)))
                .collect();
            assert_eq!(all.len() as u64, 2 * N, "{kind:?}");
        }
    }

    #[test]
    fn the_absent_key_of_a_number_is_as_long_as_the_present_one() {
        for kind in ALL {
            let keys = Keys::new(kind);
            assert!(
                (0..N).all(|n| key(&keys, n, false).len() == key(&keys, n, true).len()),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn lengths_are_as_described() {
        for (kind, least, most) in [
            (KeyKind::Random, 16, 16),
            (KeyKind::Sequential, 16, 16),
            (KeyKind::Skewed, 16, 16),
            (KeyKind::Urls, 40, 110),
            (KeyKind::Paths, 30, 130),
        ] {
            let keys = Keys::new(kind);
            let lengths: BTreeSet<usize> = (0..N).map(|n| key(&keys, n, false).len()).collect();
            let (first, last) = (lengths.first().copied(), lengths.last().copied());
            assert!(first >= Some(least) && last <= Some(most), "{kind:?} {lengths:?}");
            assert!(least == most || lengths.len() > 20, "{kind:?} {lengths:?}");
        }
    }

    #[test]
    fn keys_are_the_same_in_every_run() {
        let text = |kind, n| String::from_utf8(key(&Keys::new(kind), n, false)).unwrap();
        assert_eq!(text(KeyKind::Sequential, 21), "0000000000000042");
        assert_eq!(
            ALL.map(|kind| text(kind, 1)),
            [
                "6772843700949692",
                "0000000000000002",
                "6794147425642668",
                "https://docs-2038.example.org/gallery/xcdwptj264.txt",
                "/home/user/content07/source04/topic21/media_xcdwptj264.txt",
            ]
        );
    }

    #[test]
    fn sequential_keys_ascend_unless_they_are_shuffled() {
        let keys = Keys::new(KeyKind::Sequential);
        assert!((1..N).all(|n| key(&keys, n - 1, false) < key(&keys, n, false)));
        let shuffled = keys.shuffled(N);
        assert!((1..N).any(|n| key(&shuffled, n - 1, false) > key(&shuffled, n, false)));
    }

    #[test]
    fn random_keys_are_spread_evenly_and_skewed_ones_are_not() {
        let tenths = |kind| {
            let keys = Keys::new(kind);
            let mut counts = [0_u64; 10];
            (0..N).for_each(|n| counts[usize::from(key(&keys, n, false)[0] - b'0')] += 1);
            counts
        };
        let even = tenths(KeyKind::Random);
        assert!(even.iter().all(|n| (N / 11..N / 9).contains(n)), "{even:?}");
        assert!(tenths(KeyKind::Skewed)[0] > N / 3);
    }

    #[test]
    fn urls_share_prefixes() {
        let keys = Keys::new(KeyKind::Urls);
        let mut all: Vec<Vec<u8>> = (0..N).map(|n| key(&keys, n, false)).collect();
        all.sort_unstable();
        let shared: usize = all
            .windows(2)
            .map(|pair| pair[0].iter().zip(&pair[1]).take_while(|(a, b)| a == b).count())
            .sum();
        assert!(shared as u64 / N > 20, "{}", shared as u64 / N);
    }
}
