//! Packs and archives that programs have built become values of a database: `Keyspace::adopt_archive`, `Keyspace::adopt_pack`.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use packstone::env::Env;
use packstone::env::sim::{CrashStyle, Effect, Fault, SimEnv};
use packstone::pack::{Archive, ArchiveWriter, ObjectId, Pack, PackBuilder, PackOptions};
use packstone::repair::{RepairOptions, repair};
use packstone::{
    AdoptMode, AdoptOptions, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, Order, Result,
};
use support::data::noise;

const MODES: [AdoptMode; 2] = [AdoptMode::Copy, AdoptMode::Move];

type Contents = BTreeMap<String, Vec<u8>>;

fn low_threshold() -> KeyspaceOptions {
    KeyspaceOptions::new().object_threshold(Some(100))
}

fn how(mode: AdoptMode) -> AdoptOptions {
    AdoptOptions::new().mode(mode)
}

/// Writes an archive, or appends to it.
fn archive(path: &Path, contents: &Contents, options: &PackOptions) {
    let mut writer = ArchiveWriter::open(path, options).unwrap();
    for (name, content) in contents {
        writer.add(name.as_bytes(), b"meta", content).unwrap();
    }
    writer.finish().unwrap();
}

/// Contents of all kinds: below the threshold, of one chunk and several, compressible, equal, longer than what is copied through memory.
fn all_kinds() -> [Contents; 2] {
    let named = |names: &[(&str, Vec<u8>)]| -> Contents {
        names
            .iter()
            .map(|(name, content)| (name.to_string(), content.clone()))
            .collect()
    };
    [
        named(&[
            ("a/empty", vec![]),
            ("a/short", noise(1, 99)),
            ("a/least", noise(2, 100)),
            ("b/same", noise(3, 5000)),
            ("b/the same", noise(3, 5000)),
            ("c/zeros", vec![0; 300_000]),
            ("replaced", noise(4, 3000)),
        ]),
        named(&[
            ("b/again", noise(3, 5000)),
            ("d/long", noise(5, 5 << 20)),
            ("replaced", noise(6, 3001)),
        ]),
    ]
}

fn both(parts: &[Contents; 2]) -> Contents {
    let mut all = parts[0].clone();
    all.extend(parts[1].clone());
    all
}

fn check(db: &Db, contents: &Contents, when: &str) {
    let values = db.open_keyspace("values").unwrap();
    for (name, content) in contents {
        let value = values
            .get(name)
            .unwrap()
            .unwrap_or_else(|| panic!("{when}: {name}"));
        assert!(value == content[..], "{when}: {name}");
    }
    let found = db.verify_objects().unwrap();
    assert!(found.damage.is_empty(), "{when}: {:?}", found.damage);
    db.verify().unwrap();
}

fn pack_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "pack"))
        .collect()
}

#[test]
fn the_names_of_an_archive_become_keys() {
    for mode in MODES {
        for order in [Order::Key, Order::Hash] {
            let dir = tempfile::tempdir().unwrap();
            let source = dir.path().join("in.pack");
            let parts = all_kinds();
            for part in &parts {
                archive(&source, part, &PackOptions::default());
            }
            let bytes = std::fs::read(&source).unwrap();
            let all = both(&parts);
            let place = dir.path().join("db");
            let db = Db::open(&place).unwrap();
            let values = db.keyspace_with("values", low_threshold().order(order)).unwrap();
            values.put("replaced", "by the archive").unwrap();
            let options = how(mode).verify(order == Order::Hash);
            let report = values.adopt_archive(&source, &options).unwrap();
            assert_eq!((report.keys, report.short_values, report.duplicates), (9, 2, 2));
            let (copied, moved) = (report.objects_copied, report.objects_moved);
            let objects = db.metrics().objects;
            match mode {
                AdoptMode::Copy => {
                    assert_eq!((copied, moved, objects.stored, objects.adopted), (5, 0, 5, 0));
                    assert!(std::fs::read(&source).unwrap() == bytes);
                }
                _ => {
                    assert_eq!((copied, moved, objects.stored, objects.adopted), (0, 5, 0, 5));
                    assert!(!source.exists());
                    assert_eq!((objects.packs, objects.bytes), (1, bytes.len() as u64));
                    // Which now belongs to the database: nobody appends to it.
                    let refused = ArchiveWriter::append(&pack_files(&place)[0], &PackOptions::default());
                    assert!(matches!(refused, Err(Error::InvalidOption { .. })));
                }
            }
            check(&db, &all, "adopted");
            db.flush().unwrap();
            values.compact_range::<&[u8], _>(..).unwrap();
            check(&db, &all, "compacted");
            let checkpoint = dir.path().join("checkpoint");
            db.checkpoint(&checkpoint).unwrap();
            db.close().unwrap();
            let db = Db::open(&place).unwrap();
            check(&db, &all, "reopened");
            check(&Options::new().open_read_only(&place).unwrap(), &all, "read-only");
            // What has no key any more goes, the long one too; the rest is moved as of any pack.
            let values = db.open_keyspace("values").unwrap();
            let mut left = all.clone();
            for name in ["d/long", "a/least"] {
                values.delete(name).unwrap();
                left.remove(name);
            }
            db.collect_garbage().unwrap();
            db.wait_for_background().unwrap();
            let objects = db.metrics().objects;
            assert!(objects.bytes < 50_000, "{mode:?}: {objects:?}");
            check(&db, &left, "collected");
            db.close().unwrap();
            check(&Db::open(&checkpoint).unwrap(), &all, "checkpoint");
            // Repair takes an adopted pack for what it is.
            let repaired = dir.path().join("repaired");
            let (env, options) = (Env::real(1), RepairOptions::default());
            repair(&env, &checkpoint, &repaired, options, &mut |_| {}).unwrap();
            check(&Db::open(&repaired).unwrap(), &all, "repaired");
        }
    }
}

