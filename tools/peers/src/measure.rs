//! What the kernel says of this process: bytes written, anonymous memory, space on disk.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Result;

/// How often memory is sampled. A peak shorter than this can be missed.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes that this process has passed to the kernel.
pub(crate) struct Written {
    /// To write calls; stores into mapped files are not among them.
    pub(crate) calls: u64,
    /// Dirtied pages that are to go to the disk, mapped files included (none on tmpfs).
    pub(crate) pages: u64,
}

pub(crate) fn written() -> Result<Written> {
    let text = fs::read_to_string("/proc/self/io")?;
    Ok(Written {
        calls: field(&text, "wchar:")?,
        pages: field(&text, "write_bytes:")?,
    })
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(number
        .ok_or_else(|| format!("the kernel does not tell {name}"))?
        .parse()?)
}

fn anonymous_memory() -> Result<u64> {
    Ok(field(&fs::read_to_string("/proc/self/status")?, "RssAnon:")? * 1024)
}

/// Samples anonymous memory in a thread of its own, until dropped.
pub(crate) struct MemoryPeak {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryPeak {
    pub(crate) fn start() -> Result<Self> {
        let (peak, stop) = (
            Arc::new(AtomicU64::new(anonymous_memory()?)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stopped) = (Arc::clone(&peak), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("memory-peak".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok(now) = anonymous_memory() {
                        seen.fetch_max(now, Ordering::Relaxed);
                    }
                    std::thread::sleep(SAMPLE_INTERVAL);
                }
            })?;
        Ok(MemoryPeak {
            peak,
            stop,
            thread: Some(thread),
        })
    }

    /// The most there has been since the start, in bytes.
    pub(crate) fn so_far(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryPeak {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nothing to do about a sampler that panicked: its figures stop.
            let _ = thread.join();
        }
    }
}

/// Bytes that the file system has allocated for everything below `dir`. Files that vanish meanwhile count as nothing.
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
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}
