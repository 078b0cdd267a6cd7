//! [`Zipf`]: YCSB's zipfian numbers.
//!
//! The ranks are scrambled by a permutation, so that the frequent ones lie all over the key space and all over the
//! order of insertion, and no two share a place.

use draws::Permutation;

use super::Random;

/// Which number is the most frequent follows from this.
const SCRAMBLE_SEED: u64 = 0x5ca1_ab1e;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    ranks: draws::Zipf,
    scrambled: Permutation,
}

impl Zipf {
    /// Numbers below `n`, at least two.
    pub(crate) fn new(n: u64) -> Self {
        Zipf {
            ranks: draws::Zipf::new(n),
            scrambled: Permutation::new(n.max(2), SCRAMBLE_SEED),
        }
    }

    /// A rank: 0 is the most frequent.
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        self.ranks.rank(random.unit())
    }

    /// A number with the frequency of its rank, the ranks scrambled.
    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        self.scrambled.at(self.rank(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_numbers_do_not_lie_together() {
        let zipf = Zipf::new(1_000_000);
        let mut random = Random::new(1);
        let lower_half = (0..10_000).filter(|_| zipf.next(&mut random) < 500_000).count();
        // The most frequent number alone has 7 % of the draws.
        assert!((3_500..6_500).contains(&lower_half), "{lower_half}");
        assert_ne!(zipf.scrambled.at(0).abs_diff(zipf.scrambled.at(1)), 1);
    }
}
