//! Real threads: writers and readers of every kind at once, with buffers so small that log files, memtables, flushes and
//! compactions change under them all the time.
#![allow(
    clippy::disallowed_methods,
    reason = "the promises are about threads; a slow disk is made with a sleep"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use packstone::env::{Entropy, Env};
use packstone::{Access, Db, Durability, Error, Keyspace, Options, Result, Slice};
use support::counting::counted;
use support::in_time;
use support::rng::Rng;

fn tiny(access: Access) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_file_size(16 << 10)
        .max_log_size(64 << 10)
        .manifest_roll_size(4 << 10)
        .cache_size(256 << 10)
        .access(access)
}

fn number(value: &Slice) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes and more"))
}

/// A value that begins with a number, of a length that varies.
fn numbered(n: u64, rng: &mut Rng) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    let padding = rng.pick(&[0, 0, 40, 300, 5_000]);
    value.resize(8 + padding, n as u8);
    value
}

/// Raises the flag when it goes, in a panic too: so the others end.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Flushes and compacts until the flag is raised.
fn disturb(db: &Db, keyspaces: &[&Keyspace], done: &AtomicBool) -> Result<()> {
    let mut rng = Rng::new(99);
    while !done.load(Ordering::SeqCst) {
        match rng.below(4) {
            0 => db.flush()?,
            1 => rng.pick(keyspaces).compact_range::<&[u8], _>(..)?,
            2 => db.sync()?,
            _ => drop(db.metrics().to_string()),
        }
        thread::yield_now();
    }
    Ok(())
}

const WRITERS: u64 = 3;
const ACCOUNTS: u64 = 24;
const MONEY: u64 = 1_000;

fn balance(keyspace: &Keyspace, account: u64) -> u64 {
    number(&keyspace.get(account.to_be_bytes()).unwrap().unwrap())
}

/// Moves money between the accounts of one writer, within and across keyspaces: no batch changes the sum.
fn transfer(db: &Db, keyspaces: [&Keyspace; 2], writer: u64, rounds: u64) -> Result<()> {
    let mut rng = Rng::new(writer);
    for round in 0..rounds {
        let mut place = || {
            (
                rng.below(2) as usize,
                rng.below(ACCOUNTS / WRITERS) * WRITERS + writer,
            )
        };
        let (from, to) = (place(), place());
        if from == to {
            continue;
        }
        let (of_from, of_to) = (balance(keyspaces[from.0], from.1), balance(keyspaces[to.0], to.1));
        let amount = rng.below(of_from + 1);
        let mut batch = db.batch();
        // The same key twice: only the second counts, and nobody may see the first.
        batch.put(keyspaces[to.0], to.1.to_be_bytes(), numbered(0, &mut rng));
        batch.put(
            keyspaces[from.0],
            from.1.to_be_bytes(),
            numbered(of_from - amount, &mut rng),
        );
        batch.put(
            keyspaces[to.0],
            to.1.to_be_bytes(),
            numbered(of_to + amount, &mut rng),
        );
        let durability = if round % 64 == 0 {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        batch.commit(durability)?;
        assert_eq!(
            balance(keyspaces[to.0], to.1),
            of_to + amount,
            "a writer sees its own"
        );
    }
    Ok(())
}

fn sum(entries: impl Iterator<Item = Result<(Slice, Slice)>>) -> (u64, u64) {
    entries.fold((0, 0), |(count, sum), entry| {
        (count + 1, sum + number(&entry.unwrap().1))
    })
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() -> Result<()> {
    for access in [Access::Mapped, Access::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let db = tiny(access).open(dir.path())?;
        let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
        for account in 0..ACCOUNTS {
            a.put(account.to_be_bytes(), MONEY.to_le_bytes())?;
            b.put(account.to_be_bytes(), MONEY.to_le_bytes())?;
        }
        let done = AtomicBool::new(false);
        let seen = AtomicU64::new(0);
        thread::scope(|scope| {
            for reader in 0..3 {
                let (db, a, b, done, seen) = (&db, &a, &b, &done, &seen);
                scope.spawn(move || {
                    while !done.load(Ordering::SeqCst) {
                        let snapshot = db.snapshot();
                        let of_a = sum(snapshot.iter(a));
                        let of_b = match reader {
                            0 => sum(snapshot.iter(b)),
                            1 => sum(snapshot.iter(b).rev()),
                            _ => (0..ACCOUNTS).fold((0, 0), |(count, sum), account| {
                                let value = snapshot.get(b, account.to_be_bytes()).unwrap();
                                (count + 1, sum + number(&value.unwrap()))
                            }),
                        };
                        assert_eq!((of_a.0, of_b.0), (ACCOUNTS, ACCOUNTS));
                        assert_eq!(of_a.1 + of_b.1, 2 * ACCOUNTS * MONEY, "half a batch is seen");
                        assert_eq!(sum(snapshot.iter(a).rev()), of_a, "a snapshot does not change");
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let (db, a, b, done) = (&db, &a, &b, &done);
            scope.spawn(move || disturb(db, &[a, b], done).unwrap());
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || transfer(db, [a, b], writer, 700).unwrap()))
                .collect();
            let _finally = Finally(done);
            writers.into_iter().for_each(|writer| writer.join().unwrap());
        });
        assert!(seen.load(Ordering::Relaxed) > 10);
        let metrics = db.metrics();
        assert!(metrics.flushes > 10 && metrics.compactions > 5, "{metrics}");
        assert_eq!(metrics.background_failures, 0);
        drop((a, b, db));
        let db = tiny(access).open(dir.path())?;
        let total = sum(db.keyspace("a")?.iter()).1 + sum(db.keyspace("b")?.iter()).1;
        assert_eq!(total, 2 * ACCOUNTS * MONEY);
    }
    Ok(())
}

#[test]
fn a_plain_range_sees_one_moment() -> Result<()> {
    const PAIRS: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let db = tiny(Access::Mapped).open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    let write = |round: u64, rng: &mut Rng| {
        let mut batch = db.batch();
        for key in 0..PAIRS {
            batch.put(&keyspace, key.to_be_bytes(), numbered(round, rng));
        }
        batch.commit(Durability::Buffered)
    };
    write(0, &mut Rng::new(0))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..2 {
            let (keyspace, done) = (&keyspace, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let range = keyspace.iter().map(Result::unwrap);
                    let rounds: Vec<u64> = match reader {
                        0 => range.map(|(_, value)| number(&value)).collect(),
                        _ => range.rev().map(|(_, value)| number(&value)).collect(),
                    };
                    assert_eq!(rounds.len() as u64, PAIRS);
                    assert!(rounds.iter().all(|round| *round == rounds[0]), "{rounds:?}");
                    assert!(rounds[0] >= last, "time runs backwards");
                    last = rounds[0];
                }
            });
        }
        let (db, keyspace, done) = (&db, &keyspace, &done);
        scope.spawn(move || disturb(db, &[keyspace], done).unwrap());
        let _finally = Finally(done);
        let mut rng = Rng::new(1);
        (1..400).try_for_each(|round| write(round, &mut rng))
    })
}

