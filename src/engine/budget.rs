//! [`Budget`]: what flushes and compactions may allocate for their buffers, and who of them may begin.
//!
//! ```text
//!  an eighth of the limit │ flushes 3/8              │ compactions 5/8                          │
//!  reserved               │ one file being built     │ windows over the inputs + files being built, for each part │
//! ```
//!
//! Rules:
//! 1. A job reserves what its buffers can take before it begins, and gives it back at its end. It begins only if that fits; one
//!    of its kind always may. Buffers are cut to what one job may have, so that this one fits as well, whatever the limit.
//! 2. Flushes and compactions have parts of their own: a flush never waits behind a compaction, only behind other flushes.
//! 3. A background job that does not fit waits for nothing: it is put aside, its thread goes on, and it is queued again when
//!    something is given back. Whoever is put aside finds somebody running, so somebody will. Who is begun again and finds
//!    nothing to do (its keyspace has been dropped, say) lets the next one begin.
//! 4. A merge is led by one job, which reserves for itself; each helper reserves for itself, too, or leaves its part to the others.
//! 5. Callers of `compact_range` do wait; while one does, no compaction of the background begins.
//!
//! Not in it are single values that are larger than a window: they pass through one at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::keyspace::{KeyspaceCore, Work};
use super::memory::limit_of;
use super::output::MAX_ENTRIES;
use crate::Result;
use crate::env::Priority;
use crate::options::Options;
use crate::sst::{MOST_GATHERED, MOST_WINDOW, SstOptions};
use crate::sync::Mutex;

/// What an SST that is being built holds for each entry, in bytes: its hash, its part of index and offset table, and at the end its
/// part of the filter, three times over. An estimate from above for entries of 16 bytes and more, and
/// further above where filter and index are in partitions. An entry that is a reference takes up to 20 more, for the list of
/// references (`SstBuilder`); that is not in it, as only values above a keyspace's threshold are objects.
const BUILDING_ENTRY: u64 = 24;
/// With less than this for each, compactions run one after the other rather than with smaller buffers.
const LEAST_COMPACTION: u64 = 4 << 20;
/// The same for flushes, which have no inputs to read.
const LEAST_FLUSH: u64 = 2 << 20;
/// The least size of a window and of a write: a disk's calls cost more below.
const LEAST_WINDOW: u64 = 16 << 10;
const LEAST_GATHERED: u64 = 64 << 10;

/// How large the buffers of one job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffers {
    /// Bytes that are gathered for one write.
    pub(super) gathered: u64,
    /// Entries of an SST at most.
    pub(super) max_entries: u64,
    /// Bytes for the windows over all inputs, and what else they hold.
    inputs: u64,
}

/// The share of compactions, or of flushes.
fn share(options: &Options, work: Work) -> u64 {
    let jobs = limit_of(options) / 8;
    match work {
        Work::Flush => jobs / 8 * 3,
        Work::Compaction => jobs / 8 * 5,
    }
}

/// So many jobs of a kind may run at a time, if each takes all that it may have.
pub(super) fn at_once(options: &Options, work: Work) -> u64 {
    let threads = options.background_threads as u64;
    let (least, most) = match work {
        Work::Flush => (LEAST_FLUSH, threads),
        // One thread is left for flushes.
        Work::Compaction => (LEAST_COMPACTION, threads.saturating_sub(1)),
    };
    (share(options, work) / least).clamp(1, most.max(1))
}

/// The buffers of a job.
pub(super) fn buffers(options: &Options, work: Work) -> Buffers {
    let bytes = share(options, work) / at_once(options, work);
    let inputs = match work {
        Work::Flush => 0,
        Work::Compaction => bytes / 2,
    };
    let gathered = ((bytes - inputs) / 8).clamp(LEAST_GATHERED, MOST_GATHERED);
    let entries = (bytes - inputs).saturating_sub(2 * gathered) / BUILDING_ENTRY;
    Buffers {
        gathered,
        max_entries: entries.clamp(1, MAX_ENTRIES),
        inputs,
    }
}

impl Buffers {
    /// The size of a window over each of so many inputs. Each has two, and a block of keys and of values.
    pub(super) fn window(&self, inputs: usize, sst: &SstOptions) -> u64 {
        let each = self.inputs / (inputs as u64).max(1);
        (each.saturating_sub(blocks(sst)) / 2).clamp(LEAST_WINDOW, MOST_WINDOW)
    }

    /// Bytes that reading so many inputs takes.
    pub(super) fn reading(&self, inputs: usize, sst: &SstOptions) -> u64 {
        inputs as u64 * (2 * self.window(inputs, sst) + blocks(sst))
    }

