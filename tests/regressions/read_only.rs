//! A read-only opening changes nothing.

use super::support::hooked;
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

/// A machine with a database that has SSTs and logs, and its writer.
fn written(seed: u64) -> Result<(SimEnv, Db, Keyspace)> {
    let sim = SimEnv::new(seed);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..600, 50)?;
    db.wait_for_background()?;
    fill(&keyspace, 600..650, 50)?;
    Ok((sim, db, keyspace))
}

fn beside(sim: &SimEnv) -> Options {
    tiny().env(hooked::hooked(sim.env()))
}

#[test]
fn files_that_vanish_between_the_manifest_and_their_opening_make_a_reader_start_over() -> Result<()> {
    // The writer compacts, flushes and deletes before the reader's first, second ... call.
    for at in 0..60 {
        let (sim, _db, keyspace) = written(17)?;
        let (machine, writer) = (sim.clone(), keyspace.clone());
        let busy = move |call| {
            if call == at {
                fill(&writer, 300..400, 60).unwrap();
                writer.compact_range::<&[u8], _>(..).unwrap();
                machine.run_until_idle();
            }
        };
        let reader = hooked::during(Path::new("/db"), busy, || beside(&sim).open_read_only("/db"))?;
        let found = reader.open_keyspace("a")?;
        assert_eq!(found.iter().count(), 650, "before call {at}");
        // What was written meanwhile is seen as a prefix.
        let new: Vec<bool> = (300..400)
            .map(|n| found.get(key(n)).unwrap().unwrap().len() == 60)
            .collect();
        assert!(
            new.is_sorted_by(|before, after| before >= after),
            "before call {at}: {new:?}"
        );
        assert_eq!(found.iter().rev().count(), 650);
    }
    Ok(())
}

#[test]
fn a_drop_and_a_write_behind_it_are_never_seen_the_wrong_way_round() -> Result<()> {
    let mut dropped = 0;
    for at in 0..90 {
        let (sim, db, keyspace) = written(18)?;
        let other = db.keyspace("b")?;
        other.put("k", "v")?;
        drop(other);
        let writer = keyspace.clone();
        let busy = move |call| {
            if call == at {
                db.drop_keyspace("b").unwrap();
                writer.put("behind", "the drop").unwrap();
            }
        };
        let reader = hooked::during(Path::new("/db"), busy, || beside(&sim).open_read_only("/db"))?;
        let behind = reader.open_keyspace("a")?.get("behind")?.is_some();
        let is_there = reader.keyspaces().contains(&"b".to_owned());
        assert!(!(behind && is_there), "before call {at}");
        dropped += u32::from(behind);
    }
    assert!((1..90).contains(&dropped), "{dropped}");
    Ok(())
}

#[test]
fn a_writer_that_never_leaves_time_to_read_is_a_clear_error_and_no_endless_loop() -> Result<()> {
    let (sim, db, _keyspace) = written(19)?;
    let busy = move |call: u64| {
        let name = format!("{call}");
        db.keyspace(&name).unwrap();
        db.drop_keyspace(&name).unwrap();
        db.keyspace("stays").unwrap();
        if call.is_multiple_of(2) {
            db.drop_keyspace("stays").unwrap();
        }
    };
    let error = hooked::during(Path::new("/db"), busy, || beside(&sim).open_read_only("/db")).unwrap_err();
    assert!(matches!(error, Error::Changing { attempts: 64, .. }), "{error}");
    assert!(error.to_string().contains("open it again"));
    Ok(())
}

#[test]
fn a_reader_says_what_it_shows_and_how_old_that_is() -> Result<()> {
    let (sim, db, keyspace) = written(20)?;
    assert_eq!((db.as_of().seq, db.as_of().age), (650, Duration::ZERO));
    let reader = on(&sim).open_read_only("/db")?;
    keyspace.put("more", "1")?;
    sim.advance(Duration::from_secs(7));
    assert_eq!(
        (reader.as_of().seq, reader.as_of().age),
        (650, Duration::from_secs(7))
    );
    let newer = on(&sim).open_read_only("/db")?;
    assert_eq!((newer.as_of().seq, newer.as_of().age), (651, Duration::ZERO));
    assert_eq!(db.as_of().seq, 651);
    Ok(())
}

