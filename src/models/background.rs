//! Flush and compaction beside readers: views, snapshots, files, back-pressure.

use super::*;
use crate::Error;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::tree::Tree;
use crate::memtable::{Memtable, SortedTable};

/// The one writer's numbers: value n has sequence number n, so that what a snapshot must see is its own number.
fn write(a: &Keyspace, numbers: std::ops::RangeInclusive<u64>, len: usize) {
    for n in numbers {
        a.put("k", value(n, len)).unwrap();
    }
}

#[test]
fn a_snapshot_is_registered_or_not_needed_when_a_job_samples() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        write(&a, 1..=2, 8);
        let writer = {
            let (db, a) = (world.db.clone(), a.clone());
            spawn(move || {
                db.flush().unwrap();
                write(&a, 3..=4, 8);
                a.compact_range::<&[u8], _>(..).unwrap();
            })
        };
        let readers = (0..2).map(|_| {
            let (db, a) = (world.db.clone(), a.clone());
            spawn(move || {
                for _ in 0..2 {
                    let snapshot = db.snapshot();
                    for _ in 0..2 {
                        assert_eq!(read(snapshot.get(&a, "k")), snapshot.seq());
                        let all: Vec<_> = snapshot.iter(&a).map(|e| number(&e.unwrap().1)).collect();
                        assert_eq!(all, [snapshot.seq()]);
                    }
                }
            })
        });
        join(readers.collect::<Vec<_>>());
        join([writer]);
    });
}

#[test]
fn a_read_finds_its_key_whatever_replaces_the_view() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        write(&a, 1..=1, 8);
        let writer = {
            let (db, a) = (world.db.clone(), a.clone());
            spawn(move || {
                for n in 2..=4 {
                    db.flush().unwrap();
                    write(&a, n..=n, 8);
                }
                a.compact_range::<&[u8], _>(..).unwrap();
            })
        };
        let reader = {
            let a = a.clone();
            spawn(move || {
                let mut last = 1;
                for _ in 0..4 {
                    let found = read(a.get("k"));
                    assert!(found >= last, "{found} after {last}");
                    last = found;
                    let ranged = number(&a.first().unwrap().unwrap().1);
                    assert!(ranged >= last, "{ranged} in a range after {last}");
                    last = ranged;
                    assert!(a.contains_key("k").unwrap());
                }
            })
        };
        join([writer, reader]);
    });
}

/// A point read that loads its number before it pins a view reads at a number that a flush has made invisible meanwhile: the
/// two versions of the key are in one memtable, and the flush keeps the newer one only.
#[test]
fn a_point_read_is_unharmed_by_a_write_and_a_flush_in_its_middle() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        write(&a, 1..=1, 8);
        let reader = {
            let a = a.clone();
            spawn(move || {
                for _ in 0..8 {
                    assert!(read(a.get("k")) >= 1);
                    assert!(a.contains_key("k").unwrap());
                }
            })
        };
        write(&a, 2..=2, 8);
        world.db.flush().unwrap();
        join([reader]);
    });
}

/// A keyspace of no database.
fn bare_keyspace() -> Arc<KeyspaceCore> {
    let table = Arc::new(Memtable::new());
    KeyspaceCore::new(
        1,
        "a".into(),
        KeyspaceOptions::new(),
        table,
        Vec::new(),
        Tree::default(),
    )
}

/// One writer freezes memtables while flushes take frozen ones out of the view: no change of the view is lost.
#[test]
fn a_view_loses_no_change_of_two_that_meet() {
    explore(|| {
        let keyspace = bare_keyspace();
        keyspace.rotate(1, 1);
        let freezing = {
            let keyspace = keyspace.clone();
            spawn(move || {
                for n in 2..=3 {
                    keyspace.rotate(n, n);
                }
            })
        };
        // As a flush does: what was oldest when it began goes.
        keyspace.update(|view| assert_eq!(view.frozen.pop().unwrap().upto, 1));
        join([freezing]);
        let left: Vec<_> = keyspace.view().frozen.iter().map(|frozen| frozen.upto).collect();
        assert_eq!(left, [3, 2]);
    });
}

