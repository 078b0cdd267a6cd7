//! [`SegmentWriter`]: appends records to a pack, and seals them with indexes and a footer.
//!
//! Order of a seal: records and sections are written and synced; then the footer is written and synced, **the point of no return**.
//! Until then a reader that starts at the end finds no footer there and goes back to the one before (of an archive that is appended to),
//! or there is none (a new file, which gets its name only after this).
//!
//! An archive's segment takes over the rows of earlier segments that have together at most twice as many rows as it has: so there
//! are as many live segments as the logarithm of the number of rows, and a row is written again as often. An append costs what it adds, not what
//! is there (O'Neil et al., "The log-structured merge-tree", 1996, of sections instead of files).
//!
//! Callers: `builder`, `archive`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{
    Footer, SEALED_LEN_AT, SectionKind, Seed, encode_sealed_len, encode_sections, next_digest,
};
use super::id::{IdHasher, ObjectId, Salt};
use super::options::PackOptions;
use super::output::Output;
use super::reader::Pack;
use super::record::{Buffers, RecordOptions, RecordWriter, WrittenRecord};
use super::section::{Located, write_sections};
use super::sort::Sorter;
use crate::env::Env;
use crate::{Error, Result};

/// Bytes that are read from a `Read` at once.
const READ_AT_ONCE: usize = 256 << 10;

/// What an object was added as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub id: ObjectId,
    /// The length of its content, in bytes.
    pub len: u64,
    /// Bytes that it takes in the pack; 0 if it was there already.
    pub stored: u64,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) objects: u64,
    pub(super) content_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) duplicates: u64,
    pub(super) duplicate_bytes: u64,
}

/// The ids of the objects that were added last, in two generations.
#[derive(Default)]
struct Recent {
    most: usize,
    young: BTreeMap<ObjectId, Located>,
    old: BTreeMap<ObjectId, Located>,
}

impl Recent {
    fn get(&self, id: &ObjectId) -> Option<Located> {
        self.young.get(id).or_else(|| self.old.get(id)).copied()
    }

    fn insert(&mut self, id: ObjectId, located: Located) {
        if self.most == 0 {
            return;
        }
        if self.young.len() >= self.most.div_ceil(2) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, located);
    }
}

/// Where the object lies that is there already. What an archive had before is read first: one that is damaged is stored anew, and found
/// in place of the old one.
fn find(recent: &Recent, before: Option<&Pack>, id: &ObjectId) -> Result<Option<Located>> {
    if let Some(located) = recent.get(id) {
        return Ok(Some(located));
    }
    let Some(before) = before else { return Ok(None) };
    let Some(located) = before.locate(id)? else {
        return Ok(None);
    };
    let whole = before
        .open_at(id, &located)
        .and_then(|mut object| object.verify());
    Ok(whole.is_ok().then_some(located))
}

/// What a seal has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) footer: Footer,
    /// Names that were there before and have new objects now.
    pub(super) replaced: u64,
    pub(super) len: u64,
}

/// Writes one segment. See the module's comment.
pub(super) struct SegmentWriter {
    output: Output,
    seed: Seed,
    identity: [u8; 16],
    record: RecordOptions,
    buffers: Buffers,
    read_buffer: Vec<u8>,
    ids: Sorter,
    names: Sorter,
    recent: Recent,
    /// The file as it was, if it is being appended to.
    before: Option<Arc<Pack>>,
    records_at: u64,
    digest: u64,
    totals: Totals,
    /// A row of an index is lost: the segment must not be sealed, and nothing more be told to be in it.
    broken: bool,
}

