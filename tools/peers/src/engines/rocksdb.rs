//! RocksDB behind [`Engine`]; built only with the feature `rocksdb`.
//!
//! Its tickers (bytes written by log, flush and compaction) are on, its timers and histograms are off: tickers cost less
//! than the spread of the figures.

use std::path::Path;
use std::time::Duration;

use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, Cache, CompactionPri, DB, DBCompressionType, DBRawIterator, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};

use super::{
    Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit, mib, share_of_memory,
};
use crate::Result;

const BLOOM_BITS: f64 = 10.0;
const ALIKE_BLOCK: usize = 8 << 10;

pub(crate) fn describe(config: Config) -> String {
    let apart = match config.separate {
        Some(bytes) => format!(
            "; blob files of 256 MiB (its default) for values from {} KiB on, LZ4, with garbage collection, no blob cache (its \
             default)",
            bytes >> 10
        ),
        None => String::new(),
    };
    let settings = match config.setting {
        Setting::Alike => format!(
            "write buffer {} MiB, hyper clock cache {} MiB, LZ4 on all levels, Bloom filter {BLOOM_BITS} bits a key, \
             blocks of {} KiB, dynamic level sizes, tickers on; defaults otherwise; iterators are kept while nobody writes",
            mib(config.write_buffer),
            mib(config.cache),
            ALIKE_BLOCK >> 10
        ),
        Setting::Recommended => format!(
            "as its wiki page \"Setup Options and Basic Tuning\" says: LRU cache {} MiB (a third of memory), Bloom filter \
             {BLOOM_BITS} bits a key, dynamic level sizes, 6 background jobs, bytes_per_sync 1 MiB, compaction priority \
             kMinOverlappingRatio, blocks of 16 KiB, index and filter blocks in the cache with those of level 0 pinned, \
             write buffer 64 MiB (its default), LZ4 (ZSTD for the last level is recommended too and not built in here); \
             tickers on",
            mib(share_of_memory(3))
        ),
    };
    settings + &apart
}

fn alike(config: Config) -> Result<Options> {
    let mut options = Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_block_size(ALIKE_BLOCK);
    // 0: entries' sizes are not guessed (the "auto" kind).
    table.set_block_cache(&Cache::new_hyper_clock_cache(usize::try_from(config.cache)?, 0));
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(usize::try_from(config.write_buffer)?);
    options.set_level_compaction_dynamic_level_bytes(true);
    Ok(options)
}

/// <https://github.com/facebook/rocksdb/wiki/Setup-Options-and-Basic-Tuning>, section by section.
fn recommended() -> Result<Options> {
    let mut options = Options::default();
    let mut table = BlockBasedOptions::default();
    // "Block Cache Size": about a third of the memory budget.
    table.set_block_cache(&Cache::new_lru_cache(usize::try_from(share_of_memory(3))?));
    // "Bloom Filters", "Other general options".
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_block_size(16 << 10);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_block_based_table_factory(&table);
    // "Compression": LZ4, and ZSTD for the last level, which this build lacks.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(6);
    options.set_bytes_per_sync(1 << 20);
    options.set_compaction_pri(CompactionPri::MinOverlappingRatio);
    Ok(options)
}

pub(crate) struct RocksDb {
    db: DB,
    options: Options,
    write: WriteOptions,
}

impl RocksDb {
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Self> {
        let mut options = match config.setting {
            Setting::Alike => alike(config)?,
            Setting::Recommended => recommended()?,
        };
        if let Some(bytes) = config.separate {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(bytes);
            options.set_blob_compression_type(DBCompressionType::Lz4);
            options.set_enable_blob_gc(true);
        }
        options.create_if_missing(true);
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        let mut write = WriteOptions::default();
        write.set_sync(config.durability == Durability::Synced);
        Ok(RocksDb {
            db: DB::open(&options, dir)?,
            options,
            write,
        })
    }
}

impl Engine for RocksDb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        let mut batch = WriteBatch::default();
        fill(&mut |key, value| {
            batch.put(key, value);
            Ok(())
        })?;
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn reader(&self, view: View) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(RocksReader {
            db: &self.db,
            read: ReadOptions::default(),
            keep: view == View::Still,
            kept: None,
        }))
    }

    fn settle(&self) -> Result<Duration> {
        self.db.flush()?;
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(Duration::ZERO)
    }

    fn counters(&self) -> Counters {
        Counters {
            log: Some(self.options.get_ticker_count(Ticker::WalFileBytes)),
            flush: Some(self.options.get_ticker_count(Ticker::FlushWriteBytes)),
            compaction: Some(self.options.get_ticker_count(Ticker::CompactWriteBytes)),
            // Flushes and compactions count what they write to blob files.
            ..Counters::default()
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

struct RocksReader<'a> {
    db: &'a DB,
    read: ReadOptions,
    /// Whether an iterator may serve more than one scan.
    keep: bool,
    kept: Option<DBRawIterator<'a>>,
}

impl Reader for RocksReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        match self.db.get_pinned_opt(key, &self.read)? {
            Some(value) => check(&value).map(|()| true),
            None => Ok(false),
        }
    }

    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()> {
        if !self.keep {
            self.kept = None;
        }
        let entries = self.kept.get_or_insert_with(|| self.db.raw_iterator());
        match (from, backwards) {
            (None, false) => entries.seek_to_first(),
            (None, true) => entries.seek_to_last(),
            (Some(from), false) => entries.seek(from),
            (Some(from), true) => entries.seek_for_prev(from),
        }
        while let Some((key, value)) = entries.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            if backwards {
                entries.prev();
            } else {
                entries.next();
            }
        }
        Ok(entries.status()?)
    }
}
