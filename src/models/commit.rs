//! Group commit: leaders, followers, shared syncs, numbers published in order.

use super::*;
use crate::env::sim::CrashStyle;
use crate::{Durability, Error, LogMedium};

/// Writers that lead, follow and hand over: each sees its own writes at once, snapshots see batches whole and stay as
/// they are, numbers only grow. Values are large enough for memtables to be rotated between the groups.
fn writers_and_a_reader(len: usize) {
    let world = World::new();
    let (a, b) = (world.keyspace("a"), world.keyspace("b"));
    let writers: Vec<_> = (1..=3u64)
        .map(|writer| {
            let (db, a, b) = (world.db.clone(), a.clone(), b.clone());
            spawn(move || {
                for round in 1..=2 {
                    let n = writer * 10 + round;
                    let durability = if n % 2 == 0 {
                        Durability::Sync
                    } else {
                        Durability::Buffered
                    };
                    let mut batch = db.batch();
                    batch.put(&a, format!("w{writer}"), value(n, len));
                    for keyspace in [&a, &b] {
                        batch.put(keyspace, "k", value(n, len));
                    }
                    batch.commit(durability).unwrap();
                    assert_eq!(read(a.get(format!("w{writer}"))), n, "a writer sees its own");
                }
            })
        })
        .collect();
    let reader = {
        let (db, a, b) = (world.db.clone(), a.clone(), b.clone());
        spawn(move || {
            let mut last = 0;
            for _ in 0..3 {
                let snapshot = db.snapshot();
                let seen = pair(&snapshot, [&a, &b]);
                assert_eq!(seen[0], seen[1], "half a batch is seen");
                assert!(snapshot.seq() >= last && snapshot.seq() % 3 == 0);
                last = snapshot.seq();
                assert_eq!(pair(&snapshot, [&a, &b]), seen, "a snapshot does not change");
                assert_eq!(
                    snapshot
                        .iter(&a)
                        .filter(|e| e.as_ref().unwrap().0 == b"k")
                        .count() as u64,
                    u64::from(seen[0] > 0)
                );
            }
        })
    };
    join(writers);
    join([reader]);
    assert_eq!(world.db.snapshot().seq(), 18);
    let check = |a: &Keyspace, b: &Keyspace| {
        for writer in 1..=3 {
            assert_eq!(read(a.get(format!("w{writer}"))), writer * 10 + 2);
        }
        assert_eq!(read(a.get("k")), read(b.get("k")));
    };
    check(&a, &b);
    drop((a, b));
    let (_, db) = world.reopen();
    check(&db.keyspace("a").unwrap(), &db.keyspace("b").unwrap());
}

#[test]
fn acknowledged_writes_are_seen_and_batches_are_whole() {
    explore(|| writers_and_a_reader(8));
}

#[test]
fn memtables_rotate_between_groups() {
    explore(|| writers_and_a_reader(5_000));
}

/// No fourth sync where three are enough, none missing where the power fails after the acknowledgement.
#[test]
fn a_sync_is_shared_by_those_who_wait_and_covers_all_of_them() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        let writers = (1..=3u64).map(|writer| {
            let a = a.clone();
            spawn(move || {
                a.put(format!("buffered {writer}"), value(writer, 8)).unwrap();
                a.put_with(format!("synced {writer}"), value(writer, 8), Durability::Sync)
                    .unwrap();
            })
        });
        join(writers.collect::<Vec<_>>());
        world.sim.power_off();
        let World { sim, db } = world;
        drop((a, db));
        sim.crash(CrashStyle::KeepNothing);
        let db = options(Env::modelled(&sim, 1)).open(DIR).unwrap();
        let a = db.keyspace("a").unwrap();
        for writer in 1..=3u64 {
            assert_eq!(read(a.get(format!("synced {writer}"))), writer);
            assert_eq!(
                read(a.get(format!("buffered {writer}"))),
                writer,
                "an earlier write is lost"
            );
        }
    });
}

