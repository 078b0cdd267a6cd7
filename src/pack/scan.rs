//! [`Scan`]: the records of a pack in the order of the file, without an index.
//!
//! A record's header names its length, so a scan reads both ends of each record and steps on. [`find_record`] looks for the next
//! record behind damage: a header is told by its sum, which depends on file and place.
//!
//! Callers: `verify`, `recover`.

use super::format::{RECORD_HEADER_LEN, RecordHeader};
use super::object::{RecordFile, RecordInfo, RecordPlace};
use crate::Result;

/// What of a medium fails together: 4 KiB.
const BLOCK: u64 = 4 << 10;

/// What the steps of a search read: the first one nothing but the header that is most likely there, the next ones more and more. So
/// stepping over what is whole costs nothing, and neither does a file that is made of headers alone.
const FIRST_STEP: u64 = 1;
const SECOND_STEP: u64 = 4 << 10;
const LAST_STEP: u64 = 1 << 20;

/// Records in the order of the file.
pub(super) struct Scan {
    file: RecordFile,
    at: u64,
    end: u64,
}

impl Scan {
    /// The records of this range.
    pub(super) fn new(file: &RecordFile, from: u64, end: u64) -> Self {
        Scan {
            file: file.clone(),
            at: from,
            end,
        }
    }

    /// The next record; an error if what is there is none. After an error it stays where it is.
    pub(super) fn next(&mut self) -> Result<Option<RecordInfo>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let info = self.read()?;
        self.at += info.place.record_len;
        Ok(Some(info))
    }

    fn read(&self) -> Result<RecordInfo> {
        let damaged = || self.file.damaged(self.at, "expected the header of a record");
        if self.end - self.at < RECORD_HEADER_LEN {
            return Err(damaged());
        }
        let bytes = self.file.read(self.at, RECORD_HEADER_LEN)?;
        let header = RecordHeader::decode(&bytes, self.file.seed, self.at).ok_or_else(damaged)?;
        if header.record_len > self.end - self.at {
            let what = format!("expected a record that ends at {} or before", self.end);
            return Err(self.file.damaged(self.at, what));
        }
        let place = RecordPlace {
            offset: self.at,
            record_len: header.record_len,
        };
        RecordInfo::read(&self.file, place)
    }
}

/// Where the next header of a record lies, from `from` on and before `end`. What the medium does not give counts as zeros.
pub(super) fn find_record(file: &RecordFile, from: u64, end: u64) -> Option<u64> {
    let (mut at, mut step) = (from, FIRST_STEP);
    while at + RECORD_HEADER_LEN <= end {
        let len = (end - at).min(step + RECORD_HEADER_LEN - 1);
        let bytes = file
            .read(at, len)
            .unwrap_or_else(|_| read_by_blocks(file, at, len));
        for (place, window) in bytes.windows(RECORD_HEADER_LEN as usize).enumerate() {
            if window.starts_with(b"PKob")
                && RecordHeader::decode(window, file.seed, at + place as u64).is_some()
            {
                return Some(at + place as u64);
            }
        }
        at += len + 1 - RECORD_HEADER_LEN;
        step = (step * 8).clamp(SECOND_STEP, LAST_STEP);
    }
    None
}

/// Block by block, with zeros for those that can't be read.
fn read_by_blocks(file: &RecordFile, at: u64, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len {
        let from = at + bytes.len() as u64;
        let part = (BLOCK - from % BLOCK).min(at + len - from);
        bytes.extend(file.read(from, part).unwrap_or_else(|_| vec![0; part as usize]));
    }
    bytes
}
