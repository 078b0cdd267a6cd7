//! [`Zipf`]: YCSB's zipfian numbers (Gray et al., "Quickly generating billion-record synthetic databases", 1994), with
//! YCSB's exponent 0.99.
//!
//! The ranks are scrambled by a permutation, so that the frequent ones lie all over the key space and all over the
//! order of insertion, and no two share a place.

use super::{Permutation, Random};

const THETA: f64 = 0.99;
/// Terms of the zeta sum that are added one by one; the rest is an integral, to a relative error below 1e-7.
const EXACT_TERMS: u64 = 10_000;
/// Which number is the most frequent follows from this.
const SCRAMBLE_SEED: u64 = 0x5ca1_ab1e;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    n: u64,
    zeta: f64,
    eta: f64,
    scrambled: Permutation,
}

fn zeta(n: u64) -> f64 {
    let exact = n.min(EXACT_TERMS);
    let sum: f64 = (1..=exact).map(|i| (i as f64).powf(-THETA)).sum();
    if n == exact {
        return sum;
    }
    // Euler and Maclaurin, to the second term.
    let power = |x: f64| x.powf(1.0 - THETA) / (1.0 - THETA);
    let edge = ((n as f64).powf(-THETA) - (exact as f64).powf(-THETA)) / 2.0;
    sum + power(n as f64) - power(exact as f64) + edge
}

impl Zipf {
    /// Numbers below `n`, at least two.
    pub(crate) fn new(n: u64) -> Self {
        let n = n.max(2);
        let zeta_n = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / zeta_n);
        Zipf {
            n,
            zeta: zeta_n,
            eta,
            scrambled: Permutation::new(n, SCRAMBLE_SEED),
        }
    }

    /// A rank: 0 is the most frequent.
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let x = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (x as u64).min(self.n - 1)
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
    fn the_first_rank_is_as_frequent_as_zipfs_law_says() {
        let zipf = Zipf::new(1000);
        let mut random = Random::new(1);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..100_000 {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        let expected = 100_000.0 / zeta(1000);
        assert!(
            (f64::from(counts[0]) / expected - 1.0).abs() < 0.05,
            "{} {expected}",
            counts[0]
        );
        assert!(counts[0] > counts[1] && counts[1] > counts[10] && counts[10] > counts[500]);
    }

    #[test]
    fn the_frequent_numbers_do_not_lie_together() {
        let zipf = Zipf::new(1_000_000);
        let mut random = Random::new(1);
        let lower_half = (0..10_000).filter(|_| zipf.next(&mut random) < 500_000).count();
        // The most frequent number alone has 7 % of the draws.
        assert!((3_500..6_500).contains(&lower_half), "{lower_half}");
        assert_ne!(zipf.scrambled.at(0).abs_diff(zipf.scrambled.at(1)), 1);
    }

    #[test]
    fn the_shortened_sum_is_the_sum() {
        let exact: f64 = (1..=200_000_u64).map(|i| (i as f64).powf(-THETA)).sum();
        assert!((zeta(200_000) / exact - 1.0).abs() < 1e-7);
    }
}
