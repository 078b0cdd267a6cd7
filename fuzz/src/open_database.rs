//! The files of a small database, with or without packs, are changed as the fuzzer says, and it is opened, read, written, compacted and closed.
//!
//! Nothing may panic or run for ever. Where the checksums were not made right again, what is read must be what was once
//! written under that key, and what is written after an open that went well is there after the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::support::{Input, mix, repair};
use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::{Access, Compression, Db, Durability, KeyspaceOptions, Options, Order, RecoveryMode, Result};

const DIR: &str = "/db";
/// Values from so many bytes on are objects, where there are packs.
const THRESHOLD: u64 = 60;
const KEYSPACES: [&str; 2] = ["plain", "packed"];

/// Names and contents.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
/// All values that a key has ever had.
type History = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

pub(crate) struct Sample {
    pub(crate) files: Files,
    history: History,
}

fn options(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(256 << 10)
        .max_file_size(4 << 10)
        .max_log_size(16 << 10)
        .cache_size(64 << 10)
        .pack_size(8 << 10)
        .env(sim.env())
}

/// A database that was closed or was not, with everything in key order or one keyspace in hash order, all values in the tree or the longer
/// ones in packs.
pub(crate) fn sample(closed: bool, hashed: bool, packs: bool) -> &'static Sample {
    static SAMPLES: [OnceLock<Sample>; 8] = [const { OnceLock::new() }; 8];
    let number = usize::from(closed) + 2 * usize::from(hashed) + 4 * usize::from(packs);
    SAMPLES[number].get_or_init(|| make(closed, hashed, packs).unwrap())
}

fn make(closed: bool, hashed: bool, packs: bool) -> Result<Sample> {
    let sim = SimEnv::new(5);
    let mut history = History::new();
    let db = options(&sim).open(DIR)?;
    let layout = KeyspaceOptions::new()
        .key_block_size(300)
        .value_block_size(300)
        .partition_size(64)
        .object_threshold(packs.then_some(THRESHOLD));
    let order = if hashed { Order::Hash } else { Order::Key };
    let keyspaces = [
        db.keyspace_with(KEYSPACES[0], layout.clone().compression(Compression::None))?,
        db.keyspace_with(KEYSPACES[1], layout.order(order))?,
    ];
    for (round, step) in [(0u64, 4), (1, 3), (2, 2)] {
        for (at, keyspace) in keyspaces.iter().enumerate() {
            for n in (0..15).map(|n| n * step) {
                let key = format!("key {n:03}").into_bytes();
                if n % 7 == 5 {
                    keyspace.delete(&key)?;
                    continue;
                }
                let len = [5, 40, 80, if n < 4 { 4200 } else { 20 }][(n % 4) as usize];
                let value: Vec<u8> = (0..len).map(|i| mix(round ^ n ^ (i / 3)) as u8).collect();
                keyspace.put(&key, &value)?;
                history.entry(key).or_default().insert(value);
            }
            match round {
                0 => keyspace.compact_range::<&[u8], _>(..)?,
                1 if at == 1 => db.flush()?,
                _ => db.sync()?,
            }
        }
    }
    for n in 0..4u8 {
        keyspaces[0].put([n], [n; 30])?;
        history.entry(vec![n]).or_default().insert(vec![n; 30]);
    }
    if closed {
        db.close()?;
    } else {
        sim.power_off();
        drop(db);
    }
    drop(keyspaces);
    sim.crash(CrashStyle::KeepAll);
    let files = sim.list().into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let bytes = sim.read_file(&path).ok()?;
        (name != "LOCK").then_some((name, bytes))
    });
    let files = files.collect();
    Ok(Sample { files, history })
}

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let sample = sample(flags & 1 != 0, flags & 32 != 0, flags & 64 != 0);
    let repaired = flags & 2 != 0;
    let mut files = sample.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    while !input.is_empty() {
        let name = &names[usize::from(input.u8()) % names.len()];
        let Some(bytes) = files.get_mut(name) else {
            continue;
        };
        input.patch(bytes);
        if repaired {
            repair(name, bytes);
        }
    }
    let sim = SimEnv::new(u64::from(flags));
    try_out(sample, &sim, &files, flags);
    // Queued jobs hold the machine, and the machine holds them.
    sim.crash(CrashStyle::KeepAll);
}

