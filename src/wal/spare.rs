//! Letting go of old files, and using one of them again for the next.
//!
//! ```text
//!  1  000007.log is obsolete: that is durable in the manifest          (a background job)
//!  2  rename 000007.log -> packstone-unfinished.log, sync the directory
//!  3  the new header and END over the old one, sync the file           (the writer that begins 000012.log)
//!  4  rename packstone-unfinished.log -> 000012.log, sync the directory
//!  5  first frame
//! ```
//!
//! What a crash leaves, whichever renames survive it:
//!
//! | behind | names | contents | the next opening |
//! | --- | --- | --- | --- |
//! | 1 | 7 | old | 7 lies below the floor: removed |
//! | 2, not synced | 7 or unfinished | old | either is a leftover: removed |
//! | 2 | unfinished | old | leftover |
//! | 3, not synced | unfinished | old or new header, one sector | leftover |
//! | 4, not synced | unfinished or 12 | new, no frames | a leftover, or an empty last file |
//! | 4 | 12 | new, no frames | an empty last file |
//! | 5 | 12 | new, and some of the frames | as any other log |
//!
//! The directory is synced in step 2 before anything is written in 3, so no file is ever found under its old number with another
//! header; and the header is durable before the rename in 4, so none is found under its new number with the old header. What is left
//! of old frames never validates, because identity and offset are part of each checksum.
//!
//! A file is used again only when nobody reads it any more: those who copy the log pin it, and
//! another process that reads it finds another identity at its end and starts over.

use std::path::{Path, PathBuf};

use super::log::{OlderLog, State, Wal};
use crate::env::FileSystem;
use crate::names::UNFINISHED_LOG;
use crate::planted::{self, Bug};
use crate::record_log::{Medium, SYNC, Spare};
use crate::{Error, Result, SeqNo};

/// How many obsolete files are held open, with their mapping, until they can be used again. Flushes free one or two at a time.
const MOST_REUSABLE: usize = 2;

/// Where the file for the next log is.
pub(super) enum SpareSlot {
    Empty,
    /// Somebody is between steps 1 and 2.
    Coming,
    Here(Spare),
}

impl SpareSlot {
    /// Bytes of room in it.
    pub(super) fn room(&self) -> u64 {
        match self {
            SpareSlot::Here(spare) => spare.room(),
            _ => 0,
        }
    }

    pub(super) fn take(&mut self) -> Option<Spare> {
        match std::mem::replace(self, SpareSlot::Empty) {
            SpareSlot::Here(spare) => Some(spare),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl State {
    /// Whether the file of that medium is worth holding open for another log.
    pub(super) fn is_reusable(&self, medium: &dyn Medium) -> bool {
        let held = self.older.iter().filter(|older| older.reusable.is_some());
        medium.room() > 0 && held.count() < MOST_REUSABLE
    }
}

impl Wal {
    pub(super) fn spare_path(&self) -> PathBuf {
        self.dir.join(UNFINISHED_LOG)
    }

    /// Deletes the files below `number`, never the current one; one of them may become the spare file instead. REQUIRES: it is
    /// durable in the manifest that recovery begins at `number` or above. A file that can't be deleted stays listed for the
    /// next time; as long as the log is pinned, all stay, and go with the last pin.
    pub(crate) fn remove_below(&self, number: u64) -> Result<()> {
        let mut first_error = None;
        let chosen = {
            let mut state = self.state.lock();
            if state.pins.keep_from(number) {
                return Ok(());
            }
            let chosen = self.choose(&mut state, number);
            state.older.retain(|older| {
                if older.log.end.number >= number {
                    return true;
                }
                let removed = self.remove(&older.log.path);
                removed
                    .map_err(|error| first_error.get_or_insert(error).clone())
                    .is_err()
            });
            chosen
        };
        if let Some((older, spare)) = chosen {
            self.make_spare(older, spare)?;
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Takes a file to be used again out of those below `number`.
    fn choose(&self, state: &mut State, number: u64) -> Option<(OlderLog, Spare)> {
        if !matches!(state.spare, SpareSlot::Empty) || state.closed || state.resting {
            return None;
        }
        let whole = self.options.layout(&self.env, 0)?.most;
        let at = state.older.iter().position(|older| {
            let obsolete = older.log.end.number < number || planted::is(Bug::ReusedTooEarly);
            obsolete && older.reusable.is_some()
        })?;
        let spare = state.older.get(at)?.reusable.as_ref()?.spare(whole)?;
        state.spare = SpareSlot::Coming;
        Some((state.older.remove(at), spare))
    }

    /// Step 2. A failed sync is final, as any of the directory: it may have been for names that others have made.
    fn make_spare(&self, older: OlderLog, spare: Spare) -> Result<()> {
        let path = &older.log.path;
        let renamed = self.env.fs.rename(path, &self.spare_path());
        let synced = match &renamed {
            Ok(()) => {
                let synced = self.env.fs.sync_dir(&self.dir);
                synced.map_err(|error| Error::io(SYNC, &self.dir, error))
            }
            Err(_) => Ok(()),
        };
        let mut state = self.state.lock();
        state.spare = SpareSlot::Empty;
        if renamed.is_err() {
            let removed = self.remove(path);
            if removed.is_err() {
                let at = state
                    .older
                    .partition_point(|other| other.log.end.number < older.log.end.number);
                state.older.insert(at, older);
            }
            return removed;
        }
        self.note_sync_failure(&mut state, synced)?;
        if state.closed || state.resting {
            return self.remove(&self.spare_path());
        }
        state.spare = SpareSlot::Here(spare);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match self.env.fs.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Gives the spare file's room back to the disk, and keeps none until the next append. One that can't be removed goes at the
    /// next opening.
    pub(crate) fn give_back_spare(&self) {
        let spare = {
            let mut state = self.state.lock();
            state.resting = true;
            state.spare.take()
        };
        if spare.is_some() {
            let _ = self.remove(&self.spare_path());
        }
    }

    /// The same, if nothing in the log is needed, that is, nothing at or above `first_needed` is in it. Where the present file takes more
    /// than an empty one, the log goes on in an empty one; true: it does, and the other one is obsolete.
    pub(crate) fn rest(&self, first_needed: SeqNo) -> Result<bool> {
        if self.state.lock().last_seq >= first_needed {
            return Ok(false);
        }
        self.give_back_spare();
        let mut state = self.state.lock();
        state.check_writable()?;
        if state.writer.end() <= self.options.first_room() {
            return Ok(false);
        }
        let begun = self.begin_file(&mut state, 0);
        self.note_sync_failure(&mut state, begun)?;
        Ok(true)
    }
}

/// Whether nothing has that name. A rename would replace it.
pub(super) fn is_free(fs: &dyn FileSystem, path: &Path) -> Result<bool> {
    match fs.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(Error::io("open", path, error)),
    }
}
