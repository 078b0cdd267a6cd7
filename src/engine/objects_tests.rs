//! References on their way through the engine: memtable, flush, compaction.

use std::path::Path;

use super::keyspace::Located;
use super::recovery;
use crate::env::sim::SimEnv;
use crate::memtable::SortedTable;
use crate::sst::SortKeyBuffer;
use crate::types::{EntryKind, ObjectRef};
use crate::{Error, KeyspaceOptions, Options, Order};

const DIR: &str = "/db";
const KEYS: u64 = 300;

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

fn object(n: u64) -> ObjectRef {
    ObjectRef {
        id: [n as u8; 16],
        len: n << 20,
    }
}

#[test]
fn references_pass_through_flush_and_compaction_and_reading_them_is_an_error_yet() {
    for order in [Order::Key, Order::Hash] {
        let sim = SimEnv::new(1);
        let options = Options::new().env(sim.env());
        let db = options.clone().open(DIR).unwrap();
        let keyspace = db
            .keyspace_with("k", KeyspaceOptions::new().order(order))
            .unwrap();
        // Numbers that the entries below use, too.
        for n in 0..KEYS {
            keyspace.put(key(KEYS + n), b"value").unwrap();
        }
        drop((keyspace, db));
        let (core, _) = recovery::open(Path::new(DIR), options, false).unwrap();
        let keyspace = core.keyspace_cores().remove(0);
        let order = keyspace.order();
        let last = core.snapshots.published();
        {
            let mut writes = core.writes.lock();
            let active = writes.active.get_mut(&keyspace.id).unwrap();
            let mut room = SortKeyBuffer::default();
            for n in 0..KEYS {
                let key = key(n);
                let sort_key = order.sort_key(&key, order.hash(&key), &mut room);
                let bytes = object(n).to_bytes();
                active
                    .table
                    .insert(sort_key, last, EntryKind::Object, &bytes)
                    .unwrap();
            }
            active.min_seq = Some(last);
        }
        let sum: u64 = (0..KEYS).map(|n| object(n).len).sum();
        let check = |place: &str| {
            let view = keyspace.view();
            for n in 0..KEYS {
                match view.find(&key(n), order, last, None).unwrap() {
                    Some(Located::Object(found)) => assert_eq!(found, object(n), "{place}"),
                    _ => panic!("{place}: no object"),
                }
                let read = core.get(&keyspace, &key(n), None);
                assert!(matches!(read, Err(Error::Corruption { .. })), "{place}");
                assert!(core.contains_key(&keyspace, &key(n), None).unwrap());
            }
        };
        check("memtable");
        core.flush_keyspaces(std::slice::from_ref(&keyspace)).unwrap();
        check("level 0");
        let bytes = |level: usize| {
            let view = keyspace.view();
            let tables = view.tree.level(level);
            tables
                .iter()
                .map(|table| table.meta.referenced_bytes)
                .sum::<u64>()
        };
        assert_eq!(bytes(0), sum);
        core.compact_range(&keyspace, &[], None).unwrap();
        check("the last level");
        assert_eq!((bytes(0), bytes(6)), (0, sum));
        core.close().unwrap();
    }
}
