//! What a flush depends on: when it syncs the log, and what a power cut right behind it leaves.

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::{Db, Keyspace, Options, Result};

fn open(sim: &SimEnv) -> Result<Db> {
    Options::new()
        .write_buffer_size(128 << 10)
        .max_log_size(1 << 30)
        .env(sim.env())
        .open("/db")
}

/// Puts until one more flush has ended; the number of keys.
fn put_until_flushed(sim: &SimEnv, db: &Db, keyspace: &Keyspace, value: u8) -> Result<u32> {
    let flushes = db.metrics().flushes;
    let mut keys = 0;
    while db.metrics().flushes == flushes {
        keyspace.put(u32::to_be_bytes(keys), [value; 4000])?;
        keys += 1;
        sim.run_until_idle();
    }
    Ok(keys)
}

#[test]
fn a_flush_syncs_the_log_only_where_another_keyspace_holds_something_older() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = open(&sim)?;
    let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
    let syncs = || db.metrics().log_syncs;
    for value in 0..3 {
        put_until_flushed(&sim, &db, &a, value)?;
    }
    assert_eq!(syncs(), 0, "nothing else is in the log");
    b.put("k", "v")?;
    put_until_flushed(&sim, &db, &a, 4)?;
    assert_eq!(syncs(), 1);
    put_until_flushed(&sim, &db, &a, 5)?;
    assert_eq!(syncs(), 2, "it is in the log still");
    put_until_flushed(&sim, &db, &b, 6)?;
    let before = syncs();
    put_until_flushed(&sim, &db, &a, 7)?;
    put_until_flushed(&sim, &db, &a, 8)?;
    assert_eq!(syncs(), before);
    Ok(())
}

/// The log, never synced, is cut off below what has been flushed; the numbers go on above.
#[test]
fn a_power_cut_behind_a_flush_leaves_what_was_flushed_and_a_database_that_goes_on() -> Result<()> {
    for style in [CrashStyle::KeepNothing, CrashStyle::Random, CrashStyle::KeepAll] {
        for seed in 0..20 {
            let sim = SimEnv::new(seed);
            let db = open(&sim)?;
            let a = db.keyspace("a")?;
            let keys = put_until_flushed(&sim, &db, &a, 1)?;
            a.put("unflushed", "1")?;
            assert_eq!(db.metrics().log_syncs, 0);
            sim.crash(style);
            drop((a, db));
            for value in [2, 3] {
                let db = open(&sim)?;
                let a = db.keyspace("a")?;
                for key in 0..keys {
                    let found = a.get(u32::to_be_bytes(key))?;
                    assert_eq!(found.as_deref(), Some(&[value - 1; 4000][..]), "{style:?}, {key}");
                    a.put(u32::to_be_bytes(key), [value; 4000])?;
                }
                if value == 2 && style == CrashStyle::KeepNothing {
                    assert_eq!(a.get("unflushed")?, None);
                }
                db.close()?;
                sim.crash(CrashStyle::KeepNothing);
            }
        }
    }
    Ok(())
}
