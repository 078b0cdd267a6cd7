//! A compaction: merges the inputs of a plan into new SSTs and swaps them in.
//!
//! Order of durability: output contents, output names, edit (the point of no return), view; the inputs are deleted when
//! the edit's marker is durable and their last reader has gone.

use std::sync::Arc;
use std::time::Duration;

use super::picker::{self, Plan};
use super::rules::Retention;
use crate::engine::core::Core;
use crate::engine::keyspace::{JobWork, KeyspaceCore, Work};
use crate::engine::level_cursor::LevelCursor;
use crate::engine::merge::{Direction, Merge, Source};
use crate::engine::output::{Output, discard_tables};
use crate::engine::table::Table;
use crate::engine::tree::Tree;
use crate::env::Priority;
use crate::manifest::{Edit, Record};
use crate::planted::{self, Bug};
use crate::sst::{CursorOptions, EntryValue};
use crate::sync::atomic::Ordering;
use crate::types::{EntryKind, ValuePlace};
use crate::{Error, Result};

impl Core {
    /// Starts a compaction of the keyspace, if one is due and none is running.
    pub(crate) fn schedule_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let mut jobs = keyspace.jobs.lock();
        if !jobs.compaction && self.compaction_is_due(keyspace) {
            jobs.compaction = true;
            drop(jobs);
            self.spawn_compaction(keyspace);
        }
    }

    pub(crate) fn compaction_is_due(&self, keyspace: &KeyspaceCore) -> bool {
        !keyspace.is_dropped()
            && picker::pick(&keyspace.view().tree, self.options.write_buffer_size).is_some()
    }

    fn spawn_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        self.spawn(Priority::Low, keyspace, Core::run_compaction);
    }

    fn run_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let plan = picker::pick(&keyspace.view().tree, self.options.write_buffer_size);
        match plan.map_or(Ok(()), |plan| self.compact(keyspace, &plan)) {
            Ok(()) => {
                self.background_succeeded(keyspace, Work::Compaction);
                self.end_compaction(keyspace);
            }
            Err(error) => {
                keyspace.jobs.lock().compaction = false;
                self.background_failed(keyspace.id, Work::Compaction, error);
                self.retry(keyspace, Work::Compaction, |core, keyspace| {
                    core.schedule_compaction(keyspace)
                });
            }
        }
        self.progress.notify();
    }

    /// Gives up the keyspace's turn, or goes on with the next compaction that is due. One step under the lock: so a flush
    /// that finds a compaction running can leave the look at the new tree to it, and nobody sees a settled keyspace in
    /// between.
    fn end_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let mut jobs = keyspace.jobs.lock();
        jobs.compaction = self.compaction_is_due(keyspace);
        if jobs.compaction {
            drop(jobs);
            self.spawn_compaction(keyspace);
        }
    }

    /// Merges everything in a range of keys into the deepest level, and waits for it. Bounds are inclusive.
    pub(crate) fn compact_range(
        self: &Arc<Self>,
        keyspace: &Arc<KeyspaceCore>,
        least: &[u8],
        greatest: Option<&[u8]>,
    ) -> Result<()> {
        keyspace.check_alive()?;
        self.flush_keyspaces(std::slice::from_ref(keyspace))?;
        // The turn of this keyspace's compactions is taken like the background's.
        let mut outcome = Ok(());
        self.wait(&mut || {
            outcome = self.check_open();
            outcome.is_err() || !std::mem::replace(&mut keyspace.jobs.lock().compaction, true)
        });
        outcome?;
        let mut result = Err(Error::Closed);
        // Like a job, so that closing waits for it.
        self.run(|core| {
            let plan = picker::plan_range(&keyspace.view().tree, least, greatest);
            result = plan.map_or(Ok(()), |plan| core.compact(keyspace, &plan));
        });
        self.end_compaction(keyspace);
        self.progress.notify();
        result
    }

    fn compact(&self, keyspace: &Arc<KeyspaceCore>, plan: &Plan) -> Result<()> {
        if plan.inputs.is_empty() || keyspace.is_dropped() {
            return Ok(());
        }
        let start = self.env.clock.now();
        let tree = keyspace.view().tree.clone();
        let outputs = self.write_outputs(keyspace, plan, &tree)?;
        self.commit_compaction(keyspace, plan, &outputs)?;
        self.note_compaction(
            keyspace,
            plan,
            &outputs,
            self.env.clock.now().saturating_sub(start),
        );
        self.update_pressure_of(keyspace);
        Ok(())
    }

    fn note_compaction(&self, keyspace: &KeyspaceCore, plan: &Plan, outputs: &[Arc<Table>], time: Duration) {
        let mut job = JobWork {
            time,
            ..JobWork::default()
        };
        for (level, table) in &plan.inputs {
            if *level == plan.output_level {
                job.bytes_from_level += table.meta.size;
            } else {
                job.bytes_from_above += table.meta.size;
            }
            job.entries_in += table.meta.entries;
        }
        for table in outputs {
            job.bytes_written += table.meta.size;
            job.entries_out += table.meta.entries;
        }
        let counters = &self.counters;
        counters.compactions.fetch_add(1, Ordering::Relaxed);
        counters
            .compaction_bytes_read
            .fetch_add(job.bytes_from_above + job.bytes_from_level, Ordering::Relaxed);
        counters
            .compaction_bytes_written
            .fetch_add(job.bytes_written, Ordering::Relaxed);
        keyspace.note_work(plan.output_level, job);
    }

    fn write_outputs(&self, keyspace: &KeyspaceCore, plan: &Plan, tree: &Tree) -> Result<Vec<Arc<Table>>> {
        // All inputs were published before they were flushed, so the sample comes after everything that is written here.
        let retention = Retention::new(self.snapshots.sample());
        let replaces = plan.inputs.iter().map(|(_, table)| table.meta.number).collect();
        let flushed = {
            let state = self.manifest.lock();
            let entry = state.catalog.keyspaces.get(&keyspace.id);
            entry.map_or(0, |entry| entry.flushed)
        };
        let mut output = Output::new(self, keyspace, replaces, flushed);
        match self.merge_inputs(plan, tree, retention, &mut output) {
            Ok(()) => output.finish(),
            Err(e) => {
                output.discard();
                Err(e)
            }
        }
    }

    fn merge_inputs(
        &self,
        plan: &Plan,
        tree: &Tree,
        mut retention: Retention,
        output: &mut Output<'_>,
    ) -> Result<()> {
        let mut merge = Merge::new(self.input_sources(plan), Direction::Forward, None)?;
        while merge.valid() {
            if self.is_closed() {
                return Err(Error::Closed);
            }
            let (key, seq, value) = (merge.key(), merge.seq(), merge.value());
            if retention.keeps(key, seq) {
                // In the oldest stripe nothing older of the key is kept; if nothing lies below either, this is the
                // oldest version that there is.
                let last = retention.is_oldest_stripe(seq) && !tree.may_hold_below(plan.output_level, key);
                let zeroed = last
                    || planted::is(Bug::ZeroedUnderSnapshot) && !tree.may_hold_below(plan.output_level, key);
                let last = last || planted::is(Bug::TombstoneDropped) && retention.is_oldest_stripe(seq);
                let seq = if zeroed { 0 } else { seq };
                match (value.value.kind(), value.value.place) {
                    (EntryKind::Tombstone, _) if last => {}
                    (EntryKind::Tombstone, _) => output.add(key, seq, EntryValue::Tombstone)?,
                    (EntryKind::Put, ValuePlace::Medium { .. }) => {
                        // As stored: no decompression, no compression. Its checksum is verified on the way.
                        let table = merge.table_of(value).ok_or(Error::Closed)?;
                        let raw = table.sst.raw_block(value.value.place)?;
                        output.add(key, seq, EntryValue::RawMedium(&raw))?;
                    }
                    (EntryKind::Put, _) => output.add(key, seq, EntryValue::Put(&merge.load(value)?))?,
                }
            }
            merge.advance()?;
        }
        Ok(())
    }

    /// One source for each level-0 SST, newest first, and one for each deeper level.
    fn input_sources(&self, plan: &Plan) -> Vec<Source> {
        let options = CursorOptions {
            access: Some(self.background_access()),
            fill_cache: false,
            read_ahead: true,
        };
        let level_0 = plan.level(0).into_iter().map(|table| {
            let cursor = table.sst.cursor(options);
            Source::Table(table, Box::new(cursor))
        });
        let deeper = (1..=plan.output_level)
            .map(|level| plan.level(level))
            .filter(|tables| !tables.is_empty())
            .map(|tables| Source::Level(Box::new(LevelCursor::new(tables, options))));
        level_0.chain(deeper).collect()
    }

    fn commit_compaction(
        &self,
        keyspace: &Arc<KeyspaceCore>,
        plan: &Plan,
        outputs: &[Arc<Table>],
    ) -> Result<()> {
        let mut state = self.manifest.lock();
        if !state.catalog.keyspaces.contains_key(&keyspace.id) {
            drop(state);
            discard_tables(outputs);
            return Ok(());
        }
        let mut edit = Edit::default();
        for (level, table) in &plan.inputs {
            let (level, number) = (*level as u32, table.meta.number);
            edit.push(Record::RemoveFile {
                keyspace: keyspace.id,
                level,
                number,
            });
        }
        for table in outputs {
            let level = plan.output_level as u32;
            edit.push(Record::AddFile {
                keyspace: keyspace.id,
                level,
                file: table.meta.clone(),
            });
        }
        let inputs: Vec<Arc<Table>> = plan.inputs.iter().map(|(_, table)| table.clone()).collect();
        let removed: Vec<_> = plan
            .inputs
            .iter()
            .map(|(level, table)| (*level, table.meta.number))
            .collect();
        let added: Vec<_> = outputs
            .iter()
            .map(|table| (plan.output_level, table.clone()))
            .collect();
        let committed = self.commit_edit(&mut state, edit, &inputs, |_| {
            keyspace.update(|view| view.tree = Arc::new(view.tree.with(&removed, &added)));
        });
        state.keep_undecided(committed, outputs)?;
        self.check_recency(keyspace);
        Ok(())
    }
}
