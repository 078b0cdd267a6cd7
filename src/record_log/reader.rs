//! Reading a record log: by pread, in bounded memory, trusting no byte. A frame's length is checked against the rest of the
//! file before anything is allocated for it.

use std::ops::ControlFlow;
use std::path::Path;

use crate::coding::{array_at, u32_at};
use crate::env::FileSystem;
use crate::{Error, Result};

use super::format::{
    END, FRAME_HEADER_SIZE, FrameKind, FrameSum, MARKER_PAYLOAD_SIZE, MARKER_SIZE, decode_marker,
};
use super::resync::Resync;
use super::window::Window;
use super::{
    Event, FRAME_HEADER_LEN, HEADER_LEN, Header, HeaderOutcome, LogKind, ReadOptions, ReadOutcome,
    RecoveryMode, Skipped,
};

/// Reads and judges the first bytes of a file. Errors: the file can't be read, or [`Error::NewerFormat`].
pub(crate) fn read_header(fs: &dyn FileSystem, path: &Path, kind: LogKind) -> Result<HeaderOutcome> {
    let mut window = Window::open(fs, path)?;
    window.header(kind)
}

/// Whether the log of that header holds frames, as far as its first bytes say.
pub(crate) fn has_frames(fs: &dyn FileSystem, path: &Path, header: &Header) -> Result<bool> {
    let mut window = Window::open(fs, path)?;
    let limit = window.len;
    Ok(limit > HEADER_LEN && !(header.reserved && ends_at(&mut window, HEADER_LEN, limit)?))
}

/// Whether the log of that identity holds a whole frame at `offset`.
pub(crate) fn has_frame_at(
    fs: &dyn FileSystem,
    path: &Path,
    identity: &[u8; 16],
    offset: u64,
) -> Result<bool> {
    let mut window = Window::open(fs, path)?;
    let limit = window.len;
    let frame = frame_at(&mut window, &FrameSum::new(identity), offset, limit)?;
    Ok(matches!(frame, Frame::Good(..)))
}

