//! What lies in a directory: the walk, and reading a file that may change, grow or vanish meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::platform::{mode_of, open_regular, path_bytes};
use super::{Failure, Outcome, failed};

/// Longer files are not read whole.
const MAX_CONTENTS: u64 = super::stream::LARGE;

/// How often a file that changes while it is read is read again.
pub(super) const READ_ATTEMPTS: usize = 3;

/// A regular file that a walk met.
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

/// All that lies in a directory.
#[derive(Default)]
pub(super) struct Walk {
    /// Regular files, sorted by key.
    pub(super) files: Vec<Entry>,
    /// Symbolic links and special files, each with its kind.
    pub(super) skipped: Vec<(PathBuf, &'static str)>,
    /// What could not be looked at, as messages.
    pub(super) problems: Vec<String>,
    /// Keys below these were not seen because their directory could not be read.
    pub(super) unread: Vec<Vec<u8>>,
}

impl Walk {
    /// Walks `root`, leaving out excluded names and the directory `own` (the database itself).
    pub(super) fn of(root: &Path, own: &Path, exclude: &BTreeSet<OsString>) -> Outcome<Walk> {
        if !fs::metadata(root)
            .map_err(|e| failed("look at", root, &e))?
            .is_dir()
        {
            return Err(Failure::Failed(format!("{} is not a directory", root.display())));
        }
        let own = fs::canonicalize(own).ok();
        let mut walk = Walk::default();
        let mut pending = vec![(root.to_owned(), Vec::new())];
        while let Some((dir, key)) = pending.pop() {
            if own.is_some() && fs::canonicalize(&dir).ok() == own {
                continue;
            }
            if let Err(e) = walk.directory(&dir, &key, exclude, &mut pending) {
                walk.problems
                    .push(format!("cannot read the directory {}: {e}", dir.display()));
                walk.unread.push(key);
            }
        }
        walk.files.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(walk)
    }

    fn directory(
        &mut self,
        dir: &Path,
        key: &[u8],
        exclude: &BTreeSet<OsString>,
        pending: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            if exclude.contains(&name) {
                continue;
            }
            let Some(name) = path_bytes(Path::new(&name)) else {
                self.problems.push(format!(
                    "{}: the name can't be stored on this system",
                    path.display()
                ));
                continue;
            };
            let key = if key.is_empty() {
                name
            } else {
                [key, b"/", &name].concat()
            };
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => pending.push((path, key)),
                Ok(meta) if meta.is_file() => self.files.push(Entry {
                    key,
                    path,
                    size: meta.len(),
                }),
                Ok(meta) if meta.is_symlink() => self.skipped.push((path, "symbolic link")),
                Ok(_) => self.skipped.push((path, "special file")),
                Err(e) => {
                    self.problems
                        .push(format!("cannot look at {}: {e}", path.display()));
                    self.unread.push(key);
                }
            }
        }
        Ok(())
    }

    /// Whether a stored path is gone from the directory, as far as the walk could see.
    pub(super) fn lacks(&self, key: &[u8]) -> bool {
        let below = |dir: &Vec<u8>| {
            dir.is_empty()
                || key
                    .strip_prefix(dir.as_slice())
                    .is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'))
        };
        self.files
            .binary_search_by(|file| file.key.as_slice().cmp(key))
            .is_err()
            && !self.unread.iter().any(below)
    }
}

/// Size, mode and modification time: the value in `meta`, 24 bytes, little endian.
pub(super) struct Meta {
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Since 1970, rounded down.
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl Meta {
    pub(super) fn of(meta: &fs::Metadata, size: u64) -> Meta {
        let modified = meta.modified().unwrap_or(UNIX_EPOCH);
        let (seconds, nanoseconds) = match modified.duration_since(UNIX_EPOCH) {
            Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
            Err(before) if before.duration().subsec_nanos() == 0 => {
                (-(before.duration().as_secs() as i64), 0)
            }
            Err(before) => {
                let before = before.duration();
                (
                    -(before.as_secs() as i64) - 1,
                    1_000_000_000 - before.subsec_nanos(),
                )
            }
        };
        Meta {
            size,
            mode: mode_of(meta),
            seconds,
            nanoseconds,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.seconds.to_le_bytes());
        out.extend_from_slice(&self.nanoseconds.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Meta> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (mode, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanoseconds, rest) = rest.split_first_chunk()?;
        let nanoseconds = u32::from_le_bytes(*nanoseconds);
        (rest.is_empty() && nanoseconds < 1_000_000_000).then(|| Meta {
            size: u64::from_le_bytes(*size),
            mode: u32::from_le_bytes(*mode),
            seconds: i64::from_le_bytes(*seconds),
            nanoseconds,
        })
    }

    pub(super) fn modified(&self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanoseconds)))
    }
}

/// What went wrong with a file, in words.
pub(super) fn problem_of(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{} has vanished", path.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    }
}

/// Reads a file that must not change meanwhile; `None`: it is a large one. The message of a failure names the file.
pub(super) fn read_file(path: &Path) -> Result<Option<(Vec<u8>, Meta)>, String> {
    let problem = |e: io::Error| problem_of(path, &e);
    for _ in 0..READ_ATTEMPTS {
        let file = open_regular(path).map_err(problem)?;
        let before = file.metadata().map_err(problem)?;
        if !before.is_file() {
            return Err(format!("{} is no longer a regular file", path.display()));
        }
        let mut contents = Vec::new();
        if before.len() <= MAX_CONTENTS {
            // One byte above the limit: a file that grows can't fill the memory.
            (&file)
                .take(MAX_CONTENTS + 1)
                .read_to_end(&mut contents)
                .map_err(problem)?;
        }
        let after = file.metadata().map_err(problem)?;
        let size = after.len();
        if size > MAX_CONTENTS {
            return Ok(None);
        }
        if contents.len() as u64 == size && before.modified().ok() == after.modified().ok() {
            let meta = Meta::of(&after, size);
            return Ok(Some((contents, meta)));
        }
    }
    Err(format!("{} keeps changing while it is read", path.display()))
}
