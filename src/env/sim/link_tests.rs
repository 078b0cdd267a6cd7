//! Files of several names on the simulated disk.

use std::path::Path;

use super::*;
use crate::env::is_unlinkable;

const A: &str = "/one/a";
const B: &str = "/two/b";

/// A machine with a synced file of one name, and a second directory.
fn machine(seed: u64) -> (SimEnv, Env) {
    let sim = SimEnv::new(seed);
    sim.write_file(A, b"contents").unwrap();
    sim.write_file("/two/other", b"").unwrap();
    let env = sim.env();
    (sim, env)
}

fn link(env: &Env) {
    env.fs.hard_link(Path::new(A), Path::new(B)).unwrap();
}

#[test]
fn a_linked_file_takes_no_room_and_lives_until_its_last_name_goes() {
    let (sim, env) = machine(1);
    sim.set_forgets_removed(true);
    let used = sim.used();
    sim.set_capacity(Some(used));
    link(&env);
    assert_eq!(sim.used(), used);
    let handle = env.fs.open(Path::new(A)).unwrap();
    env.fs.remove(Path::new(A)).unwrap();
    let mut buf = [0; 8];
    handle.read_exact_at(0, &mut buf).unwrap();
    assert_eq!(sim.read_file(B).unwrap(), b"contents");
    env.fs.remove(Path::new(B)).unwrap();
    assert!(handle.read_exact_at(0, &mut buf).is_err());
    assert_eq!(sim.used(), 0);
}

#[test]
fn a_link_is_durable_with_the_sync_of_its_own_directory_only() {
    for (synced, there) in [("/one", false), ("/two", true)] {
        let (sim, env) = machine(1);
        link(&env);
        env.fs.sync_dir(Path::new(synced)).unwrap();
        sim.crash(CrashStyle::KeepNothing);
        assert_eq!(sim.read_file(B).is_ok(), there, "{synced}");
        assert_eq!(sim.read_file(A).unwrap(), b"contents");
    }
}

#[test]
fn names_of_one_file_survive_a_crash_each_on_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (sim, env) = machine(seed);
        link(&env);
        env.fs.remove(Path::new(A)).unwrap();
        sim.crash(CrashStyle::Random);
        let there = [A, B].map(|path| sim.read_file(path).ok());
        assert!(there.iter().flatten().all(|bytes| bytes == b"contents"));
        seen.insert(there.map(|bytes| bytes.is_some()));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_link_fails_as_asked_and_never_replaces() {
    let (sim, env) = machine(1);
    let (a, b) = (Path::new(A), Path::new(B));
    sim.fail_matching(
        Some(Op::Link),
        "/two",
        1,
        io::ErrorKind::CrossesDevices,
        Effect::Nothing,
    );
    let error = env.fs.hard_link(a, b).unwrap_err();
    assert!(is_unlinkable(&error) && sim.read_file(b).is_err());
    let taken = env.fs.hard_link(a, Path::new("/two/other")).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    sim.fail_matching(Some(Op::Link), "", 1, io::ErrorKind::Other, Effect::Partial);
    assert!(!is_unlinkable(&env.fs.hard_link(a, b).unwrap_err()));
    assert_eq!(
        sim.read_file(b).unwrap(),
        b"contents",
        "it was done, and failed all the same"
    );
    // A rename of one name of a file to another does nothing.
    env.fs.rename(a, b).unwrap();
    assert!(sim.read_file(a).is_ok() && sim.read_file(b).is_ok());
}
