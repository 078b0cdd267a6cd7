//! [`Debt`]: whether a rate of writes is one that can go on for ever, from what compaction owes over time.
//!
//! What is owed goes up and down with every compaction, so two quarters of a phase are compared, the third and the last, each by its mean.

use packstone::Metrics;

/// Debt that grows by less than this for each byte accepted counts as flat.
const FLAT: f64 = 0.1;

/// One look at the engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds since the phase began.
    pub(super) seconds: f64,
    /// Bytes accepted so far.
    pub(super) accepted: f64,
    /// Bytes that flushes and compactions have written so far.
    pub(super) written: f64,
    /// Bytes that compaction owes.
    pub(super) owed: f64,
    pub(super) level_0: u64,
}

impl Sample {
    pub(super) fn of(metrics: &Metrics, seconds: f64) -> Self {
        let level_0 = metrics
            .keyspaces
            .iter()
            .filter_map(|keyspace| keyspace.levels.first());
        Sample {
            seconds,
            accepted: metrics.log_bytes_written as f64,
            written: (metrics.flush_bytes + metrics.compaction_bytes_written) as f64,
            owed: metrics.pending_compaction_bytes() as f64,
            level_0: level_0.map(|level| level.files).sum(),
        }
    }
}

/// What the second half of a phase shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Debt {
    /// Bytes accepted a second, as the engine counts them.
    pub(super) rate: f64,
    /// Bytes owed, on average over the third quarter and the last.
    pub(super) owed: [f64; 2],
    /// By how many bytes what is owed grew for each byte accepted.
    pub(super) growth: f64,
    /// Bytes written by flushes and compactions for each byte accepted.
    pub(super) written: f64,
    /// The most files in level 0.
    pub(super) level_0: u64,
}

fn mean(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64
}

impl Debt {
    pub(super) fn of(samples: &[Sample]) -> Debt {
        let quarter = samples.len() / 4;
        let (third, last) = (
            samples.get(2 * quarter..3 * quarter).unwrap_or_default(),
            samples.get(3 * quarter..).unwrap_or_default(),
        );
        // From the middle of the one quarter to the middle of the other.
        let between = |of: fn(&Sample) -> f64| mean(last, of) - mean(third, of);
        let accepted = between(|sample| sample.accepted).max(1.0);
        let half = samples.get(2 * quarter..).unwrap_or_default();
        let rate = match (half.first(), half.last()) {
            (Some(first), Some(last)) if last.seconds > first.seconds => {
                (last.accepted - first.accepted) / (last.seconds - first.seconds)
            }
            _ => 0.0,
        };
        Debt {
            rate,
            owed: [third, last].map(|samples| mean(samples, |sample| sample.owed)),
            growth: between(|sample| sample.owed) / accepted,
            written: between(|sample| sample.written) / accepted,
            level_0: samples.iter().map(|sample| sample.level_0).max().unwrap_or(0),
        }
    }

    pub(super) fn is_flat(&self) -> bool {
        self.growth < FLAT
    }

    /// Bytes a second at which the same writing in the background leaves the debt as it is: the rate itself, if it is flat.
    pub(super) fn sustained(&self) -> f64 {
        if self.is_flat() {
            return self.rate;
        }
        self.rate * self.written / (self.written + self.growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phase of 100 seconds at 10 bytes a second that writes 30; debt grows by so many bytes a second.
    fn phase(growth: f64) -> Vec<Sample> {
        let sample = |second: u32| {
            let seconds = f64::from(second);
            Sample {
                seconds,
                accepted: 1e6 + 10.0 * seconds,
                written: 30.0 * seconds,
                // A saw on top of it.
                owed: 500.0 + growth * seconds + f64::from(second % 5),
                level_0: u64::from(second % 7),
            }
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn flat_debt_leaves_the_rate_and_growing_debt_lowers_it() {
        let flat = Debt::of(&phase(0.0));
        assert!(flat.is_flat());
        assert!((flat.sustained() - 10.0).abs() < 1e-9);
        assert_eq!(flat.level_0, 6);
        let growing = Debt::of(&phase(15.0));
        assert!(!growing.is_flat());
        assert!((growing.growth - 1.5).abs() < 1e-9 && (growing.written - 3.0).abs() < 1e-9);
        // 45 bytes of work a second are due for 10 accepted, and 30 are done.
        assert!((growing.sustained() - 10.0 / 1.5).abs() < 1e-9);
        let shrinking = Debt::of(&phase(-5.0));
        assert!(shrinking.is_flat() && (shrinking.sustained() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn too_few_looks_give_no_rate_and_do_no_harm() {
        for count in 0..4 {
            let debt = Debt::of(&phase(1.0)[..count]);
            assert!(debt.sustained().is_finite(), "{debt:?}");
        }
    }
}
