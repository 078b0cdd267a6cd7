//! Bytes of headers and frames, to and from. The drawing is in the parent module.

use std::path::Path;

use crate::coding::Decoder;
use crate::planted::{self, Bug};
use crate::types::MAX_SEQ;
use crate::{Error, Result};

use super::{Header, LogEnd, LogKind};

/// Length of a header in bytes. Below 512, so that a sector holds it or does not.
pub(crate) const HEADER_LEN: u64 = 96;
const HEADER_SIZE: usize = HEADER_LEN as usize;
const HEADER_CRC_AT: usize = HEADER_SIZE - 4;

/// Bytes of a frame in front of its payload.
pub(crate) const FRAME_HEADER_LEN: u64 = 9;
pub(super) const FRAME_HEADER_SIZE: usize = FRAME_HEADER_LEN as usize;

/// Length of the payload of a marker or seal in bytes.
pub(super) const MARKER_PAYLOAD_SIZE: usize = 16;

/// Length of a whole marker or seal frame in bytes.
pub(super) const MARKER_SIZE: usize = FRAME_HEADER_SIZE + MARKER_PAYLOAD_SIZE;
/// Bytes that a marker, or a seal, takes in the log.
pub(crate) const MARKER_LEN: u64 = MARKER_SIZE as u64;

const MAGIC_SIZE: usize = 8;

/// The one format there is so far. The place of magic, version, features and checksum never changes.
const VERSION: u32 = 2;

/// The feature bit of a file with reserved room.
const RESERVED: u32 = 1;

/// What stands behind the last frame in reserved room: as long as the front of a frame, and none has length, checksum and kind
/// zero.
pub(super) const END: [u8; FRAME_HEADER_SIZE] = [0; FRAME_HEADER_SIZE];

/// The name of the operation in the error of a failed sync.
pub(crate) const SYNC: &str = "sync";

/// Whether the error is that of a failed sync, after which nothing may be assumed about what the disk holds.
pub(crate) fn is_sync_failure(error: &Error) -> bool {
    matches!(error, Error::Io { operation, .. } if *operation == SYNC)
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Data,
    Marker,
    Seal,
}

impl FrameKind {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            FrameKind::Data => 1,
            FrameKind::Marker => 2,
            FrameKind::Seal => 3,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(FrameKind::Data),
            2 => Some(FrameKind::Marker),
            3 => Some(FrameKind::Seal),
            _ => None,
        }
    }
}

pub(crate) fn magic(kind: LogKind) -> &'static [u8; MAGIC_SIZE] {
    match kind {
        LogKind::Wal => b"PKSTWAL\0",
        LogKind::Manifest => b"PKSTMAN\0",
    }
}