#[test]
fn keys_get_objects_of_a_pack_and_the_rest_is_garbage() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("in.pack");
        let mut builder = PackBuilder::create(&source, &PackOptions::default()).unwrap();
        let ids: Vec<ObjectId> = (0..2500)
            .map(|n| builder.add(&noise(n, 200 + n as usize)).unwrap().id)
            .collect();
        builder.finish().unwrap();
        let place = dir.path().join("db");
        let db = Db::open(&place).unwrap();
        let values = db.keyspace_with("values", low_threshold()).unwrap();
        // Here already.
        values.put("known", noise(7, 207)).unwrap();
        let keys = (0..2500)
            .step_by(2)
            .chain([7])
            .map(|n: usize| (format!("{n:04}"), ids[n]));
        let report = values.adopt_pack(&source, keys, &how(mode)).unwrap();
        assert_eq!(
            (
                report.keys,
                report.duplicates,
                report.objects_copied + report.objects_moved
            ),
            (1251, 1, 1250)
        );
        let dead = db.metrics().objects.dead_bytes;
        match mode {
            AdoptMode::Copy => assert_eq!((report.objects_copied, dead), (1250, 0)),
            // What nobody refers to, and what was here.
            _ => assert!(report.objects_moved == 1250 && dead > 1250 * 1400, "{dead}"),
        }
        db.close().unwrap();
        let db = Db::open(&place).unwrap();
        db.collect_garbage().unwrap();
        let objects = db.metrics().objects;
        assert!(objects.bytes < 1251 * 1600, "{objects:?}");
        let all = (0..2500)
            .step_by(2)
            .chain([7])
            .map(|n: usize| (format!("{n:04}"), noise(n as u64, 200 + n)));
        check(&db, &all.collect(), "collected");
    }
}

#[test]
fn what_is_there_is_not_copied_and_a_repetition_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("in.pack");
    let all = both(&all_kinds());
    archive(&source, &all, &PackOptions::default());
    let db = Db::open(dir.path().join("db")).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    let first = values.adopt_archive(&source, &how(AdoptMode::Copy)).unwrap();
    let bytes = db.metrics().objects.bytes;
    for mode in MODES {
        let again = values.adopt_archive(&source, &how(mode)).unwrap();
        assert_eq!((again.keys, again.objects_copied), (first.keys, 0));
    }
    assert!(!source.exists());
    // The file came as well, and holds nothing that is needed.
    let objects = db.metrics().objects;
    assert!(objects.bytes > bytes && objects.dead_bytes >= bytes / 2);
    db.collect_garbage().unwrap();
    db.wait_for_background().unwrap();
    let objects = db.metrics().objects;
    assert!(objects.bytes <= bytes + 2000, "{bytes}, {objects:?}");
    check(&db, &all, "again");
    // A database's own pack, read from beside: nothing to do.
    db.close().unwrap();
    let place = dir.path().join("db");
    let db = Db::open(&place).unwrap();
    let values = db.open_keyspace("values").unwrap();
    let sealed = pack_files(&place)
        .into_iter()
        .find_map(|path| Pack::open(path).ok())
        .unwrap();
    let keys: Vec<_> = sealed
        .ids()
        .map(|id| (id.as_ref().unwrap().to_string(), id.unwrap()))
        .collect();
    let report = values
        .adopt_pack(sealed.path(), keys, &how(AdoptMode::Copy))
        .unwrap();
    assert_eq!((report.objects_copied, report.duplicates), (0, report.keys));
    let refused = values.adopt_pack(sealed.path(), [("k", ObjectId::of(b""))], &how(AdoptMode::Move));
    assert!(refused.unwrap_err().to_string().contains("copy it"));
}

