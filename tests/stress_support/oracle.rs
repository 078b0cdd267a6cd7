//! [`Oracle`]: what the database must hold and may hold.
//!
//! Every commit has a place in the order of commits and a state:
//!
//! * *pending*: its call has failed. It may be found after a crash, as long as no acknowledged commit follows it. It is
//!   visible only if the failure was the sync's that came after the write.
//! * *acknowledged*: the call returned; it is lost only with the power.
//! * *synced*: it, or something behind it, was made durable.
//! * *proven*: synced before the last sync. A flipped bit in the log can be told from a torn tail only there.
//!
//! What a reopened database holds must be the state after some prefix of the list that contains all that it must. It is
//! the truth from then on, and durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::data::{Bytes, NAMES};
use super::steps::Id;

pub(crate) type Map = BTreeMap<Bytes, Bytes>;
/// Names are used again, so a keyspace is known by a number of its own.
pub(crate) type Incarnation = u64;
type State = BTreeMap<Incarnation, Rc<Map>>;
/// What was found, by the keyspace's name.
pub(crate) type Found = BTreeMap<Id, Map>;

#[derive(Clone, Debug)]
pub(crate) struct Op {
    keyspace: Incarnation,
    key: Bytes,
    value: Option<Bytes>,
}

#[derive(Debug)]
struct Commit {
    at: u64,
    ops: Vec<Op>,
    acknowledged: bool,
}

/// What must be there at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// Everything acknowledged.
    Nothing,
    /// Everything synced: the power was lost.
    Unsynced,
    /// Everything proven: bits flipped in a log.
    Unproven,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    base: State,
    commits: VecDeque<Commit>,
    now: State,
    live: BTreeMap<Id, Incarnation>,
    next: Incarnation,
    last: u64,
    synced: u64,
    proven: u64,
    maybe_created: BTreeSet<Id>,
    /// With the newest commit at that time: a later one that must be found proves that the drop did not happen.
    maybe_dropped: BTreeMap<Id, u64>,
}

fn apply(state: &mut State, op: &Op) {
    let map = Rc::make_mut(state.entry(op.keyspace).or_default());
    match &op.value {
        Some(value) => map.insert(op.key.clone(), value.clone()),
        None => map.remove(&op.key),
    };
}

impl Oracle {
    /// Which keyspaces have the names now, of all that have had them.
    pub(crate) fn incarnations(&self) -> &BTreeMap<Id, Incarnation> {
        &self.live
    }

    pub(crate) fn is_live(&self, id: Id) -> bool {
        self.live.contains_key(&id)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = Id> + '_ {
        self.live.keys().copied()
    }

    /// What readers see in a live keyspace.
    pub(crate) fn map(&self, id: Id) -> Rc<Map> {
        let map = self.live.get(&id).and_then(|inc| self.now.get(inc));
        map.cloned().unwrap_or_default()
    }

    pub(crate) fn op(&self, id: Id, key: Bytes, value: Option<Bytes>) -> Op {
        Op {
            keyspace: self.live[&id],
            key,
            value,
        }
    }

    /// A commit whose call has returned.
    pub(crate) fn commit(&mut self, ops: Vec<Op>, acknowledged: bool, synced: bool) {
        if acknowledged {
            // A successor bounds what failed before it.
            while self.commits.back().is_some_and(|last| !last.acknowledged) {
                self.commits.pop_back();
            }
            ops.iter().for_each(|op| apply(&mut self.now, op));
        }
        self.last += 1;
        self.commits.push_back(Commit {
            at: self.last,
            ops,
            acknowledged,
        });
        if acknowledged && synced {
            self.synced();
        }
    }

    /// What readers would see in a keyspace if the last commit, which failed, were visible all the same.
    pub(crate) fn with_last(&self, id: Id) -> Rc<Map> {
        let mut state = self.now.clone();
        if let Some(last) = self.commits.back().filter(|last| !last.acknowledged) {
            last.ops.iter().for_each(|op| apply(&mut state, op));
        }
        let map = self.live.get(&id).and_then(|inc| state.get(inc));
        map.cloned().unwrap_or_default()
    }

