//! [`Visible`]: what a snapshot sees of a merge: of each key its newest version at or below the snapshot's number, and
//! nothing where that is a tombstone.

use super::merge::{Direction, Merge, MergedValue};
use crate::types::{EntryKind, SeqNo};
use crate::{Result, Slice};

/// A run over the visible entries in one direction. `step` goes to the next one; values are read only by `load`.
pub(crate) struct Visible {
    merge: Merge,
    direction: Direction,
    snapshot: SeqNo,
    key: Vec<u8>,
    value: Option<MergedValue>,
    started: bool,
}

impl Visible {
    pub(crate) fn new(merge: Merge, direction: Direction, snapshot: SeqNo) -> Self {
        Visible {
            merge,
            direction,
            snapshot,
            key: Vec::new(),
            value: None,
            started: false,
        }
    }

    /// Goes to the next visible entry; false at the end. After an error the run is at its end.
    pub(crate) fn step(&mut self) -> Result<bool> {
        match self.direction {
            Direction::Forward => self.step_forward(),
            Direction::Backward => self.step_backward(),
        }
    }

    /// The current key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Reads the current value.
    pub(crate) fn load(&self) -> Result<Slice> {
        match self.value {
            Some(value) => self.merge.load(value),
            None => Ok(Slice::default()),
        }
    }

    /// Versions come newest first: the first one that is old enough decides, the rest of the key is passed over.
    fn step_forward(&mut self) -> Result<bool> {
        if self.started {
            self.merge.advance()?;
        }
        while self.merge.valid() {
            let decided = self.started && self.merge.key() == self.key;
            if !decided && self.merge.seq() <= self.snapshot {
                self.started = true;
                self.key.clear();
                self.key.extend_from_slice(self.merge.key());
                let value = self.merge.value();
                if value.value.kind() == EntryKind::Put {
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
                .is_some_and(|value| value.value.kind() == EntryKind::Put)
            {
                return Ok(true);
            }
        }
        self.value = None;
        Ok(false)
    }
}
