//! [`Series`]: the values of one figure over the rounds, with their median and spread; and how values are written.

use serde::{Deserialize, Serialize};

use crate::engines::Setting;
use crate::figures::{Figure, Kind, Unit};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Series {
    setting: Setting,
    engine: String,
    pub(super) scenario: String,
    workload: String,
    kind: Kind,
    unit: String,
    pub(super) median: f64,
    min: f64,
    max: f64,
    runs: Vec<f64>,
}

impl Series {
    pub(super) fn new(setting: Setting, engine: &str, scenario: &str, figure: &Figure) -> Self {
        let mut series = Series {
            setting,
            engine: engine.to_owned(),
            scenario: scenario.to_owned(),
            workload: figure.workload.clone(),
            kind: figure.kind,
            unit: figure.kind.unit().name().to_owned(),
            median: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            runs: Vec::new(),
        };
        series.add(figure.value);
        series
    }

    pub(super) fn is_of(&self, setting: Setting, engine: &str, workload: &str, kind: Kind) -> bool {
        self.setting == setting && self.engine == engine && self.workload == workload && self.kind == kind
    }

    pub(super) fn add(&mut self, value: f64) {
        self.runs.push(value);
        self.median = median(&self.runs);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// How far the runs lie from the middle of their range, in percent of the median; `None` of one run.
    fn spread(&self) -> Option<f64> {
        let several = self.runs.len() > 1 && self.median > 0.0;
        several.then(|| (self.max - self.min) / 2.0 / self.median * 100.0)
    }

    /// The median, and the spread if there is one.
    pub(super) fn cell(&self) -> String {
        let value = write_value(self.median, self.kind.unit());
        match self.spread() {
            Some(spread) => format!("{value} ±{spread:.0} %"),
            None => value,
        }
    }
}

/// The middle value, or the mean of the two in the middle. REQUIRES: at least one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted[sorted.len() / 2];
    let lower = sorted[(sorted.len() - 1) / 2];
    (lower + upper) / 2.0
}

/// A value with three digits or so, and its unit.
pub(super) fn write_value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Unit::PerSecond if value >= 1e5 => format!("{:.0} k", value / 1e3),
        Unit::PerSecond if value >= 1e3 => format!("{:.1} k", value / 1e3),
        Unit::PerSecond => format!("{value:.0}"),
        Unit::Seconds if value < 0.01 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
        Unit::Seconds => format!("{value:.1} s"),
        Unit::Bytes if value >= 1e9 => format!("{:.2} GB", value / 1e9),
        Unit::Bytes if value >= 1e7 => format!("{:.0} MB", value / 1e6),
        Unit::Bytes => format!("{:.1} MB", value / 1e6),
        Unit::Count => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn values_are_written_with_about_three_digits() {
        let written = |value, unit| write_value(value, unit);
        assert_eq!(written(1_416_000.0, Unit::PerSecond), "1.42 M");
        assert_eq!(written(304_200.0, Unit::PerSecond), "304 k");
        assert_eq!(written(4_412.0, Unit::PerSecond), "4.4 k");
        assert_eq!(written(12.3, Unit::PerSecond), "12");
        assert_eq!(written(7.52, Unit::Seconds), "7.5 s");
        assert_eq!(written(0.204, Unit::Seconds), "204 ms");
        assert_eq!(written(0.000_2, Unit::Seconds), "0.20 ms");
        assert_eq!(written(136.4e6, Unit::Bytes), "136 MB");
        assert_eq!(written(48e9, Unit::Bytes), "48.00 GB");
    }
}