    /// The last commit, which failed, has turned out to be visible.
    pub(crate) fn last_is_visible(&mut self) {
        if let Some(last) = self.commits.back().filter(|last| !last.acknowledged) {
            last.ops.iter().for_each(|op| apply(&mut self.now, op));
        }
    }

    /// Whether it is open what became of a write, or of a keyspace that was to be created or dropped.
    pub(crate) fn has_pending(&self) -> bool {
        let ddl = !self.maybe_created.is_empty() || !self.maybe_dropped.is_empty();
        ddl || self.commits.iter().any(|commit| !commit.acknowledged)
    }

    /// Everything acknowledged so far survives a loss of power.
    pub(crate) fn synced(&mut self) {
        let last = self.commits.iter().rfind(|commit| commit.acknowledged);
        let Some(at) = last.map(|commit| commit.at).filter(|at| *at > self.synced) else {
            return;
        };
        self.proven = self.synced;
        self.synced = at;
        while let Some(first) = self.commits.front().filter(|first| first.at <= self.proven) {
            if first.acknowledged {
                first.ops.iter().for_each(|op| apply(&mut self.base, op));
            }
            self.commits.pop_front();
        }
    }

    pub(crate) fn created(&mut self, id: Id) {
        if !self.live.contains_key(&id) {
            self.maybe_created.remove(&id);
            self.live.insert(id, self.next);
            self.next += 1;
        }
    }

    pub(crate) fn creation_failed(&mut self, id: Id) {
        if !self.live.contains_key(&id) {
            self.maybe_created.insert(id);
        }
    }

    pub(crate) fn dropped(&mut self, id: Id) {
        self.maybe_dropped.remove(&id);
        // Its batches may have other halves: they were synced first.
        self.synced();
        if let Some(inc) = self.live.remove(&id) {
            self.now.remove(&inc);
        }
    }

    pub(crate) fn drop_failed(&mut self, id: Id) {
        self.maybe_dropped.insert(id, self.last);
    }

    /// Checks what a reopened database holds, and takes it for the truth from here on.
    pub(crate) fn recovered(&mut self, found: &Found, loss: Loss) -> Result<(), String> {
        let state = self.explain(found, loss)?;
        let before = std::mem::take(&mut self.live);
        self.base = State::new();
        for id in found.keys() {
            let inc = before.get(id).copied().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            self.live.insert(*id, inc);
            self.base
                .insert(inc, state.get(&inc).cloned().unwrap_or_default());
        }
        self.now = self.base.clone();
        self.commits.clear();
        self.maybe_created.clear();
        self.maybe_dropped.clear();
        (self.synced, self.proven) = (self.last, self.last);
        Ok(())
    }

    /// The permitted state that equals what was found.
    pub(crate) fn explain(&self, found: &Found, loss: Loss) -> Result<State, String> {
        let required = self.required(loss);
        self.check_names(found, required)?;
        let mut walk = Walk::new(&self.live, found, self.base.clone());
        let mut nearest = String::from("no prefix is long enough");
        let mut reached = required == 0 || self.commits.front().is_none_or(|first| first.at > required);
        if reached {
            if walk.differing == 0 {
                return Ok(walk.state);
            }
            nearest = walk.first_difference();
        }
        for commit in &self.commits {
            let mark = walk.apply(&commit.ops);
            reached |= commit.at >= required;
            if reached {
                if walk.differing == 0 {
                    return Ok(walk.state);
                }
                nearest = format!(
                    "against the prefix up to {}: {}",
                    commit.at,
                    walk.first_difference()
                );
            }
            if !commit.acknowledged {
                walk.undo(mark); // each failed one may be there or not
            }
        }
        Err(format!(
            "with {loss:?} lost the content is that of no prefix of commits {required} to {}: {nearest}",
            self.last
        ))
    }

    /// The newest commit that must be there.
    fn required(&self, loss: Loss) -> u64 {
        match loss {
            Loss::Nothing => {
                let last = self.commits.iter().rfind(|commit| commit.acknowledged);
                last.map_or(0, |commit| commit.at)
            }
            Loss::Unsynced => self.synced,
            Loss::Unproven => self.proven,
        }
    }

