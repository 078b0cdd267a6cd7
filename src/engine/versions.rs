//! Version changes: an edit is made durable, and then true in memory.

use std::sync::Arc;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::latency::Timed;
use super::table::Table;
use crate::manifest::{Catalog, CommitError, Edit, Manifest, Record};
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::types::SeqNo;
use crate::wal::{LogPosition, Wal};
use crate::{Error, Result};

/// The manifest and the state that it describes. `None` when opened read-only.
pub(crate) struct ManifestState {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) catalog: Catalog,
    /// Keyspaces whose drop has failed, and which a crash might find dropped. The next edit that succeeds settles it: a
    /// manifest that does not contain the drop is in force then.
    pub(crate) undecided_drops: Vec<Arc<KeyspaceCore>>,
    /// Tables that are in no version, or in none that counts: an edit that names them has failed, or one that removes them
    /// has no marker yet.
    pub(crate) undecided_tables: Vec<Arc<Table>>,
}

impl ManifestState {
    /// After a failed commit: a crash may find the edit done all the same, so the tables that it names stay until a later
    /// edit has settled that they are in no version.
    pub(crate) fn keep_undecided(&mut self, committed: Result<bool>, tables: &[Arc<Table>]) -> Result<()> {
        if committed.is_err() {
            self.undecided_tables.extend_from_slice(tables);
        }
        committed.map(|_| ())
    }

    /// What an edit with a durable marker leaves out is in no version, whatever happens.
    fn settle_tables(&mut self) {
        for table in self.undecided_tables.drain(..) {
            let number = table.meta.number;
            let mut levels = self
                .catalog
                .keyspaces
                .values()
                .flat_map(|keyspace| &keyspace.levels);
            if !levels.any(|files| files.contains_key(&number)) {
                table.mark_obsolete();
            }
        }
    }
}

impl Core {
    /// Makes `edit` durable and then true in memory. `install` changes the views; it runs after the point of no return
    /// and under the manifest's lock (which the caller holds), so that versions change in the order of their edits.
    /// `obsolete` are the tables that the edit makes superfluous: their files go when the last reader does. Says whether
    /// the edit's marker is durable: before that no other file may go that it makes superfluous.
    ///
    /// REQUIRES: what the edit refers to is durable, the log included (`sync_log`).
    pub(crate) fn commit_edit(
        &self,
        state: &mut ManifestState,
        mut edit: Edit,
        obsolete: &[Arc<Table>],
        install: impl FnOnce(&Catalog),
    ) -> Result<bool> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        edit.push(Record::NextFileNumber(
            self.next_file_number.load(Ordering::Relaxed),
        ));
        self.objects.changes(&state.catalog, &mut edit);
        let mut next = state.catalog.clone();
        next.apply(&edit)
            .map_err(|what| Error::corruption(&self.dir, 0, what))?;
        let manifest = state.manifest.as_mut().ok_or(Error::ReadOnly)?;
        let committed = match manifest.commit(&edit, &next) {
            Ok(committed) => committed,
            Err(CommitError::Write(error)) => {
                self.note_full_disk(&error);
                return Err(error);
            }
            Err(CommitError::Sync(error)) if planted::is(Bug::ManifestSyncRetried) => return Err(error),
            Err(CommitError::Sync(error)) => return Err(self.poison(error)),
        };
        state.catalog = next;
        install(&state.catalog);
        for keyspace in state.undecided_drops.drain(..) {
            keyspace.set_refusing(false);
        }
        state.undecided_tables.extend_from_slice(obsolete);
        if committed.marked {
            state.settle_tables();
        }
        if let Some(path) = committed.replaced {
            self.trash.throw_away(path);
        }
        Ok(committed.marked)
    }

    /// Makes everything in the log so far durable: before any edit that depends on it.
    pub(crate) fn sync_log(&self) -> Result<()> {
        let wal = self.wal()?;
        if planted::is(Bug::DedupHitUnsynced) {
            self.sync_objects()?;
        }
        self.sync_log_to(wal, wal.end())
    }

    /// Makes everything in the log below `upto` durable.
    pub(crate) fn sync_log_to(&self, wal: &Wal, upto: LogPosition) -> Result<()> {
        let begun = self.begin_timing();
        let result = wal.sync(upto);
        self.note_time(Timed::LogSync, begun);
        result
    }

    /// The least number that is in no SST yet, of all keyspaces: older logs are not needed.
    pub(crate) fn first_unflushed(&self) -> SeqNo {
        self.writes.lock().first_unflushed()
    }
}
