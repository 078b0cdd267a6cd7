//! [`Metrics`]: what a database is made of and what it has done.

use std::fmt;

use crate::engine::compaction::picker;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::recovery::RecoveryReport;
use crate::engine::tree::Tree;
use crate::manifest::LEVELS;
use crate::memtable::SortedTable;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A reading of the database's counters and sizes. Totals count from the opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Puts and deletes accepted.
    pub entries_written: u64,
    /// Batches committed, single puts and deletes counted as batches of one.
    pub commits: u64,
    /// Groups of them that shared a write to the log.
    pub commit_groups: u64,
    /// Syncs of the log, each for everybody who waited for it.
    pub log_syncs: u64,
    /// Bytes of log written, frames' headers not counted.
    pub log_bytes_written: u64,
    /// Bytes of log on disk that may still be needed.
    pub log_bytes_live: u64,
    /// Bytes that the log's files take on disk: those, room that is reserved for what comes, and a file that waits to be used
    /// again.
    pub log_bytes_on_disk: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Bytes of SSTs written by them.
    pub flush_bytes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Bytes of SSTs read by them.
    pub compaction_bytes_read: u64,
    /// Bytes of SSTs written by them.
    pub compaction_bytes_written: u64,
    /// SSTs that went down a level as they were, neither read nor written.
    pub moved_files: u64,
    /// SSTs of nothing but tombstones that were deleted unread, because they hid nothing.
    pub deleted_files: u64,
    /// Nanoseconds that writers were held back.
    pub stall_nanos: u64,
    /// How often background work has failed.
    pub background_failures: u64,
    /// Superfluous files that could not be deleted; the next open tries again.
    pub undeleted_files: u64,
    /// What the database has allocated, by owner.
    pub memory: MemoryMetrics,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Look-ups in the block cache that found their block.
    pub cache_hits: u64,
    /// Look-ups in the block cache that did not.
    pub cache_misses: u64,
    /// Snapshots open, those of ranges counted.
    pub open_snapshots: u64,
    /// Bytes of the log that the opening cut off: unfinished writes at its end, which had not been synced when power or
    /// process was lost; with [`RecoveryMode::PointInTime`](crate::RecoveryMode::PointInTime) also what lay behind damage.
    pub torn_log_bytes: u64,
    /// Damaged bytes of the log that the opening skipped, as [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) asks.
    pub skipped_log_bytes: u64,
    /// The damage in the log that the opening went on without, as
    /// [`RecoveryMode::PointInTime`](crate::RecoveryMode::PointInTime) and
    /// [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) ask: file, offset, and what was found.
    pub recovery_damage: Vec<String>,
    /// Entries that the opening replayed from the log.
    pub replayed_entries: u64,
    /// Flushes in the middle of that, because what was replayed did not fit into memory.
    pub replay_flushes: u64,
    /// By keyspace, sorted by name.
    pub keyspaces: Vec<KeyspaceMetrics>,
}

/// What a database has allocated, in bytes, by owner. See [`Options::memory_limit`](crate::Options::memory_limit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryMetrics {
    /// The limit.
    pub limit: u64,
    /// Memtables that are being filled.
    pub active_memtables: u64,
    /// Memtables that wait for their flush or are in it.
    pub frozen_memtables: u64,
    /// The block cache.
    pub cache: u64,
    /// Sections of open SSTs that are held on the heap.
    pub open_ssts: u64,
    /// What running flushes and compactions have reserved for their buffers.
    pub jobs: u64,
    /// Memtables that have been flushed, and that nothing but ranges and cursors hold. Not in the limit: who holds them can
    /// move them, or let go.
    pub pinned: u64,
    /// Files that are mapped. The system's page cache, not the program's memory: it gives them up when it needs room.
    pub mapped: u64,
}

impl MemoryMetrics {
    /// All that the limit is for.
    pub fn total(&self) -> u64 {
        self.active_memtables + self.frozen_memtables + self.cache + self.open_ssts + self.jobs
    }
}

/// One keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyspaceMetrics {
    /// Its name.
    pub name: String,
    /// Bytes allocated for memtables, frozen ones counted.
    pub memtable_bytes: u64,
    /// Memtables that wait to be flushed.
    pub frozen_memtables: u64,
    /// Bytes that compaction has still to write until no level is over its target: what is over goes down, and rewrites what
    /// it overlaps there. All of level 0 counts once it has the number of files that starts a compaction.
    pub pending_compaction_bytes: u64,
    /// By level, from 0 on.
    pub levels: Vec<LevelMetrics>,
}

