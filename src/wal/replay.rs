//! Reading the log back at open. Changes nothing on disk, so that a read-only open can use it too.
//!
//! `chain` decides which files are the log; here they are read, oldest first, and judged.

use std::path::{Path, PathBuf};

use crate::env::FileSystem;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::record_log::{
    Event, HEADER_LEN, Header, HeaderOutcome, LogEnd, LogKind, ReadOptions, ReadOutcome, RecoveryMode,
    has_frame_at, read, read_header, walk,
};
use crate::types::SeqNo;
use crate::{Error, Result};

use super::chain::{Chain, ChainLog, length};
use super::{LiveLog, LogPosition, Payload, file_path, parse_file_name};

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
    /// Above the number of every file with a log file's name, whatever is in it, and above those that the manifest names.
    pub(crate) next_number: u64,
    /// Files that are not needed any more: below the floor, cut off, or half created. To be deleted only after the end is
    /// durable in the manifest. Foreign files are never among them.
    pub(crate) leftovers: Vec<PathBuf>,
    /// The damage that [`RecoveryMode::PointInTime`] stopped at, or [`RecoveryMode::Salvage`] skipped.
    pub(crate) dropped: Vec<Error>,
    /// Where [`RecoveryMode::Salvage`] has left holes, oldest first.
    pub(crate) holes: Vec<Hole>,
    /// Headers of files that have lost their own (`Salvage` only).
    pub(crate) revived: BTreeMap<u64, Header>,
    /// The mode that it was read in: whoever reads the files again has to see the same frames.
    pub(crate) mode: RecoveryMode,
}

/// A place where frames are missing, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The damaged file, or the one behind missing ones.
    pub(crate) path: PathBuf,
    /// The bytes skipped; both zero where whole files are missing.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The last sequence number before it.
    pub(crate) before_seq: SeqNo,
    /// The first one behind it; `None` at the end.
    pub(crate) after_seq: Option<SeqNo>,
    /// What was wrong.
    pub(crate) what: String,
}

