//! [`SimEnv`]: a deterministic machine in memory, for tests of the engine and of programs that embed it.
//!
//! Its disk keeps after a power cut what was synced, and of the rest whatever the [`CrashStyle`] says; its calls fail on
//! demand; its background jobs run on the caller's thread in an order drawn from a seed; its clock moves only when
//! somebody waits. Used from one thread, the same seed and the same calls give the same run, on every machine.
//!
//! ```
//! use packstone::env::sim::{CrashStyle, SimEnv};
//! use std::path::Path;
//!
//! let sim = SimEnv::new(42);
//! let env = sim.env();
//! let file = env.fs.create(Path::new("/f")).unwrap();
//! file.write_all_at(0, b"synced").unwrap();
//! file.sync().unwrap(); // the contents ...
//! env.fs.sync_dir(Path::new("/")).unwrap(); // ... and the name
//! file.write_all_at(0, b"lost").unwrap();
//! sim.crash(CrashStyle::KeepNothing);
//! assert_eq!(sim.read_file("/f").unwrap(), b"synced");
//! assert!(file.sync().is_err()); // a handle from before the crash
//! let env = sim.env(); // the machine after its restart
//! assert!(env.fs.open(Path::new("/f")).is_ok());
//! ```
//!
//! A crash in the middle of things: [`SimEnv::set_fault`] with [`Fault::PowerOffAt`] (or [`SimEnv::power_off`]), run the
//! program into it, drop its database, [`SimEnv::crash`], take a new [`SimEnv::env`] and open again. An `Env` that was
//! taken before a crash stays dead.
//!
//! What is not modelled: a file's blocks are taken from the capacity by its length, so holes cost room; there is no
//! order between sectors at all, not even that which some file systems keep.
//!
//! Callers: tests. Nothing in the engine refers to it.

mod disk;
mod fault;
mod file;
mod inode;
#[cfg(test)]
mod link_tests;
mod names;
#[cfg(test)]
mod nature_tests;
mod rng;
mod room;
mod scheduler;
#[cfg(test)]
mod tests;

use crate::sync::atomic::{AtomicBool, Ordering};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

pub use fault::{Call, Chance, EIO, EMFILE, ENOSPC, Effect, Fault, IoStats, Op};

use super::{Clock, Entropy, Env};
use disk::{Disk, SimFs};
use fault::Nature;
use rng::Rng;
use scheduler::{SimClock, SimScheduler};

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// Power cut at the worst moment: exactly what was synced is left.
    KeepNothing,
    /// The process is killed: everything written is there, but what was not synced is still not durable.
    KeepAll,
    /// Power cut: every change of a name that was not synced survives or not, on its own; every sector (512 bytes) that was
    /// written since its last sync holds any state that it has had since then; a file's length is the old one, the new
    /// one or one between. Grown parts that did not survive are zeros. Drawn from the seed.
    Random,
    /// Power cut, with the contents as a page cache writes them back: of every block of 4 KiB either all that was written
    /// since the last sync is there or none of it. Names and lengths as with `Random`.
    Blocks,
}

/// A machine in memory. Clones are the same machine.
#[derive(Clone)]
pub struct SimEnv(Arc<Machine>);

struct Machine {
    seed: u64,
    disk: Arc<Disk>,
    clock: Arc<SimClock>,
    entropy: Arc<SimEntropy>,
    /// The present boot's.
    scheduler: Mutex<Arc<SimScheduler>>,
    threads: Arc<AtomicBool>,
}

struct SimEntropy(Mutex<Rng>);

impl Entropy for SimEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        self.0.lock().fill(buf);
        Ok(())
    }
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimEnv(seed {})", self.0.seed)
    }
}

/// The machine as a whole.
impl SimEnv {
    /// A machine with an empty disk. Everything random about it follows from `seed`.
    pub fn new(seed: u64) -> SimEnv {
        let clock = Arc::new(SimClock::default());
        let threads = Arc::new(AtomicBool::new(false));
        let scheduler = SimScheduler::new(Rng::new(seed, 2), Arc::clone(&clock), Arc::clone(&threads));
        SimEnv(Arc::new(Machine {
            seed,
            disk: Arc::new(Disk::new(
                Rng::new(seed, 1),
                Nature::new(Rng::new(seed, 4)),
                Arc::clone(&clock),
            )),
            clock,
            entropy: Arc::new(SimEntropy(Mutex::new(Rng::new(seed, 3)))),
            scheduler: Mutex::new(Arc::new(scheduler)),
            threads,
        }))
    }

