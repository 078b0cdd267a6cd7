//! [`Leases`]: which objects running writes build on, and which ones a collection wants to remove.
//!
//! A write takes a lease on an id before it asks whether the object is there. A collection marks what it found dead as *doomed*, looks once more for
//! references, and then removes, in one step, what is still doomed: from then until that is published a lease on such an object waits. A lease on a doomed
//! object rescues it: it is not doomed any more. So no write builds on an object that is removed before its reference can be
//! seen, and none waits for more than one commit.

use std::collections::{BTreeMap, BTreeSet};

use super::place::Place;
use crate::env::{Env, Event};
use crate::pack::ObjectId;
use crate::planted::{self, Bug};
use crate::sync::Mutex;

/// See the module's comment.
#[derive(Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
    removed: Event,
}

#[derive(Default)]
struct State {
    held: BTreeMap<ObjectId, Held>,
    doomed: BTreeSet<ObjectId>,
    /// The directory is being told.
    removing: BTreeSet<ObjectId>,
}

#[derive(Default)]
struct Held {
    count: u64,
    /// Where holders have written it of whose batches the directory may not know yet. More than one, where several began at once.
    places: Vec<Place>,
}

impl Leases {
    /// Takes a lease. Says where the object has been written, if that was under a lease that is still held.
    pub(super) fn take(&self, env: &Env, id: ObjectId) -> Option<Place> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.removing.contains(&id) {
                    if !planted::is(Bug::LeaseIgnored) {
                        state.doomed.remove(&id);
                    }
                    let held = state.held.entry(id).or_default();
                    held.count += 1;
                    return held.places.last().copied();
                }
            }
            env.scheduler
                .wait(&self.removed, &mut || !self.state.lock().removing.contains(&id));
        }
    }

    /// Where the object has been written under a lease that is still held.
    pub(super) fn place_of(&self, id: &ObjectId) -> Option<Place> {
        let state = self.state.lock();
        state.held.get(id)?.places.last().copied()
    }

    /// The holder of a lease has written the object.
    pub(super) fn wrote(&self, id: ObjectId, place: Place) {
        if let Some(held) = self.state.lock().held.get_mut(&id) {
            held.places.push(place);
        }
    }

    /// Gives a lease back.
    pub(super) fn give_back(&self, id: ObjectId) {
        let mut state = self.state.lock();
        if let Some(held) = state.held.get_mut(&id) {
            held.count -= 1;
            if held.count == 0 {
                state.held.remove(&id);
            }
        }
    }

    /// Whether a write that is not done refers to a place in this pack.
    pub(super) fn has_place_in(&self, pack: u64) -> bool {
        let state = self.state.lock();
        let mut places = state.held.values().flat_map(|held| &held.places);
        places.any(|place| place.pack == pack)
    }

    /// Dooms those of the objects on which there is no lease.
    pub(super) fn doom(&self, ids: impl Iterator<Item = ObjectId>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let leased = |id: &ObjectId| state.held.contains_key(id) && !planted::is(Bug::LeaseIgnored);
        state.doomed.extend(ids.filter(|id| !leased(id)));
    }

    /// The object is needed after all.
    pub(super) fn rescue(&self, id: &ObjectId) {
        self.state.lock().doomed.remove(id);
    }

    /// Gives out what is still doomed, to be removed at once; [`Leases::end_removing`] has to follow.
    pub(super) fn begin_removing(&self) -> BTreeSet<ObjectId> {
        let mut state = self.state.lock();
        state.removing = std::mem::take(&mut state.doomed);
        state.removing.clone()
    }

    /// They are removed, or that has failed.
    pub(super) fn end_removing(&self) {
        let mut state = self.state.lock();
        state.doomed.clear();
        state.removing.clear();
        drop(state);
        self.removed.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::SimEnv;
    use crate::pack::RecordPlace;

    fn place(pack: u64) -> Place {
        let record = RecordPlace {
            offset: 80,
            record_len: 100,
        };
        Place { pack, record }
    }

    /// Two writes that began at once have each written the object, and each names its own place.
    #[test]
    fn every_place_under_a_lease_keeps_its_pack() {
        let (env, leases, id) = (SimEnv::new(1).env(), Leases::default(), ObjectId([1; 16]));
        assert_eq!(leases.take(&env, id), None);
        assert_eq!(leases.take(&env, id), None);
        leases.wrote(id, place(1));
        leases.wrote(id, place(2));
        leases.give_back(id);
        assert!(leases.has_place_in(1) && leases.has_place_in(2) && !leases.has_place_in(3));
        assert!(leases.take(&env, id).is_some());
        leases.give_back(id);
        leases.give_back(id);
        assert!(!leases.has_place_in(1) && !leases.has_place_in(2));
        assert_eq!(leases.take(&env, id), None);
    }

    #[test]
    fn what_is_leased_is_not_doomed_and_a_lease_rescues() {
        let (env, leases) = (SimEnv::new(1).env(), Leases::default());
        let id = |n: u8| ObjectId([n; 16]);
        leases.take(&env, id(1));
        leases.doom((1..=4).map(id));
        leases.give_back(id(1));
        leases.take(&env, id(2));
        leases.rescue(&id(3));
        assert_eq!(leases.begin_removing(), BTreeSet::from([id(4)]));
        leases.end_removing();
        assert_eq!(leases.take(&env, id(4)), None);
    }
}
