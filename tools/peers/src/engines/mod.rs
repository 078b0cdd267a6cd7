//! [`Engine`]: what the workloads ask of an engine. To add one: a module that implements it, and a line in [`ENGINES`],
//! [`open`] and [`describe`].
//!
//! Rules for the modules, so that each engine is at its best under the durability asked for:
//! * a reader keeps whatever the engine lets it keep (a transaction, an iterator) as long as nobody writes
//!   ([`View::Still`]), and otherwise sees all writes that were acknowledged before the call ([`View::Fresh`]);
//! * values are checked where they lie, and copied only where the engine itself copies them;
//! * all settings that differ from the engine's defaults are named by `describe`.

mod fjall;
mod lmdb;
mod packstone;
mod plain;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Result;

/// All engines that this program can be built with, in the order of the report.
pub(crate) const ENGINES: [&str; 5] = ["packstone", "rocksdb", "fjall", "lmdb", "redb"];

/// Packstone in hash order: look-ups only. Beside the others where it is named.
pub(crate) const HASHED: &str = "packstone-hash";

/// What no engine can beat: one big file. Beside the others where they are named.
pub(crate) const FLOORS: [&str; 2] = ["pread", "pread-lz4"];

/// What runs only where it is named, and has no order.
pub(crate) fn is_extra(name: &str) -> bool {
    name == HASHED || FLOORS.contains(&name)
}

/// Those that it has been built with.
pub(crate) fn available() -> Vec<&'static str> {
    let built = |name: &&str| *name != "rocksdb" || cfg!(feature = "rocksdb");
    ENGINES.into_iter().filter(built).collect()
}

/// Whose settings an engine gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Setting {
    /// The same codec, write buffer and cache for all.
    Alike,
    /// What each project's own documentation recommends.
    Recommended,
}

impl Setting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Setting::Alike => "alike",
            Setting::Recommended => "recommended",
        }
    }
}

/// How safe a write is when the call returns, whatever the settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// It survives the death of the process.
    Buffered,
    /// It survives the loss of power.
    Synced,
}

/// How an engine is opened.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) setting: Setting,
    pub(crate) durability: Durability,
    /// Bytes of one memtable, where the engine has them; of settings alike only.
    pub(crate) write_buffer: u64,
    /// Bytes of the block cache; of settings alike only.
    pub(crate) cache: u64,
    /// Values of at least so many bytes live apart from the tree, where the engine can do that; nothing is said about it otherwise.
    pub(crate) separate: Option<u64>,
    /// Bytes of keys and values that the workloads will write at most, for engines that want to know it first.
    pub(crate) expected_bytes: u64,
}

/// Whether anybody may write while a reader lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Still,
    Fresh,
}

/// Called with a value that was found.
pub(crate) type Check<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;
/// Called with each entry of a scan, in order; false ends the scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;
/// Takes one entry of a batch.
pub(crate) type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Bytes that an engine says it has written since it was opened; `None` where it does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) log: Option<u64>,
    pub(crate) flush: Option<u64>,
    pub(crate) compaction: Option<u64>,
    /// Values apart from the tree, where the other counts do not have them: when they were put, and when they were moved.
    pub(crate) apart: Option<u64>,
    pub(crate) moved: Option<u64>,
}

impl Counters {
    /// What has been counted since.
    pub(crate) fn since(self, before: Counters) -> Counters {
        let less =
            |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        Counters {
            log: less(self.log, before.log),
            flush: less(self.flush, before.flush),
            compaction: less(self.compaction, before.compaction),
            apart: less(self.apart, before.apart),
            moved: less(self.moved, before.moved),
        }
    }
}

/// A database with one keyspace, open for writing.
pub(crate) trait Engine: Send + Sync {
    /// Writes one entry, as durable as the configuration asks.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Writes the entries that `fill` puts, in one atomic batch.
    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()>;
    /// A reader for one thread.
    fn reader(&self, view: View) -> Result<Box<dyn Reader + '_>>;
    /// Writes out what is in memory and returns when no background work is left. Gives how much of the time was spent
    /// on making sure of that after the work had ended: it is not charged.
    fn settle(&self) -> Result<Duration>;
    fn counters(&self) -> Counters;
    /// Whether it can be scanned. What needs that is left out otherwise.
    fn is_ordered(&self) -> bool {
        true
    }
    /// Closes the database.
    fn close(self: Box<Self>) -> Result<()>;
}

pub(crate) trait Reader {
    /// Reads one entry: whether there is one, and if so what `check` says of its value.
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool>;
    /// Visits entries in order: from the one at `from` (or the next in the direction), else from the end where the
    /// direction begins.
    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()>;
}

pub(crate) fn open(name: &str, dir: &Path, config: Config) -> Result<Box<dyn Engine>> {
    match name {
        "packstone" => Ok(Box::new(packstone::Packstone::open(
            dir,
            config,
            packstone::Order::Key,
        )?)),
        HASHED => Ok(Box::new(packstone::Packstone::open(
            dir,
            config,
            packstone::Order::Hash,
        )?)),
        "fjall" => Ok(Box::new(fjall::Fjall::open(dir, config)?)),
        "pread" => Ok(Box::new(plain::Plain::open(dir, config, false)?)),
        "pread-lz4" => Ok(Box::new(plain::Plain::open(dir, config, true)?)),
        "redb" => Ok(Box::new(redb::Redb::open(dir, config)?)),
        "lmdb" => Ok(Box::new(lmdb::Lmdb::open(dir, config)?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(rocksdb::RocksDb::open(dir, config)?)),
        _ => Err(format!("unknown engine {name}").into()),
    }
}

/// An engine's settings in words: every one that was chosen, with where the choice comes from.
pub(crate) fn describe(name: &str, config: Config) -> String {
    match name {
        "packstone" => packstone::describe(config),
        HASHED => format!(
            "{}; hash order, not compressed, values beside their keys (its default)",
            packstone::describe(config)
        ),
        "fjall" => fjall::describe(config),
        "pread" => plain::describe(false),
        "pread-lz4" => plain::describe(true),
        "redb" => redb::describe(config),
        "lmdb" => lmdb::describe(config),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => rocksdb::describe(config),
        _ => String::new(),
    }
}

/// A number of bytes in MiB, for descriptions.
fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// A quarter or a third of the machine's memory, as some projects recommend for caches.
fn share_of_memory(parts: u64) -> u64 {
    crate::measure::machine().memory / parts
}