pub(super) fn encode_header(header: &Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE);
    out.extend_from_slice(magic(header.kind));
    out.extend_from_slice(&VERSION.to_le_bytes());
    let features = if header.reserved { RESERVED } else { 0 };
    out.extend_from_slice(&features.to_le_bytes());
    out.extend_from_slice(&header.number.to_le_bytes());
    out.extend_from_slice(&header.identity);
    let none = LogEnd {
        number: 0,
        identity: [0; 16],
        offset: 0,
        last_seq: 0,
    };
    let before = header.predecessor.as_ref().unwrap_or(&none);
    out.extend_from_slice(&before.number.to_le_bytes());
    out.extend_from_slice(&before.identity);
    out.extend_from_slice(&before.offset.to_le_bytes());
    out.extend_from_slice(&before.last_seq.to_le_bytes());
    out.extend_from_slice(&u32::from(header.predecessor.is_some()).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// What the bytes at the front of a file are.
pub(super) enum Decoded {
    Header(Header),
    /// Magic or checksum is wrong in a way that a torn or damaged header explains.
    Damaged(&'static str),
    /// The magic is another one.
    Foreign,
}

/// Decodes the first bytes of a file (fewer than a header's if the file is shorter).
pub(super) fn decode_header(path: &Path, kind: LogKind, bytes: &[u8]) -> Result<Decoded> {
    let whole = bytes
        .get(..HEADER_SIZE)
        .and_then(|header| header.split_at_checked(HEADER_CRC_AT));
    let found = bytes.get(..bytes.len().min(MAGIC_SIZE)).unwrap_or_default();
    if found != magic(kind) {
        // A crash leaves zeros where bytes have not reached the disk; a flip in the magic leaves the checksum, which
        // was computed with the right one.
        let torn = found
            .iter()
            .zip(magic(kind))
            .all(|(found, wanted)| found == wanted || *found == 0);
        let flipped = whole.is_some_and(|(body, crc)| {
            let rest = body.get(MAGIC_SIZE..).unwrap_or_default();
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(magic(kind));
            hasher.update(rest);
            hasher.finalize().to_le_bytes() == crc
        });
        return Ok(if torn || flipped {
            Decoded::Damaged("the header's magic is damaged")
        } else {
            Decoded::Foreign
        });
    }
    let Some((body, crc)) = whole else {
        return Ok(Decoded::Damaged("the file is shorter than a header"));
    };
    if crc32fast::hash(body).to_le_bytes() != crc {
        return Ok(Decoded::Damaged("the header's checksum does not match"));
    }
    let mut decoder = Decoder::new(body);
    decode_body(path, kind, &mut decoder)
        .map(|header| header.map_or(Decoded::Damaged("the header is malformed"), Decoded::Header))
}

fn decode_body(path: &Path, kind: LogKind, decoder: &mut Decoder<'_>) -> Result<Option<Header>> {
    let prefix = (|| {
        decoder.bytes(MAGIC_SIZE)?;
        Some((decoder.u32()?, decoder.u32()?))
    })();
    let Some((version, features)) = prefix else {
        return Ok(None);
    };
    if version != VERSION || features & !RESERVED != 0 {
        return Err(Error::NewerFormat {
            path: path.to_owned(),
            what: format!(
                "log format version {version} with features {features:#x}, and this release reads version {VERSION} \
                 with features up to {RESERVED:#x}"
            ),
        });
    }
    Ok((|| {
        let number = decoder.u64()?;
        let identity = decoder.array()?;
        let before = LogEnd {
            number: decoder.u64()?,
            identity: decoder.array()?,
            offset: decoder.u64()?,
            last_seq: decoder.u64()?,
        };
        let predecessor = match decoder.u32()? {
            0 => None,
            1 if before.number < number && before.offset >= HEADER_LEN && before.last_seq <= MAX_SEQ => {
                Some(before)
            }
            _ => return None,
        };
        Some(Header {
            kind,
            number,
            identity,
            predecessor,
            reserved: features == RESERVED,
        })
    })())
}

/// Computes the checksums of one file's frames.
#[derive(Clone)]
pub(super) struct FrameSum {
    seed: crc32fast::Hasher,
}

impl FrameSum {
    pub(super) fn new(identity: &[u8; 16]) -> Self {
        let mut seed = crc32fast::Hasher::new();
        if !planted::is(Bug::FrameSumNotSeeded) {
            seed.update(identity);
        }
        FrameSum { seed }
    }

    pub(super) fn of(&self, offset: u64, kind: u8, payload: &[u8]) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(&(payload.len() as u32).to_le_bytes());
        hasher.update(&[kind]);
        hasher.update(payload);
        hasher.finalize()
    }

    /// The checksum up to the payload, which follows: it is what an empty payload would have.
    pub(super) fn front(&self, offset: u64, len: u32, kind: u8) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(&len.to_le_bytes());
        hasher.update(&[kind]);
        hasher.finalize()
    }

    /// The bytes in front of a frame's payload.
    pub(super) fn frame_header(
        &self,
        offset: u64,
        kind: FrameKind,
        payload: &[u8],
    ) -> [u8; FRAME_HEADER_SIZE] {
        let [l0, l1, l2, l3] = (payload.len() as u32).to_le_bytes();
        let [c0, c1, c2, c3] = self.of(offset, kind.to_byte(), payload).to_le_bytes();
        [l0, l1, l2, l3, c0, c1, c2, c3, kind.to_byte()]
    }
}

pub(super) fn encode_marker(number: u64, offset: u64) -> [u8; MARKER_PAYLOAD_SIZE] {
    let mut out = [0; MARKER_PAYLOAD_SIZE];
    let (first, second) = out.split_at_mut(8);
    first.copy_from_slice(&number.to_le_bytes());
    second.copy_from_slice(&offset.to_le_bytes());
    out
}

pub(super) fn decode_marker(payload: &[u8]) -> Option<(u64, u64)> {
    let mut decoder = Decoder::new(payload);
    let place = (decoder.u64()?, decoder.u64()?);
    decoder.is_empty().then_some(place)
}
