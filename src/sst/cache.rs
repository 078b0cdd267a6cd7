//! [`BlockCache`]: decompressed blocks, shared by all files, bounded in bytes.
//!
//! Blocks that many look-ups need, the partitions of filters and indexes and the pages of offset tables, go in before others: what
//! passes through once, a scan, does not displace them.
//!
//! Wraps quick_cache. Hasher and number of shards are fixed, so that the same calls evict the same blocks in every run
//! (the simulator relies on it). Blocks are immutable and verified before they enter.
//!
//! Callers: `reader` and `cursor`; the engine makes one and hands it to every file.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::frame::BlockKind;

/// A cache's file id (for a page of the offset table one more), and the block's (or page's) number.
type Key = (u64, u32);

/// A block; or a page, without a kind.
#[derive(Clone)]
struct Cached {
    kind: Option<BlockKind>,
    bytes: Arc<[u8]>,
}

impl Cached {
    fn is_of_priority(&self) -> bool {
        matches!(self.kind, None | Some(BlockKind::Filter | BlockKind::Index))
    }
}

/// What an entry costs besides the block's bytes: the counts in front of them, and the cache's own slot. An estimate.
const ENTRY_OVERHEAD: u64 = 80;
/// Locks that threads spread over. More than cores commonly are; each shard holds its share of the capacity, so that the
/// largest block that a cache takes is a sixteenth of it.
const SHARDS: usize = 16;
/// What a block weighs on average, in bytes, to size the cache's tables: the default target of a value block.
const USUAL_BLOCK: u64 = 8 << 10;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Cached> for ByBytes {
    fn weight(&self, _: &Key, block: &Cached) -> u64 {
        block.bytes.len() as u64 + ENTRY_OVERHEAD
    }
}

/// Hashes a [`Key`] by multiplication: file ids and block numbers are small and dense.
#[derive(Clone, Default)]
struct FixedHash;

struct FixedHasher(u64);