/// Says what a batch refers to that is not there, if there is something.
pub(crate) type Check<'a> = &'a dyn Fn(&Payload<'_>) -> Option<String>;

/// Replays the log in `dir`: hands every whole batch to `sink`, in order.
pub(crate) fn replay(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &ReplayOptions,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<Replayed> {
    replay_checked(fs, dir, options, &|_| None, sink)
}

/// The same, where batches refer to what lies elsewhere. One whose `check` finds that missing counts as a frame that is not whole: the end of a
/// torn tail, or damage if a marker says that it had been synced. [`RecoveryMode::Salvage`] takes it all the same.
pub(crate) fn replay_checked(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &ReplayOptions,
    check: Check<'_>,
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
        mode: options.mode,
        ..Replayed::default()
    };
    for (index, log) in chain.logs.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| chain.logs.get(before));
        replayed.note_missing_before(log, before, options.mode);
        let behind = chain.logs.get(index + 1..).unwrap_or_default();
        if !replay_one(fs, options, log, behind, &mut replayed, check, sink)? {
            drop_behind(fs, behind, options, &mut replayed)?;
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
    check: Check<'_>,
    sink: &mut dyn FnMut(SeqNo, Payload<'_>) -> Result<()>,
) -> Result<bool> {
    let next = behind.first().filter(|next| log.is_continued_by(next));
    let successor = next.and_then(|next| next.header.predecessor.as_ref());
    let salvage = options.mode == RecoveryMode::Salvage;
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
        header: log.revived.then(|| log.header.clone()),
    };
    let before_seq = replayed.last_seq;
    let mut last_seq = before_seq;
    let mut last_frame = None;
    // The first batch that refers to what is not there.
    let mut dangling: Option<(u64, String)> = None;
    let holes = &mut replayed.holes;
    let mut outcome = walk(fs, &log.path, LogKind::Wal, &read_options, &mut |event| {
        let (offset, bytes) = match event {
            Event::Data { offset, payload } => (offset, payload),
            Event::Skipped(skipped) => {
                holes.push(Hole {
                    path: log.path.clone(),
                    from: skipped.from,
                    to: skipped.to,
                    before_seq: last_seq,
                    after_seq: None,
                    what: skipped.what.clone(),
                });
                return Ok(ControlFlow::Continue(()));
            }
            _ => return Ok(ControlFlow::Continue(())),
        };
        if dangling.is_some() {
            return Ok(ControlFlow::Continue(())); // only what markers say counts from here on
        }
        let payload = Payload::parse(&log.path, offset, bytes)?;
        dangling = check(&payload).filter(|_| !salvage).map(|what| (offset, what));
        if dangling.is_some() {
            return Ok(ControlFlow::Continue(()));
        }
        let first_seq = payload.first_seq();
        if first_seq <= last_seq {
            if salvage {
                return Ok(ControlFlow::Continue(())); // seen before, in a file that this one repeats
            }
            let what = format!("expected a sequence number above {last_seq}, found {first_seq}");
            return Err(Error::corruption(&log.path, offset, what));
        }
        last_seq = payload.last_seq();
        last_frame = Some(offset);
        for hole in holes.iter_mut().rev().take_while(|hole| hole.after_seq.is_none()) {
            hole.after_seq = Some(first_seq);
        }
        sink(first_seq, payload)?;
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some((offset, what)) = dangling {
        end_at(
            &mut outcome,
            log,
            offset,
            what,
            read_options.synced_to,
            options.mode,
        );
    }
    replayed.last_seq = last_seq;
    replayed.note_places(log, &outcome, last_frame);
    if log.revived {
        replayed.revived.insert(log.header.number, log.header.clone());
        let what = "the header is damaged; its identity was taken from what other files say of this one";
        replayed.dropped.push(Error::corruption(&log.path, 0, what));
    }
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
    if salvage {
        replayed.note_fall_short(log, &outcome, successor, problem);
        return Ok(true);
    }
    match problem {
        None => Ok(whole),
        Some(error) if options.mode == RecoveryMode::PointInTime => {
            replayed.dropped.push(error);
            Ok(false)
        }
        Some(error) => Err(error),
    }
}

/// Takes the frame at `offset`, and all behind it, for torn, or for damaged if it had been synced.
fn end_at(
    outcome: &mut ReadOutcome,
    log: &ChainLog,
    offset: u64,
    what: String,
    synced_to: u64,
    mode: RecoveryMode,
) {
    let proven = outcome.sealed
        || outcome.markers > Some((log.header.number, offset))
        || log.recorded_end.as_ref().is_some_and(|end| end.offset > offset)
        || synced_to > offset
        || mode == RecoveryMode::Absolute;
    outcome.torn_bytes += outcome.end.saturating_sub(offset);
    outcome.end = offset;
    outcome.sealed = false;
    if proven {
        outcome.damage = Some(Error::corruption(&log.path, offset, what));
    } else {
        outcome.torn = Some(what);
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

    /// A hole where files are missing in front of `log`, which does not continue the one before it.
    fn note_missing_before(&mut self, log: &ChainLog, before: Option<&ChainLog>, mode: RecoveryMode) {
        let continues = before.is_none_or(|before| before.is_continued_by(log) || log.revived);
        if mode != RecoveryMode::Salvage || continues {
            return;
        }
        self.holes.push(Hole {
            path: log.path.clone(),
            from: 0,
            to: 0,
            before_seq: self.last_seq,
            after_seq: None,
            what: "the files that it continues are missing".to_owned(),
        });
        let named = log.header.predecessor.as_ref().map_or(0, |end| end.last_seq);
        self.last_seq = self.last_seq.max(named);
    }

    /// What `Salvage` steps over at the end of a file: damage, or less than its successor says that there was.
    fn note_fall_short(
        &mut self,
        log: &ChainLog,
        outcome: &ReadOutcome,
        successor: Option<&LogEnd>,
        problem: Option<Error>,
    ) {
        let short = successor.is_some_and(|end| end.offset != outcome.end);
        let in_file = self
            .holes
            .iter()
            .filter(|hole| hole.path == log.path && hole.to > 0);
        let skipped: Vec<Error> = in_file
            .map(|hole| {
                let what = format!("{}; skipped the bytes up to offset {}", hole.what, hole.to);
                Error::corruption(&hole.path, hole.from, what)
            })
            .collect();
        let had_holes = !skipped.is_empty();
        self.dropped.extend(skipped);
        if outcome.damage.is_none() && !short {
            // Numbers that differ from those recorded say no more than the holes do.
            self.dropped.extend(problem.filter(|_| !had_holes));
            return;
        }
        let what = outcome
            .torn
            .clone()
            .unwrap_or_else(|| "frames are missing".to_owned());
        self.holes.push(Hole {
            path: log.path.clone(),
            from: outcome.end,
            to: outcome.end + outcome.torn_bytes,
            before_seq: self.last_seq,
            after_seq: None,
            what: what.clone(),
        });
        let found = outcome.damage.clone();
        self.dropped
            .push(found.unwrap_or_else(|| Error::corruption(&log.path, outcome.end, what)));
    }

    /// Bytes that were skipped.
    pub(crate) fn skipped_bytes(&self) -> u64 {
        self.holes.iter().map(|hole| hole.to - hole.from).sum()
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
    // A whole frame may refer to what is not there: then this names it.
    let why = outcome
        .torn
        .as_ref()
        .map_or(String::new(), |why| format!("; {why}"));
    for next in behind {
        let scan = ReadOptions {
            mode: RecoveryMode::PointInTime,
            // `Salvage` reads files whose header is lost, too.
            header: next.revived.then(|| next.header.clone()),
            ..ReadOptions::default()
        };
        let scanned = read(fs, &next.path, LogKind::Wal, &scan, &mut |_, _| Ok(()))?;
        if scanned.markers > Some((log.header.number, outcome.end)) {
            let what = format!(
                "expected a frame; {} says that everything up to a later place had been synced{why}",
                next.path.display()
            );
            return Ok(Some(Error::corruption(&log.path, outcome.end, what)));
        }
    }
    if mode == RecoveryMode::Absolute && !behind.is_empty() {
        let what = format!("expected a frame; the recovery mode allows no torn tail{why}");
        return Ok(Some(Error::corruption(&log.path, outcome.end, what)));
    }
    Ok(None)
}

/// Whether what was read of the last log, beside its writer, counts: its last frame is still there, and its successor, if it has
/// one, does not say that it ends before. A file's length tells nothing, for it may be reserved room. False also when the file is not
/// there any more: then nobody can tell.
pub(crate) fn still_counts(fs: &dyn FileSystem, dir: &Path, replayed: &Replayed) -> Result<bool> {
    let Some(end) = replayed.logs.last().map(|last| &last.end) else {
        return Ok(true);
    };
    let path = file_path(dir, end.number);
    let found = match replayed.last_frame.filter(|frame| frame.number == end.number) {
        Some(frame) => has_frame_at(fs, &path, &end.identity, frame.offset),
        None => length(fs, &path).map(|_| true),
    };
    match found {
        Ok(true) => {}
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => return other,
    }
    for entry in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        let newer = parse_file_name(&entry.name).filter(|number| *number > end.number && entry.is_file);
        let Some(number) = newer else { continue };
        let before = match read_header(fs, &file_path(dir, number), LogKind::Wal)? {
            HeaderOutcome::Whole(header) => header.predecessor,
            _ => None, // being created
        };
        let cuts = |before: &LogEnd| {
            before.number == end.number && (before.identity != end.identity || before.offset < end.offset)
        };
        if before.as_ref().is_some_and(cuts) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reports the files behind the end of what was replayed. What the user chose to go on without stays on disk until
/// the next open; what a crash tore is a leftover.
fn drop_behind(
    fs: &dyn FileSystem,
    behind: &[ChainLog],
    options: &ReplayOptions,
    replayed: &mut Replayed,
) -> Result<()> {
    for log in behind {
        replayed.torn_bytes += used_len(fs, log)?.saturating_sub(HEADER_LEN);
        if options.mode != RecoveryMode::PointInTime || replayed.dropped.is_empty() {
            replayed.leftovers.push(log.path.clone());
        }
    }
    if !behind.is_empty() {
        replayed.sealed = false;
    }
    Ok(())
}

/// The length of a file that is cut off, but for reserved room. REQUIRES: not `Salvage`, which cuts no file off, so its header is whole.
fn used_len(fs: &dyn FileSystem, log: &ChainLog) -> Result<u64> {
    if !log.header.reserved {
        return Ok(log.len);
    }
    let options = ReadOptions {
        mode: RecoveryMode::PointInTime,
        ..ReadOptions::default()
    };
    let outcome = read(fs, &log.path, LogKind::Wal, &options, &mut |_, _| Ok(()))?;
    Ok(outcome.end + outcome.torn_bytes)
}
