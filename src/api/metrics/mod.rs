//! [`Metrics`]: what a database is made of and what it has done. Read in `collect`, printed in `table`.

mod collect;
mod table;

pub(super) use self::collect::collect;
use crate::engine::latency::{FilterMetrics, LatencyMetrics};

/// A reading of the database's counters and sizes. Totals count from the opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Puts and deletes accepted.
    pub entries_written: u64,
    /// Batches committed, single puts and deletes counted as batches of one.
    pub commits: u64,
    /// Groups of them that shared a write to the log.
    pub commit_groups: u64,
    /// Syncs of the log, each for everybody who waited for it.
    pub log_syncs: u64,
    /// Bytes of log written, frames' headers not counted.
    pub log_bytes_written: u64,
    /// Bytes of log on disk that may still be needed.
    pub log_bytes_live: u64,
    /// Bytes that the log's files take on disk: those, room that is reserved for what comes, and a file that waits to be used
    /// again.
    pub log_bytes_on_disk: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Bytes of SSTs written by them.
    pub flush_bytes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Bytes of SSTs read by them.
    pub compaction_bytes_read: u64,
    /// Bytes of SSTs written by them.
    pub compaction_bytes_written: u64,
    /// SSTs that went down a level as they were, neither read nor written.
    pub moved_files: u64,
    /// SSTs of nothing but tombstones that were deleted unread, because they hid nothing.
    pub deleted_files: u64,
    /// Nanoseconds that writers were held back.
    pub stall_nanos: u64,
    /// The same by what held them back.
    pub stalls: StallMetrics,
    /// How long operations took, while that is counted.
    pub latencies: LatencyMetrics,
    /// How often background work has failed.
    pub background_failures: u64,
    /// Superfluous files that could not be deleted; the next open tries again.
    pub undeleted_files: u64,
    /// What the database has allocated, by owner.
    pub memory: MemoryMetrics,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Look-ups in the block cache that found their block.
    pub cache_hits: u64,
    /// Look-ups in the block cache that did not.
    pub cache_misses: u64,
    /// What filters take, and what they spare while that is counted.
    pub filters: FilterMetrics,
    /// Snapshots open, those of ranges counted.
    pub open_snapshots: u64,
    /// Bytes of the log that the opening cut off: unfinished writes at its end, which had not been synced when power or
    /// process was lost; with [`RecoveryMode::PointInTime`](crate::RecoveryMode::PointInTime) also what lay behind damage.
    pub torn_log_bytes: u64,
    /// Damaged bytes of the log that the opening skipped, as [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) asks.
    pub skipped_log_bytes: u64,
    /// The damage in the log, and in packs that were not sealed, that the opening went on without, as
    /// [`RecoveryMode::PointInTime`](crate::RecoveryMode::PointInTime) and
    /// [`RecoveryMode::Salvage`](crate::RecoveryMode::Salvage) ask: file, offset, and what was found.
    pub recovery_damage: Vec<String>,
    /// Entries that the opening replayed from the log.
    pub replayed_entries: u64,
    /// Flushes in the middle of that, because what was replayed did not fit into memory.
    pub replay_flushes: u64,
    /// Large values, and the packs that hold them.
    pub objects: ObjectMetrics,
    /// By keyspace, sorted by name. The one whose name begins with a NUL is the engine's own: it knows where objects lie.
    pub keyspaces: Vec<KeyspaceMetrics>,
}

/// Large values: objects in packs. See [`KeyspaceOptions::object_threshold`](crate::KeyspaceOptions::object_threshold).
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = packstone::Db::open(dir.path())?;
/// let images = db.keyspace_with("images", packstone::KeyspaceOptions::new().object_threshold(Some(1000)))?;
/// images.put("a", vec![7; 5000])?;
/// images.put("the same", vec![7; 5000])?;
/// let objects = db.metrics().objects;
/// assert_eq!((objects.stored, objects.duplicates, objects.packs), (1, 1, 1));
/// assert!(objects.pack_bytes_written < objects.content_bytes, "compressed");
/// # db.close()
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectMetrics {
    /// Objects written.
    pub stored: u64,
    /// Bytes of their contents.
    pub content_bytes: u64,
    /// Bytes of packs that they took, compressed where that pays.
    pub pack_bytes_written: u64,
    /// Values whose object was there already.
    pub duplicates: u64,
    /// Bytes of these values.
    pub duplicate_bytes: u64,
    /// Objects that came with packs which were taken over as files ([`AdoptMode::Move`](crate::AdoptMode::Move)), and got keys. Those that were copied count as written.
    pub adopted: u64,
    /// Bytes of packs that they take.
    pub adopted_bytes: u64,
    /// Writes of the engine's own, of where objects lie. They take sequence numbers, and are not counted in
    /// [`Metrics::entries_written`].
    pub places_written: u64,
    /// Objects that collections have copied to another pack.
    pub moved: u64,
    /// Bytes of packs that this took.
    pub moved_bytes: u64,
    /// Packs now.
    pub packs: u64,
    /// Those of them that never change any more.
    pub sealed_packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Bytes of them that nobody needs any more, as far as that has been noticed.
    pub dead_bytes: u64,
}

