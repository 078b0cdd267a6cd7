//! A read-only opening changes nothing.

use super::*;

/// Every file below a directory: contents, and when it was last changed.
fn image(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut image = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        let contents = fs::read(entry.path()).unwrap_or_default();
        image.insert(entry.path(), (contents, modified));
    }
    image
}

#[test]
fn a_read_only_opening_changes_nothing_on_disk() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = tiny().open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..3_000, 50)?;
    drop(keyspace);
    db.close()?;
    // Leftovers that an opening for writing would remove.
    fs::write(dir.path().join("999999.sst"), b"").unwrap();
    fs::write(dir.path().join("CURRENT.tmp"), b"").unwrap();
    let (before, directory) = (image(dir.path()), fs::metadata(dir.path()).unwrap().modified());
    for access in [Access::Mapped, Access::Pread] {
        let db = tiny().access(access).open_read_only(dir.path())?;
        let keyspace = db.keyspace("a")?;
        assert_eq!(keyspace.iter().count(), 3_000);
        assert_eq!(db.snapshot().iter(&keyspace).rev().count(), 3_000);
        drop(keyspace);
        db.close()?;
        assert!(image(dir.path()) == before);
        assert_eq!(
            fs::metadata(dir.path()).unwrap().modified().unwrap(),
            *directory.as_ref().unwrap()
        );
    }
    Ok(())
}

#[test]
fn a_read_only_opening_makes_no_call_that_changes_anything() -> Result<()> {
    let sim = SimEnv::new(15);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..3_000, 50)?;
    sim.crash(CrashStyle::KeepAll); // so that there is something to replay, and leftovers
    drop((keyspace, db));
    sim.set_trace(true);
    let db = on(&sim).open_read_only("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.iter().count(), 3_000);
    assert_eq!(keyspace.get(key(1))?.unwrap().len(), 50);
    let refused = |result: Result<()>| assert!(matches!(result, Err(Error::ReadOnly)), "{result:?}");
    refused(keyspace.put("k", "v"));
    refused(keyspace.delete("k"));
    refused(keyspace.compact_range::<&[u8], _>(..));
    let mut batch = db.batch();
    batch.put(&keyspace, "k", "v");
    refused(batch.commit(Durability::Sync));
    refused(db.flush());
    refused(db.sync());
    refused(db.drop_keyspace("a"));
    assert!(matches!(db.keyspace("new"), Err(Error::KeyspaceNotFound { .. })));
    db.metrics();
    drop(keyspace);
    db.close()?;
    sim.run_until_idle();
    for call in sim.take_trace() {
        let reads = matches!(call.op, Op::Open | Op::List | Op::Read | Op::Len | Op::Map);
        assert!(reads, "{call:?}");
    }
    Ok(())
}

#[test]
fn waiting_for_a_read_only_database_ends_at_once() -> Result<()> {
    let sim = SimEnv::new(16);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..1_000, 50)?;
    sim.crash(CrashStyle::KeepAll); // more than a write buffer is left in the log
    drop((keyspace, db));
    // With a smaller buffer what is replayed does not fit into one memtable.
    let db = on(&sim).write_buffer_size(4 << 10).open_read_only("/db")?;
    db.wait_for_background()
}

#[test]
fn a_read_only_opening_of_nothing_is_an_error_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for path in [dir.path(), &missing] {
        let error = Options::new().open_read_only(path).unwrap_err();
        assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    }
    let error = Options::new()
        .create_if_missing(false)
        .open(&missing)
        .unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
