//! Snapshots over flushes, compactions and files.

use super::*;

#[test]
fn a_snapshot_is_unharmed_by_flushes_and_compactions_and_keeps_the_database_open() -> Result<()> {
    let sim = SimEnv::new(9);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..500, 50)?;
    let snapshot = db.snapshot();
    let seen: Vec<_> = snapshot.iter(&keyspace).map(Result::unwrap).collect();
    let mut range = snapshot.iter(&keyspace);
    let first = range.next().unwrap()?;
    for round in 0..5 {
        for i in 0..500 {
            keyspace.put(key(i), format!("round {round}"))?;
        }
        (0..250).try_for_each(|i| keyspace.delete(key(2 * i)))?;
        db.flush()?;
        keyspace.compact_range::<&[u8], _>(..)?;
        assert!(
            snapshot
                .iter(&keyspace)
                .map(Result::unwrap)
                .eq(seen.iter().cloned())
        );
        assert!(
            snapshot
                .iter(&keyspace)
                .rev()
                .map(Result::unwrap)
                .eq(seen.iter().rev().cloned())
        );
    }
    assert_eq!(first, seen[0]);
    assert!(range.map(Result::unwrap).eq(seen[1..].iter().cloned()));
    drop(db);
    // The keyspace and the snapshot are handles, too.
    assert!(matches!(on(&sim).open("/db"), Err(Error::Locked { .. })));
    assert_eq!(snapshot.iter(&keyspace).count(), 500);
    drop((keyspace, snapshot));
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.iter().count(), 250);
    // Nobody needs the old versions any more.
    keyspace.compact_range::<&[u8], _>(..)?;
    let entries: u64 = db.metrics().keyspaces[0].levels.iter().map(|l| l.entries).sum();
    assert_eq!((entries, tombstones(&db)), (250, 0));
    Ok(())
}

#[test]
fn many_versions_of_one_key_span_files_and_stay_in_order() -> Result<()> {
    let sim = SimEnv::new(10);
    let db = on(&sim).write_buffer_size(1 << 20).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(1);
    let mut snapshots = Vec::new();
    keyspace.put("a", "smaller")?;
    // The last file gets few of them, so that it would have room for the next key.
    for version in 0..21u8 {
        let mut value = rng.fill(10_000);
        value[0] = version;
        keyspace.put("k", value)?;
        snapshots.push(db.snapshot());
    }
    keyspace.put("z", "written last, so of the greatest number")?;
    let check = || {
        for (version, snapshot) in snapshots.iter().enumerate() {
            assert_eq!(snapshot.get(&keyspace, "k").unwrap().unwrap()[0], version as u8);
            let (_, last) = snapshot.range(&keyspace, "k".."l").next_back().unwrap().unwrap();
            assert_eq!(last[0], version as u8);
            // A backward range that ends before the key does not give it.
            assert_eq!(
                snapshot.range(&keyspace, .."k").next_back().unwrap().unwrap().0,
                b"a"
            );
        }
        assert_eq!(keyspace.get("k").unwrap().unwrap()[0], 20);
    };
    check();
    db.flush()?;
    assert!(db.metrics().keyspaces[0].levels[0].files > 2, "{}", db.metrics());
    check();
    keyspace.compact_range::<&[u8], _>(..)?;
    assert!(db.metrics().keyspaces[0].levels[6].files > 2, "{}", db.metrics());
    check();
    Ok(())
}
