//! Cursors that are held across other steps and moved about; look-ups of several keys at once.

use std::ops::Bound;
use std::rc::Rc;

use packstone::{Cursor, Error};

use super::data::Bytes;
use super::oracle::{Incarnation, Map, show};
use super::steps::{Id, Move};
use super::world::{Checked, World, is_hashed};

/// A cursor, and where it must be.
pub(crate) struct HeldCursor {
    cursor: Cursor,
    keyspace: Id,
    incarnation: Option<Incarnation>,
    map: Rc<Map>,
    at: Option<Bytes>,
}

impl HeldCursor {
    /// The key that a move leads to.
    fn after(&self, to: &Move, key: impl Fn(Id) -> Bytes) -> Option<Bytes> {
        let from = |key| {
            self.map
                .range::<Bytes, _>((Bound::Included(key), Bound::Unbounded))
        };
        let upto = |key| {
            self.map
                .range::<Bytes, _>((Bound::Unbounded, Bound::Included(key)))
        };
        let entry = match to {
            Move::First => self.map.first_key_value(),
            Move::Last => self.map.last_key_value(),
            Move::Seek(number) => from(key(*number)).next(),
            Move::SeekForPrev(number) => upto(key(*number)).next_back(),
            Move::Next => from(self.at.clone()?).nth(1),
            Move::Prev => upto(self.at.clone()?).nth_back(1),
            Move::Refresh => None,
        };
        entry.map(|(key, _)| key.clone())
    }

    fn go(&mut self, to: &Move, key: impl Fn(Id) -> Bytes) -> packstone::Result<bool> {
        match to {
            Move::First => self.cursor.seek_to_first(),
            Move::Last => self.cursor.seek_to_last(),
            Move::Seek(number) => self.cursor.seek(key(*number)),
            Move::SeekForPrev(number) => self.cursor.seek_for_prev(key(*number)),
            Move::Next => self.cursor.next(),
            Move::Prev => self.cursor.prev(),
            Move::Refresh => self.cursor.refresh().map(|()| false),
        }
    }

    fn stands_right(&self, moved: bool) -> Checked {
        if moved == self.at.is_some() && self.cursor.key() == self.at.as_deref() {
            return Ok(());
        }
        Err(format!(
            "a cursor says {moved} and stands at {} instead of {}",
            show(self.cursor.key().map(Bytes::from).as_ref()),
            show(self.at.as_ref())
        ))
    }
}

impl World {
    pub(crate) fn place_cursor(&mut self, slot: Id, id: Id, snapshot: Option<Id>) -> Checked {
        let since = self.failures();
        let (cursor, map, incarnations) = match snapshot {
            None => match self.keyspaces.get(&id) {
                Some(keyspace) => (keyspace.cursor(), self.oracle.map(id), self.oracle.incarnations()),
                None => return Ok(()),
            },
            Some(snapshot) => {
                let held = self.snapshots.get(&snapshot);
                match held.and_then(|held| Some((held, held.keyspaces.get(&id)?))) {
                    Some((held, (keyspace, map))) => {
                        (held.snapshot.cursor(keyspace), map.clone(), &held.incarnations)
                    }
                    None => return Ok(()),
                }
            }
        };
        let incarnation = incarnations.get(&id).copied();
        let keyspace = self.keyspaces.get(&id);
        let held = snapshot.and_then(|snapshot| self.snapshots.get(&snapshot)?.keyspaces.get(&id));
        let hashed = held
            .map(|(keyspace, _)| keyspace)
            .or(keyspace)
            .is_some_and(is_hashed);
        match cursor {
            Err(Error::HashOrder { .. }) if hashed => Ok(()),
            Ok(_) if hashed => Err("a cursor is given in hash order".to_owned()),
            Ok(cursor) => {
                let held = HeldCursor {
                    cursor,
                    keyspace: id,
                    incarnation,
                    map,
                    at: None,
                };
                self.cursors.insert(slot, held);
                Ok(())
            }
            Err(error) => self.tolerate("cursor", &error, since),
        }
    }

    pub(crate) fn move_cursor(&mut self, slot: Id, to: &Move) -> Checked {
        let Some(mut held) = self.cursors.remove(&slot) else {
            return Ok(());
        };
        let since = self.failures();
        let wanted = held.after(to, |number| self.key(number));
        let moved = held.go(to, |number| self.key(number));
        let lives_on = held.incarnation.as_ref() == self.oracle.incarnations().get(&held.keyspace);
        let outcome = match moved {
            Ok(moved) => {
                held.at = wanted;
                if *to == Move::Refresh && !lives_on {
                    return Err("a cursor in a dropped keyspace was refreshed".to_owned());
                }
                if *to == Move::Refresh {
                    held.map = self.oracle.map(held.keyspace);
                }
                held.stands_right(moved)
                    .and_then(|()| self.value_under(&held, since))
            }
            // It keeps what it sees.
            Err(Error::KeyspaceDropped { .. }) if *to == Move::Refresh && !lives_on => Ok(()),
            Err(error) => {
                held.at = None;
                self.tolerate("a cursor", &error, since)
                    .and_then(|()| held.stands_right(false))
            }
        };
        self.cursors.insert(slot, held);
        outcome
    }

    fn value_under(&mut self, held: &HeldCursor, since: u64) -> Checked {
        let wanted = held.at.as_ref().and_then(|key| held.map.get(key));
        match held.cursor.value() {
            Ok(found) if found.as_deref() == wanted.map(|value| &value[..]) => Ok(()),
            Ok(found) => Err(format!(
                "a cursor at {} gives {} instead of {}",
                show(held.at.as_ref()),
                show(found.map(|value| value[..].into()).as_ref()),
                show(wanted)
            )),
            Err(error) => self.tolerate("a cursor's value", &error, since),
        }
    }

    /// Several keys at once, now or as a snapshot sees them.
    pub(crate) fn get_many(&mut self, id: Id, snapshot: Option<Id>, numbers: &[Id]) -> Checked {
        let keys: Vec<Bytes> = numbers.iter().map(|number| self.key(*number)).collect();
        let since = self.failures();
        let (found, map) = match snapshot {
            None => match self.keyspaces.get(&id) {
                Some(keyspace) => (keyspace.multi_get(&keys), self.oracle.map(id)),
                None => return Ok(()),
            },
            Some(snapshot) => {
                let held = self.snapshots.get(&snapshot);
                match held.and_then(|held| Some((held, held.keyspaces.get(&id)?))) {
                    Some((held, (keyspace, map))) => (held.snapshot.multi_get(keyspace, &keys), map.clone()),
                    None => return Ok(()),
                }
            }
        };
        match found {
            Ok(found) if found.len() == keys.len() => keys
                .iter()
                .zip(&found)
                .try_for_each(|(key, found)| self.same("multi_get", key, found.as_deref(), map.get(key))),
            Ok(found) => Err(format!("multi_get of {} keys gives {}", keys.len(), found.len())),
            Err(error) => self.tolerate("multi_get", &error, since),
        }
    }
}
