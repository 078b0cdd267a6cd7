//! [`Kind`]: what a figure says of a workload, its unit, and which direction is better. [`Figure`]: one of them, as a
//! measuring process hands it to the one that reports.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Operations a second.
    Rate,
    /// Seconds from the first write until background work had settled.
    Settled,
    /// Writes a second that the paced writer achieved.
    WriterRate,
    /// Seconds from before the opening until after the first read.
    Opening,
    /// Entries found after a kill.
    Recovered,
    /// Bytes on disk after settling.
    Disk,
    /// The most bytes on disk at any time.
    DiskPeak,
    /// Bytes to write calls, until settled.
    WrittenByCalls,
    /// Bytes of dirty pages for the disk, until settled.
    WrittenPages,
    /// What the engine says it has written: log, flushes, compactions, ...
    OwnLog,
    OwnFlush,
    OwnCompaction,
    /// Of values that it keeps apart from the tree: when they were put, and when they were moved.
    OwnApart,
    OwnMoved,
    OwnTotal,
    /// The most anonymous memory of the process during the load.
    Anonymous,
    /// The most resident memory of mapped files during the load.
    FileBacked,
    /// The same over all workloads of the scenario.
    AnonymousAll,
    FileBackedAll,
    /// Operations done, where a time limit may have ended the workload.
    Operations,
    /// Entries in the database after the load.
    Entries,
}

/// How a figure is written, and what counts as better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    Count,
}

impl Kind {
    pub(crate) fn unit(self) -> Unit {
        match self {
            Kind::Rate | Kind::WriterRate => Unit::PerSecond,
            Kind::Settled | Kind::Opening => Unit::Seconds,
            Kind::Recovered | Kind::Operations | Kind::Entries => Unit::Count,
            _ => Unit::Bytes,
        }
    }

    /// Whether more is better; `None` for what is only information.
    pub(crate) fn more_is_better(self) -> Option<bool> {
        match self {
            Kind::Rate => Some(true),
            Kind::Settled
            | Kind::Opening
            | Kind::Disk
            | Kind::DiskPeak
            | Kind::WrittenByCalls
            | Kind::WrittenPages
            | Kind::OwnTotal
            | Kind::Anonymous
            | Kind::AnonymousAll => Some(false),
            _ => None,
        }
    }

    /// What it adds to the workload's name in a table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Rate => "",
            Kind::Settled => "until background work has settled",
            Kind::WriterRate => "the writer's achieved rate",
            Kind::Opening => "",
            Kind::Recovered => "entries recovered",
            Kind::Disk => "disk after settling",
            Kind::DiskPeak => "the most on disk meanwhile",
            Kind::WrittenByCalls => "bytes to write calls",
            Kind::WrittenPages => "bytes to the disk (write_bytes, mapped files too)",
            Kind::OwnLog => "the engine's own count: log",
            Kind::OwnFlush => "the engine's own count: flushes",
            Kind::OwnCompaction => "the engine's own count: compactions",
            Kind::OwnApart => "the engine's own count: values apart from the tree",
            Kind::OwnMoved => "the engine's own count: such values moved",
            Kind::OwnTotal => "the engine's own count: all bytes written",
            Kind::Anonymous => "peak anonymous memory, load",
            Kind::FileBacked => "resident mapped files beside it, load",
            Kind::AnonymousAll => "peak anonymous memory, everything",
            Kind::FileBackedAll => "resident mapped files beside it, everything",
            Kind::Operations => "operations done",
            Kind::Entries => "entries written before",
        }
    }
}

impl Unit {
    /// For JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "1/s",
            Unit::Seconds => "s",
            Unit::Bytes => "B",
            Unit::Count => "1",
        }
    }
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) workload: String,
    pub(crate) kind: Kind,
    pub(crate) value: f64,
}

/// What one run of one engine gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    /// What a reader of the figures must know, in words.
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    pub(crate) fn add(&mut self, workload: &str, kind: Kind, value: f64) {
        self.figures.push(Figure {
            workload: workload.to_owned(),
            kind,
            value,
        });
    }
}
