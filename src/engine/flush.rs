//! Flush: frozen memtables become SSTs of level 0.
//!
//! All frozen memtables of a keyspace go at once, oldest to newest, into one run of SSTs. The order of durability:
//! SST contents, SST names, the log if the flush depends on it, edit. It does where another keyspace has something unflushed among the
//! numbers flushed: half of a batch, or a write that came before. Where none has, the SSTs hold all of them, and a log
//! that a crash cuts off below is none the worse. The point of no return is the edit's sync. Then the view changes; logs that nobody needs any more go
//! with the marker of the edit that raised the floor.

use std::sync::Arc;

use super::budget::buffers;
use super::compaction::rules::Retention;
use super::core::Core;
use super::factory::Factory;
use super::keyspace::{Frozen, JobWork, KeyspaceCore, Work};
use super::latency::Timed;
use super::merge::{Direction, Merge, Source};
use super::output::{Cuts, Output, Run, discard_tables};
use super::table::Table;
use crate::Result;
use crate::env::Priority;
use crate::manifest::{Edit, Record};
use crate::memtable::SortedTable;
use crate::pack::ObjectId;
use crate::planted::{self, Bug};
use crate::sst::EntryValue;
use crate::sync::atomic::Ordering;
use crate::types::{EntryKind, SeqNo};

impl Core {
    /// Sees to it that the keyspace's frozen memtables get flushed.
    pub(crate) fn schedule_flush(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        if std::mem::replace(&mut keyspace.jobs.lock().flush, true) {
            return;
        }
        self.spawn(Priority::High, keyspace, Core::run_flush);
    }

    pub(super) fn run_flush(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let buffers = buffers(&self.options, Work::Flush);
        let entries = keyspace
            .view()
            .frozen
            .iter()
            .map(|frozen| frozen.table.len() as u64)
            .sum();
        let bytes = buffers.building(buffers.max_entries.min(entries), keyspace.options.sst());
        let Some(reserved) = self.reserve(Work::Flush, bytes) else {
            return self.put_aside(Work::Flush, keyspace);
        };
        let result = self.flush_frozen(keyspace);
        drop(reserved);
        if result.is_ok() {
            // Before the flag goes down: a keyspace between the two jobs is not settled.
            self.schedule_compaction(keyspace);
        }
        keyspace.jobs.lock().flush = false;
        match result {
            Ok(()) => {
                self.background_succeeded(keyspace, Work::Flush);
                // Something may have been frozen while the flag was still up.
                if !keyspace.view().frozen.is_empty() && !keyspace.is_dropped() {
                    self.schedule_flush(keyspace);
                }
            }
            Err(error) => {
                self.background_failed(keyspace.id, Work::Flush, error);
                self.retry(keyspace, Work::Flush, |core, keyspace| {
                    core.schedule_flush(keyspace)
                });
            }
        }
        self.progress.notify();
    }

    fn flush_frozen(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) -> Result<()> {
        let frozen = keyspace.view().frozen.clone();
        let Some(newest) = frozen.first().filter(|_| !keyspace.is_dropped()) else {
            return Ok(());
        };
        let (start, timed) = (self.env.clock.now(), self.begin_timing());
        // All that is written here was published before it was frozen, so the sample comes after it.
        let snapshots = self.snapshots.sample();
        let written = write_frozen(&self.factory(), keyspace, &frozen, snapshots)?;
        let (tables, entries_in) = (written.tables, written.entries);
        self.note_dropped(&written.dropped);
        // The SSTs may name objects, or the places of objects.
        self.sync_objects()?;
        if self.others_hold(keyspace, newest.upto) && !planted::is(Bug::LogNotSyncedBeforeFlush) {
            self.sync_log()?;
        }
        self.commit_flush(keyspace, newest.upto, frozen.len(), &tables)?;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        let bytes = tables.iter().map(|table| table.meta.size).sum();
        self.counters.flush_bytes.fetch_add(bytes, Ordering::Relaxed);
        let job = JobWork {
            bytes_written: bytes,
            entries_in,
            entries_out: tables.iter().map(|table| table.meta.entries).sum(),
            time: self.env.clock.now().saturating_sub(start),
            ..JobWork::default()
        };
        keyspace.note_work(0, job);
        self.note_time(Timed::Flush, timed);
        self.update_pressure_of(keyspace);
        self.schedule_collection();
        // The flush is done, whatever becomes of this: logs that stay now go after the next one.
        let _ = self.drop_old_logs();
        Ok(())
    }

    /// Whether another keyspace has unflushed writes numbered `upto` or below. There may be fewer soon, and never more.
    fn others_hold(&self, keyspace: &KeyspaceCore, upto: SeqNo) -> bool {
        let writes = self.writes.lock();
        let mut others = writes
            .active
            .values()
            .filter(|active| active.keyspace.id != keyspace.id);
        others.any(|other| other.first_unflushed().is_some_and(|first| first <= upto))
    }

