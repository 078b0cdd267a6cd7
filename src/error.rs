//! [`Error`]: everything that can go wrong, in a form that a caller can match on.
//!
//! Every message names the file (and, where there is one, the offset), what was expected, and what to do. Errors are
//! cheap to clone, because one failed write can be the answer to a whole group of writers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A call to the file system failed.
    Io {
        /// What was being done, as a verb: "read", "sync", "rename".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written. Nothing has been changed.
    Corruption {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        what: String,
    },
    /// The file was written by a newer release, or with a feature that this one does not know.
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// What was found and what this release can read.
        what: String,
    },
    /// Another process, or another handle of this one, has the database open for writing.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The writer has changed the database again and again while it was being opened for reading beside it.
    Changing {
        /// The directory.
        path: PathBuf,
        /// How often it was tried.
        attempts: u32,
    },
    /// The directory does not hold a database (and the options forbid to create one).
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// What is missing or in the way.
        what: String,
    },
    /// A checkpoint can't be made there: the directory has something in it.
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// An option has a value that it can't have.
    InvalidOption {
        /// The option's name.
        name: &'static str,
        /// What was given and what is allowed.
        what: String,
    },
    /// A key, a value, a batch or a file would pass a limit. Nothing has been written.
    LimitExceeded {
        /// What is too large: "key", "value", "batch", "SST".
        what: &'static str,
        /// Its size, in the unit of the limit.
        size: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// The name can't be a keyspace's name.
    InvalidKeyspaceName {
        /// The name, and what a name may be.
        what: String,
    },
    /// There is no keyspace of that name.
    KeyspaceNotFound {
        /// The name.
        name: String,
    },
    /// The keyspace has been dropped.
    KeyspaceDropped {
        /// The name it had.
        name: String,
    },
    /// A range, a prefix, a first or last entry was asked of a keyspace in hash order, which has none.
    HashOrder {
        /// The keyspace's name.
        keyspace: String,
    },
    /// A handle, batch or snapshot was used with a database that it does not belong to.
    WrongDatabase,
    /// The database was opened read-only.
    ReadOnly,
    /// The database has been closed.
    Closed,
    /// A sync failed. What the disk holds is unknown from here on, so nothing more is written until the database is
    /// opened again, which finds out. Reads go on.
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },
    /// Background work (flush or compaction) keeps failing, and writing on would pile up memory.
    Background {
        /// The latest failure.
        cause: Arc<Error>,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done to which path.
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Damage in a file.
    pub fn corruption(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Error::Corruption {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }

    /// Whether the cause is a full disk (or a used-up quota), which room on the disk heals.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Error::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            Error::Poisoned { cause } | Error::Background { cause } => cause.is_out_of_space(),
            _ => false,
        }
    }
}

/// What to do about an error of the operating system, which says what happened; whoever reads it wants to know what next.
fn remedy(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind;
    // Numbers that the standard library has no stable names for. Unix only: elsewhere they mean something else.
    const ENXIO: i32 = 6; // a socket or a device without a driver in a file's place
    const ENFILE: i32 = 23; // the machine has too many files open
    const EMFILE: i32 = 24; // the process has
    const ELOOP: [i32; 2] = [40, 62]; // links that lead round in a circle: Linux; macOS and the BSDs
    const REPLACED: &str = "if it has been replaced or removed, put it back, from a backup if need be";
    match error.raw_os_error() {
        Some(ENFILE | EMFILE) if cfg!(unix) => {
            return Some(
                "raise the limit of open files (ulimit -n): every SST takes one, and work that has failed is tried again",
            );
        }
        Some(number) if cfg!(unix) && (number == ENXIO || ELOOP.contains(&number)) => return Some(REPLACED),
        _ => {}
    }
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room: work that has failed is tried again",
        ErrorKind::FileTooLarge => {
            "raise the limit of file sizes (ulimit -f), or choose a smaller max_file_size and max_log_size"
        }
        ErrorKind::PermissionDenied => "check who owns it and what its permissions are",
        ErrorKind::ReadOnlyFilesystem => "open the database read-only, or mount the file system for writing",
        ErrorKind::NotFound | ErrorKind::IsADirectory => REPLACED,
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                operation,
                path,
                source,
            } => {
                write!(f, "cannot {operation} {}: {source}", path.display())?;
                match remedy(source) {
                    Some(remedy) => write!(f, "; {remedy}"),
                    None => Ok(()),
                }
            }
            Error::Corruption { path, offset, what } => write!(
                f,
                "{} is damaged at offset {offset}: {what}; restore the file from a backup or salvage what can be read",
                path.display()
            ),
            Error::NewerFormat { path, what } => {
                write!(
                    f,
                    "{}: {what}; open it with a newer release of packstone",
                    path.display()
                )
            }
            Error::Locked { path } => write!(
                f,
                "{} is open for writing elsewhere; close the other handle or process, or open read-only",
                path.display()
            ),
            Error::Changing { path, attempts } => write!(
                f,
                "{} has changed during each of {attempts} attempts to read it; open it again, best when no keyspaces are being created or \
                 dropped",
                path.display()
            ),
            Error::NotADatabase { path, what } => {
                write!(f, "{} is not a packstone database: {what}", path.display())
            }
            Error::NotEmpty { path, found } => write!(
                f,
                "{} is not an empty directory, there is {found}; choose a new directory, or delete this one",
                path.display()
            ),
            Error::InvalidOption { name, what } => write!(f, "option {name}: {what}"),
            Error::LimitExceeded { what, size, limit } => {
                write!(f, "{what} too large: {size}, and the limit is {limit}")
            }
            Error::InvalidKeyspaceName { what } => write!(f, "invalid keyspace name: {what}"),
            Error::KeyspaceNotFound { name } => write!(
                f,
                "there is no keyspace named {name:?}; Db::keyspaces lists those that there are"
            ),
            Error::KeyspaceDropped { name } => write!(
                f,
                "the keyspace {name:?} has been dropped; Db::keyspace creates a new one"
            ),
            Error::HashOrder { keyspace } => write!(
                f,
                "the keyspace {keyspace:?} is in hash order, where entries can be looked up and not iterated over; \
                 for ranges create one in key order (KeyspaceOptions::order)"
            ),
            Error::WrongDatabase => {
                write!(
                    f,
                    "this keyspace, batch or snapshot belongs to another database; use the handle that it came from"
                )
            }
            Error::ReadOnly => write!(
                f,
                "the database is open read-only; open it with Options::open to write"
            ),
            Error::Closed => write!(f, "the database has been closed; open it again"),
            Error::Poisoned { cause } => {
                write!(
                    f,
                    "no more writes until the database is opened again, because a sync failed: {cause}"
                )
            }
            Error::Background { cause } => {
                write!(f, "writes are stopped because background work fails: {cause}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source.as_ref()),
            Error::Poisoned { cause } | Error::Background { cause } => Some(cause.as_ref()),
            _ => None,
        }
    }
}
