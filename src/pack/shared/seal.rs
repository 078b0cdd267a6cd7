//! What stands behind the records of a sealed pack, from rows in memory: the section of ids, the section table, the footers. The bytes are those
//! of a `SegmentWriter`, which sorts in bounded memory; a database's pack is small enough (40 bytes a row).

use super::super::format::{
    FILE_HEADER_LEN, FileHeader, Footer, SectionKind, Seed, encode_sections, next_digest,
};
use super::super::id::ObjectId;
use super::super::merge::{Merged, Rows};
use super::super::output::Output;
use super::super::section::{LOCATED_LEN, Located, write_sections};
use crate::Result;

/// What the index and the footer will say.
#[derive(Default)]
pub(super) struct Contents {
    rows: Vec<(ObjectId, Located)>,
    content_bytes: u64,
    stored_bytes: u64,
    digest: u64,
}

impl Contents {
    /// The next record in the order of the file.
    pub(super) fn add(&mut self, id: ObjectId, located: Located, stored_len: u64, trailer_hash: u64) {
        self.rows.push((id, located));
        self.content_bytes = self.content_bytes.wrapping_add(located.content_len);
        self.stored_bytes += stored_len;
        self.digest = next_digest(self.digest, trailer_hash);
    }

    pub(super) fn objects(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// A pack that is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SealedPack {
    /// The length of the file.
    pub(crate) file_bytes: u64,
    /// The end of the last record.
    pub(crate) records_end: u64,
    pub(crate) objects: u64,
    /// The length of all objects together.
    pub(crate) content_bytes: u64,
    /// The same as stored.
    pub(crate) stored_bytes: u64,
}

impl SealedPack {
    pub(super) fn new(footer: &Footer, file_bytes: u64) -> SealedPack {
        SealedPack {
            file_bytes,
            records_end: footer.records_end,
            objects: footer.objects,
            content_bytes: footer.content_bytes,
            stored_bytes: footer.stored_bytes,
        }
    }
}

/// Writes everything behind the records, durable, but for the length in the header. `output` stands at the end of the records, and stands at
/// the end of the file afterwards; if this fails, as far as possible nothing lies behind the records.
pub(super) fn write_footers(
    output: &mut Output,
    header: &FileHeader,
    contents: &Contents,
) -> Result<SealedPack> {
    let records_end = output.position();
    let footer = match write_index(output, header, contents) {
        Ok(footer) => footer,
        Err(e) => {
            take_back(output, records_end);
            return Err(e);
        }
    };
    let at = output.position();
    let pushed = output.push(&footer.encode(at));
    if let Err(e) = pushed.and_then(|()| output.sync()) {
        // The footer may have reached the disk. What it refers to goes only when it is gone for good.
        if output.withdraw(at).is_ok() {
            take_back(output, records_end);
        }
        return Err(e);
    }
    Ok(SealedPack::new(&footer, output.position()))
}

/// Gives the room behind the records back. If that fails it stays until the next seal.
fn take_back(output: &Output, records_end: u64) {
    // Not by way of the output: a section is written past it.
    let _ = output.file().set_len(records_end);
}

/// Everything before the footers, durable.
fn write_index(output: &mut Output, header: &FileHeader, contents: &Contents) -> Result<Footer> {
    let records_end = output.position();
    let mut rows = contents.rows.clone();
    // Of copies the last one comes first: it is the one that stays.
    rows.sort_unstable_by(|(a, at), (b, bt)| a.cmp(b).then(bt.place.offset.cmp(&at.place.offset)));
    let rows = Merged::new(vec![Box::new(IndexRows {
        rows: rows.into_iter(),
        current: None,
    })]);
    let sections = write_sections(output, SectionKind::Ids, rows, &header.identity, |_| Ok(()))?;
    let table_at = output.position();
    output.push(&encode_sections(&sections, Seed::new(&header.identity), table_at))?;
    output.sync()?;
    Ok(Footer {
        identity: header.identity,
        records_at: FILE_HEADER_LEN,
        records_end,
        objects: contents.objects(),
        content_bytes: contents.content_bytes,
        stored_bytes: contents.stored_bytes,
        digest: contents.digest,
        table_at,
        sections: sections.len() as u32,
        ..Footer::default()
    })
}

struct IndexRows {
    rows: std::vec::IntoIter<(ObjectId, Located)>,
    current: Option<(ObjectId, u64, [u8; LOCATED_LEN])>,
}

impl Rows for IndexRows {
    fn advance(&mut self) -> Result<bool> {
        let next = self.rows.next();
        self.current = next.map(|(id, located)| (id, located.place.offset, located.encode()));
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |(id, ..)| &id.0)
    }

    fn number(&self) -> u64 {
        self.current.as_ref().map_or(0, |(_, at, _)| *at)
    }

    fn value(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |(.., value)| value)
    }
}
