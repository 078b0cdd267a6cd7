//! What the simulated machine promises, through the traits that programs use.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::env::{Event, File, Priority, WritableMapping};

mod failures;
mod mapped;

const EIO: io::ErrorKind = io::ErrorKind::Other;

fn path(name: &str) -> PathBuf {
    Path::new("/").join(name)
}

/// Creates a file with contents; neither contents nor name are synced.
fn put(env: &Env, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = env.fs.create(&path(name)).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file
}

fn sync_root(env: &Env) {
    env.fs.sync_dir(Path::new("/")).unwrap();
}

/// Creates a file whose contents and name are durable.
fn put_synced(env: &Env, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = put(env, name, bytes);
    file.sync().unwrap();
    sync_root(env);
    file
}

/// The disk after a random crash, for many seeds: which files, with which contents.
fn outcomes(prepare: impl Fn(&SimEnv, &Env)) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    let outcome = |seed| {
        let sim = SimEnv::new(seed);
        prepare(&sim, &sim.env());
        sim.crash(CrashStyle::Random);
        let files = sim
            .list()
            .into_iter()
            .map(|p| (p.display().to_string(), sim.read_file(&p).unwrap()));
        files.collect()
    };
    (0..400).map(outcome).collect()
}

fn file(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.to_vec())
}

// --- what a crash keeps ---

#[test]
fn unsynced_data_vanish_under_a_synced_name() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put_synced(&env, "f", b"old");
    f.write_all_at(0, b"new").unwrap();
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.read_file("/f").unwrap(), b"old");
}

#[test]
fn synced_data_under_an_unsynced_name_are_lost() {
    let sim = SimEnv::new(1);
    put(&sim.env(), "f", b"data").sync().unwrap();
    sim.crash(CrashStyle::KeepNothing);
    assert!(sim.list().is_empty());
}

#[test]
fn a_directory_sync_saves_the_name_and_not_the_contents() {
    let sim = SimEnv::new(1);
    put(&sim.env(), "f", b"data");
    sync_root(&sim.env());
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.read_file("/f").unwrap(), b"");
}

#[test]
fn removal_and_rename_are_undone_when_not_synced() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    put_synced(&env, "a", b"A");
    put_synced(&env, "b", b"B");
    env.fs.remove(&path("a")).unwrap();
    env.fs.rename(&path("b"), &path("c")).unwrap();
    assert_eq!(sim.list(), [path("c")]);
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.list(), [path("a"), path("b")]);
}

#[test]
fn a_process_kill_keeps_everything_but_makes_nothing_durable() {
    let sim = SimEnv::new(1);
    put(&sim.env(), "f", b"data");
    sim.crash(CrashStyle::KeepAll);
    assert_eq!(sim.read_file("/f").unwrap(), b"data");
    sim.crash(CrashStyle::KeepNothing);
    assert!(sim.list().is_empty());
}

#[test]
fn a_rename_leaves_the_old_or_the_new_file_and_never_neither() {
    let found = outcomes(|_, env| {
        put_synced(env, "CURRENT", b"old");
        put(env, "tmp", b"new").sync().unwrap();
        env.fs.rename(&path("tmp"), &path("CURRENT")).unwrap();
    });
    let old = vec![file("/CURRENT", b"old")];
    let both = vec![file("/CURRENT", b"old"), file("/tmp", b"new")];
    let new = vec![file("/CURRENT", b"new")];
    assert_eq!(found, BTreeSet::from([old, both, new]));
}

#[test]
fn pending_names_survive_independently() {
    let found = outcomes(|_, env| {
        put(env, "a", b"");
        put(env, "b", b"");
    });
    assert_eq!(found.len(), 4);
}

#[test]
fn a_file_that_nobody_removed_has_a_name_after_any_crash() {
    let found = outcomes(|_, env| {
        put_synced(env, "CURRENT", b"1");
        put_synced(env, "next", b"2");
        env.fs.rename(&path("CURRENT"), &path("old")).unwrap();
        env.fs.rename(&path("next"), &path("CURRENT")).unwrap();
    });
    for files in found {
        let contents: BTreeSet<_> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(
            contents,
            BTreeSet::from([b"1".to_vec(), b"2".to_vec()]),
            "{files:?}"
        );
    }
}

#[test]
fn a_rename_between_directories_is_one_change() {
    let found = outcomes(|_, env| {
        env.fs.create_dir_all(&path("x")).unwrap();
        env.fs.create_dir_all(&path("y")).unwrap();
        put(env, "x/f", b"");
        env.fs.sync_dir(&path("x")).unwrap();
        env.fs.rename(&path("x/f"), &path("y/f")).unwrap();
    });
    assert_eq!(
        found,
        BTreeSet::from([vec![file("/x/f", b"")], vec![file("/y/f", b"")]])
    );
}

