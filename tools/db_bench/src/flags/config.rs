//! [`Config`]: what a command line amounts to, typed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use packstone::{Access, Compression, Durability, KeyspaceOptions, Options, Order};

use super::dialect::{Line, Misuse};
use super::table::{self, GROUPS};

/// How long values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeDistribution {
    Fixed,
    Uniform,
    Normal,
}

/// Whose mixgraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MixgraphMode {
    Rocksdb,
    Paper,
}

/// The parameters of mixgraph, named as their flags.
#[derive(Clone, Debug)]
pub(crate) struct Mixgraph {
    pub(crate) mode: MixgraphMode,
    pub(crate) ratios: [f64; 3],
    pub(crate) max_scan_len: u64,
    pub(crate) max_value_size: u64,
    /// theta, k, sigma.
    pub(crate) value: [f64; 3],
    pub(crate) iter: [f64; 3],
    /// a, b.
    pub(crate) key_dist: [f64; 2],
    pub(crate) keyrange_num: u64,
    /// a, b, c, d.
    pub(crate) keyrange_dist: [f64; 4],
    pub(crate) sine: Option<Sine>,
}

/// A rate that follows a sin(bx + c) + d.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sine {
    pub(crate) interval: Duration,
    pub(crate) noise: f64,
    pub(crate) abcd: [f64; 4],
}

/// Everything that flags decide.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) benchmarks: String,
    pub(crate) db: PathBuf,
    pub(crate) use_existing_db: bool,
    pub(crate) readonly: bool,
    pub(crate) num: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// The greater of both, where they are given.
    pub(crate) reads_writes: u64,
    pub(crate) deletes: u64,
    pub(crate) threads: usize,
    pub(crate) duration: Option<Duration>,
    pub(crate) seed: u64,
    /// Whether the seed came from the clock.
    pub(crate) seed_drawn: bool,
    pub(crate) key_size: usize,
    pub(crate) prefix_size: usize,
    pub(crate) keys_per_prefix: u64,
    pub(crate) value_size: usize,
    pub(crate) value_sizes: SizeDistribution,
    pub(crate) value_size_min: usize,
    pub(crate) value_size_max: usize,
    pub(crate) compression_ratio: f64,
    pub(crate) batch_size: usize,
    pub(crate) read_random_exp_range: f64,
    pub(crate) check_values: bool,
    pub(crate) read_percent: u64,
    pub(crate) delete_percent: u64,
    pub(crate) seek_nexts: u64,
    pub(crate) reverse_iterator: bool,
    pub(crate) write_rate: u64,
    pub(crate) read_rate: u64,
    pub(crate) durability: Durability,
    pub(crate) keyspaces: usize,
    pub(crate) order: Order,
    pub(crate) compression: Compression,
    /// A codec that was asked for and that the engine does not have.
    pub(crate) replaced_codec: Option<String>,
    pub(crate) cache_size: Option<u64>,
    pub(crate) write_buffer_size: u64,
    pub(crate) max_file_size: u64,
    pub(crate) max_log_size: u64,
    pub(crate) block_size: u32,
    pub(crate) key_block_size: u32,
    pub(crate) filter: bool,
    pub(crate) background_threads: usize,
    pub(crate) access: Access,
    pub(crate) sustained_time: Duration,
    pub(crate) sustained_percent: u64,
    pub(crate) latencies: bool,
    pub(crate) histogram: bool,
    pub(crate) statistics: bool,
    pub(crate) stats_interval: u64,
    pub(crate) stats_interval_seconds: Option<Duration>,
    pub(crate) stats_per_interval: bool,
    pub(crate) report_interval: Option<Duration>,
    pub(crate) report_file: PathBuf,
    pub(crate) progress: bool,
    pub(crate) confidence_interval_only: bool,
    pub(crate) json: bool,
    pub(crate) json_file: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
    pub(crate) mixgraph: Mixgraph,
}

/// The values by name, defaults filled in. What is read here has been checked by `dialect`.
struct Values(BTreeMap<&'static str, String>);

impl Values {
    fn text(&self, name: &str) -> &str {
        debug_assert!(table::find(name).is_some(), "no flag is named {name}");
        self.0.get(name).map_or("", String::as_str)
    }

    fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn count(&self, name: &str) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(0)
    }

    fn size(&self, name: &str) -> usize {
        self.count(name) as usize
    }

    /// A count whose -1 means `default`.
    fn or(&self, name: &str, default: u64) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(default)
    }

    fn float(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or(0.0)
    }

    fn floats<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        names.map(|name| self.float(name))
    }

    fn bool(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        Some(Duration::from_secs(self.count(name))).filter(|seconds| !seconds.is_zero())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.text(name))).filter(|path| !path.as_os_str().is_empty())
    }
}

