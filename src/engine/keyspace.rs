//! [`KeyspaceCore`]: the state of one keyspace in memory, and [`View`], what a reader pins of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::compaction::claims::Claims;
use super::compaction::job::Chosen;
use super::latency::FilterCounts;
use super::memory::Holdings;
use super::pressure::Asked;
use super::table::Table;
use super::tree::Tree;
use crate::manifest::LEVELS;
use crate::memtable::{Held, Memtable, SortedTable};
use crate::options::KeyspaceOptions;
use crate::sst::{SortKeyBuffer, SortOrder};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Pinned, Swap};
use crate::types::{KeyspaceId, ObjectRef, SeqNo, ValuePlace};
use crate::{Error, Result, Slice};

/// Stands for the number of a drop that has not happened. Above every number.
const ALIVE: SeqNo = SeqNo::MAX;

/// One keyspace. Shared by the database, its handles and its jobs.
pub(crate) struct KeyspaceCore {
    pub(crate) id: KeyspaceId,
    pub(crate) name: Arc<str>,
    pub(crate) options: KeyspaceOptions,
    /// What readers see now. Replaced whole; a reader holds what it pinned as long as it likes.
    view: Swap<View>,
    /// Held by whoever replaces the view.
    changing: Mutex<()>,
    /// How often the files of the view have changed, or its memtables gone: raised after each such change. Whoever holds
    /// an old view may take a newer one then.
    generation: AtomicU64,
    /// The number of its drop, set once and for ever when the drop becomes durable; before that `ALIVE`.
    dropped_at: AtomicU64,
    /// It is being dropped, or a drop has failed and may be found to have happened: nothing is acknowledged for it.
    refusing: AtomicBool,
    pub(crate) jobs: Mutex<Jobs>,
    /// The delay that this keyspace's debt asks of writers, see `pressure`.
    pub(super) asked: Asked,
    pub(crate) holdings: Holdings,
    /// What has been written to each level since the opening.
    pub(crate) work: [LevelWork; LEVELS],
}

/// Totals of the flushes (level 0) and compactions that wrote to a level.
#[derive(Debug, Default)]
pub(crate) struct LevelWork {
    pub(crate) jobs: AtomicU64,
    pub(crate) bytes_from_above: AtomicU64,
    pub(crate) bytes_from_level: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) entries_in: AtomicU64,
    pub(crate) entries_out: AtomicU64,
    pub(crate) nanos: AtomicU64,
}

/// What one flush or compaction has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JobWork {
    /// Bytes of input SSTs in the levels above the one written to.
    pub(crate) bytes_from_above: u64,
    /// Bytes of input SSTs in that level itself.
    pub(crate) bytes_from_level: u64,
    pub(crate) bytes_written: u64,
    /// Entries read, from memtables or SSTs.
    pub(crate) entries_in: u64,
    pub(crate) entries_out: u64,
    pub(crate) time: Duration,
}

impl LevelWork {
    fn add(&self, job: JobWork) {
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.jobs, 1);
        add(&self.bytes_from_above, job.bytes_from_above);
        add(&self.bytes_from_level, job.bytes_from_level);
        add(&self.bytes_written, job.bytes_written);
        add(&self.entries_in, job.entries_in);
        add(&self.entries_out, job.entries_out);
        add(&self.nanos, job.time.as_nanos() as u64);
    }
}

/// A kind of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Flush,
    Compaction,
}

/// Which background jobs of a keyspace are queued or running.
#[derive(Default)]
pub(crate) struct Jobs {
    /// A flush; one at a time, so that flushes commit in order.
    pub(crate) flush: bool,
    /// The compactions that run.
    pub(crate) claims: Claims,
    /// Those of them that have been chosen and not begun.
    pub(crate) chosen: VecDeque<Chosen>,
    /// Compactions that are queued and have not chosen what to do.
    pub(crate) queued: usize,
    /// A compaction has failed: none starts before its retry.
    pub(crate) paused: bool,
    /// Callers of `compact_range` that wait until what runs leaves their range alone; until then nothing new starts.
    pub(crate) ranges_waiting: usize,
    /// By level, where compactions have come to, see `compaction::picker`.
    pub(crate) cursors: [Vec<u8>; LEVELS],
}

