//! Going on with a log that was replayed, without believing the page cache.
//!
//! What a reader finds in a log file need not be on the medium: if a sync of it has failed, the pages are marked clean all the
//! same, and the next sync reports success and does nothing. Neither a sync nor a read can tell. What does prove that
//! bytes are on the medium is a *place* that was named after a sync of them had succeeded: by a marker, a seal, or an end
//! that the manifest records. So recovery divides the log there:
//!
//! ```text
//! before   000007.log [header|data|data|marker|data|data]   000008.log [header: 7 ends ..|data|data]
//!                                     ^proven ~~~~~~~~~tail~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
//! after    000007.log [header|data|data]   000009.log [header: 7 ends at proven|data|data|data|data|marker]
//! ```
//!
//! The tail's frames are written anew, into the file that the log goes on in. That file gets its contents and their sync
//! under another name ([`UNFINISHED_LOG`]) and then its own by a rename; the sync of the directory behind it is the point of no
//! return. Both states hold the same frames, so a crash before or after it loses nothing, and the old files are
//! deleted only when the manifest has recorded the new ends. The marker comes last of all: it vouches for the
//! file's name as well.
//!
//! A log that was closed in order, or synced last of all, has no tail, and costs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::names::UNFINISHED_LOG;
use crate::planted::{self, Bug};
use crate::record_log::{HEADER_LEN, Header, LogEnd, LogKind, LogWriter, ReadOptions, RecoveryMode, read};
use crate::{Error, Result};

use super::log::{Wal, new_header};
use super::{LiveLog, LogPosition, Payload, Replayed, WalOptions, file_path};

/// Bytes of frames that are gathered for one write.
const WRITE_BYTES: u64 = 1 << 20;

/// The log that goes on.
pub(crate) struct Resumed {
    pub(crate) wal: Wal,
    /// The older files that are still needed, with their ends: the manifest records them. None: it raises the floor to the
    /// new file.
    pub(crate) kept: Vec<LiveLog>,
    /// The files whose frames were written anew. To be deleted when the manifest has recorded the ends.
    pub(crate) replaced: Vec<PathBuf>,
}

/// Begins the next file of a replayed log, number `number`, which is at or above `replayed.next_number`. When this
/// returns, all that was replayed is durable. An error has changed nothing that matters: open again.
pub(crate) fn resume(
    env: &Env,
    dir: &Path,
    number: u64,
    replayed: &Replayed,
    options: WalOptions,
) -> Result<Resumed> {
    let mut cut = Cut::of(replayed);
    if cut.tail.is_empty() {
        cut.drop_empty();
        let wal = Wal::create(env, dir, number, cut.predecessor, cut.kept.clone(), options)?;
        return Ok(Resumed {
            wal,
            kept: cut.kept,
            replaced: cut.replaced,
        });
    }
    let unfinished = dir.join(UNFINISHED_LOG);
    match env.fs.remove(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &unfinished, error));
        }
        _ => {}
    }
    cut.find_last_seq(env)?;
    let header = new_header(env, dir, number, cut.predecessor.clone())?;
    let path = file_path(dir, number);
    // Room for the whole tail is reserved first, so that a mapped file can't turn out to be too small half-way.
    let layout = options.layout(env, cut.tail_bytes());
    let mut writer = LogWriter::begin(&*env.fs, &unfinished, header, layout.as_ref())?;
    cut.copy_tail(env, &mut writer)?;
    writer.finish_as(&*env.fs, &path)?;
    cut.drop_empty();
    let wal = Wal::go_on(env, dir, writer, replayed.last_seq, cut.kept.clone(), options);
    Ok(Resumed {
        wal,
        kept: cut.kept,
        replaced: cut.replaced,
    })
}

/// Where the proven part of a log ends.
struct Cut {
    /// The files up to that place; the last one's end is that place.
    kept: Vec<LiveLog>,
    /// What the next file continues: the last of `kept`, or what came before the first file.
    predecessor: Option<LogEnd>,
    /// The files with data frames behind the place, the one that it lies in among them.
    tail: Vec<LiveLog>,
    replaced: Vec<PathBuf>,
    /// The place.
    from: LogPosition,
    /// How the files were read, and headers that they have lost.
    mode: RecoveryMode,
    revived: BTreeMap<u64, Header>,
}

