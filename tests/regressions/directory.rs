//! What else lies in the directory.

use super::*;

#[test]
fn foreign_files_in_the_directory_are_harmless_and_left_alone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let foreign: [(&str, &[u8]); 7] = [
        ("notes.txt", b"buy milk"),
        ("12.sst", b"an odd name"),
        ("000099.sst", b"not an SST at all"),
        ("MANIFEST-abc", b"somebody's"),
        ("MANIFEST-000777", b"not a manifest at all"),
        ("000001.sst.bak", b""),
        ("LOCK.old", b""),
    ];
    let plant = || {
        for (name, contents) in foreign {
            fs::write(dir.path().join(name), contents).unwrap();
        }
        fs::create_dir(dir.path().join("000005.log")).unwrap();
        fs::create_dir(dir.path().join("000006.sst")).unwrap();
    };
    let check = || {
        for (name, contents) in foreign {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), contents, "{name}");
        }
        assert!(dir.path().join("000005.log").is_dir() && dir.path().join("000006.sst").is_dir());
    };
    let db = tiny().open(dir.path())?;
    db.keyspace("a")?.put("k", "v")?;
    db.close()?;
    plant();
    for round in 0..4 {
        let db = tiny().open(dir.path())?;
        let keyspace = db.keyspace("a")?;
        fill(&keyspace, 0..2_000, 50)?; // file numbers and log numbers pass the foreign ones
        keyspace.compact_range::<&[u8], _>(..)?;
        db.wait_for_background()?;
        check();
        assert_eq!(keyspace.iter().count(), 2_001, "round {round}");
        drop(keyspace);
        db.close()?;
        check();
        tiny().open_read_only(dir.path())?.close()?;
    }
    Ok(())
}

#[test]
fn a_file_with_the_name_of_a_later_log_that_is_no_log_is_an_error_and_stays() -> Result<()> {
    // It could be a log whose header was damaged: going on as if it were not there could lose writes.
    let sim = SimEnv::new(21);
    on(&sim).open("/db")?.close()?;
    let names = support::file_names(&*sim.env().fs, Path::new("/db"));
    let number = support::highest_number(&names, "", ".log") + 1;
    let foreign = PathBuf::from(format!("/db/{number:06}.log"));
    sim.write_file(&foreign, &b"not a log at all, ".repeat(20))
        .unwrap();
    match on(&sim).open("/db") {
        Err(Error::Corruption { path, .. }) => assert_eq!(path, foreign),
        other => panic!("{other:?}"),
    }
    assert!(sim.read_file(&foreign).unwrap().starts_with(b"not a log"));
    sim.remove_file(&foreign).unwrap();
    on(&sim).open("/db")?.close()
}

#[test]
fn a_database_without_current_is_not_overwritten() -> Result<()> {
    let sim = SimEnv::new(20);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..1_000, 50)?;
    drop(keyspace);
    db.close()?;
    let current = sim.read_file("/db/CURRENT").unwrap();
    sim.remove_file("/db/CURRENT").unwrap();
    let before = sim.list();
    assert!(matches!(on(&sim).open("/db"), Err(Error::NotADatabase { .. })));
    assert_eq!(sim.list(), before);
    sim.write_file("/db/CURRENT", &current).unwrap();
    assert_eq!(on(&sim).open("/db")?.keyspace("a")?.iter().count(), 1_000);
    Ok(())
}
