//! Logs, frame by frame, and the series of them as recovery sees it. Both kinds of record log go through the same walk;
//! what a manifest's frames mean is in `manifest`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::State;
use crate::env::FileSystem;
use crate::record_log::{self, Event, FRAME_HEADER_LEN, LogKind, ReadOptions, ReadOutcome, RecoveryMode};
use crate::types::{KeyspaceId, ObjectRef, SeqNo};
use crate::wal::{self, Op, Ops, Payload, ReplayOptions};
use crate::{Error, Result};

/// Where a log ends, as its successor's header or the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The log's number.
    pub number: u64,
    /// Its identity.
    pub identity: [u8; 16],
    /// The offset behind its last good frame.
    pub offset: u64,
    /// The last sequence number in it, or before it if it holds none.
    pub last_seq: SeqNo,
}

impl From<&record_log::LogEnd> for LogEnd {
    fn from(end: &record_log::LogEnd) -> Self {
        LogEnd {
            number: end.number,
            identity: end.identity,
            offset: end.offset,
            last_seq: end.last_seq,
        }
    }
}

impl From<&LogEnd> for record_log::LogEnd {
    fn from(end: &LogEnd) -> Self {
        record_log::LogEnd {
            number: end.number,
            identity: end.identity,
            offset: end.offset,
            last_seq: end.last_seq,
        }
    }
}

/// What a log or manifest says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// Its number, which its name repeats.
    pub number: u64,
    /// Random bytes that no other file has.
    pub identity: [u8; 16],
    /// The log that it continues.
    pub predecessor: Option<LogEnd>,
    /// Whether room is reserved behind its end, where zeros or remains of older logs lie.
    pub reserved: bool,
}

impl From<&record_log::Header> for LogHeader {
    fn from(header: &record_log::Header) -> Self {
        LogHeader {
            number: header.number,
            identity: header.identity,
            predecessor: header.predecessor.as_ref().map(LogEnd::from),
            reserved: header.reserved,
        }
    }
}

/// What is known of a log from elsewhere. The default knows nothing: then a log is judged by itself alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLimits {
    /// The end that the manifest records: falling short of it is damage, and what lies behind was cut off.
    pub recorded_end: Option<u64>,
    /// The end that the successor's header names: what lies behind are frames of a failed write.
    pub successor_end: Option<u64>,
    /// A later log says that everything below this offset was synced.
    pub synced_to: u64,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes, header included.
    pub len: u64,
    /// What it carries.
    pub content: FrameContent<'a>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum FrameContent<'a> {
    /// The operations of one batch.
    Batch(Batch<'a>),
    /// "Everything in log `number` below `offset`, and all older logs, was synced before this was written."
    Marker {
        /// A log's number.
        number: u64,
        /// An offset in it.
        offset: u64,
    },
    /// A marker at the end of a file that was closed in order.
    Seal {
        /// The file's number.
        number: u64,
        /// The offset of the seal.
        offset: u64,
    },
}

/// A batch in a log.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The first operation's number; the others follow without gaps.
    pub first_seq: SeqNo,
    /// The last operation's.
    pub last_seq: SeqNo,
    /// How many operations there are.
    pub count: u64,
    ops: Ops<'a>,
}

impl<'a> Batch<'a> {
    /// The operations, in order, with their sequence numbers. After an error there are no more.
    pub fn operations(&self) -> Operations<'a> {
        Operations {
            next_seq: self.first_seq,
            ops: self.ops,
        }
    }
}

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Its number.
    pub seq: SeqNo,
    /// The keyspace that it writes to.
    pub keyspace: KeyspaceId,
    /// The key.
    pub key: &'a [u8],
    /// The value of a put; `None`: a delete, or a put of an object.
    pub value: Option<&'a [u8]>,
    /// The object in a pack that a put has made the value.
    pub object: Option<ObjectRef>,
}

/// The operations of a batch. See [`Batch::operations`].
#[derive(Clone, Copy, Debug)]
pub struct Operations<'a> {
    next_seq: SeqNo,
    ops: Ops<'a>,
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>>;

    fn next(&mut self) -> Option<Result<Operation<'a>>> {
        let op = match self.ops.next()? {
            Ok(op) => op,
            Err(error) => return Some(Err(error)),
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        let (keyspace, key, value, object) = match op {
            Op::Put { keyspace, key, value } => (keyspace, key, Some(value), None),
            Op::PutObject {
                keyspace,
                key,
                object,
            } => (keyspace, key, None, Some(object)),
            Op::Delete { keyspace, key } => (keyspace, key, None, None),
        };
        Some(Ok(Operation {
            seq,
            keyspace,
            key,
            value,
            object,
        }))
    }
}

/// How a log ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Tail {
    /// At its last frame.
    Clean,
    /// In bytes that are no whole frame, and nothing proves that they ever were: what a crash, or a writer at work, leaves.
    Torn {
        /// How many bytes, up to the file's end.
        bytes: u64,
        /// What is wrong with them.
        what: String,
    },
    /// In damage to what is known to have been synced.
    Damaged(Error),
    /// Unknown: the caller stopped the walk.
    Stopped,
}

/// What a walk through a log found.
#[derive(Clone, Debug)]
pub struct LogReport {
    /// The header.
    pub header: LogHeader,
    /// The offset behind the last good frame.
    pub end: u64,
    /// The file's length.
    pub file_len: u64,
    /// Whether the log was closed in order.
    pub sealed: bool,
    /// The highest log number and offset that a marker or seal names: everything below was synced.
    pub synced: Option<(u64, u64)>,
    /// How it ends.
    pub tail: Tail,
}

