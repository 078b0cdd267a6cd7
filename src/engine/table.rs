//! [`Table`]: an SST that belongs to the database, open for reading, and [`Trash`], where removed ones go.
//!
//! A table is shared by every tree, iterator and job that needs it. A version change that makes it superfluous marks it;
//! the file is deleted when the last holder lets go, never earlier.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Env, Priority};
use crate::manifest::FileMeta;
use crate::names;
use crate::planted::{self, Bug};
use crate::sst::{SortOrder, Sst, SstReadOptions, SstSummary};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::{Error, Result};

/// An open SST and what the manifest says of it.
pub(crate) struct Table {
    pub(crate) meta: FileMeta,
    pub(crate) sst: Arc<Sst>,
    path: PathBuf,
    obsolete: AtomicBool,
    trash: Arc<Trash>,
}

impl Table {
    /// Opens the SST that `meta` describes, and checks that it is that one, in its keyspace's order.
    pub(crate) fn open(
        env: &Env,
        dir: &Path,
        meta: FileMeta,
        order: SortOrder,
        options: &SstReadOptions,
        trash: &Arc<Trash>,
    ) -> Result<Arc<Table>> {
        let path = names::sst(dir, meta.number);
        let file = env.fs.open(&path).map_err(|e| Error::io("open", &path, e))?;
        let size = file.len().map_err(|e| Error::io("read", &path, e))?;
        if size != meta.size {
            let what = format!("it has {size} bytes, and the manifest says {}", meta.size);
            return Err(Error::corruption(&path, size.min(meta.size), what));
        }
        let sst = Sst::open(file, &path, options)?;
        if sst.order() != order {
            return Err(Error::corruption(
                &path,
                0,
                "it is sorted in another order than its keyspace",
            ));
        }
        if describe(sst.summary()) != meta {
            return Err(Error::corruption(
                &path,
                0,
                "it is not the SST that the manifest describes",
            ));
        }
        Ok(Arc::new(Table {
            meta,
            sst: Arc::new(sst),
            path,
            obsolete: AtomicBool::new(false),
            trash: trash.clone(),
        }))
    }

    /// The file goes with the last holder. REQUIRES: the edit that removes it is durable, with its marker.
    pub(crate) fn mark_obsolete(&self) {
        if planted::is(Bug::DeletedUnderReader) {
            return self.trash.throw_away(self.path.clone());
        }
        self.obsolete.store(true, Ordering::Release);
        self.trash.dead.lock().insert(self.meta.number);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.trash.throw_away(std::mem::take(&mut self.path));
        }
    }
}

/// What the manifest says of an SST that its writer has finished.
pub(crate) fn describe(summary: &SstSummary) -> FileMeta {
    FileMeta {
        number: summary.file_number,
        size: summary.file_size,
        identity: summary.identity,
        entries: summary.entry_count,
        tombstones: summary.tombstone_count,
        min_key: summary.min_key.clone(),
        max_key: summary.max_key.clone(),
        min_seq: summary.min_seq,
        max_seq: summary.max_seq,
        referenced_bytes: summary.referenced_bytes,
    }
}

/// Deletes files in the background. What can't be deleted is a leftover, which the next open removes.
pub(crate) struct Trash {
    env: Env,
    queue: Mutex<Vec<PathBuf>>,
    /// Held while files are being deleted: whoever empties the trash waits for whoever is at it, so that closing the
    /// database leaves nobody behind who still deletes.
    emptying: Mutex<()>,
    failed: AtomicU64,
    /// SSTs that are in no version and have not been deleted: those written now say so, for repair.
    dead: Mutex<BTreeSet<u64>>,
    /// The directory is not ours any more.
    closed: AtomicBool,
}

impl Trash {
    pub(crate) fn new(env: &Env) -> Arc<Self> {
        Arc::new(Trash {
            env: env.clone(),
            queue: Mutex::new(Vec::new()),
            emptying: Mutex::new(()),
            failed: AtomicU64::new(0),
            dead: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Queues a file for deletion.
    pub(crate) fn throw_away(self: &Arc<Self>, path: PathBuf) {
        self.dead.lock().extend(sst_number(&path));
        let first = {
            let mut queue = self.queue.lock();
            queue.push(path);
            queue.len() == 1
        };
        if first {
            // What is queued must not keep the environment alive (see `Core::spawn`). When the trash has gone, the database
            // has been closed, and closing has emptied it.
            let trash = Arc::downgrade(self);
            let job = move || {
                if let Some(trash) = trash.upgrade() {
                    trash.empty();
                }
            };
            self.env.scheduler.spawn(Priority::Low, Box::new(job));
        }
    }

    /// Deletes what is queued.
    pub(crate) fn empty(&self) {
        let _emptying = self.emptying.lock();
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let paths = std::mem::take(&mut *self.queue.lock());
        for path in paths {
            if self.env.fs.remove(&path).is_err() {
                self.failed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(number) = sst_number(&path) {
                self.dead.lock().remove(&number);
            }
        }
    }

    /// Deletes what is queued, and nothing from then on: what a range that outlives the database lets go is a leftover.
    pub(crate) fn close(&self) {
        self.empty();
        let _emptying = self.emptying.lock();
        self.closed.store(true, Ordering::Release);
    }

    /// The SSTs that are in no version and have not been deleted yet.
    pub(crate) fn dead(&self) -> Vec<u64> {
        self.dead.lock().iter().copied().collect()
    }

    /// How many files could not be deleted.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The number in an SST's name.
fn sst_number(path: &Path) -> Option<u64> {
    match path.file_name()?.to_str().and_then(names::parse)? {
        names::FileKind::Sst(number) => Some(number),
        _ => None,
    }
}
