//! The few things that Unix and other systems do differently: bytes of names, modes, opening without surprises.

pub(super) use system::{allocated, mode_of, open_regular, part_of, path_bytes, set_mode};

#[cfg(unix)]
mod system {
    use std::ffi::OsString;
    use std::fs::{File, Metadata, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;

    pub(crate) fn path_bytes(path: &Path) -> Option<Vec<u8>> {
        Some(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn part_of(part: &[u8]) -> Option<OsString> {
        Some(OsString::from_vec(part.to_vec()))
    }

    /// Opens without following a link or waiting for a pipe's other end, should one have taken the file's place.
    pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
    }

    pub(crate) fn mode_of(meta: &Metadata) -> u32 {
        meta.mode() & 0o7777
    }

    /// Sets the permissions; set-user-id and its like are not restored.
    pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode & 0o777))
    }

    pub(crate) fn allocated(meta: &Metadata) -> u64 {
        meta.blocks() * 512
    }
}

#[cfg(not(unix))]
mod system {
    use std::ffi::OsString;
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    pub(crate) fn path_bytes(path: &Path) -> Option<Vec<u8>> {
        path.to_str().map(|path| path.replace('\\', "/").into_bytes())
    }

    pub(crate) fn part_of(part: &[u8]) -> Option<OsString> {
        std::str::from_utf8(part)
            .ok()
            .filter(|part| !part.contains(['\\', ':']))
            .map(OsString::from)
    }

    pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(crate) fn mode_of(_meta: &Metadata) -> u32 {
        0o644
    }

    pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn allocated(meta: &Metadata) -> u64 {
        meta.len()
    }
}
