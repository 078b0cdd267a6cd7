//! What each recovery mode makes of each kind of damage to the log, through the public API, on real files.
//!
//! The database has one write a log file, or nearly so, and is damaged between a kill and the next opening.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test; it damages files behind the engine's back

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use packstone::{Db, Durability, Error, KeyspaceOptions, LogMedium, Metrics, Options, RecoveryMode, Result};

const WRITES: u32 = 90;

const ALL: [RecoveryMode; 4] = [
    RecoveryMode::TornTail,
    RecoveryMode::Absolute,
    RecoveryMode::PointInTime,
    RecoveryMode::Salvage,
];

/// A database that was killed: `WRITES` batches of two keys in several log files, all synced but the last few.
fn killed(synced: u32) -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    // Plain, so that the files are as long as what is in them.
    let options = Options::new()
        .max_log_size(128 << 10)
        .log_medium(LogMedium::Plain);
    let db = options.open(made.path()).unwrap();
    let ks = db.keyspace("k").unwrap();
    for i in 0..WRITES {
        let durability = match i + 1 {
            upto if upto == synced => Durability::Sync,
            _ => Durability::Buffered,
        };
        let mut batch = db.batch();
        batch.put(&ks, format!("{i:03} a"), vec![b'x'; 300]);
        batch.put(&ks, format!("{i:03} b"), vec![b'y'; 300]);
        batch.commit(durability).unwrap();
    }
    // As a killed process leaves it: a copy made while it is open.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(made.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .collect();
    found.sort();
    found
}

fn open(dir: &Path, mode: RecoveryMode) -> Result<Db> {
    Options::new().recovery_mode(mode).open(dir)
}

/// The writes that are there. A batch that is there in part fails the test.
fn found(db: &Db) -> BTreeSet<u32> {
    let ks = db.open_keyspace("k").unwrap();
    let has = |key: String| ks.get(key).unwrap().is_some();
    let whole = |i: &u32| {
        let both = [has(format!("{i:03} a")), has(format!("{i:03} b"))];
        assert_eq!(both[0], both[1], "half of batch {i}");
        both[0]
    };
    (0..WRITES).filter(whole).collect()
}

/// Opens in the mode; the writes found and the metrics, after a second opening in the default mode has found the same.
fn outcome(dir: &Path, mode: RecoveryMode) -> Result<(BTreeSet<u32>, Metrics)> {
    let db = open(dir, mode)?;
    let (writes, metrics) = (found(&db), db.metrics());
    db.keyspace("k")?.put("after", "the recovery")?;
    db.close()?;
    let db = open(dir, RecoveryMode::Absolute)?;
    assert_eq!(found(&db), writes, "a second opening finds the same");
    assert_eq!(db.open_keyspace("k")?.get("after")?.unwrap(), b"the recovery");
    assert_eq!(db.metrics().recovery_damage, Vec::<String>::new());
    db.close()?;
    Ok((writes, metrics))
}

fn upto(end: u32) -> BTreeSet<u32> {
    (0..end).collect()
}

