//! [`Archive`] and [`ArchiveWriter`]: a pack whose objects have names, and that can grow.
//!
//! An append writes behind the last footer, which stays valid until the new one is durable: what a crash leaves is the archive as it was,
//! with bytes behind it that the next append removes. Old records and indexes are never written to. A reader that has an archive open sees it as it was.
//!
//! Names are any bytes, in byte order. Meta data is the caller's, any bytes. Equal contents are stored once.
//!
//! Callers: programs, the tool `pack`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::{Unfinished, sync_dir_of};
use super::format::{SEALED_LEN_AT, SectionKind, Seed, encode_sealed_len};
use super::id::ObjectId;
use super::layout::PackEntry;
use super::merge::{Merged, Rows};
use super::object::ObjectReader;
use super::options::PackOptions;
use super::output::Output;
use super::reader::Pack;
use super::section::Located;
use super::segment::{Added, Sealed, SegmentWriter};
use crate::env::{File, FileSystem, Lock};
use crate::types::MAX_KEY_LEN;
use crate::{Error, Result, Slice};

/// The longest meta data of a name, in bytes.
pub const MAX_META_LEN: usize = 65_535;

/// A named object of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Its name.
    pub name: Slice,
    /// Its object.
    pub id: ObjectId,
    /// The length of the object, in bytes.
    pub len: u64,
    /// What was given with it.
    pub meta: Slice,
    located: Located,
}

impl ArchiveEntry {
    /// What the index says of the object.
    pub fn object(&self) -> PackEntry {
        PackEntry::new(self.id, &self.located)
    }
}

/// An archive, open for reading. It may be shared between threads.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use packstone::pack::{Archive, ArchiveWriter, PackOptions};
///
/// let path = dir.path().join("letters.pack");
/// let mut writer = ArchiveWriter::create(&path, &PackOptions::default())?;
/// writer.add(b"a/alpha", b"", b"content of alpha")?;
/// writer.add(b"b/beta", b"", b"content of beta")?;
/// writer.finish()?;
///
/// let mut writer = ArchiveWriter::append(&path, &PackOptions::default())?;
/// writer.add(b"a/aleph", b"", b"content of alpha")?; // stored already
/// let report = writer.finish()?;
/// assert_eq!((report.names_before, report.names_added, report.objects_added), (2, 1, 0));
///
/// let archive = Archive::open(&path)?;
/// let names: Vec<_> = archive.prefix(b"a/").map(|entry| entry.map(|entry| entry.name)).collect::<Result<_, _>>()?;
/// assert_eq!(names, [b"a/aleph"[..].into(), packstone::Slice::from(&b"a/alpha"[..])]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Archive {
    pack: Pack,
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Archive> {
        Self::open_with(path, &PackOptions::default())
    }

    /// The same with options: the size of the cache, the outside world.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &PackOptions) -> Result<Archive> {
        Pack::open_with(path, options).map(Self::of)
    }

    pub(super) fn of(pack: Pack) -> Archive {
        Archive { pack }
    }

    /// Its objects, by id.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// How many names it has.
    pub fn len(&self) -> u64 {
        self.pack.names()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has this name.
    ///
    /// # Errors
    /// The index can't be read or is damaged.
    pub fn get(&self, name: &[u8]) -> Result<Option<ArchiveEntry>> {
        match self.pack.find_name(name)? {
            Some((value, section)) => self.entry(name, &value, section).map(Some),
            None => Ok(None),
        }
    }

    fn entry(&self, name: &[u8], value: &[u8], section: u64) -> Result<ArchiveEntry> {
        let parsed = Located::of_name(value).filter(|(located, ..)| self.pack.is_possible(located));
        let (located, id, meta) = parsed.ok_or_else(|| {
            let what = format!(
                "expected an object for the name {:?}",
                String::from_utf8_lossy(name)
            );
            self.pack.file.damaged(section, what)
        })?;
        Ok(ArchiveEntry {
            name: Slice::from(name),
            id,
            len: located.content_len,
            meta: Slice::from(meta),
            located,
        })
    }

    /// All names in order.
    pub fn entries(&self) -> Entries<'_> {
        self.list(&[], &[])
    }

    /// The names from this one on, in order.
    pub fn entries_from(&self, from: &[u8]) -> Entries<'_> {
        self.list(from, &[])
    }

    /// The names of each section by itself, those of newer segments first. An error ends a section.
    pub(super) fn entries_apart(&self) -> impl Iterator<Item = Entries<'_>> {
        self.pack.rows_apart(SectionKind::Names).map(|rows| Entries {
            archive: self,
            rows: Some(rows),
            prefix: Vec::new(),
            last: None,
        })
    }

    /// The names that begin so, in order.
    pub fn prefix(&self, prefix: &[u8]) -> Entries<'_> {
        self.list(prefix, prefix)
    }

    fn list(&self, from: &[u8], prefix: &[u8]) -> Entries<'_> {
        Entries {
            archive: self,
            rows: Some(self.pack.rows(SectionKind::Names, from)),
            prefix: prefix.to_vec(),
            last: None,
        }
    }

    /// The object that an entry of this archive names, as a stream.
    ///
    /// # Errors
    /// The record's ends can't be read or are damaged.
    pub fn open_entry(&self, entry: &ArchiveEntry) -> Result<ObjectReader> {
        self.pack.open_at(&entry.id, &entry.located)
    }

    /// The whole object that an entry of this archive names.
    ///
    /// # Errors
    /// As [`Archive::open_entry`]; a chunk can't be read or does not match its checksum.
    pub fn read(&self, entry: &ArchiveEntry) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.pack.read_at(&entry.id, &entry.located, &mut content)?;
        Ok(content)
    }
}

