//! [`Random`]: the 64-bit Mersenne Twister, which RocksDB's db_bench draws from, so that mixgraph in its RocksDB mode maps
//! the same numbers to the same keys.

const N: usize = 312;
const M: usize = 156;

pub(crate) struct Random {
    state: Box<[u64; N]>,
    at: usize,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random {
            state: Box::new([0; N]),
            at: N,
        };
        random.reseed(seed);
        random
    }

    /// Starts over.
    pub(crate) fn reseed(&mut self, seed: u64) {
        let mut last = seed;
        self.state[0] = seed;
        for (i, word) in (1..).zip(&mut self.state[1..]) {
            last = 6_364_136_223_846_793_005_u64
                .wrapping_mul(last ^ (last >> 62))
                .wrapping_add(i);
            *word = last;
        }
        self.at = N;
    }

    fn refill(&mut self) {
        let state = &mut self.state;
        for i in 0..N {
            let x = (state[i] & 0xffff_ffff_8000_0000) | (state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if x & 1 == 1 { 0xb502_6f5a_a966_19e9 } else { 0 };
            state[i] = state[(i + M) % N] ^ (x >> 1) ^ odd;
        }
        self.at = 0;
    }

    pub(crate) fn next(&mut self) -> u64 {
        if self.at == N {
            self.refill();
        }
        let mut x = self.state[self.at];
        self.at += 1;
        x ^= (x >> 29) & 0x5555_5555_5555_5555;
        x ^= (x << 17) & 0x71d6_7fff_eda6_0000;
        x ^= (x << 37) & 0xfff7_eee0_0000_0000;
        x ^ (x >> 43)
    }

    /// Below `n`, by remainder as RocksDB does; 0 for 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// At least 0, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of the standard normal distribution (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_generator_of_the_standard() {
        // C++ [rand.predef]: the 10000th number of a default-constructed mt19937_64.
        let mut random = Random::new(5489);
        let last = (0..10_000).map(|_| random.next()).last();
        assert_eq!(last, Some(9_981_545_732_273_789_042));
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut random = Random::new(1);
        let numbers: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