#[test]
fn what_was_acknowledged_is_seen_by_every_later_read_and_counters_only_grow() -> Result<()> {
    const COUNTERS: usize = 4;
    const LAST: u64 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let db = tiny(Access::Mapped).open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    let acknowledged: [AtomicU64; COUNTERS] = Default::default();
    let done = AtomicBool::new(false);
    let key = |counter: usize| format!("counter {counter}");
    thread::scope(|scope| {
        for reader in 0..3u64 {
            let (keyspace, db, acknowledged, done) = (&keyspace, &db, &acknowledged, &done);
            scope.spawn(move || {
                let mut rng = Rng::new(reader);
                let mut last = [0; COUNTERS];
                while !done.load(Ordering::SeqCst) {
                    let counter = rng.below(COUNTERS as u64) as usize;
                    let least = acknowledged[counter].load(Ordering::SeqCst).max(last[counter]);
                    let value = match rng.below(4) {
                        0 => db.snapshot().get(keyspace, key(counter)).unwrap(),
                        1 => keyspace
                            .range(key(counter)..=key(counter))
                            .next()
                            .transpose()
                            .unwrap()
                            .map(|e| e.1),
                        2 => keyspace
                            .prefix(key(counter))
                            .next_back()
                            .transpose()
                            .unwrap()
                            .map(|e| e.1),
                        _ => keyspace.get(key(counter)).unwrap(),
                    };
                    let found = value.map_or(0, |value| number(&value));
                    assert!(found >= least, "{found} is read after {least}");
                    last[counter] = found;
                }
            });
        }
        let (db, keyspace, done) = (&db, &keyspace, &done);
        scope.spawn(move || disturb(db, &[keyspace], done).unwrap());
        let acknowledged = &acknowledged;
        let write = move |counter: usize| -> Result<()> {
            let mut rng = Rng::new(counter as u64);
            for n in 1..=LAST {
                let value = numbered(n, &mut rng);
                if n % 200 == 0 {
                    keyspace.put_with(key(counter), value, Durability::Sync)?;
                } else {
                    keyspace.put(key(counter), value)?;
                }
                acknowledged[counter].store(n, Ordering::SeqCst);
            }
            Ok(())
        };
        let writers: Vec<_> = (0..COUNTERS)
            .map(|counter| scope.spawn(move || write(counter).unwrap()))
            .collect();
        let _finally = Finally(done);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    drop((keyspace, db));
    let keyspace = Db::open(dir.path())?.keyspace("a")?;
    for counter in 0..COUNTERS {
        assert_eq!(number(&keyspace.get(key(counter))?.unwrap()), LAST);
    }
    Ok(())
}

#[test]
fn keyspaces_come_and_go_beside_writers_and_readers() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = tiny(Access::Mapped).open(dir.path())?;
    let steady = db.keyspace("steady")?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (db, steady, done) = (&db, &steady, &done);
        scope.spawn(move || {
            let mut rng = Rng::new(1);
            let mut n = 0u64;
            while !done.load(Ordering::SeqCst) {
                n += 1;
                steady.put(n.to_be_bytes(), numbered(n, &mut rng)).unwrap();
            }
        });
        scope.spawn(move || {
            let mut most = 0;
            while !done.load(Ordering::SeqCst) {
                let count = steady.iter().keys().count();
                assert!(count >= most, "{count} entries after {most}");
                most = count;
            }
        });
        let _finally = Finally(done);
        let mut rng = Rng::new(2);
        for round in 0..60u64 {
            let fleeting = db.keyspace("fleeting")?;
            assert!(fleeting.first()?.is_none());
            for key in 0..50u64 {
                fleeting.put(key.to_be_bytes(), numbered(round, &mut rng))?;
            }
            let snapshot = db.snapshot();
            let range = fleeting.iter();
            db.drop_keyspace("fleeting")?;
            assert!(fleeting.get("k").is_err());
            assert_eq!(sum(range).0, 50);
            assert_eq!(sum(snapshot.iter(&fleeting)), (50, 50 * round));
        }
        Ok(())
    })
}

