//! [`PackBuilder`]: writes a pack from any number of objects, in bounded memory.
//!
//! The pack is written as `NAME.unfinished`, and gets its name when it is whole and durable; so a file of that name is always a whole
//! pack. What is unfinished goes when the builder is dropped, or fails; what a crash leaves is replaced by the next builder
//! of that name (a lock tells it from one that is at work).
//!
//! Memory: two sorters of half of `PackOptions::sort_memory`, the window for duplicates, a mebibyte of output, one chunk; whatever the
//! number and length of the objects.
//!
//! Callers: programs, `archive`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{FILE_HEADER_LEN, FileHeader};
use super::options::PackOptions;
use super::output::Output;
use super::segment::{Added, Sealed, SegmentWriter};
use crate::env::{Env, FileSystem, Lock, is_unlinkable};
use crate::{Error, Result};

/// A file that gets its name when it is whole.
pub(super) struct Unfinished {
    env: Env,
    path: PathBuf,
    temporary: PathBuf,
    _locks: Vec<Box<dyn Lock>>,
    done: bool,
}

impl Unfinished {
    /// Begins a file that is to be `path`, and writes its header.
    pub(super) fn begin(path: &Path, options: &PackOptions) -> Result<(Unfinished, Output, [u8; 16])> {
        options.check()?;
        let env = options.to_env();
        must_be_free(&*env.fs, path)?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".unfinished");
        let temporary = PathBuf::from(temporary);
        let failed = |operation, e| Error::io(operation, &temporary, e);
        let lock = env.fs.lock(&temporary).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                path: temporary.clone(),
            },
            _ => failed("create", e),
        })?;
        // A leftover may be another name of a file that has been finished, so it is not written to. The lock of what was found is kept, too:
        // whoever opened that before it goes must not take it for a leftover.
        env.fs.remove(&temporary).map_err(|e| failed("remove", e))?;
        let file = env.fs.create(&temporary).map_err(|e| failed("create", e))?;
        let mut unfinished = Unfinished {
            env: env.clone(),
            path: path.to_owned(),
            temporary: temporary.clone(),
            _locks: vec![lock],
            done: false,
        };
        let lock = env.fs.lock(&temporary).map_err(|e| failed("lock", e))?;
        unfinished._locks.push(lock);
        let random = || env.entropy.identity().map_err(|e| failed("create", e));
        let identity = options.identity.map_or_else(random, Ok)?;
        let mut output = Output::new(Arc::clone(&file), &temporary, 0);
        output.push(&FileHeader { identity, number: 0 }.encode())?;
        debug_assert_eq!(output.position(), FILE_HEADER_LEN);
        Ok((unfinished, output, identity))
    }

    /// Gives the file, which is whole and durable, its name. **The point of no return** is the sync of the directory.
    pub(super) fn publish(mut self) -> Result<()> {
        let fs = &self.env.fs;
        // A link fails if somebody has made a file of that name meanwhile, where a rename would replace it.
        match fs.hard_link(&self.temporary, &self.path) {
            Ok(()) => fs
                .remove(&self.temporary)
                .map_err(|e| Error::io("remove", &self.temporary, e))?,
            Err(e) if is_unlinkable(&e) => {
                // Who makes a file of that name between this and the rename loses it.
                must_be_free(&**fs, &self.path)?;
                let renamed = fs.rename(&self.temporary, &self.path);
                renamed.map_err(|e| Error::io("rename", &self.temporary, e))?;
            }
            Err(e) => return Err(Error::io("create", &self.path, e)),
        }
        self.done = true;
        sync_dir_of(&**fs, &self.path).inspect_err(|_| {
            // A later sync need not make good for one that failed, so nobody shall build on this name.
            let _ = fs.remove(&self.path);
        })
    }
}

/// Fails if there is anything of that name.
fn must_be_free(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let other = match fs.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A directory, a pipe, a device is in the way as well.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput
            ) =>
        {
            None
        }
        Err(e) => Some(e),
        Ok(_) => None,
    };
    let error = other.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into());
    Err(Error::io("create", path, error))
}

/// Makes a file's name durable.
pub(super) fn sync_dir_of(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // If it fails, the next builder of this name replaces it.
            let _ = self.env.fs.remove(&self.temporary);
        }
    }
}

/// What a [`PackBuilder`] has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackReport {
    /// Objects in the pack.
    pub objects: u64,
    /// The length of their contents together, in bytes.
    pub content_bytes: u64,
    /// The same as stored: compressed where that pays.
    pub stored_bytes: u64,
    /// Objects that were there already when they were added.
    pub duplicates: u64,
    /// The length of these, in bytes.
    pub duplicate_bytes: u64,
    /// The length of the file, in bytes.
    pub file_bytes: u64,
}

impl PackReport {
    /// Stored bytes for each byte of content; 1 for a pack without contents.
    pub fn ratio(&self) -> f64 {
        match self.content_bytes {
            0 => 1.0,
            bytes => self.stored_bytes as f64 / bytes as f64,
        }
    }
}

/// Writes a pack. See [`Pack`](super::Pack) for an example.
///
/// Objects are stored as they come. Dropping a builder without `finish` leaves nothing behind.
pub struct PackBuilder {
    // Dropped first: it has the file open.
    writer: SegmentWriter,
    unfinished: Unfinished,
}

impl std::fmt::Debug for PackBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackBuilder")
            .field("path", &self.unfinished.path)
            .finish_non_exhaustive()
    }
}

impl PackBuilder {
    /// Begins a pack, which must not exist yet.
    ///
    /// # Errors
    /// There is a file of that name; another builder is at work on it; the directory is missing or can't be written to; the options are wrong.
    pub fn create(path: impl AsRef<Path>, options: &PackOptions) -> Result<PackBuilder> {
        let (unfinished, output, identity) = Unfinished::begin(path.as_ref(), options)?;
        let writer = SegmentWriter::new(&unfinished.env, output, identity, options, None)?;
        Ok(PackBuilder { writer, unfinished })
    }

    /// Adds an object that is in memory.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(&mut self, content: &[u8]) -> Result<Added> {
        self.writer.add(content).map(|(added, _)| added)
    }

    /// Adds what `content` gives until its end, of any length, without holding more than a chunk of it.
    ///
    /// # Errors
    /// The reader fails: nothing of it stays in the pack, and the next object can be added. The file can't be written.
    pub fn add_reader(&mut self, mut content: impl Read) -> Result<Added> {
        self.writer
            .add_reader(&mut content, "the object")
            .map(|(added, _)| added)
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.writer.position()
    }

    /// Seals the pack and gives it its name; it is durable then.
    ///
    /// # Errors
    /// The file, or a scratch file, can't be written, read or synced; there is a file of the name by now. Nothing is left behind.
    pub fn finish(self) -> Result<PackReport> {
        let PackBuilder { writer, unfinished } = self;
        let totals = *writer.totals();
        let Sealed { footer, len, .. } = writer.seal()?;
        unfinished.publish()?;
        Ok(PackReport {
            objects: footer.objects,
            content_bytes: footer.content_bytes,
            stored_bytes: footer.stored_bytes,
            duplicates: totals.duplicates,
            duplicate_bytes: totals.duplicate_bytes,
            file_bytes: len,
        })
    }
}
