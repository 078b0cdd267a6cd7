//! What can be measured: scenarios, each of which is one database that one process fills and then works on, and their
//! workloads, in the order in which they run.

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

/// Values from 16 KiB on live apart.
const APART: Option<u64> = Some(16 << 10);

/// Large values, of a hundredth of the entries.
const BLOBS: Scenario = Scenario {
    share: 100,
    separate: APART,
    set: Set::Full,
    ..BASE
};

const FORWARDS: Step = Step::Seek { backwards: false };
const ALL_FORWARDS: Step = Step::Scan { backwards: false };

const RANDOM: &[Workload] = &[
    workload(
        "fillrandom",
        Step::Fill,
        Group::Writing,
        "one put a call, random order",
    ),
    workload(
        "readrandom",
        Step::Read(Access::Uniform),
        Group::Reading,
        "point reads, any key",
    ),
    workload(
        "readhot",
        Step::Read(Access::Hot),
        Group::Reading,
        "point reads, 1 % of the keys",
    ),
    workload(
        "readmissing",
        Step::ReadMissing,
        Group::Reading,
        "point reads of absent keys",
    ),
    workload(
        "readzipf",
        Step::Read(Access::Zipf),
        Group::Reading,
        "point reads, Zipf 0.99, scrambled",
    ),
    workload(
        "seekrandom",
        FORWARDS,
        Group::Scanning,
        "seek and read 10 entries",
    ),
    workload(
        "seekrandom-reverse",
        Step::Seek { backwards: true },
        Group::Scanning,
        "the same backwards",
    ),
    workload("readseq", ALL_FORWARDS, Group::Scanning, "all entries in order"),
    workload(
        "readreverse",
        Step::Scan { backwards: true },
        Group::Scanning,
        "all entries backwards",
    ),
    workload(
        "readwhilewriting",
        Step::ReadBesideWriter,
        Group::Mixed,
        "point reads beside one writer at a fixed rate",
    ),
    workload(
        "overwrite",
        Step::Overwrite,
        Group::Writing,
        "one put a call, keys that exist",
    ),
];

const YCSB: &[Workload] = &[
    workload(
        "ycsb-load",
        Step::Fill,
        Group::Mixed,
        "one put a call, values of 1000 bytes",
    ),
    workload(
        "ycsb-a",
        Step::Ycsb(Ycsb::A),
        Group::Mixed,
        "50 % reads, 50 % updates, Zipf",
    ),
    workload(
        "ycsb-b",
        Step::Ycsb(Ycsb::B),
        Group::Mixed,
        "95 % reads, 5 % updates, Zipf",
    ),
    workload("ycsb-c", Step::Ycsb(Ycsb::C), Group::Mixed, "reads, Zipf"),
    workload(
        "ycsb-d",
        Step::Ycsb(Ycsb::D),
        Group::Mixed,
        "95 % reads of the latest, 5 % inserts",
    ),
    workload(
        "ycsb-e",
        Step::Ycsb(Ycsb::E),
        Group::Mixed,
        "95 % scans of 1 to 100 entries, 5 % inserts",
    ),
    workload(
        "ycsb-f",
        Step::Ycsb(Ycsb::F),
        Group::Mixed,
        "50 % reads, 50 % read-modify-write, Zipf",
    ),
];

const YCSB_THREADS: &[Workload] = &[
    workload(
        "ycsb-load-threads",
        Step::Fill,
        Group::Mixed,
        "YCSB's load by N threads",
    ),
    workload(
        "ycsb-a-threads",
        Step::Ycsb(Ycsb::A),
        Group::Mixed,
        "YCSB A by N threads",
    ),
    workload(
        "ycsb-b-threads",
        Step::Ycsb(Ycsb::B),
        Group::Mixed,
        "YCSB B by N threads",
    ),
    workload(
        "ycsb-c-threads",
        Step::Ycsb(Ycsb::C),
        Group::Mixed,
        "YCSB C by N threads",
    ),
    workload(
        "ycsb-d-threads",
        Step::Ycsb(Ycsb::D),
        Group::Mixed,
        "YCSB D by N threads",
    ),
    workload(
        "ycsb-e-threads",
        Step::Ycsb(Ycsb::E),
        Group::Mixed,
        "YCSB E by N threads",
    ),
    workload(
        "ycsb-f-threads",
        Step::Ycsb(Ycsb::F),
        Group::Mixed,
        "YCSB F by N threads",
    ),
];

