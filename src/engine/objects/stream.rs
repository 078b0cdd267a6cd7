//! Values of any length become objects.
//!
//! What is short stays in a buffer until its end is known, and is stored as a value that was given whole. What is longer becomes a pack of its own, which is
//! sealed and durable, and then named by the manifest, before the batch that refers to it; nobody sees it before. An aborted stream leaves
//! nothing behind; a crash leaves a file that no manifest names.

use std::sync::Arc;

use super::lone::LonePack;
use super::store::Stored;
use crate::Result;
use crate::engine::core::Core;
use crate::types::MAX_VALUE_LEN;

/// Values up to so many bytes, and no longer than a pack is to be, are held in memory and go to the active pack.
const BUFFER: u64 = 1 << 20;

/// A value that is being written.
pub(crate) struct ObjectStream {
    core: Arc<Core>,
    deduplicate: bool,
    /// Values up to so many bytes are held in memory.
    most: u64,
    buffer: Vec<u8>,
    /// A value longer than the buffer.
    pack: Option<LonePack>,
    len: u64,
}

/// A value that has been written.
pub(crate) enum Streamed {
    /// It fits the buffer.
    Short(Vec<u8>),
    Stored(Stored),
}

impl ObjectStream {
    /// `threshold`: from how many bytes on it is an object; `None`: whatever its length, it is none.
    pub(crate) fn new(core: &Arc<Core>, threshold: Option<u64>, deduplicate: bool) -> ObjectStream {
        let buffer = core.objects.pack_size.min(BUFFER);
        ObjectStream {
            core: core.clone(),
            deduplicate,
            // What is shorter than the threshold belongs into the tree, if it fits there.
            most: threshold.map_or(u64::MAX, |threshold| {
                buffer.max(threshold.min(MAX_VALUE_LEN as u64))
            }),
            buffer: Vec::new(),
            pack: None,
            len: 0,
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.pack.is_none() && self.len.saturating_add(bytes.len() as u64) > self.most {
            self.pack = Some(self.begin()?);
        }
        match &mut self.pack {
            Some(pack) => {
                if !self.buffer.is_empty() {
                    pack.push(&std::mem::take(&mut self.buffer))?;
                }
                pack.push(bytes)?;
            }
            None => self.buffer.extend_from_slice(bytes),
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn begin(&self) -> Result<LonePack> {
        let core = &self.core;
        core.check_storable()?;
        core.object_directory()?;
        core.begin_lone_pack(core.salt(self.deduplicate)?)
    }

    /// Nothing comes any more.
    pub(crate) fn finish(self) -> Result<Streamed> {
        let core = self.core;
        let Some(mut pack) = self.pack else {
            return Ok(Streamed::Short(self.buffer));
        };
        core.check_storable()?;
        let mut stored = Stored::lease(&core.objects, pack.end()?, self.len);
        if stored.is_placed() || (self.deduplicate && core.has_object(&stored.id())?) {
            core.objects.count_duplicate(self.len);
            return Ok(Streamed::Stored(stored));
        }
        let object = core.finish_lone(pack)?;
        core.place_lone(object, &mut stored)?;
        Ok(Streamed::Stored(stored))
    }
}
