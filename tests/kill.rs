//! What has been acknowledged survives the death of the process, on the real file system.
//!
//! The test starts itself again as a child, which opens the database and writes from two threads until it is killed with
//! SIGKILL at a random moment. The parent then opens the same directory and compares it with a model, round after round.
//!
//! Every write of a thread follows from the thread's number and a counter, so the whole state follows from two counters.
//! The child notes in a file, after each acknowledgement, how many writes of a thread have been acknowledged; one more may
//! have happened. `PACKSTONE_KILL_ROUNDS=100 cargo test --test kill` does more rounds than the dozen of every day.
//!
//! The same child writes while a reader beside it opens the database again and again (`PACKSTONE_READERS=1000`).
#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the promise is about processes, threads and files that the engine does not own"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use packstone::{Access, Db, Durability, Keyspace, KeyspaceOptions, Options};

use support::rng::mix;

const DIR_VARIABLE: &str = "PACKSTONE_KILL_DIR";
const ROUNDS_VARIABLE: &str = "PACKSTONE_KILL_ROUNDS";
const ROUNDS: u64 = 12;
const READERS_VARIABLE: &str = "PACKSTONE_READERS";
/// How often the reader opens the database.
const READERS: u64 = 60;
/// And until it has seen so many SSTs of a keyspace, so that the writer has compacted meanwhile.
const SSTS_SEEN: usize = 10;
const THREADS: u8 = 2;
const KEYSPACES: [&str; 2] = ["left", "right"];
/// Keys of one thread in one keyspace: few enough that most writes replace or delete something.
const KEYS: u64 = 300;
const SIGKILL: i32 = 9;
/// A child that nobody kills (because the parent has died) ends by itself.
const ORPHAN_LIFE: Duration = Duration::from_secs(300);
/// In every second round the child is not killed before each of its threads has had so many writes acknowledged; in the others
/// it may be killed while it still opens the database.
const WRITES_A_ROUND: u64 = 20;

/// One put (the value follows from key and counter) or delete.
struct Write {
    keyspace: usize,
    key: Vec<u8>,
    put: bool,
}

/// What a thread does at a counter: one call.
struct Step {
    writes: Vec<Write>,
    durability: Durability,
}

fn step(thread: u8, counter: u64) -> Step {
    let seed = mix(counter * 2 + u64::from(thread));
    let write = |n: u64, put| Write {
        keyspace: (mix(seed ^ n) % 2) as usize,
        key: format!("{thread} key {:04}", mix(seed.wrapping_add(n)) % KEYS).into_bytes(),
        put,
    };
    let writes = match seed % 10 {
        0..=5 => vec![write(0, true)],
        6 => vec![write(0, false)],
        // Different keys, in both keyspaces, so that half a batch shows.
        _ => (0..12)
            .map(|n| {
                let key = (mix(seed) + n * 7) % KEYS;
                Write {
                    keyspace: (n % 2) as usize,
                    key: format!("{thread} key {key:04}").into_bytes(),
                    put: n % 5 != 4,
                }
            })
            .collect(),
    };
    let durability = match mix(seed) % 16 {
        0 => Durability::Sync,
        _ => Durability::Buffered,
    };
    Step { writes, durability }
}

/// All value classes: inline, small, medium.
fn value(key: &[u8], counter: u64) -> Vec<u8> {
    let seed = mix(counter ^ mix(key.iter().fold(0, |sum, byte| sum * 31 + u64::from(*byte))));
    // The same again and again.
    let (seed, counter) = match seed % 8 {
        2 => (mix(counter % 5) & !7 | 2, counter % 5),
        _ => (seed, counter),
    };
    let len = match seed % 8 {
        0 => seed / 8 % 9,
        1 => 4097 + seed / 8 % 9000,
        _ => 20 + seed / 8 % 180,
    };
    let mut bytes: Vec<u8> = (0..len)
        .map(|at| (seed >> (at % 7 * 8)) as u8 ^ (at as u8))
        .collect();
    if let Some(front) = bytes.first_chunk_mut::<8>() {
        *front = counter.to_le_bytes();
    }
    bytes
}

fn options(access: Access) -> Options {
    // Small, so that every round flushes, compacts and rolls logs and manifests.
    Options::new()
        .write_buffer_size(32 << 10)
        .max_log_size(128 << 10)
        .max_file_size(32 << 10)
        .manifest_roll_size(4 << 10)
        .pack_size(256 << 10)
        .cache_size(256 << 10)
        .access(access)
}

fn progress_path(dir: &Path, thread: u8) -> PathBuf {
    dir.with_extension(format!("progress{thread}"))
}

fn keyspaces(db: &Db) -> [Keyspace; 2] {
    // Read-only, none is created. Most values are objects, or some.
    KEYSPACES.map(|name| {
        let threshold = if name == "left" { 100 } else { 4096 };
        let options = KeyspaceOptions::new().object_threshold(Some(threshold));
        db.keyspace_with(name, options).unwrap()
    })
}

// ---- the child ----