    /// Bytes that building a file of so many entries takes. What is gathered may overshoot its size by as much.
    pub(super) fn building(&self, entries: u64, sst: &SstOptions) -> u64 {
        2 * self.gathered + blocks(sst) + entries * BUILDING_ENTRY
    }
}

/// A block of each kind, as stored and as used.
fn blocks(sst: &SstOptions) -> u64 {
    2 * (u64::from(sst.key_block_size) + u64::from(sst.value_block_size))
}

/// What one kind of job may take, and takes.
#[derive(Debug, Default)]
struct Pool {
    size: u64,
    reserved: u64,
    /// Callers that wait for room.
    callers: usize,
    aside: VecDeque<Weak<KeyspaceCore>>,
}

impl Pool {
    fn try_take(&mut self, bytes: u64) -> bool {
        let fits = bytes == 0 || self.reserved == 0 || self.reserved.saturating_add(bytes) <= self.size;
        if fits {
            self.reserved += bytes;
        }
        fits
    }
}

/// See the module's comment.
#[derive(Debug)]
pub(crate) struct Budget {
    flushes: Mutex<Pool>,
    compactions: Mutex<Pool>,
}

impl Budget {
    pub(super) fn new(options: &Options) -> Self {
        let pool = |work| {
            Mutex::new(Pool {
                size: share(options, work),
                ..Pool::default()
            })
        };
        Budget {
            flushes: pool(Work::Flush),
            compactions: pool(Work::Compaction),
        }
    }

    fn pool(&self, work: Work) -> &Mutex<Pool> {
        match work {
            Work::Flush => &self.flushes,
            Work::Compaction => &self.compactions,
        }
    }

    /// Bytes that running jobs have reserved.
    pub(crate) fn reserved(&self) -> u64 {
        self.flushes.lock().reserved + self.compactions.lock().reserved
    }
}

/// Bytes that a job has reserved; given back when dropped.
pub(super) struct Reserved<'c> {
    core: &'c Arc<Core>,
    work: Work,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.core.budget.pool(self.work).lock().reserved -= self.bytes;
        self.core.queue_one_aside(self.work);
        self.core.progress.notify();
    }
}

