//! [`Histogram`]: counts of nanoseconds that any number of threads add to, and [`Latency`], what is read of it.
//!
//! Buckets are as in HdrHistogram: below 32 ns one for each nanosecond, from there on 32 for each power of two, so that a bucket is
//! at most a 32nd (3.1 %) as wide as what it holds is long. From 36 minutes on all share the last one. The sum and the greatest
//! are kept beside them, exactly.
//!
//! Counts are std's atomics: pure statistics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Powers of two of buckets that a power of two of nanoseconds has.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// The greatest power of two that is told apart: 2^40 ns are 18 minutes.
const MAX_POWER: u32 = 40;
/// 9 KiB of them.
const BUCKETS: usize = (MAX_POWER - SUB_BITS + 2) as usize * SUB;

/// How long one kind of operation took, in nanoseconds; all 0 if there was none. A percentile is the upper end of the bucket that it lies
/// in: up to 3.1 % too much, but never above the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many there were, those that failed counted.
    pub count: u64,
    /// Their mean.
    pub mean: u64,
    /// Half of them took at most this.
    pub p50: u64,
    /// 90 % of them.
    pub p90: u64,
    /// 99 % of them.
    pub p99: u64,
    /// 99.9 % of them.
    pub p999: u64,
    /// The longest, exactly.
    pub max: u64,
}

/// See the module's comment. On cache lines of its own, so that threads that add to different ones don't wait for each other.
#[repr(align(128))]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

fn bucket_of(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    if power < SUB_BITS {
        return nanos as usize;
    }
    let sub = (nanos >> (power - SUB_BITS)) as usize % SUB;
    ((power - SUB_BITS + 1) as usize * SUB + sub).min(BUCKETS - 1)
}

/// The greatest of the nanoseconds that go to a bucket.
fn upper_end(bucket: usize) -> u64 {
    let (row, sub) = ((bucket / SUB) as u32, (bucket % SUB) as u64);
    match row {
        0 => sub,
        _ => ((SUB as u64 + sub + 1) << (row - 1)) - 1,
    }
}

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram {
            buckets: std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, nanos: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        // Mostly it is not the greatest, and a look costs less.
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        for counter in self.buckets.iter().chain([&self.sum, &self.max]) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// What several histograms hold together.
pub(super) fn read<'h>(parts: impl Iterator<Item = &'h Histogram>) -> Latency {
    let mut counts = vec![0_u64; BUCKETS];
    let (mut sum, mut max) = (0_u64, 0);
    for part in parts {
        for (count, bucket) in counts.iter_mut().zip(&part.buckets) {
            *count += bucket.load(Ordering::Relaxed);
        }
        sum = sum.saturating_add(part.sum.load(Ordering::Relaxed));
        max = part.max.load(Ordering::Relaxed).max(max);
    }
    let count: u64 = counts.iter().sum();
    let percentile = |per_mille: u64| {
        let rank = (u128::from(count) * u128::from(per_mille)).div_ceil(1000) as u64;
        let mut below = 0;
        let reached = counts.iter().position(|here| {
            below += here;
            below >= rank && rank > 0
        });
        reached.map_or(0, |bucket| upper_end(bucket).min(max))
    };
    Latency {
        count,
        mean: sum.checked_div(count).unwrap_or(0),
        p50: percentile(500),
        p90: percentile(900),
        p99: percentile(990),
        p999: percentile(999),
        max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_thirty_second_of_what_it_holds() {
        for bucket in 0..BUCKETS - 1 {
            let (least, greatest) = (
                bucket.checked_sub(1).map_or(0, |below| upper_end(below) + 1),
                upper_end(bucket),
            );
            assert_eq!((bucket_of(least), bucket_of(greatest)), (bucket, bucket));
            assert!((greatest - least) * SUB as u64 <= least, "{least} to {greatest}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << (MAX_POWER + 1)), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (a, b) = (Histogram::new(), Histogram::new());
        assert_eq!(read([&a].into_iter()), Latency::default());
        for micros in 1..=1000_u64 {
            let part = if micros % 2 == 0 { &a } else { &b };
            part.record(micros * 1000);
        }
        let found = read([&a, &b].into_iter());
        assert_eq!((found.count, found.mean, found.max), (1000, 500_500, 1_000_000));
        for (found, exact) in [
            (found.p50, 500_000),
            (found.p90, 900_000),
            (found.p99, 990_000),
            (found.p999, 999_000),
        ] {
            assert!((exact..=exact + exact / 32).contains(&found), "{found}, {exact}");
            assert!(found <= 1_000_000);
        }
        a.clear();
        b.clear();
        assert_eq!(read([&a, &b].into_iter()), Latency::default());
    }

    #[test]
    fn one_operation_is_all_its_percentiles() {
        for nanos in [0, 1, 31, 32, 1_000_003, u64::MAX] {
            let histogram = Histogram::new();
            histogram.record(nanos);
            let found = read([&histogram].into_iter());
            assert_eq!((found.count, found.mean, found.max), (1, nanos, nanos));
            let percentiles = [found.p50, found.p90, found.p99, found.p999];
            if nanos < 1 << MAX_POWER {
                assert_eq!(percentiles, [nanos; 4]);
            }
        }
    }
}
