//! Every flag that has a meaning here: name, kind, default, and what it does. `config` reads the values, `help` prints
//! the table.

/// What a flag's value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Bool,
    /// From the first to the second number, both allowed.
    Int(i64, i64),
    Float,
    Word(&'static [&'static str]),
    Text,
}

#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

/// Flags of one theme, as `--help` shows them.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) flags: &'static [Flag],
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        help,
    }
}

/// Large, and far from overflow when multiplied by sizes.
const MANY: i64 = 1 << 40;
const COUNT: Kind = Kind::Int(0, MANY);
const OPTIONAL_COUNT: Kind = Kind::Int(-1, MANY);
const POSITIVE: Kind = Kind::Int(1, MANY);

/// The codecs that RocksDB's scripts name; those that the engine lacks become LZ4, with a warning.
pub(crate) const CODECS: &[&str] = &[
    "none", "lz4", "snappy", "zlib", "bzip2", "lz4hc", "xpress", "zstd",
];

/// What runs without `--benchmarks`: LevelDB's list, as far as it exists here.
const DEFAULT_BENCHMARKS: &str = "fillseq,fillsync,fillrandom,overwrite,readrandom,readrandom,readseq,readreverse,compact,\
                                  readrandom,readseq,readreverse,fill100K,crc32c,compress,uncompress";

