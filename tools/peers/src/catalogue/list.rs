//! Every scenario there is.

use super::{Access, BASE, Group, Scenario, Set, Step, Threads, Workload, Ycsb, large, workload};
use crate::data::{KeyKind, ValueKind};
use crate::engines::Durability;

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
        separate: large::APART,
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
    large::BLOBS,
    large::BLOBS_RAW,
    large::BLOBS_4M,
    large::CHURN,
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
