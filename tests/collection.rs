//! Collections beside everything else, with real threads and files: what is referred to is there, whatever goes on.

#[path = "support/collecting.rs"]
mod collecting;
mod support;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use packstone::{Db, Durability, Keyspace, KeyspaceOptions, Options};
use support::data::noise;
use support::rng::Rng;

/// One of a small number of contents: equal ones come again and again.
fn content(n: u64) -> Vec<u8> {
    let len = 200 + (n * 7919 % 9000) as usize;
    let mut content = n.to_le_bytes().to_vec();
    content.extend(noise(n, len - 8));
    content
}

fn check(value: &[u8]) {
    let n = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert!(value == content(n), "content {n}");
}

const KEYS: u64 = 40;
const CONTENTS: u64 = 60;

fn open(dir: &std::path::Path) -> (Db, Keyspace) {
    let options = Options::new().pack_size(64 << 10).write_buffer_size(8 << 10);
    let db = options.open(dir).unwrap();
    let keyspace = KeyspaceOptions::new().object_threshold(Some(100));
    let values = db.keyspace_with("values", keyspace).unwrap();
    (db, values)
}

fn write(db: &Db, values: &Keyspace, random: &mut Rng) {
    let key = random.below(KEYS).to_be_bytes();
    match random.below(10) {
        0..=4 => values.put(key, content(random.below(CONTENTS))).unwrap(),
        5 => values.delete(key).unwrap(),
        6 => {
            let content = content(random.below(CONTENTS));
            values.put_reader(key, &content[..]).unwrap();
        }
        _ => {
            let mut batch = db.batch();
            for _ in 0..3 {
                batch.put(
                    values,
                    random.below(KEYS).to_be_bytes(),
                    content(random.below(CONTENTS)),
                );
            }
            // Some are given up when their objects have been stored.
            if random.below(4) > 0 {
                batch.commit(Durability::Buffered).unwrap();
            }
        }
    }
}

fn read(db: &Db, values: &Keyspace, random: &mut Rng) {
    let key = random.below(KEYS).to_be_bytes();
    match random.below(4) {
        0 => {
            if let Some(value) = values.get(key).unwrap() {
                check(&value);
            }
        }
        1 => {
            if let Some(mut reader) = values.open(key).unwrap() {
                let mut value = Vec::new();
                std::thread::yield_now();
                reader.read_to_end(&mut value).unwrap();
                check(&value);
            }
        }
        2 => {
            let snapshot = db.snapshot();
            let first: Vec<_> = snapshot.iter(values).map(Result::unwrap).collect();
            std::thread::yield_now();
            let second: Vec<_> = snapshot.iter(values).rev().map(Result::unwrap).collect();
            assert!(first.iter().eq(second.iter().rev()));
            first.iter().for_each(|(_, value)| check(value));
        }
        _ => {
            for entry in values.iter() {
                check(&entry.unwrap().1);
            }
        }
    }
}

#[test]
fn collections_take_nothing_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (db, values) = open(dir.path());
    let (stop, collected) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (db, values, stop, collected) = (&db, &values, &stop, &collected);
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                scope.spawn(move || {
                    let mut random = Rng::new(seed + 1);
                    (0..3000).for_each(|_| write(db, values, &mut random));
                })
            })
            .collect();
        for seed in 0..2 {
            scope.spawn(move || {
                let mut random = Rng::new(seed + 100);
                while !stop.load(Ordering::Relaxed) {
                    read(db, values, &mut random);
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                collected.fetch_add(db.collect_garbage().unwrap().objects_removed, Ordering::Relaxed);
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let objects = db.metrics().objects;
    println!("{} removed on demand; {objects:?}", collected.into_inner());
    assert!(objects.moved > 0, "{objects:?}");
    let before: Vec<_> = values.iter().map(Result::unwrap).collect();
    before.iter().for_each(|(_, value)| check(value));
    db.close().unwrap();
    drop(values);
    let (db, values) = open(dir.path());
    let after: Vec<_> = values.iter().map(Result::unwrap).collect();
    assert!(before == after);
    db.collect_garbage().unwrap();
    let again: Vec<_> = values.iter().map(Result::unwrap).collect();
    assert!(before == again);
}

/// `PACKSTONE_COLLECTING=5000` runs that many histories.
#[test]
fn random_collections_on_the_simulated_machine() {
    let count = std::env::var("PACKSTONE_COLLECTING").map_or(60, |count| count.parse().unwrap());
    for seed in 1..=count {
        let run = std::panic::catch_unwind(|| collecting::history(seed));
        assert!(run.is_ok(), "history {seed}");
    }
}
