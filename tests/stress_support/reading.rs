//! The steps that read, and the ranges that are held open across other steps.

use std::collections::VecDeque;
use std::ops::Bound;

use packstone::{Error, Keys, Range, Slice};

use super::data::Bytes;
use super::oracle::{Map, show};
use super::steps::{End, Id, Span, Step};
use super::world::{Checked, DIR, HeldSnapshot, World, is_hashed, looked_up};

/// A range in the middle of being read.
enum Cursor {
    Entries(Range),
    Keys(Keys),
}

type Item = packstone::Result<(Slice, Option<Slice>)>;

impl Cursor {
    fn next(&mut self, back: bool) -> Option<Item> {
        match self {
            Cursor::Entries(range) => {
                let entry = if back { range.next_back() } else { range.next() };
                entry.map(|entry| entry.map(|(key, value)| (key, Some(value))))
            }
            Cursor::Keys(keys) => {
                let key = if back { keys.next_back() } else { keys.next() };
                key.map(|key| key.map(|key| (key, None)))
            }
        }
    }
}

/// A range, and what it has still to give.
pub(crate) struct HeldRange {
    cursor: Cursor,
    left: VecDeque<(Bytes, Bytes)>,
    turn: bool,
}

/// How a step of a range went.
enum Went {
    On,
    Ended,
    Failed(Error),
}

impl HeldRange {
    fn new(range: Range, keys_only: bool, left: VecDeque<(Bytes, Bytes)>) -> Self {
        let cursor = if keys_only {
            Cursor::Keys(range.keys())
        } else {
            Cursor::Entries(range)
        };
        HeldRange {
            cursor,
            left,
            turn: false,
        }
    }

    fn step(&mut self, end: End) -> Checked<Went> {
        self.turn = !self.turn;
        let back = match end {
            End::Front => false,
            End::Back => true,
            End::Both => self.turn,
        };
        match self.cursor.next(back) {
            Some(Err(error)) => match self.cursor.next(back) {
                None => Ok(Went::Failed(error)),
                Some(more) => Err(format!("a range goes on after {error}: {more:?}")),
            },
            Some(Ok((key, value))) => {
                let wanted = if back {
                    self.left.pop_back()
                } else {
                    self.left.pop_front()
                };
                let right = wanted.as_ref().is_some_and(|(wanted_key, wanted)| {
                    key[..] == wanted_key[..] && value.as_ref().is_none_or(|value| value[..] == wanted[..])
                });
                if right {
                    return Ok(Went::On);
                }
                let (wanted_key, wanted) = wanted.unzip();
                Err(format!(
                    "a range gives {} = {} instead of {} = {}",
                    show(Some(&key[..].into())),
                    show(value.map(|value| value[..].into()).as_ref()),
                    show(wanted_key.as_ref()),
                    show(wanted.as_ref())
                ))
            }
            None => match self.left.front() {
                None => Ok(Went::Ended),
                Some((key, _)) => Err(format!(
                    "a range ends {} entries too early, {} is among them",
                    self.left.len(),
                    show(Some(key))
                )),
            },
        }
    }
}

