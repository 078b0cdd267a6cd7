//! [`Wal`]: appending, syncing, beginning new files, and letting go of old ones.
//!
//! Locks: `state` is held while a group is written and while a file is created, never during the sync of data. One sync
//! runs at a time; whoever starts it covers everybody who waits.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Env, Event};
use crate::planted::{self, Bug, Moment};
use crate::record_log::{
    FRAME_HEADER_LEN, HEADER_LEN, Header, Layout, LogEnd, LogKind, LogWriter, Medium, is_sync_failure,
};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, Result, SeqNo};

use super::pin::Pins;
use super::spare::{SpareSlot, is_free};
use super::{LiveLog, LogPosition, WalOptions, file_path};

/// How many numbers in a row may be taken by files that are not ours before an append gives up.
const NAME_ATTEMPTS: usize = 16;

/// One data frame to append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// The number of the payload's first operation. Greater than that of every frame before.
    pub(crate) first_seq: SeqNo,
    /// The number of its last.
    pub(crate) last_seq: SeqNo,
    /// See `payload`.
    pub(crate) payload: &'a [u8],
}

/// What must be on the medium before what the log says of it.
pub(crate) trait BeforeSync: Send + Sync {
    /// Makes durable all that frames appended so far refer to. An error is that of a failed sync: final.
    fn before_sync(&self) -> Result<()>;
}

/// The write-ahead log of an open database. All methods may be called from any thread.
pub(crate) struct Wal {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
    pub(super) options: WalOptions,
    pub(super) state: Mutex<State>,
    /// Happens when a sync ends, or nothing will be synced any more.
    sync_ended: Event,
    /// Syncs begun since the opening, each for everybody who waited.
    syncs: AtomicU64,
    before_sync: Option<Arc<dyn BeforeSync>>,
}

pub(super) struct State {
    pub(super) writer: LogWriter,
    /// The last sequence number in the log.
    pub(super) last_seq: SeqNo,
    /// The last sequence number before the current file.
    before_seq: SeqNo,
    /// Whether nothing more may be written to the current file (invariant 5).
    pub(super) retired: bool,
    /// Files before the current one, oldest first.
    pub(super) older: Vec<OlderLog>,
    /// A file for the next log.
    pub(super) spare: SpareSlot,
    /// Everything was flushed on demand, and nothing has been written since: no spare file is kept.
    pub(super) resting: bool,
    next_number: u64,
    /// Everything below is known to be synced.
    pub(super) synced: LogPosition,
    /// Behind `synced` and below this there is at most a marker, which nobody waits for. Without this an idle log that is
    /// synced at intervals would grow by a marker each time.
    pub(super) settled: LogPosition,
    sync_running: bool,
    pub(super) poison: Option<Error>,
    pub(super) closed: bool,
    pub(super) pins: Pins,
}

pub(super) struct OlderLog {
    pub(super) log: LiveLog,
    /// Set while the end of the file has not been synced.
    unsynced: Option<Arc<dyn Medium>>,
    /// Set where the file may be used again.
    pub(super) reusable: Option<Arc<dyn Medium>>,
}

impl Wal {
    /// Begins a log with a new file `number`. `recovered` are the older files that are still needed, oldest first.
    ///
    /// REQUIRES: `number` is at or above `Replayed::next_number`; all that is in the recovered files is durable (see
    /// `resume`).
    pub(super) fn create(
        env: &Env,
        dir: &Path,
        number: u64,
        predecessor: Option<LogEnd>,
        recovered: Vec<LiveLog>,
        options: WalOptions,
    ) -> Result<Wal> {
        let last_seq = predecessor.as_ref().map_or(0, |end| end.last_seq);
        let header = new_header(env, dir, number, predecessor)?;
        let layout = options.layout(env, 0);
        let writer = LogWriter::create_with(&*env.fs, &file_path(dir, number), header, layout.as_ref())?;
        Ok(Wal::go_on(env, dir, writer, last_seq, recovered, options))
    }

