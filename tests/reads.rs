//! What reads cost and hold, as facts: allocations of a look-up, blocks that a scan leaves in the cache, files and memtables
//! that a long-lived range pins.
#![allow(clippy::disallowed_methods, reason = "races are made with threads")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use allocation_counter::measure;
use packstone::env::sim::SimEnv;
use packstone::{Access, Compression, Db, Durability, Keyspace, KeyspaceOptions, Options, Result};

use support::rng::Rng;

const KEYS: u32 = 2000;

fn key(i: u32) -> [u8; 8] {
    u64::from(i).to_be_bytes()
}

/// Values of every class: in place, in shared blocks, in blocks of their own.
fn value(i: u32) -> Vec<u8> {
    let len = [3, 100, 900, 5000][i as usize % 4];
    vec![i as u8; len]
}

fn fill(keyspace: &Keyspace) -> Result<()> {
    (0..KEYS).try_for_each(|i| keyspace.put(key(i), value(i)))
}

fn settle(db: &Db, keyspace: &Keyspace) -> Result<()> {
    keyspace.compact_range::<&[u8], _>(..)?;
    db.wait_for_background()
}

/// Allocations of looking up every key once, and as many that are absent.
fn allocations(keyspace: &Keyspace, buffer: &mut Vec<u8>) -> u64 {
    let counted = measure(|| {
        for i in 0..KEYS {
            let found = keyspace.get_into(key(i), buffer);
            assert!(matches!(found, Ok(true)) && buffer.len() == [3, 100, 900, 5000][i as usize % 4]);
            let found = keyspace.get_into(key(i + KEYS), buffer);
            assert!(matches!(found, Ok(false)));
        }
    });
    counted.count_total
}

/// Allocations of visiting every entry with a cursor that has been everywhere before.
fn allocations_of_visits(keyspace: &Keyspace, buffer: &mut Vec<u8>) -> Result<u64> {
    let mut cursor = keyspace.cursor()?;
    let mut visit = || {
        let mut entries = 0;
        let mut more = cursor.seek_to_first();
        while matches!(more, Ok(true)) {
            entries += 1;
            assert!(matches!(cursor.value_into(buffer), Ok(true)));
            more = cursor.next();
        }
        assert_eq!(entries, KEYS);
    };
    visit();
    Ok(measure(visit).count_total)
}

#[test]
fn a_look_up_into_a_buffer_allocates_nothing() -> Result<()> {
    for (access, compression, latencies) in [
        (Access::Mapped, Compression::None, false),
        (Access::Mapped, Compression::None, true),
        (Access::Mapped, Compression::Lz4, false),
        (Access::Pread, Compression::None, false),
        (Access::Pread, Compression::Lz4, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let db = Options::new()
            .access(access)
            .latencies(latencies)
            .open(dir.path())?;
        let options = KeyspaceOptions::new().compression(compression);
        let keyspace = db.keyspace_with("a", options)?;
        fill(&keyspace)?;
        let mut buffer = Vec::with_capacity(8192);
        // The first look-up of a thread makes the slot that it notes its view in.
        keyspace.get_into(key(0), &mut buffer)?;
        assert_eq!(allocations(&keyspace, &mut buffer), 0, "in the memtable");
        assert_eq!(
            allocations_of_visits(&keyspace, &mut buffer)?,
            0,
            "in the memtable"
        );
        settle(&db, &keyspace)?;
        // The first touch brings blocks into the cache.
        allocations(&keyspace, &mut buffer);
        assert_eq!(
            allocations(&keyspace, &mut buffer),
            0,
            "in files, {access:?}, {compression:?}"
        );
        let visits = allocations_of_visits(&keyspace, &mut buffer)?;
        assert!(visits < 8, "{visits}, in files, {access:?}, {compression:?}");
        db.close()?;
    }
    Ok(())
}

#[test]
fn a_scan_leaves_the_blocks_in_the_cache_that_look_ups_use() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = Options::new()
        .env(sim.env())
        .access(Access::Pread)
        .cache_size(1 << 20)
        .open("/db")?;
    let keyspace = db.keyspace_with("a", KeyspaceOptions::new().compression(Compression::None))?;
    let mut rng = Rng::new(5);
    // Twenty times the cache.
    let entries = 20_000;
    for i in 0..entries {
        keyspace.put(key(i), rng.fill(1000))?;
    }
    settle(&db, &keyspace)?;
    let hot: Vec<u32> = (0..50).map(|_| rng.below(u64::from(entries)) as u32).collect();
    let look_up = || hot.iter().try_for_each(|i| keyspace.get(key(*i)).map(drop));
    let misses_of_look_ups = || -> Result<u64> {
        let before = db.metrics().cache_misses;
        look_up()?;
        Ok(db.metrics().cache_misses - before)
    };
    for _ in 0..5 {
        look_up()?;
    }
    assert_eq!(misses_of_look_ups()?, 0, "the hot blocks fit");
    assert_eq!(keyspace.iter().count(), entries as usize);
    let misses = misses_of_look_ups()?;
    assert!(
        misses <= 10,
        "a scan cost the look-ups {misses} of their 100 blocks"
    );
    Ok(())
}

