//! Background jobs: how they are queued, run and waited for.
//!
//! A job that is queued keeps neither the database nor a keyspace alive: both hold the environment, whose scheduler
//! holds the job, and would never be freed if nobody ran it any more.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use crate::env::{Job, Priority};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

impl Core {
    /// Runs `job` on a keyspace in the background, unless the database is closed or the keyspace is gone by then.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        priority: Priority,
        keyspace: &Arc<KeyspaceCore>,
        job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
    ) {
        self.env
            .scheduler
            .spawn(priority, self.queued(of_keyspace(keyspace, job)));
    }

    /// The same after a delay.
    pub(crate) fn spawn_after(
        self: &Arc<Self>,
        delay: Duration,
        priority: Priority,
        keyspace: &Arc<KeyspaceCore>,
        job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
    ) {
        let job = self.queued(of_keyspace(keyspace, job));
        self.env.scheduler.spawn_after(delay, priority, job);
    }

    /// Goes on with the rest of a job on a keyspace.
    pub(crate) fn go_on(
        self: &Arc<Self>,
        priority: Priority,
        keyspace: &Arc<KeyspaceCore>,
        rest: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
    ) {
        let rest = self.queued(of_keyspace(keyspace, rest));
        self.env.scheduler.go_on(priority, rest);
    }

    /// Runs `job` in the background, unless the database is closed by then.
    pub(crate) fn spawn_for_all(
        self: &Arc<Self>,
        priority: Priority,
        job: impl FnOnce(&Arc<Core>) + Send + 'static,
    ) {
        self.env.scheduler.spawn(priority, self.queued(job));
    }

    /// The same after a delay.
    pub(crate) fn spawn_for_all_after(
        self: &Arc<Self>,
        delay: Duration,
        priority: Priority,
        job: impl FnOnce(&Arc<Core>) + Send + 'static,
    ) {
        self.env.scheduler.spawn_after(delay, priority, self.queued(job));
    }

    fn queued(self: &Arc<Self>, job: impl FnOnce(&Arc<Core>) + Send + 'static) -> Job {
        let core = Arc::downgrade(self);
        Box::new(move || {
            if let Some(core) = core.upgrade() {
                core.run(job);
            }
        })
    }

    /// A job that panics has found a bug: what it has left half done is unknown, so nothing more is written, and nobody
    /// waits for it for ever.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce(&Arc<Core>)) {
        self.running_jobs.fetch_add(1, Ordering::SeqCst);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if !self.closed.load(Ordering::SeqCst) {
                job(self);
            }
        }));
        if outcome.is_err() {
            let what = std::io::Error::other("a background job panicked; this is a bug in packstone");
            self.poison(Error::io("work on", &self.dir, what));
        }
        self.running_jobs.fetch_sub(1, Ordering::SeqCst);
        self.progress.notify();
        if let Err(panic) = outcome {
            // The scheduler's business: threads log it, the simulator fails the test.
            std::panic::resume_unwind(panic);
        }
    }

    /// Blocks until `ready`, which is asked again after every piece of background progress.
    pub(crate) fn wait(&self, ready: &mut dyn FnMut() -> bool) {
        self.env.scheduler.wait(&self.progress, ready);
    }

    /// Waits until no keyspace has a flush or compaction queued, running or due.
    pub(crate) fn wait_until_settled(self: &Arc<Self>) -> Result<()> {
        self.check_open()?;
        if self.wal.is_none() {
            // Open read-only, there is no background; what was replayed may fill several memtables, which stay.
            return Ok(());
        }
        let failures = self.failures();
        let mut outcome = Ok(());
        self.wait(&mut || {
            // What has met damage is due for ever.
            outcome = self
                .background_outcome(failures)
                .and(self.hopeless().map_or(Ok(()), Err));
            // Work that is due and not queued has failed, and is tried again after a while.
            let settled =
                |keyspace: &Arc<KeyspaceCore>| keyspace.is_settled() && !self.compaction_is_due(keyspace);
            let packs = self
                .packs_are_settled()
                .and_then(|sealed| Ok(sealed && self.collection_is_settled()?));
            let packs = match packs {
                Ok(settled) => settled,
                Err(error) => {
                    outcome = outcome.clone().and(Err(error));
                    false
                }
            };
            outcome.is_err() || packs && self.keyspace_cores().iter().all(settled)
        });
        outcome
    }
}

/// A job on a keyspace, if that is still there.
fn of_keyspace(
    keyspace: &Arc<KeyspaceCore>,
    job: impl FnOnce(&Arc<Core>, &Arc<KeyspaceCore>) + Send + 'static,
) -> impl FnOnce(&Arc<Core>) + Send + 'static {
    let keyspace = Arc::downgrade(keyspace);
    move |core| {
        if let Some(keyspace) = keyspace.upgrade() {
            job(core, &keyspace);
        }
    }
}