fn entries(map: &Map, (from, to): &(Option<Bytes>, Option<Bytes>)) -> VecDeque<(Bytes, Bytes)> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return VecDeque::new();
    }
    let lower = from.clone().map_or(Bound::Unbounded, Bound::Included);
    let upper = to.clone().map_or(Bound::Unbounded, Bound::Excluded);
    let inside = map.range::<Bytes, _>((lower, upper));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl World {
    pub(crate) fn read(&mut self, step: &Step) -> Checked {
        match step {
            Step::Get(id, key) => self.get(*id, *key),
            Step::Ends(id) => self.ends(*id),
            Step::Range(id, span, end, keys_only) => {
                let Some(mut range) = self.range(*id, span, None, *keys_only) else {
                    return Ok(());
                };
                self.read_through(&mut range, *end).map(drop)
            }
            Step::Snapshot(slot) => {
                self.take_snapshot(*slot);
                Ok(())
            }
            Step::Look(slot) => self.with_snapshot(*slot, World::look),
            Step::Peek(slot, id, key) => self.with_snapshot(*slot, |world, held| world.peek(held, *id, *key)),
            Step::Release(slot) => {
                self.snapshots.remove(slot);
                Ok(())
            }
            Step::Begin(slot, id, span, snapshot) => {
                let keys_only = *slot % 3 == 0;
                if let Some(range) = self.range(*id, span, *snapshot, keys_only) {
                    self.ranges.insert(*slot, range);
                }
                Ok(())
            }
            Step::Next(slot, count, end) => self.next(*slot, *count, *end),
            Step::Finish(slot) => {
                let Some(mut range) = self.ranges.remove(slot) else {
                    return Ok(());
                };
                self.read_through(&mut range, End::Both).map(drop)
            }
            Step::Open(slot, id, key, snapshot) => self.open_value(*slot, *id, *key, *snapshot),
            Step::Pour(slot, to, count) => self.pour(*slot, *to, *count),
            Step::GetMany(id, snapshot, keys) => self.get_many(*id, *snapshot, keys),
            Step::Cursor(slot, id, snapshot) => self.place_cursor(*slot, *id, *snapshot),
            Step::Move(slot, to) => self.move_cursor(*slot, to),
            Step::Verify => self.verify(),
            Step::Check => self.check_everything(),
            Step::ReadOnly => self.read_only(),
            Step::Checkpoint(no_links) => self.checkpoint(*no_links),
            Step::Beside => self.beside(),
            other => Err(format!("{other} is not handled")),
        }
    }

    pub(super) fn same(
        &self,
        what: &str,
        key: &Bytes,
        found: Option<&[u8]>,
        wanted: Option<&Bytes>,
    ) -> Checked {
        if found == wanted.map(|value| &value[..]) {
            return Ok(());
        }
        Err(format!(
            "{what} of {} gives {} instead of {}",
            show(Some(key)),
            show(found.map(Bytes::from).as_ref()),
            show(wanted)
        ))
    }

    fn get(&mut self, id: Id, number: Id) -> Checked {
        let (Some(keyspace), key) = (self.keyspaces.get(&id), self.key(number)) else {
            return Ok(());
        };
        let (keyspace, since) = (keyspace.clone(), self.failures());
        let map = self.oracle.map(id);
        match keyspace.get(&key) {
            Ok(found) => self.same("get", &key, found.as_deref(), map.get(&key))?,
            Err(error) => return self.tolerate("get", &error, since),
        }
        let mut buffer = b"leftover".to_vec();
        match keyspace.get_into(&key, &mut buffer) {
            Ok(found) => {
                let found = found.then_some(&buffer[..]);
                self.same("get_into", &key, found, map.get(&key))?;
            }
            Err(error) => return self.tolerate("get_into", &error, since),
        }
        match keyspace.contains_key(&key) {
            Ok(found) if found == map.contains_key(&key) => Ok(()),
            Ok(found) => Err(format!("contains_key of {} gives {found}", show(Some(&key)))),
            Err(error) => self.tolerate("contains_key", &error, since),
        }
    }

    fn ends(&mut self, id: Id) -> Checked {
        let Some(keyspace) = self.keyspaces.get(&id).cloned() else {
            return Ok(());
        };
        let (map, since) = (self.oracle.map(id), self.failures());
        let hashed = is_hashed(&keyspace);
        for (what, found, wanted) in [
            ("first", keyspace.first(), map.first_key_value()),
            ("last", keyspace.last(), map.last_key_value()),
        ] {
            match found {
                Err(Error::HashOrder { .. }) if hashed => {}
                Ok(_) if hashed => return Err(format!("{what} is answered in hash order")),
                Ok(found) => {
                    let same = match (&found, wanted) {
                        (Some((key, value)), Some((wanted_key, wanted))) => {
                            key[..] == wanted_key[..] && value[..] == wanted[..]
                        }
                        (None, None) => true,
                        _ => false,
                    };
                    if !same {
                        let key = found.map(|(key, _)| Bytes::from(&key[..]));
                        let wanted = wanted.map(|(key, _)| key);
                        return Err(format!(
                            "{what} is {} instead of {}",
                            show(key.as_ref()),
                            show(wanted)
                        ));
                    }
                }
                Err(error) => self.tolerate(what, &error, since)?,
            }
        }
        match keyspace.is_empty() {
            Ok(empty) if empty == map.is_empty() => Ok(()),
            Ok(empty) => Err(format!("is_empty gives {empty}")),
            Err(error) => self.tolerate("is_empty", &error, since),
        }
    }

    /// A range, and what it should give; `None` where there is no such keyspace or snapshot.
    fn range(&self, id: Id, span: &Span, snapshot: Option<Id>, keys_only: bool) -> Option<HeldRange> {
        let bounds = self.bounds(span);
        let (range, expected) = match snapshot {
            Some(slot) => {
                let held = self.snapshots.get(&slot)?;
                let (keyspace, map) = held.keyspaces.get(&id)?;
                let snapshot = &held.snapshot;
                let range = match (span, &bounds) {
                    (Span::Prefix(..), (prefix, _)) => snapshot.prefix(keyspace, prefix.as_deref()?),
                    (_, (Some(from), Some(to))) => snapshot.range(keyspace, &from[..]..&to[..]),
                    (_, (Some(from), None)) => snapshot.range(keyspace, &from[..]..),
                    (_, (None, Some(to))) => snapshot.range(keyspace, ..&to[..]),
                    (_, (None, None)) => snapshot.iter(keyspace),
                };
                (range, entries(map, &bounds))
            }
            None => {
                let keyspace = self.keyspaces.get(&id)?;
                let range = match (span, &bounds) {
                    (Span::Prefix(..), (prefix, _)) => keyspace.prefix(prefix.as_deref()?),
                    (_, (Some(from), Some(to))) => keyspace.range(&from[..]..&to[..]),
                    (_, (Some(from), None)) => keyspace.range(&from[..]..),
                    (_, (None, Some(to))) => keyspace.range(..&to[..]),
                    (_, (None, None)) => keyspace.iter(),
                };
                (range, entries(&self.oracle.map(id), &bounds))
            }
        };
        let keyspace = match snapshot {
            Some(slot) => &self.snapshots.get(&slot)?.keyspaces.get(&id)?.0,
            None => self.keyspaces.get(&id)?,
        };
        if is_hashed(keyspace) {
            // There is nothing more to read: the refusal is checked here.
            let mut range = range;
            let refused = range.next();
            assert!(
                matches!(refused, Some(Err(Error::HashOrder { .. }))),
                "a range in hash order gives {refused:?}"
            );
            assert!(range.next().is_none());
            return None;
        }
        Some(HeldRange::new(range, keys_only, expected))
    }

    /// Compares what look-ups in a keyspace of hash order give.
    fn compare_look_ups(
        &mut self,
        map: &Map,
        get: impl Fn(&[u8]) -> packstone::Result<Option<Slice>>,
    ) -> Checked {
        let since = self.failures();
        match looked_up(&self.all_keys, get) {
            Ok(found) if found == *map => Ok(()),
            Ok(found) => {
                let wrong = self.all_keys.iter().find(|key| found.get(*key) != map.get(*key));
                let key = wrong.ok_or("keys that no history writes")?;
                self.same("get", key, found.get(key).map(|value| &value[..]), map.get(key))
            }
            Err(error) => self.tolerate("get", &error, since),
        }
    }

    /// Reads a range to its end; false when an error ends it before.
    pub(crate) fn read_through(&mut self, range: &mut HeldRange, end: End) -> Checked<bool> {
        loop {
            let since = self.failures();
            match range.step(end)? {
                Went::On => {}
                Went::Ended => return Ok(true),
                Went::Failed(error) => {
                    self.tolerate("range", &error, since)?;
                    return Ok(false);
                }
            }
        }
    }

    fn next(&mut self, slot: Id, count: u64, end: End) -> Checked {
        let Some(mut range) = self.ranges.remove(&slot) else {
            return Ok(());
        };
        for _ in 0..count {
            let since = self.failures();
            match range.step(end)? {
                Went::On => {}
                Went::Ended => return Ok(()),
                Went::Failed(error) => return self.tolerate("range", &error, since),
            }
        }
        self.ranges.insert(slot, range);
        Ok(())
    }

    fn take_snapshot(&mut self, slot: Id) {
        let snapshot = self.db().snapshot();
        let keyspaces = self.keyspaces.iter();
        let keyspaces = keyspaces.map(|(id, keyspace)| (*id, (keyspace.clone(), self.oracle.map(*id))));
        let held = HeldSnapshot {
            snapshot,
            keyspaces: keyspaces.collect(),
            incarnations: self.oracle.incarnations().clone(),
        };
        self.snapshots.insert(slot, held);
    }

    fn with_snapshot(
        &mut self,
        slot: Id,
        work: impl FnOnce(&mut World, &HeldSnapshot) -> Checked,
    ) -> Checked {
        let Some(held) = self.snapshots.remove(&slot) else {
            return Ok(());
        };
        let result = work(self, &held);
        self.snapshots.insert(slot, held);
        result
    }

    fn look(&mut self, held: &HeldSnapshot) -> Checked {
        for (keyspace, map) in held.keyspaces.values() {
            if is_hashed(keyspace) {
                self.compare_look_ups(map, |key| held.snapshot.get(keyspace, key))
                    .map_err(|what| format!("a snapshot of {:?}: {what}", keyspace.name()))?;
                continue;
            }
            let range = held.snapshot.iter(keyspace);
            let mut range = HeldRange::new(range, false, entries(map, &(None, None)));
            self.read_through(&mut range, End::Front)
                .map_err(|what| format!("a snapshot of {:?}: {what}", keyspace.name()))?;
        }
        Ok(())
    }

    fn peek(&mut self, held: &HeldSnapshot, id: Id, number: Id) -> Checked {
        let (Some((keyspace, map)), key) = (held.keyspaces.get(&id), self.key(number)) else {
            return Ok(());
        };
        let since = self.failures();
        match held.snapshot.get(keyspace, &key) {
            Ok(found) => self.same("a snapshot's get", &key, found.as_deref(), map.get(&key)),
            Err(error) => self.tolerate("a snapshot's get", &error, since),
        }
    }

    fn verify(&mut self) -> Checked {
        let since = self.failures();
        match self.db().verify() {
            Ok(report) => {
                let files = self.keyspaces.values().flat_map(|keyspace| keyspace.files());
                let entries: u64 = files.map(|file| file.entries).sum();
                // The directory of objects has entries, too: tombstones also when the last pack has gone.
                if report.entries >= entries {
                    return Ok(());
                }
                Err(format!(
                    "verify counts {} entries, the files {entries}",
                    report.entries
                ))
            }
            Err(error) => self.tolerate("verify", &error, since),
        }
    }

    /// All that can be read, through everything that is open; then the files and the account of space.
    fn check_everything(&mut self) -> Checked {
        self.quietly(|world| {
            for (id, keyspace) in world.keyspaces.clone() {
                if is_hashed(&keyspace) {
                    let map = world.oracle.map(id);
                    world
                        .compare_look_ups(&map, |key| keyspace.get(key))
                        .map_err(|what| format!("all of {:?}: {what}", keyspace.name()))?;
                    continue;
                }
                let wanted = entries(&world.oracle.map(id), &(None, None));
                let mut range = HeldRange::new(keyspace.iter(), false, wanted);
                world
                    .read_through(&mut range, End::Front)
                    .map_err(|what| format!("all of {:?}: {what}", keyspace.name()))?;
            }
            let slots: Vec<Id> = world.snapshots.keys().copied().collect();
            slots
                .into_iter()
                .try_for_each(|slot| world.with_snapshot(slot, World::look))?;
            world.check_files()
        })
    }

    /// A reader beside the writer, which is quiet meanwhile.
    fn read_only(&mut self) -> Checked {
        let (before, since) = (self.sim.list(), self.failures());
        let read = || -> packstone::Result<_> {
            let db = self.options().open_read_only(DIR)?;
            let first = db.keyspaces().first().map(|name| db.open_keyspace(name));
            if let Some(Ok(())) = first.transpose()?.map(|keyspace| keyspace.put("k", "v")) {
                return Ok(Err("a read-only database accepts a write".to_owned()));
            }
            self.found_beside(&db).map(Ok)
        };
        match read() {
            Ok(found) => {
                let loss = self.loss_beside();
                self.oracle
                    .explain(&found?, loss)
                    .map_err(|what| format!("read-only: {what}"))?;
            }
            Err(error) => self.tolerate("open read-only", &error, since)?,
        }
        if self.sim.list() != before {
            return Err("a read-only opening has changed the directory".to_owned());
        }
        Ok(())
    }
}
