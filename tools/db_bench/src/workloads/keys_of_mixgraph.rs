//! The distributions of mixgraph: which key, how long a value, how long a scan (Cao et al., "Characterizing, Modeling, and
//! Benchmarking RocksDB Key-Value Workloads at Facebook", FAST'20).
//!
//! A range's heat is a exp(bx) + c exp(dx) for its rank x; a key's heat inside its range is a x^b for its rank x. Ranks are
//! scattered over places, always the same for the same parameters.

use crate::data::Random;
use crate::flags::{Mixgraph, MixgraphMode};

/// Where a rank's value of a generalized Pareto distribution lies: theta, k, sigma.
pub(super) fn pareto(u: f64, [theta, k, sigma]: [f64; 3]) -> u64 {
    let value = match k {
        0.0 => theta - sigma * u.ln(),
        k => theta + sigma * (u.powf(-k) - 1.0) / k,
    };
    // Casts of what is not finite saturate.
    value.ceil() as u64
}

/// The inverse of y = a x^b.
fn power(u: f64, [a, b]: [f64; 2]) -> u64 {
    (u / a).powf(1.0 / b).ceil() as u64
}

/// Ranges of keys that are more or less hot.
#[derive(Debug)]
struct Ranges {
    /// Where each begins on the scale of heat.
    starts: Vec<u64>,
    total: u64,
    /// Keys in each.
    keys: u64,
}

impl Ranges {
    /// As RocksDB's `InitiateExpDistribution` lays them out.
    fn new(num: u64, ranges: u64, [a, b, c, d]: [f64; 4]) -> Self {
        let ranges = ranges.clamp(1, num.max(1));
        let heat = |rank: u64| {
            let heat = a * (b * rank as f64).exp() + c * (d * rank as f64).exp();
            if heat < 1e-16 { 0.0 } else { heat }
        };
        let mut amplify = 0.0;
        let mut access: Vec<u64> = Vec::with_capacity(ranges as usize);
        for rank in (1..=ranges).rev() {
            let heat = heat(rank);
            if amplify == 0.0 && heat > 0.0 {
                amplify = (1.0 / heat).floor() + 1.0;
            }
            access.push((amplify * heat).floor() as u64);
        }
        let total: u64 = access.iter().fold(0_u64, |sum, share| sum.saturating_add(*share));
        let mut random = Random::new(total);
        for i in 0..access.len() {
            let other = random.below(ranges) as usize;
            access.swap(i, other);
        }
        let mut offset = 0_u64;
        let starts = access
            .iter()
            .map(|share| {
                let start = offset;
                offset = offset.saturating_add(*share);
                start
            })
            .collect();
        Ranges {
            starts,
            total: total.max(1),
            keys: (num / ranges).max(1),
        }
    }

    /// The range at a place on the scale of heat.
    fn at(&self, place: u64) -> u64 {
        self.starts
            .partition_point(|start| *start <= place)
            .saturating_sub(1) as u64
    }
}

/// What one operation is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) key: u64,
    /// Below the number of slots: decides the kind of operation.
    pub(super) slot: u64,
    /// At least 0, below 1, like the next.
    pub(super) value: f64,
    pub(super) scan: f64,
}

/// Draws keys and the other dice of an operation.
#[derive(Debug)]
pub(super) struct Draw {
    num: u64,
    mode: MixgraphMode,
    key_dist: [f64; 2],
    ranges: Option<Ranges>,
    /// Up to which slot each kind of operation goes.
    slots: [u64; 3],
}

/// RocksDB decides the kind of an operation among about so many slots.
const SLOTS: f64 = 1000.0;

