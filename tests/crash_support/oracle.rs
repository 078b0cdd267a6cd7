//! [`Oracle`]: what the database must hold.
//!
//! All commits stand in one list, in the order of their sequence numbers. A commit is *acknowledged* when its call
//! returned Ok, *synced* when it, or something behind it, was acknowledged with a sync. A call that failed leaves a *maybe*
//! behind: it may be found after a crash, until a later acknowledged commit bounds it. Creation and drop of keyspaces are
//! durable when they return; one that failed may have happened or not.
//!
//! After a crash, the content of all keyspaces must be the state after some prefix of the list that contains every
//! synced commit (every acknowledged one, if no power was lost). What recovery has shown is durable from then on.

use std::collections::{BTreeMap, BTreeSet};

/// The content of one keyspace.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// The content of a database, by keyspace name.
pub type Content = BTreeMap<String, Map>;

/// Names are used again, so a keyspace is known by a number of its own.
type Incarnation = u64;

#[derive(Clone, Debug)]
pub struct Op {
    keyspace: Incarnation,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Commit {
    ops: Vec<Op>,
    acknowledged: bool,
    synced: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    base: BTreeMap<Incarnation, Map>,
    commits: Vec<Commit>,
    live: BTreeMap<String, Incarnation>,
    next: Incarnation,
    maybe_created: BTreeSet<String>,
    /// With the number of commits at that time: one that must be found later proves that the drop did not happen.
    maybe_dropped: BTreeMap<String, usize>,
}

/// What happened to the machine before the database was opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that was written is lost.
    Nothing,
    /// What was not synced may be lost.
    Unsynced,
}

fn apply(state: &mut BTreeMap<Incarnation, Map>, commit: &Commit) {
    for op in &commit.ops {
        let map = state.entry(op.keyspace).or_default();
        match &op.value {
            Some(value) => map.insert(op.key.clone(), value.clone()),
            None => map.remove(&op.key),
        };
    }
}

impl Oracle {
    pub fn live(&self) -> Vec<String> {
        self.live.keys().cloned().collect()
    }

    pub fn op(&self, keyspace: &str, key: Vec<u8>, value: Option<Vec<u8>>) -> Op {
        Op {
            keyspace: self.live[keyspace],
            key,
            value,
        }
    }

    pub fn commit(&mut self, ops: Vec<Op>, acknowledged: bool, synced: bool) {
        if acknowledged {
            // A successor bounds what failed before it.
            while self.commits.last().is_some_and(|last| !last.acknowledged) {
                self.commits.pop();
            }
        }
        self.commits.push(Commit {
            ops,
            acknowledged,
            synced: false,
        });
        if acknowledged && synced {
            self.synced();
        }
    }

    /// The write reached the log, but its sync failed: it is visible and may or may not last.
    pub fn written_but_not_synced(&mut self, ops: Vec<Op>) {
        self.commits.push(Commit {
            ops,
            acknowledged: false,
            synced: false,
        });
    }

    /// Everything acknowledged so far survives a loss of power.
    pub fn synced(&mut self) {
        let last = self.commits.iter().rposition(|commit| commit.acknowledged);
        if let Some(last) = last {
            self.commits[..=last]
                .iter_mut()
                .for_each(|commit| commit.synced = true);
        }
    }

    pub fn created(&mut self, name: &str) {
        if !self.live.contains_key(name) {
            self.maybe_created.remove(name);
            self.live.insert(name.to_owned(), self.next);
            self.base.insert(self.next, Map::new());
            self.next += 1;
        }
    }

    pub fn creation_failed(&mut self, name: &str) {
        if !self.live.contains_key(name) {
            self.maybe_created.insert(name.to_owned());
        }
    }

    pub fn dropped(&mut self, name: &str) {
        self.live.remove(name);
        self.maybe_dropped.remove(name);
        // Its batches may have other halves: they were synced first.
        self.synced();
    }

    pub fn drop_failed(&mut self, name: &str) {
        self.maybe_dropped.insert(name.to_owned(), self.commits.len());
    }

    /// What readers see now. Failed commits are not in it.
    pub fn visible(&self) -> Content {
        let mut state = self.base.clone();
        self.commits
            .iter()
            .filter(|commit| commit.acknowledged)
            .for_each(|commit| apply(&mut state, commit));
        self.live
            .iter()
            .map(|(name, id)| (name.clone(), state.remove(id).unwrap_or_default()))
            .collect()
    }

