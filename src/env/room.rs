//! [`Room`]: reserved room of a real file, mapped for stores.
//!
//! Why a store can't fail for want of space. A store into a shared mapping of a file may find no block for its page, and then
//! the process gets SIGBUS. So the blocks are taken before, by `fallocate`, and only file systems count that need
//! nothing more when such a page is stored to or written back ([`is_kept`]):
//! * ext4: the blocks are there as unwritten extents; marking them written may split an extent and need a block of
//!   metadata, for which ext4 keeps clusters back (Documentation/ABI/testing/sysfs-fs-ext4, `reserved_clusters`). The same
//!   driver serves ext2 and ext3 files without extents: there `fallocate` is refused, and so is the mapping.
//! * XFS without reflink: as ext4, with its own pool of reserved blocks. With reflink a copy of the file shares its blocks, and
//!   the next store needs new ones; the superblock says whether that is possible, and the geometry ioctl tells.
//! * tmpfs: `fallocate` takes the pages themselves.
//!
//! Why `fdatasync` covers stores: `msync(MS_SYNC)` of a shared mapping is `vfs_fsync_range` of its file (mm/msync.c), and a page
//! is write-protected when it is written back, so that the next store to it makes it dirty again (mm/page-writeback.c,
//! `folio_clear_dirty_for_io`).
//!
//! Invariants:
//! 1. `reserved` never shrinks, and no byte behind it is touched.
//! 2. One store at a time: `storing` is held. There is no reference to the mapped bytes, ever, only this pointer.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // stores through the mapping, and the ioctl; each with its SAFETY argument

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::WritableMapping;

/// `f_type` of the file systems that keep the promise, from include/uapi/linux/magic.h and, for XFS, xfs_format.h.
const EXT4: u64 = 0xEF53;
const TMPFS: u64 = 0x0102_1994;
const XFS: u64 = 0x5846_5342;

/// Whether the file lies on a file system of which it is known that reserved room is room.
pub(super) fn is_kept(file: &fs::File) -> io::Result<bool> {
    match rustix::fs::fstatfs(file)?.f_type as u64 {
        EXT4 | TMPFS => Ok(true),
        XFS => Ok(shares_no_blocks(file)),
        _ => Ok(false),
    }
}

/// Whether this XFS can't share blocks between files. Where it doesn't say, it may.
fn shares_no_blocks(file: &fs::File) -> bool {
    use rustix::ioctl::{Getter, ioctl, opcode};
    /// `struct xfs_fsop_geom_v4` (fs/xfs/libxfs/xfs_fs.h): 112 bytes, `flags` at 92.
    type Geometry = [u32; 28];
    const FLAGS: usize = 92 / 4;
    const REFLINK: u32 = 1 << 20;
    // SAFETY: `XFS_IOC_FSGEOMETRY_V4` is _IOR('X', 124, struct xfs_fsop_geom_v4): it fills as many bytes as its number
    // says, which are those of `Geometry`, and every value of them is valid. `fstatfs` has said that the file is XFS's.
    let geometry = unsafe {
        ioctl(
            file,
            Getter::<{ opcode::read::<Geometry>(b'X', 124) }, Geometry>::new(),
        )
    };
    geometry.is_ok_and(|geometry| geometry.get(FLAGS).is_some_and(|flags| flags & REFLINK == 0))
}

/// See the module's comment.
pub(super) struct Room {
    map: MmapRaw,
    file: Arc<fs::File>,
    reserved: AtomicU64,
    growing: Mutex<()>,
    storing: Mutex<()>,
}

impl Room {
    /// Maps `most` bytes of a file that is open for reading and writing.
    pub(super) fn new(file: &Arc<fs::File>, most: u64) -> io::Result<Room> {
        let most = usize::try_from(most).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Room {
            map: MmapOptions::new().len(most).map_raw(&**file)?,
            file: Arc::clone(file),
            reserved: AtomicU64::new(0),
            growing: Mutex::new(()),
            storing: Mutex::new(()),
        })
    }
}

impl WritableMapping for Room {
    fn reserve(&self, len: u64) -> io::Result<()> {
        if len > self.map.len() as u64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let _growing = self.growing.lock();
        let from = self.reserved.load(Ordering::Relaxed);
        if len <= from {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), from, len - from) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        }
        // A file that is longer already has room where it holds data, and maybe none in its holes: hence all from 0 on
        // goes through `fallocate`, once.
        self.reserved.store(len, Ordering::Release);
        Ok(())
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    fn populate(&self, from: u64, to: u64) {
        let to = to.min(self.reserved());
        if from < to {
            // Older kernels than 5.14 refuse; then the stores fault the pages in.
            let len = (to - from) as usize;
            let _ = self.map.advise_range(Advice::PopulateWrite, from as usize, len);
        }
    }

    fn store(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.reserved()) {
            return Err(io::Error::other("a store beyond the reserved room"));
        }
        let _storing = self.storing.lock();
        let mut at = offset as usize;
        for part in parts {
            // SAFETY: `at + part.len()` is at most `reserved`, which is at most the mapping's length, and the file has
            // at least that length (`fallocate` has grown it, and whoever cuts it stores no more behind the cut: the
            // contract of the trait). No reference to these bytes exists (invariant 2), so `part` is not among them, and
            // no other store runs.
            unsafe {
                let to = self.map.as_mut_ptr().add(at);
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
            }
            at += part.len();
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests of the real thing need real files"
)]
mod tests {
    use super::*;
    use crate::env::{Env, File};
    use std::path::Path;

    const MOST: u64 = 1 << 20;

    /// A file in the directory for temporary files, which may lie on any file system.
    fn mapped(dir: &Path) -> Option<(Arc<dyn File>, Arc<dyn WritableMapping>)> {
        let file = Env::real(1).fs.create(&dir.join("log")).unwrap();
        match file.map_writable(MOST) {
            Ok(room) => Some((file, room)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                None
            }
        }
    }

    #[test]
    fn what_was_stored_is_read_and_the_rest_of_the_room_is_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let Some((file, room)) = mapped(dir.path()) else {
            return;
        };
        room.reserve(10_000).unwrap();
        room.populate(0, 10_000);
        room.store(4_090, &[b"over the border ", b"of a page"]).unwrap();
        assert_eq!((room.reserved(), file.len().unwrap()), (10_000, 10_000));
        room.reserve(20_000).unwrap();
        room.store(19_999, &[b"!"]).unwrap();
        file.sync().unwrap();
        let mut found = vec![7; 20_000];
        file.read_exact_at(0, &mut found).unwrap();
        assert_eq!(&found[4_090..4_115], b"over the border of a page");
        assert_eq!(found[19_999], b'!');
        let zeros = found.iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros, 20_000 - 26);
    }

    #[test]
    fn a_store_beyond_the_room_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let Some((file, room)) = mapped(dir.path()) else {
            return;
        };
        assert!(room.store(0, &[b"x"]).is_err());
        room.reserve(100).unwrap();
        assert!(room.store(99, &[b"x", b"y"]).is_err());
        assert!(room.store(u64::MAX, &[b"xy"]).is_err());
        assert!(room.reserve(MOST + 1).is_err());
        let mut found = vec![7; 100];
        file.read_exact_at(0, &mut found).unwrap();
        assert_eq!(found, [0; 100]);
    }

    #[test]
    fn reserved_room_is_taken_from_the_disk_at_once() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let Some((_file, room)) = mapped(dir.path()) else {
            return;
        };
        room.reserve(MOST).unwrap();
        let blocks = fs::metadata(dir.path().join("log")).unwrap().blocks();
        assert!(blocks * 512 >= MOST);
    }
}
