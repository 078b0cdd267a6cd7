//! [`Factory`]: where SSTs are made. An open database is one, and so is a recovery, which is no database yet.

use std::path::Path;
use std::sync::Arc;

use super::core::Core;
use super::table::{Table, Trash};
use crate::env::Env;
use crate::manifest::FileMeta;
use crate::names;
use crate::options::Options;
use crate::sst::{SortOrder, SstReadOptions};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Error, Result};

/// See the module's comment.
pub(crate) struct Factory<'a> {
    pub(crate) env: &'a Env,
    pub(crate) dir: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) trash: &'a Arc<Trash>,
    pub(crate) read_options: SstReadOptions,
    pub(crate) next_file_number: &'a AtomicU64,
    /// Hears of failed syncs, and paces what is written. A recovery has none, and just fails.
    pub(crate) core: Option<&'a Core>,
}

impl Factory<'_> {
    pub(super) fn new_file_number(&self) -> Result<u64> {
        let number = self.next_file_number.fetch_add(1, Ordering::Relaxed);
        if number >= names::MAX_NUMBER {
            self.next_file_number.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::LimitExceeded {
                what: "number of files ever created",
                size: number,
                limit: names::MAX_NUMBER,
            });
        }
        Ok(number)
    }

    /// Opens a finished SST.
    pub(super) fn open_table(&self, meta: FileMeta, order: SortOrder) -> Result<Arc<Table>> {
        Table::open(self.env, self.dir, meta, order, &self.read_options, self.trash)
    }

    /// A sync has failed. That is final, whoever asked: names or bytes of others may be lost with ours.
    pub(super) fn sync_failed(&self, error: Error) -> Error {
        match self.core {
            Some(core) => core.poison(error),
            None => error,
        }
    }

    /// An error if nobody needs what is being made any more.
    pub(super) fn check_wanted(&self) -> Result<()> {
        self.core.map_or(Ok(()), Core::check_open)
    }
}

impl Core {
    pub(super) fn factory(&self) -> Factory<'_> {
        Factory {
            env: &self.env,
            dir: &self.dir,
            options: &self.options,
            trash: &self.trash,
            read_options: self.memory.read_options(self.options.access),
            next_file_number: &self.next_file_number,
            core: Some(self),
        }
    }
}