    /// What a program runs on, until the next crash.
    pub fn env(&self) -> Env {
        Env {
            fs: Arc::new(SimFs::new(&self.0.disk)),
            scheduler: self.scheduler(),
            clock: Arc::clone(&self.0.clock) as Arc<dyn Clock>,
            entropy: Arc::clone(&self.0.entropy) as Arc<dyn Entropy>,
            memory: 8 << 30,
        }
    }

    /// The seed that it was made from.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// From now on every call to the disk fails, until [`Self::crash`].
    pub fn power_off(&self) {
        self.0.disk.lock().faults.powered_off = true;
    }

    /// Stops the machine and starts it again: the disk keeps what `style` says, handles and `Env`s from before fail
    /// from now on, locks are free, queued jobs and faults are gone. Capacity, flakiness, chances, slowness, time and counters stay.
    ///
    /// REQUIRES: no job is running and no thread is inside of a call.
    pub fn crash(&self, style: CrashStyle) {
        let faults = self.0.disk.lock().crash(style);
        drop(faults);
        let crashed = self.scheduler();
        let rng = crashed.crash();
        let next = SimScheduler::new(rng, Arc::clone(&self.0.clock), Arc::clone(&self.0.threads));
        *self.0.scheduler.lock() = Arc::new(next);
    }

    /// Says that several threads use the machine: a wait with nothing to run then sleeps until another thread acts, instead
    /// of calling it a deadlock. Runs are no longer deterministic.
    pub fn allow_threads(&self) {
        self.0.threads.store(true, Ordering::Relaxed);
    }

    fn scheduler(&self) -> Arc<SimScheduler> {
        Arc::clone(&self.0.scheduler.lock())
    }
}

/// Background jobs and time.
impl SimEnv {
    /// Runs one job that is due; false when there is none.
    pub fn run_one(&self) -> bool {
        self.scheduler().run_one()
    }

    /// Runs jobs until none is due. Delayed jobs stay where they are, and so time does.
    pub fn run_until_idle(&self) {
        while self.run_one() {}
    }

    /// How many jobs are queued, delayed ones included.
    pub fn pending(&self) -> usize {
        self.scheduler().pending()
    }

    /// Moves time on. Jobs that become due wait to be run.
    pub fn advance(&self, duration: Duration) {
        self.0.clock.sleep(duration);
    }
}

/// Faults.
impl SimEnv {
    /// Adds a fault. Several may be pending.
    pub fn set_fault(&self, fault: Fault) {
        self.0.disk.lock().faults.add(fault);
    }

    /// The next `count` calls of kind `op` (of any kind if `None`) on paths that contain `path_part` fail with `kind`.
    pub fn fail_matching(
        &self,
        op: Option<Op>,
        path_part: &str,
        count: u64,
        kind: io::ErrorKind,
        effect: Effect,
    ) {
        let part = path_part.to_owned();
        self.fail_where(
            move |call| op.is_none_or(|op| op == call.op) && call.mentions(&part),
            count,
            kind,
            effect,
        );
    }

    /// The next `count` calls that `filter` picks fail with `kind`. The filter must not use the simulator.
    pub fn fail_where(
        &self,
        filter: impl FnMut(&Call) -> bool + Send + 'static,
        count: u64,
        kind: io::ErrorKind,
        effect: Effect,
    ) {
        if count > 0 {
            self.0
                .disk
                .lock()
                .faults
                .pick(Box::new(filter), count, kind, effect);
        }
    }

    /// Forgets all faults that have not happened, and turns the power on again if it was off (which is not a crash:
    /// nothing is lost).
    pub fn clear_faults(&self) {
        self.0.disk.lock().faults.clear();
    }