#[test]
fn a_file_stays_until_its_last_reader_goes_and_no_longer() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        for n in 1..=2 {
            a.put(format!("{n}"), value(n, 8)).unwrap();
            world.db.flush().unwrap();
        }
        let compaction = {
            let a = a.clone();
            spawn(move || a.compact_range::<&[u8], _>(..).unwrap())
        };
        let reader = {
            let (sim, a) = (world.sim.clone(), a.clone());
            spawn(move || scan_and_watch(&sim, &a))
        };
        join([compaction, reader]);
        drop(a);
        no_file_leaks(&world.sim, world.db.clone());
        let (sim, db) = world.reopen();
        db.verify().unwrap();
        no_file_leaks(&sim, db);
    });
}

/// While a range rests, the files that it pinned are there. (One that moves may take newer ones and let go of these.)
fn scan_and_watch(sim: &SimEnv, a: &Keyspace) {
    let before = a.files();
    let mut range = a.iter();
    assert_eq!(number(&range.next().unwrap().unwrap().1), 1);
    // If a compaction has come in between, it is not known what the range has pinned.
    let pinned = if a.files() == before { before } else { Vec::new() };
    for _ in 0..2 {
        let there = |path: &Path| exists(sim, path);
        assert!(
            pinned.iter().all(|file| there(&file.path)),
            "deleted under its reader"
        );
    }
    assert_eq!(number(&range.next().unwrap().unwrap().1), 2);
    assert!(range.next().is_none());
}

/// Whoever has closed a database may open it again, or delete it: no job is left that writes, renames or removes.
#[test]
fn once_closed_a_database_leaves_its_directory_alone() {
    explore(|| {
        let sim = SimEnv::new(1);
        let env = Env::modelled(&sim, 2);
        let db = options(env.clone()).open(DIR).unwrap();
        let world = World { sim, db };
        let a = world.keyspace("a");
        write(&a, 1..=1, 8);
        let refused = |result| assert!(matches!(result, Ok(()) | Err(Error::Closed)));
        let busy = [
            {
                let db = world.db.clone();
                spawn(move || refused(db.flush()))
            },
            {
                let a = a.clone();
                spawn(move || refused(a.compact_range::<&[u8], _>(..)))
            },
        ];
        world.db.clone().close().unwrap();
        let calls = world.sim.io_count();
        join(busy);
        let World { sim, db } = world;
        drop((a, db));
        while Arc::strong_count(&env.scheduler) > 1 {
            thread::yield_now(); // a job still has the database
        }
        drop(env); // waits for the threads
        assert_eq!(sim.io_count(), calls, "the directory is used after the closing");
    });
}

/// More writes than the memory may hold, one thread for flushes and compactions: writers wait, and go on.
#[test]
fn writers_that_must_wait_for_room_are_woken() {
    explore(|| {
        let sim = SimEnv::new(1);
        let db = options(Env::modelled(&sim, 1)).open(DIR).unwrap();
        let world = World { sim, db };
        let a = world.keyspace("a");
        let writers = (1..=2u64).map(|writer| {
            let a = a.clone();
            spawn(move || {
                for n in 1..=4 {
                    a.put(format!("w{writer}"), value(n, 4_000)).unwrap();
                }
            })
        });
        join(writers.collect::<Vec<_>>());
        world.db.wait_for_background().unwrap();
        for writer in 1..=2 {
            assert_eq!(read(a.get(format!("w{writer}"))), 4);
        }
        assert!(world.db.metrics().flushes > 0);
    });
}

#[test]
fn everybody_who_flushes_or_compacts_returns() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        let busy = (1..=3u64).map(|who| {
            let (db, a) = (world.db.clone(), a.clone());
            spawn(move || {
                a.put(format!("w{who}"), value(who, 8)).unwrap();
                match who {
                    1 => db.flush().unwrap(),
                    2 => a.compact_range::<&[u8], _>(..).unwrap(),
                    _ => {
                        db.flush().unwrap();
                        db.wait_for_background().unwrap();
                    }
                }
                assert_eq!(read(a.get(format!("w{who}"))), who);
            })
        });
        join(busy.collect::<Vec<_>>());
        world.db.flush().unwrap();
        assert_eq!(a.files().iter().map(|file| file.entries).sum::<u64>(), 3);
    });
}
