//! [`Pack`]: a pack of the database, open for reading, and for writing until it is sealed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::table::Trash;
use crate::manifest::PackMeta;
use crate::pack::shared::{PackFile, SharedPack};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::{Error, Result};

/// Shared by the database and whoever reads from it. When a version change has removed it, its file goes with the last holder.
pub(crate) struct Pack {
    pub(crate) number: u64,
    pub(crate) identity: [u8; 16],
    pub(crate) file: PackFile,
    /// `None`: it is sealed, or belongs to a database that is open read-only.
    writer: Mutex<Option<Arc<SharedPack>>>,
    /// It takes no more values, and is to be sealed.
    full: AtomicBool,
    /// The file's length when it is sealed.
    sealed_len: AtomicU64,
    /// Bytes of records that nobody needs, as far as that has been noticed.
    dead: AtomicU64,
    /// Of a pack that is being adopted: bytes of records that no key has got yet. Dead, if a crash ends the adoption.
    unclaimed: AtomicU64,
    damaged: AtomicBool,
    /// A read of it has failed.
    doubted: AtomicBool,
    path: PathBuf,
    obsolete: AtomicBool,
    trash: Arc<Trash>,
}

impl Pack {
    /// `writer`: of one that is not sealed.
    pub(super) fn new(
        meta: &PackMeta,
        file: PackFile,
        writer: Option<Arc<SharedPack>>,
        path: PathBuf,
        trash: &Arc<Trash>,
    ) -> Arc<Pack> {
        Arc::new(Pack {
            number: meta.number,
            identity: meta.identity,
            file,
            writer: Mutex::new(writer),
            full: AtomicBool::new(false),
            sealed_len: AtomicU64::new(meta.len),
            dead: AtomicU64::new(meta.dead.min(meta.len)),
            unclaimed: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            path,
            obsolete: AtomicBool::new(false),
            trash: trash.clone(),
        })
    }

    /// What writes to it, unless it is sealed.
    pub(super) fn writer(&self) -> Option<Arc<SharedPack>> {
        self.writer.lock().clone()
    }

    /// REQUIRES: the manifest says so, durably.
    pub(super) fn note_sealed(&self, len: u64) {
        self.sealed_len.store(len, Ordering::Release);
        self.writer.lock().take();
    }

    /// It takes no more values from now on.
    pub(super) fn retire(&self) {
        self.full.store(true, Ordering::Release);
    }

    /// Whether it waits for its seal.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire) && !self.is_sealed()
    }

    /// Whether nothing has ever been written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.writer().is_some_and(|writer| writer.objects() == 0)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.writer.lock().is_none()
    }

    /// In bytes: the file's, or what whole records take of it.
    pub(crate) fn len(&self) -> u64 {
        match self.writer() {
            Some(writer) => writer.len(),
            None => self.sealed_len.load(Ordering::Acquire),
        }
    }

    /// Where the last whole record of a pack ends that is not sealed.
    pub(crate) fn records_end(&self) -> u64 {
        self.len()
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// What a collection has found.
    pub(super) fn set_dead(&self, bytes: u64) {
        self.dead.store(bytes, Ordering::Relaxed);
    }

    /// Its adoption begins: what the manifest calls dead may get keys.
    pub(super) fn begin_adoption(&self) {
        let dead = self.dead.swap(0, Ordering::Relaxed);
        self.unclaimed.store(dead, Ordering::Relaxed);
    }

    /// Keys have got objects of which the records take so many bytes.
    pub(super) fn claim(&self, bytes: u64) {
        let less = |unclaimed: u64| Some(unclaimed.saturating_sub(bytes));
        let _ = self
            .unclaimed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What has no key by now gets none.
    pub(super) fn end_adoption(&self) {
        let unclaimed = self.unclaimed.swap(0, Ordering::Relaxed);
        self.add_dead(unclaimed);
    }

    /// Something in it can't be read: collections leave it alone.
    fn note_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// A collection that looks at it has failed with this. If it is the pack that can't be read it stays as it is, and reads of it say what is
    /// wrong; collections go on with others.
    pub(super) fn unreadable(&self, error: Error) -> Result<()> {
        let here = match &error {
            Error::Corruption { path, .. } | Error::Io { path, .. } => *path == self.path,
            _ => false,
        };
        if here {
            self.note_damaged();
            return Ok(());
        }
        Err(error)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// A read of it has failed: nothing in it is built on without being looked at.
    pub(crate) fn note_doubted(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) || self.is_damaged()
    }

    /// What is damaged has been stored elsewhere: collections may try it again.
    pub(super) fn note_replaced(&self) {
        self.note_doubted();
        self.damaged.store(false, Ordering::Relaxed);
    }

    pub(super) fn add_dead(&self, bytes: u64) {
        // An estimate: what several keys have given up counts several times.
        let most = self.len();
        let add = |dead: u64| Some(dead.saturating_add(bytes).min(most));
        let _ = self.dead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// What the manifest, which says `known`, may say now.
    pub(super) fn now(&self, known: &PackMeta) -> PackMeta {
        let synced = self.writer().map(|writer| writer.synced_len());
        PackMeta {
            len: match (known.sealed, synced) {
                (false, Some(synced)) => known.len.max(synced),
                _ => known.len,
            },
            dead: self.dead().saturating_add(self.unclaimed.load(Ordering::Relaxed)),
            ..known.clone()
        }
    }

    /// Makes the records that have been written so far durable.
    pub(super) fn sync(&self) -> Result<()> {
        match self.writer() {
            Some(writer) if writer.synced_len() < writer.len() => writer.sync().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The file goes with the last holder. REQUIRES: the edit that removes it is durable, with its marker.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.trash.throw_away(std::mem::take(&mut self.path));
        }
    }
}