    /// Makes the flush durable and true.
    fn commit_flush(
        &self,
        keyspace: &Arc<KeyspaceCore>,
        upto: u64,
        count: usize,
        tables: &[Arc<Table>],
    ) -> Result<()> {
        let wal = self.wal()?;
        let mut state = self.manifest.lock();
        if !state.catalog.keyspaces.contains_key(&keyspace.id) {
            drop(state);
            discard_tables(tables);
            return Ok(());
        }
        let mut edit = Edit::default();
        for table in tables {
            edit.push(Record::AddFile {
                keyspace: keyspace.id,
                level: 0,
                file: table.meta.clone(),
            });
        }
        edit.push(Record::Flushed {
            keyspace: keyspace.id,
            upto,
        });
        edit.push(Record::LogKnown(wal.current_number()));
        let added: Vec<_> = tables.iter().map(|table| (0, table.clone())).collect();
        let committed = self.commit_edit(&mut state, edit, &[], |_| {
            let flushed = keyspace.update(|view| {
                view.tree = Arc::new(view.tree.with(&[], &added));
                view.frozen.split_off(view.frozen.len().saturating_sub(count))
            });
            self.memory.retire(flushed.iter().map(|frozen| &frozen.table));
        });
        state.keep_undecided(committed, tables)?;
        self.check_recency(keyspace);
        Ok(())
    }

    /// Raises the log floor to the oldest log that still holds something unflushed, and deletes what lies below.
    pub(crate) fn drop_old_logs(&self) -> Result<()> {
        let wal = self.wal()?;
        let mut state = self.manifest.lock();
        // Under the manifest's lock: what is in no SST now may be in one, or in no keyspace, after the next edit.
        let floor = wal.obsolete_below(self.first_unflushed());
        if floor <= state.catalog.log_floor {
            return Ok(());
        }
        let edit = Edit {
            records: vec![Record::LogFloor(floor)],
        };
        let marked = self.commit_edit(&mut state, edit, &[], |_| {})?;
        drop(state);
        // Without its marker the edit may be taken for a torn tail, and the logs for needed.
        if marked { wal.remove_below(floor) } else { Ok(()) }
    }

    /// Flushes one keyspace's writes so far, and waits for it.
    pub(crate) fn flush_keyspaces(self: &Arc<Self>, keyspaces: &[Arc<KeyspaceCore>]) -> Result<()> {
        self.check_open()?;
        self.wal()?;
        let failures = self.failures();
        let upto = {
            let mut writes = self.writes.lock();
            // Not the last number given: that one may belong to a write that failed.
            let last = self.snapshots.published();
            for keyspace in keyspaces {
                self.rotate(&mut writes, keyspace.id, last);
            }
            last
        };
        for keyspace in keyspaces {
            // Frozen earlier, after a failure that nobody has retried yet.
            if !keyspace.view().frozen.is_empty() && !keyspace.is_dropped() {
                self.schedule_flush(keyspace);
            }
        }
        let mut outcome = Ok(());
        self.wait(&mut || {
            let pending = keyspaces.iter().any(|keyspace| {
                !keyspace.is_dropped() && keyspace.view().frozen.iter().any(|frozen| frozen.upto <= upto)
            });
            outcome = self.background_outcome(failures);
            !pending || outcome.is_err()
        });
        // What was waited for has been done, whatever else failed meanwhile.
        let done = keyspaces.iter().all(|keyspace| {
            keyspace.is_dropped() || keyspace.view().frozen.iter().all(|frozen| frozen.upto > upto)
        });
        if done {
            // The same holds for what comes now: room that is not given back today is given back by a later flush.
            if let Ok(true) = self.wal()?.rest(self.first_unflushed()) {
                let _ = self.drop_old_logs();
            }
            Ok(())
        } else {
            outcome
        }
    }
}

/// What memtables have become.
pub(super) struct Flushed {
    pub(super) tables: Vec<Arc<Table>>,
    /// Entries read.
    pub(super) entries: u64,
    /// The objects that entries left out referred to.
    pub(super) dropped: Vec<ObjectId>,
}

/// Writes the memtables' entries (newest memtable first) to new SSTs, without the versions that nobody can see.
pub(super) fn write_frozen(
    factory: &Factory<'_>,
    keyspace: &Arc<KeyspaceCore>,
    frozen: &[Frozen],
    snapshots: Vec<SeqNo>,
) -> Result<Flushed> {
    let mut retention = Retention::new(snapshots);
    let sources = frozen
        .iter()
        .map(|frozen| Source::Memory(frozen.table.cursor()))
        .collect();
    let mut merge = Merge::new(sources, Direction::Forward, None)?;
    let upto = frozen.first().map_or(0, |newest| newest.upto);
    let run = Run::new(keyspace.clone(), Vec::new(), upto);
    let mut output = Output::new(factory, &run, Cuts::new(factory.options, Work::Flush));
    let (mut entries, mut dropped) = (0, Vec::new());
    let mut write = || -> Result<()> {
        while merge.valid() {
            factory.check_wanted()?;
            entries += 1;
            let (seq, value) = (merge.seq(), merge.value());
            // A tombstone stays: what it hides may lie in the levels below.
            if retention.keeps(merge.key(), seq) {
                match value.value.kind() {
                    EntryKind::Tombstone => output.add(merge.key(), seq, EntryValue::Tombstone)?,
                    EntryKind::Put => {
                        output.add(merge.key(), seq, EntryValue::Put(&merge.load(value)?))?;
                    }
                    EntryKind::Object => {
                        output.add(merge.key(), seq, EntryValue::Object(&merge.object(value)?))?;
                    }
                }
            } else if value.value.kind() == EntryKind::Object {
                dropped.push(ObjectId(merge.object(value)?.id));
            }
            merge.advance()?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => Ok(Flushed {
            tables: run.finish(factory, vec![output.end()])?,
            entries,
            dropped,
        }),
        Err(e) => {
            output.abandon();
            run.discard(factory);
            Err(e)
        }
    }
}
