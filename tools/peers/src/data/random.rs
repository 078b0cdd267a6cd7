//! [`Random`]: SplitMix64. Fast enough that its cost inside the timing does not matter, and the same on every machine.

pub(crate) struct Random(u64);

/// The finalizer of SplitMix64: a permutation of the numbers of 64 bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`. The bias of the multiplication is far below what a benchmark could see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        scale(self.next(), bound)
    }

    /// At least 0, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        unit(self.next())
    }
}

/// From all numbers of 64 bits to those below `bound`, evenly.
pub(super) fn scale(n: u64, bound: u64) -> u64 {
    ((u128::from(n) * u128::from(bound)) >> 64) as u64
}

/// From all numbers of 64 bits to those from 0 to 1, evenly.
pub(super) fn unit(n: u64) -> f64 {
    (n >> 11) as f64 / (1_u64 << 53) as f64
}