#[test]
fn damage_beside_a_busy_writer_is_reported_as_damage() -> Result<()> {
    let (sim, db, keyspace) = written(21)?;
    let file = keyspace.files().pop().unwrap().path;
    let footer = sim.file_len(&file).unwrap() - 40;
    sim.flip_bit(&file, footer, 1).unwrap();
    let error = on(&sim).open_read_only("/db").unwrap_err();
    assert!(
        matches!(&error, Error::Corruption { path, .. } if *path == file),
        "{error}"
    );
    // The same where something changes each time.
    let mut n = 0;
    let busy = move |call: u64| {
        if call.is_multiple_of(10) {
            n += 1;
            db.keyspace(&format!("{n}")).unwrap();
        }
    };
    let error = hooked::during(Path::new("/db"), busy, || beside(&sim).open_read_only("/db")).unwrap_err();
    assert!(
        matches!(&error, Error::Corruption { path, .. } if *path == file),
        "{error}"
    );
    Ok(())
}

/// A mapped log grows in the middle of its file: a marker that a reader comes upon may be younger than what it has read before it.
#[test]
fn a_reader_beside_a_writer_that_is_faster_finds_no_damage() -> Result<()> {
    for medium in [LogMedium::Auto, LogMedium::Plain] {
        let sim = SimEnv::new(18);
        // One log file, and one memtable.
        let options = || Options::new().max_log_size(256 << 20).log_medium(medium);
        let db = options().env(sim.env()).open("/db")?;
        let keyspace = db.keyspace("a")?;
        let value = vec![7; 100 << 10];
        for n in 0..45u32 {
            keyspace.put(n.to_be_bytes(), &value)?;
            sim.run_until_idle();
        }
        let (writer, mut next) = (keyspace.clone(), 45u32);
        let busy = move |_| {
            for _ in 0..3 {
                if next < 300 {
                    writer
                        .put_with(next.to_be_bytes(), &value, Durability::Sync)
                        .unwrap();
                    next += 1;
                }
            }
        };
        let reader = hooked::during(Path::new("/db"), busy, || {
            options().env(hooked::hooked(sim.env())).open_read_only("/db")
        })?;
        let keys = reader.open_keyspace("a")?.iter().keys();
        let keys: Vec<_> = keys.map(|key| key.unwrap().to_vec()).collect();
        assert!(keys.len() >= 45, "{medium:?}: {}", keys.len());
        let wanted = (0..keys.len() as u32).map(|n| n.to_be_bytes().to_vec());
        assert!(wanted.eq(keys), "{medium:?}: no prefix");
    }
    Ok(())
}

/// Objects are appended to a pack before the log refers to them, and a reader that has looked at the pack first must not take such a
/// reference for a torn one, or for damage.
#[test]
fn a_reader_beside_a_writer_of_objects_is_not_misled() -> Result<()> {
    let sim = SimEnv::new(16);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace_with("a", KeyspaceOptions::new().object_threshold(Some(64)))?;
    keyspace.put_with("first", [1; 500], Durability::Sync)?;
    let written = std::rc::Rc::new(std::cell::Cell::new(0u64));
    let (count, into) = (written.clone(), keyspace.clone());
    // Each differs from the others, and is durable.
    let write = move |_| {
        count.set(count.get() + 1);
        let value = count.get().to_le_bytes().repeat(20);
        into.put_with(count.get().to_be_bytes(), value, Durability::Sync)
            .unwrap();
    };
    let reader = hooked::during(Path::new("/db"), write, || {
        on(&sim).env(hooked::hooked(sim.env())).open_read_only("/db")
    })?;
    assert!(written.get() > 5);
    let seen = reader.open_keyspace("a")?;
    assert_eq!(seen.get("first")?.unwrap(), [1; 500][..]);
    let numbered = seen
        .iter()
        .take_while(|entry| entry.as_ref().is_ok_and(|(key, _)| key.len() == 8));
    for (next, entry) in (1u64..).zip(numbered) {
        let (key, value) = entry?;
        assert_eq!(key, next.to_be_bytes()[..]);
        assert_eq!(value, u64::to_le_bytes(next).repeat(20)[..]);
    }
    Ok(())
}