    /// What readers may see besides: that with the failed commits behind the last acknowledged one, and each keyspace that may have
    /// been dropped gone.
    pub fn with_maybes(&self) -> Vec<Content> {
        let mut all = Oracle {
            maybe_created: BTreeSet::new(),
            ..self.clone()
        };
        all.commits
            .iter_mut()
            .for_each(|commit| commit.acknowledged = true);
        let mut dropped = self.clone();
        dropped
            .live
            .retain(|name, _| !self.maybe_dropped.contains_key(name));
        vec![all.visible(), dropped.visible()]
    }

    /// Checks what a reopened database holds, and takes it for the truth from here on.
    pub fn recovered(&mut self, found: &Content, loss: Loss) -> Result<(), String> {
        self.check_names(found, loss)?;
        let required = self.required(loss);
        let mut state = self.base.clone();
        let mut nearest = None;
        for at in 0..=self.commits.len() {
            if at >= required {
                match self.differs(&state, found) {
                    None => {
                        self.settle(state, found);
                        return Ok(());
                    }
                    Some(what) => nearest = Some((at, what)),
                }
            }
            if let Some(commit) = self.commits.get(at) {
                if !commit.acknowledged {
                    // Each failed commit may be there or not.
                    let mut with = state.clone();
                    apply(&mut with, commit);
                    if at + 1 >= required && self.differs(&with, found).is_none() {
                        self.settle(with, found);
                        return Ok(());
                    }
                    continue;
                }
                apply(&mut state, commit);
            }
        }
        let (at, what) = nearest.unwrap_or((0, String::new()));
        Err(format!(
            "the content is that of no prefix of {required} to {} commits; against prefix {at}: {what}",
            self.commits.len()
        ))
    }

    /// How many commits must be there at least.
    fn required(&self, loss: Loss) -> usize {
        let must = |commit: &Commit| match loss {
            Loss::Nothing => commit.acknowledged,
            Loss::Unsynced => commit.synced,
        };
        self.commits.iter().rposition(must).map_or(0, |at| at + 1)
    }

    fn check_names(&self, found: &Content, loss: Loss) -> Result<(), String> {
        for (name, id) in &self.live {
            if found.contains_key(name) {
                continue;
            }
            let Some(since) = self.maybe_dropped.get(name) else {
                return Err(format!("keyspace {name:?} is gone, and it was never dropped"));
            };
            let required = self.required(loss);
            let proof = self.commits.get(*since..required).unwrap_or_default();
            if proof
                .iter()
                .any(|commit| commit.ops.iter().any(|op| op.keyspace == *id))
            {
                return Err(format!(
                    "keyspace {name:?} is gone: its drop failed, and writes were acknowledged afterwards"
                ));
            }
        }
        for (name, map) in found {
            let may_be_there = self.maybe_created.contains(name) && map.is_empty();
            if !self.live.contains_key(name) && !may_be_there {
                return Err(format!("keyspace {name:?} is there with {} entries", map.len()));
            }
        }
        Ok(())
    }

    /// The first difference, `None` if there is none.
    fn differs(&self, state: &BTreeMap<Incarnation, Map>, found: &Content) -> Option<String> {
        let empty = Map::new();
        for (name, id) in &self.live {
            let Some(map) = found.get(name) else { continue };
            let wanted = state.get(id).unwrap_or(&empty);
            if map != wanted {
                return Some(first_difference(name, wanted, map));
            }
        }
        None
    }

    fn settle(&mut self, state: BTreeMap<Incarnation, Map>, found: &Content) {
        let before = std::mem::take(&mut self.live);
        self.base.clear();
        self.commits.clear();
        self.maybe_created.clear();
        self.maybe_dropped.clear();
        for name in found.keys() {
            let map = before
                .get(name)
                .and_then(|id| state.get(id))
                .cloned()
                .unwrap_or_default();
            self.live.insert(name.clone(), self.next);
            self.base.insert(self.next, map);
            self.next += 1;
        }
    }
}

/// Where two maps differ first.
pub fn first_difference(name: &str, wanted: &Map, found: &Map) -> String {
    let show = |value: Option<&Vec<u8>>| {
        value.map_or("nothing".to_owned(), |value| {
            let front = value.get(..value.len().min(24)).unwrap_or_default();
            format!("{} ({} bytes)", front.escape_ascii(), value.len())
        })
    };
    let keys: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    for key in keys {
        if wanted.get(key) != found.get(key) {
            return format!(
                "keyspace {name:?}, key {}: expected {}, found {}",
                key.escape_ascii(),
                show(wanted.get(key)),
                show(found.get(key))
            );
        }
    }
    "no difference".to_owned()
}