/// A memtable that takes no more writes.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) table: Arc<Memtable>,
    /// The least number in it.
    pub(crate) min_seq: SeqNo,
    /// Writes of this keyspace up to this number are in this memtable or in older places, all later ones in newer.
    pub(crate) upto: SeqNo,
}

/// All that a reader needs: immutable but for the active memtable, which only grows.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Newest first.
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) tree: Arc<Tree>,
}

/// Where the value of a key lies.
pub(crate) enum Located<'a> {
    Memory(&'a [u8]),
    Table(&'a Table, ValuePlace),
    /// Its bytes are in a pack: see `objects::load`.
    Object(ObjectRef),
}

/// For callers that don't ask before whether a value is an object.
fn unresolved() -> Error {
    let what = "a reference to an object was taken for a value; this is a bug in packstone";
    Error::corruption("(objects)".as_ref(), 0, what)
}

impl Located<'_> {
    pub(crate) fn load(&self) -> Result<Slice> {
        match self {
            Located::Memory(value) => Ok(Slice::from(*value)),
            Located::Table(table, place) => table.sst.load(*place),
            Located::Object(_) => Err(unresolved()),
        }
    }

    /// Into the caller's buffer, whose contents are replaced.
    pub(crate) fn load_into(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Located::Memory(value) => {
                out.clear();
                out.extend_from_slice(value);
                Ok(())
            }
            Located::Table(table, place) => table.sst.load_into(*place, out),
            Located::Object(_) => Err(unresolved()),
        }
    }
}

/// A key that is looked for: hashed once, for memtables, bounds and filters alike.
pub(crate) struct Sought<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
    /// What memtables and files are sorted by.
    pub(crate) sort_key: &'a [u8],
}

impl<'a> Sought<'a> {
    #[inline]
    pub(crate) fn new(key: &'a [u8], order: SortOrder, room: &'a mut SortKeyBuffer) -> Self {
        let hash = order.hash(key);
        Sought {
            key,
            hash,
            sort_key: order.sort_key(key, hash, room),
        }
    }
}

impl View {
    /// Where the value of `key` lies that a snapshot at `snapshot` sees; `None`: it has none. Newer sources first, the first
    /// that has a version decides. Reads no value from a file.
    #[inline]
    pub(crate) fn find(
        &self,
        key: &[u8],
        order: SortOrder,
        snapshot: SeqNo,
        filters: Option<&FilterCounts>,
    ) -> Result<Option<Located<'_>>> {
        let mut room = SortKeyBuffer::default();
        let sought = Sought::new(key, order, &mut room);
        let frozen = self.frozen.iter().map(|frozen| &frozen.table);
        let in_memory = std::iter::once(&self.active)
            .chain(frozen)
            .find_map(|table| table.find(sought.sort_key, snapshot));
        if let Some((_, held)) = in_memory {
            return Ok(match held {
                Held::Value(value) => Some(Located::Memory(value)),
                Held::Object(bytes) => Some(Located::Object(
                    ObjectRef::from_bytes(bytes).ok_or_else(unresolved)?,
                )),
                Held::Tombstone => None,
            });
        }
        Ok(match self.tree.find(&sought, snapshot, filters)? {
            Some((_, ValuePlace::Tombstone)) | None => None,
            Some((table, place @ ValuePlace::Object { .. })) => {
                Some(Located::Object(table.sst.object(place)?))
            }
            Some((table, place)) => Some(Located::Table(table, place)),
        })
    }
}

