//! [`PackOptions`]: how packs and archives are written and read.
//!
//! Callers: programs; everything in this module.

use crate::Result;
use crate::env::Env;
use crate::sst::Compression;

/// How packs and archives are written and read. The defaults suit objects of any size.
///
/// ```
/// use packstone::{Compression, pack::PackOptions};
/// let options = PackOptions::default().chunk_size(1 << 20).compression(Compression::None);
/// ```
#[derive(Clone, Debug)]
pub struct PackOptions {
    pub(super) chunk_size: u32,
    pub(super) compression: Compression,
    pub(super) sort_memory: usize,
    pub(super) dedup_window: usize,
    pub(super) cache_size: u64,
    pub(super) identity: Option<[u8; 16]>,
    pub(super) env: Option<Env>,
}

impl Default for PackOptions {
    fn default() -> Self {
        PackOptions {
            chunk_size: 64 << 10,
            compression: Compression::Lz4,
            sort_memory: 16 << 20,
            dedup_window: 1 << 17,
            cache_size: 8 << 20,
            identity: None,
            env: None,
        }
    }
}

impl PackOptions {
    /// Content bytes in one chunk, which is compressed, checked and read as a whole: 64 KiB; a power of two from 4 KiB to
    /// 4 MiB. Reading a few bytes in the middle of an object costs one chunk. LZ4 looks back 64 KiB, so larger chunks save
    /// little.
    #[must_use]
    pub fn chunk_size(mut self, bytes: u32) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Whether chunks are compressed: LZ4, where it saves an eighth of a chunk.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// About how many bytes of memory sorting ids and names may take: 16 MiB, 512 KiB at least. What does not fit goes through scratch
    /// files beside the pack: once for a gibibyte of rows (some ten million ids, 54 bytes each) at the default, and once more for each 128 times that.
    #[must_use]
    pub fn sort_memory(mut self, bytes: usize) -> Self {
        self.sort_memory = bytes;
        self
    }

    /// Among how many of the objects that were added last an equal one is found: 131,072, some 80 bytes of memory each; 0
    /// stores every object. What an archive had before it was opened for appending is always found.
    #[must_use]
    pub fn dedup_window(mut self, objects: usize) -> Self {
        self.dedup_window = objects;
        self
    }

    /// Bytes of index blocks that an open pack keeps in memory: 8 MiB.
    #[must_use]
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.cache_size = bytes;
        self
    }

    /// The file's identity, in place of a random one: with it the same objects give the same bytes. Two files with one identity must have
    /// the same contents; otherwise parts of one that end up in the other would go unnoticed.
    #[must_use]
    pub fn identity(mut self, identity: [u8; 16]) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The outside world; the machine by default.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    pub(super) fn to_env(&self) -> Env {
        self.env.clone().unwrap_or_else(|| Env::real(1))
    }

    pub(super) fn check(&self) -> Result<()> {
        super::record::RecordOptions::new(self.chunk_size, self.compression).map(drop)
    }
}
