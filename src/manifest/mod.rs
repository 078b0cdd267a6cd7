//! The manifest: the log of edits that says which files make up the database.
//!
//! A manifest is a record log (see `record_log`) whose first frame is a whole state and whose later frames are edits
//! (`edit`). `CURRENT` names the one in force. Rules:
//! 1. Whatever an edit refers to (SSTs with their names, the log up to the numbers that it declares flushed) is durable before
//!    the edit is appended. The caller sees to it.
//! 2. An edit is in force when its frame is synced: the point of no return of flush, compaction, creation and drop. A marker
//!    is appended and synced behind it, and only then are files deleted that it made superfluous: until then, damage to the
//!    frame would look like a torn tail, and the state before it would have to be readable.
//! 3. After a failed write the file is not written to again: the next edit goes into a new manifest. The failed edit may
//!    nevertheless be read after a crash, so the files that it refers to are kept.
//! 4. After a failed sync of an edit or of the directory nothing is written any more: the caller poisons the database.
//! 5. A manifest that was there at open is never appended to; every open starts a new one.
//!
//! Callers: the engine's commit of versions, and recovery.

use std::path::{Path, PathBuf};

use crate::env::{Env, FileSystem};
use crate::names;
use crate::planted::{self, Bug};
use crate::record_log::{self, Header, LogKind, LogWriter, ReadOptions, RecoveryMode};
use crate::{Error, Result};

mod catalog;
mod current;
mod edit;
#[cfg(test)]
mod tests;

pub(crate) use catalog::{Catalog, KeyspaceEntry, LEVELS};
pub(crate) use current::read as current_number;
#[cfg(feature = "fuzzing")]
pub(crate) use edit::EDIT_VERSION;
pub(crate) use edit::{DecodeError, Edit, FileMeta, PackMeta, Record};

/// The manifest being written.
pub(crate) struct Manifest {
    env: Env,
    dir: PathBuf,
    /// `None` after a failed write: the next commit starts a new file.
    log: Option<LogWriter>,
    /// The number of the newest manifest file that may exist.
    last_number: u64,
    /// The file that `CURRENT` names.
    in_force: Option<PathBuf>,
    roll_size: u64,
    /// Bytes of the whole state when it was last written: a manifest is rolled when it is much larger.
    snapshot_size: u64,
}

/// Why an edit was not committed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Nothing has changed, as far as this process is concerned; it can be tried again.
    Write(Error),
    /// A sync failed: what is on disk is unknown.
    Sync(Error),
}

/// What a commit did besides.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The marker behind the edit is durable: files that the edit made superfluous may go.
    pub(crate) marked: bool,
    /// The manifest file that was replaced, if it was: it may go.
    pub(crate) replaced: Option<PathBuf>,
}

/// What [`load`] found, and where: errors about the state name the file.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    pub(crate) path: PathBuf,
    /// The offset behind the last edit.
    pub(crate) end: u64,
}

