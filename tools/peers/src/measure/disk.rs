//! [`disk_usage`]: the room that a directory takes.

use std::fs;
use std::io;
use std::path::Path;

/// Bytes that the file system has allocated for everything below `dir`: holes are not counted, preallocated room is.
/// Files that vanish meanwhile count as nothing.
pub(crate) fn disk_usage(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => pending.push(entry.path()),
                Ok(meta) => sum += allocated(&meta),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(sum)
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    // POSIX: st_blocks counts units of 512 bytes, whatever the file system's blocks are.
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}
