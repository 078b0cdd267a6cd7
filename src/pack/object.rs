//! [`ObjectReader`]: one object out of a pack, as a stream that can seek.
//!
//! What is held: one chunk of content, a window of stored bytes (up to [`WINDOW`] while reading goes forward), one group's table and
//! of objects with several groups the top. Every chunk that is touched is verified against the table, the table against its sum,
//! and all of that against the record's place. That the whole content hashes to the id is what `verify` checks.
//!
//! Callers: `reader`, `scan`, `verify`, `whole`, `shared`.

use std::io::{self, Read, Seek, SeekFrom};

use super::format::{ChunkEntry, RECORD_HEADER_LEN, Shape, TRAILER_LEN, decode_table, decode_top};
use super::id::{IdHasher, ObjectId};
pub(crate) use super::record_file::{RecordFile, RecordInfo, RecordPlace, shared_path};
use crate::{Error, Result, codec};

/// The most that one read call takes ahead of what is asked for, in bytes.
const WINDOW: u64 = 256 << 10;
/// Records up to this length are read by one call when the whole content is asked for.
pub(super) const WHOLE: u64 = 1 << 20;
/// Content that is at most so many times what is stored of it gets its memory at once.
const MODEST: u64 = 8;

/// Raw chunks from this length on are read into the caller's buffer, past the window: 16 KiB.
pub(super) const DIRECT: u64 = 16 << 10;

/// One chunk: where it lies and how it is stored.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) entry: ChunkEntry,
    pub(super) content_len: usize,
}

/// A chunk as it is stored.
pub(super) struct StoredChunk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) raw: bool,
    /// CRC-32 of `bytes`, of nothing else.
    pub(super) crc: u32,
    pub(super) content_len: usize,
}

/// A table that has been read.
struct Group {
    number: u64,
    /// Where its chunks end in the file.
    end: u64,
    chunks: Vec<Chunk>,
}

/// Reads one object. `Read` and `Seek` in `std`'s sense; errors of reading a damaged pack are of kind `InvalidData` and carry an
/// [`Error`], which names file and offset.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use std::io::{Read, Seek, SeekFrom};
/// use packstone::pack::{Pack, PackBuilder, PackOptions};
///
/// let path = dir.path().join("objects.pack");
/// let mut builder = PackBuilder::create(&path, &PackOptions::default())?;
/// let id = builder.add(b"one two three")?.id;
/// builder.finish()?;
///
/// let pack = Pack::open(&path)?;
/// let mut object = pack.open_object(&id)?.ok_or("it is there")?;
/// object.seek(SeekFrom::Start(4))?;
/// let mut text = String::new();
/// object.read_to_string(&mut text)?;
/// assert_eq!(text, "two three");
/// # Ok(())
/// # }
/// ```
pub struct ObjectReader {
    file: RecordFile,
    info: RecordInfo,
    top: Option<Vec<u64>>,
    group: Option<Group>,
    /// The content of the chunk read last.
    content: Vec<u8>,
    content_of: Option<u64>,
    /// The chunk whose stored bytes were read last.
    last: Option<u64>,
    window: Vec<u8>,
    window_at: u64,
    position: u64,
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader")
            .field("id", &self.info.id)
            .field("len", &self.len())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[allow(clippy::len_without_is_empty)] // the length of a stream
impl ObjectReader {
    pub(crate) fn open(file: &RecordFile, place: RecordPlace) -> Result<Self> {
        let info = RecordInfo::read(file, place)?;
        Ok(Self::of(file.clone(), info))
    }

    pub(crate) fn of(file: RecordFile, info: RecordInfo) -> Self {
        ObjectReader {
            file,
            info,
            top: None,
            group: None,
            content: Vec::new(),
            content_of: None,
            last: None,
            window: Vec::new(),
            window_at: 0,
            position: 0,
        }
    }

    /// The length of the object, in bytes.
    pub fn len(&self) -> u64 {
        self.info.shape.content_len
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.info.id
    }

    pub(crate) fn info(&self) -> &RecordInfo {
        &self.info
    }

    /// Reads on as `Read::read` does, with the engine's own error.
    pub fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        let chunk_size = 1u64 << self.info.shape.chunk_shift;
        if self.position >= self.len() || out.is_empty() {
            return Ok(0);
        }
        let number = self.position / chunk_size;
        let within = (self.position % chunk_size) as usize;
        if self.content_of != Some(number) {
            let chunk = self.chunk(number)?;
            if within == 0
                && let Some(out) = out.get_mut(..chunk.content_len)
            {
                // Wanted whole and from its begin: straight into the caller's buffer.
                self.read_into(number, chunk, out)?;
                self.position += out.len() as u64;
                return Ok(out.len());
            }
            let mut content = std::mem::take(&mut self.content);
            content.resize(chunk.content_len, 0);
            self.content_of = None;
            let loaded = self.read_into(number, chunk, &mut content);
            self.content = content;
            loaded?;
            self.content_of = Some(number);
        }
        let rest = self.content.get(within..).unwrap_or_default();
        let len = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.position += len as u64;
        Ok(len)
    }

