//! [`MemoryPeak`]: the most memory that the process has had, beyond what it had before the engine was opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::process::memory;
use crate::Result;

/// How often memory is sampled. A peak shorter than this can be missed.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Peaks {
    anonymous: AtomicU64,
    file: AtomicU64,
    stop: AtomicBool,
}

/// Samples memory in a thread of its own, until dropped.
pub(crate) struct MemoryPeak {
    peaks: Arc<Peaks>,
    before: super::process::Memory,
    thread: Option<JoinHandle<()>>,
}

impl MemoryPeak {
    /// What the process has now counts as the harness's own.
    pub(crate) fn start() -> Result<Self> {
        let before = memory()?;
        let peaks = Arc::new(Peaks::default());
        let seen = Arc::clone(&peaks);
        let thread = std::thread::Builder::new()
            .name("memory-peak".into())
            .spawn(move || {
                while !seen.stop.load(Ordering::Relaxed) {
                    if let Ok(now) = memory() {
                        seen.anonymous.fetch_max(now.anonymous, Ordering::Relaxed);
                        seen.file.fetch_max(now.file, Ordering::Relaxed);
                    }
                    std::thread::sleep(SAMPLE_INTERVAL);
                }
            })?;
        Ok(MemoryPeak {
            peaks,
            before,
            thread: Some(thread),
        })
    }

    /// The most anonymous memory since the start, in bytes.
    pub(crate) fn anonymous(&self) -> u64 {
        let peak = self.peaks.anonymous.load(Ordering::Relaxed);
        peak.saturating_sub(self.before.anonymous)
    }

    /// The most memory of mapped files since the start, in bytes.
    pub(crate) fn file(&self) -> u64 {
        let peak = self.peaks.file.load(Ordering::Relaxed);
        peak.saturating_sub(self.before.file)
    }
}

impl Drop for MemoryPeak {
    fn drop(&mut self) {
        self.peaks.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nothing to do about a sampler that panicked: its figures stop.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_comes_and_goes_is_seen() {
        let peak = MemoryPeak::start().unwrap();
        let taken = vec![1_u8; 64 << 20];
        std::thread::sleep(10 * SAMPLE_INTERVAL);
        assert!(taken.iter().all(|byte| *byte == 1));
        drop(taken);
        // Half of it: other tests of this process may give memory back meanwhile.
        assert!(peak.anonymous() >= 32 << 20, "{}", peak.anonymous());
    }
}
