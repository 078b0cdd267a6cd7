//! [`Engine`]: what the workloads ask of an engine. To add one: a file that implements it, and a line in [`ENGINES`]
//! and [`open`].

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::fjall_engine::Fjall;
use crate::packstone_engine::Packstone;

/// All engines; the first is the one that the ratios are of.
pub(crate) const ENGINES: [&str; 2] = ["packstone", "fjall"];

/// What is the same for all engines.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Bytes of one memtable.
    pub(crate) write_buffer: u64,
    /// Bytes of the block cache.
    pub(crate) cache: u64,
}

/// Called with each entry of a scan, in order; false ends the scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// A database with one keyspace, open for writing.
pub(crate) trait Engine {
    /// Writes one entry, so that the death of the process does not lose it.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Reads one entry: whether there is one, and if so what `check` says of its value.
    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool>;
    /// Visits all entries, first to last or last to first.
    fn scan(&self, backwards: bool, visit: Visit<'_>) -> Result<()>;
    /// Visits the entries at or after `from`.
    fn seek(&self, from: &[u8], visit: Visit<'_>) -> Result<()>;
    /// Writes the memtable out and returns when no background work is left. Gives how much of the time was spent on
    /// making sure of that, after the work had ended: it is not charged.
    fn settle(&self) -> Result<Duration>;
    /// Closes the database.
    fn close(self: Box<Self>) -> Result<()>;
}

pub(crate) fn open(name: &str, dir: &Path, settings: Settings) -> Result<Box<dyn Engine>> {
    match name {
        "packstone" => Ok(Box::new(Packstone::open(dir, settings)?)),
        "fjall" => Ok(Box::new(Fjall::open(dir, settings)?)),
        _ => Err(format!("unknown engine {name}").into()),
    }
}

/// The settings of an engine beyond the common ones, for the report.
pub(crate) fn describe(name: &str) -> &'static str {
    match name {
        "packstone" => crate::packstone_engine::DESCRIPTION,
        "fjall" => crate::fjall_engine::DESCRIPTION,
        _ => "",
    }
}
