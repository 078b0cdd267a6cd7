//! The line of a benchmark, in the form that scripts for RocksDB take apart.

use std::collections::BTreeMap;
use std::fmt::Write;

use packstone::Metrics;

use crate::measure::{Latencies, Op, Stats};
use crate::workloads::Message;

/// The line, and the histograms if they are wanted.
pub(crate) fn line(name: &str, stats: &Stats, message: Message, histogram: bool) -> String {
    let rate = stats.mib_per_second().map(|rate| format!("{rate:6.1} MB/s"));
    let mut extra = rate.unwrap_or_default();
    let message = self::message(stats, message);
    if !message.is_empty() {
        if !extra.is_empty() {
            extra.push(' ');
        }
        extra.push_str(&message);
    }
    let space = if extra.is_empty() { "" } else { " " };
    let mut text = format!(
        "{name:<12} : {:11.3} micros/op {} ops/sec {:.3} seconds {} operations;{space}{extra}\n",
        stats.micros_per_op(),
        stats.ops_per_second() as u64,
        stats.elapsed().as_secs_f64(),
        // As in RocksDB: what has no operations is one.
        stats.ops.max(1),
    );
    if histogram {
        for (op, latencies) in &stats.latencies {
            let _ = writeln!(text, "Microseconds per {}:\n{}", op.name(), latencies.text());
        }
    }
    text
}

/// Counts and remarks, in RocksDB's words.
fn message(stats: &Stats, message: Message) -> String {
    let n = |name| stats.counted(name);
    let counts = match message {
        Message::Note => String::new(),
        Message::Found => {
            let (reads, found) = stats.found.unwrap_or_default();
            format!("({found} of {reads} found)")
        }
        Message::ReadsWrites => {
            format!(
                "( reads:{} writes:{} total:{} found:{})",
                n("reads"),
                n("writes"),
                n("total"),
                n("found")
            )
        }
        Message::Updates => format!("( updates:{} found:{})", n("updates"), n("found")),
        Message::GetPutDelete => {
            format!(
                "( get:{} put:{} del:{} total:{} found:{})",
                n("get"),
                n("put"),
                n("del"),
                n("total"),
                n("found")
            )
        }
        Message::Mixgraph => mixgraph(stats),
        Message::Ycsb => {
            let (reads, found) = stats.found.unwrap_or_default();
            format!(
                "( reads:{} updates:{} inserts:{} scans:{} rmws:{}) ({found} of {reads} found)",
                n("reads"),
                n("updates"),
                n("inserts"),
                n("scans"),
                n("rmws")
            )
        }
    };
    // A remark that is a newline follows at once.
    match (counts.is_empty(), stats.note.trim().is_empty()) {
        (false, false) => format!("{counts} {}", stats.note),
        _ => counts + &stats.note,
    }
}

fn mixgraph(stats: &Stats) -> String {
    let (reads, found) = stats.found.unwrap_or_default();
    let n = |name| stats.counted(name);
    // RocksDB prints nan where nothing was put or sought.
    let mean = |sum: u64, count: u64| sum as f64 / count.max(1) as f64;
    format!(
        "( Gets:{} Puts:{} Seek:{}, reads {found} in {reads} found, avg size: {:.1} value, {:.1} scan)\n",
        n("gets"),
        n("puts"),
        n("seeks"),
        mean(n("value bytes"), n("puts")),
        mean(n("scanned"), n("seeks")),
    )
}

/// `--statistics`: RocksDB's names, for what there is.
pub(crate) fn statistics(metrics: &Metrics, latencies: &BTreeMap<Op, Latencies>) -> String {
    let mut text = "STATISTICS:\n".to_string();
    let counters = [
        ("block.cache.miss", metrics.cache_misses),
        ("block.cache.hit", metrics.cache_hits),
        ("number.keys.written", metrics.entries_written),
        ("wal.bytes", metrics.log_bytes_written),
        ("flush.write.bytes", metrics.flush_bytes),
        ("compact.read.bytes", metrics.compaction_bytes_read),
        ("compact.write.bytes", metrics.compaction_bytes_written),
        ("stall.micros", metrics.stall_nanos / 1000),
    ];
    for (name, value) in counters {
        let _ = writeln!(text, "rocksdb.{name} COUNT : {value}");
    }
    for (op, name) in [(Op::Read, "get"), (Op::Write, "write"), (Op::Seek, "seek")] {
        let Some(latencies) = latencies.get(&op) else {
            continue;
        };
        let p = |percent| latencies.percentile(percent);
        let _ = writeln!(
            text,
            "rocksdb.db.{name}.micros P50 : {:.6} P95 : {:.6} P99 : {:.6} P100 : {:.6} COUNT : {} SUM : {:.0}",
            p(50.0),
            p(95.0),
            p(99.0),
            latencies.max(),
            latencies.count(),
            latencies.mean() * latencies.count() as f64,
        );
    }
    text
}
