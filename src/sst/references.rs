//! The list of references of an SST: the ids of all objects that its entries refer to, ascending, each once. Which objects nobody
//! refers to any more is found by merging the lists of all files, without a look at their entries.
//!
//! ```text
//! block: id [u8; 16] x n      n = 2048 in every block but the last, which has the rest
//! ```
//!
//! The blocks are of a kind of their own and raw. They have consecutive numbers and are written when the file is finished, behind
//! the key blocks; a file without references has none. The properties say how many ids there are, which block is the first, and the
//! sum of the lengths of what is referred to, once for each entry.
//!
//! What is held: by the builder 16 bytes for each entry that is a reference, and up to a quarter of that as spare room; by a reader
//! one block; by a verification all ids, and a bit for each.
//!
//! Callers: `builder` writes; the engine's collection of objects reads; `verify`, tools.

use std::sync::Arc;

use super::blocks::Bits;
use super::frame::{BlockKind, FRAME_LEN};
use super::offset_table::PLACE_LEN;
use super::output::Output;
use super::properties::Properties;
use super::reader::{Access, BlockBytes, Sst};
use crate::coding::array_at;
use crate::{Error, Result};

/// Bytes of an id.
const ID_LEN: usize = 16;
/// Ids of a full block: 32 KiB.
pub(super) const BLOCK_IDS: usize = 2048;
/// The longest block, in bytes.
pub(super) const MAX_REFERENCES_LEN: u32 = (BLOCK_IDS * ID_LEN) as u32;
/// Room for so many ids at least comes at a time.
const LEAST_ROOM: usize = 64;

type Id = [u8; ID_LEN];

/// The list under construction.
#[derive(Debug, Default)]
pub(super) struct ListBuilder {
    ids: Vec<Id>,
}

impl ListBuilder {
    pub(super) fn add(&mut self, id: Id) {
        // What the versions of a key refer to is often the same.
        if self.ids.last() == Some(&id) {
            return;
        }
        // Doubling, which is usual, would leave half of the room unused at worst.
        if self.ids.len() == self.ids.capacity() {
            self.ids.reserve_exact(self.ids.len() / 4 + LEAST_ROOM);
        }
        self.ids.push(id);
    }

    /// How many bytes would be added to the file at most if it ended now.
    pub(super) fn estimated_size(&self) -> u64 {
        let blocks = self.ids.len().div_ceil(BLOCK_IDS);
        (self.ids.len() * ID_LEN + blocks * (FRAME_LEN + PLACE_LEN)) as u64
    }

    /// Bytes held in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.ids.capacity() * ID_LEN
    }

    /// Writes the list.
    pub(super) fn finish(&mut self, output: &mut Output, properties: &mut Properties) -> Result<()> {
        self.ids.sort_unstable();
        self.ids.dedup();
        properties.references = self.ids.len() as u64;
        for (i, ids) in self.ids.chunks(BLOCK_IDS).enumerate() {
            let number = output.reserve()?;
            if i == 0 {
                properties.first_reference_block = number.into();
            }
            let totals = &mut properties.reference_blocks;
            output.write_block(BlockKind::References, number, ids.as_flattened(), false, totals)?;
        }
        Ok(())
    }
}

/// The ids of all objects that a file's entries refer to, ascending, each once; see [`Sst::references`].
///
/// It reads a block at a time and keeps the file open. An error is the last that it gives.
#[derive(Debug)]
pub struct References {
    sst: Arc<Sst>,
    access: Access,
    /// The one that `given` leads into.
    block: Option<BlockBytes>,
    given: u64,
    last: Option<Id>,
    failed: bool,
}

impl Sst {
    /// The ids of all objects that the file's entries refer to, whatever version of a key, ascending, each once: [`References`]. There
    /// are as many as [`Properties::references`] says. Nothing is read before the first is asked for; no block is kept
    /// in the cache. `access`: mapped or pread; `None`: as the file was opened. A file opened for pread can't be read mapped.
    ///
    /// # Errors
    /// Of the iterator: [`Error::Corruption`] with the block's offset, for blocks that are damaged or missing, and for ids that do not
    /// ascend; [`Error::Io`].
    pub fn references(self: &Arc<Self>, access: Option<Access>) -> References {
        References {
            sst: Arc::clone(self),
            access: self.access_or(access),
            block: None,
            given: 0,
            last: None,
            failed: false,
        }
    }
}

impl References {
    /// REQUIRES: not all have been given.
    fn step(&mut self) -> Result<Id> {
        let (sst, properties) = (&self.sst, self.sst.properties());
        let (block, at) = (self.given / BLOCK_IDS as u64, self.given % BLOCK_IDS as u64);
        let number = properties.first_reference_block.checked_add(block);
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| sst.properties_damaged("expected a list of references inside the file"))?;
        let bytes = match &self.block {
            Some(bytes) if at > 0 => bytes,
            _ => {
                let bytes = sst.block(number, BlockKind::References, self.access, false)?;
                let rest = (properties.references - self.given).min(BLOCK_IDS as u64);
                if sst.bytes(&bytes).len() as u64 != rest * ID_LEN as u64 {
                    let what = "a list of references of another length than the properties say";
                    return Err(sst.block_damaged(number, what));
                }
                self.block.insert(bytes)
            }
        };
        let id = array_at(sst.bytes(bytes), at as usize * ID_LEN)
            .filter(|id| self.last.as_ref().is_none_or(|last| last < id))
            .ok_or_else(|| sst.block_damaged(number, "expected ids that ascend"))?;
        self.given += 1;
        self.last = Some(id);
        Ok(id)
    }
}

impl Iterator for References {
    type Item = Result<[u8; 16]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.given >= self.sst.properties().references {
            return None;
        }
        let id = self.step();
        self.failed = id.is_err();
        Some(id)
    }
}

/// The whole list in memory, to be compared with what the entries say, by any number of threads.
#[derive(Debug)]
pub(super) struct WholeList {
    ids: Vec<Id>,
    seen: Bits,
}

impl WholeList {
    /// Reads it by read calls. There are no more ids than the file has bytes for.
    pub(super) fn read(sst: &Arc<Sst>) -> Result<WholeList> {
        let properties = sst.properties();
        if properties.reference_blocks.count != properties.references.div_ceil(BLOCK_IDS as u64) {
            return Err(sst.properties_damaged("expected as many blocks as the list of references takes"));
        }
        let ids = sst.references(Some(Access::Pread)).collect::<Result<Vec<Id>>>()?;
        let seen = Bits::new(ids.len() as u32);
        Ok(WholeList { ids, seen })
    }

    /// Takes note of an entry's reference; false: its id is not in the list.
    pub(super) fn note(&self, id: &Id) -> bool {
        match self.ids.binary_search(id) {
            Ok(i) => {
                self.seen.set(i as u32);
                true
            }
            Err(_) => false,
        }
    }

    /// How many of the ids entries have referred to.
    pub(super) fn noted(&self) -> u64 {
        self.seen.count()
    }
}

impl Sst {
    #[cold]
    fn properties_damaged(&self, what: &str) -> Error {
        Error::corruption(self.path(), self.footer.properties.offset, what)
    }
}
