//! LMDB behind [`Engine`], through heed.
//!
//! Buffered durability: without a sync (`MDB_NOSYNC`) a commit leaves its pages with the operating system, by write
//! calls or by stores into the map, and the death of the process does not lose them. LMDB has no background work and no
//! cache of its own.

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use heed::types::Bytes;
use heed::{Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

use super::{Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit};
use crate::Result;

type Database = heed::Database<Bytes, Bytes>;

/// A map is a multiple of this, which every page size divides.
const MAP_UNIT: u64 = 1 << 20;
/// Address space beyond four times what will be written: pages are half full at worst, and freed ones are reused late.
const SPARE_MAP: u64 = 4 << 30;

pub(crate) fn describe(config: Config) -> String {
    let sync = match config.durability {
        Durability::Buffered => "MDB_NOSYNC, ",
        Durability::Synced => "",
    };
    match config.setting {
        Setting::Alike => format!(
            "{sync}MDB_WRITEMAP (faster: pages are changed in place and never written by calls), map size far above the \
             data; no compression, no log, no cache but the page cache"
        ),
        // lmdb.h: NORDAHEAD is for databases larger than memory; WRITEMAP trades safety from stray pointers for speed.
        // The documentation recommends neither in general, so its defaults are taken.
        Setting::Recommended => {
            format!("{sync}heed's defaults otherwise (no MDB_WRITEMAP), map size far above the data")
        }
    }
}

pub(crate) struct Lmdb {
    env: Env<WithTls>,
    database: Database,
}

impl Lmdb {
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Self> {
        let mut flags = EnvFlags::empty();
        if config.durability == Durability::Buffered {
            flags |= EnvFlags::NO_SYNC;
        }
        if config.setting == Setting::Alike {
            flags |= EnvFlags::WRITE_MAP;
        }
        let mut options = EnvOpenOptions::new();
        let map = (config.expected_bytes * 4 + SPARE_MAP).next_multiple_of(MAP_UNIT);
        options.map_size(usize::try_from(map)?);
        // SAFETY: the directory is this process's own and lies on a local file system; no other process opens it, no
        // transaction outlives the environment, and nothing here writes to memory that it does not own.
        #[expect(unsafe_code, reason = "LMDB maps its file")]
        let env = unsafe { options.flags(flags).open(dir)? };
        let mut txn = env.write_txn()?;
        let database = env.create_database(&mut txn, None)?;
        txn.commit()?;
        Ok(Lmdb { env, database })
    }
}

impl Engine for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        self.database.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        fill(&mut |key, value| Ok(self.database.put(&mut txn, key, value)?))?;
        Ok(txn.commit()?)
    }

    fn reader(&self, view: View) -> Result<Box<dyn Reader + '_>> {
        let kept = match view {
            View::Still => Some(self.env.read_txn()?),
            View::Fresh => None,
        };
        Ok(Box::new(LmdbReader { lmdb: self, kept }))
    }

    fn settle(&self) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        let closing = self.env.prepare_for_closing();
        closing.wait();
        Ok(())
    }
}

struct LmdbReader<'a> {
    lmdb: &'a Lmdb,
    kept: Option<RoTxn<'a, WithTls>>,
}

impl LmdbReader<'_> {
    /// Runs `read` in the transaction that is kept, or in a new one.
    fn within<T>(&self, read: impl FnOnce(&RoTxn<'_>) -> Result<T>) -> Result<T> {
        match &self.kept {
            Some(txn) => read(txn),
            None => {
                let txn = self.lmdb.env.read_txn()?;
                read(&txn)
            }
        }
    }
}

impl Reader for LmdbReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        self.within(|txn| match self.lmdb.database.get(txn, key)? {
            Some(value) => check(value).map(|()| true),
            None => Ok(false),
        })
    }

    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()> {
        let database = self.lmdb.database;
        self.within(|txn| match (from, backwards) {
            (None, false) => visit_all(database.iter(txn)?, visit),
            (None, true) => visit_all(database.rev_iter(txn)?, visit),
            (Some(from), false) => visit_all(
                database.range(txn, &(Bound::Included(from), Bound::Unbounded))?,
                visit,
            ),
            (Some(from), true) => visit_all(
                database.rev_range(txn, &(Bound::Unbounded, Bound::Included(from)))?,
                visit,
            ),
        })
    }
}

fn visit_all<'a>(
    entries: impl Iterator<Item = heed::Result<(&'a [u8], &'a [u8])>>,
    visit: Visit<'_>,
) -> Result<()> {
    for entry in entries {
        let (key, value) = entry?;
        if !visit(key, value)? {
            break;
        }
    }
    Ok(())
}
