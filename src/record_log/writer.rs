//! Writing a record log. One writer at a time; `&mut self` says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{File, FileSystem};
use crate::planted::{self, Bug};
use crate::{Error, Result};

use super::format::{FrameKind, FrameSum, encode_header, encode_marker};
use super::{FRAME_HEADER_LEN, HEADER_LEN, Header, LogMedium, PlainMedium, SYNC, discard};

/// Appends frames to a log that it created. A log found on disk is never appended to.
pub(crate) struct LogWriter {
    header: Header,
    path: PathBuf,
    medium: Arc<dyn LogMedium>,
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
        let file = fs
            .create(path)
            .map_err(|error| Error::io("create", path, error))?;
        let made = file
            .write_all_at(0, &encode_header(&header))
            .map_err(|error| Error::io("write", path, error))
            .and_then(|()| file.sync().map_err(|error| Error::io(SYNC, path, error)))
            .and_then(|()| {
                let dir = path.parent().unwrap_or(Path::new(""));
                if planted::is(Bug::LogNameNotSynced) {
                    return Ok(());
                }
                fs.sync_dir(dir).map_err(|error| Error::io(SYNC, dir, error))
            });
        if let Err(error) = made {
            discard(fs, path);
            return Err(error);
        }
        Ok(LogWriter::on(file, path, header))
    }

    /// Creates the file under a name of no meaning; [`LogWriter::finish_as`] gives it its own. Nothing is durable before.
    pub(crate) fn begin(fs: &dyn FileSystem, path: &Path, header: Header) -> Result<LogWriter> {
        let file = fs
            .create(path)
            .map_err(|error| Error::io("create", path, error))?;
        file.write_all_at(0, &encode_header(&header))
            .map_err(|error| Error::io("write", path, error))?;
        Ok(LogWriter::on(file, path, header))
    }

    /// Makes the contents durable and moves the file to its own name, which is durable when this returns. After an
    /// error the file may have either name.
    pub(crate) fn finish_as(&mut self, fs: &dyn FileSystem, path: &Path) -> Result<()> {
        self.sync()?;
        fs.rename(&self.path, path)
            .map_err(|error| Error::io("rename", path, error))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        fs.sync_dir(dir).map_err(|error| Error::io(SYNC, dir, error))?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Writes to `file`, which holds the header.
    fn on(file: Arc<dyn File>, path: &Path, header: Header) -> LogWriter {
        let medium = Arc::new(PlainMedium::new(file, path, HEADER_LEN));
        let sum = FrameSum::new(&header.identity);
        LogWriter {
            header,
            path: path.to_owned(),
            medium,
            sum,
            end: HEADER_LEN,
            pushed: HEADER_LEN,
            state: State::Open,
        }
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
        self.sync()
    }

    /// The offset behind the last good frame.
    pub(crate) fn end(&self) -> u64 {
        self.end
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
    pub(crate) fn medium(&self) -> Arc<dyn LogMedium> {
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
        self.medium.copy(offset, &[&front, payload]);
        self.pushed = offset + FRAME_HEADER_LEN + len;
        Ok(())
    }
}
