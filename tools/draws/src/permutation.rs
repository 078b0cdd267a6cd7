//! [`Permutation`]: the numbers below some bound, each once, in an order that looks random and needs no memory.

/// A Feistel network over the next power of four, walked until it falls below the bound (at most four steps in the
/// mean).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    /// Of the numbers below `n`; another order for each seed.
    pub fn new(n: u64, seed: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Permutation {
            n,
            half_bits: bits.div_ceil(2).max(1),
            seed,
        }
    }

    /// The numbers are below this.
    pub fn bound(&self) -> u64 {
        self.n
    }

    /// The number at place `i`.
    ///
    /// # Panics
    /// If `i` is not below the bound.
    pub fn at(&self, i: u64) -> u64 {
        assert!(
            i < self.n,
            "{i} is not below {}, and might never come back",
            self.n
        );
        let mut x = self.once(i);
        while x >= self.n {
            x = self.once(x);
        }
        x
    }

    fn once(&self, x: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for round in 1..=4_u64 {
            let key = self.seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mixed = (right ^ key).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (left, right) = (right, left ^ (mixed >> 32 & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for n in [1, 2, 3, 100, 1000, 4096, 4097] {
            for seed in [0, 42] {
                let permutation = Permutation::new(n, seed);
                let mut seen: Vec<u64> = (0..n).map(|i| permutation.at(i)).collect();
                assert!(n < 100 || !seen.is_sorted());
                seen.sort_unstable();
                assert_eq!(seen, (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_hundredth_of_the_places_is_spread_over_the_numbers() {
        let permutation = Permutation::new(100_000, 7);
        let mut tenths = [0_u32; 10];
        (0..1000).for_each(|i| tenths[(permutation.at(i) / 10_000) as usize] += 1);
        assert!(tenths.iter().all(|n| (60..140).contains(n)), "{tenths:?}");
    }
}
