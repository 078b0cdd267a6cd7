//! [`Zipf`]: YCSB's zipfian numbers (Gray et al., "Quickly generating billion-record synthetic databases", 1994).

/// YCSB's constant.
const THETA: f64 = 0.99;
/// Terms of the zeta sum that are added one by one; the rest is an integral, to a relative error below 1e-7.
const EXACT_TERMS: u64 = 10_000;

/// Ranks below some bound, with the frequencies that Zipf's law gives them.
///
/// ```
/// let zipf = draws::Zipf::new(1000);
/// assert_eq!(zipf.rank(0.0), 0);
/// assert_eq!(zipf.rank(0.999_999_999), 999);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    n: u64,
    zeta: f64,
    eta: f64,
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
    /// Ranks below `n`, which is at least 2; exponent 0.99.
    pub fn new(n: u64) -> Self {
        let n = n.max(2);
        let zeta_n = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / zeta_n);
        Zipf { n, zeta: zeta_n, eta }
    }

    /// The rank that `u` stands for, a number drawn evenly from 0 (inclusive) to 1: 0 is the most frequent.
    pub fn rank(&self, u: f64) -> u64 {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_is_as_frequent_as_zipfs_law_says() {
        let zipf = Zipf::new(1000);
        let draws = 100_000;
        let mut counts = vec![0_u32; 1000];
        for i in 0..draws {
            counts[zipf.rank(f64::from(i) / f64::from(draws)) as usize] += 1;
        }
        let expected = f64::from(draws) / zeta(1000);
        assert!(
            (f64::from(counts[0]) / expected - 1.0).abs() < 0.01,
            "{} {expected}",
            counts[0]
        );
        assert!(counts[0] > counts[1] && counts[1] > counts[10] && counts[10] > counts[500]);
    }

    #[test]
    fn the_shortened_sum_is_the_sum() {
        let exact: f64 = (1..=200_000_u64).map(|i| (i as f64).powf(-THETA)).sum();
        assert!((zeta(200_000) / exact - 1.0).abs() < 1e-7);
    }
}
