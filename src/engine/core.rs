//! [`Core`]: an open database. Owns the log, the manifest, the keyspaces and the background jobs; the modules beside this
//! one each hold one of its activities (`commit`, `flush`, `compaction`, `recovery`, `pressure`, `read`).
//!
//! Locks, in the order in which they may be taken: `manifest`, then `writes`, then a keyspace's `jobs`, then a keyspace's
//! view. None is held while waiting for background work. The commit leader holds `writes` while it writes to the log;
//! syncs of the log happen outside of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::compaction::pace::Pace;
use super::health::Failures;
use super::keyspace::KeyspaceCore;
use super::latency::Latencies;
use super::memory::Memory;
use super::objects::Objects;
use super::pressure::Pressure;
use super::queue::CommitQueue;
use super::snapshots::Snapshots;
use super::table::Trash;
use super::versions::ManifestState;
use crate::env::{Env, Event, Lock};
use crate::manifest::{Edit, Record};
use crate::memtable::{Memtable, SortedTable};
use crate::options::Options;
use crate::sst::Access;
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
    pub(crate) memory: Arc<Memory>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) budget: Budget,
    pub(crate) trash: Arc<Trash>,
    pub(crate) pressure: Pressure,
    pub(crate) pace: Pace,
    /// Notified whenever background work has made progress or failed.
    pub(crate) progress: Event,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    pub(super) health: Failures,
    pub(super) running_jobs: AtomicUsize,
    pub(super) closed: AtomicBool,
    closing: Mutex<()>,
    lock: Mutex<Option<Box<dyn Lock>>>,
    /// When the reading of what this shows began; `None` for the writer, who shows the present.
    pub(crate) read_at: Option<Duration>,
}

/// What only the commit leader changes.
pub(crate) struct WriteState {
    pub(crate) next_seq: SeqNo,
    pub(crate) active: BTreeMap<KeyspaceId, ActiveTable>,
    /// The number of the log file that the last group went to.
    pub(crate) log_number: u64,
    /// Bytes of all of `active`, as far as noted.
    pub(crate) active_bytes: u64,
}

impl WriteState {
    /// Takes note of how large a keyspace's memtable has become: its bytes, and those of the objects that it refers to.
    pub(crate) fn note_bytes(&mut self, id: KeyspaceId) -> (u64, u64) {
        let Some(active) = self.active.get_mut(&id) else {
            return (0, 0);
        };
        let bytes = active.table.memory_usage() as u64;
        self.active_bytes = (self.active_bytes - active.noted_bytes).saturating_add(bytes);
        active.noted_bytes = bytes;
        (bytes, active.referenced_bytes)
    }

    /// The keyspace whose memtable is the largest, of those that hold anything.
    pub(crate) fn largest(&self) -> Option<KeyspaceId> {
        let filled = self.active.iter().filter(|(_, active)| active.min_seq.is_some());
        filled
            .max_by_key(|(_, active)| active.noted_bytes)
            .map(|(id, _)| *id)
    }

    /// The least number that is in a memtable, or else the next one.
    pub(crate) fn first_unflushed(&self) -> SeqNo {
        let mut first = self.next_seq.min(MAX_SEQ);
        for active in self.active.values() {
            first = active.first_unflushed().map_or(first, |seq| first.min(seq));
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
    /// Its part of `WriteState::active_bytes`.
    pub(crate) noted_bytes: u64,
    /// The lengths of the objects that its entries refer to.
    pub(crate) referenced_bytes: u64,
}

impl ActiveTable {
    /// The least number of the keyspace that is in no SST.
    pub(crate) fn first_unflushed(&self) -> Option<SeqNo> {
        let view = self.keyspace.view();
        let frozen = view.frozen.iter().map(|frozen| frozen.min_seq);
        frozen.chain(self.min_seq).min()
    }

    pub(crate) fn new(keyspace: Arc<KeyspaceCore>, table: Arc<Memtable>) -> Self {
        ActiveTable {
            keyspace,
            table,
            min_seq: None,
            noted_bytes: 0,
            referenced_bytes: 0,
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
    /// SSTs that went to another level as they were.
    pub(crate) moved_files: AtomicU64,
    /// SSTs that were deleted without being read.
    pub(crate) deleted_files: AtomicU64,
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
    pub(crate) memory: Arc<Memory>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) lock: Option<Box<dyn Lock>>,
    pub(crate) read_at: Option<Duration>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Arc<Core> {
        Arc::new(Core {
            latencies: Latencies::new(parts.options.latencies),
            env: parts.env,
            dir: parts.dir,
            budget: Budget::new(&parts.options),
            options: parts.options,
            wal: parts.wal,
            commits: CommitQueue::default(),
            writes: Mutex::new(parts.writes),
            snapshots: parts.snapshots,
            keyspaces: RwLock::new(parts.keyspaces),
            next_file_number: AtomicU64::new(parts.manifest.catalog.next_file_number),
            manifest: Mutex::new(parts.manifest),
            memory: parts.memory,
            objects: parts.objects,
            trash: parts.trash,
            pressure: Pressure::default(),
            pace: Pace::default(),
            progress: Event::default(),
            counters: Counters::default(),
            health: Failures::default(),
            running_jobs: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
            lock: Mutex::new(parts.lock),
            read_at: parts.read_at,
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

    /// Flush and compaction read by pread, always: a page that can't be read is then an error and not a dead process.
    pub(crate) fn background_access(&self) -> Access {
        Access::Pread
    }

    pub(crate) fn keyspace_cores(&self) -> Vec<Arc<KeyspaceCore>> {
        self.keyspaces.read().values().cloned().collect()
    }

    /// Stops background work, syncs and seals log and manifest, and gives up the lock. Later calls do nothing.
    pub(crate) fn close(&self) -> Result<()> {
        // A second caller returns when the first has done it.
        let _closing = self.closing.lock();
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.progress.notify();
        self.wait(&mut || self.running_jobs.load(Ordering::SeqCst) == 0);
        // What has been chosen and not begun holds on to files.
        for keyspace in self.keyspace_cores() {
            keyspace.give_up_chosen();
        }
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
