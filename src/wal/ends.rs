//! How the current file of the log ends: in order, by a close, or after a failed write, by a successor.

use super::log::{OlderLog, Wal};
use crate::Result;
use crate::record_log::{LogEnd, MARKER_LEN};

impl Wal {
    /// After a failed write: begins the next file now, and not with the next append.
    pub(crate) fn revive(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_writable()?;
        if !state.retired {
            return Ok(());
        }
        let begun = self.begin_file(&mut state, 0);
        self.note_sync_failure(&mut state, begun)
    }

    /// Ends the log in order: syncs everything, then seals. Appends from now on get [`Error::Closed`]. If sealing fails,
    /// what was synced stays so, and the next open sees a log that was not closed in order.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Ok(());
        }
        state.closed = true;
        // Where a write has failed, only a successor can say where the good part of the file ends. It also takes the marker of the
        // last sync and the seal, where this one has no room for them.
        let begun = if state.retired || !state.writer.has_room(2 * MARKER_LEN) {
            self.begin_file(&mut state, 0)
        } else {
            Ok(())
        };
        let begun = self.note_sync_failure(&mut state, begun);
        let end = state.end();
        drop(state);
        // The seal vouches for all of the older files, their last markers included; nobody else waits for those.
        self.sync_until(end, |state| match state.older.iter().any(OlderLog::is_unsynced) {
            true => state.synced,
            false => state.settled,
        })?;
        begun?;
        let mut state = self.state.lock();
        state.check_poison()?;
        let sealed = state.writer.seal();
        self.note_sync_failure(&mut state, sealed)?;
        state.synced = state.end();
        state.settled = state.synced;
        drop(state);
        self.give_back_spare();
        Ok(())
    }

    /// Where a log that was closed in order ends, seal included.
    pub(crate) fn closed_end(&self) -> Option<LogEnd> {
        let state = self.state.lock();
        let sealed = state.closed && !state.retired && state.synced == state.end();
        (sealed && state.poison.is_none())
            .then(|| state.writer.header().ended(state.writer.end(), state.last_seq))
    }
}
