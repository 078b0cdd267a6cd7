//! [`Core`]: an open database. Owns the log, the manifest, the keyspaces and the background jobs; the modules beside this
//! one each hold one of its activities (`commit`, `flush`, `compaction`, `recovery`, `pressure`, `read`).
//!
//! Locks, in the order in which they may be taken: `manifest`, then `writes`, then a keyspace's `jobs`, then a keyspace's
//! view. None is held while waiting for background work. The commit leader holds `writes` while it writes to the log;
//! syncs of the log happen outside of it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::keyspace::{KeyspaceCore, Work};
use super::pressure::Pressure;
use super::queue::CommitQueue;
use super::snapshots::Snapshots;
use super::table::{Table, Trash};
use crate::env::{Env, Event, Job, Lock, Priority};
use crate::manifest::{Catalog, CommitError, Edit, FileMeta, Manifest, Record};
use crate::memtable::Memtable;
use crate::names;
use crate::options::{KeyspaceOptions, Options};
use crate::sst::{Access, BlockCache, SstReadOptions};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::types::{KeyspaceId, MAX_SEQ, SeqNo};
use crate::wal::Wal;
use crate::{Error, Result};

/// An open database.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    /// `None` when opened read-only.
    pub(crate) wal: Option<Wal>,
    pub(crate) commits: CommitQueue,
    pub(crate) writes: Mutex<WriteState>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) keyspaces: RwLock<BTreeMap<KeyspaceId, Arc<KeyspaceCore>>>,
    pub(crate) manifest: Mutex<ManifestState>,
    pub(crate) next_file_number: AtomicU64,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) pressure: Pressure,
    /// Notified whenever background work has made progress or failed.
    pub(crate) progress: Event,
    pub(crate) counters: Counters,
    background_errors: Mutex<BTreeMap<(KeyspaceId, Work), Error>>,
    failures: AtomicU64,
    running_jobs: AtomicUsize,
    closed: AtomicBool,
    closing: Mutex<()>,
    lock: Mutex<Option<Box<dyn Lock>>>,
}

/// What only the commit leader changes.
pub(crate) struct WriteState {
    pub(crate) next_seq: SeqNo,
    pub(crate) active: BTreeMap<KeyspaceId, ActiveTable>,
    /// The number of the log file that the last group went to.
    pub(crate) log_number: u64,
}

impl WriteState {
    /// The least number that is in a memtable, or else the next one.
    pub(crate) fn first_unflushed(&self) -> SeqNo {
        let mut first = self.next_seq.min(MAX_SEQ);
        for active in self.active.values() {
            first = active.min_seq.map_or(first, |seq| first.min(seq));
            for frozen in &active.keyspace.view().frozen {
                first = first.min(frozen.min_seq);
            }
        }
        first
    }
}

/// The memtable that a keyspace's writes go to.
pub(crate) struct ActiveTable {
    pub(crate) keyspace: Arc<KeyspaceCore>,
    pub(crate) table: Arc<Memtable>,
    /// The least number in it, if there is any.
    pub(crate) min_seq: Option<SeqNo>,
}

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

/// Totals since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) entries_written: AtomicU64,
    /// Batches committed, single puts and deletes counted.
    pub(crate) commits: AtomicU64,
    /// Groups of them that shared a write to the log.
    pub(crate) commit_groups: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_bytes_read: AtomicU64,
    pub(crate) compaction_bytes_written: AtomicU64,
    pub(crate) stall_nanos: AtomicU64,
}

