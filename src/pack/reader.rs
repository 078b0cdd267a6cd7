//! [`Pack`]: a sealed pack or archive, open for reading.
//!
//! Opening reads the header, the footers and the section tables, and of each live section what an SST reads at open; nothing that grows with
//! the number of objects, but for 20 bytes for each 31,130 of them. A look-up of an id asks each live section, the newest first.
//!
//! A file that does not end with a footer (an append to an archive was cut off) is read as of the last footer that there is, which is
//! searched from the end: [`Pack::torn_bytes`] says how much lies behind it.
//!
//! Callers: programs, `archive`, `verify`, the tools.

use std::path::Path;
use std::sync::Arc;

use super::format::{FILE_HEADER_LEN, FileHeader, Footer, SEAL_LEN, SectionKind, Seed, decode_owned_len};
use super::id::ObjectId;
use super::merge::{Merged, Rows};
use super::object::{ObjectReader, RecordFile, shared_path};
use super::opening::{Segment, find_footer, read_header, read_segments};
use super::options::PackOptions;
use super::section::{Located, SectionReader};
use super::whole::read_whole;
use crate::env::{File, FileSystem};
use crate::sst::BlockCache;
use crate::{Error, Result, Slice};

/// A sealed pack or archive, open for reading. It may be shared between threads.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use packstone::pack::{ObjectId, Pack, PackBuilder, PackOptions};
///
/// let path = dir.path().join("objects.pack");
/// let mut builder = PackBuilder::create(&path, &PackOptions::default())?;
/// let id = builder.add(b"hello")?.id;
/// builder.finish()?;
///
/// let pack = Pack::open(&path)?;
/// assert_eq!(pack.get(&id)?.as_deref(), Some(&b"hello"[..]));
/// assert_eq!(pack.get(&ObjectId::of(b"something else"))?, None);
/// # Ok(())
/// # }
/// ```
pub struct Pack {
    pub(super) file: RecordFile,
    pub(super) header: FileHeader,
    /// The oldest first.
    pub(super) segments: Vec<Segment>,
    /// Live ones, those of the newest segment first, each with the segment's number.
    sections: Vec<(u64, SectionReader)>,
    len: u64,
    /// The header says that a database has taken it over; `None`: what says so is damaged.
    pub(super) taken: Option<bool>,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("path", &self.file.path)
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}

impl Pack {
    /// Opens a sealed pack or archive.
    ///
    /// # Errors
    /// The file can't be read, is no pack, was never sealed, is damaged in what opening reads, or was written by a newer release.
    pub fn open(path: impl AsRef<Path>) -> Result<Pack> {
        Self::open_with(path, &PackOptions::default())
    }