/// Does nothing unless the test below starts it.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let db = options(Access::Mapped).open(&dir).unwrap();
    let keyspaces = keyspaces(&db);
    let born = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, keyspaces, dir) = (&db, &keyspaces, &dir);
            scope.spawn(move || write_on(db, keyspaces, thread, dir, born));
        }
    });
}

fn write_on(db: &Db, keyspaces: &[Keyspace; 2], thread: u8, dir: &Path, born: Instant) {
    let progress = OpenOptions::new()
        .read(true)
        .write(true)
        .open(progress_path(dir, thread))
        .unwrap();
    let mut counter = read_progress(&progress);
    while born.elapsed() < ORPHAN_LIFE {
        perform(db, keyspaces, thread, counter);
        counter += 1;
        progress.write_all_at(&counter.to_le_bytes(), 0).unwrap();
    }
}

fn perform(db: &Db, keyspaces: &[Keyspace; 2], thread: u8, counter: u64) {
    let step = step(thread, counter);
    if let [write] = step.writes.as_slice() {
        let keyspace = &keyspaces[write.keyspace];
        let result = if write.put {
            keyspace.put_with(&write.key, value(&write.key, counter), step.durability)
        } else {
            keyspace.delete_with(&write.key, step.durability)
        };
        return result.unwrap();
    }
    let mut batch = db.batch();
    for write in &step.writes {
        let keyspace = &keyspaces[write.keyspace];
        if write.put {
            batch.put(keyspace, &write.key, value(&write.key, counter));
        } else {
            batch.delete(keyspace, &write.key);
        }
    }
    batch.commit(step.durability).unwrap();
}

fn read_progress(file: &File) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

// ---- the model ----

/// What one thread has written: in each keyspace, the counter of each key's last put.
#[derive(Clone, Default, PartialEq)]
struct Model {
    done: u64,
    maps: [BTreeMap<Vec<u8>, u64>; 2],
}

impl Model {
    fn advance(&mut self, thread: u8) {
        for write in step(thread, self.done).writes {
            if write.put {
                self.maps[write.keyspace].insert(write.key, self.done);
            } else {
                self.maps[write.keyspace].remove(&write.key);
            }
        }
        self.done += 1;
    }

    /// The first difference from what was found.
    fn difference(&self, found: &[BTreeMap<Vec<u8>, Vec<u8>>; 2]) -> Option<String> {
        for ((expected, found), name) in self.maps.iter().zip(found).zip(KEYSPACES) {
            for (key, counter) in expected {
                let text = String::from_utf8_lossy(key);
                match found.get(key) {
                    None => return Some(format!("{name}: {text} of write {counter} is missing")),
                    Some(bytes) if *bytes != value(key, *counter) => {
                        let other = bytes.first_chunk().map(|front| u64::from_le_bytes(*front));
                        return Some(format!(
                            "{name}: {text} of write {counter} has the value of {other:?}, {} bytes",
                            bytes.len()
                        ));
                    }
                    Some(_) => {}
                }
            }
            if let Some(key) = found.keys().find(|key| !expected.contains_key(*key)) {
                return Some(format!(
                    "{name}: {} should not be there",
                    String::from_utf8_lossy(key)
                ));
            }
        }
        None
    }
}

// ---- the parent ----

#[test]
fn what_was_acknowledged_survives_the_kill_of_the_process() {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().unwrap());
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut models = [Model::default(), Model::default()];
    let mut in_flight = 0;
    let mut replayed = 0;
    for round in 0..rounds {
        for (thread, model) in (0..THREADS).zip(&models) {
            std::fs::write(progress_path(&dir, thread), model.done.to_le_bytes()).unwrap();
        }
        let writes = if round % 2 == 0 { WRITES_A_ROUND } else { 0 };
        run_and_kill(&dir, round, &models.each_ref().map(|model| model.done + writes));
        let access = if round % 2 == 0 {
            Access::Mapped
        } else {
            Access::Pread
        };
        let db = options(access).open(&dir).unwrap();
        let found = read_all(&db);
        for (thread, model) in (0..THREADS).zip(&mut models) {
            let acknowledged = read_progress(&File::open(progress_path(&dir, thread)).unwrap());
            while model.done < acknowledged {
                model.advance(thread);
            }
            let Some(difference) = model.difference(&found[usize::from(thread)]) else {
                continue;
            };
            // The write that the kill interrupted may have happened, whole.
            model.advance(thread);
            in_flight += 1;
            if let Some(other) = model.difference(&found[usize::from(thread)]) {
                panic!(
                    "round {round}, thread {thread}, {acknowledged} acknowledged: {difference}; with one more: {other}"
                );
            }
        }
        replayed += db.metrics().replayed_entries;
        finish(db, &dir, round);
    }
    println!(
        "{rounds} rounds, {} and {} writes acknowledged, {in_flight} in flight found, {replayed} entries replayed",
        models[0].done, models[1].done
    );
    let least = rounds.div_ceil(2) * WRITES_A_ROUND;
    assert!(models.iter().all(|model| model.done >= least));
}

