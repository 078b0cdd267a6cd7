//! `--json`: an object a benchmark. SCHEMA.md says what each field means; the tests hold the two together.

use packstone::Metrics;
use serde_json::{Map, Value, json};

use crate::measure::process::Memory;
use crate::measure::{Latencies, Stats};

/// Everything about one run of one benchmark.
pub(crate) struct Account<'a> {
    pub(crate) name: &'a str,
    /// Which run of a repeated benchmark, from 1 on.
    pub(crate) run: u64,
    pub(crate) warmup: bool,
    pub(crate) threads: usize,
    pub(crate) stats: &'a Stats,
    /// Of the threads beside.
    pub(crate) beside: &'a Stats,
    pub(crate) before: &'a Metrics,
    pub(crate) after: &'a Metrics,
    pub(crate) live_bytes: Option<u64>,
    pub(crate) live_keys: Option<u64>,
    pub(crate) memory: Memory,
    pub(crate) seed: u64,
}

fn latencies(latencies: &Latencies) -> Value {
    json!({
        "count": latencies.count(),
        "mean": latencies.mean(),
        "min": latencies.min(),
        "p50": latencies.percentile(50.0),
        "p75": latencies.percentile(75.0),
        "p90": latencies.percentile(90.0),
        "p95": latencies.percentile(95.0),
        "p99": latencies.percentile(99.0),
        "p99_9": latencies.percentile(99.9),
        "p99_99": latencies.percentile(99.99),
        "max": latencies.max(),
    })
}

/// A ratio, or null where there is nothing to divide by.
fn ratio(part: u64, whole: u64) -> Value {
    if whole == 0 {
        Value::Null
    } else {
        json!(part as f64 / whole as f64)
    }
}

/// The object. Bytes are differences between the metrics before and after the run.
pub(crate) fn object(account: &Account<'_>) -> Value {
    let stats = account.stats;
    let mut all = Latencies::new();
    let mut by_op = Map::new();
    for (op, of_op) in &stats.latencies {
        all.add(of_op);
        by_op.insert(op.name().to_string(), latencies(of_op));
    }
    let since = |field: fn(&Metrics) -> u64| field(account.after).saturating_sub(field(account.before));
    let log = since(|metrics| metrics.log_bytes_written);
    let flush = since(|metrics| metrics.flush_bytes);
    let compaction = since(|metrics| metrics.compaction_bytes_written);
    let user = stats.user_bytes + account.beside.user_bytes;
    let disk = account.after.sst_bytes() + account.after.log_bytes_live;
    let pending: u64 = account
        .after
        .keyspaces
        .iter()
        .map(|keyspace| keyspace.pending_compaction_bytes)
        .sum();
    let level_0: u64 = account
        .after
        .keyspaces
        .iter()
        .filter_map(|keyspace| keyspace.levels.first())
        .map(|level| level.files)
        .sum();
    json!({
        "schema": 1,
        "benchmark": account.name,
        "run": account.run,
        "warmup": account.warmup,
        "threads": account.threads,
        "seed": account.seed,
        "operations": stats.ops,
        "seconds": stats.elapsed().as_secs_f64(),
        "ops_per_second": stats.ops_per_second(),
        "micros_per_op": stats.micros_per_op(),
        "bytes": stats.bytes,
        "mib_per_second": stats.mib_per_second(),
        "reads": stats.found.map(|(reads, _)| reads),
        "found": stats.found.map(|(_, found)| found),
        "entries_written": stats.entries_written + account.beside.entries_written,
        "user_bytes_written": user,
        "latency_micros": latencies(&all),
        "latency_micros_by_operation": by_op,
        "log_bytes_written": log,
        "flush_bytes_written": flush,
        "compaction_bytes_written": compaction,
        "compaction_bytes_read": since(|metrics| metrics.compaction_bytes_read),
        "write_amplification": ratio(log + flush + compaction, user),
        "live_keys": account.live_keys,
        "live_bytes": account.live_bytes,
        "disk_bytes": disk,
        "space_amplification": account.live_bytes.map_or(Value::Null, |live| ratio(disk, live)),
        "level_0_files": level_0,
        "pending_compaction_bytes": pending,
        "stall_seconds": since(|metrics| metrics.stall_nanos) as f64 / 1e9,
        "cache_hits": since(|metrics| metrics.cache_hits),
        "cache_misses": since(|metrics| metrics.cache_misses),
        "peak_memory_bytes": account.memory.peak,
        "anonymous_memory_bytes": account.memory.anonymous,
        "file_memory_bytes": account.memory.file,
    })
}
