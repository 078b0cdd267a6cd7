//! Drops, and what races with them.

use super::*;

#[test]
fn a_keyspace_dropped_during_a_compaction_does_not_come_back() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let db = tiny().open(dir.path())?;
        let keyspace = db.keyspace("a")?;
        assert_eq!(keyspace.iter().count(), 0, "round {round}");
        thread::scope(|scope| {
            let busy = keyspace.clone();
            scope.spawn(move || {
                // Ends when the keyspace is dropped under it.
                while fill(&busy, 0..300, 100).is_ok() && busy.compact_range::<&[u8], _>(..).is_ok() {}
            });
            thread::sleep(Duration::from_millis(5 * round));
            db.drop_keyspace("a")
        })?;
        let again = db.keyspace("a")?;
        db.wait_for_background()?;
        assert_eq!(again.iter().count(), 0, "round {round}");
        drop((keyspace, again));
        db.close()?;
    }
    Ok(())
}

#[test]
fn deletes_during_a_compaction_are_not_undone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = tiny().open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    for _ in 0..10 {
        fill(&keyspace, 0..600, 100)?;
        thread::scope(|scope| {
            scope.spawn(|| keyspace.compact_range::<&[u8], _>(..));
            (0..600).try_for_each(|i| keyspace.delete(key(i)))
        })?;
        assert_eq!(keyspace.iter().count(), 0);
        db.wait_for_background()?;
        assert_eq!(keyspace.iter().count(), 0);
    }
    Ok(())
}

#[test]
fn a_dropped_keyspace_refuses_reads_and_writes_and_its_name_is_free() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = on(&sim).open("/db")?;
    let old = db.keyspace("a")?;
    old.put("k", "old")?;
    let before = db.snapshot();
    let mut batch = db.batch();
    batch.put(&old, "k", "batched");
    db.drop_keyspace("a")?;
    let dropped = |result: Result<()>| assert!(matches!(result, Err(Error::KeyspaceDropped { .. })));
    dropped(old.put("k", "v"));
    dropped(old.delete("k"));
    dropped(batch.commit(Durability::Buffered));
    dropped(old.get("k").map(drop));
    dropped(old.contains_key("k").map(drop));
    dropped(old.first().map(drop));
    dropped(old.compact_range::<&[u8], _>(..));
    assert!(matches!(
        db.drop_keyspace("a"),
        Err(Error::KeyspaceNotFound { .. })
    ));
    let new = db.keyspace("a")?;
    assert!(new.get("k")?.is_none());
    assert_eq!(before.get(&old, "k")?.unwrap(), b"old");
    assert!(before.get(&new, "k")?.is_none(), "it did not exist then");
    new.put("k", "new")?;
    sim.crash(CrashStyle::KeepAll);
    drop((old, new, before, db));
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"new");
    Ok(())
}

#[test]
fn a_snapshot_from_after_a_drop_does_not_see_the_keyspace() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    let before = db.snapshot();
    db.drop_keyspace("a")?;
    let after = db.snapshot();
    assert_eq!(before.get(&keyspace, "k")?.unwrap(), b"v");
    assert_eq!(before.iter(&keyspace).count(), 1);
    let is_dropped = |error: Option<Error>| matches!(error, Some(Error::KeyspaceDropped { .. }));
    assert!(is_dropped(after.get(&keyspace, "k").err()));
    assert!(is_dropped(after.contains_key(&keyspace, "k").err()));
    assert!(is_dropped(after.iter(&keyspace).next().and_then(Result::err)));
    // The number that the drop took is nobody's write, and is missing nowhere.
    let again = db.keyspace("a")?;
    again.put("k", "w")?;
    assert!(before.get(&again, "k")?.is_none());
    drop((before, after, keyspace, again));
    db.close()?;
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"w");
    Ok(())
}
