//! [`Options`] of a database, [`KeyspaceOptions`] of a keyspace, and [`Durability`] of a write. Few, with defaults that
//! need no tuning; each says when to leave it alone.

use std::time::Duration;

use crate::coding::{Decoder, put_varint};
use crate::env::Env;
use crate::record_log::RecoveryMode;
use crate::sst::{Access, Compression, PARTITION_SIZES, SortOrder, SstOptions};
use crate::wal::LogMedium;
use crate::{Error, Result};

/// The least [`Options::memory_limit`], in bytes: below it the fixed costs of a few keyspaces and one compaction don't fit.
pub(crate) const MIN_MEMORY_LIMIT: u64 = 16 << 20;

/// How safe a write is when the call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The write survives the death of the process, not the loss of power: it has reached the operating system. A
    /// later synced write, [`Db::sync`](crate::Db::sync), or the background sync makes it durable.
    #[default]
    Buffered,
    /// The write, and every write before it, survives the loss of power.
    Sync,
}

/// How a database is opened. Settings of this kind are not stored: they can differ from one open to the next.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = packstone::Options::new().cache_size(16 << 20).open(dir.path())?;
/// # db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create_if_missing: bool,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) cache_size: u64,
    pub(crate) write_buffer_size: u64,
    pub(crate) max_log_size: u64,
    pub(crate) log_medium: LogMedium,
    pub(crate) max_file_size: u64,
    pub(crate) pack_size: u64,
    pub(crate) background_threads: usize,
    pub(crate) compaction_rate_limit: Option<u64>,
    pub(crate) access: Access,
    pub(crate) sync_interval: Option<Duration>,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) manifest_roll_size: u64,
    pub(crate) latencies: bool,
    pub(crate) env: Option<Env>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            create_if_missing: true,
            memory_limit: None,
            cache_size: 64 << 20,
            // At 64 MiB a flush writes an SST of about the size that compaction writes too (max_file_size), and the
            // log to be replayed after a kill stays near a second's worth of work.
            write_buffer_size: 64 << 20,
            // Four write buffers: an idle keyspace is flushed when the log it pins has grown to this.
            max_log_size: 256 << 20,
            log_medium: LogMedium::Auto,
            max_file_size: 64 << 20,
            // The source design's figure (spec/segments.md).
            pack_size: 256 << 20,
            background_threads: 2,
            compaction_rate_limit: None,
            access: Access::Mapped,
            sync_interval: None,
            recovery_mode: RecoveryMode::TornTail,
            manifest_roll_size: 1 << 20,
            latencies: false,
            env: None,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether [`Options::open`] creates a database where there is none. Default: true.
    pub fn create_if_missing(mut self, yes: bool) -> Self {
        self.create_if_missing = yes;
        self
    }

    /// Bytes of memory that the database may allocate, at least 16 MiB: memtables of all keyspaces, block cache, filters and
    /// indexes held on the heap, buffers of flushes and compactions. It goes before every single size: write buffers and cache
    /// get what fits. Writers wait where memtables would pass it. Default: a quarter of what the machine has or the
    /// container allows (control groups), 512 MiB at the most.
    ///
    /// Not counted is what users hold: batches being filled, values handed out, and memtables that a range or cursor pins
    /// which nobody moves ([`MemoryMetrics::pinned`](crate::MemoryMetrics::pinned)). Mapped files are the system's page cache and
    /// not counted either. With [`Access::Pread`] an open SST holds its filter and index on the heap
    /// if they are small, and otherwise some kilobytes that say where their pieces are ([`KeyspaceOptions::partition_size`]).
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = packstone::Options::new().memory_limit(64 << 20).open(dir.path())?;
    /// assert!(db.metrics().memory.total() <= 64 << 20);
    /// # db.close()
    /// # }
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Bytes of the cache for decompressed blocks, shared by all keyspaces, as far as
    /// [`Options::memory_limit`] has room: three eighths of it at the most. 0 turns it off. Default: 64 MiB.
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.cache_size = bytes;
        self
    }

    /// Bytes of memory that a keyspace's writes may fill before they are flushed to an SST, 4 KiB to 4 GiB. Larger
    /// means fewer compactions, more memory and a longer replay after a kill. At most an eighth of
    /// [`Options::memory_limit`] is used. A memtable that holds anything takes 20 KiB at
    /// least. Default: 64 MiB.
    pub fn write_buffer_size(mut self, bytes: u64) -> Self {
        self.write_buffer_size = bytes;
        self
    }

    /// Bytes of log that may pile up before the keyspaces that pin its oldest file are flushed, at least 4 KiB.
    /// Default: 256 MiB.
    pub fn max_log_size(mut self, bytes: u64) -> Self {
        self.max_log_size = bytes;
        self
    }

    /// How writes reach the log's files. Default: [`LogMedium::Auto`], which is faster. Room is reserved in steps of 1 MiB and more,
    /// up to an eighth of `max_log_size` and at most 32 MiB a file; one file that has served its time is kept for the next, until
    /// [`Db::flush`](crate::Db::flush) leaves nothing in the log, or the database is closed.
    pub fn log_medium(mut self, medium: LogMedium) -> Self {
        self.log_medium = medium;
        self
    }

    /// Bytes at which a flush or compaction starts the next SST, 4 KiB to 1 GiB; it also does so after 2^20 entries. A file
    /// overshoots by its last value, and by as much again where the versions of one key go on. Default: 64 MiB.
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.max_file_size = bytes;
        self
    }

    /// Bytes at which a pack of large values is full, and the next one begins, 4 KiB to 1 TiB. A longer value gets a pack of its own. Whole packs
    /// are what is sealed, linked into checkpoints and rewritten when values in them have died. While all packs together are smaller than 32 of that size, a pack is full at a thirty-second
    /// of them, or 8 MiB if that is more: so garbage is a small part of a small database, too. Default: 256 MiB.
    pub fn pack_size(mut self, bytes: u64) -> Self {
        self.pack_size = bytes;
        self
    }

    /// Threads for flushes and compactions, 1 to 64. Of two or more, one is left to flushes. The others compact side by side: several
    /// keyspaces, several places of one, several ranges of keys of a large merge. Each needs 4 MiB of the memory limit for its
    /// buffers, out of five sixty-fourths of it, so more threads than that has room for stay idle; one compaction always runs. A single thread runs
    /// flushes between the files of a compaction. Default: 2.
    pub fn background_threads(mut self, threads: usize) -> Self {
        self.background_threads = threads;
        self
    }

    /// Bytes that compactions may write in a second, at least 4 KiB, or no limit. Flushes are exempt: writers wait for them. A limit
    /// below what the load needs makes writers wait. Default: no limit.
    pub fn compaction_rate_limit(mut self, bytes_a_second: Option<u64>) -> Self {
        self.compaction_rate_limit = bytes_a_second;
        self
    }

    /// How SSTs are read. Default: [`Access::Mapped`], which is faster; choose [`Access::Pread`] where a page that
    /// can't be read (a failing disk, a file cut short by somebody else) must be an error and not kill the process.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sync the log in the background this often, so that a loss of power costs buffered writes of at most this age.
    /// Default: never.
    pub fn sync_interval(mut self, interval: Option<Duration>) -> Self {
        self.sync_interval = interval;
        self
    }

    /// What to do about a damaged log when opening. Default: [`RecoveryMode::TornTail`].
    pub fn recovery_mode(mut self, mode: RecoveryMode) -> Self {
        self.recovery_mode = mode;
        self
    }

    /// Bytes of manifest after which it is written anew, at least 1 KiB. Default: 1 MiB.
    pub fn manifest_roll_size(mut self, bytes: u64) -> Self {
        self.manifest_roll_size = bytes;
        self
    }

    /// Whether the database times what it does, for [`Metrics::latencies`](crate::Metrics::latencies) and
    /// [`Metrics::filters`](crate::Metrics::filters). It costs each operation two readings of the clock, a write four, and the
    /// database half a MiB; off, next to nothing. [`Db::set_latencies`](crate::Db::set_latencies) changes it later. Default: false.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = packstone::Options::new().latencies(true).open(dir.path())?;
    /// let users = db.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// let written = db.metrics().latencies.write_buffered;
    /// assert_eq!(written.count, 1);
    /// println!("{} ns, 99 % within {} ns", written.mean, written.p99);
    /// # db.close()
    /// # }
    /// ```
    pub fn latencies(mut self, yes: bool) -> Self {
        self.latencies = yes;
        self
    }

    /// Run on another outside world than the machine's: the simulator, or a wrapper around the real one.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(limit) = self.memory_limit {
            check("memory_limit", limit, MIN_MEMORY_LIMIT, u64::MAX)?;
        }
        check("write_buffer_size", self.write_buffer_size, 4 << 10, 4 << 30)?;
        check("max_log_size", self.max_log_size, 4 << 10, u64::MAX)?;
        check("max_file_size", self.max_file_size, 4 << 10, 1 << 30)?;
        check("pack_size", self.pack_size, 4 << 10, 1 << 40)?;
        check("background_threads", self.background_threads as u64, 1, 64)?;
        check("manifest_roll_size", self.manifest_roll_size, 1 << 10, u64::MAX)?;
        if let Some(limit) = self.compaction_rate_limit {
            check("compaction_rate_limit", limit, 4 << 10, u64::MAX)?;
        }
        match self.sync_interval {
            Some(interval) if interval < Duration::from_millis(1) => Err(Error::InvalidOption {
                name: "sync_interval",
                what: format!("{interval:?} given; at least 1 ms, or None"),
            }),
            _ => Ok(()),
        }
    }
}

