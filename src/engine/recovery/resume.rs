//! The part of an opening that changes the directory: new log, new manifest, leftovers removed, background work started.

use std::path::Path;
use std::sync::Arc;

use super::directory::Listing;
use super::opening::Opening;
use super::spill::Spill;
use crate::engine::core::Core;
use crate::engine::versions::ManifestState;
use crate::env::{Lock, Priority};
use crate::manifest::{Catalog, CommitError, Manifest, Record};
use crate::names::{self, FileKind};
use crate::record_log::LogKind;
use crate::wal::{self, Replayed, WalOptions};
use crate::{Error, Result};

/// A log file is rotated at an eighth of the bytes that logs may pile up to, so that old ones can go one by one.
const LOG_FILES: u64 = 8;
/// No log file is larger, in bytes: it is reserved as a whole when it is used again.
const MAX_LOG_FILE: u64 = 32 << 20;

impl Opening {
    pub(super) fn finish(
        mut self,
        names: &Listing,
        replayed: Replayed,
        spill: Spill,
        lock: Option<Box<dyn Lock>>,
    ) -> Result<Arc<Core>> {
        // A new database has its manifest first: files without one are never taken for a beginning.
        let is_new = self.catalog.log_known == 0;
        let new = if is_new {
            Some(self.new_manifest(names, &self.catalog)?)
        } else {
            None
        };
        // Above all that the manifest names, too.
        let log_number = replayed.next_number;
        let wal_options = WalOptions {
            max_file_size: (self.options.max_log_size / LOG_FILES).clamp(4 << 10, MAX_LOG_FILE),
            medium: self.options.log_medium,
        };
        // Before the log, which calls all durable that has been replayed.
        let (objects, packs) = self.open_packs(true).inspect_err(|_| spill.discard(&self.dir))?;
        let mut log = wal::resume(&self.env, &self.dir, log_number, &replayed, wal_options)
            .inspect_err(|_| spill.discard(&self.dir))?;
        log.wal.set_before_sync(objects.clone());
        self.writes.log_number = log_number;
        let mut found = spill.edit(self.writes.next_seq - 1);
        for kept in &log.kept {
            found.push(Record::LogEnd(kept.end.clone()));
        }
        // Logs of nothing but what is in SSTs, or of dropped keyspaces, end here.
        let floor = log.wal.obsolete_below(self.writes.first_unflushed());
        found.push(Record::LogFloor(floor));
        found.push(Record::LogKnown(log_number));
        found.push(Record::LastSeq(self.writes.next_seq - 1));
        found.records.extend(packs);
        let mut catalog = std::mem::take(&mut self.catalog);
        catalog
            .apply(&found)
            .map_err(|what| Error::corruption(&self.source.0, self.source.1, what))?;

        let failed = |e: CommitError| match e {
            CommitError::Write(e) | CommitError::Sync(e) => e,
        };
        let manifest = match new {
            Some(mut manifest) => {
                manifest.commit(&found, &catalog).map_err(failed)?;
                manifest
            }
            None => self.new_manifest(names, &catalog)?,
        };
        let obsolete_logs = replayed.leftovers.iter().chain(&log.replaced);
        self.remove_leftovers(names, obsolete_logs, &catalog);
        // What can't be deleted lies below the floor: the next open tries again.
        let _ = log.wal.remove_below(floor);
        let core = self.into_core(
            Some(log.wal),
            ManifestState {
                manifest: Some(manifest),
                catalog,
                undecided_drops: Vec::new(),
                undecided_tables: Vec::new(),
            },
            objects,
            lock,
            None,
        );
        start(&core);
        Ok(core)
    }

    /// Starts a manifest with this state and puts it in force.
    fn new_manifest(&self, names: &Listing, catalog: &Catalog) -> Result<Manifest> {
        let highest = names.highest(|kind| match kind {
            FileKind::Manifest(number) => Some(number),
            _ => None,
        });
        let number = highest.saturating_add(1);
        let roll_size = self.options.manifest_roll_size;
        Manifest::create(&self.env, &self.dir, number, roll_size, catalog).map_err(|e| match e {
            CommitError::Write(e) | CommitError::Sync(e) => e,
        })
    }

    /// Deletes what a crash left behind: files with our names, in our format, that nothing refers to. What can't be deleted
    /// stays, and does no harm. `names` were listed before the manifest that is in force now was created: all in it are older.
    fn remove_leftovers<'l>(
        &self,
        names: &Listing,
        obsolete_logs: impl Iterator<Item = &'l std::path::PathBuf>,
        catalog: &Catalog,
    ) {
        let live = |number: u64| {
            let mut levels = catalog.keyspaces.values().flat_map(|keyspace| &keyspace.levels);
            levels.any(|files| files.contains_key(&number))
        };
        for named in names.ours.iter().filter(|named| named.is_file) {
            let path = self.dir.join(&named.name);
            let superfluous = match named.kind {
                FileKind::Sst(number) => {
                    !live(number) && self.begins_like_ours(&path, crate::sst::HEADER_MAGIC)
                }
                // The one in force is newer than the listing.
                FileKind::Manifest(_) => {
                    self.begins_like_ours(&path, crate::record_log::magic(LogKind::Manifest))
                }
                FileKind::Pack(number) => {
                    !catalog.packs.contains_key(&number)
                        && self.begins_like_ours(&path, crate::pack::format::FILE_MAGIC)
                }
                FileKind::Log(_) => false,
            };
            if superfluous {
                let _ = self.env.fs.remove(&path);
            }
        }
        for path in obsolete_logs {
            let _ = self.env.fs.remove(path);
        }
        for name in [names::CURRENT_TMP, names::UNFINISHED_LOG] {
            let _ = self.env.fs.remove(&self.dir.join(name));
        }
        if names.unfinished_checkpoint {
            let _ = self.env.fs.remove(&self.dir.join(names::UNFINISHED_CHECKPOINT));
        }
    }

    /// Whether a file can be one that this engine began to write: it starts with the magic, or with as much of it as a crash has
    /// left, and zeros, or is empty. Somebody else's file that happens to have such a name stays.
    fn begins_like_ours(&self, path: &Path, magic: &[u8; 8]) -> bool {
        let Ok(file) = self.env.fs.open(path) else {
            return false;
        };
        let Ok(len) = file.len() else { return false };
        let mut front = vec![0; len.min(magic.len() as u64) as usize];
        if file.read_exact_at(0, &mut front).is_err() {
            return false;
        }
        let mut rest = front
            .iter()
            .zip(magic)
            .skip_while(|(found, wanted)| found == wanted);
        rest.all(|(found, _)| *found == 0)
    }
}

/// Starts what was due when the database was closed, and the background sync.
fn start(core: &Arc<Core>) {
    {
        let mut writes = core.writes.lock();
        let ids: Vec<_> = writes.active.keys().copied().collect();
        for id in ids {
            writes.note_bytes(id);
        }
    }
    for keyspace in core.keyspace_cores() {
        core.update_pressure_of(&keyspace);
        if !keyspace.view().frozen.is_empty() {
            core.schedule_flush(&keyspace);
        }
        core.schedule_compaction(&keyspace);
    }
    if core.has_full_packs() {
        core.schedule_seal();
    }
    arm_background_sync(core);
}

fn arm_background_sync(core: &Arc<Core>) {
    let Some(interval) = core.options.sync_interval else {
        return;
    };
    core.spawn_for_all_after(interval, Priority::High, |core| {
        // A failure poisons the log: the next write says so.
        if core.sync_log().is_ok() {
            arm_background_sync(core);
        }
    });
}
