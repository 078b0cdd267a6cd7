//! Which keys refer to an object, and what the check of all objects says of damaged ones.
#![allow(clippy::unwrap_used)] // a failure fails the test

use std::path::PathBuf;

use packstone::env::sim::SimEnv;
use packstone::pack::ObjectId;
use packstone::{Db, KeyspaceOptions, Options, Order};

fn open(sim: &SimEnv) -> Db {
    Options::new()
        .pack_size(4 << 10)
        .env(sim.env())
        .open("/db")
        .unwrap()
}

fn value(n: u8) -> Vec<u8> {
    (0..3000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ n)
        .collect()
}

fn layout() -> KeyspaceOptions {
    KeyspaceOptions::new().object_threshold(Some(100))
}

/// Keyspace and key, as text.
fn keys(db: &Db, content: &[u8]) -> Vec<String> {
    let found = db.keys_of(&ObjectId::of(content)).unwrap();
    let text = |(keyspace, key): &(String, packstone::Slice)| format!("{keyspace}/{}", key.escape_ascii());
    found.iter().map(text).collect()
}

#[test]
fn the_keys_of_an_object_are_those_whose_value_it_is_now() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    let sorted = db.keyspace_with("sorted", layout()).unwrap();
    let hashed = db.keyspace_with("hashed", layout().order(Order::Hash)).unwrap();
    sorted.put("in an SST", value(1)).unwrap();
    sorted.put("overwritten", value(1)).unwrap();
    sorted.put("deleted", value(1)).unwrap();
    hashed.put("in an SST, too", value(1)).unwrap();
    sorted.put("another", value(2)).unwrap();
    db.flush().unwrap();
    sorted.put("overwritten", value(2)).unwrap();
    sorted.delete("deleted").unwrap();
    hashed.put("in the memtable", value(1)).unwrap();
    let expected = [
        "hashed/in an SST, too",
        "hashed/in the memtable",
        "sorted/in an SST",
    ];
    assert_eq!(keys(&db, &value(1)), expected);
    assert_eq!(keys(&db, &value(2)), ["sorted/another", "sorted/overwritten"]);
    assert!(keys(&db, &value(3)).is_empty());
    db.drop_keyspace("hashed").unwrap();
    assert_eq!(keys(&db, &value(1)), ["sorted/in an SST"]);
    db.close().unwrap();
}

fn packs(sim: &SimEnv) -> Vec<PathBuf> {
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "pack");
    sim.list().into_iter().filter(is_pack).collect()
}

#[test]
fn a_damaged_object_is_named_with_pack_offset_and_keys() {
    let sim = SimEnv::new(2);
    let db = open(&sim);
    let photos = db.keyspace_with("photos", layout()).unwrap();
    for n in 0..5 {
        photos.put([b'a' + n], value(n)).unwrap();
        photos.put([b'A' + n], value(n)).unwrap();
    }
    db.flush().unwrap();
    let found = db.verify_objects().unwrap();
    assert_eq!(
        (found.objects, found.content_bytes, found.damage.len()),
        (5, 15_000, 0)
    );
    db.close().unwrap();
    let mut damaged = 0;
    for path in packs(&sim) {
        let whole = sim.read_file(&path).unwrap();
        let Some(n) = (0..5).find(|n| whole.windows(100).any(|window| window == &value(*n)[..100])) else {
            continue;
        };
        let at = whole
            .windows(100)
            .position(|window| window == &value(n)[..100])
            .unwrap();
        let mut bytes = whole.clone();
        bytes[at + 50] ^= 1;
        sim.write_file(&path, &bytes).unwrap();
        let db = open(&sim);
        let found = db.verify_objects().unwrap();
        assert_eq!((found.objects, found.damage.len()), (4, 1), "{found:?}");
        let value_of = &found.damage[0];
        assert_eq!(value_of.id, ObjectId::of(&value(n)));
        let (pack, offset) = value_of.place.as_ref().unwrap();
        assert_eq!((pack.file_name(), *offset <= at as u64), (path.file_name(), true));
        let names: Vec<&[u8]> = value_of.keys.iter().map(|(_, key)| &key[..]).collect();
        assert_eq!(names, [[b'A' + n], [b'a' + n]]);
        assert!(
            value_of.error.to_string().contains("damaged at offset"),
            "{}",
            value_of.error
        );
        // The read of the key says where, too.
        let error = db.open_keyspace("photos").unwrap().get([b'a' + n]).unwrap_err();
        assert!(error.to_string().contains(".pack"), "{error}");
        db.close().unwrap();
        sim.write_file(&path, &whole).unwrap();
        damaged += 1;
    }
    assert!(damaged >= 3, "{damaged}");
}