/// One level of one keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelMetrics {
    /// SSTs.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries, tombstones and old versions counted.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Bytes beyond which compaction is due; 0 for level 0, where files are counted, for the last level, and for levels that are
    /// not in use.
    pub target_bytes: u64,
    /// Flushes (to level 0) or compactions that wrote to this level.
    pub jobs: u64,
    /// Bytes of SSTs that they read.
    pub bytes_read: u64,
    /// The part of them that came from levels above this one.
    pub bytes_read_from_above: u64,
    /// Bytes of SSTs that they wrote.
    pub bytes_written: u64,
    /// Entries that they read, from memtables or SSTs.
    pub entries_in: u64,
    /// Entries that they wrote; the rest was overwritten or deleted.
    pub entries_out: u64,
    /// Nanoseconds that they took.
    pub nanos: u64,
}

impl Metrics {
    /// Bytes of all SSTs.
    pub fn sst_bytes(&self) -> u64 {
        self.keyspaces
            .iter()
            .flat_map(|keyspace| &keyspace.levels)
            .map(|level| level.bytes)
            .sum()
    }

    /// Bytes written to SSTs by flushes and compactions for each byte that flushes wrote; 0 before the first flush.
    pub fn compaction_write_amplification(&self) -> f64 {
        if self.flush_bytes == 0 {
            return 0.0;
        }
        (self.flush_bytes + self.compaction_bytes_written) as f64 / self.flush_bytes as f64
    }
}

fn level_metrics(core: &Core, keyspace: &KeyspaceCore, tree: &Tree) -> Vec<LevelMetrics> {
    let (shape, _) = picker::shape_of(tree, core.compaction_limits());
    tree.levels()
        .zip(&keyspace.work)
        .map(|((number, tables), work)| LevelMetrics {
            files: tables.len() as u64,
            bytes: tables.iter().map(|table| table.meta.size).sum(),
            entries: tables.iter().map(|table| table.meta.entries).sum(),
            tombstones: tables.iter().map(|table| table.meta.tombstones).sum(),
            target_bytes: match number {
                1.. if number < LEVELS - 1 => shape.target(number),
                _ => 0,
            },
            jobs: work.jobs.load(Ordering::Relaxed),
            bytes_read: work.bytes_from_above.load(Ordering::Relaxed)
                + work.bytes_from_level.load(Ordering::Relaxed),
            bytes_read_from_above: work.bytes_from_above.load(Ordering::Relaxed),
            bytes_written: work.bytes_written.load(Ordering::Relaxed),
            entries_in: work.entries_in.load(Ordering::Relaxed),
            entries_out: work.entries_out.load(Ordering::Relaxed),
            nanos: work.nanos.load(Ordering::Relaxed),
        })
        .collect()
}

fn memory_metrics(core: &Core) -> MemoryMetrics {
    let mut metrics = MemoryMetrics {
        limit: core.memory.limit(),
        cache: core.memory.cache().used_bytes(),
        pinned: core.memory.pinned(),
        jobs: core.budget.reserved(),
        ..MemoryMetrics::default()
    };
    for keyspace in core.keyspace_cores() {
        let view = keyspace.view();
        metrics.active_memtables += view.active.memory_usage() as u64;
        let frozen = view
            .frozen
            .iter()
            .map(|frozen| frozen.table.memory_usage() as u64);
        metrics.frozen_memtables += frozen.sum::<u64>();
        for table in view.tree.tables() {
            metrics.open_ssts += table.sst.heap_bytes() as u64;
            metrics.mapped += table.sst.mapped_bytes();
        }
    }
    metrics
}

