//! Failures of background work.

use super::core::Core;
use super::keyspace::{KeyspaceCore, Work};
use crate::Error;
use crate::sync::atomic::Ordering;
use crate::types::KeyspaceId;
use crate::wal::Wal;

impl Core {
    /// Remembers a failure of background work, for those who wait for it.
    pub(crate) fn background_failed(&self, keyspace: KeyspaceId, work: Work, error: Error) {
        self.background_errors.lock().insert((keyspace, work), error);
        self.failures.fetch_add(1, Ordering::SeqCst);
        self.progress.notify();
    }

    /// Background work has succeeded: its earlier failures are history.
    pub(crate) fn background_succeeded(&self, keyspace: &KeyspaceCore, work: Work) {
        keyspace.jobs.lock().retry_ms.remove(&work);
        self.background_errors.lock().remove(&(keyspace.id, work));
    }

    /// A failure of background work that no success of the same work has followed.
    pub(crate) fn background_error(&self) -> Option<Error> {
        self.background_errors.lock().values().next().cloned()
    }

    /// How often background work has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// The error that stops all writing, if there is one.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        self.wal.as_ref().and_then(Wal::poisoned)
    }
}