impl Cut {
    fn of(replayed: &Replayed) -> Cut {
        let Some(first) = replayed.logs.first() else {
            return Cut {
                kept: Vec::new(),
                predecessor: replayed.before.clone(),
                tail: Vec::new(),
                replaced: Vec::new(),
                from: LogPosition { number: 0, offset: 0 },
                mode: replayed.mode,
                revived: BTreeMap::new(),
            };
        };
        let begin = LogPosition {
            number: first.end.number,
            offset: HEADER_LEN,
        };
        // A log with holes is written anew from its beginning: the next open shall find none.
        let has_holes = replayed.mode == RecoveryMode::Salvage && !replayed.dropped.is_empty();
        let proven = replayed.proven.filter(|place| *place >= begin && !has_holes);
        let proven = if planted::is(Bug::RecoveredLogContinued) {
            replayed.logs.last().map(|log| LogPosition {
                number: log.end.number,
                offset: log.end.offset,
            })
        } else {
            proven
        };
        let is_tail = |place: LogPosition| replayed.last_frame.is_some_and(|frame| frame >= place);
        let from = proven.unwrap_or(begin);
        // Before the manifest knows of a log, a file's very name may be one that could not be made durable.
        let unborn = !replayed.known && proven.is_none() && !is_tail(begin);
        let (mut kept, mut replaced) = (Vec::new(), Vec::new());
        for log in &replayed.logs {
            if log.end.number > from.number || unborn {
                replaced.push(log.path.clone());
                continue;
            }
            let mut log = log.clone();
            if log.end.number == from.number && from.offset < log.end.offset {
                log.end.offset = from.offset;
            }
            kept.push(log);
        }
        let tail = replayed.logs.iter().filter(|log| log.end.number >= from.number);
        let tail = if is_tail(from) {
            tail.cloned().collect()
        } else {
            Vec::new()
        };
        if let (true, Some(last)) = (tail.is_empty(), kept.last_mut()) {
            last.end.last_seq = replayed.last_seq;
        }
        let last = kept.last().map(|log| log.end.clone());
        Cut {
            kept,
            predecessor: last.or_else(|| replayed.before.clone()),
            tail,
            replaced,
            from,
            mode: replayed.mode,
            revived: replayed.revived.clone(),
        }
    }

    fn read_options(&self, number: u64, stop_at: u64) -> ReadOptions {
        ReadOptions {
            stop_at: Some(stop_at),
            mode: match self.mode {
                RecoveryMode::Salvage => RecoveryMode::Salvage,
                _ => RecoveryMode::TornTail,
            },
            header: self.revived.get(&number).cloned(),
            ..ReadOptions::default()
        }
    }

    /// Where nothing of the log is proven, only the first file's header is kept, and nobody needs that.
    fn drop_empty(&mut self) {
        if let [only] = &self.kept[..]
            && only.end.offset == HEADER_LEN
        {
            self.replaced.push(only.path.clone());
            self.kept.clear();
        }
    }

    /// Finds the last sequence number before the place, which lies in the middle of a file.
    fn find_last_seq(&mut self, env: &Env) -> Result<()> {
        let (Some(log), Some(last)) = (self.tail.first(), self.kept.last()) else {
            return Ok(());
        };
        if log.end.number != last.end.number {
            return Ok(());
        }
        let mut last_seq = log.before_seq;
        let options = self.read_options(log.end.number, self.from.offset);
        read(
            &*env.fs,
            &log.path,
            LogKind::Wal,
            &options,
            &mut |offset, bytes| {
                last_seq = Payload::parse(&log.path, offset, bytes)?.last_seq();
                Ok(())
            },
        )?;
        if let Some(last) = self.kept.last_mut() {
            last.end.last_seq = last_seq;
            self.predecessor = Some(last.end.clone());
        }
        Ok(())
    }

    /// No less than what `copy_tail` writes.
    fn tail_bytes(&self) -> u64 {
        let in_file = |log: &LiveLog| match log.end.number == self.from.number {
            true => log.end.offset.saturating_sub(self.from.offset),
            false => log.end.offset,
        };
        self.tail.iter().map(in_file).sum()
    }

    fn copy_tail(&self, env: &Env, writer: &mut LogWriter) -> Result<()> {
        let mut last_seq = 0;
        for log in &self.tail {
            let options = self.read_options(log.end.number, log.end.offset);
            let mut gathered = 0;
            read(
                &*env.fs,
                &log.path,
                LogKind::Wal,
                &options,
                &mut |offset, bytes| {
                    if log.end.number == self.from.number && offset < self.from.offset {
                        return Ok(());
                    }
                    if self.mode == RecoveryMode::Salvage {
                        // As the replay did: what repeats another file counts once.
                        let payload = Payload::parse(&log.path, offset, bytes)?;
                        if payload.first_seq() <= last_seq {
                            return Ok(());
                        }
                        last_seq = payload.last_seq();
                    }
                    writer.push(bytes)?;
                    gathered += bytes.len() as u64;
                    if gathered >= WRITE_BYTES {
                        gathered = 0;
                        writer.publish()?;
                    }
                    Ok(())
                },
            )?;
            writer.publish()?;
        }
        Ok(())
    }
}
