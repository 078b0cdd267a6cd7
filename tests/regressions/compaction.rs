//! Tombstones go.

use super::*;

#[test]
fn a_range_of_tombstones_is_gone_after_compact_range() -> Result<()> {
    let sim = SimEnv::new(11);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..5_000, 50)?;
    db.wait_for_background()?;
    (1_000..4_000).try_for_each(|i| keyspace.delete(key(i)))?;
    db.flush()?;
    let before = sim.used();
    keyspace.compact_range(key(1_000)..key(4_000))?;
    assert_eq!(tombstones(&db), 0);
    db.wait_for_background()?;
    sim.run_until_idle(); // deletes what was replaced
    assert!(
        sim.used() < before / 2,
        "{} of {before} bytes are left",
        sim.used()
    );
    assert_eq!(keyspace.iter().count(), 2_000);
    keyspace.compact_range::<&[u8], _>(..)?;
    let entries: u64 = db.metrics().keyspaces[0].levels.iter().map(|l| l.entries).sum();
    assert_eq!(entries, 2_000);
    Ok(())
}

#[test]
fn a_range_of_tombstones_is_compacted_away_without_being_asked() -> Result<()> {
    for held in [false, true] {
        let sim = SimEnv::new(13);
        let db = on(&sim).open("/db")?;
        let keyspace = db.keyspace("a")?;
        fill(&keyspace, 0..2_000, 50)?;
        db.flush()?;
        db.wait_for_background()?;
        let snapshot = held.then(|| db.snapshot());
        (0..2_000).try_for_each(|i| keyspace.delete(key(i)))?;
        db.flush()?;
        // Ends, also when a snapshot keeps the tombstones alive.
        db.wait_for_background()?;
        assert_eq!(keyspace.iter().count(), 0);
        match snapshot {
            Some(snapshot) => assert_eq!(snapshot.iter(&keyspace).count(), 2_000),
            None => {
                let levels = &db.metrics().keyspaces[0].levels;
                assert_eq!(
                    levels.iter().map(|level| level.entries).sum::<u64>(),
                    0,
                    "{}",
                    db.metrics()
                );
            }
        }
        db.close()?;
    }
    Ok(())
}