/// What `recovery` hands over to make a `Core` of.
pub(crate) struct Parts {
    pub(crate) env: Env,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) wal: Option<Wal>,
    pub(crate) writes: WriteState,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) keyspaces: BTreeMap<KeyspaceId, Arc<KeyspaceCore>>,
    pub(crate) manifest: ManifestState,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) lock: Option<Box<dyn Lock>>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Arc<Core> {
        Arc::new(Core {
            env: parts.env,
            dir: parts.dir,
            options: parts.options,
            wal: parts.wal,
            commits: CommitQueue::default(),
            writes: Mutex::new(parts.writes),
            snapshots: parts.snapshots,
            keyspaces: RwLock::new(parts.keyspaces),
            next_file_number: AtomicU64::new(parts.manifest.catalog.next_file_number),
            manifest: Mutex::new(parts.manifest),
            cache: parts.cache,
            trash: parts.trash,
            pressure: Pressure::default(),
            progress: Event::default(),
            counters: Counters::default(),
            background_errors: Mutex::new(BTreeMap::new()),
            failures: AtomicU64::new(0),
            running_jobs: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
            lock: Mutex::new(parts.lock),
        })
    }

    /// The log, or the error of a database that is not open for writing.
    pub(crate) fn wal(&self) -> Result<&Wal> {
        self.wal.as_ref().ok_or(Error::ReadOnly)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn new_file_number(&self) -> Result<u64> {
        let number = self.next_file_number.fetch_add(1, Ordering::Relaxed);
        if number >= names::MAX_NUMBER {
            self.next_file_number.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::LimitExceeded {
                what: "number of files ever created",
                size: number,
                limit: names::MAX_NUMBER,
            });
        }
        Ok(number)
    }

    pub(crate) fn read_options(&self) -> SstReadOptions {
        SstReadOptions {
            access: self.options.access,
            cache: self.cache.clone(),
        }
    }

    /// Flush and compaction read by pread, always: a page that can't be read is then an error and not a dead process.
    pub(crate) fn background_access(&self) -> Access {
        Access::Pread
    }

    pub(crate) fn keyspace_cores(&self) -> Vec<Arc<KeyspaceCore>> {
        self.keyspaces.read().values().cloned().collect()
    }

    // ---- background jobs ----

    // A job that is queued keeps neither the database nor a keyspace alive: both hold the environment, whose scheduler
    // holds the job, and would never be freed if nobody ran it any more.

    /// Runs `job` on a keyspace in the background, unless the database is closed or the keyspace is gone by then.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        priority: Priority,
        keyspace: &Arc<KeyspaceCore>,
        job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
    ) {
        self.env
            .scheduler
            .spawn(priority, self.queued(of_keyspace(keyspace, job)));
    }

    /// The same after a delay.
    pub(crate) fn spawn_after(
        self: &Arc<Self>,
        delay: Duration,
        priority: Priority,
        keyspace: &Arc<KeyspaceCore>,
        job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
    ) {
        let job = self.queued(of_keyspace(keyspace, job));
        self.env.scheduler.spawn_after(delay, priority, job);
    }

    /// The same for a job that concerns the whole database.
    pub(crate) fn spawn_for_all_after(
        self: &Arc<Self>,
        delay: Duration,
        priority: Priority,
        job: impl FnOnce(&Arc<Core>) + Send + 'static,
    ) {
        self.env.scheduler.spawn_after(delay, priority, self.queued(job));
    }

    fn queued(self: &Arc<Self>, job: impl FnOnce(&Arc<Core>) + Send + 'static) -> Job {
        let core = Arc::downgrade(self);
        Box::new(move || {
            if let Some(core) = core.upgrade() {
                core.run(job);
            }
        })
    }

    /// A job that panics has found a bug: what it has left half done is unknown, so nothing more is written, and nobody
    /// waits for it for ever.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce(&Arc<Core>)) {
        self.running_jobs.fetch_add(1, Ordering::SeqCst);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if !self.closed.load(Ordering::SeqCst) {
                job(self);
            }
        }));
        if outcome.is_err() {
            let what = std::io::Error::other("a background job panicked; this is a bug in packstone");
            self.poison(Error::io("work on", &self.dir, what));
        }
        self.running_jobs.fetch_sub(1, Ordering::SeqCst);
        self.progress.notify();
        if let Err(panic) = outcome {
            // The scheduler's business: threads log it, the simulator fails the test.
            std::panic::resume_unwind(panic);
        }
    }

    /// Blocks until `ready`, which is asked again after every piece of background progress.
    pub(crate) fn wait(&self, ready: &mut dyn FnMut() -> bool) {
        self.env.scheduler.wait(&self.progress, ready);
    }

    /// Remembers a failure of background work, for those who wait for it.
    pub(crate) fn background_failed(&self, keyspace: KeyspaceId, work: Work, error: Error) {
        self.background_errors.lock().insert((keyspace, work), error);
        self.failures.fetch_add(1, Ordering::SeqCst);
        self.progress.notify();
    }

    /// Background work has succeeded: its earlier failures are history.
    pub(crate) fn background_succeeded(&self, keyspace: &KeyspaceCore, work: Work) {
        keyspace.jobs.lock().retry_ms.remove(&work);
        self.background_errors.lock().remove(&(keyspace.id, work));
    }

    /// A failure of background work that no success of the same work has followed.
    pub(crate) fn background_error(&self) -> Option<Error> {
        self.background_errors.lock().values().next().cloned()
    }

    /// How often background work has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// The error that stops all writing, if there is one.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        self.wal.as_ref().and_then(Wal::poisoned)
    }

    /// Waits until no keyspace has a flush or compaction queued, running or due.
    pub(crate) fn wait_until_settled(self: &Arc<Self>) -> Result<()> {
        self.check_open()?;
        if self.wal.is_none() {
            // Open read-only, there is no background; what was replayed may fill several memtables, which stay.
            return Ok(());
        }
        let failures = self.failures();
        let mut outcome = Ok(());
        self.wait(&mut || {
            outcome = self.background_outcome(failures);
            // Work that is due and not queued has failed, and is tried again after a while.
            let settled =
                |keyspace: &Arc<KeyspaceCore>| keyspace.is_settled() && !self.compaction_is_due(keyspace);
            outcome.is_err() || self.keyspace_cores().iter().all(settled)
        });
        outcome
    }

    // ---- versions ----

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
        let mut next = state.catalog.clone();
        next.apply(&edit)
            .map_err(|what| Error::corruption(&self.dir, 0, what))?;
        let manifest = state.manifest.as_mut().ok_or(Error::ReadOnly)?;
        let committed = match manifest.commit(&edit, &next) {
            Ok(committed) => committed,
            Err(CommitError::Write(error)) => return Err(error),
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

    /// Stops all writing for good: what the disk holds is unknown.
    pub(crate) fn poison(&self, cause: Error) -> Error {
        if let Some(wal) = &self.wal {
            wal.poison(cause.clone());
        }
        self.progress.notify();
        self.poisoned().unwrap_or(Error::Poisoned {
            cause: Arc::new(cause),
        })
    }

    /// Makes everything in the log so far durable: before any edit that depends on it.
    pub(crate) fn sync_log(&self) -> Result<()> {
        let wal = self.wal()?;
        wal.sync(wal.end())
    }

    /// Opens a finished SST.
    pub(crate) fn open_table(&self, meta: FileMeta) -> Result<Arc<Table>> {
        Table::open(&self.env, &self.dir, meta, &self.read_options(), &self.trash)
    }

    /// The least number that is in no SST yet, of all keyspaces: older logs are not needed.
    pub(crate) fn first_unflushed(&self) -> SeqNo {
        self.writes.lock().first_unflushed()
    }

    // ---- keyspaces ----

    /// Creates a keyspace, or finds the one that has the name already.
    pub(crate) fn open_or_create(
        &self,
        name: &str,
        options: Option<KeyspaceOptions>,
    ) -> Result<Arc<KeyspaceCore>> {
        self.check_open()?;
        if let Some(found) = self.find_keyspace(name) {
            return Ok(found);
        }
        if self.wal.is_none() {
            return Err(Error::KeyspaceNotFound {
                name: name.to_owned(),
            });
        }
        let options = options.unwrap_or_default();
        options.validate()?;
        let mut state = self.manifest.lock();
        if let Some(found) = self.find_keyspace(name) {
            return Ok(found);
        }
        let id = state.catalog.next_keyspace_id;
        if id == KeyspaceId::MAX {
            let limit = u64::from(id);
            return Err(Error::LimitExceeded {
                what: "number of keyspaces ever created",
                size: limit,
                limit,
            });
        }
        let edit = Edit {
            records: vec![Record::CreateKeyspace {
                id,
                name: name.to_owned(),
                options: options.clone(),
            }],
        };
        let table = Arc::new(<Memtable as crate::memtable::SortedTable>::new());
        let core = KeyspaceCore::new(
            id,
            Arc::from(name),
            options,
            table.clone(),
            Vec::new(),
            Default::default(),
        );
        // Durable before its first frame: the keyspace takes writes only once it is in `active`.
        self.commit_edit(&mut state, edit, &[], |_| {
            let active = ActiveTable {
                keyspace: core.clone(),
                table,
                min_seq: None,
            };
            self.writes.lock().active.insert(id, active);
            self.keyspaces.write().insert(id, core.clone());
        })?;
        Ok(core)
    }

    pub(crate) fn find_keyspace(&self, name: &str) -> Option<Arc<KeyspaceCore>> {
        self.keyspaces
            .read()
            .values()
            .find(|keyspace| &*keyspace.name == name)
            .cloned()
    }

    /// Drops a keyspace: no writes from here on; its files go when the last snapshot or iterator that uses them does.
    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.check_open()?;
        self.wal()?;
        let mut state = self.manifest.lock();
        let keyspace = self.find_keyspace(name).ok_or_else(|| Error::KeyspaceNotFound {
            name: name.to_owned(),
        })?;
        // Writers first: nothing may be acknowledged for it behind the synced part of the log.
        {
            let _no_group_is_being_written = self.writes.lock();
            keyspace.set_refusing(true);
        }
        let edit = Edit {
            records: vec![Record::DropKeyspace { id: keyspace.id }],
        };
        let tables: Vec<Arc<Table>> = keyspace.view().tree.tables().cloned().collect();
        // A batch may have written here and elsewhere: its other half must not get lost.
        let result = self.sync_log().and_then(|()| {
            self.commit_edit(&mut state, edit, &tables, |_| {
                self.note_drop(&keyspace);
                self.keyspaces.write().remove(&keyspace.id);
                self.background_errors
                    .lock()
                    .retain(|(id, _), _| *id != keyspace.id);
            })
        });
        if result.is_err() {
            // The edit may be on disk all the same. Writes go on once it is settled that the drop has not happened.
            state.undecided_drops.push(keyspace);
            let _ = self.commit_edit(&mut state, Edit::default(), &[], |_| {});
        }
        drop(state);
        self.update_pressure();
        if result.is_ok() {
            // The drop has happened; logs that stay now go after the next flush.
            let _ = self.drop_old_logs();
        }
        result.map(|_| ())
    }

    /// A drop takes a number as a write does: so every snapshot is from before it or from after it.
    fn note_drop(&self, keyspace: &KeyspaceCore) {
        let mut writes = self.writes.lock();
        writes.active.remove(&keyspace.id);
        let seq = writes.next_seq;
        keyspace.mark_dropped(seq);
        // Where nothing is written any more the numbers before this one may be missing, and it is not published.
        if seq < MAX_SEQ && self.poisoned().is_none() {
            writes.next_seq = seq + 1;
            self.snapshots.publish(seq);
        }
    }

    /// Waits for a drop that is under way, and settles one that has failed: see `ManifestState::undecided_drops`.
    pub(crate) fn settle_drops(&self) -> Result<()> {
        let mut state = self.manifest.lock();
        if state.undecided_drops.is_empty() {
            return Ok(());
        }
        self.commit_edit(&mut state, Edit::default(), &[], |_| {})
            .map(|_| ())
    }

    // ---- closing ----

    /// Stops background work, syncs and seals log and manifest, and gives up the lock. Later calls do nothing.
    pub(crate) fn close(&self) -> Result<()> {
        // A second caller returns when the first has done it.
        let _closing = self.closing.lock();
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.progress.notify();
        self.wait(&mut || self.running_jobs.load(Ordering::SeqCst) == 0);
        let mut result = Ok(());
        if let Some(wal) = &self.wal {
            result = wal.close();
        }
        let mut state = self.manifest.lock();
        if result.is_ok() {
            result = self.record_log_end(&mut state);
        }
        if let Some(mut manifest) = state.manifest.take()
            && result.is_ok()
        {
            result = manifest.close();
        }
        drop(state);
        self.trash.close();
        self.lock.lock().take();
        result
    }

    /// Tells the manifest where the closed log ends, so that a log that has lost its end meanwhile (and with it the seal)
    /// is not taken for one that a crash tore.
    fn record_log_end(&self, state: &mut ManifestState) -> Result<()> {
        let Some(end) = self.wal.as_ref().and_then(Wal::closed_end) else {
            return Ok(());
        };
        let edit = Edit {
            records: vec![Record::LogKnown(end.number), Record::LogEnd(end)],
        };
        match self.commit_edit(state, edit, &[], |_| {}) {
            Err(error @ Error::Poisoned { .. }) => Err(error),
            // The writes are safe without it.
            _ => Ok(()),
        }
    }
}

/// A job on a keyspace, if that is still there.
fn of_keyspace(
    keyspace: &Arc<KeyspaceCore>,
    job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
) -> impl FnOnce(&Arc<Core>) + Send + 'static {
    let keyspace = Arc::downgrade(keyspace);
    move |core| {
        if let Some(keyspace) = keyspace.upgrade() {
            job(core, &keyspace);
        }
    }
}
