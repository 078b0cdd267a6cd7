//! Keyspaces that come and go beside writers.

use super::*;
use crate::env::sim::{Call, Effect, Op};
use crate::{Durability, Error};

/// What a writer of both keyspaces was told: the last round that was acknowledged, and whether it was refused.
struct Told {
    acknowledged: u64,
    refused: bool,
}

fn write_both(db: &Db, a: &Keyspace, b: &Keyspace, writer: u64) -> Told {
    let mut told = Told {
        acknowledged: 0,
        refused: false,
    };
    for n in 1..=3 {
        let mut batch = db.batch();
        batch.put(a, format!("w{writer}"), value(n, 8));
        batch.put(b, format!("w{writer}"), value(n, 8));
        match batch.commit(Durability::Buffered) {
            Ok(()) => told.acknowledged = n,
            Err(Error::KeyspaceDropped { .. }) => told.refused = true,
            Err(error) => panic!("{error}"),
        }
    }
    told
}

#[test]
fn a_write_beside_a_drop_happens_whole_or_is_refused() {
    explore(|| {
        let world = World::new();
        let (a, b) = (world.keyspace("a"), world.keyspace("b"));
        let writers: Vec<_> = (1..=2)
            .map(|writer| {
                let (db, a, b) = (world.db.clone(), a.clone(), b.clone());
                spawn(move || write_both(&db, &a, &b, writer))
            })
            .collect();
        let before = world.db.snapshot();
        world.db.drop_keyspace("b").unwrap();
        assert!(matches!(b.put("k", "v"), Err(Error::KeyspaceDropped { .. })));
        assert!(matches!(b.get("k"), Err(Error::KeyspaceDropped { .. })));
        for writer in 1..=2 {
            let both = [&a, &b].map(|keyspace| read(before.get(keyspace, format!("w{writer}"))));
            assert_eq!(
                both[0], both[1],
                "a snapshot from before the drop sees half a batch"
            );
        }
        let told = join(writers);
        drop(before);
        for (writer, told) in (1..).zip(&told) {
            assert_eq!(read(a.get(format!("w{writer}"))), told.acknowledged);
        }
        drop((a, b));
        no_file_leaks(&world.sim, world.db.clone());
        let (sim, db) = world.reopen();
        assert_eq!(db.keyspaces(), ["a"]);
        let a = db.keyspace("a").unwrap();
        for (writer, told) in (1..).zip(&told) {
            assert_eq!(read(a.get(format!("w{writer}"))), told.acknowledged);
        }
        drop(a);
        no_file_leaks(&sim, db);
    });
}

/// A drop whose edit can't be written has not happened: no writer may be told otherwise.
#[test]
fn a_write_beside_a_drop_that_fails_is_not_refused() {
    explore(|| {
        // No flush: the edit that fails is the drop's.
        let world = World::with(|options| options.write_buffer_size(1 << 20));
        let (a, b) = (world.keyspace("a"), world.keyspace("b"));
        let of_manifest = |call: &Call| call.op == Op::Write && call.mentions("MANIFEST");
        world
            .sim
            .fail_where(of_manifest, 1, std::io::ErrorKind::Other, Effect::Nothing);
        let writers: Vec<_> = (1..=2)
            .map(|writer| {
                let (db, a, b) = (world.db.clone(), a.clone(), b.clone());
                spawn(move || write_both(&db, &a, &b, writer))
            })
            .collect();
        let dropped = world.db.drop_keyspace("b").is_ok();
        for (writer, told) in (1..).zip(join(writers)) {
            assert!(dropped || !told.refused, "refused, and the drop has failed");
            assert_eq!(read(a.get(format!("w{writer}"))), told.acknowledged);
            if !dropped {
                assert_eq!((told.acknowledged, read(b.get(format!("w{writer}")))), (3, 3));
            }
        }
    });
}

/// A snapshot is from before the drop, and reads what there was, or from after it, and reads nothing.
#[test]
fn a_snapshot_beside_a_drop_is_from_before_or_after_it() {
    explore(|| {
        let world = World::new();
        let b = world.keyspace("b");
        b.put("k", value(7, 8)).unwrap();
        let reader = {
            let (db, b) = (world.db.clone(), b.clone());
            spawn(move || {
                let mut gone = false;
                for _ in 0..3 {
                    match db.snapshot().get(&b, "k") {
                        Ok(found) => {
                            assert!(!gone, "a later snapshot finds it again");
                            assert_eq!(number(&found.unwrap()), 7);
                        }
                        Err(Error::KeyspaceDropped { .. }) => gone = true,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        let before = world.db.snapshot();
        world.db.drop_keyspace("b").unwrap();
        assert_eq!(read(before.get(&b, "k")), 7);
        let after = world.db.snapshot().get(&b, "k");
        assert!(matches!(after, Err(Error::KeyspaceDropped { .. })), "{after:?}");
        join([reader]);
    });
}

#[test]
fn two_threads_that_create_the_same_keyspace_get_the_same_one() {
    explore(|| {
        let world = World::new();
        let db = world.db.clone();
        let creators = (1..=2u64).map(|n| {
            let db = db.clone();
            spawn(move || {
                db.keyspace("a")
                    .unwrap()
                    .put(format!("{n}"), value(n, 8))
                    .unwrap()
            })
        });
        join(creators.collect::<Vec<_>>());
        let a = world.keyspace("a");
        assert_eq!([read(a.get("1")), read(a.get("2"))], [1, 2]);
        drop((a, db));
        let (_, db) = world.reopen();
        assert_eq!(db.keyspaces(), ["a"]);
        assert_eq!(db.keyspace("a").unwrap().iter().count(), 2);
    });
}
