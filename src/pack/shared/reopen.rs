//! Unsealed packs of an earlier process: which records are whole, and what to do with the rest.
//!
//! Up to a length that somebody knows to be durable records are stepped through, and what is not as it should be is damage. Behind it each record
//! is verified to the last chunk, as far as they are whole: what follows is what a crash has torn. A writer cuts it off, and writes
//! again what it has verified: the earlier process may have seen a sync fail, and then what the page cache shows is not on the medium, and no
//! sync would bring it there.

use std::path::Path;
use std::sync::Arc;

use super::super::format::{
    FILE_HEADER_LEN, RECORD_HEADER_LEN, RecordHeader, SEALED_LEN_AT, TRAILER_LEN, decode_sealed_len,
    encode_sealed_len,
};
use super::super::object::{ObjectReader, RecordFile, RecordInfo, RecordPlace};
use super::super::reader::Pack;
use super::super::section::Located;
use super::file::expect_pack;
use super::seal::Contents;
use super::{SealedPack, SharedPack};
use crate::env::FileSystem;
use crate::planted::{self, Bug};
use crate::{Error, Result};

/// What is written again is read so much at once: 1 MiB.
const COPIED: u64 = 1 << 20;

/// What a reopened pack is.
#[derive(Debug)]
pub(crate) enum Reopened {
    /// Records can be appended.
    Unsealed(
        Arc<SharedPack>,
        #[cfg_attr(not(test), allow(dead_code, reason = "tests look at it"))] Recovered,
    ),
    /// It was sealed whole; nothing has been changed.
    Sealed(SealedPack),
}

/// What was found behind the known length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Torn bytes, which have been cut off.
    pub(crate) cut_bytes: u64,
    /// Bytes of whole records behind the known length. They are durable now.
    pub(crate) verified_bytes: u64,
    /// Objects in the whole pack.
    pub(crate) objects: u64,
}

/// Steps from record to record by one read each.
struct Walk<'a> {
    file: &'a RecordFile,
    at: u64,
    end: u64,
    /// The header at `at`, if it has been read.
    header: Option<[u8; RECORD_HEADER_LEN as usize]>,
}

impl Walk<'_> {
    fn new(file: &RecordFile, at: u64, end: u64) -> Walk<'_> {
        Walk {
            file,
            at,
            end,
            header: None,
        }
    }

    /// The next record, which is looked at by both ends; `None` at the end. After an error it stays where it is.
    fn next(&mut self) -> Result<Option<RecordInfo>> {
        const BOTH: usize = (TRAILER_LEN + RECORD_HEADER_LEN) as usize;
        if self.at >= self.end {
            return Ok(None);
        }
        let damaged = || self.file.damaged(self.at, "expected the header of a record");
        let left = self.end - self.at;
        if left < RECORD_HEADER_LEN {
            return Err(damaged());
        }
        let mut header = [0; RECORD_HEADER_LEN as usize];
        match self.header {
            Some(known) => header = known,
            None => self.file.read_into(self.at, &mut header)?,
        }
        let begin = RecordHeader::decode(&header, self.file.seed, self.at).ok_or_else(damaged)?;
        if begin.record_len > left {
            let what = format!("expected a record that ends at {} or before", self.end);
            return Err(self.file.damaged(self.at, what));
        }
        // Its trailer, and the header behind it.
        let mut both = [0; BOTH];
        let behind = left - begin.record_len;
        let len = (TRAILER_LEN + behind.min(RECORD_HEADER_LEN)) as usize;
        let both = both.get_mut(..len).unwrap_or_default();
        self.file
            .read_into(self.at + begin.record_len - TRAILER_LEN, both)?;
        let (trailer, next) = both.split_at(TRAILER_LEN as usize);
        let place = RecordPlace {
            offset: self.at,
            record_len: begin.record_len,
        };
        let info = RecordInfo::decode(self.file, place, &header, trailer)?;
        self.header = next.first_chunk().copied();
        self.at += begin.record_len;
        Ok(Some(info))
    }
}

/// Reads and checks everything of a record, without decompressing.
fn verify(file: &RecordFile, info: RecordInfo, buffer: &mut Vec<u8>) -> Result<()> {
    let mut object = ObjectReader::of(file.clone(), info);
    object.preload(std::mem::take(buffer))?;
    for number in 0..info.shape.chunks() {
        object.stored(number)?;
    }
    *buffer = object.into_buffer();
    Ok(())
}

/// Verifies the records in this range, all of which are whole.
pub(super) fn verify_all(file: &RecordFile, from: u64, end: u64) -> Result<()> {
    let (mut walk, mut buffer) = (Walk::new(file, from, end), Vec::new());
    while let Some(info) = walk.next()? {
        verify(file, info, &mut buffer)?;
    }
    Ok(())
}

