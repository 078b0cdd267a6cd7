//! Which SSTs count where no manifest says so, from what they say of each other ([`SstOrigin`]):
//!
//! * A file that another one names as dead is left out.
//! * The files of one flush or compaction are a run. A run is *done* if all its files are there, or one of them is named as
//!   replaced (only files of a version are ever compacted, so its edit was durable). What a done compaction replaces is left out.
//! * A compaction whose run is not done, and whose inputs are all there, was interrupted: its outputs are left out, the
//!   inputs have everything. If some inputs are gone it had been done, and outputs are lost: that is reported, unless a later
//!   compaction may have taken them over (so a file that is missing without a trace goes unnoticed without a manifest).
//! * If it can't be the interrupted one, because later files of the keyspace were written by a compaction, both readings are
//!   possible: undecided.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::Slice;
use crate::names::{self, FileKind};
use crate::repair::survey::Condition;
use crate::repair::{Fate, Loss, Repair, RepairedFile, Undecided, UndecidedChoice};
use crate::sst::SstOrigin;
use crate::types::{KeyspaceId, SeqNo};

impl Plan {
    /// A file whose properties are damaged has its keyspace and its run from another file of the run.
    pub(super) fn infer_from_siblings(&mut self) {
        let mut inferred = BTreeMap::new();
        for sibling in self.ssts.values() {
            let Some(properties) = &sibling.properties else {
                continue;
            };
            for (at, number) in properties.origin.run.iter().enumerate() {
                let mut of_sibling = properties.clone();
                of_sibling.file_number = *number;
                of_sibling.origin.last = false;
                of_sibling.origin.run.truncate(at);
                // Bounds and counts are the sibling's own: nobody asks for them.
                (of_sibling.min_key, of_sibling.max_key) = (Slice::default(), Slice::default());
                inferred.insert(*number, of_sibling);
            }
        }
        for (number, found) in &mut self.ssts {
            if found.properties.is_none() {
                found.properties = inferred.remove(number);
            }
            let said = found.properties.as_ref().map(|properties| properties.keyspace);
            found.keyspace = said.or(found.keyspace);
        }
    }

    /// What one file says of others, if it says so of older ones.
    fn origins(&self) -> BTreeMap<u64, (KeyspaceId, SstOrigin, Vec<u64>)> {
        let all = self.ssts.iter();
        all.filter_map(|(number, found)| {
            let p = found.properties.as_ref()?;
            let older = |list: &[u64]| {
                list.iter()
                    .copied()
                    .filter(|other| other < number)
                    .collect::<Vec<_>>()
            };
            let mut origin = p.origin.clone();
            (origin.run, origin.dead) = (older(&origin.run), older(&origin.dead));
            Some((*number, (p.keyspace, origin, older(&p.replaces))))
        })
        .collect()
    }

    pub(super) fn leave_out_replaced(&mut self, repair: &mut Repair<'_>) {
        let origins = self.origins();
        let replaced: BTreeSet<u64> = origins
            .values()
            .flat_map(|(.., replaces)| replaces)
            .copied()
            .collect();
        let mut out: BTreeMap<u64, String> = BTreeMap::new();
        for (number, (_, origin, _)) in &origins {
            for dead in &origin.dead {
                out.insert(
                    *dead,
                    format!("{} says that it was in no version any more", file_name(*number)),
                );
            }
        }
        let mut runs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (number, (_, origin, _)) in &origins {
            runs.entry(origin.run.first().copied().unwrap_or(*number))
                .or_default()
                .push(*number);
        }
        // Newest first: what a later run has taken over, an earlier attempt has not.
        let mut claimed = BTreeSet::new();
        for present in runs.values().rev() {
            self.judge_run(repair, &origins, &replaced, present, &mut claimed, &mut out);
        }
        self.note_unreadable(repair, &out);
        for (number, what) in out {
            if let Some(found) = self.ssts.remove(&number) {
                repair.report.note(&found.path, Fate::Replaced, what);
            }
        }
    }

