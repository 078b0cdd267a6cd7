//! What needs to reach into the engine to be tested.

use crate::env::sim::SimEnv;
use crate::memtable::failing::{self, Failure};
use crate::{Durability, Error, Options};

/// The log has the write and memory can't take it: no part of it is seen, nothing more is written, and the next opening has it.
#[test]
fn a_write_that_memory_has_no_room_for_stops_the_writing_and_is_found_later() {
    let sim = SimEnv::new(1);
    let open = || Options::new().env(sim.env()).open("/db").unwrap();
    let db = open();
    let (a, b) = (db.keyspace("a").unwrap(), db.keyspace("b").unwrap());
    a.put("k", "old").unwrap();
    let mut batch = db.batch();
    batch.put(&a, "k", "new");
    batch.put(&b, "k", "new");
    let before = db.snapshot().seq();
    failing::fail_after(0, Failure::Null); // the first chunk of `b`
    let refused = batch.commit(Durability::Buffered);
    assert!(failing::stop());
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    assert_eq!(a.get("k").unwrap().unwrap(), b"old");
    assert!(b.get("k").unwrap().is_none());
    assert_eq!(db.snapshot().seq(), before);
    assert!(matches!(a.put("k", "v"), Err(Error::Poisoned { .. })));
    drop((a, b, db));
    let db = open();
    for name in ["a", "b"] {
        assert_eq!(db.keyspace(name).unwrap().get("k").unwrap().unwrap(), b"new");
    }
}
