//! What to do about an error of the operating system. The system says what happened; whoever reads the message wants to
//! know what next.
//!
//! Callers: the display of [`Error::Io`](crate::Error::Io).

use std::io;

/// The advice that goes behind the system's words, where there is any.
pub(crate) fn remedy(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind;
    if is_out_of_descriptors(error) {
        return Some(
            "raise the limit of open files (ulimit -n): every SST takes one, and work that has failed is tried again",
        );
    }
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room: work that has failed is tried again",
        ErrorKind::FileTooLarge => {
            "raise the limit of file sizes (ulimit -f), or choose a smaller max_file_size and max_log_size"
        }
        ErrorKind::PermissionDenied => "check who owns it and what its permissions are",
        ErrorKind::ReadOnlyFilesystem => "open the database read-only, or mount the file system for writing",
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::InvalidInput => {
            "if it has been replaced or removed, put it back, from a backup if need be"
        }
        _ => return None,
    })
}

/// The process, or the machine, has too many files open. The standard library has no stable name for it.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let limits = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        limits.contains(&error.raw_os_error())
    }
    #[cfg(not(unix))]
    {
        const ERROR_TOO_MANY_OPEN_FILES: i32 = 4;
        error.raw_os_error() == Some(ERROR_TOO_MANY_OPEN_FILES)
    }
}
