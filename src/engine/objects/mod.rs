//! Large values: objects in packs, and what the engine knows of them.
//!
//! ```text
//!   put(key, value) ── hash ──> known?  yes ───────────────────────────────────────────────┐
//!                                 │ no                                                     │
//!                                 └─> compressed, placed in the active pack, written       │
//!                                        │                                                 v
//!   one batch, one frame of the log:  [ directory: id -> place ]   [ key -> id, length ]
//!   sync of the log:  packs first, then the log                 (before any flush as well)
//! ```
//!
//! | part | what |
//! | --- | --- |
//! | `pack`, `packs` | a pack of the database, open, which goes with its last reader; all that there are |
//! | `place` | where an object lies, and its bytes in the directory |
//! | `lease` | objects that a running write builds on, or a collection is about to remove |
//! | `active` | which packs take values, and the next one in time |
//! | `store`, `stream` | values in memory, and values of any length, become objects |
//! | `lone` | packs of one object |
//! | `load` | from a reference to bytes |
//! | `adopt` | packs of programs become values |
//! | `heal` | what is damaged is stored anew |
//! | `collect`, `steps`, `live` | what nobody refers to goes |
//! | `seal` | full packs get their index and never change again |
//! | `reopen` | packs on the way in |
//!
//! Invariants:
//! 1. A pack is in the manifest, durably, before a frame of the log refers to a place in it.
//! 2. An object is whole in its pack (with the kernel) before the frame that refers to it is written, and on the medium before
//!    any sync makes that frame durable, and before any edit names an SST that refers to it or to its place.
//! 3. Places are looked up in the newest state of the directory, never at a snapshot's number.
//! 4. A sealed pack never changes. Records of an active one become whole one after the other.
//! 5. Whoever refers to an object that is there already holds a lease on it from before the look-up until its frame has been published.
//!
//! Locks, in the order in which they may be taken: `sealing`, `active`, then the manifest's (and what follows that, see `core`), then `syncing`; the
//! rest are held for some instructions only.

use std::sync::{Arc, Weak};

use super::keyspace::KeyspaceCore;
use crate::env::Env;
use crate::manifest::{Catalog, Edit, PackMeta, Record};
use crate::options::Options;
use crate::pack::shared::RecordBuffers;
use crate::planted::{self, Bug};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::wal::BeforeSync;
use crate::{Error, Result};

mod active;
pub(crate) mod adopt;
pub(crate) mod collect;
mod heal;
mod lease;
mod live;
mod load;
mod lone;
#[cfg(all(test, packstone_shuttle))]
mod models;
pub(crate) mod pack;
mod packs;
pub(crate) mod place;
pub(crate) mod reopen;
mod seal;
mod steps;
pub(crate) mod store;
pub(crate) mod stream;

pub(crate) use lease::Leases;
pub(crate) use pack::Pack;
pub(crate) use place::Place;
pub(crate) use store::Stored;

use active::Active;
use packs::Packs;

/// The name of the keyspace that knows where objects lie. Names that begin with a NUL are not given to users.
pub(crate) const DIRECTORY: &str = "\0objects";

/// So many writers' buffers are kept.
const MOST_BUFFERS: usize = 4;

/// What the engine knows of objects and packs. Shared by the database and its log.
pub(crate) struct Objects {
    env: Env,
    /// In bytes, see [`Options::pack_size`].
    pack_size: u64,
    packs: Packs,
    /// Which packs take values. Held while a record is placed and written, and where a pack begins that was not there in time.
    active: Mutex<Active>,
    /// Held while packs are synced.
    syncing: Mutex<()>,
    /// Held while a pack is sealed.
    sealing: Mutex<()>,
    seal_queued: AtomicBool,
    /// Why the last attempt to seal packs has failed; it is tried again.
    seal_failure: Mutex<Option<Error>>,
    leases: Leases,
    /// What writers of records use one after the other.
    buffers: Mutex<Vec<RecordBuffers>>,
    /// Whether a collection runs.
    collecting: AtomicBool,
    collection_queued: AtomicBool,
    /// Why the last one in the background has failed.
    collection_failure: Mutex<Option<Error>>,
    /// Keyspaces that have been dropped: who has a handle and a snapshot may still read them.
    dropped: Mutex<Vec<Weak<KeyspaceCore>>>,
    /// See [`DIRECTORY`].
    directory: RwLock<Option<Arc<KeyspaceCore>>>,
    pub(crate) counters: ObjectCounters,
}

/// Totals since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct ObjectCounters {
    /// Objects written, their contents' bytes, and what of the packs they took.
    pub(crate) stored: AtomicU64,
    pub(crate) content_bytes: AtomicU64,
    pub(crate) pack_bytes: AtomicU64,
    /// Values whose object was there already, and their bytes.
    pub(crate) duplicates: AtomicU64,
    pub(crate) duplicate_bytes: AtomicU64,
    /// Objects that came with packs which were taken over as files, and bytes of packs that they take.
    pub(crate) adopted: AtomicU64,
    pub(crate) adopted_bytes: AtomicU64,
    /// Writes to the directory.
    pub(crate) places: AtomicU64,
    /// Objects that collections have copied, and bytes of packs that this took.
    pub(crate) moved: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
}

