//! The engine under shuttle: thousands of orders of the threads' steps, some drawn evenly, some by PCT (a few changes of
//! priority at random places, which finds what needs few of them with a known probability). The engine is the real one, on
//! the simulated disk; background jobs run in the real thread pool, on shuttle's threads. Each model states promises; a
//! thread that nothing can wake ends it as a deadlock.
//!
//! Shuttle's memory is sequentially consistent: what weak memory may do is loom's part (`memtable::models`).
//!
//! Run as models/README.md says. `PACKSTONE_SHUTTLE_RUNS` sets the number of schedules of each kind, `PACKSTONE_SHUTTLE_SEED`
//! their seed, `PACKSTONE_SHUTTLE_SCHEDULE` replays the one that a failure has printed.

mod background;
mod commit;
mod keyspaces;
mod packs;
mod pool;

use std::path::Path;
use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, MaxSteps, Runner};

use crate::env::Env;
use crate::env::sim::SimEnv;
use crate::{Compression, Db, Keyspace, KeyspaceOptions, Options, Slice, Snapshot};

/// Schedules of each kind in an ordinary run: a second for most models.
const RUNS: usize = 1_000;

/// Changes of priority: most known concurrency bugs need no more than three.
const PCT_DEPTH: usize = 3;

/// A schedule of more steps is an endless loop; the longest models take some ten thousand.
const MAX_STEPS: usize = 1_000_000;

/// The engine's frames are larger than shuttle's default stack.
const STACK: usize = 512 << 10;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |given| given.parse().unwrap())
}

pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    if let Ok(schedule) = std::env::var("PACKSTONE_SHUTTLE_SCHEDULE") {
        return shuttle::replay(model, &schedule);
    }
    let runs = number_from("PACKSTONE_SHUTTLE_RUNS", RUNS as u64) as usize;
    let seed = number_from("PACKSTONE_SHUTTLE_SEED", 1);
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true; // that orderings count as SeqCst is said above
    let model = Arc::new(model);
    let evenly = RandomScheduler::new_from_seed(seed, runs);
    Runner::new(evenly, config.clone()).run({
        let model = model.clone();
        move || model()
    });
    let by_priority = PctScheduler::new_from_seed(seed, PCT_DEPTH, runs);
    Runner::new(by_priority, config).run(move || model());
}

const DIR: &str = "/db";

/// A machine, and the database on it.
struct World {
    sim: SimEnv,
    db: Db,
}

fn options(env: Env) -> Options {
    // A key and a value of a kilobyte or two reach the next chunk of a memtable and with it the limit.
    Options::new()
        .write_buffer_size(4 << 10)
        .max_file_size(4 << 10)
        .max_log_size(16 << 10)
        .manifest_roll_size(1 << 10)
        .cache_size(0)
        .env(env)
}

impl World {
    fn new() -> World {
        World::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> World {
        let sim = SimEnv::new(1);
        let db = change(options(Env::modelled(&sim, 2))).open(DIR).unwrap();
        World { sim, db }
    }

    fn keyspace(&self, name: &str) -> Keyspace {
        let plain = KeyspaceOptions::new()
            .compression(Compression::None)
            .filter(false);
        self.db.keyspace_with(name, plain).unwrap()
    }

    /// Closes the database in order, and looks at what the next opening finds.
    fn reopen(self) -> (SimEnv, Db) {
        let World { sim, db } = self;
        db.close().unwrap();
        let db = options(Env::modelled(&sim, 1)).open(DIR).unwrap();
        (sim, db)
    }
}

/// SSTs on the disk.
fn ssts(sim: &SimEnv) -> Vec<String> {
    let names = sim.list();
    let is_sst = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "sst");
    names
        .iter()
        .filter(is_sst)
        .map(|path| path.display().to_string())
        .collect()
}

/// Once everything has come to rest, the SSTs on the disk are those of the database.
fn no_file_leaks(sim: &SimEnv, db: Db) {
    db.wait_for_background().unwrap();
    let names = db.keyspaces();
    let files = names.iter().flat_map(|name| db.keyspace(name).unwrap().files());
    let mut live: Vec<_> = files.map(|file| file.path.display().to_string()).collect();
    live.sort();
    db.close().unwrap(); // empties the trash
    assert_eq!(ssts(sim), live, "a file has leaked, or one is missing");
}

fn exists(sim: &SimEnv, path: &Path) -> bool {
    sim.list().iter().any(|known| known == path)
}

pub(crate) fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(f)
}

pub(crate) fn join<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// A value that carries a number, padded to `len` bytes.
fn value(n: u64, len: usize) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    value.resize(len.max(8), n as u8);
    value
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// The number under a key; 0 if there is none.
fn read(found: crate::Result<Option<Slice>>) -> u64 {
    found.unwrap().map_or(0, |value| number(&value))
}

/// Two numbers that are always written together.
fn pair(snapshot: &Snapshot, keyspaces: [&Keyspace; 2]) -> [u64; 2] {
    keyspaces.map(|keyspace| read(snapshot.get(keyspace, "k")))
}
