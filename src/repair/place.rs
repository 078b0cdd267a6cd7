//! Which SSTs stay as they are, which are merged, and on which level each comes to lie.
//!
//! Reads take the first source that has a version of a key, so of two files with a key in common the newer one has to lie above.
//! Bounds tell which one that is if all numbers of one file are above all of the other's. Files that overlap and that bounds do not
//! order (zeros on both sides, as a rule) are merged into one. What is left is laid out by depth: a file lies one level above the
//! highest of the older ones that it overlaps. So no level holds two files that overlap, but for level 0, where age decides.

use std::collections::BTreeMap;

use super::decide::Plan;
use super::merge::merge;
use super::objects::loss_of;
use super::survey::{Condition, Found};
use super::{Fate, Loss, Repair, Undecided, UndecidedChoice};
use crate::manifest::LEVELS;
use crate::types::{KeyspaceId, SeqNo};
use crate::{Result, Slice};

/// So many disputed keys are listed for each merge; the rest is counted.
const MAX_LISTED: usize = 100;

/// Files that become one run of the target.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) keyspace: KeyspaceId,
    pub(super) files: Vec<Found>,
    pub(super) min_key: Slice,
    pub(super) max_key: Slice,
    pub(super) min_seq: SeqNo,
    pub(super) max_seq: SeqNo,
    pub(super) level: u32,
}

impl Unit {
    /// Whether it is one whole file all of whose entries are good, which is copied.
    pub(super) fn is_copied(&self) -> bool {
        matches!(self.files.as_slice(), [only] if matches!(only.condition, Condition::Whole) && !only.dangling)
    }

    fn overlaps(&self, other: &Unit) -> bool {
        self.min_key <= other.max_key && other.min_key <= self.max_key
    }

    fn is_newer_than(&self, other: &Unit) -> bool {
        self.min_seq > other.max_seq
    }

    fn absorb(&mut self, other: Unit) {
        self.files.extend(other.files);
        self.min_key = self.min_key.clone().min(other.min_key);
        self.max_key = self.max_key.clone().max(other.max_key);
        self.min_seq = self.min_seq.min(other.min_seq);
        self.max_seq = self.max_seq.max(other.max_seq);
    }
}

/// A unit of one file by its bounds; of a damaged one the readable entries are gone through, and what is lost is reported.
fn unit_of(repair: &mut Repair<'_>, keyspace: KeyspaceId, found: &Found) -> Result<Option<Unit>> {
    let mut unit = Unit {
        keyspace,
        files: vec![found.clone()],
        min_key: Slice::default(),
        max_key: Slice::default(),
        min_seq: SeqNo::MAX,
        max_seq: 0,
        level: 0,
    };
    if let (Condition::Whole, Some(properties)) = (&found.condition, &found.properties) {
        (unit.min_key, unit.max_key) = (properties.min_key.clone(), properties.max_key.clone());
        (unit.min_seq, unit.max_seq) = (properties.min_seq, properties.max_seq);
        return Ok(Some(unit));
    }
    let (mut entries, mut dangling) = (0u64, Vec::new());
    let merged = merge(repair, &[found], &mut |key, seq, kind, value| {
        dangling.extend(loss_of(repair, found, keyspace, key, kind, value));
        if entries == 0 {
            unit.min_key = Slice::from(key);
        }
        // A copy for each key would be a lot; only the last one counts.
        entries += 1;
        unit.min_seq = unit.min_seq.min(seq);
        unit.max_seq = unit.max_seq.max(seq);
        if *unit.max_key != *key {
            unit.max_key = Slice::from(key);
        }
        Ok(())
    })?;
    repair.report.lost.extend(dangling);
    for (_, lost) in merged.lost {
        repair.report.lost.push(Loss {
            offset: lost.offset,
            len: lost.len,
            keyspace: Some(keyspace),
            from_key: lost.from,
            to_key: lost.to,
            entries: lost.entries,
            ..Loss::of(found.path.clone(), lost.what)
        });
    }
    Ok((entries > 0).then_some(unit))
}

/// The SSTs of one keyspace.
pub(super) struct Placed {
    /// One for each file.
    pub(super) units: Vec<Unit>,
    /// The manifest's levels hold. Otherwise `lay_out` finds others.
    pub(super) leveled: bool,
}