impl SegmentWriter {
    /// Goes on at the end of `output`. `scratch` is what the names of scratch files begin with.
    pub(super) fn new(
        env: &Env,
        output: Output,
        identity: [u8; 16],
        options: &PackOptions,
        before: Option<Arc<Pack>>,
    ) -> Result<Self> {
        let scratch = |end: &str| {
            let mut path = output.path().as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        let (ids, names) = (scratch(".ids.sort"), scratch(".names.sort"));
        let memory = options.sort_memory / 2;
        Ok(SegmentWriter {
            seed: Seed::new(&identity),
            identity,
            record: RecordOptions::new(options.chunk_size, options.compression)?,
            buffers: Buffers::default(),
            read_buffer: Vec::new(),
            ids: Sorter::new(env, ids, memory),
            names: Sorter::new(env, names, memory),
            recent: Recent {
                most: options.dedup_window,
                ..Recent::default()
            },
            before,
            records_at: output.position(),
            output,
            digest: 0,
            totals: Totals::default(),
            broken: false,
        })
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Cuts the file back to where the segment began.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.output.rewind(self.records_at)
    }

    /// Bytes up to the end of what has been added.
    pub(super) fn position(&self) -> u64 {
        self.output.position()
    }

    fn check(&self) -> Result<()> {
        match self.broken {
            false => Ok(()),
            true => {
                let what = io::Error::other("an index could not be written before; begin again");
                Err(Error::io("write", self.output.path(), what))
            }
        }
    }

    /// Adds an object that is in memory. If it is there already that costs its hash and a look-up.
    pub(super) fn add(&mut self, content: &[u8]) -> Result<(Added, Located)> {
        let mut hasher = IdHasher::default();
        hasher.update(content);
        let id = hasher.finish(&Salt::default());
        self.check()?;
        if let Some(located) = find(&self.recent, self.before.as_deref(), &id)? {
            return Ok(self.duplicate(id, located));
        }
        let begin = self.output.position();
        let written = RecordWriter::begin(&mut self.output, &mut self.buffers, self.record, self.seed)
            .and_then(|writer| writer.write_whole(content, id));
        match written {
            Ok(written) => self.count(&written),
            Err(e) => {
                self.output.rewind(begin).ok(); // the first error is the one to report
                Err(e)
            }
        }
    }

    /// Adds what `content` gives until its end. If reading fails the error is the reader's, and the pack is as it was.
    pub(super) fn add_reader(&mut self, content: &mut dyn Read, name: &str) -> Result<(Added, Located)> {
        self.check()?;
        let mut buffer = std::mem::take(&mut self.read_buffer);
        buffer.resize(READ_AT_ONCE, 0);
        let begin = self.output.position();
        let added = self.stream(content, &mut buffer, name);
        self.read_buffer = buffer;
        if added.is_err() {
            self.output.rewind(begin).ok(); // the first error is the one to report
        }
        added
    }

    fn stream(&mut self, content: &mut dyn Read, buffer: &mut [u8], name: &str) -> Result<(Added, Located)> {
        let mut writer = RecordWriter::begin(&mut self.output, &mut self.buffers, self.record, self.seed)?;
        loop {
            match content.read(buffer) {
                Ok(0) => break,
                Ok(n) => writer.write(buffer.get(..n).unwrap_or_default())?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", std::path::Path::new(name), e)),
            }
        }
        let id = writer.end_content()?;
        let found = find(&self.recent, self.before.as_deref(), &id)?;
        match found {
            Some(located) => {
                writer.abort()?;
                Ok(self.duplicate(id, located))
            }
            None => {
                let written = writer.commit(id)?;
                self.count(&written)
            }
        }
    }

    fn duplicate(&mut self, id: ObjectId, located: Located) -> (Added, Located) {
        self.totals.duplicates += 1;
        self.totals.duplicate_bytes += located.content_len;
        let added = Added {
            id,
            len: located.content_len,
            stored: 0,
            duplicate: true,
        };
        (added, located)
    }

    fn count(&mut self, written: &WrittenRecord) -> Result<(Added, Located)> {
        let located = Located {
            place: written.place,
            content_len: written.content_len,
        };
        let row = self.ids.add(&written.id.0, &[&located.encode()]);
        self.broken |= row.is_err();
        row?;
        self.digest = next_digest(self.digest, written.trailer_hash);
        self.totals.objects += 1;
        self.totals.content_bytes += written.content_len;
        self.totals.stored_bytes += written.stored_len;
        self.recent.insert(written.id, located);
        let added = Added {
            id: written.id,
            len: written.content_len,
            stored: written.place.record_len,
            duplicate: false,
        };
        Ok((added, located))
    }

    /// Gives an object that is there a name. Of several objects with one name the last one has it.
    pub(super) fn name(&mut self, name: &[u8], id: &ObjectId, located: &Located, meta: &[u8]) -> Result<()> {
        let row = self.names.add(name, &[&located.encode(), &id.0, meta]);
        self.broken |= row.is_err();
        row
    }

    /// Names given.
    pub(super) fn names(&self) -> u64 {
        self.names.len()
    }

    /// Writes indexes and footer, and makes all of it durable. If that fails, the segment is taken back as far as possible.
    pub(super) fn seal(mut self) -> Result<Sealed> {
        let (footer, replaced) = match self.write_end() {
            Ok(end) => end,
            Err(e) => {
                self.take_back().ok(); // the first error is the one to report
                return Err(e);
            }
        };
        let at = self.output.position();
        let pushed = self.output.push(&footer.encode(at));
        if let Err(e) = pushed.and_then(|()| self.output.sync()) {
            // The footer may have reached the disk. What it refers to goes only when it is gone for good.
            if self.output.withdraw(at).is_ok() {
                self.take_back().ok();
            }
            return Err(e);
        }
        note_sealed_len(&self.output, self.seed)?;
        Ok(Sealed {
            footer,
            replaced,
            len: self.output.position(),
        })
    }

    /// Everything before the footer, durable; and the footer, which is not written yet.
    fn write_end(&mut self) -> Result<(Footer, u64)> {
        self.check()?;
        let records_end = self.output.position();
        let before = self.before.take();
        let (covered, covers) = match &before {
            Some(before) => before.segments_to_cover(self.ids.len().max(self.names.len())),
            None => (Vec::new(), 0),
        };
        let with_covered = |mut rows: super::merge::Merged, kind| {
            // Rows of later segments are newer; those of this one have greater numbers than all.
            for (number, section) in covered.iter().filter(|(_, section)| section.section.kind == kind) {
                rows = rows.with(Box::new(section.rows(&[], *number)));
            }
            rows
        };
        let ids = with_covered(self.ids.finish()?, SectionKind::Ids);
        let mut sections =
            write_sections(
                &mut self.output,
                SectionKind::Ids,
                ids,
                &self.identity,
                |_| Ok(()),
            )?;
        let (mut named, mut replaced) = (0, 0);
        let names = with_covered(self.names.finish()?, SectionKind::Names);
        let of_before = before.as_deref();
        let each = |row: &dyn super::merge::Rows| {
            if row.number() >= super::sort::FIRST_NUMBER {
                let known = of_before.map(|before| before.has_name(row.key())).transpose()?;
                match known {
                    Some(true) => replaced += 1,
                    _ => named += 1,
                }
            }
            Ok(())
        };
        sections.extend(write_sections(
            &mut self.output,
            SectionKind::Names,
            names,
            &self.identity,
            each,
        )?);
        let last = before.as_deref().map(Pack::last_segment);
        let table_at = self.output.position();
        self.output
            .push(&encode_sections(&sections, self.seed, table_at))?;
        let footer = Footer {
            identity: self.identity,
            records_at: self.records_at,
            records_end,
            objects: self.totals.objects,
            content_bytes: self.totals.content_bytes,
            stored_bytes: self.totals.stored_bytes,
            digest: self.digest,
            table_at,
            sections: sections.len() as u32,
            segment: last.as_ref().map_or(0, |(_, footer)| footer.segment + 1),
            previous: last.as_ref().map_or(0, |(at, _)| *at),
            covers,
            names: named + last.as_ref().map_or(0, |(_, footer)| footer.names),
        };
        self.output.sync()?;
        Ok((footer, replaced))
    }
}

/// Says in the header that the file has been sealed up to here. Behind the point of no return.
pub(super) fn note_sealed_len(output: &Output, seed: Seed) -> Result<()> {
    let file = output.file();
    let bytes = encode_sealed_len(output.position(), seed);
    let written = file.write_all_at(SEALED_LEN_AT, &bytes);
    written.map_err(|e| Error::io("write", output.path(), e))?;
    file.sync().map_err(|e| Error::io("sync", output.path(), e))
}
