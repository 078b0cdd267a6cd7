//! [`Zipf`]: YCSB's zipfian numbers (Gray et al., "Quickly generating billion-record synthetic databases", 1994).

use super::Random;

/// YCSB's constant.
const THETA: f64 = 0.99;
/// Terms of the zeta sum that are added one by one; the rest is an integral, to a relative error below 1e-9.
const EXACT_TERMS: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
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
    /// Numbers below `n`, 0 most often.
    pub(crate) fn new(n: u64) -> Self {
        let n = n.max(2);
        let zeta_n = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / zeta_n);
        Zipf { n, zeta: zeta_n, eta }
    }

    pub(crate) fn next(&self, random: &mut Random) -> u64 {
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

    /// The same frequencies, spread over all of the numbers.
    pub(crate) fn scrambled(&self, random: &mut Random) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.next(random).to_le_bytes()) % self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_as_frequent_as_zipfs_law_says() {
        let zipf = Zipf::new(1000);
        let mut random = Random::new(1);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..100_000 {
            counts[zipf.next(&mut random) as usize] += 1;
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
    fn the_shortened_sum_is_the_sum() {
        let exact: f64 = (1..=200_000_u64).map(|i| (i as f64).powf(-THETA)).sum();
        assert!((zeta(200_000) / exact - 1.0).abs() < 1e-7);
    }
}
