//! Collections beside everything else, with real threads and files: what is referred to is there, whatever goes on.

#[path = "support/collecting.rs"]
mod collecting;
mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use packstone::env::sim::SimEnv;
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

/// Uniform random overwrites of ten times the data, with background work between the writes as `seed` draws it. Gives the most that packs take for each byte that lives, in
/// percent, and how many bytes are written to packs for each that comes in, in percent. REQUIRES: one thread.
fn overwrites(seed: u64) -> (u64, u64) {
    const KEYS: u64 = 1500;
    let sim = SimEnv::new(seed);
    let options = Options::new()
        .env(sim.env())
        .pack_size(192 << 10)
        .write_buffer_size(192 << 10)
        .background_threads(2);
    let db = options.open("/db").unwrap();
    let objects = KeyspaceOptions::new().object_threshold(Some(100));
    let values = db.keyspace_with("values", objects).unwrap();
    let mut random = Rng::new(seed);
    let mut live = BTreeMap::new();
    let mut most = 0;
    for n in 0..11 * KEYS {
        let key = if n < KEYS { n } else { random.below(KEYS) };
        let value = noise(n, 2000 + random.below(4000) as usize);
        live.insert(key, value.len() as u64);
        values.put(key.to_be_bytes(), value).unwrap();
        for _ in 0..random.below(4) {
            sim.run_one();
        }
        if n >= KEYS && n % 16 == 0 {
            let live: u64 = live.values().sum();
            most = most.max(db.metrics().objects.bytes * 100 / live);
        }
    }
    let metrics = db.metrics().objects;
    let written = metrics.pack_bytes_written + metrics.moved_bytes;
    (most, written * 100 / metrics.content_bytes)
}

/// The bounds are those of 1.8 times what lives, and of one copy for each byte.
#[test]
fn overwrites_take_little_more_than_what_lives_and_are_copied_once_at_most() {
    for seed in 1..=3 {
        let (space, written) = overwrites(seed);
        println!("seed {seed}: packs take at most {space} % of what lives, {written} % is written");
        assert!(space <= 180, "seed {seed}: {space} %");
        assert!(written <= 200, "seed {seed}: {written} %");
    }
}
