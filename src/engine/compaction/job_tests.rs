//! When compactions are queued and chosen.

use std::path::Path;

use super::*;
use crate::engine::recovery;
use crate::env::sim::SimEnv;
use crate::{Db, Options};

const DIR: &str = "/db";

fn options(sim: &SimEnv) -> Options {
    Options::new().env(sim.env()).background_threads(2)
}

fn put(db: &Db, name: &str, least: &str, greatest: &str) {
    let keyspace = db.keyspace(name).unwrap();
    keyspace.put(least, "1").unwrap();
    keyspace.put(greatest, "1").unwrap();
}

/// A keyspace whose level 0 is due, over a file of the last level, with compactions paused; and another one of one file.
fn opened(sim: &SimEnv) -> (Arc<Core>, Arc<KeyspaceCore>, Arc<KeyspaceCore>) {
    let db = options(sim).open(DIR).unwrap();
    put(&db, "due", "a", "z");
    put(&db, "other", "0", "1");
    db.flush().unwrap();
    db.keyspace("due").unwrap().compact_range::<&[u8], _>(..).unwrap();
    for _ in 0..3 {
        put(&db, "due", "a", "y");
        db.flush().unwrap();
    }
    put(&db, "due", "a", "y");
    drop(db);
    let (core, _) = recovery::open(Path::new(DIR), options(sim), false).unwrap();
    let named = |name| {
        let keyspaces = core.keyspace_cores();
        keyspaces
            .into_iter()
            .find(|keyspace| &*keyspace.name == name)
            .unwrap()
    };
    let (due, other) = (named("due"), named("other"));
    due.jobs.lock().paused = true;
    core.flush_keyspaces(std::slice::from_ref(&due)).unwrap();
    assert_eq!(due.view().tree.level(0).len(), 4);
    (core, due, other)
}

/// A claim that is in nobody's way.
fn foreign(other: &KeyspaceCore) -> Plan {
    let table = other.view().tree.tables().next().unwrap().clone();
    Plan::new(Action::Merge, vec![(0, table)], 6).unwrap()
}

#[test]
fn a_compaction_is_queued_if_one_is_due_and_nothing_speaks_against_it() {
    let sim = SimEnv::new(1);
    let (core, due, other) = opened(&sim);
    let queued = || {
        core.schedule_compaction(&due);
        due.jobs.lock().queued
    };
    assert_eq!(queued(), 0, "paused");
    due.jobs.lock().paused = false;
    due.jobs.lock().ranges_waiting = 1;
    assert_eq!(queued(), 0, "a range waits");
    due.jobs.lock().ranges_waiting = 0;
    let claim = due.jobs.lock().claims.add(&foreign(&other));
    assert_eq!(queued(), 0, "as many run as may");
    due.jobs.lock().claims.remove(claim);
    assert_eq!(queued(), 1);
    assert_eq!(queued(), 1, "one at a time");
}

#[test]
fn what_is_queued_is_chosen_if_nothing_has_come_in_between() {
    let sim = SimEnv::new(2);
    let (core, due, _) = opened(&sim);
    let choose = |paused, ranges_waiting| {
        let mut jobs = due.jobs.lock();
        (jobs.paused, jobs.ranges_waiting, jobs.queued) = (paused, ranges_waiting, 1);
        drop(jobs);
        let chosen = core.choose(&due);
        let jobs = due.jobs.lock();
        assert_eq!((jobs.queued, jobs.chosen.len()), (0, usize::from(chosen)));
        chosen
    };
    assert!(!choose(true, 0));
    assert!(!choose(false, 1));
    assert!(choose(false, 0));
    // The round goes on behind the files of the levels above, not behind those that are rewritten where they lie.
    let jobs = due.jobs.lock();
    assert_eq!(
        (&jobs.cursors[0][..], &jobs.cursors[6][..]),
        (&b"y"[..], &b""[..])
    );
}

#[test]
fn a_range_compaction_leaves_nothing_claimed() {
    let sim = SimEnv::new(3);
    let (core, due, _) = opened(&sim);
    core.compact_range(&due, b"", None).unwrap();
    let jobs = due.jobs.lock();
    assert_eq!((jobs.ranges_waiting, jobs.claims.len()), (0, 0));
    let tree = due.view().tree.clone();
    assert_eq!((tree.level(0).len(), tree.level(6).len()), (0, 1));
}

#[test]
fn one_thread_is_left_to_flushes() {
    for (threads, most) in [(1, 1), (2, 1), (3, 2), (8, 7)] {
        let sim = SimEnv::new(4);
        let options = Options::new().env(sim.env()).background_threads(threads);
        let (core, _) = recovery::open(Path::new(DIR), options, false).unwrap();
        assert_eq!(core.most_compactions(), most);
    }
}