impl BuildHasher for FixedHash {
    type Hasher = FixedHasher;
    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0)
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }
    fn write_u64(&mut self, word: u64) {
        // By an odd constant (the golden ratio), the full product folded: every bit reaches the high and the low bits.
        let product = u128::from(self.0 ^ word ^ 0x5851_f42d_4c95_7f2d) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// Decompressed blocks of any number of files. Thread-safe.
///
/// ```
/// let cache = std::sync::Arc::new(packstone::sst::BlockCache::new(64 << 20));
/// assert_eq!(cache.used_bytes(), 0);
/// ```
pub struct BlockCache {
    /// `None`: the capacity is zero, nothing is kept.
    blocks: Option<Cache<Key, Cached, ByBytes, FixedHash>>,
    next_file: AtomicU64,
    counts: [Counts; SHARDS],
}

/// Look-ups of a part of the blocks. Each part has a cache line of its own (two, as processors fetch them in pairs), so that
/// readers of different blocks don't wait for each other's counts.
#[derive(Default)]
#[repr(align(128))]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache")
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

impl BlockCache {
    /// A cache of at most `capacity` bytes; 0 keeps nothing.
    pub fn new(capacity: u64) -> Self {
        let items = usize::try_from(capacity / USUAL_BLOCK)
            .unwrap_or(usize::MAX)
            .max(1);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(items)
            .weight_capacity(capacity)
            .build();
        let blocks = options
            .ok()
            .filter(|_| capacity > 0)
            .map(|options| Cache::with_options(options, ByBytes, FixedHash, DefaultLifecycle::default()));
        BlockCache {
            blocks,
            next_file: AtomicU64::new(0),
            counts: Default::default(),
        }
    }

    /// The id that an opened file caches its blocks under, never given twice.
    pub(crate) fn new_file(&self) -> u64 {
        self.next_file.fetch_add(2, Ordering::Relaxed)
    }

    /// A block of that kind; who asks for another kind does not find it.
    #[inline]
    pub(crate) fn get(&self, file: u64, block: u32, kind: BlockKind) -> Option<Arc<[u8]>> {
        self.find(file, block, Some(kind))
    }

    /// A page of the file's offset table.
    #[inline]
    pub(crate) fn get_page(&self, file: u64, page: u32) -> Option<Arc<[u8]>> {
        self.find(file + 1, page, None)
    }

    #[inline]
    fn find(&self, file: u64, number: u32, kind: Option<BlockKind>) -> Option<Arc<[u8]>> {
        let found = self.blocks.as_ref()?.get(&(file, number));
        let found = found.filter(|found| found.kind == kind);
        if let Some(counts) = self.counts.get((file as usize ^ number as usize) % SHARDS) {
            let counter = if found.is_some() {
                &counts.hits
            } else {
                &counts.misses
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        found.map(|found| found.bytes)
    }

    pub(crate) fn insert(&self, file: u64, block: u32, kind: BlockKind, bytes: &Arc<[u8]>) {
        self.put((file, block), Some(kind), bytes);
    }

    pub(crate) fn insert_page(&self, file: u64, page: u32, bytes: &Arc<[u8]>) {
        self.put((file + 1, page), None, bytes);
    }

    fn put(&self, key: Key, kind: Option<BlockKind>, bytes: &Arc<[u8]>) {
        let Some(blocks) = &self.blocks else { return };
        let block = Cached {
            kind,
            bytes: Arc::clone(bytes),
        };
        let of_priority = block.is_of_priority();
        blocks.insert(key, block);
        if of_priority {
            // A block that has been asked for since it came stays when room is made, and once more where twice.
            (0..2).for_each(|_| drop(blocks.get(&key)));
        }
    }

    /// Whether it keeps nothing, ever.
    pub(crate) fn is_off(&self) -> bool {
        self.blocks.is_none()
    }

    /// Lets go of one file's blocks and pages: they will not be asked for again.
    pub(crate) fn remove(&self, file: u64, blocks: u32, pages: u32) {
        if let Some(cache) = &self.blocks
            && !cache.is_empty()
        {
            let blocks = (0..blocks).map(|block| (file, block));
            for key in blocks.chain((0..pages).map(|page| (file + 1, page))) {
                cache.remove(&key);
            }
        }
    }

    /// Changes the capacity, in bytes. A cache made with capacity 0 stays off.
    pub fn set_capacity(&self, capacity: u64) {
        if let Some(blocks) = &self.blocks {
            blocks.set_capacity(capacity);
        }
    }

    /// Bytes held, entries' overhead included.
    pub fn used_bytes(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Cache::weight)
    }

    /// Look-ups that found their block.
    pub fn hits(&self) -> u64 {
        self.sum(|counts| &counts.hits)
    }

    /// Look-ups that did not.
    pub fn misses(&self) -> u64 {
        self.sum(|counts| &counts.misses)
    }

    fn sum(&self, counter: fn(&Counts) -> &AtomicU64) -> u64 {
        let parts = self.counts.iter().map(counter);
        parts.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: BlockKind = BlockKind::Value;

    #[test]
    fn the_cache_keeps_within_its_capacity_and_counts() {
        let cache = BlockCache::new(1 << 20);
        let file = cache.new_file();
        for block in 0..1000 {
            cache.insert(file, block, VALUE, &Arc::from(vec![0; 8192]));
        }
        assert!(cache.used_bytes() <= 1 << 20);
        assert!(cache.used_bytes() > 1 << 18);
        let found = (0..1000)
            .filter(|&block| cache.get(file, block, VALUE).is_some())
            .count() as u64;
        assert_eq!((cache.hits(), cache.misses()), (found, 1000 - found));
        cache.remove(file, 1000, 0);
        assert_eq!(cache.used_bytes(), 0);
        assert_ne!(cache.new_file(), file);
    }

    #[test]
    fn a_cache_of_no_capacity_keeps_nothing() {
        let cache = BlockCache::new(0);
        cache.insert(0, 0, VALUE, &Arc::from(vec![1, 2, 3]));
        assert_eq!(cache.get(0, 0, VALUE), None);
        assert_eq!(cache.used_bytes(), 0);
    }

    #[test]
    fn a_block_is_found_as_what_it_is_and_a_page_is_no_block() {
        let cache = BlockCache::new(1 << 20);
        let file = cache.new_file();
        cache.insert(file, 3, VALUE, &Arc::from(vec![1]));
        cache.insert_page(file, 3, &Arc::from(vec![2]));
        assert_eq!(cache.get(file, 3, BlockKind::Key), None);
        assert_eq!(cache.get(file, 3, VALUE).as_deref(), Some(&[1][..]));
        assert_eq!(cache.get_page(file, 3).as_deref(), Some(&[2][..]));
        assert_eq!(cache.get(file + 1, 3, VALUE), None);
        cache.remove(file, 4, 4);
        assert_eq!(cache.used_bytes(), 0);
    }

    #[test]
    fn a_scan_does_not_displace_partitions_and_pages() {
        let cache = BlockCache::new(4 << 20);
        let file = cache.new_file();
        // A quarter of the room, each come by once and never asked for again.
        for part in 0..32 {
            cache.insert(file, part, BlockKind::Filter, &Arc::from(vec![0; 32 << 10]));
        }
        for block in 1000..11_000 {
            cache.insert(file, block, VALUE, &Arc::from(vec![0; 8192]));
        }
        let left = (0..32).filter(|&part| cache.get(file, part, BlockKind::Filter).is_some());
        assert_eq!(left.count(), 32);
    }
}