impl Draw {
    pub(super) fn new(num: u64, mix: &Mixgraph) -> Self {
        let sum: f64 = mix.ratios.iter().sum();
        let mut end = 0;
        let slots = mix.ratios.map(|ratio| {
            end += (SLOTS * (ratio / sum)).ceil() as u64;
            end
        });
        let by_range = mix.keyrange_dist.iter().any(|parameter| *parameter != 0.0);
        Draw {
            num,
            mode: mix.mode,
            key_dist: mix.key_dist,
            slots,
            ranges: by_range.then(|| Ranges::new(num, mix.keyrange_num, mix.keyrange_dist)),
        }
    }

    /// 0 for a get, 1 for a put, 2 for a seek.
    pub(super) fn kind(&self, drawn: Drawn) -> usize {
        self.slots.iter().position(|end| drawn.slot < *end).unwrap_or(0)
    }

    pub(super) fn next(&self, random: &mut Random) -> Drawn {
        let first = random.below(self.num);
        let u = first as f64 / self.num as f64;
        match self.mode {
            // One number decides everything, as in RocksDB: kind, key, size and length go together.
            MixgraphMode::Rocksdb => Drawn {
                key: self.rocksdb_key(first, u),
                slot: first % self.slots[2],
                value: u,
                scan: u,
            },
            MixgraphMode::Paper => Drawn {
                key: self.paper_key(random),
                slot: random.below(self.slots[2]),
                value: random.unit(),
                scan: random.unit(),
            },
        }
    }

    fn has_key_dist(&self) -> bool {
        self.key_dist[0] != 0.0 && self.key_dist[1] != 0.0
    }

    /// Without --key_dist_a and _b keys are uniform, whatever the ranges: RocksDB's code tests that first.
    fn rocksdb_key(&self, first: u64, u: f64) -> u64 {
        if !self.has_key_dist() {
            return first;
        }
        let Some(ranges) = &self.ranges else {
            return Random::new(power(u, self.key_dist)).below(self.num);
        };
        let range = ranges.at(first % ranges.total);
        let u = (first % ranges.keys) as f64 / ranges.keys as f64;
        let offset = Random::new(power(u, self.key_dist)).below(ranges.keys);
        (ranges.keys * range + offset).min(self.num - 1)
    }

    /// First the range by its heat, then the key in it by its own.
    fn paper_key(&self, random: &mut Random) -> u64 {
        let (start, keys) = match &self.ranges {
            Some(ranges) => (ranges.at(random.below(ranges.total)) * ranges.keys, ranges.keys),
            None => (0, self.num),
        };
        let offset = match self.has_key_dist() {
            true => scatter(self.rank(random, keys), keys, start),
            false => random.below(keys),
        };
        start + offset
    }

    /// The rank of a key among `keys`. RocksDB inverts f(x) = a x^b as if it were a distribution function; so does the
    /// paper's artifact, and ranks beyond the number of keys come around again.
    fn rank(&self, random: &mut Random, keys: u64) -> u64 {
        power(random.unit(), self.key_dist) % keys
    }
}

