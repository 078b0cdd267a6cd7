//! Reads [`Metrics`] from an open database.

use std::sync::Arc;

use super::{KeyspaceMetrics, LevelMetrics, MemoryMetrics, Metrics, ObjectMetrics, StallMetrics, Stalls};
use crate::engine::compaction::picker;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::pressure::Cause;
use crate::engine::recovery::RecoveryReport;
use crate::engine::table::Table;
use crate::engine::tree::Tree;
use crate::manifest::LEVELS;
use crate::memtable::SortedTable;
use crate::sync::atomic::{AtomicU64, Ordering};

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

fn stall_metrics(core: &Core) -> StallMetrics {
    let of = |cause: Cause| {
        let stalls = core.pressure.stalls.get(cause as usize);
        stalls.map_or(Stalls::default(), |stalls| Stalls {
            count: stalls.count.load(Ordering::Relaxed),
            nanos: stalls.nanos.load(Ordering::Relaxed),
        })
    };
    StallMetrics {
        memtables: of(Cause::Memtables),
        level_0: of(Cause::Level0),
        debt: of(Cause::Debt),
        memory: of(Cause::Memory),
        garbage: of(Cause::Garbage),
    }
}

/// Bytes of filters in all SSTs.
fn filter_bytes(core: &Core) -> u64 {
    let of_table = |table: &Arc<Table>| {
        let sections = table.sst.sections().into_iter();
        sections
            .filter(|(name, ..)| *name == "filter")
            .map(|(_, _, len)| u64::from(len))
            .sum::<u64>()
    };
    let keyspaces = core.keyspace_cores();
    let of_keyspace = |keyspace: &Arc<KeyspaceCore>| keyspace.view().tree.tables().map(of_table).sum::<u64>();
    keyspaces.iter().map(of_keyspace).sum()
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

fn object_metrics(core: &Core) -> ObjectMetrics {
    let counters = &core.objects.counters;
    let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let packs = core.objects.packs();
    ObjectMetrics {
        stored: total(&counters.stored),
        content_bytes: total(&counters.content_bytes),
        pack_bytes_written: total(&counters.pack_bytes),
        duplicates: total(&counters.duplicates),
        duplicate_bytes: total(&counters.duplicate_bytes),
        adopted: total(&counters.adopted),
        adopted_bytes: total(&counters.adopted_bytes),
        places_written: total(&counters.places),
        moved: total(&counters.moved),
        moved_bytes: total(&counters.moved_bytes),
        packs: packs.len() as u64,
        sealed_packs: packs.iter().filter(|pack| pack.is_sealed()).count() as u64,
        bytes: packs.iter().map(|pack| pack.len()).sum(),
        dead_bytes: packs.iter().map(|pack| pack.dead()).sum(),
    }
}

pub(in crate::api) fn collect(core: &Core, report: &RecoveryReport) -> Metrics {
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
                name: super::shown_name(&keyspace.name),
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
        stalls: stall_metrics(core),
        latencies: core.latencies.metrics(),
        background_failures: core.failures(),
        undeleted_files: core.trash.failed(),
        memory: memory_metrics(core),
        cache_bytes: core.memory.cache().used_bytes(),
        cache_hits: core.memory.cache().hits(),
        cache_misses: core.memory.cache().misses(),
        filters: core.latencies.filter_metrics(filter_bytes(core)),
        open_snapshots: core.snapshots.count() as u64,
        torn_log_bytes: report.torn_log_bytes,
        skipped_log_bytes: report.skipped_log_bytes,
        recovery_damage: report.damage.iter().map(ToString::to_string).collect(),
        replayed_entries: report.replayed,
        replay_flushes: report.flushes,
        objects: object_metrics(core),
        keyspaces,
    }
}
