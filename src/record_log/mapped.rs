//! [`MappedMedium`]: the log file's room is reserved and mapped, and a frame is a copy into it, without a call to the system.
//!
//! ```text
//! | header | frames ...        |0000 (END)|  touched    |  reserved   |   to come, up to `most`
//!                              ^next               ^ready        ^room.reserved()
//! ```
//!
//! * Room comes in steps, so that a small database does not take the whole of a file at once. A background job reserves
//!   the next step and touches its pages when the log has come near the end of what is `ready`. Where it comes too late the
//!   writer reserves for itself; where there is no room, the file takes no more frames, and the next one is begun: that one may be plain.
//! * Every copy is one store of the frame and the zeros that end the log behind it. So at every moment, a kill
//!   of the process included, the log ends in those zeros, or in a frame that is being stored.
//! * A file that has served its time is used again (`spare`, `reuse`): its blocks are written already, so a sync has no
//!   metadata to write. Its room is that of a whole file, and its contents are what they were.
//!
//! Invariants:
//! 1. Nothing is stored beyond the reserved room; a store can then not fail for want of space (`env::WritableMapping`).
//! 2. After `retire` and `finish` no job makes the file grow.
//!
//! Callers: `LogWriter`.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::env::{File, Priority, Scheduler, WritableMapping};
use crate::planted::{self, Bug};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::{Error, Result};

use super::format::END;
use super::{HEADER_LEN, Medium, SYNC};

/// The largest step in which room is made ready: what one writer fills in some ten milliseconds.
const MOST_STEP: u64 = 4 << 20;

/// How the room of a file is laid out.
#[derive(Clone)]
pub(crate) struct Layout {
    /// Runs the jobs that make room ready.
    pub(crate) scheduler: Arc<dyn Scheduler>,
    /// Bytes that are reserved when the file is made: also the least step.
    pub(crate) first: u64,
    /// Bytes that the file may have in the end.
    pub(crate) most: u64,
}

/// A file that was a log and whose room waits for the next one.
pub(crate) struct Spare {
    file: Arc<dyn File>,
    room: Arc<dyn WritableMapping>,
}

impl Spare {
    /// Bytes of room in it.
    pub(crate) fn room(&self) -> u64 {
        self.room.reserved()
    }

    /// Takes the room of a whole file, and writes what the file still has in memory, so that the next log's first sync has only
    /// its own to write.
    pub(crate) fn prepare(&self, most: u64) -> std::io::Result<()> {
        self.room.reserve(most)?;
        self.file.sync()
    }
}

/// See the module's comment.
pub(super) struct MappedMedium {
    me: Weak<MappedMedium>,
    file: Arc<dyn File>,
    path: PathBuf,
    room: Arc<dyn WritableMapping>,
    layout: Layout,
    /// Behind the last run that was handed out.
    next: AtomicU64,
    /// Room below is reserved, and its pages have been touched.
    ready: AtomicU64,
    /// A job is on its way that will move `ready` on, or one has failed to.
    asked: AtomicBool,
    /// Whether the log goes on in another file, or has ended. Held while the room grows or is cut.
    finished: Mutex<bool>,
    /// What a store has failed with.
    failed: Mutex<Option<IoError>>,
}

impl MappedMedium {
    /// Maps an empty file and reserves its first room. `None` where that is impossible: the file is then empty as before.
    pub(super) fn new(file: &Arc<dyn File>, path: &Path, layout: &Layout) -> Result<Option<Arc<Self>>> {
        let Ok(room) = file.map_writable(layout.most) else {
            return Ok(None);
        };
        if room.reserve(layout.first.min(layout.most)).is_err() {
            file.set_len(0).map_err(|error| Error::io("cut", path, error))?;
            return Ok(None);
        }
        let spare = Spare {
            file: file.clone(),
            room,
        };
        Ok(Some(MappedMedium::reuse(spare, path, layout)))
    }

