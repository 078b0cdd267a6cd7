//! Packstone behind [`Engine`].

use std::path::Path;
use std::time::Duration;

use packstone::{Db, Keyspace, Options};

use super::{Check, Config, Counters, Durability, Engine, Put, Reader, Setting, View, Visit, mib};
use crate::Result;

pub(crate) fn describe(config: Config) -> String {
    match config.setting {
        Setting::Alike => format!(
            "write buffer {} MiB, block cache {} MiB; defaults otherwise (LZ4, filter at 1 %, mapped reads)",
            mib(config.write_buffer),
            mib(config.cache)
        ),
        // DESIGN.md and the documentation of `Options`: defaults need no tuning.
        Setting::Recommended => {
            "defaults (LZ4, write buffer 64 MiB, block cache 64 MiB, filter at 1 %, mapped reads)".into()
        }
    }
}

pub(crate) struct Packstone {
    db: Db,
    keyspace: Keyspace,
    durability: packstone::Durability,
}

impl Packstone {
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Self> {
        let options = match config.setting {
            Setting::Alike => Options::new()
                .cache_size(config.cache)
                .write_buffer_size(config.write_buffer),
            Setting::Recommended => Options::new(),
        };
        let db = options.create_if_missing(true).open(dir)?;
        let keyspace = db.keyspace("default")?;
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

    fn reader(&self, _: View) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(PackstoneReader(&self.keyspace)))
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
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}

struct PackstoneReader<'a>(&'a Keyspace);

impl Reader for PackstoneReader<'_> {
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

fn visit_all<S: AsRef<[u8]>>(
    entries: impl Iterator<Item = packstone::Result<(S, S)>>,
    visit: Visit<'_>,
) -> Result<()> {
    for entry in entries {
        let (key, value) = entry?;
        if !visit(key.as_ref(), value.as_ref())? {
            break;
        }
    }
    Ok(())
}
