//! The names of the benchmarks: what each means, and how it changes the parameters.

use packstone::Durability;

use super::task::Task;
use super::worker::Worker;
use super::{cpu, fill, meta, mixed, mixgraph, read, scan, ycsb};
use crate::data::ValueSizes;
use crate::failure::Outcome;
use crate::report::Text;

pub(crate) type Run = fn(&mut Worker<'_>) -> Outcome<()>;

/// How a benchmark runs.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// In threads, measured.
    Measured {
        run: Run,
        /// One more thread that does this meanwhile and is not measured.
        beside: Option<Run>,
        /// Only ever in one thread.
        alone: bool,
    },
    /// Prints what it says.
    Told(Text),
    /// Goes its own way, and prints a verdict: see `sustained`.
    Sustained,
}

pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Begins with an empty database.
    pub(crate) fresh: bool,
    pub(crate) kind: Kind,
    pub(crate) adjust: fn(&mut Task),
    /// The name of each of its message's counts, and the counts; see `report::message`.
    pub(crate) message: Message,
}

/// What a benchmark's line ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Only remarks.
    Note,
    Found,
    ReadsWrites,
    Updates,
    GetPutDelete,
    Mixgraph,
    Ycsb,
}

const fn measured(name: &'static str, about: &'static str, run: Run, message: Message) -> Benchmark {
    Benchmark {
        name,
        about,
        fresh: false,
        kind: Kind::Measured {
            run,
            beside: None,
            alone: false,
        },
        adjust: |_| {},
        message,
    }
}

const fn fresh(name: &'static str, about: &'static str, run: Run, adjust: fn(&mut Task)) -> Benchmark {
    Benchmark {
        fresh: true,
        adjust,
        ..measured(name, about, run, Message::Note)
    }
}

const fn writing(benchmark: Benchmark) -> Benchmark {
    Benchmark {
        adjust: |task| task.puts = true,
        ..benchmark
    }
}

const fn alone(name: &'static str, about: &'static str, run: Run) -> Benchmark {
    Benchmark {
        kind: Kind::Measured {
            run,
            beside: None,
            alone: true,
        },
        ..measured(name, about, run, Message::Note)
    }
}

const fn beside(name: &'static str, about: &'static str, run: Run, beside: Run) -> Benchmark {
    let benchmark = measured(name, about, run, Message::Found);
    Benchmark {
        kind: Kind::Measured {
            run,
            beside: Some(beside),
            alone: false,
        },
        ..benchmark
    }
}

const fn told(name: &'static str, about: &'static str, text: Text) -> Benchmark {
    Benchmark {
        name,
        about,
        fresh: false,
        kind: Kind::Told(text),
        adjust: |_| {},
        message: Message::Note,
    }
}

/// fillbatch writes so many entries at once.
const BATCH: usize = 1000;
/// fillsync and fill100K do a thousandth of --num.
const SHARE: u64 = 1000;
const LONG_VALUE: usize = 100_000;

fn synced(task: &mut Task) {
    task.scale(SHARE);
    task.durability = Durability::Sync;
}

fn long(task: &mut Task) {
    task.scale(SHARE);
    task.sizes = ValueSizes::fixed(LONG_VALUE);
}