/// What is refused names the file, and changes neither it nor the database.
#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let all: Contents = (0..4).map(|n| (format!("{n}"), noise(n, 300))).collect();
    archive(&at("good.pack"), &all, &PackOptions::default());
    let good = std::fs::read(at("good.pack")).unwrap();
    let mut builder = PackBuilder::create(at("nameless.pack"), &PackOptions::default()).unwrap();
    builder.add(&noise(1, 300)).unwrap();
    builder.finish().unwrap();
    std::fs::write(at("foreign.pack"), vec![7; 1000]).unwrap();
    std::fs::write(at("empty.pack"), b"").unwrap();
    std::fs::write(at("cut.pack"), &good[..200]).unwrap();
    std::fs::create_dir(at("dir.pack")).unwrap();
    let db = Db::open(at("db")).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    let alone = db
        .keyspace_with("alone", low_threshold().deduplicate(false))
        .unwrap();
    let hashed = db
        .keyspace_with("hashed", low_threshold().order(Order::Hash))
        .unwrap();
    for mode in MODES {
        for name in [
            "foreign.pack",
            "empty.pack",
            "cut.pack",
            "dir.pack",
            "missing.pack",
            "nameless.pack",
        ] {
            let error = values.adopt_archive(at(name), &how(mode)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            let is_damage = matches!(error, Error::Corruption { .. });
            assert_eq!(
                is_damage,
                ["foreign.pack", "empty.pack", "cut.pack"].contains(&name),
                "{error}"
            );
        }
        assert!(!at("missing.pack").exists());
        let error = alone.adopt_archive(at("good.pack"), &how(mode)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::InvalidOption {
                    name: "deduplicate",
                    ..
                }
            ),
            "{error}"
        );
        let error = values.adopt_pack(
            at("good.pack"),
            [("k", ObjectId::of(b"none"))],
            &how(AdoptMode::Copy),
        );
        assert!(matches!(error, Err(Error::InvalidOption { name: "keys", .. })));
        // Damage in a record that is copied, and anywhere if everything is to be verified.
        let mut damaged = good.clone();
        damaged[150] ^= 1;
        std::fs::write(at("damaged.pack"), &damaged).unwrap();
        let error = values
            .adopt_archive(at("damaged.pack"), &how(mode).verify(true))
            .unwrap_err();
        assert!(matches!(error, Error::Corruption { .. }) && error.to_string().contains("damaged.pack"));
        assert!(std::fs::read(at("damaged.pack")).unwrap() == damaged);
    }
    assert!(
        values
            .adopt_archive(at("damaged.pack"), &AdoptOptions::new())
            .is_err()
    );
    let none: [(&str, ObjectId); 0] = [];
    let error = values
        .adopt_pack(at("good.pack"), none, &how(AdoptMode::Move))
        .unwrap_err();
    assert!(
        matches!(error, Error::InvalidOption { name: "keys", .. }),
        "{error}"
    );
    let empty = values
        .adopt_pack(at("good.pack"), none, &how(AdoptMode::Copy))
        .unwrap();
    assert_eq!(empty.keys, 0);
    // A name that is no key in hash order.
    let long: Contents = [
        ("n".repeat(65_535), noise(1, 300)),
        ("a".to_owned(), noise(2, 300)),
    ]
    .into();
    archive(&at("long.pack"), &long, &PackOptions::default());
    let error = hashed
        .adopt_archive(at("long.pack"), &how(AdoptMode::Move))
        .unwrap_err();
    assert!(
        matches!(error, Error::LimitExceeded { what: "key", .. }),
        "{error}"
    );
    // A writer has it open: it can be copied as of its last seal, and not moved.
    let mut writer = ArchiveWriter::append(at("good.pack"), &PackOptions::default()).unwrap();
    writer.add(b"new", b"", &noise(9, 300)).unwrap();
    let error = values
        .adopt_archive(at("good.pack"), &how(AdoptMode::Move))
        .unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(values.is_empty().unwrap() && hashed.is_empty().unwrap() && alone.is_empty().unwrap());
    let report = values
        .adopt_archive(at("good.pack"), &how(AdoptMode::Copy))
        .unwrap();
    assert_eq!(report.keys, 4);
    drop(writer);
    assert!(std::fs::read(at("good.pack")).unwrap() == good);
    // The unsealed pack of a database is none to adopt.
    let unsealed = pack_files(&at("db")).remove(0);
    let error = values
        .adopt_pack(&unsealed, none, &how(AdoptMode::Copy))
        .unwrap_err();
    assert!(error.to_string().contains("never sealed"), "{error}");
    db.drop_keyspace("hashed").unwrap();
    let error = hashed
        .adopt_archive(at("good.pack"), &AdoptOptions::new())
        .unwrap_err();
    assert!(matches!(error, Error::KeyspaceDropped { .. }), "{error}");
    let reader = Options::new().open_read_only(at("db")).unwrap();
    let read_only = reader.open_keyspace("values").unwrap();
    let error = read_only
        .adopt_archive(at("good.pack"), &AdoptOptions::new())
        .unwrap_err();
    assert!(matches!(error, Error::ReadOnly), "{error}");
    db.close().unwrap();
    let error = values
        .adopt_archive(at("good.pack"), &AdoptOptions::new())
        .unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert!(Archive::open(at("good.pack")).unwrap().pack().verify().is_whole());
}