/// Names of an archive, in order. See [`Archive::prefix`].
pub struct Entries<'a> {
    archive: &'a Archive,
    rows: Option<Merged>,
    prefix: Vec<u8>,
    last: Option<Vec<u8>>,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Entries<'_> {
    fn step(&mut self) -> Result<Option<ArchiveEntry>> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        while rows.advance()? && rows.key().starts_with(&self.prefix) {
            if self.last.as_deref() == Some(rows.key()) {
                continue; // what had this name before
            }
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(rows.key());
            let at = self.archive.pack.last_segment().0;
            return self.archive.entry(rows.key(), rows.value(), at).map(Some);
        }
        self.rows = None;
        Ok(None)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<ArchiveEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step();
        if next.is_err() {
            self.rows = None; // after an error it is at its end
        }
        next.transpose()
    }
}

/// What a seal of an archive has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealReport {
    /// Names that it had before.
    pub names_before: u64,
    /// Names that are new.
    pub names_added: u64,
    /// Names that were there and have new objects, or new meta data.
    pub names_replaced: u64,
    /// Objects that were stored.
    pub objects_added: u64,
    /// The length of these, in bytes.
    pub content_bytes: u64,
    /// The same as stored: compressed where that pays.
    pub stored_bytes: u64,
    /// Objects that were there already when they were added.
    pub duplicates: u64,
    /// Where the new bytes begin in the file.
    pub added_at: u64,
    /// How many they are, indexes included.
    pub bytes_added: u64,
    /// The length of the sealed file, in bytes.
    pub sealed_len: u64,
}

/// What happens to the file at the end.
enum Target {
    /// It gets its name.
    New(Unfinished),
    /// It has it.
    Grown {
        file: Arc<dyn File>,
        path: PathBuf,
        fs: Arc<dyn FileSystem>,
        /// Something lies behind the last footer, which goes before anything is written.
        torn: bool,
        /// What says that it is sealed, and where that lies: the footer's copies, the length in the header.
        seals: [(u64, Vec<u8>); 2],
        /// What the append builds on is durable.
        settled: bool,
        _lock: Box<dyn Lock>,
    },
    /// It has been finished.
    Done,
}

