//! [`Memory`]: who uses how much of the memory that the database may have, and what fits.
//!
//! ```text
//!  limit │ memtables 3/8                │ block cache 3/8 at most      │ jobs 1/8 │ slack 1/8 │
//!        │ filled 1/8 │ frozen 2/8      │ less what open SSTs take     │          │           │
//! ```
//!
//! * **Memtables.** All that are being filled may take a third of the share: when they pass it, the largest are frozen. Writers
//!   run free while all memtables together take up to two thirds (one is in its flush, another is full), slow down from
//!   there on, and wait where the share ends (`pressure`).
//! * **Open SSTs** hold their filter, index and offset table on the heap in pread mode. They can't be refused: they displace the
//!   cache.
//! * **Jobs**: windows over the inputs of compactions, and the SSTs that are being built, which end early when they have as many
//!   entries as the share has room for. Reserved before a job begins (`budget`).
//! * **Slack**: what the allocator does not give back, the catalog, queues.
//!
//! The limit goes before any single size option: write buffers and cache take what the options say or what fits, whichever is
//! less. Not counted, because the engine can't give it back, is what users pin: memtables under ranges that rest, values
//! handed out, batches being filled. Memtables that only ranges hold are reported apart. Mapped files are the page cache's.
//!
//! Callers: `commit` (memtables being filled), `throttle` (everything else), `flush`, `budget`, `recovery`, metrics.

use std::sync::{Arc, Weak};

use super::keyspace::View;
use crate::memtable::{Memtable, SortedTable};
use crate::options::{MIN_MEMORY_LIMIT, Options};
use crate::sst::{Access, BlockCache, SstReadOptions};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The default at the most, in bytes.
const MAX_DEFAULT: u64 = 512 << 20;

/// See the module's comment.
pub(crate) struct Memory {
    limit: u64,
    /// What the option asks for.
    cache_size: u64,
    cache: Arc<BlockCache>,
    /// Bytes of memtables that are being filled, as last looked at.
    active: AtomicU64,
    /// Bytes of frozen memtables.
    frozen: AtomicU64,
    /// Bytes that the open SSTs of all trees hold on the heap.
    tables: AtomicU64,
    /// Memtables that have been flushed or dropped, and that ranges may still hold.
    retired: Mutex<Vec<Weak<Memtable>>>,
}

/// What one keyspace holds.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    frozen: AtomicU64,
    tables: AtomicU64,
}

impl Holdings {
    /// Takes note of what a view holds.
    pub(crate) fn note(&self, view: &View) {
        let frozen = view
            .frozen
            .iter()
            .map(|frozen| frozen.table.memory_usage() as u64);
        self.frozen.store(frozen.sum(), Ordering::Relaxed);
        let tables = view.tree.tables().map(|table| table.sst.heap_bytes() as u64);
        self.tables.store(tables.sum(), Ordering::Relaxed);
    }
}

/// The limit on a machine, or in a container, with so much memory: a quarter of it, 512 MiB at the most.
fn default_limit(available: u64) -> u64 {
    (available / 4).clamp(MIN_MEMORY_LIMIT, MAX_DEFAULT)
}

/// These options with a limit, and their sizes cut down to what it has room for.
pub(crate) fn fitted(options: Options, available: u64) -> Options {
    let limit = options.memory_limit.unwrap_or_else(|| default_limit(available));
    Options {
        memory_limit: Some(limit),
        write_buffer_size: options.write_buffer_size.min(being_filled(limit)),
        cache_size: options.cache_size.min(cache_share(limit)),
        ..options
    }
}

/// The limit in these options. REQUIRES: they have been `fitted`.
pub(crate) fn limit_of(options: &Options) -> u64 {
    options.memory_limit.unwrap_or(MIN_MEMORY_LIMIT)
}

/// Bytes of memtables up to which writers run free: two thirds of the share.
pub(crate) fn free_memtables(limit: u64) -> u64 {
    being_filled(limit) * 2
}

fn cache_share(limit: u64) -> u64 {
    limit / 8 * 3
}

fn being_filled(limit: u64) -> u64 {
    limit / 8
}

