//! Opening a database: what is on disk becomes a `Core`.
//!
//! ```text
//! 1  lock the directory                                             (not when read-only)
//! 2  CURRENT -> manifest -> catalog; open every SST and check that it is the one described
//! 3  replay the logs into memtables, without what is in SSTs already; what does not fit becomes new SSTs (`spill`)
//! 4  new log; it takes all frames that are not proven to be on the medium (see below), synced
//! 5  new manifest with the whole state, the SSTs of 3, the ends of the old logs and the number of the new one; CURRENT  <- point of no return
//! 6  remove leftovers: files that no version names, logs whose frames are in the new one
//! ```
//!
//! A read-only opening has its own order, in `beside`.
//!
//! Nothing is acknowledged before 5 is durable. A crash anywhere leaves a state that opens again: until CURRENT changes the
//! old manifest and the old logs are untouched, the new log and new SSTs only repeat what they hold, and afterwards the new manifest
//! names the same files.
//!
//! **What recovery believes.** The database may have been closed because a sync had failed, in this boot of the machine. The
//! page cache then shows bytes that are not on the medium and that no further sync will bring there, and nothing tells them
//! from others. Building on them would lose acknowledged writes at the next loss of power, or leave a manifest that
//! asks for log that is not there. So recovery relies only on what has been proven, and writes all else anew:
//! * SSTs: an edit names an SST only after its contents and its name were synced. One whose sync failed is in no edit.
//! * The manifest: always written anew, whole, and put in force by a new rename.
//! * The log: frames behind the last place that a marker, a seal or the manifest proves are written to the new log
//!   (`wal::resume`). That is at most what came in since the last flush or sync; it costs a write and a sync of as many bytes,
//!   and room for them. After an orderly close it is nothing.
//! * Names: a failed sync of the directory is as final as one of a file, whoever asked for it, because it may have been
//!   for names that others have made.

use std::path::Path;
use std::sync::Arc;

use self::directory::{NO_DIRECTORY, fresh, list, no_database, not_a_directory};
use self::opening::{Opening, Tables};
use super::core::Core;
use crate::engine::memory;
use crate::env::{Env, Lock};
use crate::manifest::{self, Loaded};
use crate::names;
use crate::options::Options;
use crate::wal::Replayed;
use crate::{Error, Result};

mod beside;
mod directory;
mod opening;
mod resume;
mod spill;
#[cfg(test)]
mod tests;

/// What was found on the way in, for `metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveryReport {
    /// Bytes of the log's torn tail that were cut off.
    pub(crate) torn_log_bytes: u64,
    /// Entries replayed from the log.
    pub(crate) replayed: u64,
    /// Flushes in the middle of the replay.
    pub(crate) flushes: u64,
    /// Bytes of the log that were skipped.
    pub(crate) skipped_log_bytes: u64,
    /// The damage that the user asked to go on without.
    pub(crate) damage: Vec<Error>,
}

impl RecoveryReport {
    fn new(replayed: &Replayed, entries: u64, packs: &[Error]) -> Self {
        RecoveryReport {
            torn_log_bytes: replayed.torn_bytes,
            replayed: entries,
            flushes: 0,
            skipped_log_bytes: replayed.skipped_bytes(),
            damage: packs.iter().chain(&replayed.dropped).cloned().collect(),
        }
    }
}

/// Opens the database in `dir`.
pub(crate) fn open(dir: &Path, options: Options, read_only: bool) -> Result<(Arc<Core>, RecoveryReport)> {
    let env = options
        .env
        .clone()
        .unwrap_or_else(|| Env::real(options.background_threads));
    let options = memory::fitted(options, env.memory);
    if read_only {
        return beside::open(&env, dir, &options);
    }
    let lock = lock_directory(&env, dir, &options)?;
    let names = list(&env, dir)?;
    let loaded = match manifest::load(&*env.fs, dir)? {
        Some(loaded) => loaded,
        None => Loaded {
            catalog: fresh(&env, dir, &options, false, &names)?,
            path: dir.to_owned(),
            end: 0,
        },
    };
    let mut tables = Tables::new(&env, &options);
    let mut opening = Opening::new(env, dir, options, loaded, &mut tables)?;
    let mut spill = opening.spill(&names);
    let replayed = opening
        .replay(Some(&mut spill))
        .inspect_err(|_| spill.discard(dir))?;
    let packs = opening.damage_of_packs().inspect_err(|_| spill.discard(dir))?;
    let report = RecoveryReport {
        flushes: spill.flushes,
        ..RecoveryReport::new(&replayed, opening.replayed, &packs)
    };
    drop(tables);
    let core = opening.finish(&names, replayed, spill, Some(lock))?;
    Ok((core, report))
}

fn lock_directory(env: &Env, dir: &Path, options: &Options) -> Result<Box<dyn Lock>> {
    use std::io::ErrorKind;
    if options.create_if_missing {
        env.fs.create_dir_all(dir).map_err(|e| match e.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => not_a_directory(dir),
            _ => Error::io("create", dir, e),
        })?;
    } else {
        refuse_missing(env, dir, options)?;
    }
    let lock = dir.join(names::LOCK);
    env.fs.lock(&lock).map_err(|e| match e.kind() {
        ErrorKind::WouldBlock => Error::Locked { path: dir.to_owned() },
        ErrorKind::NotFound => no_database(dir, NO_DIRECTORY),
        ErrorKind::NotADirectory => not_a_directory(dir),
        _ => Error::io("lock", &lock, e),
    })
}

/// Where no database may be created, a directory without one is refused before the lock's file is created in it.
fn refuse_missing(env: &Env, dir: &Path, options: &Options) -> Result<()> {
    let names = list(env, dir)?;
    match env.fs.open(&dir.join(names::CURRENT)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            fresh(env, dir, options, false, &names).map(drop)
        }
        _ => Ok(()), // what else is wrong with it is found when it is read
    }
}