pub(crate) const BENCHMARKS: &[Benchmark] = &[
    fresh(
        "fillseq",
        "Write in key order, into an empty database",
        fill::sequential,
        |_| {},
    ),
    fresh(
        "fillrandom",
        "Write in random order, into an empty database",
        fill::random,
        |_| {},
    ),
    Benchmark {
        kind: Kind::Measured {
            run: fill::unique,
            beside: None,
            alone: true,
        },
        ..fresh(
            "filluniquerandom",
            "Write every key once, in random order, into an empty database; one thread",
            fill::unique,
            |_| {},
        )
    },
    fresh(
        "fillsync",
        "Write num/1000 values in random order, each synced",
        fill::random,
        synced,
    ),
    fresh(
        "fillbatch",
        "Write in key order, 1000 entries a batch",
        fill::sequential,
        |task| task.batch_size = BATCH,
    ),
    fresh(
        "fill100K",
        "Write num/1000 values of 100,000 bytes in random order",
        fill::random,
        long,
    ),
    measured(
        "overwrite",
        "Write in random order, into what is there",
        fill::random,
        Message::Note,
    ),
    writing(measured(
        "updaterandom",
        "Read, then write, random keys",
        read::update,
        Message::Updates,
    )),
    measured(
        "deleteseq",
        "Delete in key order",
        fill::delete_sequential,
        Message::Note,
    ),
    measured(
        "deleterandom",
        "Delete in random order",
        fill::delete_random,
        Message::Note,
    ),
    measured("readseq", "Read in key order", scan::forward, Message::Note),
    measured(
        "readreverse",
        "Read in reverse key order",
        scan::backward,
        Message::Note,
    ),
    measured("readrandom", "Read random keys", read::random, Message::Found),
    measured(
        "readmissing",
        "Read keys that are not there, of the same length where keys have padding",
        read::missing,
        Message::Found,
    ),
    measured(
        "readhot",
        "Read random keys of the first hundredth",
        read::hot,
        Message::Found,
    ),
    measured(
        "multireadrandom",
        "Read --batch_size random keys in one snapshot",
        read::multi,
        Message::Found,
    ),
    measured(
        "seekrandom",
        "Seek random keys, and read --seek_nexts entries from there",
        scan::seek_random,
        Message::Found,
    ),
    measured(
        "seekordered",
        "Seek keys in small random steps forwards",
        scan::seek_ordered,
        Message::Found,
    ),
    measured("newiterator", "Make iterators", read::new_iterator, Message::Note),
    writing(beside(
        "readwhilewriting",
        "readrandom, with one thread more that writes",
        read::random,
        fill::writer_beside,
    )),
    beside(
        "readwhilescanning",
        "readrandom, with one thread more that scans",
        read::random,
        scan::scanner_beside,
    ),
    writing(beside(
        "seekrandomwhilewriting",
        "seekrandom, with one thread more that writes",
        scan::seek_random,
        fill::writer_beside,
    )),
    writing(measured(
        "readrandomwriterandom",
        "Read --readwritepercent, write the rest",
        mixed::read_random_write_random,
        Message::ReadsWrites,
    )),
    writing(measured(
        "randomwithverify",
        "Three keys at once, put, read and deleted, and compared",
        mixed::random_with_verify,
        Message::GetPutDelete,
    )),
    writing(measured(
        "mixgraph",
        "Gets, puts and scans as in FAST'20; see --mixgraph_mode",
        mixgraph::run,
        Message::Mixgraph,
    )),
    writing(measured(
        "ycsba",
        "YCSB A: half reads, half updates, zipfian; on what a fill has loaded",
        ycsb::a,
        Message::Ycsb,
    )),
    writing(measured(
        "ycsbb",
        "YCSB B: 95 % reads, 5 % updates, zipfian",
        ycsb::b,
        Message::Ycsb,
    )),
    measured("ycsbc", "YCSB C: reads, zipfian", ycsb::c, Message::Ycsb),
    writing(measured(
        "ycsbd",
        "YCSB D: 95 % reads of the latest, 5 % inserts",
        ycsb::d,
        Message::Ycsb,
    )),
    writing(measured(
        "ycsbe",
        "YCSB E: 95 % scans of 1 to 100 entries, 5 % inserts",
        ycsb::e,
        Message::Ycsb,
    )),
    writing(measured(
        "ycsbf",
        "YCSB F: half reads, half read-modify-writes, zipfian",
        ycsb::f,
        Message::Ycsb,
    )),
    Benchmark {
        kind: Kind::Sustained,
        ..told(
            "sustained",
            "Find the rate of random writes with flat debt, and the stalls at 70 % of it; a verdict",
            Text::Stats,
        )
    },
    alone("compact", "Merge everything into one level", meta::compact),
    alone("flush", "Write memtables to SSTs", meta::flush),
    alone(
        "waitforcompaction",
        "Wait until no flush or compaction is due",
        meta::wait_for_compaction,
    ),
    alone(
        "verifychecksum",
        "Read and check every byte of every SST",
        meta::verify_checksum,
    ),
    measured(
        "crc32c",
        "Checksum of blocks: the engine's, which is the IEEE CRC-32",
        cpu::crc,
        Message::Note,
    ),
    measured("xxhash", "xxHash64 of blocks", cpu::xxhash, Message::Note),
    measured(
        "compress",
        "LZ4 of blocks that compress to --compression_ratio",
        cpu::compress,
        Message::Note,
    ),
    measured("uncompress", "The way back", cpu::uncompress, Message::Note),
    told(
        "stats",
        "Print the tree and the counters, as RocksDB's rocksdb.stats",
        Text::Stats,
    ),
    told("levelstats", "Print files and sizes by level", Text::Levels),
    told("sstables", "Print every SST with its bounds", Text::Files),
];

pub(crate) fn find(name: &str) -> Option<&'static Benchmark> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name)
}