pub(super) fn collect(core: &Core, report: &RecoveryReport) -> Metrics {
    let counters = &core.counters;
    let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut keyspaces: Vec<KeyspaceMetrics> = core
        .keyspace_cores()
        .iter()
        .map(|keyspace| {
            let view = keyspace.view();
            let memtables =
                std::iter::once(&view.active).chain(view.frozen.iter().map(|frozen| &frozen.table));
            KeyspaceMetrics {
                name: keyspace.name.to_string(),
                memtable_bytes: memtables.map(|table| table.memory_usage() as u64).sum(),
                frozen_memtables: view.frozen.len() as u64,
                pending_compaction_bytes: picker::pending_bytes(&view.tree, core.compaction_limits()),
                levels: level_metrics(core, keyspace, &view.tree),
            }
        })
        .collect();
    keyspaces.sort_by(|a, b| a.name.cmp(&b.name));
    Metrics {
        entries_written: total(&counters.entries_written),
        commits: total(&counters.commits),
        commit_groups: total(&counters.commit_groups),
        log_syncs: core.wal.as_ref().map_or(0, |wal| wal.syncs()),
        log_bytes_written: total(&counters.log_bytes),
        log_bytes_live: core.wal.as_ref().map_or(0, |wal| wal.total_bytes()),
        log_bytes_on_disk: core.wal.as_ref().map_or(0, |wal| wal.bytes_on_disk()),
        flushes: total(&counters.flushes),
        flush_bytes: total(&counters.flush_bytes),
        compactions: total(&counters.compactions),
        compaction_bytes_read: total(&counters.compaction_bytes_read),
        compaction_bytes_written: total(&counters.compaction_bytes_written),
        moved_files: total(&counters.moved_files),
        deleted_files: total(&counters.deleted_files),
        stall_nanos: total(&counters.stall_nanos),
        background_failures: core.failures(),
        undeleted_files: core.trash.failed(),
        memory: memory_metrics(core),
        cache_bytes: core.memory.cache().used_bytes(),
        cache_hits: core.memory.cache().hits(),
        cache_misses: core.memory.cache().misses(),
        open_snapshots: core.snapshots.count() as u64,
        torn_log_bytes: report.torn_log_bytes,
        skipped_log_bytes: report.skipped_log_bytes,
        recovery_damage: report.damage.iter().map(ToString::to_string).collect(),
        replayed_entries: report.replayed,
        replay_flushes: report.flushes,
        keyspaces,
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        let mib = |bytes: u64| bytes as f64 / MIB;
        writeln!(
            f,
            "entries written {}, log {:.1} MiB ({:.1} MiB live, {:.1} MiB on disk)",
            self.entries_written,
            mib(self.log_bytes_written),
            mib(self.log_bytes_live),
            mib(self.log_bytes_on_disk)
        )?;
        writeln!(
            f,
            "flushes {} ({:.1} MiB), compactions {} ({:.1} MiB read, {:.1} MiB written)",
            self.flushes,
            mib(self.flush_bytes),
            self.compactions,
            mib(self.compaction_bytes_read),
            mib(self.compaction_bytes_written)
        )?;
        writeln!(
            f,
            "stalls {:.3} s, background failures {}",
            self.stall_nanos as f64 / 1e9,
            self.background_failures
        )?;
        let memory = &self.memory;
        writeln!(
            f,
            "memory {:.1} of {:.1} MiB (memtables {:.1} + {:.1} frozen, cache {:.1}, open SSTs {:.1}, jobs {:.1}), pinned {:.1}, mapped {:.1}",
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
            "cache {:.1} MiB, {} hits, {} misses",
            mib(self.cache_bytes),
            self.cache_hits,
            self.cache_misses
        )?;
        writeln!(
            f,
            "{:<20} {:>5} {:>8} {:>12} {:>14} {:>12}",
            "keyspace", "level", "files", "MiB", "entries", "tombstones"
        )?;
        for keyspace in &self.keyspaces {
            writeln!(
                f,
                "{:<20} {:>5} {:>8} {:>12.1} {:>14} {:>12}",
                keyspace.name,
                "mem",
                keyspace.frozen_memtables + 1,
                mib(keyspace.memtable_bytes),
                "",
                ""
            )?;
            for (number, level) in keyspace
                .levels
                .iter()
                .enumerate()
                .filter(|(_, level)| level.files > 0)
            {
                writeln!(
                    f,
                    "{:<20} {:>5} {:>8} {:>12.1} {:>14} {:>12}",
                    "",
                    number,
                    level.files,
                    mib(level.bytes),
                    level.entries,
                    level.tombstones
                )?;
            }
        }
        Ok(())
    }
}