    /// Limits the sum of all files' lengths (a file of several names counts once), in bytes; `None` lifts the limit. Writes beyond it write what fits and then
    /// fail with `StorageFull`. Removing a file gives its room back at once.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.disk.lock().capacity = bytes;
    }

    /// From now on one in `n` reads and writes is interrupted (`ErrorKind::Interrupted`) and one in `n` is short; `None`
    /// ends that. `n` below 2 counts as 2, so that repeating always helps.
    pub fn set_flaky(&self, one_in: Option<u64>) {
        self.0.disk.lock().faults.flaky_one_in = one_in.map_or(0, |n| n.max(2));
    }

    /// From now on calls fail by chance, in place of the chances set before; an empty list ends that. Crashes and
    /// [`Self::clear_faults`] don't.
    pub fn set_chances(&self, chances: Vec<Chance>) {
        self.0.disk.lock().nature.chances = chances;
    }

    /// From now on each call moves the clock on by a drawn time of at most `slowest`; zero ends that.
    pub fn set_slow(&self, slowest: Duration) {
        let nanos = u64::try_from(slowest.as_nanos()).unwrap_or(u64::MAX - 1);
        self.0.disk.lock().nature.slowest_nanos = nanos;
    }

    /// Whether the power is off: [`Fault::PowerOffAt`] has come, or [`Self::power_off`].
    pub fn is_off(&self) -> bool {
        self.0.disk.lock().faults.powered_off
    }
}

/// How the machine is.
impl SimEnv {
    /// Whether a file that has been removed is gone for those who have it open as well (their reads fail), as on some
    /// network file systems. Not set, it lives on in their handles, as POSIX says. Mappings stay.
    pub fn set_forgets_removed(&self, yes: bool) {
        self.0.disk.lock().forgets_removed = yes;
    }

    /// Whether the file system is one that keeps reserved room, so that files can be mapped for stores. It is unless it is
    /// told otherwise. Files that are mapped already stay so.
    pub fn set_keeps_room(&self, yes: bool) {
        self.0.disk.lock().keeps_room = yes;
    }
}

/// The account of what the program did. Calls made through the methods of the next section are not in it.
impl SimEnv {
    /// How many calls have reached the disk: the number of the next one.
    pub fn io_count(&self) -> u64 {
        self.0.disk.lock().faults.next_index
    }

    /// What has been done since the start.
    pub fn stats(&self) -> IoStats {
        self.0.disk.lock().faults.stats.clone()
    }

    /// How many calls have been made to fail: the sum of `stats().failed`.
    pub fn failures(&self) -> u64 {
        self.0.disk.lock().faults.stats.failures()
    }

    /// Starts recording calls, or stops and forgets them.
    pub fn set_trace(&self, on: bool) {
        self.0.disk.lock().faults.trace = on.then(Vec::new);
    }

    /// Takes the calls recorded since the last time.
    pub fn take_trace(&self) -> Vec<Call> {
        self.0
            .disk
            .lock()
            .faults
            .trace
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.0.disk.lock().used()
    }
}

/// The disk seen and changed from outside, without calls that count and without faults.
impl SimEnv {
    /// A file's present contents.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let file = self.0.disk.lock().names.file(path.as_ref())?;
        let inode = file.inode.lock();
        Ok(inode.data().to_vec())
    }

    /// Creates or replaces a file, with all directories on the way, durable at once.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let file = self.0.disk.lock().names.plant_file(path.as_ref())?;
        file.inode.lock().replace(bytes);
        Ok(())
    }

    /// Removes a file, durably at once.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.disk.lock().names.uproot_file(path.as_ref())
    }

    /// Flips bit `bit` (0 to 7) of the byte at `offset`, on the medium and in what programs read.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u8) -> io::Result<()> {
        let file = self.0.disk.lock().names.file(path.as_ref())?;
        if file.inode.lock().flip_bit(offset, bit) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Decay: flips one bit, drawn from all bytes of the files whose path contains `part`. Says which, `None` if
    /// there is no byte.
    pub fn flip_some_bit(&self, part: &str) -> Option<(PathBuf, u64, u8)> {
        self.0.disk.lock().flip_some_bit(part)
    }

    /// A file's present length.
    pub fn file_len(&self, path: impl AsRef<Path>) -> io::Result<u64> {
        let file = self.0.disk.lock().names.file(path.as_ref())?;
        Ok(file.inode.lock().len())
    }

    /// All files, by path, sorted.
    pub fn list(&self) -> Vec<PathBuf> {
        self.0
            .disk
            .lock()
            .names
            .files()
            .into_iter()
            .map(|(path, _)| path)
            .collect()
    }
}
