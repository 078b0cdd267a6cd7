//! What operations cost, in calls and bytes: facts that a change may not worsen unnoticed.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::env::sim::{Call, Op, SimEnv};
use packstone::sst::{BlockCache, BlockKind, Sst, SstReadOptions};
use packstone::{Access, Compression, Db, Durability, Keyspace, KeyspaceOptions, LogMedium, Options, Result};
use support::counting::counted;
use support::data::compressible;
use support::rng::Rng;

/// Every block that is needed is read from the disk, each time.
fn uncached(sim: &SimEnv) -> Options {
    Options::new().cache_size(0).access(Access::Pread).env(sim.env())
}

/// What `work` asks of the disk.
fn calls<T>(sim: &SimEnv, work: impl FnOnce() -> T) -> (T, Vec<Call>) {
    sim.set_trace(true);
    let result = work();
    let calls = sim.take_trace();
    sim.set_trace(false);
    (result, calls)
}

fn key(i: u32) -> String {
    format!("{i:012}")
}

fn sst_paths(sim: &SimEnv) -> Vec<PathBuf> {
    let is_sst = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    sim.list().into_iter().filter(is_sst).collect()
}

/// How many reads of SSTs touch blocks of each kind; what is not a block (a filter or index in one piece) is not
/// counted.
fn blocks_read(sim: &SimEnv, calls: &[Call]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for path in sst_paths(sim) {
        let sst = open_sst(sim, &path);
        let blocks = sst.blocks().unwrap();
        let reads = calls
            .iter()
            .filter(|call| call.op == Op::Read && call.path == path);
        for read in reads {
            let touched =
                |offset: u64, len: u64| read.offset < offset + len && offset < read.offset + read.len;
            for block in &blocks {
                if touched(block.offset, u64::from(block.stored_len)) {
                    let kind = match block.kind {
                        BlockKind::Key => "key",
                        BlockKind::Value => "value",
                        BlockKind::Medium => "medium",
                        BlockKind::Filter => "filter",
                        BlockKind::Index => "index",
                        BlockKind::References => "references",
                    };
                    *counts.entry(kind).or_insert(0) += 1;
                }
            }
        }
    }
    counts
}

fn open_sst(sim: &SimEnv, path: &Path) -> Sst {
    let options = SstReadOptions {
        access: Access::Pread,
        cache: Arc::new(BlockCache::new(0)),
    };
    Sst::open(sim.env().fs.open(path).unwrap(), path, &options).unwrap()
}

/// One keyspace whose entries are all in SSTs of one level.
fn settled(
    sim: &SimEnv,
    entries: u32,
    options: KeyspaceOptions,
    value: impl Fn(u32) -> Vec<u8>,
) -> Result<(Db, Keyspace)> {
    let db = uncached(sim).open("/db")?;
    let keyspace = db.keyspace_with("a", options)?;
    for i in 0..entries {
        keyspace.put(key(i), value(i))?;
    }
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    db.wait_for_background()?;
    Ok((db, keyspace))
}

/// Values of the two classes that lie in blocks of their own, in turns.
fn mixed(i: u32) -> Vec<u8> {
    let len = if i.is_multiple_of(10) { 6_000 } else { 300 };
    Rng::new(u64::from(i)).fill(len)
}

#[test]
fn a_scan_of_keys_reads_no_value_block() -> Result<()> {
    let sim = SimEnv::new(1);
    let (_db, keyspace) = settled(&sim, 3_000, KeyspaceOptions::new(), mixed)?;
    for backward in [false, true] {
        let (count, scan) = calls(&sim, || {
            let keys = keyspace.iter().keys();
            if backward {
                keys.rev().count()
            } else {
                keys.count()
            }
        });
        assert_eq!(count, 3_000);
        let read = blocks_read(&sim, &scan);
        assert!(read["key"] > 0, "the scan did read: {read:?}");
        assert_eq!((read.get("value"), read.get("medium")), (None, None), "{read:?}");
    }
    // The same look at a scan of entries sees value blocks: the test can fail.
    let (_, scan) = calls(&sim, || keyspace.iter().count());
    let read = blocks_read(&sim, &scan);
    assert!(read["value"] > 50 && read["medium"] >= 300, "{read:?}");
    Ok(())
}

#[test]
fn asking_whether_a_key_is_there_reads_no_value_block() -> Result<()> {
    let sim = SimEnv::new(2);
    let (_db, keyspace) = settled(&sim, 3_000, KeyspaceOptions::new(), mixed)?;
    let ((), look_ups) = calls(&sim, || {
        assert!((0..3_000).all(|i| keyspace.contains_key(key(i)).unwrap()));
    });
    let read = blocks_read(&sim, &look_ups);
    assert_eq!((read.get("value"), read.get("medium")), (None, None), "{read:?}");
    Ok(())
}

