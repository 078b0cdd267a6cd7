//! Writing a record log. One writer at a time; `&mut self` says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{File, FileSystem};
use crate::planted::{self, Bug};
use crate::{Error, Result};

use super::format::{FrameKind, FrameSum, encode_header, encode_marker};
use super::mapped::MappedMedium;
use super::medium::PlainMedium;
use super::{FRAME_HEADER_LEN, HEADER_LEN, Header, Layout, Medium, SYNC, Spare, discard};

/// Appends frames to a log that it created. A log found on disk is never appended to.
pub(crate) struct LogWriter {
    header: Header,
    path: PathBuf,
    medium: Arc<dyn Medium>,
    sum: FrameSum,
    /// Behind the last published frame: the good end.
    end: u64,
    /// Behind the last frame pushed; differs from `end` only inside a group.
    pushed: u64,
    state: State,
}

enum State {
    Open,
    /// A write failed: the file's bytes behind `end` are unknown.
    Failed(Error),
    Sealed,
}

impl LogWriter {
    /// Creates the file, with its header and its name durable: nothing refers to it before that. If any step fails, the
    /// file is removed as far as possible; do not use its number again, because the removal may not be durable.
    pub(crate) fn create(fs: &dyn FileSystem, path: &Path, header: Header) -> Result<LogWriter> {
        LogWriter::create_with(fs, path, header, None)
    }

    /// The same, with room that is reserved and mapped, where that is possible.
    pub(crate) fn create_with(
        fs: &dyn FileSystem,
        path: &Path,
        header: Header,
        layout: Option<&Layout>,
    ) -> Result<LogWriter> {
        let file = create_file(fs, path)?;
        let made = LogWriter::on(file, path, header, layout).and_then(|writer| {
            writer.sync()?;
            if !planted::is(Bug::LogNameNotSynced) {
                sync_dir_of(fs, path)?;
            }
            Ok(writer)
        });
        made.inspect_err(|_| discard(fs, path))
    }

    /// Makes a new log of a file that was one before and is called `from` now. As with `create`, header and name are durable
    /// when this returns, and the header is before the file gets its name.
    pub(crate) fn reuse(
        fs: &dyn FileSystem,
        spare: Spare,
        from: &Path,
        path: &Path,
        header: Header,
        layout: &Layout,
    ) -> Result<LogWriter> {
        let medium = MappedMedium::reuse(spare, path, layout);
        let begun = LogWriter::begin_on(medium, path, header, true).and_then(|writer| {
            if !planted::is(Bug::ReusedHeaderNotSynced) {
                writer.sync()?;
            }
            Ok(writer)
        });
        let writer = begun.inspect_err(|_| discard(fs, from))?;
        let named = fs
            .rename(from, path)
            .map_err(|error| Error::io("rename", path, error))
            .and_then(|()| sync_dir_of(fs, path));
        match named {
            Ok(()) => Ok(writer),
            Err(error) => {
                discard(fs, from);
                discard(fs, path);
                Err(error)
            }
        }
    }

    /// Creates the file under a name of no meaning; [`LogWriter::finish_as`] gives it its own. Nothing is durable before.
    pub(crate) fn begin(
        fs: &dyn FileSystem,
        path: &Path,
        header: Header,
        layout: Option<&Layout>,
    ) -> Result<LogWriter> {
        LogWriter::on(create_file(fs, path)?, path, header, layout)
    }

