//! A database that another process (here: this one) has open for writing.

use std::sync::atomic::{AtomicBool, Ordering};

use packstone::Options;

use crate::support::run;

#[test]
fn a_database_in_use_can_be_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let db = packstone::Db::open(dir.path()).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    keyspace.put("in the log", "1").unwrap();
    db.flush().unwrap();
    keyspace.put("in both", "2").unwrap();
    for command in [
        "check",
        "verify",
        "scan",
        "wal",
        "manifest",
        "lsm",
        "layout",
        "histogram",
    ] {
        let run = run([command, path]);
        assert_eq!(run.status, 0, "{command}: {}{}", run.stdout, run.stderr);
    }
    let run = run(["find", "in both", path]);
    assert!(run.stdout.contains("1 mentions"), "{}", run.stdout);
    db.close().unwrap();
}

#[test]
fn flushes_compactions_and_new_logs_meanwhile_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let options = Options::new()
        .write_buffer_size(16 << 10)
        .max_log_size(64 << 10)
        .max_file_size(16 << 10)
        .manifest_roll_size(1 << 10);
    let db = options.open(dir.path()).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0u32;
            while !stop.load(Ordering::Relaxed) {
                keyspace.put((i % 500).to_be_bytes(), [i as u8; 100]).unwrap();
                i += 1;
            }
        });
        let mut failed = Vec::new();
        // Long enough that files have come and gone while the tool was looking.
        for round in (0..10_000).take_while(|round| *round < 30 || db.metrics().compactions < 5) {
            let command = ["check", "verify", "scan", "wal", "lsm", "manifest"][round % 6];
            let run = run([command, path]);
            if run.status != 0 {
                failed.push(format!("{command}: {}", run.stderr));
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(db.metrics().compactions >= 5);
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    });
    db.close().unwrap();
    assert_eq!(run(["verify", path]).status, 0);
}
