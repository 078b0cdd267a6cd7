//! [`Resync`]: finds the next whole frame behind damage, at any offset, with bounded work.
//!
//! Identity and offset are part of a frame's checksum, so a frame that validates is one that was written at this very place.
//! But a candidate is nine bytes whose length field may claim anything, and computing the checksum of each claim would take
//! time that grows with the square of the file. CRC-32 is linear: the sum of a range follows from the sums of two prefixes.
//! So the sums of all prefixes that end at a multiple of [`STEP`] are computed once (one pass, four bytes for each step), and a
//! candidate costs two reads of less than a step, whatever length it claims.

use crate::coding::array_at;
use crate::{Error, Result};

use super::FRAME_HEADER_LEN;
use super::format::{FRAME_HEADER_SIZE, FrameKind, FrameSum, MARKER_PAYLOAD_SIZE};
use super::window::Window;

/// Bytes between two known prefixes. 4 KiB: a thousandth of the file in memory.
const STEP: usize = 4 << 10;

/// Candidates that are tried in any file, however short; one more for each 64 bytes. Random bytes make one candidate of 85 by
/// their kind, of which few claim a length that fits; only a hostile file has more, and then the rest of it is given up.
const LEAST_TRIES: u64 = 1 << 16;
const BYTES_A_TRY: u64 = 64;

/// See the module's comment. One for each file and walk.
pub(super) struct Resync {
    sum: FrameSum,
    base: u64,
    limit: u64,
    /// The CRC-32 of the bytes from `base` to `base + i * STEP`.
    prefixes: Vec<u32>,
    tries: u64,
}

/// Nine bytes that could begin a frame.
struct Candidate {
    offset: u64,
    len: u32,
    crc: u32,
    kind: u8,
}

impl Resync {
    /// For bad places from `base` on; nothing at or behind `limit` counts.
    pub(super) fn new(window: &mut Window<'_>, sum: FrameSum, base: u64, limit: u64) -> Result<Resync> {
        let mut prefixes = vec![0];
        let mut hasher = crc32fast::Hasher::new();
        let mut at = base;
        while limit.saturating_sub(at) >= STEP as u64 {
            let chunk = window.chunk(at, STEP, limit)?;
            for step in chunk.chunks_exact(STEP) {
                hasher.update(step);
                prefixes.push(hasher.clone().finalize());
                at += STEP as u64;
            }
        }
        Ok(Resync {
            sum,
            base,
            limit,
            prefixes,
            tries: LEAST_TRIES + limit.saturating_sub(base) / BYTES_A_TRY,
        })
    }

    /// The offset of the first whole frame at or behind `from`.
    pub(super) fn next_frame(&mut self, window: &mut Window<'_>, from: u64) -> Result<Option<u64>> {
        let mut at = from;
        while self.limit.saturating_sub(at) >= FRAME_HEADER_LEN {
            let chunk = window.chunk(at, FRAME_HEADER_SIZE, self.limit)?;
            let candidates: Vec<Candidate> = (at..)
                .zip(chunk.windows(FRAME_HEADER_SIZE))
                .filter_map(|(offset, bytes)| candidate(offset, bytes, self.limit))
                .collect();
            let passed = (chunk.len() + 1).saturating_sub(FRAME_HEADER_SIZE) as u64;
            for candidate in candidates {
                let Some(tries) = self.tries.checked_sub(1) else {
                    return Ok(None);
                };
                self.tries = tries;
                if self.validates(window, &candidate)? {
                    return Ok(Some(candidate.offset));
                }
            }
            at += passed;
        }
        Ok(None)
    }

    fn validates(&self, window: &Window<'_>, candidate: &Candidate) -> Result<bool> {
        let begin = candidate.offset + FRAME_HEADER_LEN;
        let len = u64::from(candidate.len);
        let (Some(before), Some(upto)) = (self.prefix(window, begin)?, self.prefix(window, begin + len)?)
        else {
            return Ok(false);
        };
        let front = self.sum.front(candidate.offset, candidate.len, candidate.kind);
        // The sum of a run `a b` is shift(sum of a, length of b) xor the sum of b; shift is linear.
        Ok(shift(front ^ before, len) ^ upto == candidate.crc)
    }

    /// The CRC-32 of the bytes from `base` to `at`.
    fn prefix(&self, window: &Window<'_>, at: u64) -> Result<Option<u32>> {
        let Some(distance) = at.checked_sub(self.base) else {
            return Ok(None);
        };
        let index = (distance / STEP as u64) as usize;
        let Some(crc) = self.prefixes.get(index) else {
            return Ok(None);
        };
        let mut rest = vec![0; distance as usize % STEP];
        let from = at - rest.len() as u64;
        match window.file.read_exact_at(from, &mut rest) {
            Ok(()) => {}
            // Taken for zeros when the prefixes were computed, or not: it validates nothing.
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(Error::io("read", window.path, error)),
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(*crc);
        hasher.update(&rest);
        Ok(Some(hasher.finalize()))
    }
}

fn candidate(offset: u64, bytes: &[u8], limit: u64) -> Option<Candidate> {
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = array_at::<FRAME_HEADER_SIZE>(bytes, 0)?;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let fits = match FrameKind::from_byte(kind)? {
        FrameKind::Data => u64::from(len) <= limit.saturating_sub(offset).checked_sub(FRAME_HEADER_LEN)?,
        FrameKind::Marker | FrameKind::Seal => len as usize == MARKER_PAYLOAD_SIZE,
    };
    fits.then_some(Candidate {
        offset,
        len,
        crc: u32::from_le_bytes([c0, c1, c2, c3]),
        kind,
    })
}

/// What `crc` becomes when `len` bytes follow, apart from what those bytes add.
fn shift(crc: u32, len: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(0, len));
    hasher.finalize()
}
