//! Damage is an error that names the file, or it is harmless. It is never a wrong value, a missing entry or a panic.
//!
//! A small database with everything in it (several levels, all value classes, a log with synced and unsynced writes) is
//! made on the simulated machine; then every byte of every file is damaged in turn, and the database opened and read.
//!
//! The one exception is written in DESIGN.md: bytes of the log behind its last marker look like a torn tail when they are
//! damaged. Then a suffix of the writes that had not been synced may be missing, and nothing else.

mod files;
mod flips;
mod judge;
mod sample;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::sst::{BlockCache, Sst, SstReadOptions};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, RecoveryMode,
};

use judge::{Cases, check_error};
use sample::sample;
use support::rng::mix;

const DIR: &str = "/db";
const KEYSPACES: [&str; 2] = ["plain", "packed"];

type Entry = (Vec<u8>, Vec<u8>);
type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type State = [Map; 2];
/// Names and contents of all files of the database but the lock.
type Files = BTreeMap<String, Vec<u8>>;

/// A database at rest, and what is in it.
struct Sample {
    files: Files,
    /// The states after each write of the log, oldest first; the first one is what SSTs hold alone.
    states: Vec<State>,
    /// How many of the writes in the log were synced.
    synced: usize,
    /// All keys that were ever written, and some that were not.
    keys: BTreeSet<Vec<u8>>,
    closed: bool,
}

fn options(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(256 << 10)
        .max_file_size(4 << 10)
        .max_log_size(20 << 10)
        .cache_size(64 << 10)
        .env(sim.env())
}

fn files(sim: &SimEnv) -> Files {
    sim.list()
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            (name != "LOCK").then(|| (name, sim.read_file(&path).unwrap()))
        })
        .collect()
}

fn restore(files: &Files) -> SimEnv {
    let sim = SimEnv::new(1);
    for (name, bytes) in files {
        sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
    }
    sim
}

/// How a damaged database is opened and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    access: Access,
    read_only: bool,
    /// Rewrite everything before the second reading: compaction must not launder damage.
    rewrite: bool,
    mode: RecoveryMode,
}

const WRITE: Way = Way {
    access: Access::Mapped,
    read_only: false,
    rewrite: false,
    mode: RecoveryMode::TornTail,
};
const READ: Way = Way {
    access: Access::Pread,
    read_only: true,
    rewrite: false,
    mode: RecoveryMode::TornTail,
};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    OpenRefused,
    ReadRefused,
    SuffixLost,
    Harmless,
}

/// What damage may do besides being an error that names the file.
#[derive(Clone, Copy, PartialEq)]
enum Excuse {
    /// Nothing.
    None,
    /// A suffix of the writes behind this many of the log may be missing.
    LostBehind(usize),
}