fn check(name: &'static str, given: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(Error::InvalidOption {
        name,
        what: format!("{given} given; {least} to {most} allowed"),
    })
}

/// What the entries of a keyspace are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By key: look-ups, ranges, prefixes, both directions.
    #[default]
    Key,
    /// By a hash of the key: look-ups only, and those as fast as a hash table on disk can be. There is no first key and no next
    /// one: ranges are refused with [`Error::HashOrder`]. For keyspaces that nobody ever iterates over: objects by
    /// content id, caches, indexes from id to place. Keys are at most 65,527 bytes.
    Hash,
}

/// How a keyspace is laid out on disk. Chosen when it is created, stored with it, and the same ever after.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// use packstone::{Compression, KeyspaceOptions};
/// let photos = db.keyspace_with("photos", KeyspaceOptions::new().compression(Compression::None))?;
/// assert_eq!(photos.options().get_compression(), Compression::None);
/// # db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct KeyspaceOptions {
    sst: SstOptions,
    /// It has been chosen, and is not the order's default.
    compression_given: bool,
    object_threshold: Option<u64>,
    deduplicate: bool,
}

/// From how many bytes on a value is an object in a pack, unless the keyspace says otherwise. DESIGN.md, "Large values", has the measurements.
const OBJECT_THRESHOLD: u64 = 16 << 10;