impl KeyspaceCore {
    pub(crate) fn new(
        id: KeyspaceId,
        name: Arc<str>,
        options: KeyspaceOptions,
        active: Arc<Memtable>,
        frozen: Vec<Frozen>,
        tree: Tree,
    ) -> Arc<Self> {
        Arc::new(KeyspaceCore {
            id,
            name,
            options,
            view: Swap::new(View {
                active,
                frozen,
                tree: Arc::new(tree),
            }),
            changing: Mutex::new(()),
            generation: AtomicU64::new(0),
            dropped_at: AtomicU64::new(ALIVE),
            refusing: AtomicBool::new(false),
            jobs: Mutex::new(Jobs::default()),
            asked: Asked::default(),
            holdings: Holdings::default(),
            work: Default::default(),
        })
    }

    /// What its entries are sorted by.
    #[inline]
    pub(crate) fn order(&self) -> SortOrder {
        self.options.sst().order
    }

    /// An error if it has no order that a caller could iterate in.
    pub(crate) fn check_iterable(&self) -> Result<()> {
        if self.order().is_hash() {
            return Err(Error::HashOrder {
                keyspace: self.name.to_string(),
            });
        }
        Ok(())
    }

    /// Pins the present state for as long as the caller likes: for ranges and jobs, which register a snapshot first.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Pins the present state for a point read, which loads its number after this. Changes nothing that other readers look
    /// at.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<View> {
        self.view.load()
    }

    /// See the field. Loaded before a view is pinned, it is at most as new as the view.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether no flush or compaction is queued or running, and nothing waits to be flushed.
    pub(crate) fn is_settled(&self) -> bool {
        let jobs = self.jobs.lock();
        let idle = !jobs.flush && jobs.claims.is_empty() && jobs.queued == 0;
        drop(jobs);
        idle && self.view().frozen.is_empty()
    }

    /// Forgets the compactions that have been chosen and not begun, in a keyspace in which none will run any more.
    pub(crate) fn give_up_chosen(&self) {
        let chosen = std::mem::take(&mut self.jobs.lock().chosen);
        drop(chosen);
    }

    /// Replaces the view by what `change` makes of it, in one step.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let changing = self.changing.lock();
        let mut next = View::clone(&self.pin());
        let tree = Arc::clone(&next.tree);
        let result = change(&mut next);
        let moved = !Arc::ptr_eq(&tree, &next.tree);
        let old = self.view.swap(next);
        if moved {
            self.generation.fetch_add(1, Ordering::Release);
        }
        drop(changing);
        // After the lock: it may be the last holder of tables, whose files go then.
        drop(old);
        result
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped_at.load(Ordering::Acquire) != ALIVE
    }

    /// REQUIRES: all snapshots with numbers below `seq` are from before the drop. Those of later ones come afterwards.
    pub(crate) fn mark_dropped(&self, seq: SeqNo) {
        self.dropped_at.store(seq, Ordering::Release);
    }

    /// Whether writes are refused because of a drop. Raised with the write path held.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Acquire)
    }

    pub(crate) fn set_refusing(&self, yes: bool) {
        self.refusing.store(yes, Ordering::Release);
    }

    /// An error if the keyspace has been dropped.
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.check_alive_at(ALIVE - 1)
    }

    /// An error if the keyspace had been dropped when a snapshot at `seq` was taken.
    pub(crate) fn check_alive_at(&self, seq: SeqNo) -> Result<()> {
        if self.dropped_at.load(Ordering::Acquire) <= seq {
            return Err(Error::KeyspaceDropped {
                name: self.name.to_string(),
            });
        }
        Ok(())
    }

    /// Takes note of a flush or compaction that wrote to `level`.
    pub(crate) fn note_work(&self, level: usize, job: JobWork) {
        if let Some(work) = self.work.get(level) {
            work.add(job);
        }
    }

    /// Makes the active memtable a frozen one and puts a new one in its place. REQUIRES: the caller holds the write
    /// path, and all numbers up to `upto` are in their memtables.
    pub(crate) fn rotate(&self, min_seq: SeqNo, upto: SeqNo) -> Arc<Memtable> {
        self.update(|view| {
            let fresh = Arc::new(Memtable::new());
            let full = std::mem::replace(&mut view.active, fresh.clone());
            view.frozen.insert(
                0,
                Frozen {
                    table: full,
                    min_seq,
                    upto,
                },
            );
            fresh
        })
    }
}
