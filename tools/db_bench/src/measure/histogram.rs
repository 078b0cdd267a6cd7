//! [`Latencies`]: how long operations took, and the text that RocksDB prints of it.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Nanoseconds, three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        // Three digits is in bounds, and nothing else is checked; it grows by itself.
        Latencies(Histogram::new(3).unwrap_or_else(|e| unreachable!("{e}")))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        // It grows to what is recorded: recording can't fail.
        let _ = self.0.record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        // Both grow by themselves: adding can't fail.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds below which this percentage lies.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_quantile(percent / 100.0).min(self.0.max()) as f64 / 1000.0
    }

    /// Microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    pub(crate) fn min(&self) -> f64 {
        if self.count() == 0 {
            0.0
        } else {
            self.0.min() as f64 / 1000.0
        }
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// `HistogramImpl::ToString` of RocksDB, in microseconds.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Count: {} Average: {:.4}  StdDev: {:.2}",
            self.count(),
            self.mean(),
            self.0.stdev() / 1000.0
        );
        let _ = writeln!(
            text,
            "Min: {:.0}  Median: {:.4}  Max: {:.0}",
            self.min().floor(),
            self.percentile(50.0),
            self.max().ceil()
        );
        let p = |percent| self.percentile(percent);
        let _ = writeln!(
            text,
            "Percentiles: P50: {:.2} P75: {:.2} P99: {:.2} P99.9: {:.2} P99.99: {:.2}",
            p(50.0),
            p(75.0),
            p(99.0),
            p(99.9),
            p(99.99)
        );
        text.push_str(&"-".repeat(54));
        text.push('\n');
        self.rows(&mut text);
        text
    }

    fn rows(&self, text: &mut String) {
        let limits = limits();
        let mut counts = vec![0_u64; limits.len()];
        for step in self.0.iter_recorded() {
            let micros = step.value_iterated_to().div_ceil(1000);
            let bucket = limits
                .partition_point(|limit| *limit < micros)
                .min(limits.len() - 1);
            if let Some(count) = counts.get_mut(bucket) {
                *count += step.count_since_last_iteration();
            }
        }
        let (mut below, mut sum) = (0, 0);
        let total = self.count().max(1) as f64;
        for (limit, count) in limits.iter().zip(counts) {
            if count > 0 {
                sum += count;
                let share = count as f64 / total * 100.0;
                let marks = "#".repeat((share / 5.0 + 0.5) as usize);
                let bracket = if below == 0 { '[' } else { '(' };
                let _ = writeln!(
                    text,
                    "{bracket} {below:>7}, {limit:>7} ] {count:>8} {share:>7.3}% {:>7.3}% {marks}",
                    sum as f64 / total * 100.0
                );
            }
            below = *limit;
        }
    }
}

/// Upper bounds of RocksDB's buckets: each one and a half times the one before, cut to two digits.
fn limits() -> Vec<u64> {
    let mut limits = vec![1, 2];
    let mut exact = 2.0_f64;
    while exact < 1e12 {
        exact *= 1.5;
        let mut rounded = exact as u64;
        let mut scale = 1;
        while rounded / 10 > 10 {
            rounded /= 10;
            scale *= 10;
        }
        limits.push(rounded * scale);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_rocksdbs() {
        assert_eq!(
            limits()[..14],
            [1, 2, 3, 4, 6, 10, 15, 22, 34, 51, 76, 110, 170, 250]
        );
    }

    #[test]
    fn the_text_has_rocksdbs_shape_and_counts_everything() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(micros * 1000);
        }
        let text = latencies.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("Count: 1000 Average: 500."), "{text}");
        assert!(lines[1].starts_with("Min: 1  Median: 500."), "{text}");
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(
            [words[0], words[1], words[5], words[9]],
            ["Percentiles:", "P50:", "P99:", "P99.99:"]
        );
        assert!((words[6].parse::<f64>().unwrap() - 990.0).abs() < 2.0);
        assert_eq!(lines[3], "-".repeat(54));
        assert!(
            lines[4].starts_with("[       0,       1 ]        1   0.100%   0.100% "),
            "{text}"
        );
        let counted: u64 = lines[4..]
            .iter()
            .map(|line| line.split_whitespace().nth(4).unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, 1000);
        assert!(lines[lines.len() - 1].contains("100.000% "), "{text}");
    }
}
