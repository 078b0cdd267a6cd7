//! Which SSTs count, and in which keyspace.
//!
//! With a whole manifest: those that it names. Without one, from what the files say of each other (`runs`). A keyspace was dropped
//! if an (even damaged) manifest says so, or if a later one has its name.

mod runs;

use std::collections::{BTreeMap, BTreeSet};

use super::survey::{Condition, Found, Survey};
use super::{Fate, Loss, Repair, RepairedKeyspace, Undecided, UndecidedChoice};
use crate::Result;
use crate::coding::Decoder;
use crate::manifest::Catalog;
use crate::names;
use crate::options::KeyspaceOptions;
use crate::types::{KeyspaceId, SeqNo};
use crate::wal::Replayed;

/// A keyspace of the target.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    pub(super) name: Option<String>,
    pub(super) options: KeyspaceOptions,
    /// All writes up to this number are in SSTs.
    pub(super) flushed: SeqNo,
    /// SSTs of it are damaged or missing, so that the log may have what they have not.
    pub(super) damaged: bool,
    /// The levels that the manifest has for its files.
    pub(super) levels: Option<BTreeMap<u64, u32>>,
    pub(super) from_logs: u64,
    /// Its name was made up.
    pub(super) unnamed: bool,
}

/// What goes into the target.
pub(super) struct Plan {
    /// The files that count, by number.
    pub(super) ssts: BTreeMap<u64, Found>,
    pub(super) spaces: BTreeMap<KeyspaceId, Space>,
    /// Keyspaces that are known to have been dropped.
    pub(super) dropped: BTreeSet<KeyspaceId>,
    /// The keyspace that knows where objects lie. It is made anew.
    pub(super) directory: Option<KeyspaceId>,
    /// The state of a whole manifest.
    pub(super) catalog: Option<Catalog>,
    pub(super) hints: Option<Catalog>,
    pub(super) logs: Vec<u64>,
    /// Below this all numbers of SSTs have been used.
    pub(super) next_number: u64,
    pub(super) last_seq: SeqNo,
    /// What the first reading of the logs has found.
    pub(super) replayed: Replayed,
    /// A file is lost, and nobody knows whose: every keyspace counts as damaged.
    any_lost: bool,
}

pub(super) fn decide(repair: &mut Repair<'_>, survey: Survey) -> Result<Plan> {
    let hinted = survey
        .hints
        .as_ref()
        .map_or((0, 0), |hints| (hints.next_file_number, hints.last_seq));
    let mut plan = Plan {
        next_number: hinted.0.max(survey.highest_number + 1),
        last_seq: hinted.1,
        ssts: survey.ssts,
        spaces: BTreeMap::new(),
        dropped: BTreeSet::new(),
        directory: None,
        catalog: survey.catalog,
        hints: survey.hints,
        logs: survey.logs,
        replayed: Replayed::default(),
        any_lost: false,
    };
    for found in plan.ssts.values() {
        if let Some(properties) = &found.properties {
            plan.last_seq = plan
                .last_seq
                .max(properties.max_seq)
                .max(properties.origin.flushed);
        }
    }
    match plan.catalog.clone() {
        Some(catalog) => plan.by_manifest(repair, &catalog),
        None => plan.by_files(repair),
    }
    plan.find_directory();
    Ok(plan)
}

impl Plan {
    fn by_manifest(&mut self, repair: &mut Repair<'_>, catalog: &Catalog) {
        for (id, entry) in &catalog.keyspaces {
            let mut space = Space {
                name: Some(entry.name.to_string()),
                options: entry.options.clone(),
                flushed: entry.flushed,
                ..Space::default()
            };
            let mut levels = BTreeMap::new();
            for (level, files) in (0..).zip(&entry.levels) {
                for meta in files.values() {
                    levels.insert(meta.number, level);
                    let wanted = |found: &&mut Found| {
                        let other = found.properties.as_ref().is_some_and(|p| p.keyspace != *id);
                        !other
                    };
                    if let Some(found) = self.ssts.get_mut(&meta.number).filter(wanted) {
                        found.keyspace = Some(*id);
                        found.order.get_or_insert(entry.options.sst().order);
                        space.damaged |= matches!(found.condition, Condition::Damaged(_));
                        continue;
                    }
                    space.damaged = true;
                    let path = names::sst(repair.source, meta.number);
                    let unreadable = repair.report.files.iter().any(|file| file.path == path);
                    if !unreadable {
                        repair.report.note(&path, Fate::Missing, "the manifest names it");
                    }
                    repair.report.lost.push(Loss {
                        len: meta.size,
                        keyspace: Some(*id),
                        from_key: Some(meta.min_key.clone()),
                        to_key: Some(meta.max_key.clone()),
                        entries: Some(meta.entries),
                        ..Loss::of(path, "the file is missing, or nothing in it can be read")
                    });
                }
            }
            space.levels = Some(levels).filter(|_| !space.damaged);
            self.spaces.insert(*id, space);
        }
        self.ssts.retain(|_, found| found.keyspace.is_some());
    }

