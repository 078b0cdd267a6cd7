//! Adoptions on the simulated machine: the power goes, calls fail, the disk is full, bytes are damaged.

#[path = "support/adopting.rs"]
mod adopting;

use std::path::Path;

use adopting::{Contents, MODES, archive, check, how, low_threshold, noise};
use packstone::env::sim::{CrashStyle, Effect, Fault, SimEnv};
use packstone::pack::{Pack, PackOptions};
use packstone::{AdoptMode, Db, Durability, Error, Keyspace, Options, Result};

/// A small archive on the simulated machine, and a database to adopt it.
struct World {
    sim: SimEnv,
    mode: AdoptMode,
    contents: Contents,
}

const SOURCE: &str = "/in/a.pack";

impl World {
    fn of(sim: SimEnv, mode: AdoptMode) -> World {
        sim.env().fs.create_dir_all(Path::new("/in")).unwrap();
        let contents: Contents = (0..8)
            .map(|n| (format!("{n}"), noise(n, 150 + 300 * n as usize)))
            .chain([
                ("short".to_owned(), noise(50, 50)),
                ("same".to_owned(), noise(3, 1050)),
            ])
            .collect();
        let options = PackOptions::default().env(sim.env()).sort_memory(512 << 10);
        archive(Path::new(SOURCE), &contents, &options);
        World { sim, mode, contents }
    }

    fn new(seed: u64, mode: AdoptMode) -> World {
        World::of(SimEnv::new(seed), mode)
    }

    fn open(&self) -> Db {
        let options = Options::new().env(self.sim.env()).write_buffer_size(4 << 10);
        let db = options.pack_size(16 << 10).open("/db").unwrap();
        self.keyspace(&db);
        db
    }

    fn keyspace(&self, db: &Db) -> Keyspace {
        db.keyspace_with("values", low_threshold()).unwrap()
    }

    fn adopt(&self, db: &Db) -> Result<packstone::AdoptReport> {
        db.open_keyspace("values")?.adopt_archive(SOURCE, &how(self.mode))
    }

    fn has_source(&self) -> bool {
        self.sim.read_file(SOURCE).is_ok()
    }

    /// Keys have what they should or nothing; how many have something.
    fn look(&self, db: &Db, when: &str) -> usize {
        let values = self.keyspace(db);
        let mut found = 0;
        for (name, content) in &self.contents {
            if let Some(value) = values.get(name).unwrap_or_else(|e| panic!("{when}: {name}: {e}")) {
                assert!(value == content[..], "{when}: {name}");
                found += 1;
            }
        }
        found
    }

    /// What must hold after an adoption that may have failed: the source is whole, or all is there; and it can be repeated.
    fn settle(&self, db: Db, when: &str) {
        let found = self.look(&db, when);
        match self.has_source() {
            true => {
                let options = PackOptions::default().env(self.sim.env());
                let report = Pack::open_with(SOURCE, &options).unwrap().verify();
                // A crash may have torn what the header says of its owner; nothing depends on that.
                let only_that = |error: &Error| error.to_string().contains("the length of the sealed file");
                assert!(report.damage.iter().all(only_that), "{when}: {report:?}");
                self.adopt(&db).unwrap_or_else(|e| panic!("{when}: again: {e}"));
            }
            false => assert_eq!(found, self.contents.len(), "{when}: the source is gone"),
        }
        assert_eq!(self.has_source(), self.mode == AdoptMode::Copy, "{when}");
        check(&db, &self.contents, when);
        self.sim.power_off();
        drop(db);
        self.sim.crash(CrashStyle::KeepNothing);
        let db = self.open();
        check(&db, &self.contents, when);
        // What earlier attempts have left is garbage.
        db.collect_garbage().unwrap();
        let objects = db.metrics().objects;
        assert!(objects.bytes < 15_000, "{when}: {objects:?}");
        check(&db, &self.contents, when);
        db.close().unwrap();
    }
}

/// The calls of an adoption to which nothing happens: the first of them, and the one behind the last.
fn calls(mode: AdoptMode) -> (u64, u64) {
    let world = World::new(0, mode);
    let db = world.open();
    let first = world.sim.io_count();
    world.adopt(&db).unwrap();
    (first, world.sim.io_count())
}

#[test]
fn the_power_goes_at_any_call() {
    for mode in MODES {
        let (first, last) = calls(mode);
        assert!(last - first > 20);
        for index in first..=last {
            for style in [
                CrashStyle::KeepNothing,
                CrashStyle::KeepAll,
                CrashStyle::Random,
                CrashStyle::Blocks,
            ] {
                let when = format!("{mode:?}, call {index} of {first} to {last}, {style:?}");
                let world = World::new(index, mode);
                let db = world.open();
                world.sim.set_fault(Fault::PowerOffAt { index });
                let adopted = world.adopt(&db);
                world.sim.power_off();
                drop(db);
                world.sim.crash(style);
                let db = world.open();
                if adopted.is_ok() {
                    assert_eq!(world.look(&db, &when), world.contents.len(), "{when}");
                    assert_eq!(world.has_source(), mode == AdoptMode::Copy);
                }
                world.settle(db, &when);
            }
        }
    }
}

