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
    FRAME_HEADER_LEN, HEADER_LEN, Header, LogEnd, LogKind, LogMedium, LogWriter, is_sync_failure,
};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, Result, SeqNo};

use super::pin::Pins;
use super::{LiveLog, LogPosition, file_path};

/// How many numbers in a row may be taken by files that are not ours before an append gives up.
const NAME_ATTEMPTS: usize = 16;

/// Options of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalOptions {
    /// In bytes. A new file begins when a group of frames would pass it; a group that is larger by itself gets a file of
    /// its own.
    pub(crate) max_file_size: u64,
}

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

/// The write-ahead log of an open database. All methods may be called from any thread.
pub(crate) struct Wal {
    env: Env,
    dir: PathBuf,
    options: WalOptions,
    pub(super) state: Mutex<State>,
    /// Happens when a sync ends, or nothing will be synced any more.
    sync_ended: Event,
    /// Syncs begun since the opening, each for everybody who waited.
    syncs: AtomicU64,
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
    unsynced: Option<Arc<dyn LogMedium>>,
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
        let writer = create_file(env, dir, number, predecessor)?;
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
            .map(|log| OlderLog { log, unsynced: None })
            .collect();
        let mut state = State {
            writer,
            last_seq,
            before_seq,
            retired: false,
            older,
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
        }
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
        if state.retired || full {
            let begun = self.begin_file(&mut state);
            self.note_sync_failure(&mut state, begun)?;
        }
        if let Err(error) = state.write_group(frames) {
            state.retired = !planted::is(Bug::WrittenBehindTornFrame);
            return Err(error);
        }
        state.last_seq = last_seq;
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

        let result = older
            .iter()
            .try_for_each(|medium| medium.sync())
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

    /// Deletes the files below `number`, never the current one. REQUIRES: it is durable in the manifest that recovery
    /// begins at `number` or above. A file that can't be deleted stays listed for the next time; as long as the
    /// log is pinned, all stay, and go with the last pin.
    pub(crate) fn remove_below(&self, number: u64) -> Result<()> {
        let mut state = self.state.lock();
        if state.pins.keep_from(number) {
            return Ok(());
        }
        let mut first_error = None;
        state.older.retain(|older| {
            if older.log.end.number >= number {
                return true;
            }
            match self.env.fs.remove(&older.log.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    first_error.get_or_insert(Error::io("remove", &older.log.path, error));
                    true
                }
                _ => false,
            }
        });
        first_error.map_or(Ok(()), Err)
    }

    /// How often the log has been synced since the opening.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Bytes in all live files.
    pub(crate) fn total_bytes(&self) -> u64 {
        let state = self.state.lock();
        state.older.iter().map(|older| older.log.bytes).sum::<u64>() + state.writer.end()
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

    /// Makes the next file the current one. The old one is not synced here: the next sync covers it first.
    pub(super) fn begin_file(&self, state: &mut State) -> Result<()> {
        // From here on a successor may exist on disk that names the present end, even if creating it seems to fail.
        state.retired = true;
        let end = state.writer.header().ended(state.writer.end(), state.last_seq);
        let mut attempts = 0;
        let writer = loop {
            let number = state.next_number;
            state.next_number = number.saturating_add(1);
            attempts += 1;
            match create_file(&self.env, &self.dir, number, Some(end.clone())) {
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
        let unsynced = (state.synced < reached).then(|| old.medium());
        if state.settled >= reached {
            state.settled = state.end(); // the header is durable, and nobody waits for more
        }
        let log = LiveLog {
            bytes: end.offset,
            before_seq: state.before_seq,
            end,
            path: old.path().to_owned(),
        };
        state.older.push(OlderLog { log, unsynced });
        state.before_seq = state.last_seq;
        state.retired = false;
        Ok(())
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

fn create_file(env: &Env, dir: &Path, number: u64, predecessor: Option<LogEnd>) -> Result<LogWriter> {
    let path = file_path(dir, number);
    let identity = env
        .entropy
        .identity()
        .map_err(|error| Error::io("draw an identity for", &path, error))?;
    let header = Header {
        kind: LogKind::Wal,
        number,
        identity,
        predecessor,
    };
    LogWriter::create(&*env.fs, &path, header)
}