impl Config {
    /// Fills in the defaults, and refuses values that contradict each other.
    pub(crate) fn new(line: Line) -> Result<Config, Misuse> {
        let given: Vec<&str> = line.set.iter().map(|(flag, _)| flag.name).collect();
        let mut values: BTreeMap<&'static str, String> = GROUPS
            .iter()
            .flat_map(|group| group.flags)
            .map(|flag| (flag.name, flag.default.to_string()))
            .collect();
        values.extend(line.set.iter().map(|(flag, value)| (flag.name, value.clone())));
        let v = Values(values);
        let num = v.count("num");
        let codec = v.text("compression_type");
        let order = match v.text("order") {
            "hash" => Order::Hash,
            _ => Order::Key,
        };
        let default_of_hash_order = order == Order::Hash && !given.contains(&"compression_type");
        let seed_drawn = v.count("seed") == 0;
        let config = Config {
            benchmarks: v.text("benchmarks").to_string(),
            db: v
                .path("db")
                .unwrap_or_else(|| std::env::temp_dir().join("packstone-dbbench")),
            use_existing_db: v.bool("use_existing_db") || v.bool("readonly"),
            readonly: v.bool("readonly"),
            num,
            reads: v.or("reads", num),
            writes: v.or("writes", num),
            reads_writes: u64::try_from(v.int("reads").max(v.int("writes"))).unwrap_or(num),
            deletes: v.or("deletes", num),
            threads: v.size("threads"),
            duration: v.seconds("duration"),
            seed: if seed_drawn {
                seed_from_clock()
            } else {
                v.count("seed")
            },
            seed_drawn,
            key_size: v.size("key_size"),
            prefix_size: v.size("prefix_size"),
            keys_per_prefix: v.count("keys_per_prefix"),
            value_size: v.size("value_size"),
            value_sizes: match v.text("value_size_distribution_type") {
                "uniform" => SizeDistribution::Uniform,
                "normal" => SizeDistribution::Normal,
                _ => SizeDistribution::Fixed,
            },
            value_size_min: v.size("value_size_min"),
            value_size_max: v.size("value_size_max"),
            compression_ratio: v.float("compression_ratio"),
            batch_size: v.size("batch_size"),
            read_random_exp_range: v.float("read_random_exp_range"),
            check_values: v.bool("check_values"),
            read_percent: v.count("readwritepercent"),
            delete_percent: v.count("deletepercent"),
            seek_nexts: v.count("seek_nexts"),
            reverse_iterator: v.bool("reverse_iterator"),
            write_rate: v.count("benchmark_write_rate_limit"),
            read_rate: v.count("benchmark_read_rate_limit"),
            durability: match (v.text("durability"), v.bool("sync")) {
                ("sync", _) | ("", true) => Durability::Sync,
                _ => Durability::Buffered,
            },
            keyspaces: v.size("keyspaces").max(v.size("num_column_families")),
            order,
            compression: if codec == "none" || default_of_hash_order {
                Compression::None
            } else {
                Compression::Lz4
            },
            replaced_codec: Some(codec.to_string()).filter(|codec| codec != "none" && codec != "lz4"),
            cache_size: u64::try_from(v.int("cache_size")).ok(),
            write_buffer_size: v.count("write_buffer_size"),
            max_file_size: v.count("target_file_size_base"),
            max_log_size: v.count("max_total_wal_size"),
            block_size: v.count("block_size") as u32,
            key_block_size: v.count("key_block_size") as u32,
            filter: v.float("bloom_bits") != 0.0,
            background_threads: v.size("max_background_jobs"),
            access: if v.bool("mmap_read") {
                Access::Mapped
            } else {
                Access::Pread
            },
            sustained_time: Duration::from_secs(v.count("sustained_seconds")),
            sustained_percent: v.count("sustained_percent"),
            latencies: v.bool("latencies"),
            histogram: v.bool("histogram"),
            statistics: v.bool("statistics"),
            stats_interval: v.count("stats_interval"),
            stats_interval_seconds: v.seconds("stats_interval_seconds"),
            stats_per_interval: v.count("stats_per_interval") > 0,
            report_interval: v.seconds("report_interval_seconds"),
            report_file: PathBuf::from(v.text("report_file")),
            progress: v.bool("progress_reports"),
            confidence_interval_only: v.bool("confidence_interval_only"),
            json: v.bool("json"),
            json_file: v.path("json_file"),
            plot: v.path("plot"),
            mixgraph: mixgraph(&v, &given),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Misuse> {
        let refused = |what: &str| Err(Misuse(what.to_string()));
        if self.value_size_min > self.value_size_max {
            return refused("--value_size_min is greater than --value_size_max");
        }
        if !(0.0..=1.0).contains(&self.compression_ratio) {
            return refused("--compression_ratio: expected 0 to 1");
        }
        if self.keys_per_prefix > 0 && self.prefix_size >= self.key_size {
            return refused("--prefix_size leaves no room for the key's number in --key_size");
        }
        if self.delete_percent + self.read_percent > 100 {
            return refused("--readwritepercent and --deletepercent are more than 100 together");
        }
        if self.mixgraph.ratios.iter().any(|ratio| *ratio < 0.0)
            || self.mixgraph.ratios.iter().sum::<f64>() <= 0.0
        {
            return refused(
                "--mix_get_ratio, --mix_put_ratio, --mix_seek_ratio: expected shares, not all zero",
            );
        }
        if self.json && self.json_file.is_some() {
            return refused("--json writes to stdout and --json_file to a file: give one of them");
        }
        if self
            .batch_size
            .saturating_mul(self.value_size.saturating_add(self.key_size))
            > MAX_BATCH_BYTES
        {
            return refused("--batch_size: a batch of these keys and values would exceed a gibibyte");
        }
        Ok(())
    }

    /// How the database is opened.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new()
            .write_buffer_size(self.write_buffer_size)
            .max_file_size(self.max_file_size)
            .background_threads(self.background_threads)
            .access(self.access)
            .latencies(self.latencies)
            .create_if_missing(!self.readonly);
        if self.max_log_size > 0 {
            options = options.max_log_size(self.max_log_size.max(4 << 10));
        }
        match self.cache_size {
            Some(bytes) => options.cache_size(bytes),
            None => options,
        }
    }

    /// How keyspaces are created.
    pub(crate) fn keyspace_options(&self) -> KeyspaceOptions {
        KeyspaceOptions::new()
            .order(self.order)
            .compression(self.compression)
            .value_block_size(self.block_size)
            .key_block_size(self.key_block_size)
            .filter(self.filter)
    }

    /// Whether each operation's time is taken.
    pub(crate) fn timed(&self) -> bool {
        self.histogram || self.statistics || self.json || self.json_file.is_some() || self.plot.is_some()
    }
}

/// What the engine allows in a batch, with room for its own bytes.
const MAX_BATCH_BYTES: usize = (1 << 30) - (1 << 26);

fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_micros() as u64).max(1)
}