/// Walks through a file of the write-ahead log and hands each good frame to `sink`, which may stop it.
///
/// # Errors
/// The file can't be read or has no log's header; a frame of a newer release; a batch that does not decode although its
/// checksum is right. Damage behind the header is no error but a [`Tail`].
pub fn walk_log(
    fs: &dyn FileSystem,
    path: &Path,
    limits: &LogLimits,
    sink: &mut dyn FnMut(Frame<'_>) -> ControlFlow<()>,
) -> Result<LogReport> {
    walk(
        fs,
        path,
        LogKind::Wal,
        limits,
        &mut |_| {},
        &mut |offset, content| {
            let frame = match content {
                RawFrame::Data(payload) => {
                    let batch = Payload::parse(path, offset, payload)?;
                    let (first_seq, last_seq) = (batch.first_seq(), batch.last_seq());
                    Frame {
                        offset,
                        len: FRAME_HEADER_LEN + payload.len() as u64,
                        content: FrameContent::Batch(Batch {
                            first_seq,
                            last_seq,
                            count: last_seq - first_seq + 1,
                            ops: batch.ops(),
                        }),
                    }
                }
                RawFrame::Mark(frame) => frame,
            };
            Ok(sink(frame))
        },
    )
}

/// A frame before anybody has looked at its payload.
pub(super) enum RawFrame<'a> {
    Data(&'a [u8]),
    Mark(Frame<'a>),
}

/// Length of a marker or seal in a file.
const MARKER_LEN: u64 = FRAME_HEADER_LEN + 16;

/// The walk that logs and manifests share.
pub(super) fn walk(
    fs: &dyn FileSystem,
    path: &Path,
    kind: LogKind,
    limits: &LogLimits,
    on_header: &mut dyn FnMut(&LogHeader),
    sink: &mut dyn FnMut(u64, RawFrame<'_>) -> Result<ControlFlow<()>>,
) -> Result<LogReport> {
    let options = ReadOptions {
        stop_at: limits.recorded_end,
        successor_end: limits.successor_end,
        synced_to: limits.synced_to,
        // Damage is then reported instead of being the error that ends everything.
        mode: RecoveryMode::PointInTime,
        header: None,
    };
    let file_len = fs
        .open(path)
        .and_then(|file| file.len())
        .map_err(|e| Error::io("open", path, e))?;
    let mut stopped = false;
    let outcome = record_log::walk(fs, path, kind, &options, &mut |event| {
        let flow = match event {
            Event::Header(header) => {
                on_header(&LogHeader::from(header));
                ControlFlow::Continue(())
            }
            Event::Data { offset, payload } => sink(offset, RawFrame::Data(payload))?,
            Event::Marker { offset, place, seal } => sink(offset, RawFrame::Mark(mark(offset, place, seal)))?,
            Event::Skipped(_) => ControlFlow::Continue(()),
        };
        stopped |= flow.is_break();
        Ok(flow)
    })?;
    Ok(report(outcome, file_len, stopped))
}

fn mark(offset: u64, (number, place): (u64, u64), seal: bool) -> Frame<'static> {
    let content = match seal {
        true => FrameContent::Seal {
            number,
            offset: place,
        },
        false => FrameContent::Marker {
            number,
            offset: place,
        },
    };
    Frame {
        offset,
        len: MARKER_LEN,
        content,
    }
}

fn report(outcome: ReadOutcome, file_len: u64, stopped: bool) -> LogReport {
    let tail = match (stopped, outcome.damage, outcome.torn) {
        (true, _, _) => Tail::Stopped,
        (_, Some(damage), _) => Tail::Damaged(damage),
        (_, None, Some(what)) => Tail::Torn {
            bytes: outcome.torn_bytes,
            what,
        },
        (_, None, None) => Tail::Clean,
    };
    LogReport {
        header: LogHeader::from(&outcome.header),
        end: outcome.end,
        file_len,
        sealed: outcome.sealed,
        synced: outcome.markers,
        tail,
    }
}

/// The series of logs of a database, as the next open would see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// The files that make up the log, oldest first, each with the offset where it ends.
    pub logs: Vec<(PathBuf, u64)>,
    /// Batches in them, whether or not they are in SSTs already.
    pub batches: u64,
    /// Operations in them.
    pub operations: u64,
    /// The last sequence number in them, or before them.
    pub last_seq: SeqNo,
    /// Bytes at the end that are not whole frames, and would be cut off.
    pub torn_bytes: u64,
    /// Whether the log was closed in order.
    pub sealed: bool,
    /// Log files that nobody needs any more.
    pub leftovers: Vec<PathBuf>,
}

/// Reads all logs of the database in `dir` and judges them as an open would: which files belong to the log, that none is
/// missing, and that damage is not behind a sync.
///
/// # Errors
/// What would keep the database from opening, with file and offset.
pub fn read_logs(fs: &dyn FileSystem, dir: &Path, state: &State) -> Result<LogSummary> {
    let options = ReplayOptions {
        floor: state.log_floor,
        must_exist: vec![state.log_known],
        ends: state.log_ends.iter().map(record_log::LogEnd::from).collect(),
        mode: RecoveryMode::TornTail,
    };
    let mut summary = LogSummary::default();
    let found = wal::replay(fs, dir, &options, &mut |_, payload| {
        summary.batches += 1;
        for op in payload.ops() {
            op?;
            summary.operations += 1;
        }
        Ok(())
    })?;
    summary.logs = found
        .logs
        .into_iter()
        .map(|log| (log.path, log.end.offset))
        .collect();
    summary.last_seq = found.last_seq;
    summary.torn_bytes = found.torn_bytes;
    summary.sealed = found.sealed;
    summary.leftovers = found.leftovers;
    Ok(summary)
}
