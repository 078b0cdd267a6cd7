//! Where everything in a pack lies, and what its indexes say: for tools that show it. Reading objects needs nothing of this.
//!
//! Nothing here panics on a damaged file: what opening has checked is told as it is, and what is read later is an object or an error.
//!
//! Callers: the tools.

use super::archive::Archive;
use super::format::{FILE_HEADER_LEN, FORMAT_VERSION, SEAL_LEN, Section, SectionKind, section_table_len};
use super::id::{ObjectId, Salt};
use super::object::RecordInfo;
use super::opening::Segment;
use super::reader::{Ids, Pack};
use super::scan::Scan;
use super::section::Located;
use crate::Result;

/// A part of a pack's file. See [`Pack::layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackPart {
    /// What lies there.
    pub kind: PackPartKind,
    /// Which segment it belongs to, counted from 0; `None` for the header and for what is torn.
    pub segment: Option<u32>,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// What a part of a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackPartKind {
    /// What the file begins with.
    Header,
    /// The records of a segment, one behind the other. [`Pack::records`] has them one by one.
    Records {
        /// How many they are.
        objects: u64,
        /// Bytes of their contents.
        content_bytes: u64,
        /// Bytes of their contents as stored.
        stored_bytes: u64,
    },
    /// An index from ids to records.
    Ids {
        /// How many rows it has.
        rows: u64,
        /// Whether it is asked: a later segment may have taken over its rows.
        live: bool,
    },
    /// An index from names to records.
    Names {
        /// How many rows it has.
        rows: u64,
        /// As for ids.
        live: bool,
    },
    /// Where the indexes of a segment lie.
    SectionTable {
        /// How many they are.
        sections: u32,
    },
    /// What a segment ends with, twice.
    Footer {
        /// The rows of so many earlier segments are in this one's indexes too.
        covers: u32,
        /// Names in the whole file, as of this segment.
        names: u64,
        /// The chain of checksums over the records of the segment.
        digest: u64,
    },
    /// What an append that was cut off has left behind the last footer.
    Torn,
}

/// A record: an object as it lies in the file. See [`Pack::records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackRecord {
    /// Which segment it belongs to, counted from 0.
    pub segment: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length with header, tables and trailer, in bytes.
    pub len: u64,
    /// The object.
    pub id: ObjectId,
    /// The length of the object, in bytes.
    pub content_len: u64,
    /// The same as stored: compressed where that pays.
    pub stored_len: u64,
    /// Bytes of content in each chunk but the last.
    pub chunk_size: u32,
    /// How many chunks it has.
    pub chunks: u64,
    /// Whether random bytes went into the id.
    pub salted: bool,
}

/// What the index says of an object. See [`Pack::entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackEntry {
    /// The object.
    pub id: ObjectId,
    /// Its length, in bytes.
    pub len: u64,
    /// Where its record begins in the file.
    pub offset: u64,
    /// The length of the record: what the object takes in the file, in bytes.
    pub stored: u64,
}

impl PackEntry {
    pub(super) fn new(id: ObjectId, located: &Located) -> PackEntry {
        PackEntry {
            id,
            len: located.content_len,
            offset: located.place.offset,
            stored: located.place.record_len,
        }
    }
}

impl Pack {
    /// The version of the format that the file is in.
    pub fn format_version(&self) -> u32 {
        FORMAT_VERSION // others are not opened
    }

    /// The parts of the file, from its begin to its end, without gaps.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use packstone::pack::{Pack, PackBuilder, PackOptions, PackPartKind};
    ///
    /// let path = dir.path().join("objects.pack");
    /// let mut builder = PackBuilder::create(&path, &PackOptions::default())?;
    /// builder.add(b"hello")?;
    /// builder.finish()?;
    ///
    /// let parts = Pack::open(&path)?.layout();
    /// assert_eq!(parts[0].kind, PackPartKind::Header);
    /// assert!(matches!(parts[1].kind, PackPartKind::Records { objects: 1, .. }));
    /// assert_eq!(parts[1].offset, parts[0].len);
    /// # Ok(())
    /// # }
    /// ```
    pub fn layout(&self) -> Vec<PackPart> {
        let part = |kind, segment, offset, len| PackPart {
            kind,
            segment,
            offset,
            len,
        };
        let mut parts = vec![part(PackPartKind::Header, None, 0, FILE_HEADER_LEN)];
        for segment in &self.segments {
            parts.extend(parts_of(segment, self.file_bytes()));
        }
        if self.torn_bytes() > 0 {
            let torn = part(PackPartKind::Torn, None, self.sealed_len(), self.torn_bytes());
            parts.push(torn);
        }
        parts
    }

