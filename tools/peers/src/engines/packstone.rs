//! Packstone behind [`Engine`].

use std::path::Path;
use std::time::Duration;

pub(crate) use packstone::Order;
use packstone::{Cursor, Db, Keyspace, KeyspaceOptions, Options};

use super::{Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit, mib};
use crate::Result;

pub(crate) fn describe(config: Config) -> String {
    let apart = match config.separate {
        Some(bytes) => format!("; values from {} KiB on in packs, LZ4", bytes >> 10),
        None => String::new(),
    };
    let settings = match config.setting {
        Setting::Alike => format!(
            "write buffer {} MiB, block cache {} MiB; defaults otherwise (LZ4, filter at 1 %, mapped reads)",
            mib(config.write_buffer),
            mib(config.cache)
        ),
        // DESIGN.md and the documentation of `Options`: defaults need no tuning.
        Setting::Recommended => {
            "defaults (LZ4, write buffer 64 MiB, block cache 64 MiB, filter at 1 %, mapped reads)".into()
        }
    };
    settings + &apart
}

pub(crate) struct Packstone {
    db: Db,
    keyspace: Keyspace,
    durability: packstone::Durability,
}

impl Packstone {
    pub(crate) fn open(dir: &Path, config: Config, order: Order) -> Result<Self> {
        let options = match config.setting {
            Setting::Alike => Options::new()
                .cache_size(config.cache)
                .write_buffer_size(config.write_buffer),
            Setting::Recommended => Options::new(),
        };
        let db = options.create_if_missing(true).open(dir)?;
        let mut keyspace = KeyspaceOptions::new().order(order);
        if config.separate.is_some() {
            keyspace = keyspace.object_threshold(config.separate);
        }
        let keyspace = db.keyspace_with("default", keyspace)?;
        let durability = match config.durability {
            Durability::Buffered => packstone::Durability::Buffered,
            Durability::Synced => packstone::Durability::Sync,
        };
        Ok(Packstone {
            db,
            keyspace,
            durability,
        })
    }
}

impl Engine for Packstone {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.keyspace.put_with(key, value, self.durability)?)
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        let mut batch = self.db.batch();
        fill(&mut |key, value| {
            batch.put(&self.keyspace, key, value);
            Ok(())
        })?;
        Ok(batch.commit(self.durability)?)
    }

    fn reader(&self, view: View) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(PackstoneReader {
            keyspace: &self.keyspace,
            keep: view == View::Still,
            kept: None,
            value: Vec::new(),
        }))
    }

    fn settle(&self) -> Result<Duration> {
        self.db.flush()?;
        self.db.wait_for_background()?;
        Ok(Duration::ZERO)
    }

    fn counters(&self) -> Counters {
        let metrics = self.db.metrics();
        Counters {
            log: Some(metrics.log_bytes_written),
            flush: Some(metrics.flush_bytes),
            compaction: Some(metrics.compaction_bytes_written),
            apart: Some(metrics.objects.pack_bytes_written),
            moved: Some(metrics.objects.moved_bytes),
        }
    }

    fn is_ordered(&self) -> bool {
        self.keyspace.options().get_order() == Order::Key
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}

struct PackstoneReader<'a> {
    keyspace: &'a Keyspace,
    keep: bool,
    kept: Option<Cursor>,
    value: Vec<u8>,
}

impl Reader for PackstoneReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        match self.keyspace.get_into(key, &mut self.value)? {
            true => check(&self.value).map(|()| true),
            false => Ok(false),
        }
    }

    fn scan(&mut self, from: Option<&[u8]>, backwards: bool, visit: Visit<'_>) -> Result<()> {
        let mut cursor = match self.kept.take() {
            Some(cursor) => cursor,
            None => self.keyspace.cursor()?,
        };
        let mut more = match (from, backwards) {
            (None, false) => cursor.seek_to_first()?,
            (None, true) => cursor.seek_to_last()?,
            (Some(from), false) => cursor.seek(from)?,
            (Some(from), true) => cursor.seek_for_prev(from)?,
        };
        while more && let Some(key) = cursor.key() {
            cursor.value_into(&mut self.value)?;
            if !visit(key, &self.value)? {
                break;
            }
            more = if backwards { cursor.prev()? } else { cursor.next()? };
        }
        self.kept = self.keep.then_some(cursor);
        Ok(())
    }
}
