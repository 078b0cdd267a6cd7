//! [`Tree`]: a directory in which names from an archive are given places, never outside of it.
//!
//! A name's components are plain ones (`names::components`), and each directory on the way is one, not a link to one: what is there is
//! looked at before it is gone through, what is not there is made. Links are made after everything else, so that none of the
//! archive's own is on any way. What lies in the place itself is never written through: a new file is created, and takes the place by a
//! rename if something is there.
//!
//! REQUIRES: nobody else changes the tree meanwhile. Between the look and the step somebody who may write there could put a link.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::console::describe;
use crate::platform;
use packstone::Error;

/// Why a name gets no place.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// Nothing else would get one either: the disk is full, or the like.
    pub(crate) is_final: bool,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused { why, is_final: false }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } => Some(source.kind()),
            _ => None,
        };
        Refused {
            why: describe(&error),
            is_final: matches!(
                kind,
                Some(
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::ReadOnlyFilesystem
                )
            ),
        }
    }
}

pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Opens the directory, which is created if it is not there. Links to it are the caller's, and are followed.
    pub(crate) fn open(dir: &Path) -> Result<Tree, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        Ok(Tree { root: dir.to_owned() })
    }

    /// Where a name's file or link goes. Its directories are there then.
    pub(crate) fn place(&self, parts: &[&OsStr]) -> Result<PathBuf, Refused> {
        let Some((last, dirs)) = parts.split_last() else {
            return Err(Refused::from("it is empty".to_owned()));
        };
        let mut at = self.root.clone();
        for part in dirs {
            at.push(part);
            step_into(&at, false)?;
        }
        at.push(last);
        Ok(at)
    }

    /// Where a name's directory goes, and whether it has been made now.
    pub(crate) fn directory(&self, parts: &[&OsStr]) -> Result<(PathBuf, bool), Refused> {
        let path = self.place(parts)?;
        let made = step_into(&path, true)?;
        Ok((path, made))
    }
}

/// Makes sure that there is a directory; whether it has been made.
fn step_into(path: &Path, private: bool) -> Result<bool, Refused> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => Ok(false),
        Ok(there) => {
            let what = match there.is_symlink() {
                true => "is a symbolic link, which is not followed",
                false => "is in the way, and no directory",
            };
            Err(format!("{} {what}", path.display()).into())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => match platform::create_dir(path, private) {
            Ok(()) => Ok(true),
            Err(e) => Err(Error::io("create", path, e).into()),
        },
        Err(e) => Err(Error::io("look at", path, e).into()),
    }
}

/// A place that is being filled: what is made at `path` gets there when it is whole, and is removed if it does not come to that.
pub(crate) struct Filling {
    place: PathBuf,
    temporary: Option<PathBuf>,
    kept: bool,
}

impl Filling {
    /// Begins where nothing is, or, if that is wanted, in place of a file or link.
    pub(crate) fn begin(place: PathBuf, overwrite: bool) -> Result<Filling, Refused> {
        let temporary = match fs::symlink_metadata(&place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("look at", &place, e).into()),
            Ok(there) if there.is_dir() => {
                return Err(format!("{} is a directory", place.display()).into());
            }
            Ok(_) if !overwrite => {
                return Err(format!("{} is there already (see --overwrite)", place.display()).into());
            }
            // Whatever length the name has: this one is short.
            Ok(_) => Some(place.with_file_name(format!(".pack-{}", std::process::id()))),
        };
        Ok(Filling {
            place,
            temporary,
            kept: true, // nothing has been made yet
        })
    }

    /// Makes the file or link by `make`, which fails if something is there.
    pub(crate) fn make<T>(&mut self, make: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, Refused> {
        let made = make(self.path()).map_err(|e| Error::io("create", self.path(), e))?;
        self.kept = false;
        Ok(made)
    }

    /// Where it lies for now.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.place)
    }

    /// It is whole.
    pub(crate) fn keep(mut self) -> Result<(), Refused> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.place).map_err(|e| Error::io("replace", &self.place, e))?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.kept {
            // The reason why it is not whole is the one to tell.
            let _ = fs::remove_file(self.path());
        }
    }
}