#[test]
fn syncing_one_side_of_a_rename_makes_both_durable() {
    for synced in ["x", "y"] {
        let found = outcomes(|_, env| {
            env.fs.create_dir_all(&path("x")).unwrap();
            env.fs.create_dir_all(&path("y")).unwrap();
            put(env, "x/f", b"");
            env.fs.rename(&path("x/f"), &path("y/f")).unwrap();
            env.fs.sync_dir(&path(synced)).unwrap();
        });
        assert_eq!(found, BTreeSet::from([vec![file("/y/f", b"")]]));
    }
}

#[test]
fn created_directories_are_durable() {
    let sim = SimEnv::new(1);
    sim.env().fs.create_dir_all(&path("a/b/c")).unwrap();
    sim.crash(CrashStyle::KeepNothing);
    let env = sim.env();
    assert!(env.fs.list(&path("a/b/c")).unwrap().is_empty());
    assert!(!env.fs.list(&path("a")).unwrap()[0].is_file);
}

#[test]
fn what_a_failed_attempt_to_create_directories_has_left_is_durable_after_the_next() {
    for left in ["/a", "/a/b", "/a/b/c"] {
        let sim = SimEnv::new(1);
        let part = left.to_owned();
        let is_it = move |call: &Call| call.op == Op::CreateDir && call.path == Path::new(&part);
        sim.fail_where(is_it, 1, io::ErrorKind::Other, Effect::Partial);
        let fs = sim.env().fs;
        fs.create_dir_all(&path("a/b/c")).unwrap_err();
        fs.create_dir_all(&path("a/b/c")).unwrap();
        sim.crash(CrashStyle::KeepNothing);
        assert!(sim.env().fs.list(&path("a/b/c")).is_ok(), "{left}");
    }
}

#[test]
fn torn_writes_mix_sectors_of_old_and_new() {
    let found = outcomes(|_, env| {
        let f = put_synced(env, "f", &[1; 1024]);
        f.write_all_at(0, &[2; 1024]).unwrap();
    });
    let torn = [[1u8; 512], [2; 512]].concat();
    assert!(found.contains(&vec![file("/f", &torn)]));
    assert_eq!(found.len(), 4);
}

#[test]
fn synced_files_survive_any_crash() {
    let found = outcomes(|_, env| {
        put_synced(env, "f", &[1; 5000]);
    });
    assert_eq!(found, BTreeSet::from([vec![file("/f", &[1; 5000])]]));
}

// --- after a crash ---

#[test]
fn handles_and_environments_from_before_the_crash_fail() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put_synced(&env, "f", b"data");
    sim.crash(CrashStyle::KeepAll);
    let calls = sim.io_count();
    assert!(
        f.read_at(0, &mut [0])
            .unwrap_err()
            .to_string()
            .contains("before the crash")
    );
    assert!(f.write_at(0, b"x").is_err());
    assert!(f.sync().is_err());
    assert!(env.fs.open(&path("f")).is_err());
    assert!(env.fs.remove(&path("f")).is_err());
    assert!(env.fs.create_dir_all(&path("d/e")).is_err());
    assert_eq!(sim.io_count(), calls);
    assert!(sim.env().fs.open(&path("f")).is_ok());
}

#[test]
fn locks_exclude_and_a_crash_releases_them() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let held = env.fs.lock(&path("LOCK")).unwrap();
    assert_eq!(
        env.fs.lock(&path("LOCK")).err().unwrap().kind(),
        io::ErrorKind::WouldBlock
    );
    sim.crash(CrashStyle::KeepAll);
    let env = sim.env();
    let second = env.fs.lock(&path("LOCK")).unwrap();
    drop(held); // the old boot's: it must not let go of the new one
    assert!(env.fs.lock(&path("LOCK")).is_err());
    drop(second);
    assert!(env.fs.lock(&path("LOCK")).is_ok());
}

#[test]
fn a_crash_drops_jobs_and_faults() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    env.scheduler
        .spawn(Priority::High, Box::new(|| panic!("must not run")));
    sim.set_fault(Fault::FailCall {
        index: sim.io_count(),
        kind: EIO,
        effect: Effect::Nothing,
    });
    sim.fail_matching(None, "", 1, EIO, Effect::Nothing);
    sim.crash(CrashStyle::KeepAll);
    env.scheduler
        .spawn(Priority::High, Box::new(|| panic!("must not run either")));
    assert_eq!(sim.pending(), 0);
    sim.run_until_idle();
    assert!(sim.env().fs.create(&path("f")).is_ok());
}

