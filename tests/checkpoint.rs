//! Checkpoints: what is promised beside what crashes and faults at every call show (`tests/crash.rs`, `tests/faults.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "looks at files behind the engine's back; writers are threads"
)]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{Access, Db, Durability, Error, Keyspace, Result};
use support::{hooked, tiny};

fn fill(keyspace: &Keyspace, numbers: std::ops::Range<u32>) -> Result<()> {
    numbers
        .into_iter()
        .try_for_each(|n| keyspace.put(n.to_be_bytes(), vec![n as u8; 300]))
}

/// Some SSTs in several levels, and something in the memtable.
fn filled(db: &Db) -> Result<Keyspace> {
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..400)?;
    db.wait_for_background()?;
    fill(&keyspace, 380..410)?;
    keyspace.delete(7u32.to_be_bytes())?;
    Ok(keyspace)
}

fn entries(db: &Db) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let entries = db.open_keyspace("a")?.iter();
    entries
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn ssts_are_linked_and_the_two_databases_go_their_own_ways() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let temp = tempfile::tempdir().unwrap();
    let (path, copy) = (temp.path().join("db"), temp.path().join("deep/copy"));
    let db = tiny().open(&path)?;
    let keyspace = filled(&db)?;
    db.wait_for_background()?;
    let before = entries(&db)?;
    let files = keyspace.files();
    let report = db.checkpoint(&copy)?;
    assert_eq!(report.seq, db.as_of().seq);
    assert_eq!(
        (report.linked_files, report.copied_files),
        (files.len() as u64, 0)
    );
    assert_eq!(
        report.linked_bytes,
        files.iter().map(|file| file.bytes).sum::<u64>()
    );
    assert!(report.log_files >= 1 && report.log_bytes > 0 && report.not_linked.is_none());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    for file in &files {
        assert_eq!(
            inode(&file.path),
            inode(&copy.join(file.path.file_name().unwrap()))
        );
    }
    assert!(names(&copy).iter().all(|name| !name.contains("unfinished")));

    // The original goes on, and away.
    fill(&keyspace, 0..300)?;
    keyspace.compact_range::<&[u8], _>(..)?;
    drop(keyspace);
    db.close()?;
    fs::remove_dir_all(&path).unwrap();

    let reader = tiny().open_read_only(&copy)?;
    assert_eq!(
        (reader.as_of().seq, reader.metrics().torn_log_bytes),
        (report.seq, 0)
    );
    assert!(entries(&reader)? == before);
    reader.close()?;
    let db = tiny().open(&copy)?;
    assert!(entries(&db)? == before);
    assert_eq!(db.as_of().seq, report.seq);
    let keyspace = db.keyspace("a")?;
    keyspace.put_with("more", "1", Durability::Sync)?;
    keyspace.compact_range::<&[u8], _>(..)?;
    db.verify()?;
    // And a checkpoint of a checkpoint.
    let third = temp.path().join("third");
    assert_eq!(db.checkpoint(&third)?.seq, report.seq + 1);
    assert_eq!(entries(&tiny().open_read_only(&third)?)?.len(), before.len() + 1);
    drop(keyspace);
    db.close()
}

#[test]
fn where_links_are_impossible_ssts_are_copied_and_the_report_says_so() -> Result<()> {
    for kind in [
        ErrorKind::CrossesDevices,
        ErrorKind::Unsupported,
        ErrorKind::PermissionDenied,
        ErrorKind::TooManyLinks,
    ] {
        let sim = SimEnv::new(1);
        let db = tiny().env(sim.env()).open("/db")?;
        let keyspace = filled(&db)?;
        let count = keyspace.files().len() as u64;
        sim.fail_matching(Some(Op::Link), "", u64::MAX, kind, Effect::Nothing);
        let report = db.checkpoint("/copy")?;
        assert_eq!((report.linked_files, report.copied_files), (0, count));
        let why = report.not_linked.expect("a reason");
        assert!(
            matches!(
                &why,
                Error::Io {
                    operation: "link",
                    ..
                }
            ),
            "{why}"
        );
        sim.crash(CrashStyle::KeepNothing);
        let copy = tiny().env(sim.env()).open("/copy")?;
        assert_eq!(entries(&copy)?.len(), 409);
        copy.verify()?;
    }
    Ok(())
}

