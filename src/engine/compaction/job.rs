//! Compactions: started as plans are found, several at a time; each merges the inputs of its plan into new SSTs and swaps them in.
//!
//! Order of durability: output contents, output names, edit (the point of no return), view; the inputs are deleted when
//! the edit's marker is durable and their last reader has gone. A move or a deletion is the edit alone.
//!
//! A plan is chosen, and claimed, in one step under the keyspace's `jobs`; the claim goes after the view has changed. So whoever
//! chooses sees either the inputs and their claim, or the outputs.

use std::sync::Arc;
use std::time::Duration;

use super::elision;
use super::level_0::{MOST_WITHIN, most_within};
use super::picker::{Limits, Picker};
use super::plan::{Action, Plan};
use super::range::plan_range;
use super::rules::Retention;
use crate::engine::core::Core;
use crate::engine::keyspace::{JobWork, Jobs, KeyspaceCore, Work};
use crate::engine::level_cursor::LevelCursor;
use crate::engine::merge::{Direction, Merge, Source};
use crate::engine::output::{Cuts, MAX_ENTRIES, Output, Run, discard_tables};
use crate::engine::table::Table;
use crate::engine::tree::Tree;
use crate::env::Priority;
use crate::manifest::{Edit, Record};
use crate::planted::{self, Bug};
use crate::sst::{CursorOptions, EntryValue};
use crate::sync::atomic::Ordering;
use crate::types::{EntryKind, ValuePlace};
use crate::{Error, Result};

/// A compaction that has been chosen and claimed.
struct Chosen {
    plan: Plan,
    claim: u64,
    /// The tree that the plan is of.
    tree: Arc<Tree>,
}

impl Core {
    pub(crate) fn compaction_limits(&self) -> Limits {
        Limits {
            write_buffer_size: self.options.write_buffer_size,
            max_file_size: self.options.max_file_size,
        }
    }

    /// Compactions of a keyspace that may run at once: one thread is left for flushes.
    fn most_compactions(&self) -> usize {
        self.options.background_threads.saturating_sub(1).max(1)
    }

