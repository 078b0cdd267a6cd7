//! [`disk_usage`]: the room that a directory takes. [`DiskPeak`]: the most that it takes over a time.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks at a directory's size again and again, on a thread of its own.
pub(crate) struct DiskPeak {
    over: Arc<AtomicBool>,
    watcher: JoinHandle<io::Result<u64>>,
}

impl DiskPeak {
    pub(crate) fn start(dir: &Path) -> DiskPeak {
        let over = Arc::new(AtomicBool::new(false));
        let (dir, ended) = (dir.to_owned(), Arc::clone(&over));
        let watch = move || {
            let mut most = 0;
            loop {
                let last = ended.load(Ordering::Acquire);
                most = disk_usage(&dir)?.max(most);
                if last {
                    return Ok(most);
                }
                std::thread::sleep(LOOK);
            }
        };
        DiskPeak {
            over,
            watcher: std::thread::spawn(watch),
        }
    }

    /// The most bytes that there were.
    pub(crate) fn end(self) -> io::Result<u64> {
        self.over.store(true, Ordering::Release);
        let ended = self.watcher.join();
        ended.unwrap_or_else(|_| {
            Err(io::Error::other(
                "the thread that measures the directory panicked",
            ))
        })
    }
}

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