fn try_out(sample: &Sample, sim: &SimEnv, files: &Files, flags: u8) {
    let repaired = flags & 2 != 0;
    for (name, bytes) in files {
        sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
    }
    let options = || {
        options(sim)
            .access(if flags & 4 != 0 {
                Access::Pread
            } else {
                Access::Mapped
            })
            .recovery_mode(match flags >> 3 & 3 {
                0 | 1 => RecoveryMode::TornTail,
                2 => RecoveryMode::Absolute,
                _ => RecoveryMode::PointInTime,
            })
    };
    let read = |db: &Db| read(db, &sample.history, repaired);
    if let Ok(db) = options().open_read_only(DIR) {
        read(&db);
    }
    for round in 0..2u8 {
        let Ok(db) = options().open(DIR) else {
            // The first round wrote and closed: without forged checksums it opens again.
            assert!(round == 0 || repaired, "{:?}", options().open(DIR).err());
            return;
        };
        read(&db);
        let written = write(&db, round);
        // With forged checksums anything may be behind the names; else what was written is there.
        if let (Ok(()), true) = (&written, !repaired) {
            check_written(&db, round);
        }
        let _ = db.flush();
        let _ = db.wait_for_background();
        if flags & 64 != 0 {
            let _ = db.collect_garbage();
        }
        for name in db.keyspaces() {
            if let Ok(keyspace) = db.keyspace(&name) {
                let _ = keyspace.compact_range::<&[u8], _>(..);
            }
        }
        read(&db);
        if db.close().is_err() {
            assert!(repaired, "a close fails");
            return;
        }
    }
}

fn write(db: &Db, round: u8) -> Result<()> {
    let keyspace = db.keyspace("new")?;
    keyspace.put_with([b'n', round], [round; 100], Durability::Sync)?;
    // An object, where there are packs.
    db.keyspace(KEYSPACES[0])?.put([b'n', round, 1], [round; 3000])?;
    let mut batch = db.batch();
    for name in KEYSPACES {
        batch.put(&db.keyspace(name)?, [b'n', round], "batch");
    }
    batch.commit(Durability::Buffered)
}

fn check_written(db: &Db, newest: u8) {
    let keyspace = db.keyspace("new").unwrap();
    for round in 0..=newest {
        if let Ok(value) = keyspace.get([b'n', round]) {
            assert_eq!(value.as_deref(), Some(&[round; 100][..]));
        }
        // Of damaged packs nothing is taken for it.
        if let Ok(value) = db.keyspace(KEYSPACES[0]).unwrap().get([b'n', round, 1]) {
            assert_eq!(value.as_deref(), Some(&[round; 3000][..]));
        }
    }
}

/// Reads everything. Unless checksums were forged, every value must be one that its key has had.
fn read(db: &Db, history: &History, forged: bool) {
    for name in db.keyspaces() {
        let Ok(keyspace) = db.keyspace(&name) else {
            continue;
        };
        for (key, value) in keyspace.iter().map_while(Result::ok) {
            if !forged && key.first() != Some(&b'n') {
                assert!(history[&*key].contains(&value[..]), "{key:?} has {value:?}");
            }
            let _ = keyspace.get(&key);
        }
        // In hash order there is no other way to them.
        for (key, values) in history {
            if let Ok(Some(value)) = keyspace.get(key) {
                assert!(forged || values.contains(&value[..]), "{key:?} has {value:?}");
            }
        }
        let _ = keyspace.iter().rev().map_while(Result::ok).count();
        let _ = keyspace.prefix("key").keys().map_while(Result::ok).count();
        let _ = keyspace.get("absent");
    }
    let _ = db.metrics();
}