/// A place for a rank, the same every time.
fn scatter(rank: u64, keys: u64, start: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&rank.to_le_bytes(), start) % keys
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn mix(mode: MixgraphMode, key_dist: [f64; 2], keyrange_num: u64, keyrange_dist: [f64; 4]) -> Mixgraph {
        Mixgraph {
            mode,
            ratios: [1.0, 0.0, 0.0],
            max_scan_len: 10_000,
            max_value_size: 1024,
            value: [0.0, 0.2615, 25.45],
            iter: [0.0, 2.517, 14.236],
            key_dist,
            keyrange_num,
            keyrange_dist,
            sine: None,
        }
    }

    const NUM: u64 = 30_000;
    const DRAWS: u64 = 60_000;
    const ZIPPY_KEYS: [f64; 2] = [0.002_312, 0.3467];
    const ZIPPY_RANGES: [f64; 4] = [14.18, -2.917, 0.0164, -0.080_82];

    fn draws(mix: &Mixgraph) -> Vec<Drawn> {
        let (draw, mut random) = (Draw::new(NUM, mix), Random::new(1));
        (0..DRAWS).map(|_| draw.next(&mut random)).collect()
    }

    /// The share of the draws that the hottest of `buckets` equal ranges of keys gets.
    fn hottest(drawn: &[Drawn], buckets: u64) -> f64 {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for drawn in drawn {
            assert!(drawn.key < NUM);
            *counts.entry(drawn.key * buckets / NUM).or_default() += 1;
        }
        counts.values().copied().max().unwrap_or(0) as f64 / drawn.len() as f64
    }

    #[test]
    fn in_rocksdbs_mode_zero_key_parameters_mean_uniform_keys_whatever_the_ranges() {
        let drawn = draws(&mix(MixgraphMode::Rocksdb, [0.0, 0.0], 30, ZIPPY_RANGES));
        assert!(hottest(&drawn, 30) < 0.04);
        assert!(
            drawn
                .iter()
                .all(|drawn| drawn.value == drawn.scan && drawn.value == drawn.key as f64 / NUM as f64)
        );
    }

    #[test]
    fn in_the_papers_mode_ranges_are_hot_also_without_key_parameters() {
        let drawn = draws(&mix(MixgraphMode::Paper, [0.0, 0.0], 30, ZIPPY_RANGES));
        // The first rank's share of the sum over thirty ranks, by the formula.
        let [a, b, c, d] = ZIPPY_RANGES;
        let heat = |x: f64| a * (b * x).exp() + c * (d * x).exp();
        let share = heat(1.0) / (1..=30).map(|x| heat(f64::from(x))).sum::<f64>();
        assert!(
            (hottest(&drawn, 30) - share).abs() < 0.02,
            "{} {share}",
            hottest(&drawn, 30)
        );
        assert!(drawn.iter().any(|drawn| drawn.value != drawn.scan));
    }

    #[test]
    fn hot_keys_are_hot_in_both_modes() {
        for mode in [MixgraphMode::Rocksdb, MixgraphMode::Paper] {
            for ranges in [[0.0; 4], ZIPPY_RANGES] {
                let drawn = draws(&mix(mode, ZIPPY_KEYS, 30, ranges));
                let uniform = 1.0 / NUM as f64;
                assert!(hottest(&drawn, NUM) > 20.0 * uniform, "{mode:?}");
            }
        }
    }

    #[test]
    fn kinds_come_in_their_shares() {
        for mode in [MixgraphMode::Rocksdb, MixgraphMode::Paper] {
            let mut mix = mix(mode, [0.0, 0.0], 1, [0.0; 4]);
            mix.ratios = [0.83, 0.14, 0.03];
            let draw = Draw::new(NUM, &mix);
            let mut counts = [0.0; 3];
            for drawn in draws(&mix) {
                counts[draw.kind(drawn)] += 1.0 / DRAWS as f64;
            }
            for (count, ratio) in counts.iter().zip(mix.ratios) {
                assert!((count - ratio).abs() < 0.01, "{counts:?}");
            }
        }
    }

    #[test]
    fn uniform_draws_reach_every_part() {
        let drawn = draws(&mix(MixgraphMode::Paper, [0.0, 0.0], 1, [0.0; 4]));
        assert!(hottest(&drawn, 10) < 0.11);
    }

    #[test]
    fn sizes_follow_the_pareto_distribution() {
        // The median of a generalized Pareto distribution is theta + sigma (2^k - 1) / k.
        let (k, sigma) = (0.2615_f64, 25.45);
        let median = (sigma * (2_f64.powf(k) - 1.0) / k).ceil() as u64;
        assert_eq!(pareto(0.5, [0.0, k, sigma]), median);
        assert_eq!(pareto(1.0, [0.0, k, sigma]), 0);
        assert_eq!(pareto(0.0, [0.0, k, sigma]), u64::MAX, "bounded by the caller");
        assert_eq!(pareto(0.5, [1.0, 0.0, 10.0]), 8);
    }
}
