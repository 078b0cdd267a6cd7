//! What not every system has: bytes in paths, modes, symbolic links, flags of opening. Elsewhere than on Unix names are UTF-8, modes are
//! made up and not restored, and symbolic links can't be made.

pub(crate) use system::*;

#[cfg(unix)]
mod system {
    use std::ffi::OsStr;
    use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

    pub(crate) fn bytes_of(text: &OsStr) -> Option<&[u8]> {
        Some(text.as_bytes())
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<&OsStr> {
        Some(OsStr::from_bytes(bytes))
    }

    pub(crate) fn mode_of(metadata: &Metadata) -> u32 {
        metadata.mode()
    }

    /// What two names of one file have in common.
    pub(crate) fn same_file(a: &Metadata, b: &Metadata) -> bool {
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }

    fn flags(options: &mut OpenOptions, flags: OFlags) -> &mut OpenOptions {
        options.custom_flags(flags.bits() as i32)
    }

    /// Opens a file for reading. If a pipe or a link has come into its place, that neither waits nor follows.
    pub(crate) fn open(path: &Path) -> io::Result<File> {
        flags(OpenOptions::new().read(true), OFlags::NONBLOCK | OFlags::NOFOLLOW).open(path)
    }

    /// Creates a file where nothing is. A private one is nobody else's business until it has its mode.
    pub(crate) fn create(path: &Path, private: bool) -> io::Result<File> {
        let mode = if private { 0o600 } else { 0o666 };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    }

    pub(crate) fn create_dir(path: &Path, private: bool) -> io::Result<()> {
        DirBuilder::new()
            .mode(if private { 0o700 } else { 0o777 })
            .create(path)
    }

    /// Opens a directory to set its mode and time, not through a link.
    pub(crate) fn open_dir(path: &Path) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let opened = flags(options.read(true), OFlags::DIRECTORY | OFlags::NOFOLLOW).open(path);
        opened.map(Some)
    }

    pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode))
    }

    /// What a link says, as bytes.
    pub(crate) fn target_of(link: &Path) -> io::Result<Vec<u8>> {
        fs::read_link(link).map(|target| target.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn symlink(target: &[u8], link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(OsStr::from_bytes(target), link)
    }

    /// Sets the modification time of a link itself.
    pub(crate) fn set_link_time(link: &Path, seconds: i64, nanoseconds: u32) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds as _, // below a thousand million; its type differs between systems
            },
        };
        Ok(utimensat(CWD, link, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

#[cfg(not(unix))]
mod system {
    use std::ffi::OsStr;
    use std::fs::{self, File, Metadata, OpenOptions};
    use std::io;
    use std::path::Path;

    pub(crate) fn bytes_of(text: &OsStr) -> Option<&[u8]> {
        text.to_str().map(str::as_bytes)
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<&OsStr> {
        std::str::from_utf8(bytes).ok().map(OsStr::new)
    }

    pub(crate) fn mode_of(metadata: &Metadata) -> u32 {
        match (metadata.is_dir(), metadata.permissions().readonly()) {
            (true, _) => 0o755,
            (false, false) => 0o644,
            (false, true) => 0o444,
        }
    }

    pub(crate) fn same_file(_: &Metadata, _: &Metadata) -> bool {
        false // not known; paths are compared, too
    }

    pub(crate) fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(crate) fn create(path: &Path, _private: bool) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    pub(crate) fn create_dir(path: &Path, _private: bool) -> io::Result<()> {
        fs::create_dir(path)
    }

    pub(crate) fn open_dir(_: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }

    pub(crate) fn set_mode(_: &File, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn target_of(link: &Path) -> io::Result<Vec<u8>> {
        let target = fs::read_link(link)?;
        let text = target.to_str().ok_or(io::ErrorKind::InvalidData)?;
        Ok(text.replace('\\', "/").into_bytes())
    }

    pub(crate) fn symlink(_target: &[u8], _link: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set_link_time(_: &Path, _seconds: i64, _nanoseconds: u32) -> io::Result<()> {
        Ok(())
    }
}