/// What speaks against taking a file over as it is: it is copied, and then removed.
#[test]
fn what_can_not_be_taken_over_is_copied_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("in.pack");
    let all: Contents = (0..4).map(|n| (format!("{n}"), noise(n, 300))).collect();
    archive(&source, &all, &PackOptions::default());
    let good = std::fs::read(&source).unwrap();
    // What an append that was cut off has left.
    std::fs::write(&source, [&good[..], &[7; 100]].concat()).unwrap();
    let db = Db::open(dir.path().join("db")).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    let report = values.adopt_archive(&source, &how(AdoptMode::Move)).unwrap();
    assert_eq!((report.objects_copied, report.objects_moved), (4, 0));
    assert!(!source.exists());
    check(&db, &all, "torn");
    // A file system without links.
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

/// The first of its calls, and the one behind the last.
fn calls_of_adoption(mode: AdoptMode) -> (u64, u64) {
    let world = World::new(0, mode);
    let db = world.open();
    let first = world.sim.io_count();
    world.adopt(&db).unwrap();
    (first, world.sim.io_count())
}

#[test]
fn the_power_goes_at_any_call() {
    for mode in MODES {
        let (first, last) = calls_of_adoption(mode);
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
        let (first, last) = calls_of_adoption(mode);
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

/// What a database does beside adoptions, on threads: the same contents are put, deleted, collected.
#[test]
fn adoptions_beside_puts_and_collections() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new()
        .pack_size(64 << 10)
        .open(dir.path().join("db"))
        .unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    let content = |n: u64| noise(n, 200 + (n * 37 % 3000) as usize);
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let (values, dir) = (values.clone(), dir.path().to_owned());
            scope.spawn(move || {
                for round in 0..12u64 {
                    let source = dir.join(format!("{thread} {round}.pack"));
                    let range = round * 40..round * 40 + 80;
                    let all = range.map(|n| (format!("{thread} {n:04}"), content(n))).collect();
                    archive(&source, &all, &PackOptions::default());
                    let mode = MODES[((thread + round) % 2) as usize];
                    let report = values.adopt_archive(&source, &how(mode)).unwrap();
                    assert_eq!(report.keys, 80);
                    for (name, content) in &all {
                        assert!(values.get(name).unwrap().unwrap() == content[..], "{name}");
                    }
                    for name in all.keys().step_by(3) {
                        values.delete(name).unwrap();
                    }
                }
            });
        }
        let (db, values) = (db.clone(), values.clone());
        scope.spawn(move || {
            for n in 0..600 {
                values.put(format!("put {}", n % 50), content(n)).unwrap();
                if n % 150 == 149 {
                    db.collect_garbage().unwrap();
                }
            }
        });
    });
    for n in 550..600 {
        assert!(values.get(format!("put {}", n % 50)).unwrap().unwrap() == content(n)[..]);
    }
    let count = values.iter().map(Result::unwrap).count();
    db.collect_garbage().unwrap();
    let found = db.verify_objects().unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_eq!(values.iter().map(Result::unwrap).count(), count);
    db.close().unwrap();
}
