//! redb behind [`Engine`].
//!
//! redb knows two kinds of commit: one that syncs the file, and `Durability::None`, which keeps everything in memory
//! until the next durable commit, so that the death of the process loses it.

use std::path::Path;
use std::time::Duration;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use super::{Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit, mib};
use crate::Result;

const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("default");

/// redb's default, in bytes.
const DEFAULT_CACHE: u64 = 1 << 30;

pub(crate) fn describe(config: Config) -> String {
    let durability = match config.durability {
        Durability::Buffered => {
            "Durability::None (WEAKER than asked: the death of the process loses what was written since the last durable \
             commit, which is at settling; redb has nothing between this and a sync)"
        }
        Durability::Synced => "Durability::Immediate",
    };
    match config.setting {
        Setting::Alike => format!(
            "cache {} MiB, {durability}; no compression, no log",
            mib(config.cache)
        ),
        // Documentation of `redb::Builder::new`: "a new Builder with sensible defaults".
        Setting::Recommended => format!("defaults (cache {} MiB), {durability}", mib(DEFAULT_CACHE)),
    }
}

pub(crate) struct Redb {
    db: Database,
    durability: redb::Durability,
}

impl Redb {
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Self> {
        let cache = match config.setting {
            Setting::Alike => config.cache,
            Setting::Recommended => DEFAULT_CACHE,
        };
        let db = Database::builder()
            .set_cache_size(usize::try_from(cache)?)
            .create(dir.join("redb"))?;
        let engine = Redb {
            db,
            durability: match config.durability {
                Durability::Buffered => redb::Durability::None,
                Durability::Synced => redb::Durability::Immediate,
            },
        };
        engine.commit(redb::Durability::Immediate, &mut |_| Ok(()))?;
        Ok(engine)
    }

    fn commit(
        &self,
        durability: redb::Durability,
        fill: &mut dyn FnMut(Put<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(durability)?;
        {
            let mut table = txn.open_table(TABLE)?;
            fill(&mut |key, value| {
                table.insert(key, value)?;
                Ok(())
            })?;
        }
        Ok(txn.commit()?)
    }
}

impl Engine for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.commit(self.durability, &mut |put| put(key, value))
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        self.commit(self.durability, fill)
    }

    fn reader(&self, view: View) -> Result<Box<dyn Reader + '_>> {
        let kept = match view {
            View::Still => Some(self.db.begin_read()?.open_table(TABLE)?),
            View::Fresh => None,
        };
        Ok(Box::new(RedbReader { db: &self.db, kept }))
    }

    fn settle(&self) -> Result<Duration> {
        self.commit(redb::Durability::Immediate, &mut |_| Ok(()))?;
        Ok(Duration::ZERO)
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

struct RedbReader<'a> {
    db: &'a Database,
    kept: Option<Table>,
}

impl RedbReader<'_> {
    /// Runs `read` on the table that is kept, or on one of a new transaction.
    fn within<T>(&self, read: impl FnOnce(&Table) -> Result<T>) -> Result<T> {
        match &self.kept {
            Some(table) => read(table),
            None => read(&self.db.begin_read()?.open_table(TABLE)?),
        }
    }
}

impl Reader for RedbReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        self.within(|table| match table.get(key)? {
            Some(value) => check(value.value()).map(|()| true),
            None => Ok(false),
        })
    }

    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()> {
        self.within(|table| {
            let entries = match (from, backwards) {
                (None, _) => table.range::<&[u8]>(..)?,
                (Some(from), false) => table.range(from..)?,
                (Some(from), true) => table.range(..=from)?,
            };
            if backwards {
                visit_all(entries.rev(), visit)
            } else {
                visit_all(entries, visit)
            }
        })
    }
}

type Entry<'a> = (
    redb::AccessGuard<'a, &'static [u8]>,
    redb::AccessGuard<'a, &'static [u8]>,
);

fn visit_all<'a>(
    entries: impl Iterator<Item = Result<Entry<'a>, redb::StorageError>>,
    visit: Visit<'_>,
) -> Result<()> {
    for entry in entries {
        let (key, value) = entry?;
        if !visit(key.value(), value.value())? {
            break;
        }
    }
    Ok(())
}
