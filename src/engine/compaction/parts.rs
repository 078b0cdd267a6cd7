//! The merge of a compaction's inputs into new SSTs, in parts where that is worth it.
//!
//! ```text
//!   keys     a ───────── g ───────── p ───────── z
//!   parts    │     0     │     1     │     2     │     each a merge of its own over all inputs
//!   files    10, 13      11, 14      12               one run, one edit
//! ```
//!
//! A large merge is cut into ranges of keys. The job that leads it queues helpers and then does part by part itself until none is left;
//! helpers that find an idle thread take parts as well. So nobody waits for a part that has not started.
//!
//! Invariants:
//! 1. Parts are cut between user keys: all versions of a key are decided in one place.
//! 2. The open snapshots are sampled once, for all parts.
//! 3. All files are of one run (each names those with smaller numbers) and are committed by one edit, or none is.

use std::sync::{Arc, Weak};

use super::level_0::{MOST_WITHIN, most_within};
use super::plan::{Action, Plan};
use super::rules::Retention;
use crate::engine::budget::{at_once, buffers};
use crate::engine::core::Core;
use crate::engine::keyspace::{KeyspaceCore, Work};
use crate::engine::level_cursor::LevelCursor;
use crate::engine::merge::{Direction, Merge, Source};
use crate::engine::output::{Cuts, Output, Run, Written};
use crate::engine::table::Table;
use crate::engine::tree::Tree;
use crate::env::Priority;
use crate::pack::ObjectId;
use crate::planted::{self, Bug};
use crate::sst::{CursorOptions, EntryValue};
use crate::sync::Mutex;
use crate::types::{EntryKind, SeqNo, ValuePlace};
use crate::{Error, Result};

/// Of each input file so many keys are looked at to find where parts of equal size begin.
const SAMPLES: u32 = 16;

/// Entries of the file that a compaction within level 0 makes. It may take the memory that inputs do not need, and some of the slack.
fn most_entries_within(allowed: u64) -> u64 {
    allowed.saturating_mul(MOST_WITHIN / 2)
}

/// A merge, shared by those who work on it.
struct Parts {
    plan: Plan,
    /// The tree that the plan is of.
    tree: Arc<Tree>,
    snapshots: Vec<SeqNo>,
    run: Run,
    cuts: Cuts,
    /// The keys that part 1 and the later ones begin with.
    bounds: Vec<Vec<u8>>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The next part to be begun.
    next: usize,
    running: usize,
    written: Vec<Written>,
    failure: Option<Error>,
}

/// A part that is being worked on. If that ends in a panic, nobody waits for it for ever.
struct Part<'a> {
    parts: &'a Parts,
    index: usize,
    outcome: Option<Result<Written>>,
}

impl<'a> Part<'a> {
    /// The next one; none after a failure.
    fn take(parts: &'a Parts) -> Option<Self> {
        let mut progress = parts.progress.lock();
        if progress.failure.is_some() || progress.next > parts.bounds.len() {
            return None;
        }
        let index = progress.next;
        progress.next += 1;
        progress.running += 1;
        Some(Part {
            parts,
            index,
            outcome: None,
        })
    }

    /// Where it begins and where the next one does.
    fn range(&self) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
        let bound = |index: usize| self.parts.bounds.get(index).map(Vec::as_slice);
        (self.index.checked_sub(1).and_then(bound), bound(self.index))
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut progress = self.parts.progress.lock();
        progress.running -= 1;
        match self.outcome.take() {
            Some(Ok(written)) => progress.written.push(written),
            Some(Err(error)) => progress.failure = Some(error),
            None => progress.failure = Some(Error::Closed),
        }
    }
}