impl Memory {
    /// REQUIRES: the options have been `fitted`.
    pub(crate) fn new(options: &Options) -> Self {
        let cache_size = options.cache_size;
        Memory {
            limit: limit_of(options),
            cache_size,
            cache: Arc::new(BlockCache::new(cache_size)),
            active: AtomicU64::new(0),
            frozen: AtomicU64::new(0),
            tables: AtomicU64::new(0),
            retired: Mutex::default(),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// How SSTs are opened that share this memory.
    pub(crate) fn read_options(&self, access: Access) -> SstReadOptions {
        SstReadOptions {
            access,
            cache: self.cache.clone(),
        }
    }

    /// Bytes that memtables may take while they are being filled.
    pub(crate) fn being_filled(&self) -> u64 {
        being_filled(self.limit)
    }

    /// Takes note of what all keyspaces hold; the cache gets what is left of its share.
    pub(crate) fn note<'h>(&self, holdings: impl Iterator<Item = &'h Holdings>) {
        let (mut frozen, mut tables) = (0, 0);
        for holding in holdings {
            frozen += holding.frozen.load(Ordering::Relaxed);
            tables += holding.tables.load(Ordering::Relaxed);
        }
        self.frozen.store(frozen, Ordering::Relaxed);
        if self.tables.swap(tables, Ordering::Relaxed) != tables {
            let room = cache_share(self.limit).saturating_sub(tables);
            self.cache.set_capacity(self.cache_size.min(room));
        }
    }

    /// Takes note of the memtables that are being filled. Says whether `debt` has to be asked again: they have grown by a
    /// thirty-second of their share, and others wait.
    pub(crate) fn note_active(&self, bytes: u64) -> bool {
        let noted = self.active.load(Ordering::Relaxed);
        let much = noted.abs_diff(bytes) >= self.being_filled() / 32;
        if much {
            self.active.store(bytes, Ordering::Relaxed);
        }
        much && self.frozen.load(Ordering::Relaxed) > 0
    }

    /// How far memtables are beyond two thirds of their share: 1 stops writers.
    pub(crate) fn debt(&self) -> f64 {
        let bytes = self.active.load(Ordering::Relaxed) + self.frozen.load(Ordering::Relaxed);
        let thirds = bytes as f64 / self.being_filled() as f64;
        (thirds - 2.0).clamp(0.0, 1.0)
    }

    /// These memtables are in no view any more: they go when their last reader does.
    pub(crate) fn retire<'m>(&self, memtables: impl Iterator<Item = &'m Arc<Memtable>>) {
        let mut retired = self.retired.lock();
        retired.retain(|table| table.strong_count() > 0);
        retired.extend(memtables.map(Arc::downgrade));
    }

    /// Bytes of memtables that nothing but ranges and cursors hold.
    pub(crate) fn pinned(&self) -> u64 {
        let retired = self.retired.lock();
        let held = retired.iter().filter_map(Weak::upgrade);
        held.map(|table| table.memory_usage() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(limit: u64, cache_size: u64) -> Memory {
        let options = Options::new().memory_limit(limit).cache_size(cache_size);
        Memory::new(&fitted(options, 0))
    }

    #[test]
    fn shares_are_within_the_limit() {
        for limit in [MIN_MEMORY_LIMIT, 64 << 20, 1 << 30] {
            let memory = with(limit, u64::MAX);
            let memtables = 3 * memory.being_filled();
            assert!(memtables + memory.cache_size <= limit / 8 * 6);
        }
    }

    #[test]
    fn what_open_files_hold_is_taken_from_the_cache() {
        let memory = with(64 << 20, 24 << 20);
        let (small, large) = (Holdings::default(), Holdings::default());
        large.tables.store(20 << 20, Ordering::Relaxed);
        small.frozen.store(9 << 20, Ordering::Relaxed);
        memory.note([&small, &large].into_iter());
        for block in 0..2000 {
            memory
                .cache
                .insert(0, block, crate::sst::BlockKind::Value, &Arc::from(vec![0; 8192]));
        }
        assert!(
            memory.cache.used_bytes() <= 4 << 20,
            "{}",
            memory.cache.used_bytes()
        );
    }

    #[test]
    fn memtables_beyond_two_thirds_of_their_share_slow_writers_down_smoothly() {
        let memory = with(64 << 20, 0);
        let holdings = Holdings::default();
        let debt = |frozen: u64, active: u64| {
            holdings.frozen.store(frozen << 20, Ordering::Relaxed);
            memory.note(std::iter::once(&holdings));
            memory.note_active(active << 20);
            memory.debt()
        };
        assert_eq!(debt(8, 8), 0.0, "one in its flush, one full");
        assert_eq!(debt(16, 0), 0.0);
        assert_eq!(debt(16, 4), 0.5);
        assert_eq!(debt(16, 8), 1.0);
        assert!(!memory.note_active(8 << 20) && memory.note_active(0));
    }

    #[test]
    fn the_default_is_a_quarter_up_to_half_a_gibibyte() {
        assert_eq!(default_limit(24 << 30), 512 << 20);
        assert_eq!(default_limit(1 << 30), 256 << 20);
        assert_eq!(default_limit(8 << 20), MIN_MEMORY_LIMIT);
    }
}
