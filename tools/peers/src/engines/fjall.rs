//! fjall behind [`Engine`].

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};

use super::{
    Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit, mib, share_of_memory,
};
use crate::Result;

/// How long nothing may have been going on before the database counts as settled. fjall has no call that waits for
/// compactions; between two of them there is a moment with none. The time of this wait is not charged (see `settle`).
const QUIET: Duration = Duration::from_millis(300);

const POLL: Duration = Duration::from_millis(5);

/// Bytes of a blob file: as long as the others' by default.
const BLOB_FILE: u64 = 256 << 20;

pub(crate) fn describe(config: Config) -> String {
    let apart = match config.separate {
        Some(bytes) => format!(
            "; key-value separation from {} KiB on, LZ4, blob files of {} MiB",
            bytes >> 10,
            mib(BLOB_FILE)
        ),
        None => String::new(),
    };
    let settings = match config.setting {
        Setting::Alike => format!(
            "write buffer {} MiB, cache {} MiB, LZ4 on all levels; defaults otherwise (its own filters, each write \
             handed to the operating system)",
            mib(config.write_buffer),
            mib(config.cache)
        ),
        // fjall 3, README and documentation of `DatabaseBuilder::cache_size`: "It is recommended to configure the block
        // cache capacity to be ~20-25% of the available memory".
        Setting::Recommended => format!(
            "cache {} MiB (a quarter of memory: its documentation says 20 to 25 %); defaults otherwise (write buffer \
             64 MiB, LZ4 except on the first levels)",
            mib(share_of_memory(4))
        ),
    };
    settings + &apart
}

fn separation(bytes: u64) -> KvSeparationOptions {
    KvSeparationOptions::default()
        .compression(CompressionType::Lz4)
        .file_target_size(BLOB_FILE)
        .separation_threshold(u32::try_from(bytes).unwrap_or(u32::MAX))
}

pub(crate) struct Fjall {
    db: Database,
    keyspace: Keyspace,
    durability: Durability,
}

impl Fjall {
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Self> {
        let cache = match config.setting {
            Setting::Alike => config.cache,
            Setting::Recommended => share_of_memory(4),
        };
        let db = Database::builder(dir).cache_size(cache).open()?;
        let keyspace = db.keyspace("default", || {
            match config.setting {
                Setting::Alike => KeyspaceCreateOptions::default()
                    .max_memtable_size(config.write_buffer)
                    .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4)),
                Setting::Recommended => KeyspaceCreateOptions::default(),
            }
            .with_kv_separation(config.separate.map(separation))
        })?;
        Ok(Fjall {
            db,
            keyspace,
            durability: config.durability,
        })
    }

    /// Something that changes whenever background work begins, ends or is waiting.
    fn activity(&self) -> (usize, usize, usize, usize) {
        let busy = self.db.active_compactions() + self.db.outstanding_flushes();
        (
            busy,
            self.db.compactions_completed(),
            self.keyspace.table_count(),
            self.keyspace.sealed_memtable_count(),
        )
    }

    fn mode(&self) -> PersistMode {
        match self.durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        }
    }
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keyspace.insert(key, value)?;
        // A buffered insert has handed its bytes to the operating system by itself.
        match self.durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => Ok(self.db.persist(self.mode())?),
        }
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(self.mode()));
        fill(&mut |key, value| {
            batch.insert(&self.keyspace, key, value);
            Ok(())
        })?;
        Ok(batch.commit()?)
    }

    fn reader(&self, _: View) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(FjallReader(&self.keyspace)))
    }

    fn settle(&self) -> Result<Duration> {
        self.keyspace.rotate_memtable_and_wait()?;
        let mut last = self.activity();
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            std::thread::sleep(POLL);
            let now = self.activity();
            if now != last || now.0 > 0 || now.3 > 0 {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(since.elapsed())
    }

    fn counters(&self) -> Counters {
        // fjall 3 does not count bytes written.
        Counters::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

struct FjallReader<'a>(&'a Keyspace);

impl Reader for FjallReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        match self.0.get(key)? {
            Some(value) => check(&value).map(|()| true),
            None => Ok(false),
        }
    }

    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()> {
        match (from, backwards) {
            (None, false) => visit_all(self.0.iter(), visit),
            (None, true) => visit_all(self.0.iter().rev(), visit),
            (Some(from), false) => visit_all(self.0.range(from..), visit),
            (Some(from), true) => visit_all(self.0.range(..=from).rev(), visit),
        }
    }
}

fn visit_all(entries: impl Iterator<Item = Guard>, visit: Visit<'_>) -> Result<()> {
    for entry in entries {
        let (key, value) = entry.into_inner()?;
        if !visit(&key, &value)? {
            break;
        }
    }
    Ok(())
}