/// Writes an archive, new or behind what there is. See [`Archive`] for an example.
///
/// Dropping a writer without `finish` leaves everything as it was.
pub struct ArchiveWriter {
    writer: Option<SegmentWriter>,
    target: Target,
    names_before: u64,
    added_at: u64,
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter")
            .field("added_at", &self.added_at)
            .finish_non_exhaustive()
    }
}

impl ArchiveWriter {
    /// Begins an archive, which must not exist yet.
    ///
    /// # Errors
    /// As [`PackBuilder::create`](super::PackBuilder::create).
    pub fn create(path: impl AsRef<Path>, options: &PackOptions) -> Result<ArchiveWriter> {
        let (unfinished, output, identity) = Unfinished::begin(path.as_ref(), options)?;
        let writer = SegmentWriter::new(&options.to_env(), output, identity, options, None)?;
        Ok(ArchiveWriter {
            added_at: writer.position(),
            writer: Some(writer),
            target: Target::New(unfinished),
            names_before: 0,
        })
    }

    /// Goes on behind an archive, or a pack, that there is. Nothing is changed before something is added.
    ///
    /// # Errors
    /// As [`Pack::open`]; another writer has it open; [`Error::InvalidOption`] for a pack of a database.
    pub fn append(path: impl AsRef<Path>, options: &PackOptions) -> Result<ArchiveWriter> {
        let path = path.as_ref();
        options.check()?;
        let env = options.to_env();
        let open = || env.fs.open_writable(path).map_err(|e| Error::io("open", path, e));
        drop(open()?); // taking the lock of a file that is not there would create it
        let lock = env.fs.lock(path).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                path: path.to_owned(),
            },
            _ => Error::io("lock", path, e),
        })?;
        let file = open()?;
        let pack = Pack::of_file(Arc::clone(&file), path, options.cache_size, false)?;
        if pack.header.number != 0 {
            let what = format!(
                "{} is pack {} of a database, and sealed packs of databases never change; create an archive",
                path.display(),
                pack.header.number
            );
            return Err(Error::InvalidOption { name: "path", what });
        }
        if pack.taken == Some(true) {
            let what = format!(
                "{} has been taken over by a database, or was being taken over, and sealed packs of databases never change; create an archive",
                path.display()
            );
            return Err(Error::InvalidOption { name: "path", what });
        }
        let (end, names_before, torn) = (pack.sealed_len(), pack.names(), pack.torn_bytes() > 0);
        let identity = pack.identity();
        let (seal_at, footer) = pack.last_segment();
        let seals = [
            (seal_at, footer.encode(seal_at)),
            (SEALED_LEN_AT, encode_sealed_len(end, Seed::new(&identity))),
        ];
        let output = Output::new(Arc::clone(&file), path, end);
        let writer = SegmentWriter::new(&env, output, identity, options, Some(Arc::new(pack)))?;
        Ok(ArchiveWriter {
            writer: Some(writer),
            target: Target::Grown {
                file,
                path: path.to_owned(),
                fs: env.fs,
                torn,
                seals,
                settled: false,
                _lock: lock,
            },
            names_before,
            added_at: end,
        })
    }

    /// Goes on behind the archive, or begins one if there is no file of that name. A fresh archive has the same bytes either way.
    ///
    /// # Errors
    /// As [`ArchiveWriter::append`] and [`ArchiveWriter::create`].
    pub fn open(path: impl AsRef<Path>, options: &PackOptions) -> Result<ArchiveWriter> {
        match Self::append(path.as_ref(), options) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path, options)
            }
            opened => opened,
        }
    }

    /// Adds an object that is in memory, under a name. What has the name already is replaced: its content stays in the file,
    /// without the name.
    ///
    /// # Errors
    /// A name or meta data of more than 65,535 bytes: nothing has happened. The file can't be written: nothing of the object stays in it, and the
    /// next one can be added. What was there before can't be read, or a scratch file can't be written: the writer is of no further use.
    pub fn add(&mut self, name: &[u8], meta: &[u8], content: &[u8]) -> Result<Added> {
        let writer = self.ready(name, meta)?;
        let (added, located) = writer.add(content)?;
        writer.name(name, &added.id, &located, meta)?;
        Ok(added)
    }

    /// Adds what `content` gives until its end, of any length, without holding more than a chunk of it.
    ///
    /// # Errors
    /// As [`ArchiveWriter::add`]; the reader fails: nothing of it stays in the archive, and the next object can be added.
    pub fn add_reader(&mut self, name: &[u8], meta: &[u8], mut content: impl Read) -> Result<Added> {
        let writer = self.ready(name, meta)?;
        let (added, located) = writer.add_reader(&mut content, &String::from_utf8_lossy(name))?;
        writer.name(name, &added.id, &located, meta)?;
        Ok(added)
    }

    fn ready(&mut self, name: &[u8], meta: &[u8]) -> Result<&mut SegmentWriter> {
        let limits = [
            ("name", name.len(), MAX_KEY_LEN),
            ("meta data", meta.len(), MAX_META_LEN),
        ];
        for (what, size, limit) in limits {
            if size > limit {
                let (size, limit) = (size as u64, limit as u64);
                return Err(Error::LimitExceeded { what, size, limit });
            }
        }
        self.settle()?;
        let ended = || {
            Error::io(
                "write",
                Path::new("the archive"),
                io::Error::other("it has been finished"),
            )
        };
        self.writer.as_mut().ok_or_else(ended)
    }

    /// Makes durable what the append builds on, before its first write. The name and the last footer may be there only because their
    /// writer was killed, or failed, before its last sync; and the footer of an append that failed may be gone only until the power
    /// goes, and would come back over new records.
    fn settle(&mut self) -> Result<()> {
        let Target::Grown {
            file,
            path,
            fs,
            torn,
            seals,
            settled,
            ..
        } = &mut self.target
        else {
            return Ok(());
        };
        if *settled {
            return Ok(());
        }
        // What a crash, or a failure, in the middle of the last seal has left out, and what is damaged of it. What is right is not written again.
        for (at, bytes) in seals {
            let mut there = vec![0; bytes.len()];
            if file.read_exact_at(*at, &mut there).is_err() || there != *bytes {
                file.write_all_at(*at, bytes)
                    .map_err(|e| Error::io("write", path, e))?;
            }
        }
        file.sync().map_err(|e| Error::io("sync", path, e))?;
        sync_dir_of(&**fs, path)?;
        if *torn {
            file.set_len(self.added_at)
                .map_err(|e| Error::io("cut", path, e))?;
            *torn = false;
        }
        *settled = true;
        Ok(())
    }

    /// Seals the archive; it is durable then. If nothing was added to an archive that there was, nothing is written.
    ///
    /// # Errors
    /// The file, or a scratch file, can't be written, read or synced. The archive is as it was before, as far as that can be told: if one of the last
    /// two syncs failed, it may be found in either state.
    pub fn finish(mut self) -> Result<SealReport> {
        let writer = self.writer.take();
        let target = std::mem::replace(&mut self.target, Target::Done);
        let mut report = SealReport {
            names_before: self.names_before,
            added_at: self.added_at,
            sealed_len: self.added_at,
            ..SealReport::default()
        };
        let Some(writer) = writer else { return Ok(report) };
        if matches!(target, Target::Grown { .. }) && writer.names() == 0 {
            return Ok(report);
        }
        report.duplicates = writer.totals().duplicates;
        let Sealed {
            footer,
            replaced,
            len,
        } = writer.seal()?;
        if let Target::New(unfinished) = target {
            unfinished.publish()?;
        }
        report.names_added = footer.names - self.names_before;
        report.names_replaced = replaced;
        report.objects_added = footer.objects;
        report.content_bytes = footer.content_bytes;
        report.stored_bytes = footer.stored_bytes;
        report.bytes_added = len - self.added_at;
        report.sealed_len = len;
        Ok(report)
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        // A new file goes as a whole; what has been appended is cut off. If that fails, the next append does it.
        if let (Some(writer), Target::Grown { .. }) = (&mut self.writer, &self.target) {
            let _ = writer.take_back();
        }
    }
}