#[test]
fn a_point_read_without_cache_reads_one_key_block_and_one_value_block() -> Result<()> {
    let sim = SimEnv::new(3);
    let (_db, keyspace) = settled(&sim, 3_000, KeyspaceOptions::new(), mixed)?;
    for i in (0..3_000).step_by(7) {
        let (value, read) = calls(&sim, || keyspace.get(key(i)));
        assert_eq!(value?.unwrap(), mixed(i));
        assert_eq!(read.len(), 2, "{read:?}");
    }
    Ok(())
}

#[test]
fn with_a_filter_almost_no_absent_key_reads_a_block() -> Result<()> {
    const LOOK_UPS: u32 = 5_000;
    for (filter, least, most) in [
        // A filter errs on one key in a hundred; twice that is allowed.
        (true, 0, LOOK_UPS / 50),
        (false, LOOK_UPS, LOOK_UPS),
    ] {
        let sim = SimEnv::new(4);
        let (_db, keyspace) = settled(&sim, 20_000, KeyspaceOptions::new().filter(filter), |_| {
            vec![7; 20]
        })?;
        let ((), look_ups) = calls(&sim, || {
            for i in 0..LOOK_UPS {
                assert!(keyspace.get(format!("{}x", key(i))).unwrap().is_none());
            }
        });
        let reads = look_ups.len() as u32;
        println!("filter {filter}: {LOOK_UPS} absent keys took {reads} reads");
        assert!((least..=most).contains(&reads), "filter {filter}: {reads}");
    }
    Ok(())
}

#[test]
fn a_mapped_read_of_raw_blocks_makes_no_call() -> Result<()> {
    let sim = SimEnv::new(5);
    let (db, keyspace) = settled(
        &sim,
        1_000,
        KeyspaceOptions::new().compression(Compression::None),
        mixed,
    )?;
    drop(keyspace);
    db.close()?;
    let db = Options::new().cache_size(0).env(sim.env()).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let ((), reads) = calls(&sim, || {
        assert!((0..1_000).all(|i| keyspace.get(key(i)).unwrap().unwrap() == mixed(i)));
        assert_eq!(keyspace.iter().count(), 1_000);
    });
    assert_eq!(reads, []);
    Ok(())
}

#[test]
fn a_buffered_write_is_one_call_and_a_synced_one_three() -> Result<()> {
    writes_cost(LogMedium::Plain, Op::Write)
}

/// A store is a copy in memory, and no call to the system.
#[test]
fn a_buffered_write_to_a_mapped_log_is_one_store_and_a_synced_one_two_and_a_sync() -> Result<()> {
    writes_cost(LogMedium::Auto, Op::Store)
}

fn writes_cost(medium: LogMedium, write: Op) -> Result<()> {
    let sim = SimEnv::new(6);
    let db = Options::new().log_medium(medium).env(sim.env()).open("/db")?;
    let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
    sim.run_until_idle(); // what makes room ready
    let made = |work: &dyn Fn() -> Result<()>| -> Vec<Op> {
        let (result, calls) = calls(&sim, work);
        result.unwrap();
        assert!(calls.iter().all(|call| call.mentions(".log")), "{calls:?}");
        calls.iter().map(|call| call.op).collect()
    };
    for _ in 0..3 {
        assert_eq!(made(&|| a.put("k", "v")), [write]);
        assert_eq!(made(&|| a.delete("k")), [write]);
        let batch = || {
            let mut batch = db.batch();
            for i in 0..1_000 {
                batch.put(&a, key(i), [1; 100]);
                batch.put(&b, key(i), [1; 100]);
            }
            batch.commit(Durability::Buffered)
        };
        assert_eq!(made(&batch), [write]);
        // The frame, the sync, and the marker that says how far the sync went.
        let synced = || a.put_with("k", "v", Durability::Sync);
        assert_eq!(made(&synced), [write, Op::Sync, write]);
        // Nothing has happened since: nothing is left to sync.
        assert_eq!(made(&|| db.sync()), []);
        assert_eq!(made(&|| db.batch().commit(Durability::Sync)), []);
        // Reads of what is in memory touch no file.
        assert_eq!(made(&|| a.get("k").map(drop)), []);
        sim.run_until_idle();
    }
    Ok(())
}

