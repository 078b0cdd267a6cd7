//! [`Visible`]: what a snapshot sees of a merge: of each key its newest version at or below the snapshot's number, and
//! nothing where that is a tombstone.

use super::merge::{Direction, Merge, MergedValue};
use crate::types::{EntryKind, ObjectRef, SeqNo};
use crate::{Result, Slice};

/// The visible entries of a merge. `step` goes to the next one, in either direction; values are read only by `load`.
///
/// It stands on an entry, or nowhere: before the first step, past either end, and after an error. Going forward the merge
/// stands on the current entry; going backward it stands before the current key.
pub(crate) struct Visible {
    merge: Merge,
    snapshot: SeqNo,
    key: Vec<u8>,
    value: Option<MergedValue>,
    /// The merge stands where it was put, and that entry has not been looked at.
    fresh: bool,
    /// The versions of `key` have been decided.
    decided: bool,
}

impl Visible {
    /// The visible entries from `bound` on, see [`Merge::new`]; stands nowhere.
    pub(crate) fn new(merge: Merge, snapshot: SeqNo) -> Self {
        Visible {
            merge,
            snapshot,
            key: Vec::new(),
            value: None,
            fresh: true,
            decided: false,
        }
    }

    /// Goes to `bound`, and stands nowhere until the next step.
    pub(crate) fn seek(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<()> {
        self.value = None;
        self.decided = false;
        self.fresh = true;
        self.merge.seek(direction, bound)
    }

    /// Goes on in another direction from the current entry, or as new from this merge of the same entries.
    fn turn(&mut self, direction: Direction) -> Result<()> {
        self.fresh = true;
        self.merge.seek(direction, Some(&self.key))
    }

    /// Takes another merge of the same entries, which may come from other files, and stands on the same entry in it.
    pub(crate) fn reseat(&mut self, merge: Merge, direction: Direction) -> Result<()> {
        self.merge = merge;
        let turned = self.turn(direction);
        if turned.is_err() {
            self.value = None;
        }
        turned
    }

    /// Whether it stands on an entry.
    pub(crate) fn valid(&self) -> bool {
        self.value.is_some()
    }

    /// Goes to the next visible entry in `direction`; false at the end. After an error it stands nowhere. From nowhere it can
    /// go on only in the direction that it was put there for.
    pub(crate) fn step(&mut self, direction: Direction) -> Result<bool> {
        let turned = match (self.merge.direction() == direction, self.valid()) {
            (true, _) => Ok(()),
            (false, true) => self.turn(direction),
            (false, false) => return Ok(false),
        };
        let stepped = turned.and_then(|()| match direction {
            Direction::Forward => self.step_forward(),
            Direction::Backward => self.step_backward(),
        });
        if stepped.is_err() {
            self.value = None;
        }
        stepped
    }

    /// The current key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The object that the current value is, if it is one.
    pub(crate) fn object(&self) -> Result<Option<ObjectRef>> {
        match self.value {
            Some(value) if value.value.kind() == EntryKind::Object => self.merge.object(value).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads the current value, which is no object.
    pub(crate) fn load(&self) -> Result<Slice> {
        match self.value {
            Some(value) => self.merge.load(value),
            None => Ok(Slice::default()),
        }
    }

    /// Reads the current value, which is no object, into the caller's buffer, whose contents are replaced.
    pub(crate) fn load_into(&self, out: &mut Vec<u8>) -> Result<()> {
        match self.value {
            Some(value) => self.merge.load_into(value, out),
            None => {
                out.clear();
                Ok(())
            }
        }
    }

    /// Versions come newest first: the first one that is old enough decides, the rest of the key is passed over.
    fn step_forward(&mut self) -> Result<bool> {
        if !self.fresh {
            self.merge.advance()?;
        }
        self.fresh = false;
        while self.merge.valid() {
            let decided = self.decided && self.merge.key() == self.key;
            if !decided && self.merge.seq() <= self.snapshot {
                self.decided = true;
                self.key.clear();
                self.key.extend_from_slice(self.merge.key());
                let value = self.merge.value();
                if value.value.kind() != EntryKind::Tombstone {
                    self.value = Some(value);
                    return Ok(true);
                }
            }
            self.merge.advance()?;
        }
        self.value = None;
        Ok(false)
    }

    /// Versions come oldest first: the last one that is old enough decides, so the whole key is passed first.
    fn step_backward(&mut self) -> Result<bool> {
        self.fresh = false;
        self.decided = true;
        while self.merge.valid() {
            self.key.clear();
            self.key.extend_from_slice(self.merge.key());
            self.value = None;
            while self.merge.valid() && self.merge.key() == self.key {
                if self.merge.seq() <= self.snapshot {
                    self.value = Some(self.merge.value());
                }
                self.merge.advance()?;
            }
            if self
                .value
                .is_some_and(|value| value.value.kind() != EntryKind::Tombstone)
            {
                return Ok(true);
            }
        }
        self.value = None;
        Ok(false)
    }
}
