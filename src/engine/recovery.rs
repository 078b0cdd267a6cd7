//! Opening a database: what is on disk becomes a `Core`.
//!
//! ```text
//! 1  lock the directory                                             (not when read-only)
//! 2  CURRENT -> manifest -> catalog; open every SST and check that it is the one described
//! 3  replay the logs into memtables, without what is in SSTs already
//! 4  new log; it takes all frames that are not proven to be on the medium (see below), synced
//! 5  new manifest with the whole state, the ends of the old logs and the number of the new one; CURRENT  <- point of no return
//! 6  remove leftovers: files that no version names, logs whose frames are in the new one
//! ```
//!
//! Nothing is acknowledged before 5 is durable. A crash anywhere leaves a state that opens again: until CURRENT changes the
//! old manifest and the old logs are untouched, the new log only repeats what they hold, and afterwards the new manifest
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit::apply_ops;
use super::core::{ActiveTable, Core, Parts, WriteState};
use super::keyspace::KeyspaceCore;
use super::snapshots::Snapshots;
use super::table::{Table, Trash};
use super::tree::Tree;
use super::versions::ManifestState;
use crate::env::{Env, Lock, Priority};
use crate::manifest::{self, Catalog, CommitError, Edit, Loaded, Manifest, Record};
use crate::memtable::{Memtable, SortedTable};
use crate::names::{self, FileKind};
use crate::options::Options;
use crate::planted::{self, Bug};
use crate::record_log::LogKind;
use crate::sst::{BlockCache, SstReadOptions};
use crate::types::KeyspaceId;
use crate::wal::{self, ReplayOptions, Replayed, Wal, WalOptions};
use crate::{Error, Result};

/// A log file is rotated at a quarter of the bytes that logs may pile up to, so that old ones can go one by one.
const LOG_FILES: u64 = 4;

/// What was found on the way in, for `metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveryReport {
    /// Bytes of the log's torn tail that were cut off.
    pub(crate) torn_log_bytes: u64,
    /// Entries replayed from the log.
    pub(crate) replayed: u64,
    /// Bytes of the log that were skipped.
    pub(crate) skipped_log_bytes: u64,
    /// The damage that the user asked to go on without.
    pub(crate) damage: Vec<Error>,
}

/// Opens the database in `dir`.
pub(crate) fn open(dir: &Path, options: Options, read_only: bool) -> Result<(Arc<Core>, RecoveryReport)> {
    let env = options
        .env
        .clone()
        .unwrap_or_else(|| Env::real(options.background_threads));
    let lock = if read_only {
        None
    } else {
        Some(lock_directory(&env, dir, &options)?)
    };
    let names = list(&env, dir)?;
    let loaded = match manifest::load(&*env.fs, dir)? {
        Some(loaded) => loaded,
        None => Loaded {
            catalog: fresh(&env, dir, &options, read_only, &names)?,
            path: dir.to_owned(),
            end: 0,
        },
    };
    let mut opening = Opening::new(env, dir, options, loaded)?;
    let replayed = opening.replay()?;
    let report = RecoveryReport {
        torn_log_bytes: replayed.torn_bytes,
        replayed: opening.replayed,
        skipped_log_bytes: replayed.skipped_bytes(),
        damage: replayed.dropped.clone(),
    };
    let core = if read_only {
        opening.finish_read_only()
    } else {
        opening.finish(&names, replayed, lock)?
    };
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

/// A name of ours in the directory.
struct Named {
    name: String,
    kind: FileKind,
    /// Not a directory, a link or a pipe. What is none is never deleted, but its number is not used either.
    is_file: bool,
}

/// Our names in the directory.
fn list(env: &Env, dir: &Path) -> Result<Vec<Named>> {
    let entries = env.fs.list(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => no_database(dir, NO_DIRECTORY),
        std::io::ErrorKind::NotADirectory => not_a_directory(dir),
        _ => Error::io("list", dir, e),
    })?;
    let named = entries.into_iter().filter_map(|entry| {
        Some(Named {
            kind: names::parse(&entry.name)?,
            name: entry.name,
            is_file: entry.is_file,
        })
    });
    Ok(named.collect())
}

const NO_DIRECTORY: &str =
    "there is no such directory; check the path, or open it for writing with create_if_missing";

fn not_a_directory(dir: &Path) -> Error {
    no_database(
        dir,
        "it, or something above it, is not a directory; choose another path",
    )
}

fn no_database(dir: &Path, what: &str) -> Error {
    Error::NotADatabase {
        path: dir.to_owned(),
        what: what.to_owned(),
    }
}