#[test]
fn what_is_not_an_empty_directory_is_refused_and_left_alone() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let db = tiny().open(temp.path().join("db"))?;
    filled(&db)?;
    let (full, file, empty) = ("full", "file", "empty").map_paths(temp.path());
    fs::create_dir(&full).unwrap();
    fs::write(full.join("notes.txt"), b"mine").unwrap();
    fs::write(&file, b"mine").unwrap();
    fs::create_dir(&empty).unwrap();
    for target in [&full, &file, &temp.path().join("db")] {
        let error = db.checkpoint(target).unwrap_err();
        assert!(
            matches!(&error, Error::NotEmpty { path, .. } if path == target),
            "{error}"
        );
    }
    assert_eq!(names(&full), ["notes.txt"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    db.checkpoint(&empty)?;
    let again = db.checkpoint(&empty).unwrap_err();
    assert!(matches!(again, Error::NotEmpty { .. }), "{again}");
    assert_eq!(entries(&tiny().open_read_only(&empty)?)?.len(), 409);
    db.close()
}

trait MapPaths {
    fn map_paths(self, dir: &Path) -> (PathBuf, PathBuf, PathBuf);
}

impl MapPaths for (&str, &str, &str) {
    fn map_paths(self, dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
        (dir.join(self.0), dir.join(self.1), dir.join(self.2))
    }
}

#[test]
fn an_unfinished_checkpoint_is_refused_as_such_by_every_opening() -> Result<()> {
    // Killed before each call that it makes in the target, but for the very first ones, which leave an empty directory.
    let mut refused = 0;
    for at in 0..100 {
        let sim = SimEnv::new(2);
        let db = tiny().env(hooked::hooked(sim.env())).open("/db")?;
        filled(&db)?;
        let machine = sim.clone();
        let stop = move |call| {
            if call == at {
                machine.power_off();
            }
        };
        let made = hooked::during(Path::new("/copy"), stop, || db.checkpoint("/copy"));
        if made.is_ok() && !sim.is_off() {
            assert!(refused > 20, "{refused} of {at}");
            return Ok(());
        }
        sim.crash(CrashStyle::KeepAll);
        drop(db);
        let files: Vec<PathBuf> = sim
            .list()
            .into_iter()
            .filter(|path| path.starts_with("/copy"))
            .collect();
        if files.is_empty() || files.contains(&PathBuf::from("/copy/CURRENT")) {
            continue;
        }
        for result in [
            tiny().env(sim.env()).open("/copy"),
            tiny().env(sim.env()).create_if_missing(false).open("/copy"),
            tiny().env(sim.env()).open_read_only("/copy"),
        ] {
            let error = result.expect_err("it is no database");
            let text = error.to_string();
            assert!(matches!(error, Error::NotADatabase { .. }), "{text}");
            assert!(text.contains("checkpoint that was not finished"), "{text}");
        }
        refused += 1;
    }
    panic!("it makes no hundred calls");
}

#[test]
fn a_finished_checkpoint_whose_mark_was_not_removed_opens_and_loses_the_mark() -> Result<()> {
    let sim = SimEnv::new(3);
    let db = tiny().env(sim.env()).open("/db")?;
    filled(&db)?;
    sim.fail_matching(
        Some(Op::Remove),
        "unfinished.checkpoint",
        1,
        ErrorKind::Other,
        Effect::Nothing,
    );
    db.checkpoint("/copy")?;
    let mark = || {
        sim.list()
            .iter()
            .any(|path| path.ends_with("packstone-unfinished.checkpoint"))
    };
    assert!(mark());
    assert_eq!(
        entries(&tiny().env(sim.env()).open_read_only("/copy")?)?.len(),
        409
    );
    assert!(mark(), "a reader changes nothing");
    let copy = tiny().env(sim.env()).open("/copy")?;
    assert!(!mark());
    copy.close()
}

#[test]
fn a_failed_checkpoint_leaves_an_empty_directory_that_the_next_one_takes() -> Result<()> {
    let sim = SimEnv::new(4);
    let db = tiny().env(sim.env()).open("/db")?;
    filled(&db)?;
    let image = || -> Vec<_> {
        let ours = sim.list().into_iter().filter(|path| path.starts_with("/db"));
        ours.map(|path| (sim.read_file(&path).unwrap(), path)).collect()
    };
    let before = image();
    for room in (0..4000).step_by(97) {
        sim.set_capacity(Some(sim.used() + room));
        let error = db.checkpoint("/copy").unwrap_err();
        assert!(error.is_out_of_space(), "{error}");
        assert!(!sim.list().iter().any(|path| path.starts_with("/copy")));
    }
    assert!(image() == before, "the source is as it was");
    sim.set_capacity(None);
    db.checkpoint("/copy")?;
    Ok(())
}

#[test]
fn files_stay_until_they_are_linked_and_copied_and_go_afterwards() -> Result<()> {
    let sim = SimEnv::new(5);
    sim.set_forgets_removed(true);
    let db = tiny().env(hooked::hooked(sim.env())).open("/db")?;
    let keyspace = filled(&db)?;
    let before = entries(&db)?;
    // Before each call behind the moment of the checkpoint: everything that is there is rewritten, flushed and compacted, and what nobody needs is deleted.
    let (writer, machine) = (keyspace.clone(), sim.clone());
    let busy = move |call: u64| {
        if call >= 5 {
            fill(&writer, 0..20).unwrap();
            writer.compact_range::<&[u8], _>(..).unwrap();
            machine.run_until_idle();
        }
    };
    let report = hooked::during(Path::new("/copy"), busy, || db.checkpoint("/copy"))?;
    let copy = tiny()
        .env(sim.env())
        .access(Access::Pread)
        .open_read_only("/copy")?;
    assert!(entries(&copy)? == before);
    assert_eq!(copy.as_of().seq, report.seq);
    copy.verify()?;
    // The pins have gone, and with them the files.
    sim.run_until_idle();
    let ours = |end: &str| {
        let paths = sim.list();
        let ours = paths
            .iter()
            .filter(|path| path.starts_with("/db") && path.to_string_lossy().ends_with(end));
        ours.count()
    };
    assert_eq!(ours(".sst"), keyspace.files().len());
    let logs: u64 = sim
        .list()
        .iter()
        .filter(|path| path.starts_with("/db") && path.extension().is_some_and(|end| end == "log"))
        .map(|path| sim.file_len(path).unwrap())
        .sum();
    assert_eq!(logs, db.metrics().log_bytes_on_disk);
    assert!(ours(".log") <= 2);
    Ok(())
}

#[test]
fn only_an_open_writer_makes_checkpoints() -> Result<()> {
    let sim = SimEnv::new(6);
    let db = tiny().env(sim.env()).open("/db")?;
    filled(&db)?;
    let reader = tiny().env(sim.env()).open_read_only("/db")?;
    assert!(matches!(reader.checkpoint("/copy"), Err(Error::ReadOnly)));
    let again = db.clone();
    db.close()?;
    assert!(matches!(again.checkpoint("/copy"), Err(Error::Closed)));
    assert!(sim.list().iter().all(|path| path.starts_with("/db")));
    Ok(())
}

/// Two threads write numbered batches; each checkpoint holds a prefix of each thread's, whole, from what was acknowledged on.
#[test]
fn checkpoints_made_under_load_hold_whole_batches_and_all_that_was_acknowledged() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let db = tiny().open(temp.path().join("db"))?;
    let spaces = [db.keyspace("left")?, db.keyspace("right")?];
    let stop = AtomicBool::new(false);
    let done = [(); 2].map(|()| std::sync::atomic::AtomicU64::new(0));
    thread::scope(|scope| -> Result<()> {
        for thread in 0..2u8 {
            let (db, spaces, stop, done) = (&db, &spaces, &stop, &done);
            scope.spawn(move || {
                for n in 1..u64::MAX {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut batch = db.batch();
                    for space in spaces {
                        batch.put(space, [thread], n.to_be_bytes());
                        batch.put(
                            space,
                            [&[thread][..], &(n % 500).to_be_bytes()].concat(),
                            [n as u8; 100],
                        );
                    }
                    batch.commit(Durability::Buffered).unwrap();
                    done[usize::from(thread)].store(n, Ordering::Release);
                }
            });
        }
        let result = (0..12).try_for_each(|round| {
            let acknowledged = [0, 1].map(|thread: usize| done[thread].load(Ordering::Acquire));
            let dir = temp.path().join(format!("copy-{round}"));
            let report = db.checkpoint(&dir)?;
            let copy = tiny().open_read_only(&dir)?;
            assert_eq!(copy.as_of().seq, report.seq);
            // Four operations a batch, of whichever thread, and the number says how many batches.
            let mut batches = 0;
            for thread in 0..2u8 {
                let at = |name: &str| -> Result<u64> {
                    let value = copy.open_keyspace(name)?.get([thread])?;
                    Ok(value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap())))
                };
                let (left, right) = (at("left")?, at("right")?);
                assert_eq!(left, right, "half a batch");
                assert!(left >= acknowledged[usize::from(thread)]);
                batches += left;
            }
            assert_eq!(batches * 4, report.seq);
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        result
    })?;
    drop(spaces);
    db.close()
}