// --- handles ---

#[test]
fn open_files_and_mappings_outlive_their_name() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put_synced(&env, "f", b"data");
    let mapping = f.map().unwrap();
    env.fs.remove(&path("f")).unwrap();
    sync_root(&env);
    let mut buf = [0; 4];
    f.read_exact_at(0, &mut buf).unwrap();
    assert_eq!(&buf, b"data");
    assert_eq!(&*mapping, b"data");
}

#[test]
fn names_obey_the_rules_of_the_real_file_system() {
    let env = SimEnv::new(1).env();
    put(&env, "f", b"");
    env.fs.create_dir_all(&path("d")).unwrap();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(
        kind(env.fs.create(&path("f")).map(drop)),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(kind(env.fs.open(&path("g")).map(drop)), io::ErrorKind::NotFound);
    assert_eq!(
        kind(env.fs.create(&path("no/f")).map(drop)),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        kind(env.fs.create(&path("f/f")).map(drop)),
        io::ErrorKind::NotADirectory
    );
    assert_eq!(
        kind(env.fs.create_dir_all(&path("f/f"))),
        io::ErrorKind::NotADirectory
    );
    assert_eq!(kind(env.fs.remove(&path("d"))), io::ErrorKind::IsADirectory);
    assert_eq!(
        kind(env.fs.rename(&path("f"), &path("d"))),
        io::ErrorKind::IsADirectory
    );
    assert_eq!(kind(env.fs.list(&path("no")).map(drop)), io::ErrorKind::NotFound);
    let read_only = env.fs.open(&path("f")).unwrap();
    assert_eq!(
        kind(read_only.write_at(0, b"x").map(drop)),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(kind(read_only.set_len(1)), io::ErrorKind::PermissionDenied);
}

// --- the disk from outside ---

#[test]
fn planted_files_are_durable_and_uprooted_ones_gone() {
    let sim = SimEnv::new(1);
    sim.write_file("/d/e/f", b"one").unwrap();
    sim.write_file("/d/e/f", b"two").unwrap();
    sim.write_file("/d/g", b"").unwrap();
    sim.remove_file("/d/g").unwrap();
    sim.flip_bit("/d/e/f", 2, 0).unwrap();
    assert!(sim.flip_bit("/d/e/f", 3, 0).is_err());
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.list(), [path("d/e/f")]);
    assert_eq!(sim.read_file("/d/e/f").unwrap(), b"twn");
    assert_eq!(sim.io_count(), 0);
}

// --- all of it ---

#[test]
fn identities_differ_and_follow_from_the_seed() {
    let draw = |seed| {
        let env = SimEnv::new(seed).env();
        [env.entropy.identity().unwrap(), env.entropy.identity().unwrap()]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}

/// A little program that uses everything, and what it left behind.
fn run(seed: u64) -> (Vec<Call>, Vec<(PathBuf, Vec<u8>)>) {
    let sim = SimEnv::new(seed);
    sim.set_trace(true);
    sim.set_flaky(Some(5));
    for _ in 0..3 {
        let env = sim.env();
        let done = Arc::new(AtomicUsize::new(0));
        for i in 0..6u32 {
            let (env, done) = (env.clone(), Arc::clone(&done));
            let job = move || {
                done.fetch_add(1, Ordering::Relaxed);
                let name = path(&format!("{i}"));
                let Ok(file) = env.fs.create(&name).or_else(|_| env.fs.open(&name)) else {
                    return;
                };
                let _ = file.write_all_at(u64::from(i) * 300, &[i as u8 + 1; 3000]);
                let _ = file.sync();
                let _ = env.fs.rename(&name, &path("target"));
            };
            env.scheduler.spawn(Priority::High, Box::new(job));
        }
        sim.set_fault(Fault::PowerOffAt {
            index: sim.io_count() + 20,
        });
        env.scheduler
            .wait(&Event::default(), &mut || done.load(Ordering::Relaxed) == 6);
        sim.crash(CrashStyle::Random);
    }
    let files = sim
        .list()
        .into_iter()
        .map(|p| (p.clone(), sim.read_file(&p).unwrap()))
        .collect();
    (sim.take_trace(), files)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let runs: Vec<_> = (0..8).map(run).collect();
    for (seed, first) in (0..).zip(&runs) {
        assert_eq!(run(seed), *first);
    }
    assert!(runs.iter().any(|other| *other != runs[0]));
}
