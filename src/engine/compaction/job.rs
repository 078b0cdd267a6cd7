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
use super::picker::{Limits, Picker};
use super::plan::{Action, Plan};
use super::range::plan_range;
use crate::engine::core::Core;
use crate::engine::keyspace::{JobWork, Jobs, KeyspaceCore, Work};
use crate::engine::latency::Timed;
use crate::engine::output::discard_tables;
use crate::engine::table::Table;
use crate::engine::tree::Tree;
use crate::env::Priority;
use crate::manifest::{Edit, Record};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

/// A compaction that has been chosen and claimed.
pub(crate) struct Chosen {
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
            max_referenced: self.objects.compact_after().max(1),
        }
    }

    /// Compactions of a keyspace that may be chosen at once: one thread is left for flushes. Whether each begins is the memory's business.
    pub(super) fn most_compactions(&self) -> usize {
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
        if chosen {
            self.go_on(Priority::Low, keyspace, Core::run_chosen);
        } else {
            // Something else has done it meanwhile, a range compaction for example.
            self.forget_compaction_if_idle(keyspace);
        }
        self.progress.notify();
    }

    pub(crate) fn run_chosen(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>) {
        let chosen = keyspace.jobs.lock().chosen.pop_front();
        let Some(chosen) = chosen else {
            // Given up with its keyspace. It may have been begun in the place of others that were put aside.
            return self.queue_one_aside(Work::Compaction);
        };
        let Some(reserved) = self.reserve(Work::Compaction, self.merge_memory(keyspace, &chosen.plan)) else {
            keyspace.jobs.lock().chosen.push_front(chosen);
            return self.put_aside(Work::Compaction, keyspace);
        };
        let result = self.compact(keyspace, &chosen);
        drop(reserved);
        match result {
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
        self.progress.notify();
    }

    /// Chooses what is most urgent now, and claims it.
    fn choose(&self, keyspace: &Arc<KeyspaceCore>) -> bool {
        let mut jobs = keyspace.jobs.lock();
        jobs.queued -= 1;
        if jobs.paused || jobs.ranges_waiting > 0 || keyspace.is_dropped() {
            return false;
        }
        let tree = keyspace.view().tree.clone();
        let Some(plan) = self.picker(&tree, &jobs).pick() else {
            return false;
        };
        for (level, table) in &plan.inputs {
            if *level < plan.output_level
                && let Some(cursor) = jobs.cursors.get_mut(*level)
            {
                *cursor = table.meta.max_key.to_vec();
            }
        }
        let claim = jobs.claims.add(&plan);
        jobs.chosen.push_back(Chosen { plan, claim, tree });
        true
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
            let reserved = self.wait_and_reserve(Work::Compaction, self.merge_memory(keyspace, &chosen.plan));
            result = reserved.and_then(|_reserved| {
                let mut result = Err(Error::Closed);
                // Like a job, so that closing waits for it.
                self.run(|core| result = core.compact(keyspace, &chosen));
                result
            });
            keyspace.jobs.lock().claims.remove(chosen.claim);
        }
        self.schedule_compaction(keyspace);
        // A retry that came in the middle of this found the keyspace busy, and it may have done what had failed.
        self.forget_compaction_if_idle(keyspace);
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

    fn compact(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>, chosen: &Chosen) -> Result<()> {
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
        self.schedule_collection();
        Ok(())
    }

    fn merge(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>, chosen: &Chosen) -> Result<()> {
        let (start, timed) = (self.env.clock.now(), self.begin_timing());
        self.env.scheduler.breathe();
        let outputs = self.write_outputs(keyspace, &chosen.plan, &chosen.tree)?;
        self.env.scheduler.breathe();
        self.commit_compaction(keyspace, &chosen.plan, Some(&outputs))?;
        let time = self.env.clock.now().saturating_sub(start);
        self.note_compaction(keyspace, &chosen.plan, &outputs, time);
        self.note_time(Timed::Compaction, timed);
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

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