    /// The length, if memory for all of it may be had at once: what claims to expand more may be a claim only.
    pub(super) fn modest_len(&self) -> Option<usize> {
        let modest = self.len() / MODEST <= self.info.shape.stored_len;
        usize::try_from(self.len()).ok().filter(|_| modest)
    }

    /// The whole content, from its begin, to `out`, which is as long as that.
    pub(super) fn fill(&mut self, mut out: &mut [u8]) -> Result<()> {
        self.position = 0;
        while !out.is_empty() {
            let n = match self.read_some(out)? {
                0 => return Err(self.file.damaged(self.info.place.offset, "expected more content")),
                n => n,
            };
            out = out.get_mut(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// The whole content, from its begin, in place of what `out` holds, whose memory is used again.
    ///
    /// # Errors
    /// A chunk can't be read or does not match its checksum; `out` holds nothing of use then.
    pub fn read_all(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.position = 0;
        let len = usize::try_from(self.len()).unwrap_or(usize::MAX);
        // Memory grows with what has been read.
        let step = self.modest_len().unwrap_or(1 << self.info.shape.chunk_shift);
        let mut from = 0;
        while from < len {
            let upto = len.min(from.saturating_add(step));
            if out.len() < upto {
                out.resize(upto, 0); // what is there is written over, not zeroed
            }
            match self.read_some(out.get_mut(from..upto).unwrap_or_default())? {
                0 => return Err(self.file.damaged(self.info.place.offset, "expected more content")),
                n => from += n,
            }
        }
        out.truncate(len);
        Ok(())
    }

    /// Reads everything and compares its hash with the id.
    pub(crate) fn verify(&mut self) -> Result<()> {
        let mut hasher = IdHasher::default();
        let mut buffer = vec![0; (1usize << self.info.shape.chunk_shift).max(64 << 10)];
        self.position = 0;
        loop {
            let n = self.read_some(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(buffer.get(..n).unwrap_or_default());
        }
        if hasher.finish(&self.info.salt) == self.info.id {
            return Ok(());
        }
        let what = format!("expected content that hashes to the id {}", self.info.id);
        Err(self.file.damaged(self.info.place.offset, what))
    }

    /// The record is in memory already.
    pub(super) fn with_record(mut self, record: Vec<u8>) -> Self {
        self.window = record;
        self.window_at = self.info.place.offset;
        self
    }

    /// Brings a short record into memory by one call, in a buffer that is used again ([`Self::into_buffer`]); of others the buffer only.
    pub(super) fn preload(&mut self, mut buffer: Vec<u8>) -> Result<()> {
        buffer.clear();
        let place = self.info.place;
        if place.record_len <= WHOLE {
            buffer.resize(place.record_len as usize, 0);
            self.file.read_into(place.offset, &mut buffer)?;
        }
        self.window = buffer;
        self.window_at = place.offset;
        Ok(())
    }

    /// The window's memory.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.window
    }

    /// A chunk as it is stored, checked.
    pub(super) fn stored(&mut self, number: u64) -> Result<StoredChunk<'_>> {
        let chunk = self.chunk(number)?;
        self.bring(number, chunk)?;
        self.last = Some(number);
        let bytes = self.windowed(chunk).unwrap_or_default();
        let (crc, len) = (crc32fast::hash(bytes), bytes.len() as u64);
        if self.file.seed.sum_of(chunk.offset, crc, len) != chunk.entry.sum {
            self.check(chunk, bytes)?;
        }
        Ok(StoredChunk {
            bytes,
            raw: chunk.entry.raw,
            crc,
            content_len: chunk.content_len,
        })
    }

    /// Reads a chunk's content. REQUIRES: `out` is as long as it.
    fn read_into(&mut self, number: u64, chunk: Chunk, out: &mut [u8]) -> Result<()> {
        if chunk.entry.raw && self.windowed(chunk).is_none() && out.len() as u64 >= DIRECT {
            self.file.read_into(chunk.offset, out)?;
            self.last = Some(number);
            return self.check(chunk, out);
        }
        self.bring(number, chunk)?;
        let stored = self.windowed(chunk).unwrap_or_default();
        self.check(chunk, stored)?;
        let decoded = match chunk.entry.raw {
            true if stored.len() == out.len() => {
                out.copy_from_slice(stored);
                Some(())
            }
            true => None,
            false => codec::decompress(stored, out),
        };
        self.last = Some(number);
        if decoded.is_some() {
            return Ok(());
        }
        let what = format!("expected a chunk that decompresses to {} bytes", out.len());
        Err(self.file.damaged(chunk.offset, what))
    }

    pub(super) fn check(&self, chunk: Chunk, stored: &[u8]) -> Result<()> {
        if self.file.seed.sum(chunk.offset, stored) == chunk.entry.sum {
            return Ok(());
        }
        let what = format!(
            "expected a chunk of object {} that matches its checksum",
            self.info.id
        );
        Err(self.file.damaged(chunk.offset, what))
    }

    /// The chunk's stored bytes, if the window has them.
    pub(super) fn windowed(&self, chunk: Chunk) -> Option<&[u8]> {
        let from = usize::try_from(chunk.offset.checked_sub(self.window_at)?).ok()?;
        self.window
            .get(from..from.checked_add(chunk.entry.stored_len as usize)?)
    }

    /// Brings the chunk's stored bytes into the window.
    fn bring(&mut self, number: u64, chunk: Chunk) -> Result<()> {
        if self.windowed(chunk).is_some() {
            return Ok(());
        }
        // Ahead only while reading goes forward.
        let forward = number
            .checked_sub(1)
            .is_some_and(|before| self.last == Some(before));
        let end = self.group.as_ref().map_or(0, |group| group.end);
        let rest = end.saturating_sub(chunk.offset);
        let stored = u64::from(chunk.entry.stored_len);
        let len = if forward {
            stored.max(WINDOW.min(rest))
        } else {
            stored
        };
        self.window.clear();
        self.window.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        self.window_at = chunk.offset;
        let read = self.file.read_into(chunk.offset, &mut self.window);
        if read.is_err() {
            self.window.clear();
        }
        read
    }

    pub(super) fn chunk(&mut self, number: u64) -> Result<Chunk> {
        let group = number / super::format::GROUP_CHUNKS;
        if self.group.as_ref().is_none_or(|held| held.number != group) {
            self.group = Some(self.read_group(group)?);
        }
        let within = (number % super::format::GROUP_CHUNKS) as usize;
        let chunk = self.group.as_ref().and_then(|held| held.chunks.get(within));
        chunk
            .copied()
            .ok_or_else(|| self.file.damaged(self.info.place.offset, "expected a chunk"))
    }

    /// Where group `number`'s chunks begin, and its table lies, from the record's begin.
    fn group_at(&mut self, number: u64) -> Result<(u64, u64)> {
        let shape = self.info.shape;
        if shape.groups() <= 1 {
            return Ok((RECORD_HEADER_LEN, RECORD_HEADER_LEN + shape.stored_len));
        }
        let top = match self.top.take() {
            Some(top) => top,
            None => {
                let at = self.info.trailer_at() - shape.top_len();
                let bytes = self.file.read(at, shape.top_len())?;
                decode_top(&bytes, self.file.seed, at)
                    .ok_or_else(|| self.file.damaged(at, "expected an object's table of groups"))?
            }
        };
        let table = |number: u64| usize::try_from(number).ok().and_then(|at| top.get(at)).copied();
        let begins = match number.checked_sub(1) {
            None => Some(RECORD_HEADER_LEN),
            Some(before) => {
                table(before).and_then(|at| at.checked_add(Shape::table_len(shape.chunks_in(before))))
            }
        };
        let places = begins.zip(table(number));
        self.top = Some(top);
        let within = |(begins, table): &(u64, u64)| {
            begins <= table && *table <= self.info.place.record_len - TRAILER_LEN - shape.top_len()
        };
        places.filter(within).ok_or_else(|| {
            self.file
                .damaged(self.info.trailer_at(), "expected groups that lie in their record")
        })
    }

    fn read_group(&mut self, number: u64) -> Result<Group> {
        let (begins, table_at) = self.group_at(number)?;
        let shape = self.info.shape;
        let count = shape.chunks_in(number);
        let at = self.info.place.offset + table_at;
        let len = Shape::table_len(count);
        let from = at
            .checked_sub(self.window_at)
            .and_then(|from| usize::try_from(from).ok());
        let bytes = match from.and_then(|from| self.window.get(from..from.checked_add(len as usize)?)) {
            Some(bytes) => bytes.to_vec(),
            None => self.file.read(at, len)?,
        };
        let entries = decode_table(&bytes, self.file.seed, at);
        let entries = entries.ok_or_else(|| self.file.damaged(at, "expected an object's table of chunks"))?;
        let mut offset = self.info.place.offset + begins;
        let first = number * super::format::GROUP_CHUNKS;
        let mut chunks = Vec::with_capacity(entries.len());
        for (entry, number) in entries.into_iter().zip(first..) {
            let content_len = shape.content_of(number);
            let possible = match entry.raw {
                true => entry.stored_len as usize == content_len,
                false => (entry.stored_len as usize) < content_len,
            };
            if !possible {
                return Err(self
                    .file
                    .damaged(at, "expected chunks no longer than their content"));
            }
            chunks.push(Chunk {
                offset,
                entry,
                content_len,
            });
            offset += u64::from(entry.stored_len);
        }
        if offset != at {
            return Err(self
                .file
                .damaged(at, "expected chunks that end where their table begins"));
        }
        Ok(Group {
            number,
            end: at,
            chunks,
        })
    }
}

pub(super) fn as_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_some(out).map_err(as_io)
    }
}

impl Seek for ObjectReader {
    /// Behind the end is allowed, as in files: reading there gives nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        let before = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a position before the begin of the object",
            )
        };
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}