    /// Starts a compaction of the keyspace, if one is due that can run beside those that do.
    pub(crate) fn schedule_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let mut jobs = keyspace.jobs.lock();
        self.queue_compaction(keyspace, &mut jobs);
    }

    fn queue_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>, jobs: &mut Jobs) {
        let room = jobs.queued == 0 && jobs.claims.len() < self.most_compactions();
        if !room || jobs.paused || jobs.ranges_waiting > 0 || keyspace.is_dropped() {
            return;
        }
        let tree = keyspace.view().tree.clone();
        let picker = self.picker(&tree, jobs);
        if picker.pick().is_some() {
            jobs.queued += 1;
            self.spawn(Priority::Low, keyspace, Core::run_compaction);
        } else if let Some(seq) = elision::waits_for(&picker) {
            self.compact_when_unseen(seq);
        }
    }

    /// Looks for compactions again when nobody reads below `seq` any more.
    fn compact_when_unseen(self: &Arc<Self>, seq: u64) {
        let core = Arc::downgrade(self);
        self.snapshots.watch(seq, move || {
            // As a job: whoever closes a snapshot may hold anything.
            if let Some(core) = core.upgrade() {
                core.spawn_for_all_after(Duration::ZERO, Priority::Low, |core| {
                    for keyspace in core.keyspace_cores() {
                        core.schedule_compaction(&keyspace);
                    }
                });
            }
        });
    }

    fn picker<'a>(&self, tree: &'a Tree, jobs: &'a Jobs) -> Picker<'a, Arc<Table>> {
        Picker {
            tree,
            claims: &jobs.claims,
            limits: self.compaction_limits(),
            oldest_snapshot: self.snapshots.oldest(),
            cursors: &jobs.cursors,
        }
    }

    /// Whether a compaction is due that could run, whether or not there is room for it.
    pub(crate) fn compaction_is_due(&self, keyspace: &KeyspaceCore) -> bool {
        if keyspace.is_dropped() {
            return false;
        }
        let jobs = keyspace.jobs.lock();
        let tree = keyspace.view().tree.clone();
        self.picker(&tree, &jobs).pick().is_some()
    }

    fn run_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let chosen = self.choose(keyspace);
        // There may be more to do beside it; and if nothing is left to do, something may wait for a snapshot to close.
        self.schedule_compaction(keyspace);
        if let Some(chosen) = chosen {
            match self.compact(keyspace, &chosen) {
                Ok(()) => self.end_compaction(keyspace, chosen.claim),
                Err(error) => {
                    let mut jobs = keyspace.jobs.lock();
                    jobs.claims.remove(chosen.claim);
                    jobs.paused = true;
                    drop(jobs);
                    self.background_failed(keyspace.id, Work::Compaction, error);
                    self.retry(keyspace, Work::Compaction, |core, keyspace| {
                        keyspace.jobs.lock().paused = false;
                        core.schedule_compaction(keyspace);
                    });
                }
            }
        }
        self.progress.notify();
    }

    /// Chooses what is most urgent now, and claims it.
    fn choose(&self, keyspace: &Arc<KeyspaceCore>) -> Option<Chosen> {
        let mut jobs = keyspace.jobs.lock();
        jobs.queued -= 1;
        if jobs.paused || jobs.ranges_waiting > 0 || keyspace.is_dropped() {
            return None;
        }
        let tree = keyspace.view().tree.clone();
        let plan = self.picker(&tree, &jobs).pick()?;
        for (level, table) in &plan.inputs {
            if *level < plan.output_level
                && let Some(cursor) = jobs.cursors.get_mut(*level)
            {
                *cursor = table.meta.max_key.to_vec();
            }
        }
        let claim = jobs.claims.add(&plan);
        Some(Chosen { plan, claim, tree })
    }

    /// Gives up a claim, and goes on with the next compaction that is due. One step under the lock: so a flush that finds no
    /// room can leave the look at the new tree to this, and nobody sees a settled keyspace in between.
    fn end_compaction(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>, claim: u64) {
        let mut jobs = keyspace.jobs.lock();
        jobs.claims.remove(claim);
        let paused = jobs.paused;
        self.queue_compaction(keyspace, &mut jobs);
        drop(jobs);
        if !paused {
            self.background_succeeded(keyspace, Work::Compaction);
        }
    }

    /// Merges everything in a range of keys into the last level, and waits for it. Bounds are inclusive.
    pub(crate) fn compact_range(
        self: &Arc<Self>,
        keyspace: &Arc<KeyspaceCore>,
        least: &[u8],
        greatest: Option<&[u8]>,
    ) -> Result<()> {
        keyspace.check_alive()?;
        self.flush_keyspaces(std::slice::from_ref(keyspace))?;
        // Nothing new starts until what runs has left the range alone: else the wait might never end.
        keyspace.jobs.lock().ranges_waiting += 1;
        let mut outcome = Ok(());
        let mut chosen = None;
        self.wait(&mut || {
            outcome = self.check_open();
            outcome.is_err() || self.choose_range(keyspace, least, greatest, &mut chosen)
        });
        keyspace.jobs.lock().ranges_waiting -= 1;
        let mut result = outcome;
        if let Some(chosen) = chosen {
            result = Err(Error::Closed);
            // Like a job, so that closing waits for it.
            self.run(|core| result = core.compact(keyspace, &chosen));
            keyspace.jobs.lock().claims.remove(chosen.claim);
        }
        self.schedule_compaction(keyspace);
        self.progress.notify();
        result
    }

    /// Chooses and claims what a range compaction has to do; false if something runs that is in its way.
    fn choose_range(
        &self,
        keyspace: &KeyspaceCore,
        least: &[u8],
        greatest: Option<&[u8]>,
        chosen: &mut Option<Chosen>,
    ) -> bool {
        let mut jobs = keyspace.jobs.lock();
        let tree = keyspace.view().tree.clone();
        let Some(plan) = plan_range(&tree, least, greatest) else {
            return true;
        };
        let permitted = jobs.claims.permits(&plan);
        if permitted {
            let claim = jobs.claims.add(&plan);
            *chosen = Some(Chosen { plan, claim, tree });
        }
        permitted
    }

    fn compact(&self, keyspace: &Arc<KeyspaceCore>, chosen: &Chosen) -> Result<()> {
        let plan = &chosen.plan;
        if keyspace.is_dropped() {
            return Ok(());
        }
        let files = plan.inputs.len() as u64;
        match plan.action {
            Action::Merge => self.merge(keyspace, chosen)?,
            Action::Move => {
                self.commit_compaction(keyspace, plan, None)?;
                self.counters.moved_files.fetch_add(files, Ordering::Relaxed);
            }
            Action::Delete => {
                self.commit_compaction(keyspace, plan, Some(&[]))?;
                self.counters.deleted_files.fetch_add(files, Ordering::Relaxed);
            }
        }
        self.update_pressure_of(keyspace);
        Ok(())
    }

    fn merge(&self, keyspace: &Arc<KeyspaceCore>, chosen: &Chosen) -> Result<()> {
        let start = self.env.clock.now();
        let outputs = self.write_outputs(keyspace, chosen)?;
        self.commit_compaction(keyspace, &chosen.plan, Some(&outputs))?;
        let time = self.env.clock.now().saturating_sub(start);
        self.note_compaction(keyspace, &chosen.plan, &outputs, time);
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

    fn write_outputs(&self, keyspace: &Arc<KeyspaceCore>, chosen: &Chosen) -> Result<Vec<Arc<Table>>> {
        let Chosen { plan, tree, .. } = chosen;
        // All inputs were published before they were flushed, so the sample comes after everything that is written here.
        let retention = Retention::new(self.snapshots.sample());
        let flushed = {
            let state = self.manifest.lock();
            let entry = state.catalog.keyspaces.get(&keyspace.id);
            entry.map_or(0, |entry| entry.flushed)
        };
        let run = Run::new(keyspace.clone(), plan.numbers().collect(), flushed);
        let mut output = Output::new(self, &run, self.cuts(plan, tree));
        match self.merge_inputs(plan, tree, retention, &mut output) {
            Ok(()) => run.finish(self, vec![output.end()]),
            Err(e) => {
                output.abandon();
                run.discard(self);
                Err(e)
            }
        }
    }

    /// How the outputs of a plan are cut.
    fn cuts(&self, plan: &Plan, tree: &Tree) -> Cuts {
        let (limits, level) = (self.compaction_limits(), plan.output_level);
        if level == 0 {
            // One file, however large: it is their number that counts here.
            return Cuts {
                max_bytes: most_within(limits).saturating_mul(2),
                max_entries: MAX_ENTRIES.min(self.memory.building_entries()) * MOST_WITHIN,
                ..Cuts::new(self)
            };
        }
        let behind = tree.overlapping(level + 1, &plan.least, &plan.greatest);
        Cuts {
            grandparents: tree.level(level + 1).get(behind).unwrap_or_default().to_vec(),
            max_grandparents: limits.max_grandparents(),
            ..Cuts::new(self)
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
                // oldest version that there is. Below level 0 there may be more of level 0.
                let nothing_below = || plan.output_level > 0 && !tree.may_hold_below(plan.output_level, key);
                let last = retention.is_oldest_stripe(seq) && nothing_below();
                let zeroed = last || planted::is(Bug::ZeroedUnderSnapshot) && nothing_below();
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

    /// Makes a compaction durable and true. `outputs`: the files in place of the inputs; none: the inputs themselves, moved.
    fn commit_compaction(
        &self,
        keyspace: &Arc<KeyspaceCore>,
        plan: &Plan,
        outputs: Option<&[Arc<Table>]>,
    ) -> Result<()> {
        let written = outputs.unwrap_or_default();
        let mut state = self.manifest.lock();
        if !state.catalog.keyspaces.contains_key(&keyspace.id) {
            drop(state);
            discard_tables(written);
            return Ok(());
        }
        let inputs: Vec<Arc<Table>> = plan.inputs.iter().map(|(_, table)| table.clone()).collect();
        let added = outputs.unwrap_or(&inputs);
        let obsolete = if outputs.is_some() { &inputs[..] } else { &[] };
        let mut edit = Edit::default();
        for (level, table) in &plan.inputs {
            let (level, number) = (*level as u32, table.meta.number);
            edit.push(Record::RemoveFile {
                keyspace: keyspace.id,
                level,
                number,
            });
        }
        for table in added {
            let level = plan.output_level as u32;
            edit.push(Record::AddFile {
                keyspace: keyspace.id,
                level,
                file: table.meta.clone(),
            });
        }
        let removed = plan
            .inputs
            .iter()
            .map(|(level, table)| (*level, table.meta.number));
        let removed: Vec<_> = removed.collect();
        let added: Vec<_> = added
            .iter()
            .map(|table| (plan.output_level, table.clone()))
            .collect();
        let committed = self.commit_edit(&mut state, edit, obsolete, |_| {
            keyspace.update(|view| view.tree = Arc::new(view.tree.with(&removed, &added)));
        });
        state.keep_undecided(committed, written)?;
        self.check_recency(keyspace);
        Ok(())
    }
}
