//! Reading the log back at open. Changes nothing on disk, so that a read-only open can use it too.
//!
//! `chain` decides which files are the log; here they are read, oldest first, and judged.

use std::path::{Path, PathBuf};

use crate::env::FileSystem;
use crate::record_log::{HEADER_LEN, LogEnd, LogKind, ReadOptions, ReadOutcome, RecoveryMode, read};
use crate::types::SeqNo;
use crate::{Error, Result};

use super::chain::{Chain, ChainLog};
use super::{LiveLog, LogPosition, Payload};

/// What the manifest knows about the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayOptions {
    /// Recovery begins with this file; lower ones are obsolete leftovers.
    pub(crate) floor: u64,
    /// Numbers of files that were made before something that is durable. Those below the floor don't matter. An edit that
    /// records an end also forgets the numbers above that log, because the files may be deleted as cut off.
    pub(crate) must_exist: Vec<u64>,
    /// Ends that earlier recoveries found and recorded. Nothing behind them is ever replayed.
    pub(crate) ends: Vec<LogEnd>,
    /// What to do at a bad place.
    pub(crate) mode: RecoveryMode,
}

/// What replay found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    /// The files that make up the log, oldest first. The last one's end goes into the manifest, and into the next
    /// file's header, before anything new is acknowledged.
    pub(crate) logs: Vec<LiveLog>,
    /// The last sequence number in them, or before them.
    pub(crate) last_seq: SeqNo,
    /// Whether the manifest knows of a log: then the first of them exists durably, with its header.
    pub(crate) known: bool,
    /// What the first of them continues.
    pub(crate) before: Option<LogEnd>,
    /// The highest place that is proven to have been synced, with all that lies before it.
    pub(crate) proven: Option<LogPosition>,
    /// Where the last frame with data begins.
    pub(crate) last_frame: Option<LogPosition>,
    /// Bytes at the end that were not whole frames, or lay in files behind such a place, and were not replayed.
    pub(crate) torn_bytes: u64,
    /// Whether the log was closed in order.
    pub(crate) sealed: bool,
    /// Above the number of every file with a log file's name, whatever is in it.
    pub(crate) next_number: u64,
    /// Files that are not needed any more: below the floor, cut off, or half created. To be deleted only after the end is
    /// durable in the manifest. Foreign files are never among them.
    pub(crate) leftovers: Vec<PathBuf>,
    /// The damage that [`RecoveryMode::PointInTime`] stopped at.
    pub(crate) dropped: Vec<Error>,
}

