//! [`PinnedLog`]: what the log consists of at one moment, kept on disk while somebody copies it.

use std::path::PathBuf;

use super::log::Wal;
use crate::planted::{self, Bug};
use crate::record_log::{HEADER_LEN, LogEnd};

/// Who keeps old files, and which ones would have gone without them.
#[derive(Debug, Default)]
pub(super) struct Pins {
    count: usize,
    remove_below: u64,
}

impl Pins {
    /// Whether files below `number`, which nobody else needs any more, have to stay for now.
    pub(super) fn keep_from(&mut self, number: u64) -> bool {
        if self.count > 0 {
            self.remove_below = self.remove_below.max(number);
        }
        self.count > 0
    }
}

/// The files of a log from some number on, none of which is deleted as long as this lives.
pub(crate) struct PinnedLog<'w> {
    wal: &'w Wal,
    /// Oldest first, never none; the last one may be growing.
    pub(crate) files: Vec<PinnedFile>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct PinnedFile {
    pub(crate) path: PathBuf,
    /// Where it ends, or ended at that moment. What lies behind is none of it.
    pub(crate) end: LogEnd,
}

impl Wal {
    /// Pins the files numbered `from` and above, as they are now.
    pub(crate) fn pin(&self, from: u64) -> PinnedLog<'_> {
        let mut state = self.state.lock();
        state.pins.count += 1;
        let older = state.older.iter().map(|older| &older.log);
        let older = older.filter(|log| log.end.number >= from).map(|log| PinnedFile {
            path: log.path.clone(),
            end: log.end.clone(),
        });
        let end = if planted::is(Bug::CheckpointLogBelow) {
            // Up to where it has been synced.
            let here = state.synced.number == state.writer.header().number;
            if here { state.synced.offset } else { HEADER_LEN }
        } else {
            state.writer.end()
        };
        let current = PinnedFile {
            path: state.writer.path().to_owned(),
            end: state.writer.header().ended(end, state.last_seq),
        };
        let files = older.chain([current]).collect();
        PinnedLog { wal: self, files }
    }
}

impl PinnedLog<'_> {
    /// The same files as they are now.
    pub(crate) fn again(&self) -> PinnedLog<'_> {
        self.wal.pin(self.files.first().map_or(0, |file| file.end.number))
    }
}

impl Drop for PinnedLog<'_> {
    fn drop(&mut self) {
        let below = {
            let mut state = self.wal.state.lock();
            state.pins.count -= 1;
            std::mem::take(&mut state.pins.remove_below)
        };
        // While others pin the log, this only takes note of it again. What can't be deleted stays listed.
        let _ = self.wal.remove_below(below);
    }
}