/// The engine's own keyspace, which knows where objects lie, is named for people.
fn shown_name(name: &str) -> String {
    match name.strip_prefix('\0') {
        Some(name) => format!("({name})"),
        None => name.to_owned(),
    }
}

/// How often writers were held back, and how long, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StallMetrics {
    /// Too many memtables of a keyspace wait for their flush.
    pub memtables: Stalls,
    /// Too many SSTs are in a level 0.
    pub level_0: Stalls,
    /// Compaction owes too many bytes.
    pub debt: Stalls,
    /// All memtables together have reached their share of the memory limit.
    pub memory: Stalls,
    /// Too much of the packs is garbage: writers of objects wait.
    pub garbage: Stalls,
}

/// How often writers were held back for one cause, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalls {
    /// Waits and sleeps. Several writers that wait at once are counted each.
    pub count: u64,
    /// Their nanoseconds.
    pub nanos: u64,
}

/// What a database has allocated, in bytes, by owner. See [`Options::memory_limit`](crate::Options::memory_limit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryMetrics {
    /// The limit.
    pub limit: u64,
    /// Memtables that are being filled.
    pub active_memtables: u64,
    /// Memtables that wait for their flush or are in it.
    pub frozen_memtables: u64,
    /// The block cache.
    pub cache: u64,
    /// Sections of open SSTs that are held on the heap.
    pub open_ssts: u64,
    /// What running flushes and compactions have reserved for their buffers.
    pub jobs: u64,
    /// Memtables that have been flushed, and that nothing but ranges and cursors hold. Not in the limit: who holds them can
    /// move them, or let go.
    pub pinned: u64,
    /// Files that are mapped. The system's page cache, not the program's memory: it gives them up when it needs room.
    pub mapped: u64,
}

impl MemoryMetrics {
    /// All that the limit is for.
    pub fn total(&self) -> u64 {
        self.active_memtables + self.frozen_memtables + self.cache + self.open_ssts + self.jobs
    }
}

/// One keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyspaceMetrics {
    /// Its name.
    pub name: String,
    /// Bytes allocated for memtables, frozen ones counted.
    pub memtable_bytes: u64,
    /// Memtables that wait to be flushed.
    pub frozen_memtables: u64,
    /// Bytes that compaction has still to write until no level is over its target: what is over goes down, and rewrites what
    /// it overlaps there. All of level 0 counts once it has the number of files that starts a compaction.
    pub pending_compaction_bytes: u64,
    /// By level, from 0 on.
    pub levels: Vec<LevelMetrics>,
}

/// One level of one keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelMetrics {
    /// SSTs.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries, tombstones and old versions counted.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Bytes beyond which compaction is due; 0 for level 0, where files are counted, for the last level, and for levels that are
    /// not in use.
    pub target_bytes: u64,
    /// Flushes (to level 0) or compactions that wrote to this level.
    pub jobs: u64,
    /// Bytes of SSTs that they read.
    pub bytes_read: u64,
    /// The part of them that came from levels above this one.
    pub bytes_read_from_above: u64,
    /// Bytes of SSTs that they wrote.
    pub bytes_written: u64,
    /// Entries that they read, from memtables or SSTs.
    pub entries_in: u64,
    /// Entries that they wrote; the rest was overwritten or deleted.
    pub entries_out: u64,
    /// Nanoseconds that they took.
    pub nanos: u64,
}

impl Metrics {
    /// Bytes of all SSTs.
    pub fn sst_bytes(&self) -> u64 {
        self.keyspaces
            .iter()
            .flat_map(|keyspace| &keyspace.levels)
            .map(|level| level.bytes)
            .sum()
    }

    /// Bytes written to SSTs by flushes and compactions for each byte that flushes wrote; 0 before the first flush.
    pub fn compaction_write_amplification(&self) -> f64 {
        if self.flush_bytes == 0 {
            return 0.0;
        }
        (self.flush_bytes + self.compaction_bytes_written) as f64 / self.flush_bytes as f64
    }

    /// Bytes written to the log and to SSTs for each byte accepted (keys, values, and some bytes of framing for each entry); 0 before the
    /// first write. Flushes and compactions of what was written before the opening are counted: long after it the figure is right.
    pub fn write_amplification(&self) -> f64 {
        if self.log_bytes_written == 0 {
            return 0.0;
        }
        let written = self.log_bytes_written + self.flush_bytes + self.compaction_bytes_written;
        written as f64 / self.log_bytes_written as f64
    }

    /// Bytes of SSTs for each byte in the lowest level that is in use, of all keyspaces together; 0 where there is none. An estimate: the
    /// lowest level holds each key once, and what lies above it mostly overwrites or hides some of that.
    pub fn space_amplification(&self) -> f64 {
        let lowest = |keyspace: &KeyspaceMetrics| {
            let used = keyspace.levels.iter().rev().find(|level| level.bytes > 0);
            used.map_or(0, |level| level.bytes)
        };
        match self.keyspaces.iter().map(lowest).sum::<u64>() {
            0 => 0.0,
            bytes => self.sst_bytes() as f64 / bytes as f64,
        }
    }

    /// Bytes that compaction has still to write, of all keyspaces.
    pub fn pending_compaction_bytes(&self) -> u64 {
        let keyspaces = self.keyspaces.iter();
        keyspaces.map(|keyspace| keyspace.pending_compaction_bytes).sum()
    }
}