#[test]
fn group_commit_shares_syncs() -> Result<()> {
    const THREADS: u64 = 8;
    const WRITES: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let (env, counts) = counted(2);
    counts.slow_syncs(); // as on a disk: while one runs, others queue up
    let db = Options::new().env(env).open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    counts.clear();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let keyspace = &keyspace;
            scope.spawn(move || {
                for n in 0..WRITES {
                    keyspace
                        .put_with((thread << 32 | n).to_be_bytes(), "value", Durability::Sync)
                        .unwrap();
                }
            });
        }
    });
    let syncs = counts.of("sync", "log").calls;
    println!(
        "{} synced writes by {THREADS} threads took {syncs} syncs",
        THREADS * WRITES
    );
    assert!(syncs >= WRITES, "each thread waits for a sync of its own write");
    assert!(syncs <= THREADS * WRITES / 2, "{syncs}");
    assert_eq!(keyspace.iter().count() as u64, THREADS * WRITES);
    Ok(())
}

/// Randomness that panics when it is told to: it is asked for when a leader begins a new log, and when a flush begins an SST.
struct Broken(Arc<dyn Entropy>, Arc<AtomicBool>);

impl Entropy for Broken {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20)); // others queue up meanwhile
            panic!("a test's own panic, to be seen in its output");
        }
        self.0.fill(buf)
    }
}

/// A database with an entry; the flag breaks its randomness.
fn breakable(dir: &Path) -> Result<(Db, Keyspace, Arc<AtomicBool>)> {
    let broken = Arc::new(AtomicBool::new(false));
    let mut env = Env::real(2);
    env.entropy = Arc::new(Broken(env.entropy, broken.clone()));
    let db = tiny(Access::Mapped).env(env).open(dir)?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("before", "v")?;
    Ok((db, keyspace, broken))
}

/// Nothing is written after the panic; what was written before it is there, also after an opening.
fn is_poisoned_and_whole(dir: &Path, db: Db, keyspace: Keyspace) -> Result<()> {
    assert!(matches!(keyspace.put("after", "v"), Err(Error::Poisoned { .. })));
    assert_eq!(keyspace.get("before")?.unwrap(), b"v");
    drop((keyspace, db));
    let db = tiny(Access::Mapped).open(dir)?;
    assert_eq!(db.keyspace("a")?.get("before")?.unwrap(), b"v");
    Ok(())
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() -> Result<()> {
    const THREADS: u64 = 6;
    let dir = tempfile::tempdir().unwrap();
    let (db, keyspace, broken) = breakable(dir.path())?;
    broken.store(true, Ordering::SeqCst);
    let writers = (0..THREADS).map(|thread| {
        let keyspace = keyspace.clone();
        move || (0..1_000u64).try_for_each(|n| keyspace.put((thread << 32 | n).to_be_bytes(), [0; 4_000]))
    });
    let writers: Vec<_> = writers.map(thread::spawn).collect();
    let outcomes: Vec<_> = in_time("writers beside a leader that panics", || {
        writers.into_iter().map(JoinHandle::join).collect()
    });
    broken.store(false, Ordering::SeqCst);
    let panicked = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(
        panicked, 1,
        "one leader begins a new log and panics; after it nothing is written"
    );
    for outcome in outcomes.into_iter().flatten() {
        assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    }
    is_poisoned_and_whole(dir.path(), db, keyspace)
}

#[test]
fn a_background_job_that_panics_leaves_nobody_waiting() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (db, keyspace, broken) = breakable(dir.path())?;
    broken.store(true, Ordering::SeqCst);
    let waiting = db.clone();
    let flushed = in_time("a flush that panics", move || waiting.flush());
    broken.store(false, Ordering::SeqCst);
    assert!(matches!(flushed, Err(Error::Poisoned { .. })), "{flushed:?}");
    is_poisoned_and_whole(dir.path(), db, keyspace)
}
