//! fjall behind [`Engine`].

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions};

use crate::Result;
use crate::engine::{Engine, Settings, Visit};

pub(crate) const DESCRIPTION: &str = "fjall 3, defaults otherwise (LZ4 on all levels, its own filters, each write handed to the operating system)";

/// How long nothing may have been going on before the database counts as settled. fjall has no call that waits for
/// compactions; between two of them there is a moment with none. The time of this wait is not charged (see `settle`).
const QUIET: Duration = Duration::from_millis(300);

const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Fjall {
    db: Database,
    keyspace: Keyspace,
}

impl Fjall {
    pub(crate) fn open(dir: &Path, settings: Settings) -> Result<Self> {
        let db = Database::builder(dir).cache_size(settings.cache).open()?;
        let keyspace = db.keyspace("default", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(settings.write_buffer)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        })?;
        Ok(Fjall { db, keyspace })
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
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        match self.keyspace.get(key)? {
            Some(value) => check(&value).map(|()| true),
            None => Ok(false),
        }
    }

    fn scan(&self, backwards: bool, visit: Visit<'_>) -> Result<()> {
        let entries = self.keyspace.iter();
        if backwards {
            visit_all(entries.rev(), visit)
        } else {
            visit_all(entries, visit)
        }
    }

    fn seek(&self, from: &[u8], visit: Visit<'_>) -> Result<()> {
        visit_all(self.keyspace.range(from..), visit)
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

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
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