    /// Goes on with a file whose contents and name are durable. If it holds frames, a marker says so.
    pub(super) fn go_on(
        env: &Env,
        dir: &Path,
        writer: LogWriter,
        last_seq: SeqNo,
        recovered: Vec<LiveLog>,
        options: WalOptions,
    ) -> Wal {
        let number = writer.header().number;
        let begin = LogPosition {
            number,
            offset: writer.end(),
        };
        let before_seq = writer.header().predecessor.as_ref().map_or(0, |end| end.last_seq);
        let older = recovered
            .into_iter()
            .map(|log| OlderLog {
                log,
                unsynced: None,
                reusable: None,
            })
            .collect();
        let mut state = State {
            writer,
            last_seq,
            before_seq,
            retired: false,
            older,
            spare: SpareSlot::Empty,
            resting: false,
            next_number: number.saturating_add(1),
            synced: begin,
            settled: begin,
            sync_running: false,
            poison: None,
            closed: false,
            pins: Pins::default(),
        };
        if begin.offset > HEADER_LEN {
            // If this fails, the next recovery writes the frames anew once more.
            state.mark(begin);
        }
        Wal {
            env: env.clone(),
            dir: dir.to_owned(),
            options,
            state: Mutex::new(state),
            sync_ended: Event::default(),
            syncs: AtomicU64::new(0),
            before_sync: None,
        }
    }

    /// Every sync begins with this one. REQUIRES: nothing has been appended since the opening.
    pub(crate) fn set_before_sync(&mut self, before: Arc<dyn BeforeSync>) {
        self.before_sync = Some(before);
    }

    /// Appends one group of frames: all of them, or none. Returns the log's end behind them.
    ///
    /// After an error nothing of the group counts; the next append begins a new file. [`Error::Poisoned`] and
    /// [`Error::Closed`] are final.
    pub(crate) fn append(&self, frames: &[Frame<'_>]) -> Result<LogPosition> {
        let mut state = self.state.lock();
        state.check_writable()?;
        let last_seq = state.check_order(frames)?;
        let total: u64 = frames
            .iter()
            .map(|frame| FRAME_HEADER_LEN + frame.payload.len() as u64)
            .sum();
        let end = state.writer.end();
        let full = end > HEADER_LEN && end.saturating_add(total) > self.options.max_file_size;
        if state.retired || full || !state.writer.has_room(total) {
            let begun = self.begin_file(&mut state, total);
            self.note_sync_failure(&mut state, begun)?;
        }
        if let Err(error) = state.write_group(frames) {
            state.retired = !planted::is(Bug::WrittenBehindTornFrame);
            return Err(error);
        }
        state.last_seq = last_seq;
        state.resting = false;
        Ok(state.end())
    }

    /// The end of the log.
    pub(crate) fn end(&self) -> LogPosition {
        self.state.lock().end()
    }

    /// Makes everything below `upto` durable; callers share syncs. Fails with [`Error::Poisoned`] once a sync failed.
    pub(crate) fn sync(&self, upto: LogPosition) -> Result<()> {
        self.sync_until(upto, |state| state.settled)
    }

    /// The same, with what counts as done.
    pub(super) fn sync_until(&self, upto: LogPosition, done: fn(&State) -> LogPosition) -> Result<()> {
        let mut state = self.state.lock();
        let upto = upto.min(state.end());
        loop {
            state.check_poison()?;
            if done(&state) >= upto {
                return Ok(());
            }
            if !state.sync_running {
                break;
            }
            drop(state);
            self.env.scheduler.wait(&self.sync_ended, &mut || {
                let state = self.state.lock();
                !state.sync_running || done(&state) >= upto || state.poison.is_some()
            });
            state = self.state.lock();
        }
        self.lead_sync(state)
    }

    /// Syncs for everybody. What counts as synced is taken before the sync begins (invariant 4).
    fn lead_sync(&self, mut state: MutexGuard<'_, State>) -> Result<()> {
        let target = state.end();
        let older: Vec<_> = state
            .older
            .iter()
            .filter_map(|older| older.unsynced.clone())
            .filter(|_| !planted::is(Bug::OlderLogNotSynced))
            .collect();
        let current = state.writer.medium();
        state.sync_running = true;
        drop(state);
        self.syncs.fetch_add(1, Ordering::Relaxed);

        // Of frames that come in meanwhile the marker says nothing.
        let before = self
            .before_sync
            .as_ref()
            .map_or(Ok(()), |before| before.before_sync());
        let result = before
            .and_then(|()| older.iter().try_for_each(|medium| medium.sync()))
            .and_then(|()| current.sync())
            .or_else(|error| match planted::is(Bug::FailedSyncRetried) {
                true => current.sync(),
                false => Err(error),
            });
        planted::pause(Moment::LogSynced);

        let mut state = self.state.lock();
        let target = if planted::is(Bug::MarkerTooFar) {
            state.end()
        } else {
            target
        };
        state.sync_running = false;
        let result = match result {
            Ok(()) => {
                state.note_synced(target);
                state.mark(target);
                Ok(())
            }
            Err(error) => {
                state.poison.get_or_insert(error);
                state.check_poison()
            }
        };
        drop(state);
        self.sync_ended.notify();
        result
    }

    /// Refuses all writes and syncs from now on, because of `cause`. The first cause stays.
    pub(crate) fn poison(&self, cause: Error) {
        let cause = match cause {
            Error::Poisoned { cause } => Error::clone(&cause),
            cause => cause,
        };
        self.state.lock().poison.get_or_insert(cause);
        self.sync_ended.notify();
    }

    /// The [`Error::Poisoned`] that writes get, if they do.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        self.state.lock().check_poison().err()
    }