    /// The records in the order of the file, without the index: also copies, and what has no name any more.
    ///
    /// An error stands for the rest of its segment; the records of the next one follow.
    pub fn records(&self) -> Records<'_> {
        Records {
            pack: self,
            segment: 0,
            scan: None,
        }
    }

    /// What the index says of the objects from this id on, ascending by id, each once. No record is read.
    pub fn entries(&self, from: &ObjectId) -> PackEntries<'_> {
        PackEntries(self.ids_from(&from.0))
    }
}

fn parts_of(segment: &Segment, file_len: u64) -> Vec<PackPart> {
    let footer = &segment.footer;
    let part = |kind, offset, len| PackPart {
        kind,
        segment: Some(footer.segment),
        offset,
        len,
    };
    let records = PackPartKind::Records {
        objects: footer.objects,
        content_bytes: footer.content_bytes,
        stored_bytes: footer.stored_bytes,
    };
    let section = |section: &Section| {
        let (rows, live) = (section.rows, segment.live);
        let kind = match section.kind {
            SectionKind::Ids => PackPartKind::Ids { rows, live },
            SectionKind::Names => PackPartKind::Names { rows, live },
        };
        part(kind, section.offset, section.len)
    };
    let table = PackPartKind::SectionTable {
        sections: footer.sections,
    };
    let end = PackPartKind::Footer {
        covers: footer.covers,
        names: footer.names,
        digest: footer.digest,
    };
    let mut parts = vec![part(
        records,
        footer.records_at,
        footer.records_end - footer.records_at,
    )];
    parts.extend(segment.sections.iter().map(section));
    parts.push(part(table, footer.table_at, section_table_len(footer.sections)));
    // A crash may have left one copy of the last one.
    let seal_len = SEAL_LEN.min(file_len.saturating_sub(segment.footer_at));
    parts.push(part(end, segment.footer_at, seal_len));
    parts
}

/// Records of a pack in the order of the file. See [`Pack::records`].
pub struct Records<'a> {
    pack: &'a Pack,
    segment: usize,
    scan: Option<Scan>,
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<PackRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let segment = self.pack.segments.get(self.segment)?;
            let footer = &segment.footer;
            let scan = self
                .scan
                .get_or_insert_with(|| Scan::new(&self.pack.file, footer.records_at, footer.records_end));
            let found = scan.next();
            if !matches!(found, Ok(Some(_))) {
                // Where the next record begins is not known behind damage.
                self.segment += 1;
                self.scan = None;
            }
            match found {
                Ok(Some(info)) => return Some(Ok(record(footer.segment, &info))),
                Ok(None) => {}
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

fn record(segment: u32, info: &RecordInfo) -> PackRecord {
    PackRecord {
        segment,
        offset: info.place.offset,
        len: info.place.record_len,
        id: info.id,
        content_len: info.shape.content_len,
        stored_len: info.shape.stored_len,
        chunk_size: 1 << info.shape.chunk_shift,
        chunks: info.shape.chunks(),
        salted: info.salt != Salt::default(),
    }
}

/// What the index of a pack says, by id. See [`Pack::entries`].
#[derive(Debug)]
pub struct PackEntries<'a>(Ids<'a>);

impl Iterator for PackEntries<'_> {
    type Item = Result<PackEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.next_or_end();
        next.map(|found| found.map(|(id, located)| PackEntry::new(id, &located)))
    }
}

impl From<Pack> for Archive {
    /// The same file by its names. A pack without names is an archive without entries.
    fn from(pack: Pack) -> Archive {
        Archive::of(pack)
    }
}
