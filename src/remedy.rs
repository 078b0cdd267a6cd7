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
    const REPLACED: &str = "if it has been replaced or removed, put it back, from a backup if need be";
    if is_no_file(error) {
        return Some(REPLACED);
    }
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room: work that has failed is tried again",
        ErrorKind::FileTooLarge => {
            "raise the limit of file sizes (ulimit -f), or choose a smaller max_file_size and max_log_size"
        }
        ErrorKind::PermissionDenied => "check who owns it and what its permissions are",
        ErrorKind::ReadOnlyFilesystem => "open the database read-only, or mount the file system for writing",
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::InvalidInput => REPLACED,
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

/// A socket, or a link that leads round in a circle, in a file's place.
fn is_no_file(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let kinds = [Errno::NXIO, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
        kinds.contains(&error.raw_os_error())
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}