fn mixgraph(v: &Values, given: &[&str]) -> Mixgraph {
    let mode = match v.text("mixgraph_mode") {
        "paper" => MixgraphMode::Paper,
        _ => MixgraphMode::Rocksdb,
    };
    // RocksDB's code ignores the sine without its switch; the commands in the paper and the wiki don't give the switch.
    let sine_meant = mode == MixgraphMode::Paper
        && given
            .iter()
            .any(|name| ["sine_a", "sine_b", "sine_c", "sine_d"].contains(name));
    let sine = (v.bool("sine_mix_rate") || sine_meant).then(|| Sine {
        interval: Duration::from_millis(v.count("sine_mix_rate_interval_milliseconds")),
        noise: v.float("sine_mix_rate_noise").clamp(0.0, 1.0),
        abcd: v.floats(["sine_a", "sine_b", "sine_c", "sine_d"]),
    });
    Mixgraph {
        mode,
        ratios: v.floats(["mix_get_ratio", "mix_put_ratio", "mix_seek_ratio"]),
        max_scan_len: v.count("mix_max_scan_len"),
        max_value_size: v.count("mix_max_value_size"),
        value: v.floats(["value_theta", "value_k", "value_sigma"]),
        iter: v.floats(["iter_theta", "iter_k", "iter_sigma"]),
        key_dist: v.floats(["key_dist_a", "key_dist_b"]),
        keyrange_num: v.count("keyrange_num"),
        keyrange_dist: v.floats([
            "keyrange_dist_a",
            "keyrange_dist_b",
            "keyrange_dist_c",
            "keyrange_dist_d",
        ]),
        sine,
    }
}
