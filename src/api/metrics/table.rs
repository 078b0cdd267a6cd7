//! [`Metrics`] as a table for people: what tells how a database is, and what it costs.
//!
//! ```text
//! written          1200000 entries in 1200000 commits (1100000 groups), 151.3 MiB accepted
//! amplification    write 3.42, space 1.12; 12.0 MiB to compact
//! log              151.3 MiB written, 24.1 MiB live, 33.0 MiB on disk, 12 syncs
//! background       5 flushes (120.0 MiB), 3 compactions (220.1 MiB read, 190.7 written), 4 SSTs moved, 0 deleted, 0 failures
//! stalls           0.131 s: memtables 12 (0.100 s), level 0 3 (0.031 s), debt 0 (0.000 s), memory 0 (0.000 s), garbage 0 (0.000 s)
//! memory           80.2 of 512.0 MiB: memtables 12.0, frozen 0.0, cache 64.0, open SSTs 4.2, jobs 0.0; pinned 0.0, mapped 190.7
//! cache            64.0 MiB, 1000 hits, 20 misses
//! filters          4.2 MiB; 300 files spared, 1000 found in, 2 searched in vain
//! objects          1200 stored (110.2 MiB, 60.1 in packs), 30 duplicates (3.1 MiB), 5 moved (0.4 MiB); 3 packs (2 sealed), 180.4 MiB, 12.0 dead
//!
//! keyspace             level  files        MiB     target    entries tombstones    read MiB written MiB    w-amp
//! default                mem      2       12.0
//!                          0      1       24.0                240000          0         0.0       120.0      1.0
//!
//! latency (us)           count       mean        p50        p90        p99      p99.9        max
//! get                     1000        1.2        1.1        1.9        4.2       10.3       88.0
//! ```
//!
//! Levels that hold nothing and got nothing are left out, and so are kinds of operations that there were none of, and objects where
//! there are neither those nor packs.

use std::fmt;

use super::{KeyspaceMetrics, LevelMetrics, Metrics, ObjectMetrics};
use crate::engine::latency::{Latency, LatencyMetrics};

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.totals(f)?;
        self.stalls(f)?;
        self.memory(f)?;
        self.objects(f)?;
        writeln!(
            f,
            "\n{:<20} {:>5} {:>6} {:>10} {:>10} {:>10} {:>10} {:>11} {:>11} {:>8}",
            "keyspace",
            "level",
            "files",
            "MiB",
            "target",
            "entries",
            "tombstones",
            "read MiB",
            "written MiB",
            "w-amp"
        )?;
        for keyspace in &self.keyspaces {
            rows(keyspace, f)?;
        }
        latencies(&self.latencies, f)
    }
}

impl Metrics {
    fn totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "written          {} entries in {} commits ({} groups), {:.1} MiB accepted",
            self.entries_written,
            self.commits,
            self.commit_groups,
            mib(self.log_bytes_written)
        )?;
        writeln!(
            f,
            "amplification    write {:.2}, space {:.2}; {:.1} MiB to compact",
            self.write_amplification(),
            self.space_amplification(),
            mib(self.pending_compaction_bytes())
        )?;
        writeln!(
            f,
            "log              {:.1} MiB written, {:.1} MiB live, {:.1} MiB on disk, {} syncs",
            mib(self.log_bytes_written),
            mib(self.log_bytes_live),
            mib(self.log_bytes_on_disk),
            self.log_syncs
        )?;
        writeln!(
            f,
            "background       {} flushes ({:.1} MiB), {} compactions ({:.1} MiB read, {:.1} written), {} SSTs moved, {} deleted, \
             {} failures",
            self.flushes,
            mib(self.flush_bytes),
            self.compactions,
            mib(self.compaction_bytes_read),
            mib(self.compaction_bytes_written),
            self.moved_files,
            self.deleted_files,
            self.background_failures
        )
    }

    fn stalls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stalls = &self.stalls;
        write!(f, "stalls           {:.3} s", seconds(self.stall_nanos))?;
        let causes = [
            (": memtables", stalls.memtables),
            (", level 0", stalls.level_0),
            (", debt", stalls.debt),
            (", memory", stalls.memory),
            (", garbage", stalls.garbage),
        ];
        for (cause, stalls) in causes {
            write!(f, "{cause} {} ({:.3} s)", stalls.count, seconds(stalls.nanos))?;
        }
        writeln!(f)
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        writeln!(
            f,
            "memory           {:.1} of {:.1} MiB: memtables {:.1}, frozen {:.1}, cache {:.1}, open SSTs {:.1}, jobs {:.1}; \
             pinned {:.1}, mapped {:.1}",
            mib(memory.total()),
            mib(memory.limit),
            mib(memory.active_memtables),
            mib(memory.frozen_memtables),
            mib(memory.cache),
            mib(memory.open_ssts),
            mib(memory.jobs),
            mib(memory.pinned),
            mib(memory.mapped)
        )?;
        writeln!(
            f,
            "cache            {:.1} MiB, {} hits, {} misses",
            mib(self.cache_bytes),
            self.cache_hits,
            self.cache_misses
        )?;
        let filters = &self.filters;
        writeln!(
            f,
            "filters          {:.1} MiB; {} files spared, {} found in, {} searched in vain",
            mib(filters.bytes),
            filters.kept_away,
            filters.found,
            filters.in_vain
        )
    }
}

