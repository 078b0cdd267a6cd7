//! Damage in packs: what is put again is stored anew; an opening that goes on without what is damaged keeps what is whole.

mod support;

use std::path::{Path, PathBuf};

use packstone::env::sim::SimEnv;
use packstone::pack::{ArchiveWriter, PackOptions};
use packstone::{AdoptOptions, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, RecoveryMode};
use support::data::noise;

const DIR: &str = "/db";
const VALUES: u64 = 5;

fn value(n: u64) -> Vec<u8> {
    noise(n, 120 + 40 * n as usize)
}

fn key(n: u64) -> String {
    format!("key {n}")
}

fn open(sim: &SimEnv, mode: RecoveryMode) -> packstone::Result<(Db, Keyspace)> {
    let db = Options::new()
        .env(sim.env())
        .recovery_mode(mode)
        .write_buffer_size(64 << 10)
        .max_log_size(64 << 10)
        .open(DIR)?;
    let values = db.keyspace_with("values", KeyspaceOptions::new().object_threshold(Some(100)))?;
    Ok((db, values))
}

fn the_pack(sim: &SimEnv) -> PathBuf {
    let packs = sim.list().into_iter();
    packs
        .filter(|path| path.starts_with(DIR) && path.extension().is_some_and(|end| end == "pack"))
        .min()
        .unwrap()
}

/// Flips a bit of the content of value `n`, which lies raw in the first pack.
fn damage(sim: &SimEnv, n: u64) {
    let path = the_pack(sim);
    let bytes = sim.read_file(&path).unwrap();
    let content = value(n);
    let at = bytes
        .windows(content.len())
        .position(|part| part == content)
        .unwrap();
    sim.flip_bit(&path, at as u64 + 5, 3).unwrap();
}

#[test]
fn what_is_damaged_is_stored_anew_when_it_is_put_again() {
    for way in ["put", "batch", "stream", "adopt"] {
        let sim = SimEnv::new(1);
        let (db, values) = open(&sim, RecoveryMode::TornTail).unwrap();
        for n in 0..VALUES {
            values.put(key(n), value(n)).unwrap();
        }
        values.put("another key", value(2)).unwrap();
        db.sync().unwrap();
        damage(&sim, 2);
        // Nobody has noticed yet.
        let stored = db.metrics().objects.stored;
        values.put("a third key", value(2)).unwrap();
        assert_eq!(db.metrics().objects.stored, stored);
        for name in ["key 2", "another key", "a third key"] {
            assert!(matches!(values.get(name), Err(Error::Corruption { .. })), "{way}");
        }
        // Others that lie there are read, found whole, and not stored again.
        values.put("a fourth key", value(1)).unwrap();
        assert_eq!(db.metrics().objects.stored, stored);
        match way {
            "put" => values.put(key(2), value(2)).unwrap(),
            "batch" => {
                let mut batch = db.batch();
                batch.put(&values, key(2), value(2));
                batch.put(&values, "and again", value(2));
                batch.commit(Durability::Sync).unwrap();
            }
            "stream" => drop(values.put_reader(key(2), &value(2)[..]).unwrap()),
            _ => {
                let options = PackOptions::default().env(sim.env());
                let mut writer = ArchiveWriter::create("/a.pack", &options).unwrap();
                writer.add(key(2).as_bytes(), b"", &value(2)).unwrap();
                writer.finish().unwrap();
                let report = values.adopt_archive("/a.pack", &AdoptOptions::new()).unwrap();
                assert_eq!(report.objects_copied, 1);
            }
        }
        let check = |db: &Db, when: &str| {
            let values = db.open_keyspace("values").unwrap();
            for name in ["key 2", "another key", "a third key"] {
                assert!(
                    values.get(name).unwrap().unwrap() == value(2)[..],
                    "{way}, {when}"
                );
            }
            for n in 0..VALUES {
                assert!(
                    values.get(key(n)).unwrap().unwrap() == value(n)[..],
                    "{way}, {when}"
                );
            }
            assert!(db.verify_objects().unwrap().damage.is_empty(), "{way}, {when}");
        };
        assert_eq!(db.metrics().objects.stored, stored + 1, "{way}");
        check(&db, "again");
        // Once is enough.
        values.put("a fifth key", value(2)).unwrap();
        assert_eq!(db.metrics().objects.stored, stored + 1, "{way}");
        db.sync().unwrap();
        db.close().unwrap();
        drop(values);
        // The damaged record is nobody's: a collection removes it with the rest of its pack.
        let (db, _) = open(&sim, RecoveryMode::TornTail).unwrap();
        check(&db, "reopened");
        let before = the_pack(&sim);
        db.collect_garbage().unwrap();
        sim.run_until_idle();
        assert_ne!(the_pack(&sim), before, "{way}");
        check(&db, "collected");
        db.close().unwrap();
    }
}

/// The files of a database of some values in a pack that is not sealed. `known`: the manifest knows that they are durable.
fn sample(known: bool) -> Vec<(PathBuf, Vec<u8>)> {
    let sim = SimEnv::new(7);
    let (db, values) = open(&sim, RecoveryMode::TornTail).unwrap();
    for n in 0..VALUES {
        values.put(key(n), value(n)).unwrap();
    }
    db.sync().unwrap();
    if known {
        db.flush().unwrap();
    }
    sim.power_off();
    drop((db, values));
    sim.crash(packstone::env::sim::CrashStyle::KeepNothing);
    let files = sim.list().into_iter();
    files
        .map(|path| (path.clone(), sim.read_file(&path).unwrap()))
        .collect()
}

