//! Full packs get their index, and never change again.

use std::sync::Arc;
use std::time::Duration;

use super::pack::Pack;
use crate::engine::core::Core;
use crate::env::Priority;
use crate::manifest::{Edit, PackMeta, Record};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

/// After a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Core {
    /// Sees to it that packs which take no more values get sealed. One at a time, and as urgent as a flush: it is the medium that it waits for, and what is
    /// not sealed can't be collected.
    pub(crate) fn schedule_seal(self: &Arc<Self>) {
        if !self.objects.seal_queued.swap(true, Ordering::AcqRel) {
            self.spawn_for_all(Priority::High, Core::run_seal);
        }
    }

    fn run_seal(self: &Arc<Self>) {
        let next = self.objects.packs.full().into_iter().next();
        let sealed = next.map_or(Ok(false), |pack| self.seal(&pack).map(|()| true));
        *self.objects.seal_failure.lock() = sealed.clone().err();
        self.objects.seal_queued.store(false, Ordering::Release);
        match sealed {
            Ok(true) => {
                self.schedule_collection();
                self.update_pressure();
            }
            Ok(false) | Err(Error::Poisoned { .. } | Error::Closed) => {}
            Err(error) => {
                self.note_full_disk(&error);
                self.spawn_for_all_after(RETRY, Priority::High, Core::schedule_seal);
                return self.progress.notify();
            }
        }
        // Also what has become full while the flag was up.
        if self.has_full_packs() && self.poisoned().is_none() {
            self.schedule_seal();
        }
        self.progress.notify();
    }

    /// Whether packs wait for their seal.
    pub(crate) fn has_full_packs(&self) -> bool {
        self.objects.count_full() > 0
    }

    /// Whether no pack waits for its seal, and none is about to begin; why the last attempt to seal has failed, once: whoever asks again waits
    /// for the next.
    pub(crate) fn packs_are_settled(&self) -> Result<bool> {
        if !self.has_full_packs() {
            return Ok(!self.objects.active.lock().is_beginning());
        }
        let failed = self.objects.seal_failure.lock().take();
        failed.map_or(Ok(false), Err)
    }

    /// Seals them here and now. If that fails, they are left to the background.
    pub(super) fn seal_full_packs(self: &Arc<Self>) -> Result<()> {
        let sealed = self
            .objects
            .packs
            .full()
            .iter()
            .try_for_each(|pack| self.seal(pack));
        sealed.inspect_err(|_| self.schedule_seal())
    }

    fn seal(&self, pack: &Pack) -> Result<()> {
        // One at a time: the first of two that seal the same pack does it.
        let _sealing = self.objects.sealing.lock();
        let Some(writer) = pack.writer() else {
            return Ok(());
        };
        let sealed = writer.seal().map_err(|e| self.poison_if_sync(e))?;
        let mut state = self.manifest.lock();
        let meta = PackMeta {
            number: pack.number,
            identity: pack.identity,
            sealed: true,
            len: sealed.file_bytes,
            dead: pack.dead(),
        };
        let edit = Edit {
            records: vec![Record::Pack(meta)],
        };
        self.commit_edit(&mut state, edit, &[], |_| {
            self.objects.packs.note_sealed(pack, sealed.file_bytes);
        })
        .map(|_| ())
    }
}
