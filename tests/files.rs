//! What `Keyspace::files`, `Db::verify` and the metrics by level say of a database's files.

use std::fs;

use packstone::{Db, Error, Options};

fn filled(dir: &std::path::Path) -> Db {
    let db = Options::new().write_buffer_size(64 << 10).open(dir).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    for i in 0..20_000_u32 {
        keyspace
            .put((i.wrapping_mul(0x9e37_79b9)).to_be_bytes(), [7; 40])
            .unwrap();
    }
    db.flush().unwrap();
    db.wait_for_background().unwrap();
    db
}

#[test]
fn files_metrics_and_verification_agree() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    let files = db.keyspace("k").unwrap().files();
    let metrics = db.metrics();
    let levels = &metrics.keyspaces[0].levels;
    for (number, level) in levels.iter().enumerate() {
        let of_level = || files.iter().filter(move |file| file.level == number);
        assert_eq!(of_level().count() as u64, level.files);
        assert_eq!(of_level().map(|file| file.bytes).sum::<u64>(), level.bytes);
    }
    let report = db.verify().unwrap();
    assert_eq!(report.entries, files.iter().map(|file| file.entries).sum::<u64>());
    assert_eq!(report.file_bytes, metrics.sst_bytes());

    assert_eq!(levels[0].bytes_written, metrics.flush_bytes);
    assert_eq!(levels[0].jobs, metrics.flushes);
    let sum = |field: fn(&packstone::LevelMetrics) -> u64| levels[1..].iter().map(field).sum::<u64>();
    assert_eq!(sum(|level| level.bytes_written), metrics.compaction_bytes_written);
    assert_eq!(sum(|level| level.bytes_read), metrics.compaction_bytes_read);
    assert_eq!(sum(|level| level.jobs), metrics.compactions);
    let moved = |field: fn(&packstone::LevelMetrics) -> u64| levels.iter().map(field).sum::<u64>();
    assert_eq!(
        levels[0].entries_in, metrics.entries_written,
        "what was written has been flushed"
    );
    assert_eq!(
        moved(|level| level.entries_out) - sum(|level| level.entries_in),
        levels.iter().map(|level| level.entries).sum::<u64>(),
        "what compactions took away and put back"
    );
    assert!(sum(|level| level.bytes_read_from_above) <= metrics.compaction_bytes_read);
    assert!(metrics.compactions > 0, "the data was chosen to be compacted");
    assert_eq!(metrics.keyspaces[0].pending_compaction_bytes, 0, "nothing is due");
    db.close().unwrap();
}

#[test]
fn verification_names_the_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    let file = db.keyspace("k").unwrap().files().pop().unwrap();
    let mut bytes = fs::read(&file.path).unwrap();
    bytes[100] ^= 1;
    fs::write(&file.path, bytes).unwrap();
    match db.verify() {
        Err(Error::Corruption { path, .. }) => assert_eq!(path, file.path),
        other => panic!("{other:?}"),
    }
}

/// Length of a seal: a frame's 9 bytes in front, and 16 of payload.
const SEAL_LEN: usize = 25;
/// The kind of a seal, in the ninth byte of its frame.
const SEAL: u8 = 3;

#[test]
fn a_closed_manifest_ends_in_a_seal() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.keyspace("k").unwrap();
    db.close().unwrap();
    let current = fs::read_to_string(dir.path().join("CURRENT")).unwrap();
    let manifest = fs::read(dir.path().join(current.split(' ').nth(2).unwrap())).unwrap();
    assert_eq!(manifest[manifest.len() - SEAL_LEN + 8], SEAL);
}
