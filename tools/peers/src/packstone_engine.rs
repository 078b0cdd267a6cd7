//! Packstone behind [`Engine`].

use std::path::Path;
use std::time::Duration;

use packstone::{Db, Keyspace, Options};

use crate::Result;
use crate::engine::{Engine, Settings, Visit};

pub(crate) const DESCRIPTION: &str =
    "this checkout; defaults otherwise (LZ4, filter at 1 %, mapped reads, `Durability::Buffered`)";

pub(crate) struct Packstone {
    db: Db,
    keyspace: Keyspace,
}

impl Packstone {
    pub(crate) fn open(dir: &Path, settings: Settings) -> Result<Self> {
        let db = Options::new()
            .create_if_missing(true)
            .cache_size(settings.cache)
            .write_buffer_size(settings.write_buffer)
            .open(dir)?;
        let keyspace = db.keyspace("default")?;
        Ok(Packstone { db, keyspace })
    }
}

impl Engine for Packstone {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.keyspace.put(key, value)?)
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
        self.db.flush()?;
        self.db.wait_for_background()?;
        Ok(Duration::ZERO)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
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