/// The state of a database that is about to be created. Where there are data files without a `CURRENT`, something has been
/// lost, and starting anew would finish the job.
fn fresh(env: &Env, dir: &Path, options: &Options, read_only: bool, names: &[Named]) -> Result<Catalog> {
    // A manifest alone is what a crash during the creation leaves.
    if let Some(Named { name, .. }) = names
        .iter()
        .find(|named| named.is_file && !matches!(named.kind, FileKind::Manifest(_)))
    {
        return Err(no_database(
            dir,
            &format!("CURRENT is missing, but there is {name}; restore CURRENT, or move the files away"),
        ));
    }
    if read_only || !options.create_if_missing {
        return Err(no_database(
            dir,
            "there is no CURRENT in it; check the path, or open it for writing with create_if_missing",
        ));
    }
    let identity = env.entropy.identity().map_err(|e| Error::io("create", dir, e))?;
    Ok(Catalog::new(identity))
}

/// A database on its way in.
struct Opening {
    env: Env,
    dir: PathBuf,
    options: Options,
    catalog: Catalog,
    /// Where the catalog was read, and where it ends: what contradicts it is reported there.
    source: (PathBuf, u64),
    cache: Arc<BlockCache>,
    trash: Arc<Trash>,
    writes: WriteState,
    replayed: u64,
}

impl Opening {
    /// Opens every SST of the catalog.
    fn new(env: Env, dir: &Path, options: Options, loaded: Loaded) -> Result<Self> {
        let (catalog, source) = (loaded.catalog, (loaded.path, loaded.end));
        let cache = Arc::new(BlockCache::new(options.cache_size));
        let trash = Trash::new(&env);
        let read_options = SstReadOptions {
            access: options.access,
            cache: cache.clone(),
        };
        let mut active = BTreeMap::new();
        for (id, entry) in &catalog.keyspaces {
            let mut tables = Vec::new();
            for (level, files) in entry.levels.iter().enumerate() {
                for meta in files.values() {
                    tables.push((
                        level,
                        Table::open(&env, dir, meta.clone(), &read_options, &trash)?,
                    ));
                }
            }
            let tree = Tree::new(tables);
            tree.check()
                .map_err(|what| Error::corruption(&source.0, source.1, what))?;
            let table = Arc::new(Memtable::new());
            let keyspace = KeyspaceCore::new(
                *id,
                entry.name.clone(),
                entry.options.clone(),
                table.clone(),
                Vec::new(),
                tree,
            );
            active.insert(
                *id,
                ActiveTable {
                    keyspace,
                    table,
                    min_seq: None,
                },
            );
        }
        let writes = WriteState {
            next_seq: catalog.last_seq + 1,
            active,
            log_number: 0,
        };
        Ok(Opening {
            env,
            dir: dir.to_owned(),
            options,
            catalog,
            source,
            cache,
            trash,
            writes,
            replayed: 0,
        })
    }

    /// Replays the logs into the memtables.
    fn replay(&mut self) -> Result<Replayed> {
        let options = ReplayOptions {
            floor: self.catalog.log_floor,
            // Numbers may be left out (a failed creation uses one up); the chain of headers covers what lies between.
            must_exist: vec![self.catalog.log_known],
            ends: self.catalog.log_ends.clone(),
            mode: self.options.recovery_mode,
        };
        let (catalog, writes, replayed) = (&self.catalog, &mut self.writes, &mut self.replayed);
        let write_buffer_size = self.options.write_buffer_size;
        let (dir, (manifest, manifest_end)) = (&self.dir, &self.source);
        let found = wal::replay(&*self.env.fs, dir, &options, &mut |first_seq, payload| {
            let mut unknown = None;
            apply_ops(writes, first_seq, payload.ops(), |id, seq| {
                let wanted = is_wanted(catalog, id, seq).unwrap_or_else(|id| {
                    unknown = Some(id);
                    false
                });
                *replayed += u64::from(wanted);
                wanted
            })?;
            if let Some(id) = unknown {
                // The frame in the log is whole, so it is the manifest that lacks something.
                return Err(Error::corruption(
                    manifest,
                    *manifest_end,
                    format!("expected the creation of keyspace {id}, to which the log writes; found the end"),
                ));
            }
            let last = payload.last_seq();
            for active in writes.active.values_mut() {
                if active.table.memory_usage() as u64 >= write_buffer_size
                    && let Some(min_seq) = active.min_seq.take()
                {
                    active.table = active.keyspace.rotate(min_seq, last);
                }
            }
            Ok(())
        })?;
        let next_in_log = found.last_seq + u64::from(!planted::is(Bug::NumbersResumedTooLow));
        self.writes.next_seq = self.writes.next_seq.max(next_in_log);
        Ok(found)
    }

    fn finish_read_only(self) -> Arc<Core> {
        let manifest = ManifestState {
            manifest: None,
            catalog: self.catalog.clone(),
            undecided_drops: Vec::new(),
            undecided_tables: Vec::new(),
        };
        self.into_core(None, manifest, None)
    }