/// On the machine, where the directory for temporary files lies on a file system that keeps room; elsewhere it shows nothing.
#[test]
fn a_buffered_write_to_a_mapped_log_calls_the_system_not_once() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (env, counts) = counted(2);
    let db = Options::new().env(env).open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    keyspace.put_with("first", "write", Durability::Sync)?;
    if db.metrics().log_bytes_on_disk == db.metrics().log_bytes_live {
        return Ok(());
    }
    counts.clear();
    for i in 0..1_000 {
        keyspace.put(key(i), [1; 100])?;
    }
    assert_eq!(counts.of("store", "log").calls, 1_000);
    for (call, kind) in [
        ("read", "log"),
        ("write", "log"),
        ("sync", "log"),
        ("reserve", "log"),
    ] {
        assert_eq!(counts.of(call, kind).calls, 0, "{call} {kind}");
    }
    keyspace.put_with("last", "write", Durability::Sync)?;
    assert_eq!(
        (counts.of("sync", "log").calls, counts.of("write", "log").calls),
        (1, 0)
    );
    drop(keyspace);
    db.close()
}

/// Each file is made of one that has served its time.
#[test]
fn a_busy_log_creates_and_removes_no_files() -> Result<()> {
    let sim = SimEnv::new(8);
    // Files of 256 KiB: a flush frees one now and then, and never two at once.
    let options = Options::new().max_log_size(2 << 20).write_buffer_size(128 << 10);
    let db = options.env(sim.env()).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let fill = || {
        for i in 0..2_000 {
            keyspace.put(key(i), [1; 1_000]).unwrap();
            sim.run_until_idle();
        }
    };
    fill();
    let ((), made) = calls(&sim, fill);
    let logs = |op: Op| {
        made.iter()
            .filter(|call| call.op == op && call.mentions(".log"))
            .count()
    };
    assert!(logs(Op::Rename) >= 6, "{} renames", logs(Op::Rename));
    assert_eq!((logs(Op::Create), logs(Op::Remove)), (0, 0));
    drop(keyspace);
    db.close()?;
    assert_eq!(
        db_log_files(&sim),
        1,
        "the spare file goes when the database is closed"
    );
    Ok(())
}

fn db_log_files(sim: &SimEnv) -> usize {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    sim.list().iter().filter(|path| is_log(path)).count()
}

#[test]
fn the_log_costs_few_bytes_beside_the_data() -> Result<()> {
    let sim = SimEnv::new(7);
    let db = Options::new().env(sim.env()).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let before = sim.stats().written["log"];
    for i in 0..10_000 {
        keyspace.put(key(i), [1; 100])?;
    }
    let each = (sim.stats().written["log"] - before) as f64 / 10_000.0 - 112.0;
    println!("a write costs {each:.1} bytes of log beside key and value");
    assert!(each <= 40.0, "{each}");
    Ok(())
}

#[test]
fn a_simple_fill_writes_each_byte_a_few_times() -> Result<()> {
    const ENTRIES: u64 = 40_000;
    let accepted = ENTRIES * (12 + 100);
    // How often a byte may go to the disk, log included: the measured figure (3.6 in both orders) and a quarter on top.
    for (order, most) in [("ascending", 4.5), ("random", 4.5)] {
        let sim = SimEnv::new(8);
        let db = Options::new()
            .write_buffer_size(256 << 10)
            .max_file_size(256 << 10)
            .env(sim.env())
            .open("/db")?;
        let keyspace = db.keyspace("a")?;
        let mut rng = Rng::new(1);
        for i in 0..ENTRIES {
            let i = if order == "random" {
                rng.below(ENTRIES * 10)
            } else {
                i
            };
            keyspace.put(key(i as u32), rng.fill(100))?;
        }
        db.wait_for_background()?;
        let stats = sim.stats();
        let times = |suffix: &str| stats.written.get(suffix).copied().unwrap_or(0) as f64 / accepted as f64;
        let total: u64 = stats.written.values().sum();
        let total = total as f64 / accepted as f64;
        println!(
            "{order}: {total:.2} bytes written for each byte accepted: log {:.2}, SSTs {:.2}",
            times("log"),
            times("sst")
        );
        assert!(total <= most, "{order}: {total}");
        assert!(times("log") <= 1.4 && times("sst") >= 0.9);
    }
    Ok(())
}

#[test]
fn compressible_values_take_less_room_and_others_do_not_take_more() -> Result<()> {
    let room = |compression: Compression, value: &dyn Fn(u32) -> Vec<u8>| -> Result<u64> {
        let sim = SimEnv::new(9);
        let options = KeyspaceOptions::new().compression(compression);
        let (db, _keyspace) = settled(&sim, 5_000, options, value)?;
        Ok(db.metrics().sst_bytes())
    };
    let repeats = |i: u32| compressible(&mut Rng::new(u64::from(i)), 100);
    let random = |i: u32| Rng::new(u64::from(i)).fill(100);
    let (raw, lz4) = (
        room(Compression::None, &repeats)?,
        room(Compression::Lz4, &repeats)?,
    );
    println!("{raw} bytes raw, {lz4} with LZ4");
    assert!(lz4 * 10 < raw * 8);
    // Keys may be compressed even so.
    assert!(room(Compression::Lz4, &random)? <= room(Compression::None, &random)?);
    Ok(())
}