/// Writes the bytes of this range over themselves.
pub(super) fn write_again(file: &RecordFile, from: u64, end: u64) -> Result<()> {
    let mut at = from;
    while at < end {
        let bytes = file.read(at, COPIED.min(end - at))?;
        file.file
            .write_all_at(at, &bytes)
            .map_err(|e| file.failed("write", at, e))?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Changes the length and back, so that the next sync writes it. REQUIRES: nobody appends.
pub(super) fn touch_length(file: &RecordFile) -> Result<()> {
    let len = file.file.len().map_err(|e| file.failed("measure", 0, e))?;
    let touched = file.file.set_len(len + 1).and_then(|()| file.file.set_len(len));
    touched.map_err(|e| file.failed("cut", len, e))
}

/// The records of a file of `len` bytes: all up to `known`, and as many behind it as are whole; and where they end.
fn read_records(file: &RecordFile, len: u64, known: u64) -> Result<(Contents, u64)> {
    if len < known {
        let what = format!("expected {known} bytes at least, and the file ends here");
        return Err(file.damaged(len, what));
    }
    let mut contents = Contents::default();
    let mut add = |info: RecordInfo| {
        let located = Located {
            place: info.place,
            content_len: info.shape.content_len,
        };
        contents.add(info.id, located, info.shape.stored_len, info.trailer_hash);
    };
    let mut walk = Walk::new(file, FILE_HEADER_LEN, known);
    while let Some(info) = walk.next()? {
        add(info);
    }
    let (mut walk, mut buffer) = (Walk::new(file, known, len), Vec::new());
    let mut end = known;
    loop {
        let whole = walk.next().and_then(|info| match info {
            Some(info) => verify(file, info, &mut buffer).map(|()| Some(info)),
            None => Ok(None),
        });
        match whole {
            Ok(Some(info)) => add(info),
            // The end, or what is torn. What can't be read at all is neither.
            Ok(None) | Err(Error::Corruption { .. }) => return Ok((contents, end)),
            Err(e) => return Err(e),
        }
        end = walk.at;
    }
}

fn measure(file: &RecordFile) -> Result<u64> {
    file.file.len().map_err(|e| Error::io("measure", &file.path, e))
}

impl SharedPack {
    /// Opens a pack of which `known` bytes are known to be durable, to go on with it. See the module `reopen`.
    ///
    /// # Errors
    /// The file can't be read or written; it is another one; it is shorter than `known` or damaged before it; it was sealed, and that is damaged.
    pub(crate) fn reopen(
        fs: &dyn FileSystem,
        path: &Path,
        identity: &[u8; 16],
        number: u64,
        known: u64,
    ) -> Result<Reopened> {
        let file = fs.open_writable(path).map_err(|e| Error::io("open", path, e))?;
        let (file, header) = expect_pack(file, path, identity, number)?;
        let known = known.max(FILE_HEADER_LEN);
        let len = measure(&file)?;
        match decode_sealed_len(&file.read(0, FILE_HEADER_LEN)?, file.seed) {
            Some(0) => {}
            Some(_) if planted::is(Bug::SealedPackChanged) => {}
            Some(sealed) => return reopen_sealed(&file, known, sealed).map(Reopened::Sealed),
            // A crash may have torn it when it was being written, with everything else of the seal durable.
            None => {
                let sealed = reopen_sealed(&file, known, len).map(Reopened::Sealed);
                return sealed.map_err(|e| match e {
                    Error::Corruption { .. } => file.damaged(
                        SEALED_LEN_AT,
                        "expected the length of the file when it was sealed",
                    ),
                    e => e,
                });
            }
        }
        let (contents, end) = read_records(&file, len, known)?;
        let end = match planted::is(Bug::TornRecordContinued) {
            true => len,
            false => end,
        };
        if end > known || len > end {
            write_again(&file, known, end)?;
            match len > end {
                true => file.file.set_len(end).map_err(|e| file.failed("cut", end, e))?,
                false => touch_length(&file)?,
            }
            file.file.sync().map_err(|e| file.failed("sync", end, e))?;
        }
        let recovered = Recovered {
            cut_bytes: len - end,
            verified_bytes: end - known,
            objects: contents.objects(),
        };
        let pack = SharedPack::of(file, header, contents, end, end);
        Ok(Reopened::Unsealed(Arc::new(pack), recovered))
    }
}

/// The footers were durable before the header said so; that itself may have failed.
fn reopen_sealed(file: &RecordFile, known: u64, sealed: u64) -> Result<SealedPack> {
    let pack = Pack::of_file(Arc::clone(&file.file), &file.path, 0, false)?;
    let (at, footer) = pack.last_segment();
    // Of a file that is too short the second footer may be gone, which a pack can be read without.
    let same_len = pack.sealed_len() == sealed && measure(file)? == sealed;
    if !same_len || pack.torn_bytes() > 0 || footer.records_end < known {
        let what =
            format!("expected a sealed pack of {sealed} bytes, with {known} of header and records at least");
        return Err(file.damaged(at, what));
    }
    let written = file
        .file
        .write_all_at(SEALED_LEN_AT, &encode_sealed_len(sealed, file.seed));
    written.map_err(|e| file.failed("write", SEALED_LEN_AT, e))?;
    file.file.sync().map_err(|e| file.failed("sync", sealed, e))?;
    Ok(SealedPack::new(&footer, sealed))
}

/// The end of the last whole record, for somebody who only reads, maybe beside a writer: nothing is changed. Sealed or not makes no
/// difference.
///
/// # Errors
/// As [`SharedPack::reopen`], without writing.
pub(crate) fn survey(
    fs: &dyn FileSystem,
    path: &Path,
    identity: &[u8; 16],
    number: u64,
    known: u64,
) -> Result<u64> {
    let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
    let (file, _) = expect_pack(file, path, identity, number)?;
    let len = measure(&file)?;
    read_records(&file, len, known.max(FILE_HEADER_LEN)).map(|(_, end)| end)
}