/// All scenarios, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "random",
        workloads: RANDOM,
        ..BASE
    },
    Scenario {
        name: "seq",
        workloads: &[workload(
            "fillseq",
            Step::Fill,
            Group::Writing,
            "one put a call, ascending order",
        )],
        keys: Some(KeyKind::Sequential),
        ..BASE
    },
    Scenario {
        name: "batch",
        workloads: &[workload(
            "fillbatch",
            Step::FillBatches,
            Group::Writing,
            "batches of 1000 puts, random order",
        )],
        ..BASE
    },
    Scenario {
        name: "threads",
        workloads: &[
            workload(
                "fillrandom-threads",
                Step::Fill,
                Group::Writing,
                "fillrandom by N threads",
            ),
            workload(
                "readrandom-threads",
                Step::Read(Access::Uniform),
                Group::Reading,
                "readrandom by N threads",
            ),
        ],
        share: 2,
        threads: Threads::Asked,
        ..BASE
    },
    Scenario {
        name: "text",
        workloads: &[
            workload(
                "text-fill",
                Step::Fill,
                Group::Data,
                "windows of 200 bytes of real text",
            ),
            workload(
                "text-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload("text-seek", FORWARDS, Group::Data, "seek and read 10 of them"),
        ],
        share: 2,
        values: Some(ValueKind::Text),
        value_size: Some(200),
        ..BASE
    },
    Scenario {
        name: "urls",
        workloads: &[
            workload("urls-fill", Step::Fill, Group::Data, "URLs as keys"),
            workload(
                "urls-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload(
                "urls-missing",
                Step::ReadMissing,
                Group::Data,
                "point reads of absent ones",
            ),
            workload("urls-seek", FORWARDS, Group::Data, "seek and read 10 of them"),
        ],
        share: 4,
        keys: Some(KeyKind::Urls),
        ..BASE
    },
    Scenario {
        name: "reopen",
        workloads: &[workload(
            "reopen",
            Step::Reopen,
            Group::Durability,
            "open and first read after SIGKILL",
        )],
        share: 5,
        ..BASE
    },
    Scenario {
        name: "sync",
        workloads: &[workload(
            "fillsync",
            Step::Fill,
            Group::Durability,
            "every put synced, 1 thread",
        )],
        share: 100,
        durability: Durability::Synced,
        ..BASE
    },
    Scenario {
        name: "sync-8",
        workloads: &[workload(
            "fillsync-8",
            Step::Fill,
            Group::Durability,
            "every put synced, 8 threads",
        )],
        share: 100,
        threads: Threads::Exactly(8),
        durability: Durability::Synced,
        ..BASE
    },
    Scenario {
        name: "ycsb",
        workloads: YCSB,
        share: 5,
        value_size: Some(1000),
        ..BASE
    },
    Scenario {
        name: "large",
        workloads: &[
            workload("large-fill", Step::Fill, Group::Data, "values of 1 MiB"),
            workload(
                "large-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload("large-scan", ALL_FORWARDS, Group::Data, "all of them in order"),
        ],
        share: 8000,
        value_size: Some(1 << 20),
        separate: APART,
        set: Set::Standard,
        ..BASE
    },
    Scenario {
        name: "paths",
        workloads: &[
            workload("paths-fill", Step::Fill, Group::Data, "file paths as keys"),
            workload(
                "paths-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload("paths-seek", FORWARDS, Group::Data, "seek and read 10 of them"),
        ],
        share: 2,
        keys: Some(KeyKind::Paths),
        set: Set::Full,
        ..BASE
    },
    Scenario {
        name: "skewed",
        workloads: &[
            workload(
                "skewed-fill",
                Step::Fill,
                Group::Data,
                "keys that crowd in places",
            ),
            workload(
                "skewed-read",
                Step::Read(Access::Zipf),
                Group::Data,
                "point reads of them, Zipf 0.99",
            ),
        ],
        share: 2,
        keys: Some(KeyKind::Skewed),
        set: Set::Full,
        ..BASE
    },
    Scenario {
        name: "incompressible",
        workloads: &[
            workload(
                "incompressible-fill",
                Step::Fill,
                Group::Data,
                "random values of 400 bytes",
            ),
            workload(
                "incompressible-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
        ],
        share: 4,
        values: Some(ValueKind::Random),
        value_size: Some(400),
        set: Set::Full,
        ..BASE
    },
    Scenario {
        name: "tiny",
        workloads: &[
            workload("tiny-fill", Step::Fill, Group::Data, "values of 8 bytes"),
            workload(
                "tiny-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload("tiny-scan", ALL_FORWARDS, Group::Data, "all of them in order"),
        ],
        value_size: Some(8),
        set: Set::Full,
        ..BASE
    },
    Scenario {
        name: "medium",
        workloads: &[
            workload("medium-fill", Step::Fill, Group::Data, "values of 16 KiB"),
            workload(
                "medium-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
            workload("medium-scan", ALL_FORWARDS, Group::Data, "all of them in order"),
        ],
        share: 100,
        value_size: Some(16 << 10),
        set: Set::Full,
        ..BASE
    },
    Scenario {
        name: "blobs",
        workloads: &[
            workload("blobs-fill", Step::Fill, Group::Data, "values of 100 kB"),
            workload(
                "blobs-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
        ],
        value_size: Some(100_000),
        ..BLOBS
    },
    Scenario {
        name: "blobs-raw",
        workloads: &[
            workload(
                "blobs-raw-fill",
                Step::Fill,
                Group::Data,
                "random values of 100 kB",
            ),
            workload(
                "blobs-raw-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
        ],
        values: Some(ValueKind::Random),
        value_size: Some(100_000),
        ..BLOBS
    },
    Scenario {
        name: "blobs-4m",
        workloads: &[
            workload("blobs-4m-fill", Step::Fill, Group::Data, "random values of 4 MB"),
            workload(
                "blobs-4m-read",
                Step::Read(Access::Uniform),
                Group::Data,
                "point reads of them",
            ),
        ],
        share: 4000,
        values: Some(ValueKind::Random),
        value_size: Some(4_000_000),
        ..BLOBS
    },
    Scenario {
        name: "churn",
        workloads: &[
            workload("churn-fill", Step::Fill, Group::Data, "values of 100 kB"),
            workload(
                "churn",
                Step::Churn(10),
                Group::Data,
                "ten times as much overwritten, any key evenly",
            ),
        ],
        value_size: Some(100_000),
        ..BLOBS
    },
    Scenario {
        name: "ycsb-threads",
        workloads: YCSB_THREADS,
        share: 5,
        threads: Threads::Asked,
        value_size: Some(1000),
        set: Set::Full,
        ..BASE
    },
];

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