    fn by_files(&mut self, repair: &mut Repair<'_>) {
        self.infer_from_siblings();
        self.leave_out_replaced(repair);
        if let Some(hints) = self.hints.clone() {
            for (id, entry) in &hints.keyspaces {
                let space = self.spaces.entry(*id).or_default();
                (space.name, space.options) = (Some(entry.name.to_string()), entry.options.clone());
                space.flushed = space.flushed.max(entry.flushed);
            }
        }
        self.find_keyspaces();
        self.find_dropped(repair);
        self.place_strays(repair);
    }

    fn find_keyspaces(&mut self) {
        for found in self.ssts.values() {
            let Some(id) = found.keyspace else { continue };
            let space = self.spaces.entry(id).or_default();
            space.damaged |= matches!(found.condition, Condition::Damaged(_)) || self.any_lost;
            if let Some(order) = found.order {
                space.options.set_order(order);
            }
            let Some(properties) = &found.properties else {
                continue;
            };
            let origin = &properties.origin;
            if space.name.is_none() && !origin.keyspace_name.is_empty() {
                space.name = Some(origin.keyspace_name.clone());
                let options = KeyspaceOptions::decode(&mut Decoder::new(&origin.keyspace_options));
                space.options = options.unwrap_or_default();
                space.options.set_order(properties.order);
            }
        }
    }

    fn find_dropped(&mut self, repair: &mut Repair<'_>) {
        let hints = self.hints.as_ref();
        let mut names: BTreeMap<String, KeyspaceId> = BTreeMap::new();
        for (id, space) in &self.spaces {
            let unhinted =
                |hints: &Catalog| *id < hints.next_keyspace_id && !hints.keyspaces.contains_key(id);
            if hints.is_some_and(unhinted) {
                self.dropped.insert(*id);
            }
            // Ids ascend: whoever had the name before has been dropped.
            if let Some(older) = space.name.clone().and_then(|name| names.insert(name, *id)) {
                self.dropped.insert(older);
            }
        }
        self.spaces.retain(|id, _| !self.dropped.contains(id));
        let dropped = &self.dropped;
        let gone = |found: &Found| found.keyspace.is_some_and(|id| dropped.contains(&id));
        for found in self.ssts.values().filter(|found| gone(found)) {
            repair
                .report
                .note(&found.path, Fate::Replaced, "its keyspace has been dropped");
        }
        self.ssts.retain(|_, found| !gone(found));
    }

    /// Files of which nobody knows the keyspace.
    fn place_strays(&mut self, repair: &mut Repair<'_>) {
        let strays: Vec<u64> = self
            .ssts
            .values()
            .filter(|found| found.keyspace.is_none())
            .map(|found| found.number)
            .collect();
        for number in strays {
            let path = names::sst(repair.source, number);
            repair.report.undecided.push(Undecided {
                paths: vec![path.clone()],
                keyspace: None,
                key: None,
                what: "what it says of itself is damaged, so its keyspace is not known, nor which files it replaces; `keep` \
                       puts its entries into a keyspace of their own, and `leave-out` leaves them out"
                    .into(),
            });
            if repair.options.undecided == UndecidedChoice::LeaveOut {
                self.ssts.remove(&number);
                repair
                    .report
                    .note(&path, Fate::LeftOut, "its keyspace is not known");
                repair
                    .report
                    .lost
                    .push(Loss::of(path, "left out by choice: its keyspace is not known"));
                continue;
            }
            let id = self.next_keyspace_id();
            let mut options = KeyspaceOptions::default();
            if let Some(found) = self.ssts.get_mut(&number) {
                found.keyspace = Some(id);
                options.set_order(found.order.unwrap_or_default());
            }
            let space = Space {
                options,
                name: Some(format!("salvaged-{number:06}")),
                unnamed: true,
                damaged: true,
                ..Space::default()
            };
            self.spaces.insert(id, space);
        }
    }

    /// Whether a keyspace is known to have been dropped.
    pub(super) fn is_dropped(&self, id: KeyspaceId) -> bool {
        let hints = self.hints.as_ref();
        let unhinted = |hints: &Catalog| id < hints.next_keyspace_id && !hints.keyspaces.contains_key(&id);
        self.dropped.contains(&id) || hints.is_some_and(unhinted)
    }

    /// An id that no keyspace has had, as far as is known.
    pub(super) fn next_keyspace_id(&self) -> KeyspaceId {
        let seen = self
            .spaces
            .keys()
            .chain(&self.dropped)
            .copied()
            .max()
            .unwrap_or(0);
        let hinted = self.hints.as_ref().map_or(1, |hints| hints.next_keyspace_id);
        seen.saturating_add(1).max(hinted)
    }

    /// Gives names to keyspaces that have lost theirs, and reports all.
    pub(super) fn name_keyspaces(&mut self, repair: &mut Repair<'_>) {
        let mut taken: BTreeSet<String> = self
            .spaces
            .values()
            .filter_map(|space| space.name.clone())
            .collect();
        for (id, space) in &mut self.spaces {
            let name_known = space.name.is_some() && !space.unnamed;
            let name = space.name.get_or_insert_with(|| {
                let mut name = format!("keyspace-{id}");
                while taken.contains(&name) {
                    name.push('\'');
                }
                name
            });
            taken.insert(name.clone());
            repair.report.keyspaces.push(RepairedKeyspace {
                id: *id,
                name: name.clone(),
                name_known,
                copied: 0,
                written: 0,
                entries: 0,
                from_logs: space.from_logs,
            });
        }
    }
}
