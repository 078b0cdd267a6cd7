//! What can be measured: scenarios, each of which is one database that one process fills and then works on, and their
//! workloads, in the order in which they run.

mod large;
mod list;

pub(crate) use list::SCENARIOS;

use clap::ValueEnum;

use crate::data::{KeyKind, ValueKind};
use crate::engines::Durability;

/// Which entries a workload asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Any, evenly.
    Uniform,
    /// One in a hundred of the keys, evenly.
    Hot,
    /// By Zipf's law, exponent 0.99, ranks scrambled.
    Zipf,
}

/// The workloads of the Yahoo! Cloud Serving Benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ycsb {
    A,
    B,
    C,
    D,
    E,
    F,
}

/// What a workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fill,
    FillBatches,
    Read(Access),
    ReadMissing,
    Seek {
        backwards: bool,
    },
    Scan {
        backwards: bool,
    },
    ReadBesideWriter,
    Overwrite,
    /// Overwrites of so many times the data.
    Churn(u64),
    Ycsb(Ycsb),
    /// Filled, killed, opened again: two processes.
    Reopen,
}

impl Step {
    /// Whether it seeks or scans.
    pub(crate) fn needs_order(self) -> bool {
        matches!(
            self,
            Step::Seek { .. } | Step::Scan { .. } | Step::Ycsb(Ycsb::E) | Step::Reopen
        )
    }
}

/// Where a report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Writing,
    Reading,
    Scanning,
    Mixed,
    Data,
    Durability,
    Space,
}

impl Group {
    pub(crate) const ALL: [Group; 7] = [
        Group::Writing,
        Group::Reading,
        Group::Scanning,
        Group::Mixed,
        Group::Data,
        Group::Durability,
        Group::Space,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Group::Writing => "Writing",
            Group::Reading => "Reading",
            Group::Scanning => "Scanning",
            Group::Mixed => "Reading and writing at once",
            Group::Data => "Other keys and values",
            Group::Durability => "Synced writes, and opening after a kill",
            Group::Space => "Disk, bytes written, memory",
        }
    }

    /// For file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Group::Writing => "writing",
            Group::Reading => "reading",
            Group::Scanning => "scanning",
            Group::Mixed => "mixed",
            Group::Data => "data",
            Group::Durability => "durability",
            Group::Space => "space",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What one operation is, or what is special.
    pub(crate) about: &'static str,
    pub(crate) step: Step,
    pub(crate) group: Group,
}

/// How many threads work at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    Exactly(usize),
    /// As `--threads` says.
    Asked,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The first loads the database; it runs whenever another is asked for.
    pub(crate) workloads: &'static [Workload],
    /// Entries for every so many of `--num`.
    pub(crate) share: u64,
    pub(crate) threads: Threads,
    pub(crate) durability: Durability,
    /// What is fixed here, whatever `--keys`, `--values` and `--value-size` say.
    pub(crate) keys: Option<KeyKind>,
    pub(crate) values: Option<ValueKind>,
    pub(crate) value_size: Option<usize>,
    /// Values of at least so many bytes live apart from the tree, where an engine can do that.
    pub(crate) separate: Option<u64>,
    /// The smallest set that has it.
    pub(crate) set: Set,
}

/// Named sets of scenarios, each with everything of the smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Set {
    /// The main workloads, small: minutes.
    Quick,
    /// What the README's table is made of: sized for less than half an hour for five engines on a quiet machine.
    Standard,
    /// Everything: hours.
    Full,
}

impl Set {
    /// Entries, if nobody says how many.
    pub(crate) fn entries(self) -> u64 {
        match self {
            Set::Quick => 300_000,
            Set::Standard => 2_000_000,
            Set::Full => 10_000_000,
        }
    }

    pub(crate) fn rounds(self) -> u32 {
        match self {
            Set::Quick => 1,
            Set::Standard => 2,
            Set::Full => 3,
        }
    }

    /// Seconds after which a load ends, so that slow engines do not take all of the time.
    pub(crate) fn load_seconds(self) -> u64 {
        match self {
            Set::Quick => 10,
            // redb loads two million entries in fifty on the machine that the aims were measured on.
            Set::Standard => 60,
            Set::Full => 1800,
        }
    }

    /// Seconds after which any other workload ends.
    pub(crate) fn step_seconds(self) -> u64 {
        match self {
            Set::Quick => 2,
            Set::Standard => 10,
            Set::Full => 120,
        }
    }

    /// Seconds of reading beside a writer.
    pub(crate) fn mixed_seconds(self) -> u64 {
        match self {
            Set::Quick => 2,
            Set::Standard => 5,
            Set::Full => 30,
        }
    }
}

/// The number of entries that a seek reads.
pub(crate) const SEEK_LEN: u64 = 10;
/// The number of entries in a batch.
pub(crate) const BATCH_LEN: u64 = 1000;

const fn workload(name: &'static str, step: Step, group: Group, about: &'static str) -> Workload {
    Workload {
        name,
        about,
        step,
        group,
    }
}

const BASE: Scenario = Scenario {
    name: "",
    workloads: &[],
    share: 1,
    threads: Threads::Exactly(1),
    durability: Durability::Buffered,
    keys: None,
    values: None,
    value_size: None,
    separate: None,
    set: Set::Quick,
};

pub(crate) fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// A workload by its name.
pub(crate) fn find(name: &str) -> Option<&'static Workload> {
    SCENARIOS
        .iter()
        .flat_map(|scenario| scenario.workloads)
        .find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_workload_has_a_name_of_its_own() {
        let names: Vec<&str> = SCENARIOS
            .iter()
            .flat_map(|scenario| scenario.workloads)
            .map(|workload| workload.name)
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn every_scenario_begins_with_a_load() {
        for scenario in SCENARIOS {
            let first = scenario.workloads.first().map(|workload| workload.step);
            assert!(
                matches!(first, Some(Step::Fill | Step::FillBatches | Step::Reopen)),
                "{}",
                scenario.name
            );
        }
    }
}