impl Metrics {
    fn objects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = &self.objects;
        if *objects == ObjectMetrics::default() {
            return Ok(());
        }
        writeln!(
            f,
            "objects          {} stored ({:.1} MiB, {:.1} in packs), {} duplicates ({:.1} MiB), {} moved ({:.1} MiB); {} packs ({} sealed), {:.1} MiB, {:.1} dead",
            objects.stored,
            mib(objects.content_bytes),
            mib(objects.pack_bytes_written),
            objects.duplicates,
            mib(objects.duplicate_bytes),
            objects.moved,
            mib(objects.moved_bytes),
            objects.packs,
            objects.sealed_packs,
            mib(objects.bytes),
            mib(objects.dead_bytes)
        )
    }
}

fn rows(keyspace: &KeyspaceMetrics, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:<20} {:>5} {:>6} {:>10.1}",
        // An internal one has a NUL in its name.
        keyspace.name.escape_debug().to_string(),
        "mem",
        keyspace.frozen_memtables + 1,
        mib(keyspace.memtable_bytes)
    )?;
    let used = |(_, level): &(usize, &LevelMetrics)| level.files > 0 || level.jobs > 0;
    for (number, level) in keyspace.levels.iter().enumerate().filter(used) {
        let target = match level.target_bytes {
            0 => String::new(),
            bytes => format!("{:.1}", mib(bytes)),
        };
        // What came in is what flushes wrote, or what the levels above gave.
        let came_in = if number == 0 {
            level.bytes_written
        } else {
            level.bytes_read_from_above
        };
        let amplification = match came_in {
            0 => 0.0,
            bytes => level.bytes_written as f64 / bytes as f64,
        };
        writeln!(
            f,
            "{:<20} {number:>5} {:>6} {:>10.1} {target:>10} {:>10} {:>10} {:>11.1} {:>11.1} {amplification:>8.1}",
            "",
            level.files,
            mib(level.bytes),
            level.entries,
            level.tombstones,
            mib(level.bytes_read),
            mib(level.bytes_written)
        )?;
    }
    Ok(())
}

fn latencies(latencies: &LatencyMetrics, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let timed = || {
        latencies
            .named()
            .into_iter()
            .filter(|(_, latency)| latency.count > 0)
    };
    if timed().next().is_none() {
        return Ok(());
    }
    writeln!(
        f,
        "\n{:<18} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "latency (us)", "count", "mean", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for (name, latency) in timed() {
        let Latency {
            count,
            mean,
            p50,
            p90,
            p99,
            p999,
            max,
        } = latency;
        write!(f, "{name:<18} {count:>10}")?;
        for nanos in [mean, p50, p90, p99, p999, max] {
            write!(f, " {:>10.1}", nanos as f64 / 1e3)?;
        }
        writeln!(f)?;
    }
    Ok(())
}
