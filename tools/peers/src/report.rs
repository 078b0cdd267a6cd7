//! The report: a Markdown table of medians, and every run's figures as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::engine::{Settings, describe};
use crate::workloads::{Plan, SEEK_LEN};

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    PerSecond,
    Seconds,
    Bytes,
}

/// The rows: the figure's name, the words for it, its unit.
const ROWS: [(&str, &str, Unit); 12] = [
    ("fillrandom", "fillrandom", Unit::PerSecond),
    (
        "settled",
        "fillrandom until background work has settled",
        Unit::Seconds,
    ),
    ("readrandom", "readrandom", Unit::PerSecond),
    ("readmissing", "readmissing", Unit::PerSecond),
    ("readseq", "readseq", Unit::PerSecond),
    ("readreverse", "readreverse", Unit::PerSecond),
    ("seekrandom", "seekrandom", Unit::PerSecond),
    ("disk", "disk after settling", Unit::Bytes),
    ("written_calls", "load: bytes to write calls", Unit::Bytes),
    ("written_pages", "load: bytes of pages to the disk", Unit::Bytes),
    ("peak_load", "peak anonymous memory: load", Unit::Bytes),
    ("peak_all", "peak anonymous memory: everything", Unit::Bytes),
];

pub(crate) struct Report {
    plan: Plan,
    settings: Settings,
    engines: Vec<String>,
    /// By engine and figure: one value a round.
    runs: BTreeMap<(String, String), Vec<f64>>,
}

impl Report {
    pub(crate) fn new(plan: Plan, settings: Settings, engines: &[String]) -> Self {
        Report {
            plan,
            settings,
            engines: engines.to_vec(),
            runs: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, engine: &str, figures: Vec<(String, f64)>) {
        for (name, value) in figures {
            self.runs
                .entry((engine.to_owned(), name))
                .or_default()
                .push(value);
        }
    }

    fn values(&self, engine: &str, figure: &str) -> &[f64] {
        self.runs
            .get(&(engine.to_owned(), figure.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// What was measured, in words.
    fn description(&self) -> String {
        let Plan {
            entries,
            reads,
            seeks,
            value_size,
        } = self.plan;
        let raw = entries as f64 * (crate::data::KEY_LEN + value_size) as f64 / 1e6;
        let (buffer, cache) = (self.settings.write_buffer >> 20, self.settings.cache >> 20);
        let mut text = format!(
            "{entries} entries ({raw:.0} MB raw): keys of 16 ASCII digits in random order, values of {value_size} bytes of \
             which half repeat. {reads} reads of each kind; absent keys have the same form and length. {seeks} seeks of \
             {SEEK_LEN} entries. One thread, one write a call, durable against the death of the process, not synced. LZ4, \
             write buffer {buffer} MiB, cache {cache} MiB. Every value's length and identity are checked, one in sixteen \
             byte by byte, inside the timing. A fresh process and directory a run, engines taking turns.\n\n"
        );
        for engine in &self.engines {
            let _ = writeln!(text, "* {engine}: {}", describe(engine));
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = self.description();
        let first = self.engines.first().map_or("", String::as_str);
        text.push_str("\n| workload |");
        self.engines
            .iter()
            .for_each(|engine| text.push_str(&format!(" {engine} |")));
        self.engines
            .iter()
            .skip(1)
            .for_each(|engine| text.push_str(&format!(" {first} / {engine} |")));
        text.push_str("\n| --- |");
        let columns = (2 * self.engines.len()).saturating_sub(1);
        text.push_str(&" ---: |".repeat(columns));
        text.push('\n');
        for (figure, words, unit) in ROWS {
            let _ = write!(text, "| {words}, {} |", unit_name(unit));
            for engine in &self.engines {
                let _ = write!(text, " {} |", cell(self.values(engine, figure), unit));
            }
            for engine in self.engines.iter().skip(1) {
                let ratio = median(self.values(first, figure))
                    .zip(median(self.values(engine, figure)))
                    .filter(|(_, theirs)| *theirs > 0.0);
                match ratio {
                    Some((ours, theirs)) => {
                        let _ = write!(text, " {:.2} |", ours / theirs);
                    }
                    None => text.push_str(" - |"),
                }
            }
            text.push('\n');
        }
        text.push_str("\nMedians (smallest to largest run).\n");
        text
    }

    pub(crate) fn json(&self) -> String {
        let Plan {
            entries,
            reads,
            seeks,
            value_size,
        } = self.plan;
        let Settings { write_buffer, cache } = self.settings;
        let mut text = format!(
            "{{\n  \"entries\": {entries}, \"reads\": {reads}, \"seeks\": {seeks}, \"value_size\": {value_size},\n  \
             \"write_buffer\": {write_buffer}, \"cache\": {cache},\n  \"figures\": [\n"
        );
        let mut lines = Vec::new();
        for (figure, _, unit) in ROWS {
            for engine in &self.engines {
                // Names are this program's own words: nothing to escape.
                let runs = self.values(engine, figure);
                let (low, middle, high) = (low(runs), median(runs).unwrap_or(0.0), high(runs));
                lines.push(format!(
                    "    {{\"figure\": \"{figure}\", \"unit\": \"{}\", \"engine\": \"{engine}\", \"median\": {middle}, \
                     \"min\": {low}, \"max\": {high}, \"runs\": {runs:?}}}",
                    json_unit(unit)
                ));
            }
        }
        text.push_str(&lines.join(",\n"));
        text.push_str("\n  ]\n}\n");
        text
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

fn low(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0)
}

fn high(values: &[f64]) -> f64 {
    values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::PerSecond => "thousands a second",
        Unit::Seconds => "seconds",
        Unit::Bytes => "MB",
    }
}

/// JSON holds the figures unscaled.
fn json_unit(unit: Unit) -> &'static str {
    match unit {
        Unit::PerSecond => "1/s",
        Unit::Seconds => "s",
        Unit::Bytes => "B",
    }
}

fn cell(values: &[f64], unit: Unit) -> String {
    let Some(middle) = median(values) else {
        return "-".to_owned();
    };
    let show = |value: f64| match unit {
        Unit::PerSecond => format!("{:.1}", value / 1e3),
        Unit::Seconds => format!("{value:.2}"),
        Unit::Bytes => format!("{:.1}", value / 1e6),
    };
    format!(
        "{} ({} to {})",
        show(middle),
        show(low(values)),
        show(high(values))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