#[test]
fn a_medium_value_is_stored_in_the_same_bytes_after_a_compaction() -> Result<()> {
    let medium = |sim: &SimEnv| {
        let mut totals = (0, 0, 0);
        for path in sst_paths(sim) {
            let sst = open_sst(sim, &path);
            let blocks = sst.properties().medium_blocks;
            totals.0 += blocks.count;
            totals.1 += blocks.stored_bytes;
            totals.2 += blocks.uncompressed_bytes;
        }
        totals
    };
    let sim = SimEnv::new(10);
    let db = uncached(&sim).open("/db")?;
    let inline = KeyspaceOptions::new().object_threshold(None);
    let keyspace = db.keyspace_with("a", inline)?;
    for i in 0..100 {
        keyspace.put(key(i), compressible(&mut Rng::new(u64::from(i)), 20_000))?;
        keyspace.put(format!("{}-small", key(i)), "small")?;
    }
    db.flush()?;
    let before = medium(&sim);
    assert_eq!(before.0, 100);
    assert!(before.1 < before.2, "they are compressed: {before:?}");
    let read_before = sim.stats().read.get("sst").copied().unwrap_or(0);
    keyspace.compact_range::<&[u8], _>(..)?;
    sim.run_until_idle(); // deletes what was replaced
    assert_eq!(medium(&sim), before);
    // The compressed bytes were read, no more: nothing was read twice.
    let read = sim.stats().read["sst"] - read_before;
    assert!(
        read < before.1 * 3 / 2,
        "{read} bytes read for {} stored",
        before.1
    );
    assert!((0..100).all(|i| keyspace.get(key(i)).unwrap().unwrap().len() == 20_000));
    Ok(())
}

#[test]
fn reading_what_is_in_memory_touches_no_file() -> Result<()> {
    let sim = SimEnv::new(11);
    let db = Options::new().env(sim.env()).open("/db")?;
    let keyspace = db.keyspace("a")?;
    (0..1_000).try_for_each(|i| keyspace.put(key(i), mixed(i)))?;
    let ((), reads) = calls(&sim, || {
        assert!((0..1_000).all(|i| keyspace.get(key(i)).unwrap().unwrap() == mixed(i)));
        assert_eq!(keyspace.iter().rev().count(), 1_000);
        assert!(keyspace.get("absent").unwrap().is_none());
    });
    assert_eq!(reads, []);
    Ok(())
}

#[test]
fn an_idle_open_database_with_synced_log_does_nothing() -> Result<()> {
    let sim = SimEnv::new(12);
    let interval = std::time::Duration::from_millis(10);
    let db = Options::new()
        .sync_interval(Some(interval))
        .env(sim.env())
        .open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    let tick = || {
        sim.advance(interval * 2);
        sim.run_until_idle();
    };
    let ((), first) = calls(&sim, tick);
    assert!(
        first.iter().any(|call| call.op == Op::Sync),
        "it is synced in the background: {first:?}"
    );
    let ((), later) = calls(&sim, || (0..20).for_each(|_| tick()));
    assert_eq!(later, [], "and then left alone");
    Ok(())
}

#[test]
fn files_are_cut_at_their_limit_and_one_key_may_overrun_it_once() -> Result<()> {
    // Entries of a kilobyte, each seen by a snapshot, under a limit of 16 KiB.
    let files = |count: u32, distinct: bool| -> Result<u64> {
        let sim = SimEnv::new(1);
        let db = uncached(&sim).max_file_size(16 << 10).open("/db")?;
        let options = KeyspaceOptions::new().compression(Compression::None);
        let keyspace = db.keyspace_with("k", options)?;
        let mut held = Vec::new();
        for i in 0..count {
            keyspace.put(key(if distinct { i } else { 0 }), [i as u8; 1000])?;
            held.push(db.snapshot());
        }
        db.flush()?;
        let metrics = db.metrics();
        assert_eq!(metrics.keyspaces[0].levels[0].entries, u64::from(count));
        Ok(metrics.keyspaces[0].levels[0].files)
    };
    assert_eq!((files(12, true)?, files(24, true)?), (1, 2));
    assert_eq!((files(24, false)?, files(40, false)?), (1, 2));
    Ok(())
}
