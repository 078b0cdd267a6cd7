//! Bugs that other engines had, and edges that anybody gets wrong: one promise each.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at, and damages, files behind the engine's back; races are made with threads"
)]

mod compaction;
mod directory;
mod drops;
mod entries;
mod failures;
mod handles;
mod keyspaces;
mod log;
mod memory;
mod read_only;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use packstone::env::Clock;
use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, LogMedium, MAX_KEY_LEN,
    MAX_VALUE_LEN, Options, RecoveryMode, Result,
};

use support::rng::Rng;
use support::tiny;

fn on(sim: &SimEnv) -> Options {
    tiny().env(sim.env())
}

fn key(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}

fn fill(keyspace: &Keyspace, numbers: std::ops::Range<u32>, len: usize) -> Result<()> {
    let mut rng = Rng::new(7);
    for i in numbers {
        keyspace.put(key(i), rng.fill(len))?;
    }
    Ok(())
}

fn tombstones(db: &Db) -> u64 {
    let metrics = db.metrics();
    let levels = metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    levels.map(|level| level.tombstones).sum()
}