fn damaged_file(error: &Error) -> PathBuf {
    match error {
        Error::Corruption { path, .. } => path.clone(),
        other => panic!("expected damage, got {other}"),
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Length of a batch's frame: every one is as long.
fn frame_len(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    9 + u32::from_le_bytes(bytes[96..100].try_into().unwrap()) as usize
}

#[test]
fn a_torn_tail_is_cut_in_every_mode_but_absolute() {
    for mode in ALL {
        let dir = killed(WRITES / 2);
        let last = logs(dir.path()).pop().unwrap();
        let (bytes, frame) = (fs::read(&last).unwrap(), frame_len(&last));
        fs::write(&last, &bytes[..bytes.len() - 100]).unwrap();
        match (mode, outcome(dir.path(), mode)) {
            (RecoveryMode::Absolute, result) => assert_eq!(damaged_file(&result.unwrap_err()), last),
            (_, result) => {
                let (writes, metrics) = result.unwrap();
                assert_eq!(writes, upto(WRITES - 1), "{mode:?}");
                assert_eq!(metrics.torn_log_bytes, frame as u64 - 100);
                assert_eq!((metrics.skipped_log_bytes, metrics.recovery_damage.len()), (0, 0));
            }
        }
    }
}

#[test]
fn damage_in_synced_data_is_an_error_or_the_end_or_skipped() {
    for mode in ALL {
        let dir = killed(WRITES);
        let files = logs(dir.path());
        assert!(files.len() >= 4, "{files:?}");
        let (first, second) = (&files[0], &files[1]);
        let frame = frame_len(first);
        let in_first = ((fs::metadata(first).unwrap().len() as usize - 96) / frame) as u32;
        // The second frame of the second file.
        flip(second, 96 + frame + 50);
        let lost = in_first + 1;
        match (mode, outcome(dir.path(), mode)) {
            (RecoveryMode::TornTail | RecoveryMode::Absolute, result) => {
                assert_eq!(&damaged_file(&result.unwrap_err()), second);
            }
            (RecoveryMode::PointInTime, result) => {
                let (writes, metrics) = result.unwrap();
                assert_eq!(writes, upto(lost));
                assert_eq!(metrics.recovery_damage.len(), 1);
            }
            (_, result) => {
                let (writes, metrics) = result.unwrap();
                let expected: BTreeSet<u32> = (0..WRITES).filter(|i| *i != lost).collect();
                assert_eq!(writes, expected);
                assert_eq!(metrics.skipped_log_bytes, frame as u64);
                assert_eq!(metrics.recovery_damage.len(), 1, "{:?}", metrics.recovery_damage);
                let said = &metrics.recovery_damage[0];
                let upto = 96 + 2 * frame;
                assert!(said.contains(&format!("offset {}", 96 + frame)), "{said}");
                assert!(said.contains(&format!("up to offset {upto}")), "{said}");
            }
        }
    }
}

#[test]
fn a_missing_file_in_the_middle_is_an_error_or_the_end_or_skipped() {
    for mode in ALL {
        let dir = killed(WRITES);
        let files = logs(dir.path());
        let frame = frame_len(&files[0]);
        let count = |path: &Path| ((fs::metadata(path).unwrap().len() as usize - 96) / frame) as u32;
        let (in_first, in_second) = (count(&files[0]), count(&files[1]));
        fs::remove_file(&files[1]).unwrap();
        match (mode, outcome(dir.path(), mode)) {
            (RecoveryMode::TornTail | RecoveryMode::Absolute, result) => {
                assert_eq!(damaged_file(&result.unwrap_err()), files[1]);
            }
            (RecoveryMode::PointInTime, result) => {
                let (writes, metrics) = result.unwrap();
                assert_eq!(writes, upto(in_first));
                assert!(!metrics.recovery_damage.is_empty());
            }
            (_, result) => {
                let (writes, metrics) = result.unwrap();
                let lost = in_first..in_first + in_second;
                let expected: BTreeSet<u32> = (0..WRITES).filter(|i| !lost.contains(i)).collect();
                assert_eq!(writes, expected);
                let said = metrics.recovery_damage.join("\n");
                assert!(
                    said.contains(files[1].file_name().unwrap().to_str().unwrap()),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn a_damaged_header_is_an_error_or_the_end_or_put_together_from_what_others_say() {
    for mode in ALL {
        let dir = killed(WRITES);
        let files = logs(dir.path());
        let frame = frame_len(&files[0]);
        let in_first = ((fs::metadata(&files[0]).unwrap().len() as usize - 96) / frame) as u32;
        // In the identity, which the next file's header repeats.
        flip(&files[1], 30);
        match (mode, outcome(dir.path(), mode)) {
            (RecoveryMode::TornTail | RecoveryMode::Absolute, result) => {
                assert_eq!(damaged_file(&result.unwrap_err()), files[1]);
            }
            (RecoveryMode::PointInTime, result) => assert_eq!(result.unwrap().0, upto(in_first)),
            (_, result) => assert_eq!(result.unwrap().0, upto(WRITES), "no frame is lost"),
        }
    }
}

#[test]
fn damage_of_any_length_at_any_place_is_skipped_to_the_next_whole_frame() {
    let sample = killed(WRITES);
    let files = logs(sample.path());
    let frame = frame_len(&files[0]);
    let middle = files[2].file_name().unwrap();
    let before: u32 = files[..2]
        .iter()
        .map(|path| ((fs::metadata(path).unwrap().len() as usize - 96) / frame) as u32)
        .sum();
    let original = fs::read(&files[2]).unwrap();
    // What a file of another life leaves, zeros, and what looks like the beginning of a frame again and again.
    let noise: Vec<u8> = (0..4000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let hostile: Vec<u8> = (0..4000).map(|i| [20, 0, 0, 0, 9, 9, 9, 9, 1][i % 9]).collect();
    for pattern in [noise, vec![0; 4000], hostile] {
        for (at, len) in [
            (96, 1),
            (97, 900),
            (700, 3),
            (96 + frame - 4, 8),
            (800, 2000),
            (1500, 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(sample.path()).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
            }
            let mut bytes = original.clone();
            for (byte, new) in bytes[at..at + len].iter_mut().zip(&pattern) {
                // Every byte becomes another one.
                *byte = if *byte == *new { !*new } else { *new };
            }
            fs::write(dir.path().join(middle), bytes).unwrap();
            let (writes, metrics) = outcome(dir.path(), RecoveryMode::Salvage).unwrap();
            let hit = (at - 96) / frame..=(at + len - 1 - 96) / frame;
            let lost: BTreeSet<u32> = hit.map(|index| before + index as u32).collect();
            let expected: BTreeSet<u32> = upto(WRITES).difference(&lost).copied().collect();
            assert_eq!(writes, expected, "{len} bytes at {at}");
            assert_eq!(metrics.skipped_log_bytes, (lost.len() * frame) as u64);
        }
    }
}

/// `WRITES` objects in one pack, and beside each a small value; all synced, and the process killed.
fn killed_with_objects() -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    let db = Db::open(made.path()).unwrap();
    let ks = db.keyspace_with("k", KeyspaceOptions::new().object_threshold(Some(64)));
    let ks = ks.unwrap();
    for i in 0..WRITES {
        let mut batch = db.batch();
        batch.put(&ks, format!("{i:03} a"), object(i));
        batch.put(&ks, format!("{i:03} b"), b"small");
        batch.commit(Durability::Buffered).unwrap();
    }
    db.sync().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(made.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn object(i: u32) -> Vec<u8> {
    i.to_le_bytes().repeat(75)
}

#[test]
fn damage_in_an_unsealed_pack_is_an_error_or_the_end_and_never_a_wrong_value() {
    for mode in ALL {
        let dir = killed_with_objects();
        let packs: Vec<PathBuf> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "pack"))
            .collect();
        assert_eq!(packs.len(), 1);
        // All records are as long, or nearly so.
        let len = fs::metadata(&packs[0]).unwrap().len() as usize;
        flip(&packs[0], 80 + (len - 80) / 2 + 30);
        let opened = open(dir.path(), mode);
        match mode {
            RecoveryMode::TornTail | RecoveryMode::Absolute => {
                let said = opened.unwrap_err().to_string();
                let name = packs[0].file_name().unwrap().to_str().unwrap();
                assert!(said.contains(name), "{said}");
                continue;
            }
            _ => {}
        }
        let db = opened.unwrap();
        assert!(mode == RecoveryMode::Salvage || !db.metrics().recovery_damage.is_empty());
        let ks = db.open_keyspace("k").unwrap();
        let mut there = 0;
        for i in 0..WRITES {
            let small = ks.get(format!("{i:03} b")).unwrap();
            match ks.get(format!("{i:03} a")) {
                Ok(Some(value)) => {
                    assert_eq!(value, object(i)[..]);
                    there += 1;
                }
                Ok(None) => assert_eq!(mode, RecoveryMode::PointInTime),
                Err(error) => {
                    assert_eq!(mode, RecoveryMode::Salvage, "{error}");
                    assert!(error.to_string().contains(".pack"), "{error}");
                }
            }
            // A batch is there as a whole, up to some place.
            if mode == RecoveryMode::PointInTime {
                assert_eq!(small.is_some(), i < there, "{i}");
            }
        }
        assert!((WRITES / 3..WRITES).contains(&there), "{mode:?}: {there}");
    }
}