/// Reads the state that `CURRENT` leads to; `None` when there is no `CURRENT`. Changes nothing.
///
/// The user's recovery mode is about the log: a manifest that is damaged where it was synced is an error always. Going on
/// with an older state would take the SSTs added since for leftovers.
pub(crate) fn load(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Loaded>> {
    let Some(number) = current::read(fs, dir)? else {
        return Ok(None);
    };
    let path = names::manifest(dir, number);
    let mut catalog: Option<Catalog> = None;
    let options = ReadOptions {
        mode: RecoveryMode::TornTail,
        ..ReadOptions::default()
    };
    let outcome = record_log::read(fs, &path, LogKind::Manifest, &options, &mut |offset, payload| {
        let edit = Edit::decode(payload).map_err(|e| match e {
            DecodeError::Malformed(what) => Error::corruption(&path, offset, what),
            DecodeError::Newer(what) => Error::NewerFormat {
                path: path.clone(),
                what,
            },
        })?;
        let state = catalog.get_or_insert_default();
        state
            .apply(&edit)
            .map_err(|what| Error::corruption(&path, offset, what))
    })?;
    if outcome.header.number != number {
        return Err(Error::corruption(
            &path,
            0,
            format!("it says that it is manifest {}", outcome.header.number),
        ));
    }
    // CURRENT names a manifest only once its first edit is durable.
    let catalog = catalog
        .ok_or_else(|| Error::corruption(&path, outcome.end, "no state in it, and at least one expected"))?;
    Ok(Some(Loaded {
        catalog,
        end: outcome.end,
        path,
    }))
}

impl Manifest {
    /// Starts a new manifest with `catalog` as its first state, and puts it in force. `number` is above every manifest
    /// in the directory.
    pub(crate) fn create(
        env: &Env,
        dir: &Path,
        number: u64,
        roll_size: u64,
        catalog: &Catalog,
    ) -> Result<Manifest, CommitError> {
        let mut manifest = Manifest {
            env: env.clone(),
            dir: dir.to_owned(),
            log: None,
            last_number: number.saturating_sub(1),
            in_force: None,
            roll_size,
            snapshot_size: 0,
        };
        manifest.roll(catalog)?;
        Ok(manifest)
    }

    /// Makes `edit` durable. `next` is the state with the edit applied.
    pub(crate) fn commit(&mut self, edit: &Edit, next: &Catalog) -> Result<Committed, CommitError> {
        let limit = self.roll_size.max(self.snapshot_size.saturating_mul(4));
        match &mut self.log {
            Some(log) if log.end() < limit => {
                if let Err(e) = log.append(&edit.encode()) {
                    self.log = None;
                    return Err(CommitError::Write(e));
                }
                log.sync().map_err(CommitError::Sync)?;
                self.mark()
            }
            _ => self.roll(next),
        }
    }

    /// Appends a marker that covers everything so far and syncs it. A marker that can't be written is no failure of
    /// the edit before it, which is durable.
    fn mark(&mut self) -> Result<Committed, CommitError> {
        let Some(log) = &mut self.log else {
            return Ok(Committed::default());
        };
        let (number, end) = (log.header().number, log.end());
        if log.mark(number, end).is_err() {
            self.log = None;
            return Ok(Committed::default());
        }
        log.sync().map_err(CommitError::Sync)?;
        Ok(Committed {
            marked: true,
            replaced: None,
        })
    }

    /// Writes `state` to a new manifest and puts that in force.
    fn roll(&mut self, state: &Catalog) -> Result<Committed, CommitError> {
        self.log = None;
        self.last_number += 1;
        let number = self.last_number;
        let path = names::manifest(&self.dir, number);
        let fs = &*self.env.fs;
        let write = || -> Result<LogWriter> {
            let identity = self
                .env
                .entropy
                .identity()
                .map_err(|e| Error::io("create", &path, e))?;
            let header = Header {
                kind: LogKind::Manifest,
                number,
                identity,
                predecessor: None,
                reserved: false,
            };
            let mut log = LogWriter::create(fs, &path, header)?;
            let end = log.append(&state.snapshot().encode())?;
            if planted::is(Bug::CurrentBeforeManifest) {
                let _ = current::write(fs, &self.dir, number);
            }
            // The old manifest is in force until CURRENT changes, so a failure up to here has cost nothing.
            log.sync()?;
            log.mark(number, end)?;
            log.sync()?;
            Ok(log)
        };
        // But a failed sync of the directory may have been for other files' names as well.
        let log = write().map_err(|e| match &e {
            Error::Io { operation, path, .. } if *operation == record_log::SYNC && *path == self.dir => {
                CommitError::Sync(e)
            }
            _ => CommitError::Write(e),
        })?;
        current::write(fs, &self.dir, number).map_err(|e| match e {
            current::WriteError::Unchanged(e) => CommitError::Write(e),
            current::WriteError::Unknown(e) => CommitError::Sync(e),
        })?;
        self.snapshot_size = log.end();
        self.log = Some(log);
        let replaced = self.in_force.replace(path);
        Ok(Committed {
            marked: true,
            replaced,
        })
    }

    /// Syncs and seals the file.
    pub(crate) fn close(&mut self) -> Result<()> {
        match self.log.take() {
            Some(mut log) => log.seal(),
            None => Ok(()),
        }
    }
}
