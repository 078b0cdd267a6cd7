//! Large files: piece by piece into the database, out of it, and against each other. None of it is ever in memory whole.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use packstone::{Durability, Keyspace, ValueReader};

use super::platform::{open_regular, set_mode};
use super::tree::{Meta, READ_ATTEMPTS, problem_of};

/// Files above this go as streams: 4 MiB, as much as a batch holds.
pub(super) const LARGE: u64 = 4 << 20;

/// Bytes that are held at a time.
const PIECE: usize = 256 << 10;

/// Why a file is not stored.
pub(super) enum NotStored {
    /// The file's fault.
    File(String),
    Database(packstone::Error),
}

/// Makes a file the value of a key; it must not change meanwhile. The message of a failure names the file.
pub(super) fn store(path: &Path, files: &Keyspace, key: &[u8]) -> Result<Meta, NotStored> {
    let problem = |e| NotStored::File(problem_of(path, &e));
    let mut piece = vec![0; PIECE];
    for _ in 0..READ_ATTEMPTS {
        let mut file = open_regular(path).map_err(problem)?;
        let before = file.metadata().map_err(problem)?;
        if !before.is_file() {
            let what = format!("{} is no longer a regular file", path.display());
            return Err(NotStored::File(what));
        }
        let mut value = files.writer(key).map_err(NotStored::Database)?;
        loop {
            let len = file.read(&mut piece).map_err(problem)?;
            let read = piece.get(..len).unwrap_or_default();
            // One that grows for ever is given up below.
            if len == 0 || value.len() > before.len() {
                break;
            }
            value.push(read).map_err(NotStored::Database)?;
        }
        let after = file.metadata().map_err(problem)?;
        if value.len() == after.len() && before.modified().ok() == after.modified().ok() {
            value.commit(Durability::Buffered).map_err(NotStored::Database)?;
            return Ok(Meta::of(&after, after.len()));
        }
        // Dropped: it has never been.
    }
    let what = format!("{} keeps changing while it is read", path.display());
    Err(NotStored::File(what))
}

/// Where a file and a value differ; `None`: nowhere.
pub(super) enum Difference {
    At(u64),
    /// One is a part of the other.
    Length {
        file: u64,
        stored: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::At(at) => write!(f, "from byte {at} on"),
            Difference::Length { file, stored } => {
                write!(
                    f,
                    "in length: {file} bytes in the directory, {stored} in the database"
                )
            }
        }
    }
}

/// Compares every byte. The message of a failure names the file or what is damaged.
pub(super) fn compare(path: &Path, stored: &mut ValueReader) -> Result<Option<Difference>, String> {
    let mut file = open_regular(path).map_err(|e| problem_of(path, &e))?;
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0u64;
    loop {
        let in_file = fill(&mut file, &mut a).map_err(|e| problem_of(path, &e))?;
        let in_value = fill(stored, &mut b).map_err(|e| e.to_string())?;
        let (left, right) = (a.get(..in_file), b.get(..in_value));
        let pairs = left.into_iter().flatten().zip(right.into_iter().flatten());
        if let Some(place) = pairs.clone().position(|(a, b)| a != b) {
            return Ok(Some(Difference::At(at + place as u64)));
        }
        if in_file != in_value {
            let file = file.metadata().map_err(|e| problem_of(path, &e))?.len();
            let stored = stored.len();
            return Ok(Some(Difference::Length { file, stored }));
        }
        if in_file == 0 {
            return Ok(None);
        }
        at += in_file as u64;
    }
}

/// Reads until the buffer is full, or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// Writes a value to a file that must not exist yet. The target was empty, so no symbolic link lies on the way.
pub(super) fn write(path: &Path, stored: &mut ValueReader, meta: Option<&Meta>) -> io::Result<u64> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let (mut piece, mut written) = (vec![0; PIECE], 0);
    loop {
        let len = fill(stored, &mut piece)?;
        if len == 0 {
            break;
        }
        file.write_all(piece.get(..len).unwrap_or_default())?;
        written += len as u64;
    }
    if let Some(meta) = meta {
        if let Some(modified) = meta.modified() {
            file.set_modified(modified)?;
        }
        set_mode(&file, meta.mode)?;
    }
    Ok(written)
}