/// A mapped log's room grows in the background while groups are written, and some find that it has not grown yet. Another file is
/// begun, one is used again, and no store misses its room (the simulated disk would panic).
#[test]
fn groups_are_written_while_room_is_made_ready() {
    explore(|| {
        // Files of 16 KiB; room comes in steps of 4 KiB and 8 KiB.
        let world = World::with(|options| options.max_log_size(128 << 10));
        let a = world.keyspace("a");
        let writers = (1..=2u64).map(|writer| {
            let a = a.clone();
            spawn(move || {
                for n in 1..=5 {
                    let durability = if n == 3 {
                        Durability::Sync
                    } else {
                        Durability::Buffered
                    };
                    a.put_with(format!("w{writer}"), value(n, 2_000), durability)
                        .unwrap();
                }
            })
        });
        join(writers.collect::<Vec<_>>());
        // The process is gone; what it has stored is there.
        world.sim.power_off();
        let World { sim, db } = world;
        drop((a, db));
        sim.crash(CrashStyle::KeepAll);
        let db = options(Env::modelled(&sim, 1)).open(DIR).unwrap();
        let a = db.keyspace("a").unwrap();
        assert_eq!([1, 2].map(|writer| read(a.get(format!("w{writer}")))), [5, 5]);
    });
}

/// A log write that fails: its whole group hears of it and is nowhere; others go on.
#[test]
fn a_failed_log_write_fails_its_group_and_nobody_else() {
    explore(|| {
        let world = World::with(|options| options.log_medium(LogMedium::Plain));
        let a = world.keyspace("a");
        let kind = std::io::ErrorKind::Other;
        let is_log_write = |call: &crate::env::sim::Call| {
            call.op == crate::env::sim::Op::Write
                && call.path.extension().is_some_and(|e| e == "log")
                && call.offset > 0
        };
        world
            .sim
            .fail_where(is_log_write, 1, kind, crate::env::sim::Effect::Nothing);
        let writers = (1..=3u64).map(|writer| {
            let a = a.clone();
            spawn(move || a.put(format!("w{writer}"), value(writer, 8)).is_ok())
        });
        let written = join(writers.collect::<Vec<_>>());
        assert!(written.contains(&false));
        for (writer, written) in (1..).zip(&written) {
            assert_eq!(
                read(a.get(format!("w{writer}"))),
                if *written { writer } else { 0 }
            );
        }
        a.put("after", value(9, 8)).unwrap();
        drop(a);
        let (_, db) = world.reopen();
        let a = db.keyspace("a").unwrap();
        assert_eq!(read(a.get("after")), 9);
        for (writer, written) in (1..).zip(written) {
            assert_eq!(
                read(a.get(format!("w{writer}"))),
                if written { writer } else { 0 }
            );
        }
    });
}

/// Closing beside writers: each write is acknowledged and found later, or refused as closed; nobody hangs.
#[test]
fn closing_beside_writers_loses_nothing_that_was_acknowledged() {
    explore(|| {
        let world = World::new();
        let a = world.keyspace("a");
        let writers: Vec<_> = (1..=2u64)
            .map(|writer| {
                let a = a.clone();
                spawn(move || {
                    let mut acknowledged = 0;
                    for n in 1..=3 {
                        let durability = if n == 2 {
                            Durability::Sync
                        } else {
                            Durability::Buffered
                        };
                        match a.put_with(format!("w{writer}"), value(n, 1_500), durability) {
                            Ok(()) => acknowledged = n,
                            Err(Error::Closed) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let flusher = {
            let db = world.db.clone();
            spawn(move || assert!(matches!(db.flush(), Ok(()) | Err(Error::Closed))))
        };
        world.db.clone().close().unwrap();
        let acknowledged = join(writers);
        join([flusher]);
        drop(a);
        let (_, db) = world.reopen();
        let a = db.keyspace("a").unwrap();
        for (writer, n) in (1..).zip(acknowledged) {
            let found = read(a.get(format!("w{writer}")));
            // A write that was refused as closed while it waited for its sync may have happened.
            assert!(
                found >= n,
                "w{writer}: {found} is found after {n} was acknowledged"
            );
        }
    });
}