fn tiny(sim: &SimEnv) -> Options {
    Options::new()
        .env(sim.env())
        .write_buffer_size(64 << 10)
        .max_file_size(32 << 10)
}

fn ssts(sim: &SimEnv) -> usize {
    let names = sim.list().into_iter();
    names
        .filter(|path| path.extension().is_some_and(|end| end == "sst"))
        .count()
}

/// Until nothing is left to do, and what nobody holds is deleted.
fn come_to_rest(sim: &SimEnv, db: &Db) -> Result<()> {
    db.flush()?;
    db.wait_for_background()?;
    sim.run_until_idle();
    Ok(())
}

#[test]
fn a_range_that_moves_holds_no_file_that_has_been_merged_and_one_that_rests_does() -> Result<()> {
    let sim = SimEnv::new(2);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace)?;
    come_to_rest(&sim, &db)?;
    let expected: Vec<_> = keyspace.iter().collect::<Result<_>>()?;

    let (mut forward, mut backward) = (keyspace.iter(), keyspace.iter());
    let mut cursor = keyspace.cursor()?;
    assert!(cursor.seek(key(KEYS / 2))?);
    let mut seen = vec![forward.next().unwrap()?];
    let mut reversed = vec![backward.next_back().unwrap()?];
    // Every key is written anew, in the memtable at first.
    for i in 0..KEYS {
        keyspace.put(key(i), b"newer")?;
    }
    seen.push(forward.next().unwrap()?);
    come_to_rest(&sim, &db)?;
    keyspace.compact_range::<&[u8], _>(..)?;
    come_to_rest(&sim, &db)?;
    let live = keyspace.files().len();
    let resting = ssts(&sim);
    assert!(
        resting > live,
        "{resting} files, {live} of them live: somebody rests"
    );

    // Each takes one step, and lets go of what was merged.
    seen.push(forward.next().unwrap()?);
    reversed.push(backward.next_back().unwrap()?);
    assert!(cursor.next()?);
    assert_eq!(cursor.key(), Some(&key(KEYS / 2 + 1)[..]));
    assert_eq!(cursor.value()?.unwrap(), value(KEYS / 2 + 1));
    sim.run_until_idle();
    assert_eq!(ssts(&sim), live, "those that move hold nothing else");

    // And they give what they would have given.
    seen.extend(forward.collect::<Result<Vec<_>>>()?);
    reversed.extend(backward.rev().collect::<Result<Vec<_>>>()?);
    reversed.reverse();
    assert!(seen == expected && reversed == expected);
    while cursor.prev()? {}
    cursor.refresh()?;
    assert!(cursor.seek_to_first()?);
    assert_eq!(cursor.value()?.unwrap(), b"newer");
    Ok(())
}

#[test]
fn several_keys_are_read_at_one_moment() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().write_buffer_size(64 << 10).open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    let stop = AtomicBool::new(false);
    let names = ["z", "a", "m", "absent"];
    let write = |round: u64| -> Result<()> {
        let mut batch = db.batch();
        for name in &names[..3] {
            batch.put(&keyspace, name, round.to_le_bytes());
        }
        batch.commit(Durability::Buffered)
    };
    write(0)?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (1..)
                .take_while(|_| !stop.load(Ordering::Relaxed))
                .try_for_each(write)
        });
        for _ in 0..20_000 {
            let found = keyspace.multi_get(&names)?;
            assert!(
                found[0].is_some() && found[0] == found[1] && found[1] == found[2],
                "{found:?}"
            );
            assert_eq!(found[3], None);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })
}
