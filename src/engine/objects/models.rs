//! Leases under shuttle: writers of the same content and one collector. The protocol is the engine's (`store`, `stream`, `collect`), with the log, the
//! packs and the references as plain sets, so that many orders are tried: what a write builds on is never a place that has been removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lease::Leases;
use super::place::Place;
use crate::env::Env;
use crate::env::sim::SimEnv;
use crate::models::{explore, join, spawn};
use crate::pack::{ObjectId, RecordPlace};
use crate::sync::Mutex;

const ID: ObjectId = ObjectId([1; 16]);

struct Machine {
    env: Env,
    leases: Leases,
    /// As the engine's: held while a record is placed.
    active: Mutex<u64>,
    published: Mutex<Published>,
}

/// What everybody sees. Of each write of a batch all at once.
#[derive(Default)]
struct Published {
    directory: BTreeMap<ObjectId, Place>,
    /// Who refers to the object.
    references: BTreeSet<u64>,
    /// As the manifest.
    packs: BTreeSet<u64>,
    /// Those of them that collections look at.
    sealed: BTreeSet<u64>,
}

impl Published {
    fn is_found(&self) -> bool {
        let place = self.directory.get(&ID);
        place.is_some_and(|place| self.packs.contains(&place.pack))
    }
}

impl Machine {
    /// Each record gets a pack of its own.
    fn new_place(&self, active: &mut u64) -> Place {
        *active += 1;
        let record = RecordPlace {
            offset: 80,
            record_len: 100,
        };
        Place {
            pack: *active,
            record,
        }
    }

    /// As `Core::store_object`, or a stream, and the commit of the batch.
    fn put(&self, writer: u64, stream: bool) {
        let mut place = self.leases.take(&self.env, ID);
        if place.is_none() && !self.published.lock().directory.contains_key(&ID) {
            let mut active = self.active.lock();
            place = self.leases.place_of(&ID);
            if place.is_none() {
                place = Some(self.write(&mut active, stream));
            }
        }
        {
            let mut published = self.published.lock();
            if let Some(place) = place {
                assert!(
                    published.packs.contains(&place.pack),
                    "this place has been removed"
                );
                published.directory.insert(ID, place);
            }
            published.references.insert(writer);
            assert!(published.is_found(), "a reference to an object that is nowhere");
        }
        self.leases.give_back(ID);
    }

    /// A stream's pack is sealed when it is named; another one later.
    fn write(&self, active: &mut u64, stream: bool) -> Place {
        let place = self.new_place(active);
        let name = |sealed: bool| {
            let mut published = self.published.lock();
            published.packs.insert(place.pack);
            if sealed {
                published.sealed.insert(place.pack);
            }
        };
        name(stream);
        self.leases.wrote(ID, place);
        name(true);
        place
    }

    /// As a collection of all sealed packs.
    fn collect(&self) {
        let sealed = self.published.lock().sealed.clone();
        let mut victims = Vec::new();
        for pack in sealed {
            drop(self.active.lock());
            if !self.leases.has_place_in(pack) {
                let found = self.published.lock().directory.get(&ID).copied();
                victims.push((pack, found.filter(|place| place.pack == pack)));
            }
        }
        self.leases
            .doom(victims.iter().filter_map(|(_, found)| found.map(|_| ID)));
        if !self.published.lock().references.is_empty() {
            self.leases.rescue(&ID);
        }
        let dead = self.leases.begin_removing();
        for id in &dead {
            self.published.lock().directory.remove(id);
        }
        self.leases.end_removing();
        for (pack, found) in victims {
            if found.is_some() && !dead.contains(&ID) {
                let copy = self.new_place(&mut self.active.lock());
                let mut published = self.published.lock();
                published.packs.insert(copy.pack);
                published.sealed.insert(copy.pack);
                published.directory.insert(ID, copy);
            }
            let mut published = self.published.lock();
            published.packs.remove(&pack);
            published.sealed.remove(&pack);
            let needed = !published.references.is_empty();
            assert!(
                !needed || published.is_found(),
                "an object that is referred to is removed"
            );
        }
    }
}

#[test]
fn no_write_builds_on_a_place_that_has_been_removed() {
    explore(|| {
        let machine = Arc::new(Machine {
            env: Env::modelled(&SimEnv::new(1), 1),
            leases: Leases::default(),
            active: Mutex::new(0),
            published: Mutex::default(),
        });
        let writers = (0..2).map(|writer| {
            let machine = machine.clone();
            spawn(move || {
                for _ in 0..2 {
                    machine.put(writer, writer == 1);
                    machine.published.lock().references.remove(&writer);
                }
                machine.put(writer, writer == 1);
            })
        });
        let writers: Vec<_> = writers.collect();
        let collector = {
            let machine = machine.clone();
            spawn(move || (0..3).for_each(|_| machine.collect()))
        };
        join(writers);
        join([collector]);
        assert!(machine.published.lock().is_found());
    });
}