    /// Makes the contents durable and moves the file to its own name, which is durable when this returns. After an
    /// error the file may have either name.
    pub(crate) fn finish_as(&mut self, fs: &dyn FileSystem, path: &Path) -> Result<()> {
        self.sync()?;
        fs.rename(&self.path, path)
            .map_err(|error| Error::io("rename", path, error))?;
        sync_dir_of(fs, path)?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Begins the log in an empty file: mapped where the layout asks for it and there is room, plain otherwise.
    fn on(file: Arc<dyn File>, path: &Path, header: Header, layout: Option<&Layout>) -> Result<LogWriter> {
        let mapped = match layout {
            Some(layout) => MappedMedium::new(&file, path, layout)?,
            None => None,
        };
        match mapped {
            Some(medium) => LogWriter::begin_on(medium, path, header, true),
            None => LogWriter::begin_on(Arc::new(PlainMedium::new(file, path, 0)), path, header, false),
        }
    }

    /// Writes the header.
    fn begin_on(medium: Arc<dyn Medium>, path: &Path, header: Header, reserved: bool) -> Result<LogWriter> {
        let header = Header { reserved, ..header };
        let begin = medium.reserve(HEADER_LEN)?;
        medium.copy(begin, &encode_header(&header), &[]);
        medium.publish(HEADER_LEN)?;
        let sum = FrameSum::new(&header.identity);
        Ok(LogWriter {
            header,
            path: path.to_owned(),
            medium,
            sum,
            end: HEADER_LEN,
            pushed: HEADER_LEN,
            state: State::Open,
        })
    }

    /// Appends one data frame that survives the death of the process; returns the end offset. After an error the good
    /// end is what it was, and the writer refuses everything further.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<u64> {
        self.push(payload)?;
        self.publish()
    }

    /// Adds a data frame to the group that the next [`LogWriter::publish`] writes.
    pub(crate) fn push(&mut self, payload: &[u8]) -> Result<()> {
        self.push_frame(FrameKind::Data, payload)
    }

    /// Writes the pushed frames; returns the end offset. Fails as `append` does.
    pub(crate) fn publish(&mut self) -> Result<u64> {
        self.check_open()?;
        if let Err(error) = self.medium.publish(self.pushed) {
            if !planted::is(Bug::WrittenBehindTornFrame) {
                self.state = State::Failed(error.clone());
            }
            return Err(error);
        }
        self.end = self.pushed;
        Ok(self.end)
    }

    /// Makes everything published so far durable. Contains no marker: the caller knows what else was synced.
    pub(crate) fn sync(&self) -> Result<()> {
        self.medium.sync()
    }

    /// Appends a marker. REQUIRES: everything in log `number` below `offset`, and all older logs, is synced.
    pub(crate) fn mark(&mut self, number: u64, offset: u64) -> Result<()> {
        self.push_frame(FrameKind::Marker, &encode_marker(number, offset))?;
        self.publish().map(|_| ())
    }

    /// Ends the log in order: syncs, appends the seal, syncs it. REQUIRES: all older logs are synced.
    pub(crate) fn seal(&mut self) -> Result<()> {
        self.check_open()?;
        self.sync()?;
        self.push_frame(FrameKind::Seal, &encode_marker(self.header.number, self.end))?;
        self.publish()?;
        self.state = State::Sealed;
        self.sync()?;
        self.medium.finish(self.end);
        Ok(())
    }

    /// Whether a group of frames of `len` bytes, fronts included, fits into the file. If so, pushing them can't fail for want
    /// of room.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        self.medium.has_room(self.end.saturating_add(len))
    }

    /// The offset behind the last good frame.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that the file takes on disk, reserved room included.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        match self.state {
            State::Sealed => self.end, // the room behind it has been given back
            _ => self.medium.room().max(self.end),
        }
    }

    /// The file's header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The medium, for syncing while others append.
    pub(crate) fn medium(&self) -> Arc<dyn Medium> {
        self.medium.clone()
    }

    /// Whether the writer takes more frames.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn check_open(&self) -> Result<()> {
        match &self.state {
            State::Open => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::Sealed => Err(Error::Closed),
        }
    }

    fn push_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<()> {
        self.check_open()?;
        let len = payload.len() as u64;
        let limit = u64::from(u32::MAX);
        if len > limit {
            return Err(Error::LimitExceeded {
                what: "batch",
                size: len,
                limit,
            });
        }
        let offset = self.medium.reserve(FRAME_HEADER_LEN + len)?;
        let front = self.sum.frame_header(offset, kind, payload);
        self.medium.copy(offset, &front, payload);
        self.pushed = offset + FRAME_HEADER_LEN + len;
        Ok(())
    }
}

fn create_file(fs: &dyn FileSystem, path: &Path) -> Result<Arc<dyn File>> {
    fs.create(path).map_err(|error| Error::io("create", path, error))
}

/// Makes the name durable.
fn sync_dir_of(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new(""));
    fs.sync_dir(dir).map_err(|error| Error::io(SYNC, dir, error))
}