pub(crate) const GROUPS: &[Group] = &[
    Group {
        title: "What is run",
        flags: &[
            flag(
                "benchmarks",
                Kind::Text,
                DEFAULT_BENCHMARKS,
                "Names, comma-separated; name[X5-W1] runs five times after one warm-up",
            ),
            flag(
                "db",
                Kind::Text,
                "",
                "Directory of the database; its database files are DELETED unless --use_existing_db (default: packstone-dbbench below the directory for temporary files)",
            ),
            flag(
                "use_existing_db",
                Kind::Bool,
                "false",
                "Keep what is in --db; benchmarks that need an empty database are skipped",
            ),
            flag(
                "readonly",
                Kind::Bool,
                "false",
                "Open the existing database for reading only",
            ),
            flag(
                "num",
                POSITIVE,
                "1000000",
                "Keys in the database, and operations of each thread",
            ),
            flag("reads", OPTIONAL_COUNT, "-1", "Reads of each thread; -1: --num"),
            flag("writes", OPTIONAL_COUNT, "-1", "Writes of each thread; -1: --num"),
            flag(
                "deletes",
                OPTIONAL_COUNT,
                "-1",
                "Deletes of each thread; -1: --num",
            ),
            flag(
                "threads",
                Kind::Int(1, 1024),
                "1",
                "Threads that run the benchmark",
            ),
            flag(
                "duration",
                COUNT,
                "0",
                "Seconds to run; goes before the numbers of operations; 0: no limit",
            ),
            flag(
                "seed",
                Kind::Int(0, i64::MAX),
                "0",
                "Seed of all random choices; 0: from the clock",
            ),
        ],
    },
    Group {
        title: "Keys and values",
        flags: &[
            flag(
                "key_size",
                Kind::Int(1, 65_535),
                "16",
                "Bytes of a key: prefix, up to 8 bytes of big-endian number, then '0's",
            ),
            flag(
                "prefix_size",
                Kind::Int(0, 65_534),
                "0",
                "Bytes of the prefix, used with --keys_per_prefix",
            ),
            flag(
                "keys_per_prefix",
                COUNT,
                "0",
                "Keys that share a prefix; 0: no prefixes",
            ),
            flag("value_size", Kind::Int(0, 64 << 20), "100", "Bytes of a value"),
            flag(
                "value_size_distribution_type",
                Kind::Word(&["fixed", "uniform", "normal"]),
                "fixed",
                "fixed: --value_size; else between --value_size_min and _max",
            ),
            flag(
                "value_size_min",
                Kind::Int(0, 64 << 20),
                "100",
                "Least bytes of a value that varies",
            ),
            flag(
                "value_size_max",
                Kind::Int(0, 64 << 20),
                "102400",
                "Most bytes of a value that varies",
            ),
            flag(
                "compression_ratio",
                Kind::Float,
                "0.5",
                "What a value's bytes compress to",
            ),
            flag(
                "batch_size",
                Kind::Int(1, 1 << 24),
                "1",
                "Writes in a batch; reads in a multireadrandom",
            ),
            flag(
                "read_random_exp_range",
                Kind::Float,
                "0",
                "Skew of readrandom: exp(-x), x from 0 to this; 0: uniform",
            ),
            flag(
                "check_values",
                Kind::Bool,
                "true",
                "Check every value that is read: key, length, contents (ours)",
            ),
        ],
    },
    Group {
        title: "How the operations are mixed",
        flags: &[
            flag(
                "readwritepercent",
                Kind::Int(0, 100),
                "90",
                "Reads in readrandomwriterandom and randomwithverify",
            ),
            flag(
                "deletepercent",
                Kind::Int(0, 100),
                "2",
                "Deletes in randomwithverify",
            ),
            flag(
                "seek_nexts",
                COUNT,
                "0",
                "Entries that seekrandom reads after each seek",
            ),
            flag(
                "reverse_iterator",
                Kind::Bool,
                "false",
                "seekrandom goes backwards",
            ),
            flag(
                "sustained_seconds",
                POSITIVE,
                "600",
                "Seconds of each of the two phases of sustained (ours)",
            ),
            flag(
                "sustained_percent",
                Kind::Int(1, 1000),
                "70",
                "Pace of sustained's second phase, in percent of the rate that the first found (ours)",
            ),
            flag(
                "benchmark_write_rate_limit",
                COUNT,
                "0",
                "Bytes a second that writers write at most; 0: no limit",
            ),
            flag(
                "benchmark_read_rate_limit",
                COUNT,
                "0",
                "Operations a second that readers do at most; 0: no limit",
            ),
        ],
    },
    Group {
        title: "The engine",
        flags: &[
            flag(
                "sync",
                Kind::Bool,
                "false",
                "Each write survives the loss of power: --durability=sync",
            ),
            flag(
                "durability",
                Kind::Word(&["", "buffered", "sync"]),
                "",
                "Of each write, goes before --sync (ours)",
            ),
            flag(
                "keyspaces",
                Kind::Int(1, 4096),
                "1",
                "Keyspaces that the keys are spread over (ours)",
            ),
            flag(
                "num_column_families",
                Kind::Int(1, 4096),
                "1",
                "RocksDB's name for --keyspaces",
            ),
            flag(
                "compression_type",
                Kind::Word(CODECS),
                "lz4",
                "none or lz4; RocksDB's others become lz4, with a warning",
            ),
            flag(
                "order",
                Kind::Word(&["key", "hash"]),
                "key",
                "hash: look-ups only, no scan and no seek; not compressed unless --compression_type is given (ours)",
            ),
            flag(
                "cache_size",
                Kind::Int(-1, MANY),
                "33554432",
                "Bytes of the block cache; -1: the engine's default",
            ),
            flag(
                "write_buffer_size",
                Kind::Int(4 << 10, 4 << 30),
                "67108864",
                "Bytes of a memtable",
            ),
            flag(
                "target_file_size_base",
                Kind::Int(4 << 10, 1 << 30),
                "67108864",
                "Bytes at which compaction starts the next SST",
            ),
            flag(
                "max_total_wal_size",
                COUNT,
                "0",
                "Bytes of log that force flushes; 0: the engine's default",
            ),
            flag(
                "block_size",
                Kind::Int(64, 1 << 20),
                "4096",
                "Bytes of small values that share a block",
            ),
            flag(
                "key_block_size",
                Kind::Int(64, 1 << 20),
                "16384",
                "Bytes of keys in a block (ours)",
            ),
            flag(
                "bloom_bits",
                Kind::Float,
                "-1",
                "0: SSTs without filters; anything else: with the engine's",
            ),
            flag(
                "max_background_jobs",
                Kind::Int(1, 64),
                "2",
                "Threads for flushes and compactions",
            ),
            flag(
                "mmap_read",
                Kind::Bool,
                "true",
                "Read SSTs through mappings; otherwise by read calls",
            ),
        ],
    },
    Group {
        title: "What is reported",
        flags: &[
            flag("histogram", Kind::Bool, "false", "Print latencies"),
            flag("statistics", Kind::Bool, "false", "Print counters at the end"),
            flag(
                "latencies",
                Kind::Bool,
                "false",
                "Let the engine time what it does; stats then prints its own table too (ours)",
            ),
            flag(
                "stats_interval",
                COUNT,
                "0",
                "Print a line on stderr every so many operations of a thread",
            ),
            flag(
                "stats_interval_seconds",
                COUNT,
                "0",
                "Print a line on stderr every so many seconds",
            ),
            flag(
                "stats_per_interval",
                COUNT,
                "0",
                "Above 0: with each such line also the state of the tree",
            ),
            flag(
                "report_interval_seconds",
                COUNT,
                "0",
                "Write a line to --report_file every so many seconds",
            ),
            flag(
                "report_file",
                Kind::Text,
                "report.csv",
                "CSV: secs_elapsed,interval_qps",
            ),
            flag("progress_reports", Kind::Bool, "true", "Show progress on stderr"),
            flag(
                "confidence_interval_only",
                Kind::Bool,
                "false",
                "Of repeats print only the 95 % interval",
            ),
            flag(
                "json",
                Kind::Bool,
                "false",
                "One JSON object a benchmark on stdout, and the text on stderr (ours)",
            ),
            flag(
                "json_file",
                Kind::Text,
                "",
                "The JSON objects go here, and the text to stdout (ours)",
            ),
            flag(
                "plot",
                Kind::Text,
                "",
                "SVG: throughput, p99 and pending compaction over time (ours)",
            ),
        ],
    },
    Group {
        title: "mixgraph (FAST'20)",
        flags: &[
            flag(
                "mixgraph_mode",
                Kind::Word(&["rocksdb", "paper"]),
                "rocksdb",
                "As RocksDB's code draws, or as the paper describes it (ours)",
            ),
            flag("mix_get_ratio", Kind::Float, "1.0", "Share of gets"),
            flag("mix_put_ratio", Kind::Float, "0.0", "Share of puts"),
            flag("mix_seek_ratio", Kind::Float, "0.0", "Share of seeks"),
            flag("mix_max_scan_len", POSITIVE, "10000", "Most entries of a scan"),
            flag(
                "mix_max_value_size",
                Kind::Int(10, 64 << 20),
                "1024",
                "Most bytes of a value",
            ),
            flag(
                "value_theta",
                Kind::Float,
                "0.0",
                "Value sizes: generalized Pareto, location",
            ),
            flag("value_k", Kind::Float, "0.2615", "Value sizes: shape"),
            flag("value_sigma", Kind::Float, "25.45", "Value sizes: scale"),
            flag(
                "iter_theta",
                Kind::Float,
                "0.0",
                "Scan lengths: generalized Pareto, location",
            ),
            flag("iter_k", Kind::Float, "2.517", "Scan lengths: shape"),
            flag("iter_sigma", Kind::Float, "14.236", "Scan lengths: scale"),
            flag("key_dist_a", Kind::Float, "0.0", "Hot keys: f(x) = a x^b"),
            flag("key_dist_b", Kind::Float, "0.0", "Hot keys: exponent"),
            flag("keyrange_num", Kind::Int(1, 1 << 24), "1", "Ranges of keys"),
            flag(
                "keyrange_dist_a",
                Kind::Float,
                "0.0",
                "Hot ranges: f(x) = a exp(bx) + c exp(dx)",
            ),
            flag("keyrange_dist_b", Kind::Float, "0.0", "Hot ranges: b"),
            flag("keyrange_dist_c", Kind::Float, "0.0", "Hot ranges: c"),
            flag("keyrange_dist_d", Kind::Float, "0.0", "Hot ranges: d"),
            flag(
                "sine_mix_rate",
                Kind::Bool,
                "false",
                "Operations a second follow a sin(bx + c) + d",
            ),
            flag(
                "sine_mix_rate_interval_milliseconds",
                POSITIVE,
                "10000",
                "How often the rate changes",
            ),
            flag(
                "sine_mix_rate_noise",
                Kind::Float,
                "0.0",
                "Random part of the rate, 0 to 1",
            ),
            flag("sine_a", Kind::Float, "1", "Amplitude"),
            flag("sine_b", Kind::Float, "1", "Frequency"),
            flag("sine_c", Kind::Float, "0", "Phase"),
            flag("sine_d", Kind::Float, "1", "Middle"),
        ],
    },
];

/// The flag of that name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    GROUPS
        .iter()
        .flat_map(|group| group.flags)
        .find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.flags)
            .map(|flag| flag.name)
            .collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }
}