/// Leaves the database in one of the ways in which a program may.
fn finish(db: Db, dir: &Path, round: u64) {
    match round % 3 {
        0 => db.close().unwrap(),
        1 => drop(db),
        _ => {
            // Nothing is left lying about, however many processes have died.
            db.flush().unwrap();
            db.wait_for_background().unwrap();
            db.close().unwrap();
            let db = options(Access::Mapped).open(dir).unwrap();
            let known: u64 = db
                .metrics()
                .keyspaces
                .iter()
                .flat_map(|keyspace| &keyspace.levels)
                .map(|level| level.files)
                .sum();
            db.close().unwrap();
            let names: Vec<String> = std::fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let ssts = names.iter().filter(|name| name.ends_with(".sst")).count();
            assert_eq!(ssts as u64, known, "{names:?}");
            let packs = names.iter().filter(|name| name.ends_with(".pack")).count();
            assert!(names.len() < ssts + packs + 12, "{names:?}");
        }
    }
}

/// Starts the child, on a database that it opens or creates.
fn start(dir: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill(mut child: std::process::Child, what: &str) {
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.signal(),
        Some(SIGKILL),
        "the child died by itself, {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Kills a child at a random moment after `least` writes of each thread have been acknowledged.
fn run_and_kill(dir: &Path, round: u64, least: &[u64]) {
    let mut child = start(dir);
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    while !has_written(dir, least) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(3 + mix(nanos) % 297));
    kill(child, &format!("in round {round}"));
}

fn has_written(dir: &Path, least: &[u64]) -> bool {
    (0..THREADS)
        .zip(least)
        .all(|(thread, least)| read_progress(&File::open(progress_path(dir, thread)).unwrap()) >= *least)
}

/// Another process writes, flushes, compacts and deletes logs; this one opens the database again and again meanwhile.
#[test]
fn a_reader_beside_a_writer_sees_all_that_was_acknowledged_and_a_prefix_of_the_rest() {
    let rounds: u64 = std::env::var(READERS_VARIABLE).map_or(READERS, |text| text.parse().unwrap());
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    for thread in 0..THREADS {
        std::fs::write(progress_path(&dir, thread), 0u64.to_le_bytes()).unwrap();
    }
    let progress = || [0, 1].map(|thread| read_progress(&File::open(progress_path(&dir, thread)).unwrap()));
    let mut child = start(&dir);
    while progress().contains(&0) {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut models = [Model::default(), Model::default()];
    let (mut seq, mut files) = (0, std::collections::BTreeSet::new());
    let (began, mut round) = (Instant::now(), 0);
    // Longer on a machine that is busy with other things.
    while round < rounds || files.len() <= SSTS_SEEN && began.elapsed() < ORPHAN_LIFE / 2 {
        round += 1;
        let access = if round % 2 == 0 {
            Access::Mapped
        } else {
            Access::Pread
        };
        let before = progress();
        let db = options(access).open_read_only(&dir).unwrap();
        let after = progress();
        let found = read_all(&db);
        for (thread, model) in models.iter_mut().enumerate() {
            while model.done < before[thread] {
                model.advance(thread as u8);
            }
            // The count is noted behind the acknowledgement: one more may have been there.
            while let Some(difference) = model.difference(&found[thread]) {
                assert!(
                    model.done <= after[thread] + 1,
                    "round {round}, thread {thread}, {} to {} acknowledged: no prefix; against the last: {difference}",
                    before[thread],
                    after[thread]
                );
                model.advance(thread as u8);
            }
        }
        // What it sees stays, whatever the writer does to the files.
        assert!(read_all(&db) == found);
        let now = db.as_of();
        assert!(
            now.seq >= seq && now.age < Duration::from_secs(60),
            "{now:?} after {seq}"
        );
        seq = now.seq;
        files.extend(
            db.open_keyspace("left")
                .unwrap()
                .files()
                .into_iter()
                .map(|file| file.path),
        );
        let second = options(access).open(&dir).err();
        assert!(
            matches!(second, Some(packstone::Error::Locked { .. })),
            "{second:?}"
        );
    }
    kill(child, "beside the reader");
    println!(
        "{round} readers, the last one as of {seq}, {} SSTs seen",
        files.len()
    );
    assert!(models.iter().all(|model| model.done > 10));
    assert!(files.len() > SSTS_SEEN, "the writer has compacted meanwhile");
}

/// What each thread's keys hold in each keyspace; read forward, backward and by key.
fn read_all(db: &Db) -> [[BTreeMap<Vec<u8>, Vec<u8>>; 2]; 2] {
    let mut found: [[BTreeMap<Vec<u8>, Vec<u8>>; 2]; 2] = Default::default();
    for (at, keyspace) in keyspaces(db).iter().enumerate() {
        let forward: Vec<_> = keyspace.iter().map(Result::unwrap).collect();
        let mut backward: Vec<_> = keyspace.iter().rev().map(Result::unwrap).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        for (key, value) in &forward {
            assert_eq!(keyspace.get(key).unwrap().as_ref(), Some(value));
            let thread = usize::from(key.first().unwrap() - b'0');
            found[thread][at].insert(key.to_vec(), value.to_vec());
        }
    }
    found
}