    /// The number of the oldest file that holds a sequence number at or above `first_needed`; the current file's if
    /// there is none.
    pub(crate) fn obsolete_below(&self, first_needed: SeqNo) -> u64 {
        let state = self.state.lock();
        let needed = state
            .older
            .iter()
            .find(|older| older.log.end.last_seq >= first_needed);
        needed.map_or(state.writer.header().number, |older| older.log.end.number)
    }

    /// How often the log has been synced since the opening.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Bytes of log in all live files, reserved room not counted.
    pub(crate) fn total_bytes(&self) -> u64 {
        let state = self.state.lock();
        state.older.iter().map(|older| older.log.end.offset).sum::<u64>() + state.writer.end()
    }

    /// Bytes that all live files and the spare one take on disk, reserved room included.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let state = self.state.lock();
        let older = state.older.iter().map(|older| older.log.bytes).sum::<u64>();
        older + state.writer.bytes_on_disk() + state.spare.room()
    }

    /// Number of the oldest live file, and the last sequence number in it.
    pub(crate) fn oldest(&self) -> (u64, SeqNo) {
        let state = self.state.lock();
        match state.older.first() {
            Some(older) => (older.log.end.number, older.log.end.last_seq),
            None => (state.writer.header().number, state.last_seq),
        }
    }

    /// The current file's number.
    pub(crate) fn current_number(&self) -> u64 {
        self.state.lock().writer.header().number
    }

    /// Makes the next file the current one, with room for a group of `group` bytes. The old one is not synced here: the next sync
    /// covers it first.
    pub(super) fn begin_file(&self, state: &mut State, group: u64) -> Result<()> {
        // From here on a successor may exist on disk that names the present end, even if creating it seems to fail.
        state.retired = true;
        let end = state.writer.header().ended(state.writer.end(), state.last_seq);
        let layout = self.options.layout(&self.env, group);
        let mut attempts = 0;
        let writer = loop {
            let number = state.next_number;
            state.next_number = number.saturating_add(1);
            attempts += 1;
            let created = self.create_file(state, number, end.clone(), layout.as_ref());
            match created {
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists && attempts < NAME_ATTEMPTS => {}
                created => break created?,
            }
        };
        let old = std::mem::replace(&mut state.writer, writer);
        let reached = LogPosition {
            number: end.number,
            offset: end.offset,
        };
        let medium = old.medium();
        medium.retire();
        let unsynced = (state.synced < reached).then(|| medium.clone());
        let reusable = state.is_reusable(&*medium).then_some(medium);
        if state.settled >= reached {
            state.settled = state.end(); // the header is durable, and nobody waits for more
        }
        let log = LiveLog {
            bytes: old.bytes_on_disk(),
            before_seq: state.before_seq,
            end,
            path: old.path().to_owned(),
        };
        state.older.push(OlderLog {
            log,
            unsynced,
            reusable,
        });
        state.before_seq = state.last_seq;
        state.retired = false;
        Ok(())
    }

    /// Creates the file of that number, from the spare one if there is one and the layout is that of any file.
    fn create_file(
        &self,
        state: &mut State,
        number: u64,
        end: LogEnd,
        layout: Option<&Layout>,
    ) -> Result<LogWriter> {
        let path = file_path(&self.dir, number);
        let fs = &*self.env.fs;
        let header = new_header(&self.env, &self.dir, number, Some(end))?;
        if let Some(layout) = layout
            && state.spare.room() == layout.most
            && is_free(fs, &path)?
            && let Some(spare) = state.spare.take()
        {
            return LogWriter::reuse(fs, spare, &self.spare_path(), &path, header, layout);
        }
        LogWriter::create_with(fs, &path, header, layout)
    }

    /// Passes the result on; poisons the log first if it is that of a failed sync.
    pub(super) fn note_sync_failure(&self, state: &mut State, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if is_sync_failure(&error) => {
                state.poison.get_or_insert(error);
                self.sync_ended.notify();
                state.check_poison()
            }
            result => result,
        }
    }
}