impl Core {
    /// Reserves for a job of the background, if that fits; nothing always does.
    pub(super) fn reserve(self: &Arc<Self>, work: Work, bytes: u64) -> Option<Reserved<'_>> {
        let mut pool = self.budget.pool(work).lock();
        let taken = (pool.callers == 0 || bytes == 0) && pool.try_take(bytes);
        drop(pool);
        if !taken {
            return None;
        }
        // What has been given back may be enough for more than one.
        self.queue_one_aside(work);
        Some(Reserved {
            core: self,
            work,
            bytes,
        })
    }

    /// Has the keyspace's job queued again when there is room. REQUIRES: all that the job needs to begin is in its place.
    pub(super) fn put_aside(self: &Arc<Self>, work: Work, keyspace: &Arc<KeyspaceCore>) {
        let mut pool = self.budget.pool(work).lock();
        pool.aside.push_back(Arc::downgrade(keyspace));
        // What was given back meanwhile woke nobody.
        let idle = pool.reserved == 0 && pool.callers == 0;
        drop(pool);
        if idle {
            self.queue_one_aside(work);
        }
    }

    /// Lets the first that was put aside begin again, as a job.
    pub(super) fn queue_one_aside(self: &Arc<Self>, work: Work) {
        let pool = self.budget.pool(work).lock();
        if pool.callers > 0 || pool.aside.is_empty() {
            return;
        }
        drop(pool);
        let priority = match work {
            Work::Flush => Priority::High,
            Work::Compaction => Priority::Low,
        };
        self.spawn_for_all(priority, move |core| {
            let next = {
                let mut pool = core.budget.pool(work).lock();
                std::iter::from_fn(|| pool.aside.pop_front()).find_map(|keyspace| keyspace.upgrade())
            };
            // Held from here on, so that it does not vanish between being taken from the list and being begun.
            if let Some(keyspace) = next {
                match work {
                    Work::Flush => core.run_flush(&keyspace),
                    Work::Compaction => core.run_chosen(&keyspace),
                }
            }
        });
    }

    /// Reserves for a caller, who waits until that fits.
    pub(super) fn wait_and_reserve(self: &Arc<Self>, work: Work, bytes: u64) -> Result<Reserved<'_>> {
        self.budget.pool(work).lock().callers += 1;
        let mut outcome = Ok(());
        let mut taken = false;
        self.wait(&mut || {
            // Asked again after a yes, it is still a yes.
            if !taken {
                outcome = self.check_open();
                taken = outcome.is_ok() && self.budget.pool(work).lock().try_take(bytes);
            }
            taken || outcome.is_err()
        });
        self.budget.pool(work).lock().callers -= 1;
        // Made only then: what is made is given back when it is dropped.
        let reserved = taken.then(|| Reserved {
            core: self,
            work,
            bytes,
        });
        if reserved.is_none() {
            self.queue_one_aside(work);
        }
        outcome?;
        // On a machine that has crashed a wait ends unfinished.
        reserved.ok_or(crate::Error::Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Error;
    use crate::engine::memory::fitted;
    use crate::engine::recovery;
    use crate::env::sim::SimEnv;
    use crate::sync::atomic::Ordering;

    fn options(limit: u64, threads: usize) -> Options {
        fitted(Options::new().memory_limit(limit).background_threads(threads), 0)
    }

    #[test]
    fn all_that_may_run_at_once_fits_whatever_the_limit_and_the_threads() {
        let sst = SstOptions::default();
        for limit in [16 << 20, 64 << 20, 256 << 20, 1 << 30] {
            for threads in [1, 2, 3, 4, 8, 64] {
                let options = options(limit, threads);
                for (work, inputs) in [(Work::Flush, 0), (Work::Compaction, 6)] {
                    let buffers = buffers(&options, work);
                    let one = buffers.reading(inputs, &sst) + buffers.building(buffers.max_entries, &sst);
                    let all = one * at_once(&options, work);
                    let room = share(&options, work) * 9 / 8;
                    assert!(all <= room, "{limit} {threads} {work:?}: {all} of {room}");
                }
            }
        }
    }

    #[test]
    fn small_limits_mean_fewer_jobs_at_once_and_not_tiny_buffers() {
        let at = |limit, threads| at_once(&options(limit, threads), Work::Compaction);
        assert_eq!((at(64 << 20, 2), at(64 << 20, 8)), (1, 1));
        assert_eq!((at(512 << 20, 2), at(512 << 20, 4), at(512 << 20, 8)), (1, 3, 7));
        let buffers = buffers(&options(64 << 20, 8), Work::Compaction);
        assert_eq!(
            buffers.window(5, &SstOptions::default()),
            MOST_WINDOW.min((512 << 10) / 2 - blocks(&SstOptions::default()) / 2)
        );
    }

    /// A keyspace that was dropped while its job was put aside has nothing to do any more, and must not be the last to be begun.
    #[test]
    fn one_that_has_nothing_to_do_lets_the_next_begin() {
        for work in [Work::Flush, Work::Compaction] {
            for dropped in [0, 1, 2] {
                let sim = SimEnv::new(1);
                let options = Options::new().env(sim.env());
                let db = options.clone().open("/db").unwrap();
                let names = ["a", "b", "c"];
                names.iter().for_each(|name| _ = db.keyspace(name).unwrap());
                db.close().unwrap();
                let (core, _) = recovery::open(Path::new("/db"), options, false).unwrap();
                let reserved = core.reserve(work, u64::MAX / 2).unwrap();
                let mut keyspaces = core.keyspace_cores();
                keyspaces
                    .iter()
                    .for_each(|keyspace| core.put_aside(work, keyspace));
                drop(reserved);
                // Of these the job was queued, or the place in the list was left, when they went.
                keyspaces.clear();
                names[..dropped]
                    .iter()
                    .for_each(|name| core.drop_keyspace(name).unwrap());
                sim.run_until_idle();
                let pool = core.budget.pool(work).lock();
                let left = pool.aside.len();
                assert_eq!(left, 0, "{work:?} {dropped}");
            }
        }
    }

    #[test]
    fn a_caller_who_gets_nothing_gives_nothing_back() {
        let sim = SimEnv::new(1);
        let options = Options::new().env(sim.env());
        options.clone().open("/db").unwrap().close().unwrap();
        let (core, _) = recovery::open(Path::new("/db"), options, false).unwrap();
        let held = core.reserve(Work::Compaction, 100).unwrap();
        core.closed.store(true, Ordering::SeqCst);
        let refused = core.wait_and_reserve(Work::Compaction, 10);
        assert!(matches!(refused, Err(Error::Closed)));
        assert_eq!(core.budget.reserved(), 100);
        drop(held);
        assert_eq!(core.budget.reserved(), 0);
    }

    #[test]
    fn one_always_may_and_others_only_if_they_fit() {
        let mut pool = Pool {
            size: 100,
            ..Pool::default()
        };
        assert!(pool.try_take(500));
        assert!(!pool.try_take(1));
        pool.reserved = 0;
        assert!(pool.try_take(60) && pool.try_take(40) && !pool.try_take(1));
    }
}
