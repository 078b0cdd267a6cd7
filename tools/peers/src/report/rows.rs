//! Which figures a report shows, in which group and order: the rows of its tables and charts.

use super::Report;
use crate::catalogue::{Group, SCENARIOS, Step, Workload};
use crate::engines::Setting;
use crate::figures::{Kind, Unit};

/// The engines whose better one Packstone is compared with: those of its kind (log-structured, with compression).
const RIVALS: [&str; 2] = ["rocksdb", "fjall"];
/// Whom the ratio is of.
const OURS: &str = "packstone";

/// The workload whose bytes and memory are shown whole; of the other loads only the disk and what reached it.
const WHOLE: &str = "fillrandom";

const BESIDE: [Kind; 5] = [
    Kind::Settled,
    Kind::WriterRate,
    Kind::Opening,
    Kind::Entries,
    Kind::Recovered,
];
const SPACE: [Kind; 8] = [
    Kind::Disk,
    Kind::WrittenByCalls,
    Kind::WrittenPages,
    Kind::OwnTotal,
    Kind::Anonymous,
    Kind::FileBacked,
    Kind::AnonymousAll,
    Kind::FileBackedAll,
];

/// A row: one figure of one workload.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) workload: &'static Workload,
    pub(super) kind: Kind,
}

impl Row {
    /// The words for it, the unit at their end.
    pub(super) fn label(&self) -> String {
        let Workload { name, about, .. } = self.workload;
        let words = self.kind.words();
        let unit = match self.kind.unit() {
            Unit::PerSecond => ", ops/s",
            _ => "",
        };
        match (self.kind, words) {
            (Kind::Rate | Kind::Opening, _) => format!("{name}: {about}{unit}"),
            (_, words) => format!("{name}: {words}{unit}"),
        }
    }
}

/// How Packstone stands in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// How many times better than the better rival; below 1 it is worse.
    pub(super) ratio: f64,
}

impl Report {
    /// The rows of a group that have a figure of any engine.
    pub(super) fn rows(&self, setting: Setting, group: Group) -> Vec<Row> {
        let workloads = SCENARIOS.iter().flat_map(|scenario| scenario.workloads);
        let all =
            workloads.flat_map(|workload| kinds(workload, group).map(move |kind| Row { workload, kind }));
        let measured = |row: &Row| {
            self.engines.iter().any(|engine| {
                self.series(setting, engine, row.workload.name, row.kind)
                    .is_some()
            })
        };
        all.filter(measured).collect()
    }

    pub(super) fn median(&self, setting: Setting, engine: &str, row: Row) -> Option<f64> {
        self.series(setting, engine, row.workload.name, row.kind)
            .map(|series| series.median)
    }

    /// Packstone beside the better of its rivals; `None` where there is nothing to compare.
    pub(super) fn standing(&self, setting: Setting, row: Row) -> Option<Standing> {
        let more = row.kind.more_is_better()?;
        let value = |engine: &str| self.median(setting, engine, row).filter(|value| *value > 0.0);
        let ours = value(OURS)?;
        let ratios = RIVALS
            .into_iter()
            .filter_map(value)
            .map(|theirs| if more { ours / theirs } else { theirs / ours });
        // The better rival is the one against whom the ratio is lower.
        let ratio = ratios.min_by(f64::total_cmp)?;
        Some(Standing { ratio })
    }

    /// Whether there is something to be said about a figure.
    pub(super) fn is_noted(&self, setting: Setting, engine: &str, row: Row) -> bool {
        let Some(series) = self.series(setting, engine, row.workload.name, row.kind) else {
            return false;
        };
        let scenario = crate::catalogue::scenario(&series.scenario);
        let load = scenario.and_then(|scenario| scenario.workloads.first());
        self.notes.iter().any(|note| {
            let subject = note.subject();
            let of_load = load.is_some_and(|load| load.name == subject);
            note.setting == setting && note.engine == engine && (subject == row.workload.name || of_load)
        })
    }
}

fn kinds(workload: &Workload, group: Group) -> impl Iterator<Item = Kind> {
    let rate = workload.group == group;
    // Synced loads are small, and about something else.
    let space = group == Group::Space && workload.group != Group::Durability;
    let whole = workload.name == WHOLE;
    let own = std::iter::once(Kind::Rate)
        .chain(BESIDE)
        .filter(move |kind| rate && fits(workload, *kind));
    let bytes = SPACE
        .into_iter()
        .filter(move |kind| space && (whole || matches!(kind, Kind::Disk | Kind::WrittenPages)));
    own.chain(bytes)
}

fn fits(workload: &Workload, kind: Kind) -> bool {
    match kind {
        // How long a small synced load takes to settle says nothing.
        Kind::Settled => workload.group != Group::Durability,
        // Of other loads it is what was asked for, or a note tells.
        Kind::Entries => workload.step == Step::Reopen,
        _ => true,
    }
}