impl Core {
    /// Writes what a plan's inputs become.
    pub(super) fn write_outputs(
        self: &Arc<Self>,
        keyspace: &Arc<KeyspaceCore>,
        plan: &Plan,
        tree: &Arc<Tree>,
    ) -> Result<Vec<Arc<Table>>> {
        let flushed = {
            let state = self.manifest.lock();
            let entry = state.catalog.keyspaces.get(&keyspace.id);
            entry.map_or(0, |entry| entry.flushed)
        };
        let parts = Arc::new(Parts {
            plan: plan.clone(),
            tree: tree.clone(),
            // All inputs were published before they were flushed, so the sample comes after everything that is written here.
            snapshots: self.snapshots.sample(),
            run: Run::new(keyspace.clone(), plan.numbers().collect(), flushed),
            cuts: self.cuts(plan, tree),
            bounds: self.part_bounds(plan)?,
            progress: Mutex::default(),
        });
        for _ in &parts.bounds {
            // Weak, as all that is queued: what has not started when the merge is over has nothing to do.
            let parts = Arc::downgrade(&parts);
            self.spawn(Priority::Low, keyspace, move |core, keyspace| {
                if let Some(parts) = Weak::upgrade(&parts) {
                    core.help(keyspace, &parts);
                }
            });
        }
        if !parts.bounds.is_empty() {
            self.env.scheduler.breathe();
        }
        self.work_on(&parts);
        self.wait(&mut || parts.progress.lock().running == 0);
        let mut progress = parts.progress.lock();
        let written = std::mem::take(&mut progress.written);
        let failure = progress.failure.take();
        drop(progress);
        match failure {
            None => {
                let tables = parts.run.finish(&self.factory(), written)?;
                self.note_dropped(&parts.run.take_dropped());
                Ok(tables)
            }
            Some(error) => {
                written.into_iter().for_each(Written::abandon);
                parts.run.discard(&self.factory());
                Err(error)
            }
        }
    }

    /// What one who works on a merge of this plan has to reserve: windows over its inputs, and a file. The leader's is enough for the file
    /// that waits for the other parts, too.
    pub(super) fn merge_memory(&self, keyspace: &KeyspaceCore, plan: &Plan) -> u64 {
        if plan.action != Action::Merge {
            return 0;
        }
        let led = self.part_memory(keyspace, plan);
        let waiting = if self.part_count(plan) > 1 {
            let buffers = buffers(&self.options, Work::Compaction);
            buffers.building(self.entries_of_file(plan), keyspace.options.sst())
        } else {
            0
        };
        led + waiting
    }

    fn part_memory(&self, keyspace: &KeyspaceCore, plan: &Plan) -> u64 {
        let buffers = buffers(&self.options, Work::Compaction);
        let sst = keyspace.options.sst();
        buffers.reading(plan.sources(), sst) + buffers.building(self.entries_of_file(plan), sst)
    }

    /// The most entries that a file of the plan's output will have: as many as are allowed, or as there are, or as its bytes have room for.
    fn entries_of_file(&self, plan: &Plan) -> u64 {
        let (mut entries, mut bytes) = (0, 0);
        for (_, table) in &plan.inputs {
            entries += table.meta.entries;
            bytes += table.meta.size;
        }
        let allowed = buffers(&self.options, Work::Compaction).max_entries;
        if plan.output_level == 0 {
            return entries.min(most_entries_within(allowed));
        }
        let by_bytes =
            u128::from(entries) * u128::from(self.options.max_file_size) * 2 / u128::from(bytes.max(1));
        entries
            .min(allowed)
            .min(u64::try_from(by_bytes).unwrap_or(u64::MAX))
    }

    /// Helps with a merge, if there is memory for one more.
    fn help(self: &Arc<Self>, keyspace: &Arc<KeyspaceCore>, parts: &Parts) {
        let bytes = self.part_memory(keyspace, &parts.plan);
        if let Some(_reserved) = self.reserve(Work::Compaction, bytes) {
            self.work_on(parts);
        }
    }

    /// Takes part after part until none is left.
    fn work_on(&self, parts: &Parts) {
        let factory = self.factory();
        while let Some(mut part) = Part::take(parts) {
            let mut output = Output::new(&factory, &parts.run, parts.cuts.clone());
            part.outcome = Some(match self.merge_part(&part, &mut output) {
                Ok(()) => parts.run.end_part(output.end()),
                Err(error) => {
                    output.abandon();
                    Err(error)
                }
            });
            drop(part);
            self.progress.notify();
        }
    }

    /// Into how many parts a merge is cut.
    fn part_count(&self, plan: &Plan) -> u64 {
        if plan.output_level == 0 {
            return 1;
        }
        let full_files = plan.bytes() / self.options.max_file_size.max(1);
        full_files.min(at_once(&self.options, Work::Compaction))
    }

