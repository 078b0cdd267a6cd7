//! [`Repeats`]: the runs of a benchmark that is repeated, and what they amount to.

use crate::measure::Stats;

/// Normal distribution, 97.5th percentile.
const Z: f64 = 1.959_964;

#[derive(Debug, Default)]
pub(crate) struct Repeats {
    ops: Vec<f64>,
    mib: Vec<f64>,
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Half the width of the 95 % interval of the mean.
fn confidence(numbers: &[f64]) -> f64 {
    let mean = mean(numbers);
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (numbers.len().max(2) - 1) as f64).sqrt();
    Z * deviation / (numbers.len().max(1) as f64).sqrt()
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

impl Repeats {
    pub(crate) fn add(&mut self, stats: &Stats) {
        self.ops.push(stats.ops_per_second());
        self.mib.extend(stats.mib_per_second());
    }

    fn has_mib(&self) -> bool {
        self.mib.len() == self.ops.len()
    }

    /// After each run from the second on.
    pub(crate) fn so_far(&self, name: &str, interval_only: bool) -> String {
        let (n, ops, range) = (
            self.ops.len(),
            mean(&self.ops) as i64,
            confidence(&self.ops) as i64,
        );
        if n < 2 {
            return String::new();
        }
        let (mib, mib_range) = (mean(&self.mib), confidence(&self.mib));
        match (interval_only, self.has_mib()) {
            (false, true) => {
                format!(
                    "{name} [AVG {n} runs] : {ops} (± {range}) ops/sec; {mib:6.1} (± {mib_range:.1}) MB/sec\n"
                )
            }
            (false, false) => format!("{name} [AVG {n} runs] : {ops} (± {range}) ops/sec\n"),
            (true, true) => format!(
                "{name} [CI95 {n} runs] : ({}, {}) ops/sec; ({:.1}, {:.1}) MB/sec\n",
                ops - range,
                ops + range,
                mib - mib_range,
                mib + mib_range
            ),
            (true, false) => format!(
                "{name} [CI95 {n} runs] : ({}, {}) ops/sec\n",
                ops - range,
                ops + range
            ),
        }
    }

    /// After the last run.
    pub(crate) fn whole(&self, name: &str) -> String {
        let n = self.ops.len();
        if n < 2 {
            return String::new();
        }
        let (ops, range, middle) = (
            mean(&self.ops),
            confidence(&self.ops) as i64,
            median(&self.ops) as i64,
        );
        let millis = if ops > 0.0 { 1000.0 / ops } else { 0.0 };
        let ops = ops as i64;
        match self.has_mib() {
            true => format!(
                "\n{name} [AVG    {n} runs] : {ops} (± {range}) ops/sec; {millis:.3} ms/op; {:6.1} (± {:.1}) MB/sec\n\
                 {name} [MEDIAN {n} runs] : {middle} ops/sec; {:6.1} MB/sec\n",
                mean(&self.mib),
                confidence(&self.mib),
                median(&self.mib)
            ),
            false => format!(
                "\n{name} [AVG    {n} runs] : {ops} (± {range}) ops/sec; {millis:.3} ms/op\n\
                 {name} [MEDIAN {n} runs] : {middle} ops/sec\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_rocksdbs() {
        let mut repeats = Repeats {
            ops: vec![100.0],
            mib: vec![1.0],
        };
        assert_eq!(repeats.so_far("x", false), "");
        repeats.ops.extend([200.0, 600.0]);
        repeats.mib.extend([2.0, 6.0]);
        assert_eq!(
            repeats.so_far("x", false),
            "x [AVG 3 runs] : 300 (± 299) ops/sec;    3.0 (± 3.0) MB/sec\n"
        );
        assert_eq!(
            repeats.so_far("x", true),
            "x [CI95 3 runs] : (1, 599) ops/sec; (0.0, 6.0) MB/sec\n"
        );
        let whole = repeats.whole("x");
        assert!(
            whole.contains("x [AVG    3 runs] : 300 (± 299) ops/sec; 3.333 ms/op;    3.0 (± 3.0) MB/sec\n")
        );
        assert!(whole.contains("x [MEDIAN 3 runs] : 200 ops/sec;    2.0 MB/sec\n"));
        repeats.mib.clear();
        assert!(repeats.whole("x").ends_with("x [MEDIAN 3 runs] : 200 ops/sec\n"));
    }
}