fn copy_of(files: &[(PathBuf, Vec<u8>)], change: impl Fn(&mut Vec<u8>)) -> SimEnv {
    let sim = SimEnv::new(1);
    sim.env().fs.create_dir_all(Path::new(DIR)).unwrap();
    for (path, bytes) in files {
        let mut bytes = bytes.clone();
        if path.extension().is_some_and(|end| end == "pack") {
            change(&mut bytes);
        }
        sim.write_file(path, &bytes).unwrap();
    }
    sim
}

/// Opens it, twice; how many values can't be read, and what the opening says. Then they are put again.
fn salvaged(sim: &SimEnv, when: &str) -> (Vec<u64>, Vec<String>) {
    let read = |values: &Keyspace| -> Vec<u64> {
        let is_lost = |n: &u64| match values.get(key(*n)) {
            Ok(found) => {
                assert!(
                    found.unwrap_or_else(|| panic!("{when}: {n}")) == value(*n)[..],
                    "{when}: {n}"
                );
                false
            }
            Err(Error::Corruption { .. }) => true,
            Err(e) => panic!("{when}: {n}: {e}"),
        };
        (0..VALUES).filter(is_lost).collect()
    };
    let (db, values) = open(sim, RecoveryMode::Salvage).unwrap_or_else(|e| panic!("{when}: {e}"));
    let lost = read(&values);
    let damage = db.metrics().recovery_damage;
    values.put("behind it", value(20)).unwrap();
    db.close().unwrap();
    drop(values);
    let (db, values) = open(sim, RecoveryMode::TornTail).unwrap_or_else(|e| panic!("{when}: again: {e}"));
    assert!(db.metrics().recovery_damage.is_empty(), "{when}");
    assert_eq!(read(&values), lost, "{when}");
    assert!(
        values.get("behind it").unwrap().unwrap() == value(20)[..],
        "{when}"
    );
    for n in &lost {
        values.put(key(*n), value(*n)).unwrap();
    }
    assert_eq!(read(&values), [], "{when}");
    if when.ends_with('0') {
        db.collect_garbage().unwrap();
        assert_eq!(read(&values), [], "{when}");
    }
    assert!(db.verify_objects().unwrap().damage.is_empty(), "{when}");
    db.close().unwrap();
    (lost, damage)
}

/// The bytes of the only pack.
fn pack_of(files: &[(PathBuf, Vec<u8>)]) -> &[u8] {
    let is_pack = |path: &Path| path.extension().is_some_and(|end| end == "pack");
    let pack = files.iter().find(|(path, _)| is_pack(path));
    &pack.expect("there is one").1
}

#[test]
fn whole_records_behind_damage_are_kept() {
    for known in [false, true] {
        let files = sample(known);
        let len = pack_of(&files).len();
        let (lost, damage) = salvaged(&copy_of(&files, |_| {}), "whole");
        assert_eq!((lost, damage.len()), (vec![], 0));
        for at in 0..len {
            let when = format!("known {known}, of {len} byte {at}");
            let sim = copy_of(&files, |bytes| bytes[at] ^= 1 << (at % 8));
            let (lost, damage) = salvaged(&sim, &when);
            assert!(lost.len() <= 1, "{when}: {lost:?}");
            assert!(!damage.is_empty(), "{when}");
            let told = damage.iter().any(|what| what.contains(".pack"));
            assert!(told, "{when}: {damage:?}");
            if known && at >= 80 {
                assert_eq!(lost.len(), 1, "{when}");
            }
        }
    }
}

/// Two that are damaged, one beside the other, or apart.
#[test]
fn several_records_are_damaged() {
    for known in [false, true] {
        let files = sample(known);
        for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (0, 4)] {
            let when = format!("{known}, {a} and {b}");
            let sim = copy_of(&files, |_| {});
            damage(&sim, a);
            damage(&sim, b);
            let (lost, found) = salvaged(&sim, &when);
            assert_eq!(lost, [a, b], "{when}");
            assert!(!found.is_empty(), "{when}");
        }
    }
}

#[test]
fn a_pack_that_is_cut_anywhere_is_gone_on_with() {
    for known in [false, true] {
        let files = sample(known);
        let len = pack_of(&files).len();
        for upto in (0..len).step_by(3) {
            let when = format!("known {known}, of {len} only {upto}");
            let sim = copy_of(&files, |bytes| bytes.truncate(upto));
            let (lost, damage) = salvaged(&sim, &when);
            let first = VALUES - lost.len() as u64;
            assert_eq!(lost, (first..VALUES).collect::<Vec<_>>(), "{when}");
            assert!(!damage.is_empty(), "{when}");
        }
    }
}

/// What is not this pack is not written to.
#[test]
fn another_file_in_a_packs_place_stays_what_it_is() {
    let files = sample(true);
    for foreign in [vec![7; 3000], b"a text".to_vec()] {
        let sim = copy_of(&files, |bytes| bytes.clone_from(&foreign));
        let opened = open(&sim, RecoveryMode::Salvage);
        assert!(matches!(opened, Err(Error::Corruption { .. })));
        assert!(sim.read_file(the_pack(&sim)).unwrap() == foreign);
    }
}