    /// Begins another log in the same room.
    pub(super) fn reuse(spare: Spare, path: &Path, layout: &Layout) -> Arc<Self> {
        Arc::new_cyclic(|me| MappedMedium {
            me: me.clone(),
            file: spare.file,
            path: path.to_owned(),
            room: spare.room,
            layout: layout.clone(),
            next: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            finished: Mutex::new(false),
            failed: Mutex::new(None),
        })
    }

    /// Has the next step made ready in the background if the log, at `end`, has come near its end.
    fn ask_for(&self, end: u64) {
        let ready = self.ready.load(Ordering::Relaxed);
        let near = end.saturating_add(self.step(ready) / 2) >= ready;
        if !near || ready >= self.layout.most || self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        // Weak: the medium holds the scheduler, and a job that nobody runs any more would keep both for ever.
        let me = self.me.clone();
        let job = move || {
            if let Some(medium) = me.upgrade() {
                medium.make_ready();
            }
        };
        self.layout.scheduler.spawn(Priority::High, Box::new(job));
    }

    fn step(&self, ready: u64) -> u64 {
        ready.clamp(self.layout.first, MOST_STEP.max(self.layout.first))
    }

    /// The next step: reserved, and touched.
    fn make_ready(&self) {
        let from = self.ready.load(Ordering::Relaxed);
        let to = from.saturating_add(self.step(from)).min(self.layout.most);
        if !self.grow(to) {
            return; // the writer does without, or begins a new file: nobody asks again
        }
        self.room.populate(from, to);
        self.ready.store(to, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Whether there is room for `len` bytes now.
    fn grow(&self, len: u64) -> bool {
        if self.room.reserved() >= len {
            return true;
        }
        let finished = self.finished.lock();
        !*finished && self.room.reserve(len).is_ok()
    }
}

impl Medium for MappedMedium {
    fn has_room(&self, upto: u64) -> bool {
        let upto = upto.saturating_add(END.len() as u64);
        if upto > self.room.reserved() && !planted::is(Bug::RoomNotReserved) {
            if upto > self.layout.most {
                return false;
            }
            let step = upto.saturating_add(self.layout.first).min(self.layout.most);
            if !self.grow(step) && !self.grow(upto) {
                return false;
            }
        }
        // The header asks for nothing: its sync would write what was touched meanwhile.
        if upto > HEADER_LEN + END.len() as u64 {
            self.ask_for(upto);
        }
        true
    }

    fn reserve(&self, len: u64) -> Result<u64> {
        let offset = self.next.load(Ordering::Relaxed);
        let end = offset.saturating_add(len);
        if !self.has_room(end) {
            return Err(Error::io(
                "reserve room in",
                &self.path,
                ErrorKind::StorageFull.into(),
            ));
        }
        self.next.store(end, Ordering::Relaxed);
        Ok(offset)
    }

    fn copy(&self, offset: u64, front: &[u8], body: &[u8]) {
        if let Err(error) = self.room.store(offset, &[front, body, &END]) {
            self.failed.lock().get_or_insert(error);
        }
    }

    fn publish(&self, _upto: u64) -> Result<()> {
        match self.failed.lock().take() {
            None => Ok(()),
            Some(error) => Err(Error::io("write", &self.path, error)),
        }
    }

    fn sync(&self) -> Result<()> {
        self.file
            .sync()
            .map_err(|error| Error::io(SYNC, &self.path, error))
    }

    fn retire(&self) {
        *self.finished.lock() = true;
    }

    fn finish(&self, end: u64) {
        let mut finished = self.finished.lock();
        *finished = true;
        // What can't be cut stays, and is no part of the log.
        let _ = self.file.set_len(end);
    }

    fn room(&self) -> u64 {
        self.room.reserved()
    }

    fn spare(&self, most: u64) -> Option<Spare> {
        (self.layout.most == most).then(|| Spare {
            file: self.file.clone(),
            room: self.room.clone(),
        })
    }
}