impl Objects {
    pub(crate) fn new(env: &Env, options: &Options) -> Arc<Objects> {
        Arc::new(Objects {
            env: env.clone(),
            pack_size: options.pack_size,
            packs: Packs::new(options.write_buffer_size, options.pack_size),
            active: Mutex::default(),
            syncing: Mutex::new(()),
            sealing: Mutex::new(()),
            seal_queued: AtomicBool::new(false),
            seal_failure: Mutex::new(None),
            leases: Leases::default(),
            buffers: Mutex::default(),
            collecting: AtomicBool::new(false),
            collection_queued: AtomicBool::new(false),
            collection_failure: Mutex::new(None),
            dropped: Mutex::default(),
            directory: RwLock::default(),
            counters: ObjectCounters::default(),
        })
    }

    pub(crate) fn pack(&self, number: u64) -> Option<Arc<Pack>> {
        self.packs.get(number)
    }

    pub(crate) fn packs(&self) -> Vec<Arc<Pack>> {
        self.packs.all()
    }

    fn add(&self, pack: Arc<Pack>) {
        self.packs.add(pack);
    }

    fn remove(&self, number: u64) {
        self.packs.remove(number);
    }

    /// Takes note of a keyspace that has been dropped.
    pub(crate) fn note_dropped_keyspace(&self, keyspace: &Arc<KeyspaceCore>) {
        let mut dropped = self.dropped.lock();
        dropped.retain(|keyspace| keyspace.strong_count() > 0);
        dropped.push(Arc::downgrade(keyspace));
    }

    /// The dropped keyspaces to which there are handles.
    fn dropped(&self) -> Vec<Arc<KeyspaceCore>> {
        self.dropped.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn take_buffers(&self) -> RecordBuffers {
        self.buffers.lock().pop().unwrap_or_default()
    }

    fn give_buffers(&self, buffers: RecordBuffers) {
        let mut kept = self.buffers.lock();
        if kept.len() < MOST_BUFFERS {
            kept.push(buffers);
        }
    }

    /// Makes all records that have been written so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let _syncing = self.syncing.lock();
        self.packs.unsealed().iter().try_for_each(|pack| pack.sync())
    }

    /// What has changed of the packs since the manifest was told: how much of them is durable, how much is dead. For every edit.
    pub(super) fn changes(&self, catalog: &Catalog, edit: &mut Edit) {
        for (number, known) in &catalog.packs {
            let named = |record: &Record| match record {
                Record::Pack(pack) => pack.number == *number,
                Record::RemovePack { number: removed } => removed == number,
                _ => false,
            };
            if edit.records.iter().any(named) {
                continue;
            }
            let now = self.pack(*number).map(|pack| pack.now(known));
            if let Some(now) = now.filter(|now| now != known) {
                edit.push(Record::Pack(now));
            }
        }
    }

    /// Takes note that records are not needed any more.
    pub(crate) fn note_dead(&self, place: &Place) {
        if let Some(pack) = self.pack(place.pack) {
            pack.add_dead(place.record.record_len);
        }
    }

    /// See [`Packs::flush_after`].
    pub(crate) fn flush_after(&self) -> u64 {
        self.packs.flush_after()
    }

    /// When a level 0 refers to so many bytes it is compacted: that is when what it replaces further down is noticed.
    pub(crate) fn compact_after(&self) -> u64 {
        self.packs.flush_after().saturating_mul(2)
    }

    /// Bytes that are known to be dead and can be collected, and bytes of all packs.
    pub(crate) fn garbage(&self) -> (u64, u64) {
        self.packs.garbage()
    }

    /// Full packs that wait for their seal.
    pub(crate) fn count_full(&self) -> usize {
        self.packs.count_full()
    }

    fn count_stored(&self, content: u64, record: u64) {
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.counters.stored, 1);
        add(&self.counters.content_bytes, content);
        add(&self.counters.pack_bytes, record);
    }

    fn count_moved(&self, record: u64) {
        self.counters.moved.fetch_add(1, Ordering::Relaxed);
        self.counters.moved_bytes.fetch_add(record, Ordering::Relaxed);
    }

    fn count_duplicate(&self, content: u64) {
        self.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        self.counters
            .duplicate_bytes
            .fetch_add(content, Ordering::Relaxed);
    }
}

impl BeforeSync for Objects {
    fn before_sync(&self) -> Result<()> {
        match planted::is(Bug::ReferenceBeforeObject) || planted::is(Bug::DedupHitUnsynced) {
            true => Ok(()),
            false => self.sync(),
        }
    }
}

/// What the manifest says of a pack that has just been begun.
fn fresh(number: u64, identity: [u8; 16], len: u64) -> PackMeta {
    PackMeta {
        number,
        identity,
        sealed: false,
        len,
        dead: 0,
    }
}