impl Default for KeyspaceOptions {
    fn default() -> Self {
        KeyspaceOptions {
            sst: SstOptions::default(),
            compression_given: false,
            object_threshold: Some(OBJECT_THRESHOLD),
            deduplicate: true,
        }
    }
}

/// Equal are those that a caller could tell apart by no getter: the seed of hash order does not count.
impl PartialEq for KeyspaceOptions {
    fn eq(&self, other: &Self) -> bool {
        let seedless = |options: &Self| {
            let sst = options.clone().order(options.get_order()).sst;
            (sst, options.object_threshold, options.deduplicate)
        };
        seedless(self) == seedless(other)
    }
}

impl Eq for KeyspaceOptions {}

impl KeyspaceOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How blocks are compressed, each only where it saves an eighth. Default: [`Compression::Lz4`]; in hash order
    /// [`Compression::None`], with which small values lie beside their keys: faster to look up, and as much larger as the values
    /// would compress.
    pub fn compression(mut self, compression: Compression) -> Self {
        (self.sst.compression, self.compression_given) = (compression, true);
        self
    }

    /// How blocks are compressed.
    pub fn get_compression(&self) -> Compression {
        self.sst.compression
    }

    /// What entries are sorted by. Default: [`Order::Key`].
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// use packstone::{Error, KeyspaceOptions, Order};
    /// let places = db.keyspace_with("places", KeyspaceOptions::new().order(Order::Hash))?;
    /// places.put("a1b2", "pack 7, offset 4096")?;
    /// assert_eq!(places.get("a1b2")?.unwrap(), b"pack 7, offset 4096");
    /// assert!(matches!(places.iter().next(), Some(Err(Error::HashOrder { .. }))));
    /// # db.close()
    /// # }
    /// ```
    pub fn order(mut self, order: Order) -> Self {
        self.set_order(match order {
            Order::Key => SortOrder::Key,
            // The seed is given when the keyspace is created.
            Order::Hash => SortOrder::Hash { seed: 0 },
        });
        self
    }

    /// What entries are sorted by.
    pub fn get_order(&self) -> Order {
        match self.sst.order {
            SortOrder::Key => Order::Key,
            SortOrder::Hash { .. } => Order::Hash,
        }
    }

    /// The same with a seed.
    pub(crate) fn set_order(&mut self, order: SortOrder) {
        self.sst.order = order;
        if !self.compression_given {
            self.sst.compression = match order {
                SortOrder::Key => Compression::Lz4,
                SortOrder::Hash { .. } => Compression::None,
            };
        }
    }

    pub(crate) fn set_seed(&mut self, new: u64) {
        if let SortOrder::Hash { seed } = &mut self.sst.order {
            *seed = new;
        }
    }

    /// Bytes of small values that share a block, 64 B to 1 MiB: larger compresses better, smaller is read faster.
    /// Default: 4 KiB.
    pub fn value_block_size(mut self, bytes: u32) -> Self {
        self.sst.value_block_size = bytes;
        self
    }

    /// Bytes of keys (and 20 more for each) in a block, 64 B to 1 MiB. Default: 16 KiB.
    pub fn key_block_size(mut self, bytes: u32) -> Self {
        self.sst.key_block_size = bytes;
        self
    }

    /// Whether SSTs carry a filter that answers most look-ups of absent keys. Default: true.
    pub fn filter(mut self, yes: bool) -> Self {
        self.sst.filter = yes;
        self
    }

    /// About how many bytes a piece of a large SST's filter and index has, 64 B to 1 MiB; a filter's has as many slots as the power of
    /// two at or below says. Opening an SST reads none of them, and with [`Access::Pread`] the cache holds what is in use. An
    /// SST with fewer keys than such a filter takes (0.95 for each slot) has both in one piece, which stays in memory while it is
    /// open. Smaller is a cheaper first look-up, larger fewer reads for many. Default: 32 KiB, 31,130 keys.
    ///
    /// ```
    /// use packstone::KeyspaceOptions;
    /// assert_eq!(KeyspaceOptions::new().get_partition_size(), 32 << 10);
    /// assert_eq!(KeyspaceOptions::new().partition_size(4096).get_partition_size(), 4096);
    /// ```
    pub fn partition_size(mut self, bytes: u32) -> Self {
        self.sst.partition_size = bytes;
        self
    }

    /// About how many bytes a piece of a large SST's filter and index has.
    pub fn get_partition_size(&self) -> u32 {
        self.sst.partition_size
    }

    /// Values of at least so many bytes (32 at the least) are stored outside of the tree, as objects in pack files that all keyspaces share: they are
    /// written once and not again with every compaction, can be of any length, and equal ones are stored once. Smaller is less
    /// write amplification; larger is fewer look-ups for each read. `None`: no value is, and the longest has 64 MiB. Default:
    /// 16 KiB.
    ///
    /// ```
    /// use packstone::KeyspaceOptions;
    /// assert_eq!(KeyspaceOptions::new().get_object_threshold(), Some(16 << 10));
    /// assert_eq!(KeyspaceOptions::new().object_threshold(None).get_object_threshold(), None);
    /// ```
    pub fn object_threshold(mut self, bytes: Option<u64>) -> Self {
        self.object_threshold = bytes;
        self
    }

    /// From how many bytes on a value is an object in a pack.
    pub fn get_object_threshold(&self) -> Option<u64> {
        self.object_threshold
    }

    /// Whether a value that is an object shares what is stored with equal ones, of this keyspace and of others that do. Default: true. Without it no
    /// look-up is needed before a value is stored, and nobody can learn from the room that is taken that a value was there before.
    pub fn deduplicate(mut self, yes: bool) -> Self {
        self.deduplicate = yes;
        self
    }

    /// Whether equal objects are stored once.
    pub fn get_deduplicate(&self) -> bool {
        self.deduplicate
    }

    /// Whether a value of this length is stored as an object.
    pub(crate) fn is_object(&self, len: usize) -> bool {
        self.object_threshold
            .is_some_and(|threshold| len as u64 >= threshold)
    }

    /// Bytes of small values that share a block.
    pub fn get_value_block_size(&self) -> u32 {
        self.sst.value_block_size
    }

    /// Bytes of keys (and 20 more for each) in a block.
    pub fn get_key_block_size(&self) -> u32 {
        self.sst.key_block_size
    }

    /// Whether SSTs carry a filter.
    pub fn get_filter(&self) -> bool {
        self.sst.filter
    }

    pub(crate) fn sst(&self) -> &SstOptions {
        &self.sst
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check(
            "value_block_size",
            u64::from(self.sst.value_block_size),
            64,
            1 << 20,
        )?;
        check("key_block_size", u64::from(self.sst.key_block_size), 64, 1 << 20)?;
        let (least, most) = (*PARTITION_SIZES.start(), *PARTITION_SIZES.end());
        let size = self.sst.partition_size;
        check("partition_size", size.into(), least.into(), most.into())?;
        match self.object_threshold {
            // What is less would not pay for the reference of 24 bytes.
            Some(threshold) => check("object_threshold", threshold, 32, u64::MAX),
            None => Ok(()),
        }
    }

    /// The stored form: pairs of a tag and a number, both varints, tags ascending. Tag 5, the seed, stands for hash order. Tags are never used again for something
    /// else.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let compression = match self.sst.compression {
            Compression::None => 0,
            Compression::Lz4 => 1,
        };
        let fields = [
            (1, compression),
            (2, u64::from(self.sst.value_block_size)),
            (3, u64::from(self.sst.key_block_size)),
            (4, u64::from(self.sst.filter)),
        ];
        let order = match self.sst.order {
            SortOrder::Key => None,
            SortOrder::Hash { seed } => Some((5, seed)),
        };
        let partition_size = (6, u64::from(self.sst.partition_size));
        let objects = [
            (7, self.object_threshold.unwrap_or(0)),
            (8, u64::from(self.deduplicate)),
        ];
        let count = fields.len() + usize::from(order.is_some()) + 1 + objects.len();
        put_varint(out, count as u64);
        let fields = fields.into_iter().chain(order).chain([partition_size]);
        for (tag, value) in fields.chain(objects) {
            put_varint(out, tag);
            put_varint(out, value);
        }
    }

    /// Reads the stored form; `None` when it is malformed or names an option or a value that this release lacks.
    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Option<Self> {
        let mut options = KeyspaceOptions::default();
        let mut last_tag = 0;
        for _ in 0..decoder.count()? {
            let (tag, value) = (decoder.varint()?, decoder.varint()?);
            // One list, one meaning: no option twice.
            if tag <= last_tag {
                return None;
            }
            last_tag = tag;
            match (tag, value) {
                (1, 0) => options = options.compression(Compression::None),
                (1, 1) => options = options.compression(Compression::Lz4),
                (2, size) => options.sst.value_block_size = u32::try_from(size).ok()?,
                (3, size) => options.sst.key_block_size = u32::try_from(size).ok()?,
                (4, 0 | 1) => options.sst.filter = value == 1,
                (5, seed) => options.set_order(SortOrder::Hash { seed }),
                (6, size) => options.sst.partition_size = u32::try_from(size).ok()?,
                (7, 0) => options.object_threshold = None,
                (7, threshold) => options.object_threshold = Some(threshold),
                (8, 0 | 1) => options.deduplicate = value == 1,
                _ => return None,
            }
        }
        options.validate().ok()?;
        Some(options)
    }
}

#[cfg(test)]
mod tests;
