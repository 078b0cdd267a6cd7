//! Keyspaces that come and go beside writers.

use super::*;
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
        let (sim, db) = world.reopen();
        assert_eq!(db.keyspaces(), ["a"]);
        let a = db.keyspace("a").unwrap();
        for (writer, told) in (1..).zip(&told) {
            assert_eq!(read(a.get(format!("w{writer}"))), told.acknowledged);
        }
        assert!(ssts(&sim).len() == a.files().len());
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
