//! Sections: the sorted rows of a segment, each an SST inside of the pack.
//!
//! ```text
//! ids      key: the id                 value: offset of the record u64 | its length u64 | length of the content u64
//! names    key: the name               value: the same 24 bytes | id 16 | meta data, any bytes
//! ```
//!
//! An SST brings what an index needs: shared prefixes elided, a filter, look-ups by a handful of reads whatever the size, both
//! directions, checksums everywhere, tools. All entries have the sequence number 0; a key occurs once in a segment. A section
//! that would pass an SST's 4 GiB is followed by another one.
//!
//! Callers: `segment` writes them, `reader` reads them, `verify`.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use super::format::{Section, SectionKind};
use super::id::ObjectId;
use super::merge::{Merged, Rows};
use super::object::RecordPlace;
use super::output::Output;
use crate::coding::Decoder;
use crate::cursor::Cursor as _;
use crate::env::{File, Mapping};
use crate::sst::{
    Access, BlockCache, CursorOptions, EntryValue, SortOrder, Sst, SstBuilder, SstCursor, SstIdentity,
    SstOptions, SstReadOptions,
};
use crate::types::{Found, MAX_SEQ};
use crate::{Error, Result, Slice};

/// What a row says of an object, without its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) place: RecordPlace,
    pub(crate) content_len: u64,
}

/// The bytes of [`Located`] in a row.
pub(super) const LOCATED_LEN: usize = 24;

impl Located {
    pub(super) fn encode(&self) -> [u8; LOCATED_LEN] {
        let mut out = [0; LOCATED_LEN];
        let numbers = [self.place.offset, self.place.record_len, self.content_len];
        let bytes = numbers.into_iter().flat_map(u64::to_le_bytes);
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        out
    }

    fn decode(input: &mut Decoder<'_>) -> Option<Located> {
        Some(Located {
            place: RecordPlace {
                offset: input.u64()?,
                record_len: input.u64()?,
            },
            content_len: input.u64()?,
        })
    }

    /// The value of a row of ids.
    pub(super) fn of_id(value: &[u8]) -> Option<Located> {
        let mut input = Decoder::new(value);
        Self::decode(&mut input).filter(|_| input.is_empty())
    }

    /// The value of a row of names: where, which object, meta data.
    pub(super) fn of_name(value: &[u8]) -> Option<(Located, ObjectId, &[u8])> {
        let mut input = Decoder::new(value);
        let located = Self::decode(&mut input)?;
        let id = ObjectId(input.array()?);
        Some((located, id, input.bytes(input.remaining())?))
    }
}

/// A range of a file, as a file of its own.
struct Part {
    file: Arc<dyn File>,
    base: u64,
    /// `None` while it is being written.
    len: Option<u64>,
}