    /// One flush or compaction, of which the files `present` are there.
    fn judge_run(
        &mut self,
        repair: &mut Repair<'_>,
        origins: &BTreeMap<u64, (KeyspaceId, SstOrigin, Vec<u64>)>,
        replaced: &BTreeSet<u64>,
        present: &[u64],
        claimed: &mut BTreeSet<u64>,
        out: &mut BTreeMap<u64, String>,
    ) {
        let of = |number: &u64| origins.get(number);
        let Some((newest, (keyspace, origin, replaces))) =
            present.last().and_then(|newest| Some((*newest, of(newest)?)))
        else {
            return;
        };
        let unlabelled = *origin == SstOrigin::default();
        let known: Vec<u64> = origin.run.iter().copied().chain([newest]).collect();
        let missing: Vec<u64> = known
            .iter()
            .copied()
            .filter(|number| {
                !self.ssts.contains_key(number) && !replaced.contains(number) && !out.contains_key(number)
            })
            .collect();
        let whole = unlabelled || (origin.last && missing.is_empty());
        let intact = |number: &u64| {
            let found = self.ssts.get(number);
            found.is_some_and(|found| matches!(found.condition, Condition::Whole))
        };
        let is_out = |number: &u64| out.contains_key(number);
        let inputs_are_there = !replaces.is_empty()
            && replaces
                .iter()
                .all(|number| self.exists(*number, repair) && !is_out(number));
        let inputs_are_whole = inputs_are_there && replaces.iter().all(intact);
        let outputs_are_whole = present.iter().all(intact);
        let committed = known.iter().any(|number| replaced.contains(number));
        let done = whole || committed;
        // Once another compaction has been done, a file that is gone may have been its input, or of one since.
        let later = origins.iter().any(|(number, (other, _, replaces))| {
            *number > newest && other == keyspace && !replaces.is_empty()
        });
        if replaces.is_empty() {
            // A flush: its files do no harm where some are missing, for the log has everything then.
            self.note_flushed(*keyspace, if done { origin.flushed } else { 0 });
            if origin.last && !committed && !later {
                self.note_missing(repair, *keyspace, &known, &missing);
            }
            return;
        }
        self.note_flushed(*keyspace, origin.flushed);
        if !committed && replaces.iter().any(|number| claimed.contains(number)) {
            // A file is compacted once: this was an attempt that failed.
            for number in present {
                out.insert(
                    *number,
                    "written by a compaction that failed and was done again".to_owned(),
                );
            }
            return;
        }
        let inputs_are_better = inputs_are_whole && !outputs_are_whole && !committed;
        if (done && !inputs_are_better) || !inputs_are_there {
            for number in replaces {
                out.insert(*number, format!("{} replaces it", file_name(newest)));
                claimed.insert(*number);
            }
            if !done && !later {
                self.note_missing(repair, *keyspace, &known, &missing);
                self.note_end_missing(repair, *keyspace, newest, origin.last);
            }
            return;
        }
        if !inputs_are_whole {
            return; // each may have what the other has lost; their numbers decide
        }
        if !later || whole {
            for number in present {
                let what =
                    "written by a compaction that had not finished, or damaged; its inputs are all there";
                out.insert(*number, what.to_owned());
            }
            return;
        }
        let paths = present
            .iter()
            .chain(replaces)
            .map(|number| names::sst(repair.source, *number));
        repair.report.undecided.push(Undecided {
            paths: paths.collect(),
            keyspace: Some(*keyspace),
            key: None,
            what: format!(
                "{} and its inputs are both there, not all outputs are, and later compactions have been done: either \
                 the inputs count or the outputs; `keep` takes the outputs, and `leave-out` the inputs",
                file_name(newest)
            ),
        });
        let leave = if repair.options.undecided == UndecidedChoice::LeaveOut {
            present
        } else {
            replaces
        };
        for number in leave {
            out.insert(*number, "left out by choice".to_owned());
        }
    }

    /// Whether there is a file of that number, readable or not.
    fn exists(&self, number: u64, repair: &Repair<'_>) -> bool {
        let path = names::sst(repair.source, number);
        let unreadable = |file: &RepairedFile| file.fate == Fate::Unreadable && file.path == path;
        self.ssts.contains_key(&number) || repair.report.files.iter().any(unreadable)
    }

    /// Files in which nothing can be read: lost, unless others have replaced them.
    fn note_unreadable(&mut self, repair: &mut Repair<'_>, out: &BTreeMap<u64, String>) {
        let mut losses = Vec::new();
        for file in &mut repair.report.files {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let (Fate::Unreadable, Some(FileKind::Sst(number))) = (file.fate, name.and_then(names::parse))
            else {
                continue;
            };
            if let Some(what) = out.get(&number) {
                (file.fate, file.what) = (Fate::Replaced, what.clone());
            } else if !repair.report.lost.iter().any(|loss| loss.path == file.path) {
                losses.push(Loss::of(file.path.clone(), file.what.clone()));
            }
        }
        self.any_lost |= !losses.is_empty();
        repair.report.lost.extend(losses);
    }

    fn note_flushed(&mut self, keyspace: KeyspaceId, flushed: SeqNo) {
        let space = self.spaces.entry(keyspace).or_default();
        space.flushed = space.flushed.max(flushed);
    }

    /// Files of a run that are gone: the keys between their neighbours are lost.
    fn note_missing(&mut self, repair: &mut Repair<'_>, keyspace: KeyspaceId, run: &[u64], missing: &[u64]) {
        let bounds = |number: &u64| {
            let found = self.ssts.get(number)?;
            let properties = found
                .properties
                .as_ref()
                .filter(|p| p.entry_count > 0 && p.min_key <= p.max_key)?;
            matches!(found.condition, Condition::Whole)
                .then(|| (properties.min_key.clone(), properties.max_key.clone()))
        };
        let mut losses = Vec::new();
        for number in missing {
            let before = run
                .iter()
                .filter(|other| *other < number)
                .filter_map(bounds)
                .next_back();
            let after = run.iter().filter(|other| *other > number).find_map(bounds);
            losses.push(Loss {
                keyspace: Some(keyspace),
                from_key: before.map(|(_, max)| max),
                to_key: after.map(|(min, _)| min),
                ..Loss::of(
                    names::sst(repair.source, *number),
                    "the file is missing, or nothing in it can be read",
                )
            });
        }
        for loss in losses {
            self.spaces.entry(keyspace).or_default().damaged = true;
            if !repair.report.files.iter().any(|file| file.path == loss.path) {
                let what = "a file of the same run names it";
                repair.report.note(&loss.path.clone(), Fate::Missing, what);
            }
            repair.report.lost.push(loss);
        }
    }

    /// The end of a run whose last file is not there.
    fn note_end_missing(&mut self, repair: &mut Repair<'_>, keyspace: KeyspaceId, newest: u64, last: bool) {
        if last {
            return;
        }
        self.spaces.entry(keyspace).or_default().damaged = true;
        let properties = self.ssts.get(&newest).and_then(|found| found.properties.as_ref());
        let from_key = properties.map(|properties| properties.max_key.clone());
        repair.report.lost.push(Loss {
            keyspace: Some(keyspace),
            from_key,
            ..Loss::of(
                names::sst(repair.source, newest),
                "the files that the same compaction wrote after this one are missing",
            )
        });
    }
}

fn file_name(number: u64) -> String {
    format!("{number:06}.sst")
}
