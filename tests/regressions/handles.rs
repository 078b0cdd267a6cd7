//! Handles that outlive what they are of.

use super::*;

#[test]
fn a_batch_for_another_database_is_refused_whole() -> Result<()> {
    let sim = SimEnv::new(17);
    let (one, other) = (on(&sim).open("/one")?, on(&sim).open("/other")?);
    let (ours, theirs) = (one.keyspace("a")?, other.keyspace("a")?);
    let mut batch = one.batch();
    batch.put(&ours, "k", "v");
    batch.put(&theirs, "k", "v");
    assert!(matches!(
        batch.commit(Durability::Buffered),
        Err(Error::WrongDatabase)
    ));
    assert!(ours.get("k")?.is_none() && theirs.get("k")?.is_none());
    let snapshot = one.snapshot();
    assert!(matches!(snapshot.get(&theirs, "k"), Err(Error::WrongDatabase)));
    assert!(matches!(
        snapshot.iter(&theirs).next(),
        Some(Err(Error::WrongDatabase))
    ));
    Ok(())
}

#[test]
fn a_closed_database_refuses_everything() -> Result<()> {
    let sim = SimEnv::new(18);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    let (snapshot, mut batch, other) = (db.snapshot(), db.batch(), db.clone());
    batch.put(&keyspace, "k", "w");
    db.close()?;
    let closed = |result: Result<()>| assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    closed(keyspace.put("k", "v"));
    closed(keyspace.put_with("k", "v", Durability::Sync));
    closed(keyspace.delete("k"));
    closed(keyspace.get("k").map(drop));
    closed(keyspace.contains_key("k").map(drop));
    closed(keyspace.first().map(drop));
    closed(keyspace.last().map(drop));
    closed(keyspace.iter().next().unwrap().map(drop));
    closed(keyspace.compact_range::<&[u8], _>(..));
    closed(snapshot.get(&keyspace, "k").map(drop));
    closed(snapshot.iter(&keyspace).next().unwrap().map(drop));
    closed(batch.commit(Durability::Buffered));
    closed(other.flush());
    closed(other.sync());
    closed(other.wait_for_background());
    closed(other.keyspace("a").map(drop));
    closed(other.keyspace("b").map(drop));
    closed(other.drop_keyspace("a"));
    other.metrics();
    other.clone().close()?; // again: no harm
    let again = on(&sim).open("/db")?; // the old handles do not hold the lock
    assert_eq!(again.keyspace("a")?.get("k")?.unwrap(), b"v");
    Ok(())
}

#[test]
fn a_second_writer_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path())?;
    match Db::open(dir.path()) {
        Err(Error::Locked { path }) => assert_eq!(path, dir.path()),
        other => panic!("{other:?}"),
    }
    db.keyspace("a")?.put("k", "v")?;
    db.close()?;
    let db = Db::open(dir.path())?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
    Ok(())
}

/// A clock that says when the environment is freed.
struct Owned(
    Arc<dyn Clock>,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

impl Clock for Owned {
    fn now(&self) -> Duration {
        self.0.now()
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

#[test]
fn a_database_that_is_dropped_with_jobs_queued_is_freed() -> Result<()> {
    let sim = SimEnv::new(1);
    let owner = Arc::new(());
    let mut env = sim.env();
    env.clock = Arc::new(Owned(env.clock, owner.clone()));
    let db = tiny().env(env).open("/db")?;
    let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
    fill(&a, 0..100, 1_000)?;
    b.put("k", "v")?;
    db.flush()?;
    db.drop_keyspace("b")?; // whose file is thrown away in the background
    fill(&a, 0..30, 1_000)?;
    sim.fail_matching(Some(Op::Create), ".sst", 1, io::ErrorKind::Other, Effect::Nothing);
    assert!(db.flush().is_err()); // and is to be tried again
    assert!(sim.pending() > 0, "nothing is queued");
    drop((a, b, db));
    assert_eq!(Arc::strong_count(&owner), 1, "a queued job keeps the database");
    Ok(())
}
