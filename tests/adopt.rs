//! Packs and archives that programs have built become values of a database: `Keyspace::adopt_archive`, `Keyspace::adopt_pack`.

#[path = "support/adopting.rs"]
mod adopting;

use std::path::{Path, PathBuf};

use adopting::{Contents, MODES, archive, check, how, low_threshold, noise};

use packstone::env::Env;
use packstone::pack::{Archive, ArchiveWriter, ObjectId, Pack, PackBuilder, PackOptions};
use packstone::repair::{RepairOptions, repair};
use packstone::{AdoptMode, AdoptOptions, Db, Error, Options, Order, Result};

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
            // Also without the manifest.
            for file in std::fs::read_dir(&checkpoint).unwrap() {
                let file = file.unwrap();
                if file.file_name().to_string_lossy().starts_with("MANIFEST") {
                    std::fs::remove_file(file.path()).unwrap();
                }
            }
            let again = dir.path().join("again");
            repair(&env, &checkpoint, &again, options, &mut |_| {}).unwrap();
            let db = Db::open(&again).unwrap();
            assert_eq!(db.keyspaces().len(), 1);
            let values = db.open_keyspace(&db.keyspaces()[0]).unwrap();
            for (name, content) in &all {
                assert!(values.get(name).unwrap().unwrap() == content[..], "{name}");
            }
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