#[test]
fn any_call_fails() {
    for mode in MODES {
        let (first, last) = calls(mode);
        for index in first..last {
            for effect in [Effect::Nothing, Effect::Partial] {
                let when = format!("{mode:?}, call {index} of {first} to {last}, {effect:?}");
                let world = World::new(index, mode);
                let db = world.open();
                let kind = std::io::ErrorKind::Other;
                world.sim.set_fault(Fault::FailCall { index, kind, effect });
                let adopted = world.adopt(&db);
                world.sim.clear_faults();
                if adopted.is_ok() {
                    assert_eq!(world.look(&db, &when), world.contents.len(), "{when}");
                }
                // It goes on, or a sync has failed, and it is opened again.
                let again = db
                    .open_keyspace("values")
                    .unwrap()
                    .put_with("x", "y", Durability::Sync);
                let db = match again {
                    Ok(()) => db,
                    Err(_) => {
                        drop(db);
                        world.open()
                    }
                };
                world.settle(db, &when);
            }
        }
    }
}

#[test]
fn a_full_disk_leaves_the_source_and_room_heals_it() {
    for mode in MODES {
        for room in (0..12_000).step_by(500) {
            let world = World::new(room, mode);
            let db = world.open();
            world.sim.set_capacity(Some(world.sim.used() + room));
            let adopted = world.adopt(&db);
            world.sim.set_capacity(None);
            if let Err(error) = &adopted {
                assert!(error.is_out_of_space(), "{mode:?}, {room}: {error}");
                assert!(world.has_source());
            }
            let db = match db
                .open_keyspace("values")
                .unwrap()
                .put_with("x", "y", Durability::Sync)
            {
                Ok(()) => db,
                Err(_) => {
                    drop(db);
                    world.open()
                }
            };
            world.settle(db, &format!("{mode:?}, {room}"));
        }
    }
}

/// Never a wrong value, never a database that can't be opened: damage is refused, or told when it is read.
#[test]
fn any_byte_of_the_source_is_damaged() {
    let small: Contents = [
        ("a", noise(1, 130)),
        ("b", noise(2, 30)),
        ("c", noise(1, 130)),
        ("d", vec![3; 140]),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into();
    let make = |seed| {
        let sim = SimEnv::new(seed);
        sim.env().fs.create_dir_all(Path::new("/in")).unwrap();
        let options = PackOptions::default()
            .env(sim.env())
            .sort_memory(512 << 10)
            .identity([9; 16]);
        archive(Path::new(SOURCE), &small, &options);
        sim
    };
    let len = make(0).file_len(SOURCE).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for mode in MODES {
        for verify in [false, true] {
            for at in 0..len {
                let sim = make(at);
                sim.flip_bit(SOURCE, at, (at % 8) as u8).unwrap();
                let damaged = sim.read_file(SOURCE).unwrap();
                let world = World {
                    sim,
                    mode,
                    contents: small.clone(),
                };
                let db = world.open();
                let values = world.keyspace(&db);
                let adopted = values.adopt_archive(SOURCE, &how(mode).verify(verify));
                let when = format!("{mode:?}, {verify}, byte {at} of {len}");
                if let Err(error) = &adopted {
                    refused += 1;
                    assert!(error.to_string().contains("a.pack"), "{when}: {error}");
                    if mode == AdoptMode::Copy || verify {
                        assert!(world.sim.read_file(SOURCE).unwrap() == damaged, "{when}");
                    }
                } else {
                    taken += 1;
                }
                let judge = |db: &Db| {
                    for (name, content) in &small {
                        match world.keyspace(db).get(name) {
                            Ok(Some(value)) => assert!(value == content[..], "{when}: {name}"),
                            Ok(None) => assert!(adopted.is_err(), "{when}: {name}"),
                            // Found by who reads it.
                            Err(Error::Corruption { .. }) => {
                                assert!(mode == AdoptMode::Move && !verify && adopted.is_ok(), "{when}");
                            }
                            Err(e) => panic!("{when}: {name}: {e}"),
                        }
                    }
                };
                judge(&db);
                if at % 8 == 0 {
                    db.close().unwrap();
                    judge(&world.open());
                }
            }
        }
    }
    assert!(refused > len && taken > 0, "{refused} {taken}");
}

#[test]
fn where_there_are_no_links_it_is_copied_and_removed() {
    let sim = SimEnv::new(1);
    let world = World::of(sim, AdoptMode::Move);
    world.sim.fail_where(
        |call| call.op == packstone::env::sim::Op::Link && call.mentions("/db"),
        1,
        std::io::ErrorKind::CrossesDevices,
        Effect::Nothing,
    );
    let db = world.open();
    let report = world.adopt(&db).unwrap();
    assert_eq!((report.objects_moved, report.objects_copied), (0, 8));
    assert!(!world.has_source());
    check(&db, &world.contents, "another file system");
}
