//! [`SalvageCursor`]: the readable entries of a damaged SST, in order, and the keys that the rest may have held.

use std::sync::Arc;

use super::{LostKeys, Part, Salvage};
use crate::sst::frame::BlockKind;
use crate::sst::key_block::{BlockUse, EntryError, KeyBlock};
use crate::types::{EntryKind, ObjectRef, SeqNo, ValuePlace, ValueRef};
use crate::{Error, Result, Slice};

/// The key block that a cursor stands in.
struct Loaded {
    number: u32,
    bytes: Arc<[u8]>,
    keys: KeyBlock,
    i: u32,
}

/// A block's bytes, or why there are none.
type BlockResult = Result<Arc<[u8]>, String>;

/// The readable entries of a damaged file, in order.
pub(crate) struct SalvageCursor {
    salvage: Arc<Salvage>,
    next_part: usize,
    loaded: Option<Loaded>,
    values: Option<(u32, BlockResult)>,
    key: Vec<u8>,
    seq: SeqNo,
    kind: EntryKind,
    value: Slice,
    /// Whether there has been an entry: `key` and `seq` are the last one's.
    started: bool,
    /// Lost keys whose upper bound is not known yet.
    open: Vec<LostKeys>,
    lost: Vec<LostKeys>,
    /// The value block of the last of `lost`, while only its entries have been lost since.
    losing: Option<u32>,
}