    fn finish(
        mut self,
        names: &[Named],
        replayed: Replayed,
        lock: Option<Box<dyn Lock>>,
    ) -> Result<Arc<Core>> {
        // A new database has its manifest first: files without one are never taken for a beginning.
        let is_new = self.catalog.log_known == 0 && replayed.logs.is_empty();
        let new = if is_new {
            Some(self.new_manifest(names, &self.catalog)?)
        } else {
            None
        };
        let log_number = replayed
            .next_number
            .max(self.catalog.log_known + 1)
            .max(self.catalog.log_floor);
        let wal_options = WalOptions {
            max_file_size: (self.options.max_log_size / LOG_FILES).max(4 << 10),
        };
        let log = wal::resume(&self.env, &self.dir, log_number, &replayed, wal_options)?;
        self.writes.log_number = log_number;
        let mut found = Edit::default();
        for kept in &log.kept {
            found.push(Record::LogEnd(kept.end.clone()));
        }
        // Logs of nothing but what is in SSTs, or of dropped keyspaces, end here.
        let floor = log.wal.obsolete_below(self.writes.first_unflushed());
        found.push(Record::LogFloor(floor));
        found.push(Record::LogKnown(log_number));
        found.push(Record::LastSeq(self.writes.next_seq - 1));
        let highest_file = names
            .iter()
            .map(|named| if let FileKind::Sst(n) = named.kind { n } else { 0 })
            .max();
        found.push(Record::NextFileNumber(
            highest_file.unwrap_or(0).saturating_add(1),
        ));
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
        self.remove_leftovers(names, obsolete_logs, &catalog, manifest.number());
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
            lock,
        );
        start(&core);
        Ok(core)
    }

    /// Starts a manifest with this state and puts it in force.
    fn new_manifest(&self, names: &[Named], catalog: &Catalog) -> Result<Manifest> {
        let highest = names
            .iter()
            .map(|named| {
                if let FileKind::Manifest(n) = named.kind {
                    n
                } else {
                    0
                }
            })
            .max();
        let number = highest.unwrap_or(0).saturating_add(1);
        let roll_size = self.options.manifest_roll_size;
        Manifest::create(&self.env, &self.dir, number, roll_size, catalog).map_err(|e| match e {
            CommitError::Write(e) | CommitError::Sync(e) => e,
        })
    }

    /// Deletes what a crash left behind: files with our names, in our format, that nothing refers to. What can't be deleted
    /// stays, and does no harm.
    fn remove_leftovers<'l>(
        &self,
        names: &[Named],
        obsolete_logs: impl Iterator<Item = &'l std::path::PathBuf>,
        catalog: &Catalog,
        manifest: u64,
    ) {
        let live = |number: u64| {
            let mut levels = catalog.keyspaces.values().flat_map(|keyspace| &keyspace.levels);
            levels.any(|files| files.contains_key(&number))
        };
        for named in names.iter().filter(|named| named.is_file) {
            let path = self.dir.join(&named.name);
            let superfluous = match named.kind {
                FileKind::Sst(number) => {
                    !live(number) && self.begins_like_ours(&path, crate::sst::HEADER_MAGIC)
                }
                FileKind::Manifest(number) => {
                    number != manifest
                        && self.begins_like_ours(&path, crate::record_log::magic(LogKind::Manifest))
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
    }

    /// Whether a file can be one that this engine began to write: it starts with the magic, or with the zeros of a first
    /// block that a crash took, or is empty. Somebody else's file that happens to have such a name stays.
    fn begins_like_ours(&self, path: &Path, magic: &[u8; 8]) -> bool {
        let Ok(file) = self.env.fs.open(path) else {
            return false;
        };
        let Ok(len) = file.len() else { return false };
        let mut front = vec![0; len.min(magic.len() as u64) as usize];
        if file.read_exact_at(0, &mut front).is_err() {
            return false;
        }
        magic.starts_with(&front) || front.iter().all(|byte| *byte == 0)
    }

    fn into_core(self, wal: Option<Wal>, manifest: ManifestState, lock: Option<Box<dyn Lock>>) -> Arc<Core> {
        let snapshots = Arc::new(Snapshots::default());
        snapshots.publish(self.writes.next_seq - 1);
        let keyspaces = self
            .writes
            .active
            .iter()
            .map(|(id, active)| (*id, active.keyspace.clone()))
            .collect();
        Core::new(Parts {
            env: self.env,
            dir: self.dir,
            options: self.options,
            wal,
            writes: self.writes,
            snapshots,
            keyspaces,
            manifest,
            cache: self.cache,
            trash: self.trash,
            lock,
        })
    }
}

/// Whether a logged write is still needed: its keyspace lives and has not flushed it. An error names a keyspace that has
/// never been created.
fn is_wanted(catalog: &Catalog, id: KeyspaceId, seq: u64) -> Result<bool, KeyspaceId> {
    match catalog.keyspaces.get(&id) {
        Some(keyspace) => Ok(seq > keyspace.flushed || planted::is(Bug::FlushedReplayed)),
        None if id < catalog.next_keyspace_id => Ok(false),
        None => Err(id),
    }
}

/// Starts what was due when the database was closed, and the background sync.
fn start(core: &Arc<Core>) {
    for keyspace in core.keyspace_cores() {
        core.update_pressure_of(&keyspace);
        if !keyspace.view().frozen.is_empty() {
            core.schedule_flush(&keyspace);
        }
        core.schedule_compaction(&keyspace);
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
