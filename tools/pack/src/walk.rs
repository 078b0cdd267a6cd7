//! [`walk`]: a tree of files in the order of names, each directory before what is in it.
//!
//! Links are not followed. Held is one listing for each level. The archive's own files are left out wherever they are met: an archive of
//! the directory that it lies in would otherwise hold itself.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Failure, names, parent_of, platform};

/// What a walk meets.
pub(crate) struct Met<'a> {
    pub(crate) path: &'a Path,
    pub(crate) name: &'a [u8],
    /// Or why it can't be said.
    pub(crate) metadata: io::Result<Metadata>,
}

/// The files that the archive is being written to.
pub(crate) struct Own {
    dir: Option<PathBuf>,
    name: OsString,
    metadata: Option<Metadata>,
}

impl Own {
    pub(crate) fn of(archive: &Path) -> Own {
        Own {
            dir: parent_of(archive).canonicalize().ok(),
            name: archive.file_name().unwrap_or_default().to_owned(),
            metadata: fs::metadata(archive).ok(),
        }
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.dir.is_some() && dir.canonicalize().ok() == self.dir
    }

    /// REQUIRES: `name` lies in the archive's directory.
    fn is_name(&self, name: &OsStr) -> bool {
        let (Some(name), Some(own)) = (platform::bytes_of(name), platform::bytes_of(&self.name)) else {
            return false;
        };
        let beside: [&[u8]; 6] = [
            b"",
            b".unfinished",
            b".unfinished.ids.sort",
            b".unfinished.names.sort",
            b".ids.sort",
            b".names.sort",
        ];
        name.strip_prefix(own).is_some_and(|end| beside.contains(&end))
    }

    /// Under whatever name.
    fn is_file(&self, metadata: &Metadata) -> bool {
        let own = self.metadata.as_ref();
        own.is_some_and(|own| platform::same_file(own, metadata))
    }
}

/// Calls `visit` for what lies at `path`, which has this name, and for all that is in it.
pub(crate) fn walk(
    path: &Path,
    name: &[u8],
    own: &Own,
    visit: &mut dyn FnMut(Met) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let named = path.file_name().is_some_and(|name| own.is_name(name));
    if named && own.is_dir(parent_of(path)) {
        return Ok(());
    }
    step(path, name, own, visit)
}

fn step(
    path: &Path,
    name: &[u8],
    own: &Own,
    visit: &mut dyn FnMut(Met) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(path);
    let is_dir = metadata.as_ref().is_ok_and(Metadata::is_dir);
    if metadata.as_ref().is_ok_and(|metadata| own.is_file(metadata)) {
        return Ok(());
    }
    // The base directory itself has no name.
    if !is_dir || !name.is_empty() {
        visit(Met { path, name, metadata })?;
    }
    if !is_dir {
        return Ok(());
    }
    let listed = match list(path) {
        Ok(listed) => listed,
        Err(e) => {
            let metadata = Err(e);
            return visit(Met { path, name, metadata });
        }
    };
    let with_own = own.is_dir(path);
    for part in listed {
        if with_own && own.is_name(&part) {
            continue;
        }
        let path = path.join(&part);
        let Some(bytes) = platform::bytes_of(&part) else {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
            let metadata = Err(why);
            visit(Met {
                path: &path,
                name,
                metadata,
            })?;
            continue;
        };
        let mut name = name.to_vec();
        names::push(&mut name, bytes);
        step(&path, &name, own, visit)?;
    }
    Ok(())
}

fn list(dir: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