impl SalvageCursor {
    pub(crate) fn new(salvage: Arc<Salvage>) -> Self {
        SalvageCursor {
            salvage,
            next_part: 0,
            loaded: None,
            values: None,
            key: Vec::new(),
            seq: 0,
            kind: EntryKind::Tombstone,
            value: Slice::default(),
            started: false,
            open: Vec::new(),
            lost: Vec::new(),
            losing: None,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn seq(&self) -> SeqNo {
        self.seq
    }

    pub(crate) fn kind(&self) -> EntryKind {
        self.kind
    }

    /// The value; of an object the 24 bytes of its reference, of a tombstone nothing.
    pub(crate) fn value(&self) -> &Slice {
        &self.value
    }

    /// What has been lost; whole once `advance` has said that there is nothing more.
    pub(crate) fn into_lost(self) -> Vec<LostKeys> {
        self.lost
    }

    /// Goes to the next readable entry; false at the end. An error is one of a newer format: nothing is lost then, but
    /// this release can't read it.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        loop {
            let Some(loaded) = &mut self.loaded else {
                if !self.next_block() {
                    let end = self.salvage.properties.as_ref().map(|p| p.max_key.clone());
                    self.close(end);
                    return Ok(false);
                }
                continue;
            };
            if loaded.i >= loaded.keys.count() {
                self.loaded = None;
                continue;
            }
            let (i, number, bytes) = (loaded.i, loaded.number, loaded.bytes.clone());
            loaded.i += 1;
            let keys = loaded.keys;
            let order = self.salvage.order.unwrap_or_default();
            let mut key = Vec::new();
            let whole = keys
                .begin_key(&bytes, &mut key)
                .and_then(|()| keys.sort_key(&bytes, i, order, &mut key))
                .filter(|()| order.is_sort_key(&key));
            let entry = match keys.entry(&bytes, i, number) {
                Err(EntryError::Newer(kind)) => {
                    let what =
                        format!("block {number} has an entry of kind {kind}, written by a newer release");
                    let path = self.salvage.path.clone();
                    return Err(Error::NewerFormat { path, what });
                }
                entry => entry.ok(),
            };
            let (Some(()), Some((seq, place))) = (whole, entry) else {
                self.give_up_block(number, "expected an entry");
                continue;
            };
            let ascends = match self.key.cmp(&key) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => seq < self.seq,
                std::cmp::Ordering::Greater => false,
            };
            if self.started && !ascends {
                self.give_up_block(
                    number,
                    "expected entries that ascend by key and descend by number",
                );
                continue;
            }
            self.close(Some(Slice::from(key.as_slice())));
            (self.key, self.seq, self.started) = (key, seq, true);
            match self.load(place) {
                Ok(value) => {
                    (self.kind, self.value) = (ValueRef::new(place).kind(), value);
                    return Ok(true);
                }
                Err((block, what)) => self.lose_entry(block, what),
            }
        }
    }

    /// Loads the next key block, noting what lies before it and can't be read; false at the end.
    fn next_block(&mut self) -> bool {
        loop {
            let Some(part) = self.salvage.parts.get(self.next_part).cloned() else {
                return false;
            };
            self.next_part += 1;
            match part {
                Part::Gap { from, to } => self.lose(from, to - from, "no block, and maybe lost ones".into()),
                Part::KeyBlock(number) => {
                    let block = self.salvage.block(number, BlockKind::Key);
                    let parsed = block.and_then(|bytes| {
                        let keys = KeyBlock::parse(&bytes, BlockUse::Keys)
                            .filter(|keys| keys.is_of(self.salvage.order.unwrap_or_default()));
                        let keys = keys.ok_or_else(|| format!("block {number}: expected a key block"))?;
                        Ok((bytes, keys))
                    });
                    match parsed {
                        Ok((bytes, keys)) => {
                            self.loaded = Some(Loaded {
                                number,
                                bytes,
                                keys,
                                i: 0,
                            });
                            return true;
                        }
                        Err(what) => {
                            let (offset, len) = self.salvage.place_of(number);
                            self.lose(offset, len, what);
                        }
                    }
                }
            }
        }
    }

    fn give_up_block(&mut self, number: u32, what: &str) {
        self.loaded = None;
        let (offset, len) = self.salvage.place_of(number);
        self.lose(offset, len, format!("block {number}: {what}"));
    }

    /// Keys from the last one on are lost, up to the next one that can be read.
    fn lose(&mut self, offset: u64, len: u64, what: String) {
        let min = self.salvage.properties.as_ref().map(|p| p.min_key.clone());
        self.losing = None;
        self.open.push(LostKeys {
            offset,
            len,
            from: if self.started {
                Some(Slice::from(self.key.as_slice()))
            } else {
                min
            },
            to: None,
            entries: None,
            what,
        });
    }

    /// The next readable key bounds what was lost before it.
    fn close(&mut self, to: Option<Slice>) {
        for mut lost in self.open.drain(..) {
            lost.to = to.clone();
            self.lost.push(lost);
        }
    }

    /// The current entry is lost with its value.
    fn lose_entry(&mut self, block: u32, what: String) {
        let key = Slice::from(self.key.as_slice());
        if let (Some(last), true) = (self.lost.last_mut(), self.losing == Some(block)) {
            last.to = Some(key);
            last.entries = last.entries.map(|entries| entries + 1);
            return;
        }
        let (offset, len) = self.salvage.place_of(block);
        self.losing = Some(block);
        self.lost.push(LostKeys {
            offset,
            len,
            from: Some(key.clone()),
            to: Some(key),
            entries: Some(1),
            what,
        });
    }

    /// A value or reference in the key block that the cursor stands in.
    fn load_row(&self, block: u32, offset: u32, len: u32) -> Result<Slice, (u32, String)> {
        let range = offset as usize..(offset as usize).saturating_add(len as usize);
        let loaded = self.loaded.as_ref().filter(|loaded| loaded.number == block);
        let value = loaded.and_then(|loaded| loaded.bytes.get(range).map(Slice::from));
        value.ok_or((block, format!("block {block}: a value beyond its end")))
    }

    fn load(&mut self, place: ValuePlace) -> Result<Slice, (u32, String)> {
        match place {
            ValuePlace::Tombstone => Ok(Slice::default()),
            ValuePlace::Inline { len, bytes } => {
                let value = bytes.get(..usize::from(len)).unwrap_or_default();
                Ok(Slice::from(value))
            }
            ValuePlace::Memory { .. } | ValuePlace::MemoryObject { .. } => {
                Err((0, "expected a value's place in a file".into()))
            }
            ValuePlace::InKeyBlock { block, offset, len } => self.load_row(block, offset, len),
            ValuePlace::Object { block, offset } => self.load_row(block, offset, ObjectRef::LEN as u32),
            ValuePlace::Small { block, offset, len } => {
                if self.values.as_ref().is_none_or(|(number, _)| *number != block) {
                    self.values = Some((block, self.salvage.block(block, BlockKind::Value)));
                }
                let bytes = match &self.values {
                    Some((_, Ok(bytes))) => bytes,
                    Some((_, Err(what))) => return Err((block, what.clone())),
                    None => return Err((block, String::new())),
                };
                let range = offset as usize..(offset as usize).saturating_add(len as usize);
                let value = bytes.get(range).map(Slice::from);
                value.ok_or((block, format!("block {block}: a value beyond its end")))
            }
            ValuePlace::Medium { block, len } => {
                let bytes = self
                    .salvage
                    .block(block, BlockKind::Medium)
                    .map_err(|what| (block, what))?;
                if bytes.len() != len as usize {
                    return Err((block, format!("block {block}: a value of another length")));
                }
                Ok(Slice::from(bytes))
            }
        }
    }
}