impl File for Part {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.unwrap_or(u64::MAX).saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let at = self.base.checked_add(offset).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_at(at, buf.get_mut(..len).unwrap_or_default())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.base + offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        match self.len {
            Some(len) => Ok(len),
            None => Ok(self.file.len()?.saturating_sub(self.base)),
        }
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn map(&self) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Writes the rows as sections of this kind, of rows with one key the first only, and makes them durable. `each` sees every row that is
/// written, before it is.
pub(super) fn write_sections(
    output: &mut Output,
    kind: SectionKind,
    mut rows: Merged,
    identity: &[u8; 16],
    mut each: impl FnMut(&dyn Rows) -> Result<()>,
) -> Result<Vec<Section>> {
    let (mut sections, mut open) = (Vec::new(), None);
    let written = write_rows(
        output,
        kind,
        &mut rows,
        identity,
        &mut each,
        &mut sections,
        &mut open,
    );
    match (written, open) {
        (Ok(()), Some((base, builder))) => sections.push(close_section(output, kind, base, builder)?),
        (Ok(()), None) => {}
        (Err(e), open) => {
            if let Some((_, builder)) = open {
                builder.abandon();
            }
            return Err(e);
        }
    }
    Ok(sections)
}

/// Writes all rows; the last section stays open.
fn write_rows(
    output: &mut Output,
    kind: SectionKind,
    rows: &mut Merged,
    identity: &[u8; 16],
    each: &mut dyn FnMut(&dyn Rows) -> Result<()>,
    sections: &mut Vec<Section>,
    open: &mut Option<(u64, SstBuilder)>,
) -> Result<()> {
    while rows.advance()? {
        if let Some((_, builder)) = &open
            && builder.last_key() == rows.key()
        {
            continue; // an older row of the same key
        }
        // The format's own limit is the only one.
        if let Some((base, builder)) = open.take_if(|(_, builder)| builder.is_full(u64::MAX, u64::MAX)) {
            sections.push(close_section(output, kind, base, builder)?);
        }
        let (_, builder) = match &mut *open {
            Some(open) => open,
            empty => empty.insert(begin_section(output, identity)?),
        };
        each(rows)?;
        builder.add(rows.key(), 0, EntryValue::Put(rows.value()))?;
    }
    Ok(())
}

/// A section's own identity, so that two sections of a pack can't be taken for each other: the pack's, changed by the place.
fn identity_of(pack: &[u8; 16], offset: u64) -> [u8; 16] {
    let mut own = *pack;
    own.iter_mut()
        .zip(offset.to_le_bytes())
        .for_each(|(to, by)| *to ^= by);
    own
}

fn begin_section(output: &mut Output, identity: &[u8; 16]) -> Result<(u64, SstBuilder)> {
    output.write_out()?;
    let base = output.position();
    let part = Part {
        file: Arc::clone(output.file()),
        base,
        len: None,
    };
    let identity = SstIdentity {
        identity: identity_of(identity, base),
        ..SstIdentity::default()
    };
    let builder = SstBuilder::new(Arc::new(part), output.path(), &SstOptions::default(), identity)?;
    Ok((base, builder))
}

fn close_section(output: &mut Output, kind: SectionKind, base: u64, builder: SstBuilder) -> Result<Section> {
    let summary = builder.finish()?;
    output.step_over(summary.file_size);
    Ok(Section {
        kind,
        offset: base,
        len: summary.file_size,
        rows: summary.entry_count,
    })
}

/// An open section.
#[derive(Clone)]
pub(crate) struct SectionReader {
    sst: Arc<Sst>,
    pub(crate) section: Section,
}

impl fmt::Debug for SectionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SectionReader")
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

/// An error in a section, with its place in the whole file.
fn moved(error: Error, by: u64) -> Error {
    match error {
        Error::Corruption { path, offset, what } => Error::Corruption {
            path,
            offset: offset.saturating_add(by),
            what,
        },
        other => other,
    }
}

impl SectionReader {
    pub(super) fn open(
        file: &Arc<dyn File>,
        path: &Path,
        section: Section,
        identity: &[u8; 16],
        cache: &Arc<BlockCache>,
    ) -> Result<SectionReader> {
        let part = Part {
            file: Arc::clone(file),
            base: section.offset,
            len: Some(section.len),
        };
        let options = SstReadOptions {
            access: Access::Pread,
            cache: Arc::clone(cache),
        };
        let sst = Sst::open(Arc::new(part), path, &options).map_err(|e| moved(e, section.offset))?;
        let summary = sst.summary();
        if summary.identity != identity_of(identity, section.offset) {
            let what = "expected a section of this pack, found one of another, or of another place";
            return Err(Error::corruption(path, section.offset, what));
        }
        // An id is never empty; only the least key can be.
        if section.kind == SectionKind::Ids && summary.min_key.as_bytes().is_empty() {
            return Err(Error::corruption(
                path,
                section.offset,
                "expected ids in a section",
            ));
        }
        if summary.entry_count != section.rows || sst.order() != SortOrder::Key {
            let what = format!("expected a section of {} rows in key order", section.rows);
            return Err(Error::corruption(path, section.offset, what));
        }
        Ok(SectionReader {
            sst: Arc::new(sst),
            section,
        })
    }

    /// The value of this key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        let summary = self.sst.summary();
        if key < summary.min_key.as_bytes() || key > summary.max_key.as_bytes() {
            return Ok(None);
        }
        let found = self.sst.get(key, SortOrder::Key.hash(key), MAX_SEQ);
        match found.map_err(|e| moved(e, self.section.offset))? {
            Some(Found::Value(_, value)) => Ok(Some(value)),
            Some(Found::Object(..) | Found::Tombstone(_)) | None => Ok(None),
        }
    }

    /// Its rows from the first at or above `from`, with this number.
    pub(super) fn rows(&self, from: &[u8], number: u64) -> SectionRows {
        SectionRows {
            cursor: self.sst.cursor(CursorOptions {
                access: None,
                fill_cache: false,
                read_ahead: true,
            }),
            offset: self.section.offset,
            from: from.to_vec(),
            started: false,
            number,
            value: Vec::new(),
        }
    }

    /// Checks every byte of it.
    pub(super) fn verify(&self) -> Result<()> {
        self.sst
            .verify()
            .map(drop)
            .map_err(|e| moved(e, self.section.offset))
    }
}

/// A section's rows.
pub(super) struct SectionRows {
    cursor: SstCursor,
    offset: u64,
    from: Vec<u8>,
    started: bool,
    number: u64,
    value: Vec<u8>,
}

impl SectionRows {
    fn step(&mut self) -> Result<bool> {
        match self.started {
            true => self.cursor.next()?,
            false => self.cursor.seek(&self.from, MAX_SEQ)?,
        }
        self.started = true;
        if !self.cursor.valid() {
            return Ok(false);
        }
        let mut value = std::mem::take(&mut self.value);
        let loaded = self.cursor.load_into(self.cursor.value(), &mut value);
        self.value = value;
        loaded.map(|()| true)
    }
}

impl Rows for SectionRows {
    fn advance(&mut self) -> Result<bool> {
        self.step().map_err(|e| moved(e, self.offset))
    }

    fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn value(&self) -> &[u8] {
        &self.value
    }
}