/// Replays the log in `dir`: hands every whole batch to `sink`, in order.
pub(crate) fn replay(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &ReplayOptions,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<Replayed> {
    let chain = Chain::find(fs, dir, options)?;
    let mut replayed = Replayed {
        last_seq: chain.last_seq_before(),
        before: chain.before(),
        known: options.must_exist.iter().any(|number| *number != 0),
        next_number: chain.next_number,
        leftovers: chain.leftovers.clone(),
        dropped: chain.dropped.clone(),
        ..Replayed::default()
    };
    for (index, log) in chain.logs.iter().enumerate() {
        let behind = chain.logs.get(index + 1..).unwrap_or_default();
        if !replay_one(fs, options, log, behind, &mut replayed, sink)? {
            drop_behind(behind, options, &mut replayed);
            break;
        }
    }
    Ok(replayed)
}

/// Replays one file; says whether the log goes on in the next one.
fn replay_one(
    fs: &dyn FileSystem,
    options: &ReplayOptions,
    log: &ChainLog,
    behind: &[ChainLog],
    replayed: &mut Replayed,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<bool> {
    let successor = behind.first().and_then(|next| next.header.predecessor.as_ref());
    let read_options = ReadOptions {
        stop_at: log.recorded_end.as_ref().map(|end| end.offset),
        successor_end: successor.map(|end| end.offset),
        // A recovery syncs what it found before it records an end.
        synced_to: if behind.iter().any(|next| next.recorded_end.is_some()) {
            u64::MAX
        } else {
            0
        },
        mode: if successor.is_some() && options.mode == RecoveryMode::Absolute {
            RecoveryMode::TornTail // judged below, when later files have been asked
        } else {
            options.mode
        },
    };
    let before_seq = replayed.last_seq;
    let mut last_seq = before_seq;
    let mut last_frame = None;
    let outcome = read(
        fs,
        &log.path,
        LogKind::Wal,
        &read_options,
        &mut |offset, bytes| {
            let payload = Payload::parse(&log.path, offset, bytes)?;
            let first_seq = payload.first_seq();
            if first_seq <= last_seq {
                let what = format!("expected a sequence number above {last_seq}, found {first_seq}");
                return Err(Error::corruption(&log.path, offset, what));
            }
            last_seq = payload.last_seq();
            last_frame = Some(offset);
            sink(first_seq, payload)
        },
    )?;
    replayed.last_seq = last_seq;
    replayed.note_places(log, &outcome, last_frame);
    replayed.torn_bytes += outcome.torn_bytes;
    replayed.sealed = outcome.sealed;
    let end = log.header.ended(outcome.end, last_seq);
    let whole = outcome.torn_bytes == 0
        && outcome.damage.is_none()
        && successor.is_none_or(|successor| successor.offset == end.offset);
    let problem = if let Some(damage) = &outcome.damage {
        Some(damage.clone())
    } else if whole {
        numbers_differ(log, successor, &end)
    } else {
        lost_by(fs, log, &outcome, behind, options.mode)?
    };
    replayed.logs.push(LiveLog {
        end,
        before_seq,
        bytes: log.len,
        path: log.path.clone(),
    });
    match problem {
        None => Ok(whole),
        Some(error) if options.mode == RecoveryMode::PointInTime => {
            replayed.dropped.push(error);
            Ok(false)
        }
        Some(error) => Err(error),
    }
}

impl Replayed {
    fn note_places(&mut self, log: &ChainLog, outcome: &ReadOutcome, last_frame: Option<u64>) {
        let place = |(number, offset)| LogPosition { number, offset };
        let number = log.header.number;
        let recorded = log
            .recorded_end
            .as_ref()
            .map(|end| place((end.number, end.offset)));
        self.proven = self.proven.max(outcome.markers.map(place)).max(recorded);
        let frame = last_frame.map(|offset| place((number, offset)));
        self.last_frame = self.last_frame.max(frame);
    }
}

/// Whether the last number found is not the one that the successor, or an earlier recovery, recorded.
fn numbers_differ(log: &ChainLog, successor: Option<&LogEnd>, end: &LogEnd) -> Option<Error> {
    let recorded = [successor, log.recorded_end.as_ref()];
    let wanted = recorded
        .into_iter()
        .flatten()
        .find(|wanted| wanted.last_seq != end.last_seq)?;
    let what = format!(
        "the log's last sequence number was recorded as {}, found {}",
        wanted.last_seq, end.last_seq
    );
    Some(Error::corruption(&log.path, end.offset, what))
}

/// A file fell short of where its successor says it ends. Whether that is damage: a marker in any later file that
/// names a place behind the gap proves that the lost bytes had been synced.
fn lost_by(
    fs: &dyn FileSystem,
    log: &ChainLog,
    outcome: &ReadOutcome,
    behind: &[ChainLog],
    mode: RecoveryMode,
) -> Result<Option<Error>> {
    let scan = ReadOptions {
        mode: RecoveryMode::PointInTime,
        ..ReadOptions::default()
    };
    for next in behind {
        let scanned = read(fs, &next.path, LogKind::Wal, &scan, &mut |_, _| Ok(()))?;
        if scanned.markers > Some((log.header.number, outcome.end)) {
            let what = format!(
                "expected a frame; {} says that everything up to a later place had been synced",
                next.path.display()
            );
            return Ok(Some(Error::corruption(&log.path, outcome.end, what)));
        }
    }
    if mode == RecoveryMode::Absolute && !behind.is_empty() {
        let what = "expected a frame; the recovery mode allows no torn tail";
        return Ok(Some(Error::corruption(&log.path, outcome.end, what)));
    }
    Ok(None)
}

/// Reports the files behind the end of what was replayed. What the user chose to go on without stays on disk until
/// the next open; what a crash tore is a leftover.
fn drop_behind(behind: &[ChainLog], options: &ReplayOptions, replayed: &mut Replayed) {
    for log in behind {
        replayed.torn_bytes += log.len.saturating_sub(HEADER_LEN);
        if options.mode != RecoveryMode::PointInTime || replayed.dropped.is_empty() {
            replayed.leftovers.push(log.path.clone());
        }
    }
    if !behind.is_empty() {
        replayed.sealed = false;
    }
}
