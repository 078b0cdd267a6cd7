//! [`Zipf`]: YCSB's zipfian numbers.

use super::Random;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    ranks: draws::Zipf,
    n: u64,
}

impl Zipf {
    /// Numbers below `n`.
    pub(crate) fn new(n: u64) -> Self {
        Zipf {
            ranks: draws::Zipf::new(n),
            n: n.max(2),
        }
    }

    /// A rank: 0 is the most frequent.
    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        self.ranks.rank(random.unit())
    }

    /// A number with the frequency of its rank. The ranks are spread over all numbers by a hash, as YCSB spreads them, so
    /// that two may share a number.
    pub(crate) fn scrambled(&self, random: &mut Random) -> u64 {
        let rank = self.next(random);
        xxhash_rust::xxh3::xxh3_64(&rank.to_le_bytes()) % self.n
    }
}