/// Reads a log from its header to its end, and hands each data payload with its frame's offset to `sink`.
///
/// At a bad frame: if the file is known to have been synced beyond it (from `options`, or from a marker or seal that
/// is found behind it), that is [`Error::Corruption`]; else it is a torn tail, which ends the log. `options.mode`
/// changes both. Nothing on disk is changed.
pub(crate) fn read(
    fs: &dyn FileSystem,
    path: &Path,
    kind: LogKind,
    options: &ReadOptions,
    sink: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<ReadOutcome> {
    walk(fs, path, kind, options, &mut |event| {
        if let Event::Data { offset, payload } = event {
            sink(offset, payload)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// As [`read`], and hands on the header, markers and seals too. The sink may end the walk, which then judges nothing.
pub(crate) fn walk(
    fs: &dyn FileSystem,
    path: &Path,
    kind: LogKind,
    options: &ReadOptions,
    sink: Sink<'_>,
) -> Result<ReadOutcome> {
    let mut window = Window::open(fs, path)?;
    window.tolerant = options.mode == RecoveryMode::Salvage;
    let header = match &options.header {
        Some(header) => header.clone(),
        None => window.header(kind)?.into_header(path)?,
    };
    let flow = sink(Event::Header(&header))?;
    let stop = options
        .stop_at
        .unwrap_or(u64::MAX)
        .min(options.successor_end.unwrap_or(u64::MAX));
    let mut reader = Reader {
        sum: FrameSum::new(&header.identity),
        limit: window.len.min(stop),
        stop,
        window,
        resync: None,
        outcome: ReadOutcome {
            header,
            end: HEADER_LEN,
            sealed: false,
            torn_bytes: 0,
            torn: None,
            markers: None,
            damage: None,
        },
    };
    if flow.is_break() {
        return Ok(reader.outcome);
    }
    loop {
        let Some(bad) = reader.walk(&mut *sink)? else {
            return Ok(reader.outcome);
        };
        if options.mode == RecoveryMode::Salvage && !bad.sealed && reader.skip(&bad, &mut *sink)? {
            continue;
        }
        let behind = reader.scan_behind(reader.outcome.end)?;
        if bad.may_grow && reader.has_grown(behind.0)? {
            continue;
        }
        return reader.judge(&bad, behind, options);
    }
}

/// Who is told what a walk comes upon.
type Sink<'a> = &'a mut dyn FnMut(Event<'_>) -> Result<ControlFlow<()>>;

struct Reader<'a> {
    window: Window<'a>,
    sum: FrameSum,
    /// Where the outside says that the log ends, if it does.
    stop: u64,
    /// Nothing is read from here on: `stop` or the file's end.
    limit: u64,
    /// Made at the first bad place that has to be stepped over.
    resync: Option<Resync>,
    outcome: ReadOutcome,
}

/// Why the bytes at `outcome.end` are not the next frame.
struct BadPlace {
    what: String,
    /// The bytes follow a seal, so they are damage whatever they are.
    sealed: bool,
    /// They are those that stand behind the last frame in reserved room: no damage, unless something proves that there was more.
    ends: bool,
    /// They are no whole frame, and might be one now if the log is being written.
    may_grow: bool,
}

impl BadPlace {
    fn new(what: impl Into<String>) -> BadPlace {
        BadPlace {
            what: what.into(),
            sealed: false,
            ends: false,
            may_grow: false,
        }
    }
}

enum Frame<'b> {
    Good(FrameKind, &'b [u8]),
    Bad(String),
}

impl Reader<'_> {
    /// Hands on good frames up to the end or the first bad place.
    fn walk(&mut self, sink: Sink<'_>) -> Result<Option<BadPlace>> {
        loop {
            let at = self.outcome.end;
            if at == self.limit && (self.stop == u64::MAX || self.limit == self.stop) {
                return Ok(None);
            }
            let reserved = self.outcome.header.reserved && self.stop == u64::MAX;
            if self.outcome.sealed {
                if reserved {
                    return Ok(None);
                }
                let sealed = BadPlace::new("expected nothing behind the seal, found more bytes");
                return Ok(Some(BadPlace {
                    sealed: true,
                    ..sealed
                }));
            }
            if at >= self.limit {
                let what = format!(
                    "expected frames up to offset {}, found the end of the file",
                    self.stop
                );
                return Ok(Some(BadPlace::new(what)));
            }
            if reserved && ends_at(&mut self.window, at, self.limit)? {
                return Ok(Some(BadPlace {
                    ends: true,
                    may_grow: true,
                    ..BadPlace::new("expected a frame, found the end of the log")
                }));
            }
            let (kind, payload) = match frame_at(&mut self.window, &self.sum, at, self.limit)? {
                Frame::Good(kind, payload) => (kind, payload),
                Frame::Bad(what) => {
                    return Ok(Some(BadPlace {
                        may_grow: reserved,
                        ..BadPlace::new(what)
                    }));
                }
            };
            let next = at + FRAME_HEADER_LEN + payload.len() as u64;
            let flow = match kind {
                FrameKind::Data => sink(Event::Data { offset: at, payload })?,
                FrameKind::Marker | FrameKind::Seal => {
                    let Some(place) = decode_marker(payload) else {
                        return Ok(Some(BadPlace::new("expected 16 bytes in a marker or seal")));
                    };
                    self.outcome.markers = self.outcome.markers.max(Some(place));
                    self.outcome.sealed = kind == FrameKind::Seal;
                    sink(Event::Marker {
                        offset: at,
                        place,
                        seal: self.outcome.sealed,
                    })?
                }
            };
            self.outcome.end = next;
            if flow.is_break() {
                return Ok(None);
            }
        }
    }

    /// Steps over a bad place to the next whole frame; says whether there is one.
    fn skip(&mut self, bad: &BadPlace, sink: Sink<'_>) -> Result<bool> {
        let from = self.outcome.end;
        let mut resync = match self.resync.take() {
            Some(resync) => resync,
            None => Resync::new(&mut self.window, self.sum.clone(), from, self.limit)?,
        };
        let next = resync.next_frame(&mut self.window, from.saturating_add(1))?;
        self.resync = Some(resync);
        let Some(to) = next else {
            return Ok(false);
        };
        let what = bad.what.clone();
        let flow = sink(Event::Skipped(&Skipped { from, to, what }))?;
        self.outcome.end = to;
        if flow.is_break() {
            self.limit = to;
            self.stop = to;
        }
        Ok(true)
    }

    /// Decides what a bad place is: the end, a torn tail, or damage.
    fn judge(
        mut self,
        bad: &BadPlace,
        (behind, used): (Option<(u64, u64)>, u64),
        options: &ReadOptions,
    ) -> Result<ReadOutcome> {
        let at = self.outcome.end;
        if !bad.ends {
            let torn_to = if self.outcome.header.reserved {
                used
            } else {
                self.limit
            };
            self.outcome.torn_bytes = torn_to.saturating_sub(at);
            self.outcome.torn = Some(bad.what.clone());
        }
        self.outcome.markers = self.outcome.markers.max(behind);
        let proof = if bad.sealed {
            Some("the log was closed in order".to_owned())
        } else if options.stop_at.is_some_and(|stop| at < stop) {
            Some("its end was recorded after it had been synced".to_owned())
        } else if at < options.synced_to && !bad.ends {
            Some("a later log says that it had been synced".to_owned())
        } else {
            behind
                .filter(|place| *place > (self.outcome.header.number, at))
                .map(|(_, offset)| format!("the log had been synced up to offset {offset}"))
        };
        let path = self.window.path;
        if bad.ends && proof.is_some() {
            self.outcome.torn_bytes = used.saturating_sub(at);
            self.outcome.torn = Some(bad.what.clone());
        }
        let damage = match (proof, options.mode) {
            (None, RecoveryMode::Absolute) if !bad.ends => Error::corruption(
                path,
                at,
                format!("{}; the recovery mode allows no torn tail", bad.what),
            ),
            (None, _) => return Ok(self.outcome),
            (Some(proof), _) => Error::corruption(path, at, format!("{}; {proof}", bad.what)),
        };
        if !matches!(options.mode, RecoveryMode::PointInTime | RecoveryMode::Salvage) {
            return Err(damage);
        }
        self.outcome.damage = Some(damage);
        Ok(self.outcome)
    }

    /// Whether there is a frame now where there was none before. Its writer may be at work: what the buffer holds of reserved room
    /// is then older than a marker that is found behind it, and proves nothing.
    fn has_grown(&mut self, behind: Option<(u64, u64)>) -> Result<bool> {
        let at = self.outcome.end;
        if behind <= Some((self.outcome.header.number, at)) {
            return Ok(false);
        }
        self.window.forget();
        let frame = frame_at(&mut self.window, &self.sum, at, self.limit)?;
        Ok(matches!(frame, Frame::Good(..)))
    }

    /// Looks for markers and seals at every offset from `from` on; returns the highest place that one names, and the
    /// offset behind the last byte that is not zero.
    fn scan_behind(&mut self, from: u64) -> Result<(Option<(u64, u64)>, u64)> {
        let mut best = None;
        let mut used = from;
        let mut at = from;
        while self.limit.saturating_sub(at) >= MARKER_SIZE as u64 {
            let chunk = self.window.chunk(at, MARKER_SIZE, self.limit)?;
            match last_nonzero(chunk) {
                Some(last) => used = at + last as u64 + 1,
                None => {
                    at += (chunk.len() - MARKER_SIZE + 1) as u64;
                    continue;
                }
            }
            for (index, candidate) in chunk.windows(MARKER_SIZE).enumerate() {
                best = best.max(marker_in(&self.sum, at + index as u64, candidate));
            }
            at += (chunk.len() - MARKER_SIZE + 1) as u64;
        }
        if at < self.limit
            && let Some(last) = last_nonzero(self.window.chunk(at, 1, self.limit)?)
        {
            used = at + last as u64 + 1;
        }
        Ok((best, used))
    }
}

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte != 0)
}

/// Whether the bytes at `at` are those that follow the last frame in reserved room.
fn ends_at(window: &mut Window<'_>, at: u64, limit: u64) -> Result<bool> {
    let size = END.len().min(limit.saturating_sub(at) as usize);
    let found = window.chunk(at, size, limit)?;
    Ok(found.iter().zip(END).all(|(found, wanted)| *found == wanted))
}

/// The place that a marker or seal at `offset` names, if these bytes are one.
fn marker_in(sum: &FrameSum, offset: u64, bytes: &[u8]) -> Option<(u64, u64)> {
    let kind = FrameKind::from_byte(*bytes.get(8)?).filter(|kind| *kind != FrameKind::Data)?;
    if u32_at(bytes, 0)? as usize != MARKER_PAYLOAD_SIZE {
        return None;
    }
    let payload = bytes.get(FRAME_HEADER_SIZE..MARKER_SIZE)?;
    if u32_at(bytes, 4)? != sum.of(offset, kind.to_byte(), payload) {
        return None;
    }
    decode_marker(payload)
}

/// Reads and checks the frame at `at`, which must end at or before `limit`.
fn frame_at<'w>(window: &'w mut Window<'_>, sum: &FrameSum, at: u64, limit: u64) -> Result<Frame<'w>> {
    let rest = limit.saturating_sub(at);
    if rest < FRAME_HEADER_LEN {
        return Ok(Frame::Bad(format!("expected a frame, found {rest} bytes")));
    }
    let front: Option<[u8; FRAME_HEADER_SIZE]> = array_at(window.chunk(at, FRAME_HEADER_SIZE, limit)?, 0);
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = front.unwrap_or_default();
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if u64::from(len) > rest - FRAME_HEADER_LEN {
        return Ok(Frame::Bad(format!(
            "a frame's length is {len} and only {rest} bytes are left"
        )));
    }
    if kind == 0 {
        return Ok(Frame::Bad("expected a frame, found kind 0".to_owned()));
    }
    let path = window.path;
    let size = FRAME_HEADER_SIZE + len as usize;
    let payload = window
        .chunk(at, size, limit)?
        .get(FRAME_HEADER_SIZE..size)
        .unwrap_or_default();
    if u32::from_le_bytes([c0, c1, c2, c3]) != sum.of(at, kind, payload) {
        return Ok(Frame::Bad("a frame's checksum does not match".to_owned()));
    }
    match FrameKind::from_byte(kind) {
        Some(kind) => Ok(Frame::Good(kind, payload)),
        None => Err(Error::NewerFormat {
            path: path.to_owned(),
            what: format!("a frame of kind {kind} at offset {at}, and this release knows kinds 1 to 3"),
        }),
    }
}

impl Header {
    /// The file's number and identity, with where it ends.
    pub(crate) fn ended(&self, offset: u64, last_seq: crate::SeqNo) -> super::LogEnd {
        super::LogEnd {
            number: self.number,
            identity: self.identity,
            offset,
            last_seq,
        }
    }
}
