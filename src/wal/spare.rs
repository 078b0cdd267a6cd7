//! Letting go of old files, and using one of them again for the next.
//!
//! ```text
//!  1  000007.log is obsolete: that is durable in the manifest          (a background job)
//!  2  rename 000007.log -> packstone-unfinished.log, sync the directory
//!  3  reserve room that it lacks, and sync it: nothing of the old log is left to write
//!  4  the new header and END over the old one, sync the file           (the writer that begins 000012.log)
//!  5  rename packstone-unfinished.log -> 000012.log, sync the directory
//!  6  first frame
//! ```
//!
//! What a crash leaves, whichever renames survive it:
//!
//! | behind | names | contents | the next opening |
//! | --- | --- | --- | --- |
//! | 1 | 7 | old | 7 lies below the floor: removed |
//! | 2, not synced | 7 or unfinished | old | either is a leftover: removed |
//! | 2 | unfinished | old | leftover |
//! | 3 | unfinished | old | leftover |
//! | 4, not synced | unfinished | old or new header, one sector | leftover |
//! | 5, not synced | unfinished or 12 | new, no frames | a leftover, or an empty last file |
//! | 5 | 12 | new, no frames | an empty last file |
//! | 6 | 12 | new, and some of the frames | as any other log |
//!
//! The directory is synced in step 2 before anything is written in 4, so no file is ever found under its old number with another
//! header; and the header is durable before the rename in 5, so none is found under its new number with the old header. What is left
//! of old frames never validates, because identity and offset are part of each checksum.
//!
//! Step 3 is for writers alone: a log that nobody has synced lies in the page cache whole, and without it the sync of
//! the new header would write all that while writers wait.
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
    /// Somebody is between steps 1 and 3, or removes the file.
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
    /// Lists a file again that could not be removed.
    fn list(&mut self, older: OlderLog) {
        let number = older.log.end.number;
        let at = self.older.partition_point(|other| other.log.end.number < number);
        self.older.insert(at, older);
    }

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
        let (chosen, obsolete) = {
            let mut state = self.state.lock();
            if state.pins.keep_from(number) {
                return Ok(());
            }
            let chosen = self.choose(&mut state, number);
            let is_obsolete = |older: &mut OlderLog| older.log.end.number < number;
            let obsolete: Vec<_> = state.older.extract_if(.., is_obsolete).collect();
            (chosen, obsolete)
        };
        // Without the lock: a file system may take long to free a file's blocks, by its removal or, as long as the
        // medium holds it open, when the last handle goes; writers would wait for that.
        let mut first_error = None;
        for older in obsolete {
            if let Err(error) = self.remove(&older.log.path) {
                first_error.get_or_insert(error);
                self.state.lock().list(older);
            }
        }
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
        let most = self.whole_file()?;
        let at = state.older.iter().position(|older| {
            let obsolete = older.log.end.number < number || planted::is(Bug::ReusedTooEarly);
            obsolete && older.reusable.is_some()
        })?;
        let spare = state.older.get(at)?.reusable.as_ref()?.spare(most)?;
        state.spare = SpareSlot::Coming;
        Some((state.older.remove(at), spare))
    }

    /// The room of a mapped file.
    fn whole_file(&self) -> Option<u64> {
        self.options.layout(&self.env, 0).map(|layout| layout.most)
    }

    /// Steps 2 and 3. A failed sync of the directory is final, as any: it may have been for names that others have made. A file whose
    /// old contents can't be synced, or that finds no room, is only not used again.
    fn make_spare(&self, older: OlderLog, spare: Spare) -> Result<()> {
        let path = &older.log.path;
        if self.env.fs.rename(path, &self.spare_path()).is_err() {
            let removed = self.remove(path);
            let mut state = self.state.lock();
            state.spare = SpareSlot::Empty;
            if removed.is_err() {
                state.list(older);
            }
            return removed;
        }
        let named = self.env.fs.sync_dir(&self.dir);
        let named = named.map_err(|error| Error::io(SYNC, &self.dir, error));
        let most = self.whole_file().unwrap_or(0);
        let prepared = named.is_ok() && spare.prepare(most).is_ok();
        {
            let mut state = self.state.lock();
            if named.is_err() {
                state.spare = SpareSlot::Empty;
                return self.note_sync_failure(&mut state, named);
            }
            if prepared && !state.closed && !state.resting {
                state.spare = SpareSlot::Here(spare);
                return Ok(());
            }
        }
        self.remove_spare()
    }

    /// REQUIRES: the slot says `Coming`, so that nobody gives that name to another file meanwhile.
    fn remove_spare(&self) -> Result<()> {
        let removed = self.remove(&self.spare_path());
        self.state.lock().spare = SpareSlot::Empty;
        removed
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
            let spare = state.spare.take();
            if spare.is_some() {
                state.spare = SpareSlot::Coming;
            }
            spare
        };
        if spare.is_some() {
            let _ = self.remove_spare();
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
