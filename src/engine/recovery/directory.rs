//! What lies in the directory, and what it means that there is no `CURRENT`.

use std::path::Path;

use crate::env::Env;
use crate::manifest::Catalog;
use crate::names::{self, FileKind};
use crate::options::Options;
use crate::{Error, Result};

/// A name of ours in the directory.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) kind: FileKind,
    /// Not a directory, a link or a pipe. What is none is never deleted, but its number is not used either.
    pub(super) is_file: bool,
}

/// What lies in the directory.
pub(super) struct Listing {
    /// The names that are ours.
    pub(super) ours: Vec<Named>,
    /// Somebody has begun to make a checkpoint here.
    pub(super) unfinished_checkpoint: bool,
}

impl Listing {
    /// The highest number that `of` finds.
    pub(super) fn highest(&self, of: impl Fn(FileKind) -> Option<u64>) -> u64 {
        let numbers = self.ours.iter().filter_map(|named| of(named.kind));
        numbers.max().unwrap_or(0)
    }
}

pub(super) fn list(env: &Env, dir: &Path) -> Result<Listing> {
    let entries = env.fs.list(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => no_database(dir, NO_DIRECTORY),
        std::io::ErrorKind::NotADirectory => not_a_directory(dir),
        _ => Error::io("list", dir, e),
    })?;
    let unfinished_checkpoint = entries
        .iter()
        .any(|entry| entry.name == names::UNFINISHED_CHECKPOINT);
    let ours = entries.into_iter().filter_map(|entry| {
        Some(Named {
            kind: names::parse(&entry.name)?,
            name: entry.name,
            is_file: entry.is_file,
        })
    });
    Ok(Listing {
        ours: ours.collect(),
        unfinished_checkpoint,
    })
}

pub(super) const NO_DIRECTORY: &str =
    "there is no such directory; check the path, or open it for writing with create_if_missing";

pub(super) fn not_a_directory(dir: &Path) -> Error {
    no_database(
        dir,
        "it, or something above it, is not a directory; choose another path",
    )
}

pub(super) fn no_database(dir: &Path, what: &str) -> Error {
    Error::NotADatabase {
        path: dir.to_owned(),
        what: what.to_owned(),
    }
}

/// The state of a database that is about to be created. Where there are data files without a `CURRENT`, something has been
/// lost, and starting anew would finish the job.
pub(super) fn fresh(
    env: &Env,
    dir: &Path,
    options: &Options,
    read_only: bool,
    names: &Listing,
) -> Result<Catalog> {
    if names.unfinished_checkpoint {
        return Err(no_database(
            dir,
            "it is a checkpoint that was not finished; delete the directory, and make the checkpoint again",
        ));
    }
    // A manifest alone is what a crash during the creation leaves.
    if let Some(Named { name, .. }) = names
        .ours
        .iter()
        .find(|named| named.is_file && !matches!(named.kind, FileKind::Manifest(_)))
    {
        return Err(no_database(
            dir,
            &format!("CURRENT is missing, but there is {name}; restore CURRENT, or move the files away"),
        ));
    }
    if read_only || !options.create_if_missing {
        return Err(no_database(
            dir,
            "there is no CURRENT in it; check the path, or open it for writing with create_if_missing",
        ));
    }
    let identity = env.entropy.identity().map_err(|e| Error::io("create", dir, e))?;
    Ok(Catalog::new(identity))
}
