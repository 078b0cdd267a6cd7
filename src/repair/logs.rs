//! Which entries of the logs go into the target. The logs are read twice: once to find the holes and the keyspaces, and once,
//! by `write`, for the entries.
//!
//! An entry counts if it is in no SST yet: its number is above what its keyspace has flushed. One at or below counts only if an
//! SST of the keyspace is damaged, and if no hole lies between it and that number: else a later version of its key may be
//! lost in the hole, and gone from the SSTs because a compaction dropped it, and the older one would come back.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::Plan;
use super::objects::{self, Dangling};
use super::{Loss, Repair, Undecided, UndecidedChoice};
use crate::record_log::RecoveryMode;
use crate::types::{KeyspaceId, SeqNo};
use crate::wal::{self, Op, Payload, ReplayOptions, Replayed};
use crate::{Error, Result};

/// How the logs are read.
fn options(plan: &Plan) -> ReplayOptions {
    let mode = RecoveryMode::Salvage;
    match &plan.catalog {
        Some(catalog) => ReplayOptions {
            floor: catalog.log_floor,
            must_exist: vec![catalog.log_known],
            ends: catalog.log_ends.clone(),
            mode,
        },
        None => ReplayOptions {
            // What the oldest one continues has been deleted in the ordinary course of things.
            floor: plan.logs.iter().copied().min().unwrap_or(1),
            mode,
            ..ReplayOptions::default()
        },
    }
}

/// Hands on all batches of the logs, in order.
fn read(
    repair: &Repair<'_>,
    plan: &Plan,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<Replayed> {
    wal::replay(&*repair.env.fs, repair.source, &options(plan), sink)
}

/// The same again. What was decided rests on the first reading, so the second one must say the same.
///
/// # Errors
/// [`Error::Io`], if it does not: a medium that fails now and then, or somebody who writes.
pub(super) fn read_again(
    repair: &Repair<'_>,
    plan: &Plan,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<()> {
    let (first, now) = (&plan.replayed, read(repair, plan, sink)?);
    let same = first.last_seq == now.last_seq
        && first.holes == now.holes
        && first.torn_bytes == now.torn_bytes
        && first.dropped.len() == now.dropped.len();
    if same {
        return Ok(());
    }
    let what = "the logs read differently the second time: the medium fails now and then, or somebody writes; copy the directory \
                elsewhere and repair the copy";
    Err(Error::io(
        "read the logs of",
        repair.source,
        std::io::Error::other(what),
    ))
}

/// Finds holes, and keyspaces that only the logs know.
pub(super) fn first_pass(repair: &mut Repair<'_>, plan: &mut Plan) -> Result<()> {
    let mut logged: BTreeMap<KeyspaceId, (u64, SeqNo)> = BTreeMap::new();
    let (mut dangling, mut directory) = (Dangling::default(), None);
    let replayed = read(repair, plan, &mut |first, payload| {
        for (seq, op) in (first..).zip(payload.ops()) {
            let op = op?;
            let keyspace = keyspace_of(&op);
            if directory.is_none() && plan.is_directory(&repair.objects, &op) {
                directory = Some(keyspace);
            }
            dangling.note(&repair.objects, keyspace, seq, &op);
            let seen = logged.entry(keyspace).or_default();
            seen.0 += 1;
            seen.1 = seen.1.max(seq);
        }
        Ok(())
    })?;
    plan.last_seq = plan.last_seq.max(replayed.last_seq);
    repair.report.torn_log_bytes = replayed.torn_bytes;
    let mut in_holes = 0;
    for hole in &replayed.holes {
        in_holes += hole.to - hole.from;
        repair.report.lost.push(Loss {
            offset: hole.from,
            len: hole.to - hole.from,
            numbers: Some((hole.before_seq, hole.after_seq)),
            ..Loss::of(hole.path.clone(), hole.what.clone())
        });
    }
    repair.report.torn_log_bytes = repair.report.torn_log_bytes.saturating_sub(in_holes);
    note_unholed(repair, &replayed);
    plan.replayed = replayed;
    plan.directory = plan.directory.or(directory);
    if plan.catalog.is_none() {
        judge_unfiled(repair, plan, &logged);
    }
    objects::replace_directory(repair, plan)?;
    dangling.report(repair, plan);
    Ok(())
}

/// Keyspaces without an SST, when no manifest says whether they live.
fn judge_unfiled(repair: &mut Repair<'_>, plan: &mut Plan, logged: &BTreeMap<KeyspaceId, (u64, SeqNo)>) {
    let filed: BTreeSet<KeyspaceId> = plan.ssts.values().filter_map(|found| found.keyspace).collect();
    let hinted = plan.hints.iter().flat_map(|hints| hints.keyspaces.keys());
    let candidates: BTreeSet<KeyspaceId> = logged.keys().chain(hinted).copied().collect();
    plan.spaces
        .retain(|id, _| filed.contains(id) || candidates.contains(id));
    for id in candidates {
        if filed.contains(&id) || plan.is_dropped(id) || plan.directory == Some(id) {
            continue;
        }
        let (count, newest) = logged.get(&id).copied().unwrap_or_default();
        let name = plan.spaces.get(&id).and_then(|space| space.name.clone());
        let name = name.map_or_else(|| format!("keyspace-{id}"), |name| format!("{name:?}"));
        repair.report.undecided.push(Undecided {
            paths: Vec::new(),
            keyspace: Some(id),
            key: None,
            what: format!(
                "keyspace {id} has no SST, and {count} writes in the logs, up to number {newest}: either it was new or \
                 empty, or it had been dropped; `keep` keeps it as {name}, and `leave-out` leaves it out"
            ),
        });
        if repair.options.undecided == UndecidedChoice::LeaveOut {
            plan.dropped.insert(id);
            plan.spaces.remove(&id);
        } else {
            plan.spaces.entry(id).or_default();
        }
    }
}

/// Damage that the log reports and that is in no hole: a missing or unreadable file at an end of the chain.
fn note_unholed(repair: &mut Repair<'_>, replayed: &Replayed) {
    for error in &replayed.dropped {
        let (path, offset, what) = match error {
            Error::Corruption { path, offset, what } => (path, offset, what.to_string()),
            Error::Io { path, source, .. } => (path, &0, format!("can't be read: {source}")),
            _ => continue,
        };
        let in_hole = repair
            .report
            .lost
            .iter()
            .any(|loss| loss.path == *path && loss.offset == *offset);
        let revived = replayed
            .revived
            .keys()
            .any(|number| path.ends_with(wal::file_name(*number)));
        if in_hole || revived {
            continue;
        }
        repair.report.lost.push(Loss {
            offset: *offset,
            ..Loss::of(path.clone(), what)
        });
    }
}

pub(super) fn keyspace_of(op: &Op<'_>) -> KeyspaceId {
    match op {
        Op::Put { keyspace, .. } | Op::PutObject { keyspace, .. } | Op::Delete { keyspace, .. } => *keyspace,
    }
}

/// Whether a logged write goes into the target.
pub(super) fn is_wanted(plan: &Plan, id: KeyspaceId, seq: SeqNo) -> bool {
    if plan.directory == Some(id) {
        return false;
    }
    let Some(space) = plan.spaces.get(&id) else {
        return false;
    };
    if seq > space.flushed {
        return true;
    }
    let hidden = |hole: &wal::Hole| hole.before_seq >= seq && hole.before_seq < space.flushed;
    space.damaged && !plan.replayed.holes.iter().any(hidden)
}
