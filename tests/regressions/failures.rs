//! Failed writes, syncs and flushes.

use super::*;

#[test]
fn a_failed_log_write_fails_one_write_and_leaves_nothing_half_done() -> Result<()> {
    for effect in [Effect::Nothing, Effect::Partial] {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let sim = SimEnv::new(12);
            let db = on(&sim).log_medium(LogMedium::Plain).open("/db")?;
            let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
            a.put("before", "1")?;
            sim.fail_matching(Some(Op::Write), ".log", 1, kind, effect);
            let mut batch = db.batch();
            batch.put(&a, "failed", "1");
            batch.put(&b, "failed", "1");
            let error = batch.commit(Durability::Buffered).unwrap_err();
            assert_eq!(error.is_out_of_space(), kind == io::ErrorKind::StorageFull);
            // The next writes go through: into a new file.
            a.put("after", "1")?;
            b.put_with("after", "1", Durability::Sync)?;
            let check = |a: &Keyspace, b: &Keyspace| {
                let keys =
                    |keyspace: &Keyspace| keyspace.iter().keys().map(|key| key.unwrap().to_vec()).collect();
                let (of_a, of_b): (Vec<_>, Vec<_>) = (keys(a), keys(b));
                assert_eq!(of_a, [&b"after"[..], b"before"]);
                assert_eq!(of_b, [b"after"]);
            };
            check(&a, &b);
            sim.crash(CrashStyle::KeepAll);
            drop((a, b, db));
            let db = on(&sim).open("/db")?;
            check(&db.keyspace("a")?, &db.keyspace("b")?);
        }
    }
    Ok(())
}

#[test]
fn a_failed_log_sync_stops_all_writing_until_reopened_but_no_reading() -> Result<()> {
    let sim = SimEnv::new(13);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put_with("synced", "1", Durability::Sync)?;
    sim.fail_matching(Some(Op::Sync), ".log", 1, io::ErrorKind::Other, Effect::Nothing);
    let poisoned = |result: Result<()>| assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
    poisoned(keyspace.put_with("k", "v", Durability::Sync));
    poisoned(keyspace.put("k", "v"));
    poisoned(keyspace.put_with("k", "v", Durability::Sync));
    poisoned(db.sync());
    poisoned(db.flush());
    poisoned(db.drop_keyspace("a"));
    assert_eq!(keyspace.get("synced")?.unwrap(), b"1");
    assert!(keyspace.iter().count() >= 1);
    assert!(db.keyspace("new").is_err());
    drop(keyspace);
    poisoned(db.close());
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.get("synced")?.unwrap(), b"1");
    keyspace.put_with("k", "v", Durability::Sync)
}

#[test]
fn a_flush_that_fails_is_tried_again_and_loses_nothing() -> Result<()> {
    let sim = SimEnv::new(14);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..100, 50)?;
    sim.fail_matching(
        Some(Op::Create),
        ".sst",
        1,
        io::ErrorKind::StorageFull,
        Effect::Nothing,
    );
    assert!(db.flush().unwrap_err().is_out_of_space());
    assert_eq!(db.metrics().background_failures, 1);
    keyspace.put("still", "writable")?;
    db.flush()?;
    assert_eq!(keyspace.iter().count(), 101);
    db.wait_for_background()?;
    assert_eq!(db.metrics().keyspaces[0].frozen_memtables, 0);
    Ok(())
}