    fn check_names(&self, found: &Found, required: u64) -> Result<(), String> {
        for (id, inc) in &self.live {
            if found.contains_key(id) {
                continue;
            }
            let name = NAMES[usize::from(*id)];
            let Some(since) = self.maybe_dropped.get(id) else {
                return Err(format!("keyspace {name:?} is gone, and it was never dropped"));
            };
            let proves = |commit: &&Commit| {
                commit.acknowledged
                    && (*since + 1..=required).contains(&commit.at)
                    && commit.ops.iter().any(|op| op.keyspace == *inc)
            };
            if self.commits.iter().any(|commit| proves(&commit)) {
                return Err(format!(
                    "keyspace {name:?} is gone: its drop failed, and writes were acknowledged afterwards"
                ));
            }
        }
        for (id, map) in found {
            let may_be_there = self.maybe_created.contains(id) && map.is_empty();
            if !self.live.contains_key(id) && !may_be_there {
                let name = NAMES[usize::from(*id)];
                return Err(format!("keyspace {name:?} is there with {} entries", map.len()));
            }
        }
        Ok(())
    }
}

/// A walk over prefixes, which knows how many keys differ from what was found.
struct Walk<'f> {
    found: BTreeMap<Incarnation, &'f Map>,
    state: State,
    differing: usize,
}

impl<'f> Walk<'f> {
    fn new(live: &BTreeMap<Id, Incarnation>, found: &'f Found, state: State) -> Self {
        let found = live.iter().filter_map(|(id, inc)| Some((*inc, found.get(id)?)));
        let mut walk = Walk {
            found: found.collect(),
            state,
            differing: 0,
        };
        walk.differing = walk.differences().count();
        walk
    }

    fn differences(&self) -> impl Iterator<Item = (Incarnation, &Bytes)> {
        self.found.iter().flat_map(|(inc, found)| {
            let wanted = self.state.get(inc);
            let missing = wanted.into_iter().flat_map(|wanted| wanted.keys());
            let missing = missing.filter(|key| !found.contains_key(*key));
            let others = found
                .iter()
                .filter(move |(key, value)| wanted.and_then(|wanted| wanted.get(*key)) != Some(*value));
            missing.chain(others.map(|(key, _)| key)).map(|key| (*inc, key))
        })
    }

    fn first_difference(&self) -> String {
        let Some((inc, key)) = self.differences().next() else {
            return "no difference".to_owned();
        };
        let wanted = self.state.get(&inc).and_then(|map| map.get(key));
        let found = self.found[&inc].get(key);
        format!(
            "keyspace #{inc}, key {}: expected {}, found {}",
            show(Some(key)),
            show(wanted),
            show(found)
        )
    }

    fn differs(&self, inc: Incarnation, key: &Bytes) -> bool {
        let Some(found) = self.found.get(&inc) else {
            return false;
        };
        self.state.get(&inc).and_then(|map| map.get(key)) != found.get(key)
    }

    /// Applies writes; returns what they replaced.
    fn apply(&mut self, ops: &[Op]) -> Vec<Op> {
        let mut mark = Vec::with_capacity(ops.len());
        for op in ops {
            let before = self
                .state
                .get(&op.keyspace)
                .and_then(|map| map.get(&op.key))
                .cloned();
            mark.push(Op {
                value: before,
                ..op.clone()
            });
            let differed = self.differs(op.keyspace, &op.key);
            apply(&mut self.state, op);
            self.differing += usize::from(self.differs(op.keyspace, &op.key));
            self.differing -= usize::from(differed);
        }
        mark
    }

    fn undo(&mut self, mark: Vec<Op>) {
        let backwards: Vec<Op> = mark.into_iter().rev().collect();
        self.apply(&backwards);
    }
}

/// Some bytes, short.
pub(crate) fn show(bytes: Option<&Bytes>) -> String {
    bytes.map_or("nothing".to_owned(), |bytes| {
        let front = &bytes[..bytes.len().min(20)];
        format!("{}[{}]", front.escape_ascii(), bytes.len())
    })
}