    /// The same with options: the size of the cache, the outside world.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &PackOptions) -> Result<Pack> {
        Self::open_in(&*options.to_env().fs, path.as_ref(), options.cache_size)
    }

    /// The same as of the last seal that is whole, although a later one is known to be damaged.
    pub(super) fn open_damaged(path: &Path, options: &PackOptions) -> Result<Pack> {
        Self::open_as(&*options.to_env().fs, path, options.cache_size, true)
    }

    /// The same on this file system.
    pub(crate) fn open_in(fs: &dyn FileSystem, path: &Path, cache_size: u64) -> Result<Pack> {
        Self::open_as(fs, path, cache_size, false)
    }

    fn open_as(fs: &dyn FileSystem, path: &Path, cache_size: u64, damaged: bool) -> Result<Pack> {
        let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
        Self::of_file(file, path, cache_size, damaged)
    }

    /// Reads through this handle. `damaged`: as [`Pack::open_damaged`].
    pub(super) fn of_file(file: Arc<dyn File>, path: &Path, cache_size: u64, damaged: bool) -> Result<Pack> {
        let mut file = RecordFile {
            file,
            path: shared_path(path),
            seed: Seed::new(&[0; 16]),
        };
        let measure = |file: &RecordFile| file.file.len().map_err(|e| Error::io("measure", path, e));
        let header = read_header(&file, measure(&file)?)?;
        file.seed = Seed::new(&header.identity);
        // Before the length: beside a writer the header may not know of more than is there.
        let stated = decode_owned_len(&file.read(0, FILE_HEADER_LEN)?, file.seed);
        let taken = stated.map(|(_, taken)| taken);
        let stated = stated.map(|(len, _)| len);
        let len = measure(&file)?;
        let last = find_footer(&file, &header, len)?;
        if let Some(stated) = stated.filter(|stated| *stated > last.0 + SEAL_LEN && !damaged) {
            let what = "expected the seal that the header knows of (`pack recover` saves what is there)";
            return Err(file.damaged(stated.saturating_sub(SEAL_LEN), what));
        }
        let segments = read_segments(&file, &header, last)?;
        let cache = Arc::new(BlockCache::new(cache_size));
        let mut sections = Vec::new();
        // For who saves what can be saved, covered rows are as good as any.
        for segment in segments.iter().rev().filter(|segment| segment.live || damaged) {
            for section in &segment.sections {
                match SectionReader::open(&file.file, path, *section, &header.identity, &cache) {
                    Ok(open) => sections.push((u64::from(segment.footer.segment), open)),
                    Err(_) if damaged => {} // what can be read of the others
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(Pack {
            file,
            header,
            segments,
            sections,
            len,
            taken,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Random bytes that no other pack has.
    pub fn identity(&self) -> [u8; 16] {
        self.header.identity
    }

    /// How many objects it holds; copies of one, which a small window for duplicates may leave, are counted each.
    pub fn objects(&self) -> u64 {
        self.segments.iter().map(|segment| segment.footer.objects).sum()
    }

    /// The length of all objects together, in bytes.
    pub fn content_bytes(&self) -> u64 {
        let lens = self.segments.iter().map(|segment| segment.footer.content_bytes);
        lens.fold(0, u64::saturating_add)
    }

    /// The length of the file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// What all records take of the file, in bytes.
    pub(crate) fn record_bytes(&self) -> u64 {
        let footers = self.segments.iter().map(|segment| &segment.footer);
        footers
            .map(|footer| footer.records_end - footer.records_at)
            .fold(0, u64::saturating_add)
    }

    /// Bytes behind the last footer: what an append that was cut off has left. The next append removes them.
    pub fn torn_bytes(&self) -> u64 {
        // The last copy of the footer may be missing, after a crash in the middle of a seal.
        self.len.saturating_sub(self.sealed_len())
    }

    /// Bytes up to the end of the last footer.
    pub(super) fn sealed_len(&self) -> u64 {
        self.last_segment().0 + SEAL_LEN
    }

    /// How often it has been sealed.
    pub fn segments(&self) -> u32 {
        self.segments.len() as u32
    }

    /// Whether objects have names in it: then it is an [`Archive`](super::Archive).
    pub fn has_names(&self) -> bool {
        self.names() > 0
    }

    /// How many names it has.
    pub(super) fn names(&self) -> u64 {
        self.last_segment().1.names
    }

    /// The last footer, and where it lies.
    pub(super) fn last_segment(&self) -> (u64, Footer) {
        let last = self.segments.last();
        last.map_or_else(Default::default, |segment| (segment.footer_at, segment.footer))
    }

    fn find(&self, kind: SectionKind, key: &[u8]) -> Result<Option<(Slice, u64)>> {
        for (_, section) in &self.sections {
            if section.section.kind == kind
                && let Some(value) = section.get(key)?
            {
                return Ok(Some((value, section.section.offset)));
            }
        }
        Ok(None)
    }

    pub(super) fn locate(&self, id: &ObjectId) -> Result<Option<Located>> {
        let Some((value, section)) = self.find(SectionKind::Ids, &id.0)? else {
            return Ok(None);
        };
        let located = Located::of_id(&value).filter(|located| self.is_possible(located));
        let what = || format!("expected a place in the pack for object {id}");
        located
            .map(Some)
            .ok_or_else(|| self.file.damaged(section, what()))
    }

    /// Whether a place lies among the records.
    pub(super) fn is_possible(&self, located: &Located) -> bool {
        let end = located.place.offset.checked_add(located.place.record_len);
        located.place.offset >= FILE_HEADER_LEN && end.is_some_and(|end| end <= self.len)
    }

    pub(super) fn find_name(&self, name: &[u8]) -> Result<Option<(Slice, u64)>> {
        self.find(SectionKind::Names, name)
    }

    pub(super) fn has_name(&self, name: &[u8]) -> Result<bool> {
        Ok(self.find_name(name)?.is_some())
    }

    /// Whether it holds this object.
    ///
    /// # Errors
    /// The index can't be read or is damaged.
    pub fn contains(&self, id: &ObjectId) -> Result<bool> {
        Ok(self.locate(id)?.is_some())
    }

    /// The object as a stream; `None` if it is not here.
    ///
    /// # Errors
    /// The index or the ends of the object's record can't be read or are damaged.
    pub fn open_object(&self, id: &ObjectId) -> Result<Option<ObjectReader>> {
        let Some(located) = self.locate(id)? else {
            return Ok(None);
        };
        self.open_at(id, &located).map(Some)
    }

    pub(super) fn open_at(&self, id: &ObjectId, located: &Located) -> Result<ObjectReader> {
        let object = ObjectReader::open(&self.file, located.place)?;
        self.expect(id, located, &object).map(|()| object)
    }

    /// The whole object at a place that an index has given.
    pub(super) fn read_at(&self, id: &ObjectId, located: &Located, out: &mut Vec<u8>) -> Result<()> {
        let (place, len) = (located.place, located.content_len);
        read_whole(&self.file, place, len, out, &mut Vec::new(), |object| {
            self.expect(id, located, object)
        })
    }

    fn expect(&self, id: &ObjectId, located: &Located, object: &ObjectReader) -> Result<()> {
        self.file.expect(id, located.content_len, object)
    }

    /// The whole object; `None` if it is not here.
    ///
    /// # Errors
    /// As [`Pack::open_object`]; a chunk can't be read or does not match its checksum.
    pub fn get(&self, id: &ObjectId) -> Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        Ok(self.get_into(id, &mut content)?.then_some(content))
    }

    /// The whole object in place of what `out` holds, whose memory is used again; false, and `out` as it was, if it is not here.
    ///
    /// # Errors
    /// As [`Pack::get`]; `out` holds nothing of use then.
    pub fn get_into(&self, id: &ObjectId, out: &mut Vec<u8>) -> Result<bool> {
        match self.locate(id)? {
            Some(located) => self.read_at(id, &located, out).map(|()| true),
            None => Ok(false),
        }
    }

    /// All ids, ascending, each once.
    pub fn ids(&self) -> Ids<'_> {
        self.ids_from(&[])
    }

    pub(super) fn ids_from(&self, from: &[u8]) -> Ids<'_> {
        Ids {
            rows: Some(self.rows(SectionKind::Ids, from)),
            pack: self,
            last: None,
        }
    }

    /// The live rows of this kind from a key on, the newest of equal ones first.
    pub(super) fn rows(&self, kind: SectionKind, from: &[u8]) -> Merged {
        let of_kind = self
            .sections
            .iter()
            .filter(|(_, section)| section.section.kind == kind);
        let rows = of_kind.map(|(number, section)| Box::new(section.rows(from, *number)) as Box<dyn Rows>);
        Merged::new(rows.collect())
    }

    /// The rows of each section of this kind by itself, those of newer segments first.
    pub(super) fn rows_apart(&self, kind: SectionKind) -> impl Iterator<Item = Merged> {
        let of_kind = self
            .sections
            .iter()
            .filter(move |(_, section)| section.section.kind == kind);
        of_kind.map(|(number, section)| Merged::new(vec![Box::new(section.rows(&[], *number))]))
    }

    /// The sections that a new segment of so many rows takes over, and of how many segments they are (see `segment`).
    pub(super) fn segments_to_cover(&self, rows: u64) -> (Vec<(u64, SectionReader)>, u32) {
        let mut sum = rows;
        // From here on segments are covered.
        let mut first = self.segments.len() as u64;
        for segment in self.segments.iter().rev().filter(|segment| segment.live) {
            let most = |kind| -> u64 {
                let of_kind = segment.sections.iter().filter(|section| section.kind == kind);
                of_kind.map(|section| section.rows).sum()
            };
            let rows = most(SectionKind::Ids).max(most(SectionKind::Names));
            if rows > sum.saturating_mul(2) {
                break;
            }
            sum = sum.saturating_add(rows);
            first = u64::from(segment.footer.segment - segment.footer.covers);
        }
        let covered = self.sections.iter().filter(|(number, _)| *number >= first);
        (
            covered.cloned().collect(),
            (self.segments.len() as u64 - first) as u32,
        )
    }
}

/// All ids of a pack. See [`Pack::ids`].
pub struct Ids<'a> {
    pack: &'a Pack,
    rows: Option<Merged>,
    last: Option<ObjectId>,
}

impl std::fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ids")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Ids<'_> {
    /// The next one with its place; after an error it is at its end.
    pub(super) fn next_or_end(&mut self) -> Option<Result<(ObjectId, Located)>> {
        let next = self.next_located();
        if next.is_err() {
            self.rows = None;
        }
        next.transpose()
    }

    fn next_located(&mut self) -> Result<Option<(ObjectId, Located)>> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        while rows.advance()? {
            let id = <[u8; 16]>::try_from(rows.key()).map(ObjectId).ok();
            if id.is_some() && id == self.last {
                continue; // an older copy
            }
            let located = Located::of_id(rows.value()).filter(|located| self.pack.is_possible(located));
            let Some((id, located)) = id.zip(located) else {
                let what = "expected an id and a place in the pack in the index";
                return Err(self.pack.file.damaged(self.pack.last_segment().0, what));
            };
            self.last = Some(id);
            return Ok(Some((id, located)));
        }
        self.rows = None;
        Ok(None)
    }
}

impl Iterator for Ids<'_> {
    type Item = Result<ObjectId>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_or_end().map(|found| found.map(|(id, _)| id))
    }
}
