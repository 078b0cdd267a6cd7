//! The log: damage, and when files of it go.

use super::*;

fn logs(sim: &SimEnv) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    sim.list().into_iter().filter(is_log).collect()
}

#[test]
fn damage_in_the_synced_part_of_the_log_is_an_error_and_not_a_shorter_log() -> Result<()> {
    let sim = SimEnv::new(2);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..50 {
        keyspace.put_with(key(i), "value", Durability::Sync)?;
    }
    drop(keyspace);
    db.close()?;
    let log = logs(&sim).pop().unwrap();
    let middle = sim.read_file(&log).unwrap().len() as u64 / 2;
    sim.flip_bit(&log, middle, 3).unwrap();
    let before = sim.read_file(&log).unwrap();
    for _ in 0..2 {
        match on(&sim).open("/db") {
            Err(Error::Corruption { path, offset, .. }) => {
                assert_eq!(path, log);
                assert!(offset <= middle);
            }
            other => panic!("opened in spite of the damage: {other:?}"),
        }
        assert_eq!(sim.read_file(&log).unwrap(), before, "refusing changes nothing");
    }
    // Going on is a decision of the user, and keeps what lies before.
    let db = on(&sim).recovery_mode(RecoveryMode::PointInTime).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let kept = keyspace.iter().count() as u32;
    assert!((1..50).contains(&kept), "{kept}");
    assert!((0..kept).all(|i| keyspace.contains_key(key(i)).unwrap()));
    Ok(())
}

#[test]
fn logs_without_anything_unflushed_go_at_the_next_open_and_after_a_drop() -> Result<()> {
    let sim = SimEnv::new(11);
    for _ in 0..5 {
        on(&sim).open("/db")?.close()?;
    }
    assert_eq!(logs(&sim).len(), 1, "an empty database needs only its newest log");
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    drop(keyspace);
    db.close()?;
    for _ in 0..3 {
        on(&sim).open("/db")?.close()?;
    }
    assert!(logs(&sim).len() >= 2, "the log of the unflushed write stays");
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
    db.drop_keyspace("a")?;
    assert_eq!(logs(&sim).len(), 1, "nobody needs the dropped keyspace's log");
    db.close()
}

#[test]
fn an_idle_keyspace_does_not_pin_the_log() -> Result<()> {
    let sim = SimEnv::new(3);
    const MAX_LOG: u64 = 64 << 10;
    let db = on(&sim).max_log_size(MAX_LOG).open("/db")?;
    let (idle, busy) = (db.keyspace("idle")?, db.keyspace("busy")?);
    idle.put("only", "one")?;
    let mut most = 0;
    for i in 0..10_000 {
        busy.put(key(i % 500), [1; 200])?;
        most = most.max(db.metrics().log_bytes_live);
    }
    db.wait_for_background()?;
    let metrics = db.metrics();
    assert!(metrics.log_bytes_written > 20 * MAX_LOG);
    // Files of a quarter each; background jobs run only when writers wait for them, so some more pile up meanwhile.
    assert!(most <= 4 * MAX_LOG, "{most} bytes of log at the worst");
    assert!(metrics.log_bytes_live <= MAX_LOG + MAX_LOG / 4, "{metrics}");
    assert_eq!(idle.get("only")?.unwrap(), b"one");
    sim.crash(CrashStyle::KeepAll);
    drop((idle, busy, db));
    assert_eq!(
        on(&sim).open("/db")?.keyspace("idle")?.get("only")?.unwrap(),
        b"one"
    );
    Ok(())
}