    /// Where the parts of a merge begin, but for the first: keys that cut it into pieces of about the same size, no more than there
    /// are threads for, and none smaller than a full file.
    fn part_bounds(&self, plan: &Plan) -> Result<Vec<Vec<u8>>> {
        let total = plan.bytes();
        let parts = self.part_count(plan);
        if parts < 2 {
            return Ok(Vec::new());
        }
        let mut samples: Vec<(Vec<u8>, u64)> = Vec::new();
        for (_, table) in &plan.inputs {
            let count = table.sst.index_count().clamp(1, SAMPLES);
            for sample in 0..count {
                samples.push((
                    table.sst.sample(sample, count)?,
                    table.meta.size / u64::from(count),
                ));
            }
        }
        samples.sort_unstable();
        let mut bounds: Vec<Vec<u8>> = Vec::new();
        let mut before = 0;
        for (key, bytes) in samples {
            let next = (bounds.len() as u64 + 1) * total / parts;
            if before >= next && (bounds.len() as u64) < parts - 1 && bounds.last() != Some(&key) {
                bounds.push(key);
            }
            before += bytes;
        }
        Ok(bounds)
    }

    /// How the outputs of a plan are cut.
    fn cuts(&self, plan: &Plan, tree: &Tree) -> Cuts {
        let (limits, level) = (self.compaction_limits(), plan.output_level);
        if level == 0 {
            // One file, however large: it is their number that counts here.
            return Cuts {
                max_bytes: most_within(limits).saturating_mul(2),
                max_entries: most_entries_within(Cuts::new(&self.options, Work::Compaction).max_entries),
                paced: true,
                ..Cuts::new(&self.options, Work::Compaction)
            };
        }
        let behind = tree.overlapping(level + 1, &plan.least, &plan.greatest);
        Cuts {
            grandparents: tree.level(level + 1).get(behind).unwrap_or_default().to_vec(),
            max_grandparents: limits.max_grandparents(),
            paced: true,
            ..Cuts::new(&self.options, Work::Compaction)
        }
    }

    fn merge_part(&self, part: &Part<'_>, output: &mut Output<'_>) -> Result<()> {
        let Parts { plan, tree, .. } = part.parts;
        let mut retention = Retention::new(part.parts.snapshots.clone());
        let (from, to) = part.range();
        let mut merge = Merge::new(self.input_sources(part.parts), Direction::Forward, from)?;
        let torn = planted::is(Bug::PartsCutInsideKey);
        if torn && from.is_some() {
            merge.advance()?;
        }
        let (mut behind, mut dropped) = (false, Vec::new());
        while merge.valid() {
            if self.is_closed() {
                return Err(Error::Closed);
            }
            if to.is_some_and(|to| merge.key() >= to) {
                if !torn || behind {
                    break;
                }
                behind = true;
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
                    (EntryKind::Object, _) => {
                        output.add(key, seq, EntryValue::Object(&merge.object(value)?))?;
                    }
                    (EntryKind::Put, _) => output.add(key, seq, EntryValue::Put(&merge.load(value)?))?,
                }
            } else if value.value.kind() == EntryKind::Object {
                dropped.push(ObjectId(merge.object(value)?.id));
            }
            merge.advance()?;
        }
        part.parts.run.note_dropped(dropped);
        Ok(())
    }

    /// One source for each level-0 SST, newest first, and one for each deeper level.
    fn input_sources(&self, parts: &Parts) -> Vec<Source> {
        let plan = &parts.plan;
        let window = buffers(&self.options, Work::Compaction).window(plan.sources(), parts.run.sst_options());
        let options = CursorOptions {
            access: Some(self.background_access()),
            fill_cache: false,
            read_ahead: true,
        };
        let level_0 = plan.level(0).into_iter().map(|table| {
            let cursor = table.sst.cursor(options).with_window(window);
            Source::Table(table, Box::new(cursor))
        });
        let deeper = (1..=plan.output_level)
            .map(|level| plan.level(level))
            .filter(|tables| !tables.is_empty())
            .map(|tables| Source::Level(Box::new(LevelCursor::new(tables, options).with_window(window))));
        level_0.chain(deeper).collect()
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