impl OlderLog {
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced.is_some()
    }
}

impl State {
    pub(super) fn end(&self) -> LogPosition {
        LogPosition {
            number: self.writer.header().number,
            offset: self.writer.end(),
        }
    }

    pub(super) fn check_poison(&self) -> Result<()> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned {
                cause: Arc::new(cause.clone()),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_poison()?;
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    /// Refuses frames that replay would refuse; returns the last number.
    fn check_order(&self, frames: &[Frame<'_>]) -> Result<SeqNo> {
        let mut last = self.last_seq;
        for frame in frames {
            if frame.first_seq <= last || frame.last_seq < frame.first_seq {
                let what = format!(
                    "refused to append sequence numbers {} to {} behind {last}; nothing was written",
                    frame.first_seq, frame.last_seq
                );
                return Err(Error::corruption(self.writer.path(), self.writer.end(), what));
            }
            last = frame.last_seq;
        }
        Ok(last)
    }

    fn write_group(&mut self, frames: &[Frame<'_>]) -> Result<()> {
        for frame in frames {
            self.writer.push(frame.payload)?;
        }
        self.writer.publish().map(|_| ())
    }

    fn note_synced(&mut self, target: LogPosition) {
        self.synced = self.synced.max(target);
        self.settled = self.settled.max(target);
        for older in &mut self.older {
            let end = LogPosition {
                number: older.log.end.number,
                offset: older.log.end.offset,
            };
            if end <= target {
                older.unsynced = None;
            }
        }
    }

    /// Appends the marker of a sync that has ended well. If that fails, the sync still counts; the file does not take
    /// more frames.
    fn mark(&mut self, target: LogPosition) {
        if self.retired || self.poison.is_some() {
            return;
        }
        let alone = self.settled == self.end();
        self.retired = self.writer.mark(target.number, target.offset).is_err();
        if alone {
            self.settled = self.end();
        }
    }
}

/// A header with an identity of its own.
pub(super) fn new_header(env: &Env, dir: &Path, number: u64, predecessor: Option<LogEnd>) -> Result<Header> {
    let identity = env
        .entropy
        .identity()
        .map_err(|error| Error::io("draw an identity for", &file_path(dir, number), error))?;
    Ok(Header {
        kind: LogKind::Wal,
        number,
        identity,
        predecessor,
        reserved: false,
    })
}