/// Examines the SSTs of all keyspaces, and reports what merging them leaves undecided.
pub(super) fn place(repair: &mut Repair<'_>, plan: &mut Plan) -> Result<BTreeMap<KeyspaceId, Placed>> {
    let mut all = BTreeMap::new();
    let mut by_keyspace: BTreeMap<KeyspaceId, Vec<Found>> = BTreeMap::new();
    for found in plan.ssts.values() {
        if let Some(id) = found.keyspace {
            by_keyspace.entry(id).or_default().push(found.clone());
        }
    }
    for (id, files) in by_keyspace {
        let Some(space) = plan.spaces.get(&id) else {
            continue;
        };
        let mut units = Vec::new();
        for found in &files {
            match unit_of(repair, id, found)? {
                Some(unit) => units.push(unit),
                None => repair
                    .report
                    .note(&found.path, Fate::Salvaged, "no entry of it can be read"),
            }
        }
        let leveled = space.levels.is_some();
        if let Some(levels) = &space.levels {
            // Nothing is damaged: every file stays on its level.
            for unit in &mut units {
                let number = unit.files.first().map_or(0, |found| found.number);
                unit.level = levels.get(&number).copied().unwrap_or(0);
            }
        } else {
            for unit in lay_out(units.clone()).iter().filter(|unit| unit.files.len() > 1) {
                find_conflicts(repair, unit)?;
            }
        }
        all.insert(id, Placed { units, leveled });
    }
    Ok(all)
}

/// Merges what bounds do not order, and gives each unit its level.
pub(super) fn lay_out(mut units: Vec<Unit>) -> Vec<Unit> {
    // Merging widens bounds, so the new unit is looked at again until none is left that has to be merged.
    loop {
        units.sort_by(|a, b| a.min_key.cmp(&b.min_key));
        let Some((left, right)) = first_unordered(&units) else {
            break;
        };
        let other = units.remove(right);
        if let Some(unit) = units.get_mut(left) {
            unit.absorb(other);
        }
    }
    units.sort_by_key(|unit| (unit.max_seq, unit.min_seq));
    let mut depths: Vec<usize> = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        let older = units.iter().take(index).zip(&depths);
        let below = older
            .filter(|(older, _)| older.overlaps(unit))
            .map(|(_, depth)| depth + 1);
        depths.push(below.max().unwrap_or(0));
    }
    for (unit, depth) in units.iter_mut().zip(depths) {
        unit.level = (LEVELS - 1).saturating_sub(depth) as u32;
    }
    units
}

/// The first pair that overlaps and that bounds do not order. The units are sorted by their first keys.
fn first_unordered(units: &[Unit]) -> Option<(usize, usize)> {
    for (left, unit) in units.iter().enumerate() {
        let rest = units.iter().enumerate().skip(left + 1);
        for (right, other) in rest.take_while(|(_, other)| other.min_key <= unit.max_key) {
            if !unit.is_newer_than(other) && !other.is_newer_than(unit) {
                return Some((left, right));
            }
        }
    }
    None
}

/// Goes through a merge without writing, for what it leaves undecided.
fn find_conflicts(repair: &mut Repair<'_>, unit: &Unit) -> Result<()> {
    let files: Vec<&Found> = unit.files.iter().collect();
    let merged = merge(repair, &files, &mut |_, _, _, _| Ok(()))?;
    let unlisted = merged.conflicts.len().saturating_sub(MAX_LISTED);
    let order = unit
        .files
        .iter()
        .find_map(|found| found.order)
        .unwrap_or_default();
    for conflict in merged.conflicts.iter().take(MAX_LISTED) {
        repair.report.undecided.push(Undecided {
            paths: conflict.paths.clone(),
            keyspace: Some(unit.keyspace),
            key: Some(Slice::from(order.key_of(&conflict.key))),
            what: "both files claim the key with different values and without a number; `keep` takes the value of the first \
                   one, which has the greater number, and `leave-out` takes neither"
                .into(),
        });
    }
    if unlisted > 0 {
        repair.report.undecided.push(Undecided {
            paths: unit.files.iter().map(|found| found.path.clone()).collect(),
            keyspace: Some(unit.keyspace),
            key: None,
            what: format!("{unlisted} more keys are claimed with different values and without a number"),
        });
    }
    if repair.options.undecided == UndecidedChoice::LeaveOut {
        for conflict in merged.conflicts {
            repair.report.lost.push(Loss {
                keyspace: Some(unit.keyspace),
                from_key: Some(conflict.key.clone()),
                to_key: Some(conflict.key),
                entries: Some(1),
                ..Loss::of(
                    conflict.paths.first().cloned().unwrap_or_default(),
                    "left out by choice: two values without a number claim the key",
                )
            });
        }
    }
    Ok(())
}
