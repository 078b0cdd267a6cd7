//! [`SstBuilder`]: writes one SST from entries that come in order, in bounded memory.
//!
//! What is held: one open value block, one open key block, a write buffer of [`CHUNK`] bytes, and per file the index
//! (a short separator per key block), the offset table (8 bytes a block) and one 8-byte hash per distinct key.
//! Bytes go to the file once, at increasing offsets. `finish` syncs the file's contents; its name is the caller's.
//!
//! The same entries give the same bytes: there is no clock and no randomness but the given identity.
//!
//! Callers: flush, compaction, tools; one thread at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filter;
use super::footer::{self, BlockPlace, FOOTER_LEN, Footer, Header, PLACE_LEN, SectionPlace};
use super::frame::{self, BlockKind, Codec, FRAME_LEN, Frame, MAX_BLOCK_TARGET, Seed};
use super::index::IndexBuilder;
use super::key_block::{BlockUse, ENTRY_OVERHEAD};
use super::key_block_builder::{KeyBlockBuilder, separator};
use super::order::{SortOrder, split};
use super::properties::{BlockTotals, Properties, SstOrigin};
use super::reader::{RawBlock, SstSummary};
use crate::env::File;
use crate::planted::{self, Bug};
use crate::types::{MAX_INLINE_LEN, MAX_KEY_LEN, MAX_SEQ, MAX_SMALL_LEN, MAX_VALUE_LEN, SeqNo, ValuePlace};
use crate::{Error, KeyspaceId, Result, Slice};

/// Writes are gathered up to this many bytes: 1 MiB, past which a write call's own cost no longer shows.
const CHUNK: usize = 1 << 20;
/// The same, for those who count.
pub(crate) const MOST_GATHERED: u64 = CHUNK as u64;
/// The largest file, in bytes: offsets are u32.
const MAX_FILE_LEN: u64 = u32::MAX as u64;
/// Bytes that `is_full` keeps free below [`MAX_FILE_LEN`], for one more entry of any size.
const FILE_MARGIN: u64 = (MAX_VALUE_LEN + 2 * MAX_KEY_LEN + (1 << 20)) as u64;
/// Bits of filter per key, for estimates.
const FILTER_BITS: u64 = 10;
/// Key blocks whose longest key is shorter are not compressed: short keys do not compress (spec/sst.md).
const MIN_KEY_TO_COMPRESS: usize = 16;

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// All blocks are stored raw.
    None,
    /// LZ4 for blocks that it makes smaller by an eighth or more.
    #[default]
    Lz4,
}

/// How an SST is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstOptions {
    /// A key block is closed before it passes this many bytes, counted as keys plus 20 per entry: 16 KiB, at most 4 MiB.
    pub key_block_size: u32,
    /// A shared value block is closed once it has this many bytes: 4 KiB, at most 4 MiB. Decompression dominates a cold
    /// read, so small is fast; large compresses better, more so the more alike the values are. Measured once on 200-byte
    /// windows of Rust sources with LZ4: 0.664, 0.635, 0.605, 0.577 of their size at 2, 4, 8, 16 KiB, and 1.0, 1.9, 4.1,
    /// 7.2 us to decompress; on db_bench's values the ratio is 0.557 at 4 KiB and 0.550 at 64. From 8 to 4 KiB random
    /// reads of 100-byte values went from 188 to 326 thousand a second.
    pub value_block_size: u32,
    /// Whether blocks are compressed.
    pub compression: Compression,
    /// Whether the file gets a filter.
    pub filter: bool,
    /// What its entries are sorted by.
    pub order: SortOrder,
}

impl Default for SstOptions {
    fn default() -> Self {
        SstOptions {
            key_block_size: 16 << 10,
            value_block_size: 4 << 10,
            compression: Compression::Lz4,
            filter: true,
            order: SortOrder::Key,
        }
    }
}

/// Which file is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SstIdentity {
    /// The keyspace that its entries belong to.
    pub keyspace: KeyspaceId,
    /// Its number in the manifest.
    pub file_number: u64,
    /// Random bytes that no other file has: the seed of its checksums.
    pub identity: [u8; 16],
    /// The files whose contents it takes over.
    pub replaces: Vec<u64>,
}

/// What an entry says of its key.
#[derive(Clone, Copy, Debug)]
pub enum EntryValue<'a> {
    /// A value.
    Put(&'a [u8]),
    /// No value.
    Tombstone,
    /// A medium value as another SST stores it: neither decompressed nor compressed again.
    RawMedium(&'a RawBlock),
}

/// Writes one SST. See the module's comment.
///
/// A builder that has taken entries must be finished or abandoned; dropping it otherwise (except after an error) is a
/// bug that debug builds catch.
pub struct SstBuilder {
    file: Arc<dyn File>,
    path: PathBuf,
    options: SstOptions,
    seed: Seed,
    identity: [u8; 16],
    properties: Properties,
    /// Bytes that are not yet written, and the offset where they go.
    pending: Vec<u8>,
    gathered: usize,
    written: u64,
    /// By block number; blocks that are open have zeros.
    places: Vec<[u8; PLACE_LEN]>,
    keys: KeyBlockBuilder,
    keys_number: u32,
    values: Vec<u8>,
    values_number: u32,
    index: IndexBuilder,
    /// The first sort key of the open key block.
    first_key: Vec<u8>,
    /// One per distinct key; unused when there is no filter.
    hashes: Vec<u64>,
    last_key: Vec<u8>,
    last_seq: SeqNo,
    /// Buffers that are used again and again: a block, its compressed form, a separator.
    block: Vec<u8>,
    compressed: Vec<u8>,
    separator: Vec<u8>,
    /// A write has failed, or the builder is finished or abandoned.
    ended: bool,
}

impl SstBuilder {
    /// Starts a file. `file` must be empty; `path` is for messages.
    pub fn new(
        file: Arc<dyn File>,
        path: &Path,
        options: &SstOptions,
        identity: SstIdentity,
    ) -> Result<Self> {
        for (name, size) in [
            ("key_block_size", options.key_block_size),
            ("value_block_size", options.value_block_size),
        ] {
            if size == 0 || size > MAX_BLOCK_TARGET {
                let what = format!("{size} bytes given, 1 to {MAX_BLOCK_TARGET} are allowed");
                return Err(Error::InvalidOption { name, what });
            }
        }
        let properties = Properties {
            keyspace: identity.keyspace,
            file_number: identity.file_number,
            min_seq: SeqNo::MAX,
            compression: u64::from(options.compression == Compression::Lz4),
            replaces: identity.replaces,
            order: options.order,
            ..Properties::default()
        };
        Ok(SstBuilder {
            file,
            path: path.to_owned(),
            options: options.clone(),
            seed: Seed::new(&identity.identity),
            identity: identity.identity,
            properties,
            pending: footer::encode_header(&Header {
                identity: identity.identity,
                keyspace: identity.keyspace,
                order: options.order,
            }),
            gathered: CHUNK,
            written: 0,
            places: Vec::new(),
            keys: KeyBlockBuilder::new(options.order),
            keys_number: 0,
            values: Vec::new(),
            values_number: 0,
            index: IndexBuilder::new(options.order),
            first_key: Vec::new(),
            hashes: Vec::new(),
            last_key: Vec::new(),
            last_seq: 0,
            block: Vec::new(),
            compressed: Vec::new(),
            separator: Vec::new(),
            ended: false,
        })
    }

    /// Says where the file comes from.
    pub fn set_origin(&mut self, origin: SstOrigin) {
        self.properties.origin = origin;
    }

    /// Gathers so many bytes for a write, at most a MiB.
    pub(crate) fn set_gathered(&mut self, bytes: u64) {
        self.gathered = bytes.min(MOST_GATHERED) as usize;
    }

    /// Says that no further file of its run follows.
    pub fn set_last(&mut self) {
        self.properties.origin.last = true;
    }

    /// Adds an entry, by its sort key (in key order the key). REQUIRES: it comes after all earlier ones by sort key ascending,
    /// then by number descending; two entries with the same key and number are refused as well.
    ///
    /// Limits (65,535 bytes of key, 64 MiB of value, 4 GiB of file) and wrong order are errors that leave the file as
    /// it was; after a failed write the builder is of no further use.
    pub fn add(&mut self, key: &[u8], seq: SeqNo, value: EntryValue<'_>) -> Result<()> {
        self.check(key, seq, &value)?;
        let new_key = self.properties.entry_count == 0 || key != self.last_key.as_slice();
        let in_row = self.row_value(&value);
        let row_len = key.len() - self.options.order.hash_len() + in_row.len();
        if self.keys.count() > 0
            && self.keys.weight() + row_len + ENTRY_OVERHEAD > self.options.key_block_size as usize
        {
            separator(&self.last_key, key, &mut self.separator);
            self.close_key_block()?;
        }
        if self.keys.count() == 0 {
            self.keys_number = self.reserve()?;
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        let (place, value_len) = self.place_value(value)?;
        self.keys.push(key, seq, &place, in_row);
        self.count(key, seq, &place, value_len, new_key);
        Ok(())
    }

    /// The value, if it goes into the key block behind its key (`key_block`).
    fn row_value<'v>(&self, value: &EntryValue<'v>) -> &'v [u8] {
        let longest = match (self.options.order, self.options.compression) {
            (SortOrder::Key, _) => return &[],
            (SortOrder::Hash { .. }, Compression::Lz4) => MAX_INLINE_LEN,
            (SortOrder::Hash { .. }, Compression::None) => MAX_SMALL_LEN,
        };
        match value {
            EntryValue::Put(value) if value.len() <= longest => value,
            _ => &[],
        }
    }

    fn check(&self, key: &[u8], seq: SeqNo, value: &EntryValue<'_>) -> Result<()> {
        if self.ended {
            return Err(self.misuse("the builder has failed or ended"));
        }
        let value_len = match value {
            EntryValue::Put(value) => value.len(),
            EntryValue::Tombstone => 0,
            EntryValue::RawMedium(raw) => raw.uncompressed_len as usize,
        };
        let limits = [
            ("key", key.len() as u64, MAX_KEY_LEN as u64),
            ("value", value_len as u64, MAX_VALUE_LEN as u64),
            ("sequence number", seq, MAX_SEQ),
            (
                "SST",
                self.estimated_size() + (value_len + 2 * key.len()) as u64,
                MAX_FILE_LEN,
            ),
        ];
        for (what, size, limit) in limits {
            if size > limit {
                return Err(Error::LimitExceeded { what, size, limit });
            }
        }
        if matches!(value, EntryValue::RawMedium(_)) && value_len <= MAX_SMALL_LEN {
            return Err(self.misuse("a raw medium block holds more than 4096 bytes"));
        }
        if !self.options.order.is_sort_key(key) {
            return Err(self.misuse("a sort key of hash order begins with the hash of its key"));
        }
        let ascends = match self.last_key.as_slice().cmp(key) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => seq < self.last_seq,
            std::cmp::Ordering::Greater => false,
        };
        if !ascends && self.properties.entry_count > 0 {
            return Err(self.misuse("entries must ascend by key and descend by sequence number"));
        }
        Ok(())
    }

    /// Stores the value and says where it lies and how long it is.
    fn place_value(&mut self, value: EntryValue<'_>) -> Result<(ValuePlace, u32)> {
        match value {
            EntryValue::Tombstone => Ok((ValuePlace::Tombstone, 0)),
            EntryValue::Put(value) => {
                let len = value.len() as u32;
                let place = if value.len() <= MAX_INLINE_LEN {
                    let mut bytes = [0; MAX_INLINE_LEN];
                    bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
                    ValuePlace::Inline {
                        len: len as u8,
                        bytes,
                    }
                } else if !self.row_value(&EntryValue::Put(value)).is_empty() {
                    ValuePlace::InKeyBlock {
                        block: self.keys_number,
                        offset: 0, // the reader knows
                        len,
                    }
                } else if value.len() <= MAX_SMALL_LEN {
                    self.place_small(value)?
                } else {
                    let block = self.reserve()?;
                    self.write_block(BlockKind::Medium, block, value, true)?;
                    ValuePlace::Medium { block, len }
                };
                Ok((place, len))
            }
            EntryValue::RawMedium(raw) => {
                let (block, len) = (self.reserve()?, raw.uncompressed_len);
                self.write_frame(BlockKind::Medium, block, raw.codec, &raw.stored, len)?;
                Ok((ValuePlace::Medium { block, len }, len))
            }
        }
    }

    fn place_small(&mut self, value: &[u8]) -> Result<ValuePlace> {
        if self.values.is_empty() {
            self.values_number = self.reserve()?;
        }
        let block = self.values_number;
        let place = ValuePlace::Small {
            block,
            offset: self.values.len() as u32,
            len: value.len() as u32,
        };
        self.values.extend_from_slice(value);
        if self.values.len() >= self.options.value_block_size as usize {
            self.close_value_block()?;
        }
        Ok(place)
    }

    fn count(&mut self, key: &[u8], seq: SeqNo, place: &ValuePlace, value_len: u32, new_key: bool) {
        let p = &mut self.properties;
        if p.entry_count == 0 {
            p.min_key = Slice::from(key);
        }
        if new_key {
            p.key_count += 1;
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            if self.options.filter {
                let hash = match self.options.order {
                    SortOrder::Key => SortOrder::Key.hash(key),
                    SortOrder::Hash { .. } => split(key).0,
                };
                if self.hashes.last() != Some(&hash) {
                    self.hashes.push(hash);
                }
            }
        }
        self.last_seq = seq;
        p.entry_count += 1;
        p.min_seq = p.min_seq.min(seq);
        p.max_seq = p.max_seq.max(seq);
        p.raw_key_bytes += (key.len() - self.options.order.hash_len()) as u64;
        p.raw_value_bytes += u64::from(value_len);
        match place {
            ValuePlace::Inline { .. } | ValuePlace::InKeyBlock { .. } | ValuePlace::Memory { .. } => {
                p.inline_count += 1;
            }
            ValuePlace::Small { .. } => p.small_count += 1,
            ValuePlace::Medium { .. } => p.medium_count += 1,
            ValuePlace::Tombstone => p.tombstone_count += 1,
        }
    }

    /// The next block number.
    fn reserve(&mut self) -> Result<u32> {
        let number = u32::try_from(self.places.len()).map_err(|_| Error::LimitExceeded {
            what: "SST's number of blocks",
            size: self.places.len() as u64,
            limit: u32::MAX.into(),
        })?;
        self.places.push([0; PLACE_LEN]);
        Ok(number)
    }

    fn close_value_block(&mut self) -> Result<()> {
        let values = std::mem::take(&mut self.values);
        let written = self.write_block(BlockKind::Value, self.values_number, &values, true);
        self.values = values;
        self.values.clear();
        written
    }

    /// Writes the open key block, and its entry of the index with the separator that has been prepared.
    fn close_key_block(&mut self) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        self.keys.encode(BlockUse::Keys, &mut block);
        let compress = self.keys.longest_key() >= MIN_KEY_TO_COMPRESS;
        let written = self.write_block(BlockKind::Key, self.keys_number, &block, compress);
        self.block = block;
        self.keys.clear();
        self.index
            .push(&self.first_key, &self.last_key, &self.separator, self.keys_number);
        written
    }

    fn write_block(&mut self, kind: BlockKind, number: u32, block: &[u8], compress: bool) -> Result<()> {
        let len = block.len() as u32;
        let mut compressed = std::mem::take(&mut self.compressed);
        let smaller = compress
            && self.options.compression == Compression::Lz4
            && frame::compress(block, &mut compressed);
        let written = match smaller {
            true => self.write_frame(kind, number, Codec::Lz4, &compressed, len),
            false => self.write_frame(kind, number, Codec::Raw, block, len),
        };
        self.compressed = compressed;
        written
    }

    fn write_frame(
        &mut self,
        kind: BlockKind,
        number: u32,
        codec: Codec,
        stored: &[u8],
        len: u32,
    ) -> Result<()> {
        let start = self.position();
        let frame_len = (stored.len() + FRAME_LEN) as u64;
        let Some(start) = u32::try_from(start)
            .ok()
            .filter(|_| start + frame_len <= MAX_FILE_LEN)
        else {
            self.ended = true;
            return Err(Error::LimitExceeded {
                what: "SST",
                size: start + frame_len,
                limit: MAX_FILE_LEN,
            });
        };
        let stored_len = stored.len() as u32;
        let frame = Frame {
            kind,
            codec,
            stored_len,
            uncompressed_len: len,
        };
        frame.write(self.seed, number, stored, &mut self.pending);
        if let Some(place) = self.places.get_mut(number as usize) {
            BlockPlace {
                start,
                len: frame_len as u32,
                kind,
                codec,
            }
            .encode(place);
        }
        let totals = match kind {
            BlockKind::Key => &mut self.properties.key_blocks,
            BlockKind::Value => &mut self.properties.value_blocks,
            BlockKind::Medium => &mut self.properties.medium_blocks,
        };
        *totals = BlockTotals {
            count: totals.count + 1,
            stored_bytes: totals.stored_bytes + u64::from(stored_len),
            uncompressed_bytes: totals.uncompressed_bytes + u64::from(len),
        };
        if self.pending.len() >= self.gathered {
            self.flush()?;
        }
        Ok(())
    }

    /// Where the next byte goes.
    fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn flush(&mut self) -> Result<()> {
        if let Err(e) = self.file.write_all_at(self.written, &self.pending) {
            self.ended = true;
            return Err(Error::io("write", &self.path, e));
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Whether the next file should be started: the counts have been reached, or the format's own limits are near.
    pub fn is_full(&self, max_entries: u64, max_bytes: u64) -> bool {
        let size = self.estimated_size();
        self.entry_count() >= max_entries || size >= max_bytes || size + FILE_MARGIN > MAX_FILE_LEN
    }

    /// Entries added.
    pub fn entry_count(&self) -> u64 {
        self.properties.entry_count
    }

    /// About how large the file would be if it were finished now, in bytes; compression of open blocks not counted.
    pub fn estimated_size(&self) -> u64 {
        let open =
            self.keys.buffered() + self.values.len() + self.index.buffered() + self.places.len() * PLACE_LEN;
        let bounds = self.properties.min_key.len() + self.last_key.len();
        let filter = self.hashes.len() as u64 * FILTER_BITS / 8;
        self.position() + (open + bounds + FOOTER_LEN + 512) as u64 + filter
    }

    /// Bytes of entries that are held in memory and not yet framed as blocks: at most one value block and one key block,
    /// each with one entry more than its target.
    pub fn buffered_bytes(&self) -> usize {
        self.keys.buffered() + self.values.len()
    }

    /// The last sort key added; empty before the first.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Writes what is open, filter, index, properties, offset table and footer, and makes the contents durable. The
    /// file's name is durable only after a sync of its directory, which is the caller's. An SST without entries is refused.
    pub fn finish(mut self) -> Result<SstSummary> {
        let finished = self.finish_inner();
        self.ended = true;
        finished
    }

    fn finish_inner(&mut self) -> Result<SstSummary> {
        if self.ended {
            return Err(self.misuse("the builder has failed"));
        }
        if self.properties.entry_count == 0 {
            return Err(self.misuse("an SST holds at least one entry"));
        }
        if !self.values.is_empty() {
            self.close_value_block()?;
        }
        self.separator.clone_from(&self.last_key);
        self.close_key_block()?;
        self.properties.max_key = Slice::from(self.last_key.as_slice());

        let filter = if self.options.filter {
            filter::build(&mut self.hashes)
        } else {
            None
        };
        let filter = self.write_section(&filter.unwrap_or_default())?;
        let mut index = Vec::new();
        self.index.encode(&mut index);
        let index = self.write_section(&index)?;
        let properties = self.write_section(&self.properties.encode())?;
        let places = std::mem::take(&mut self.places);
        let offset_table = self.write_section(places.as_flattened())?;
        let footer = Footer {
            hash_order: self.options.order.is_hash(),
            block_count: places.len() as u32,
            entry_count: self.properties.entry_count,
            identity: self.identity,
            filter,
            index,
            properties,
            offset_table,
            file_len: self.position() + FOOTER_LEN as u64,
        };
        self.pending.extend_from_slice(&footer.encode());
        self.flush()?;
        if !planted::is(Bug::DataFileNotSynced) {
            self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        }
        Ok(SstSummary::new(&self.properties, footer.file_len, self.identity))
    }

    fn write_section(&mut self, bytes: &[u8]) -> Result<SectionPlace> {
        let offset = self.position();
        let end = offset + bytes.len() as u64 + FOOTER_LEN as u64;
        if end > MAX_FILE_LEN {
            return Err(Error::LimitExceeded {
                what: "SST",
                size: end,
                limit: MAX_FILE_LEN,
            });
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= self.gathered {
            self.flush()?;
        }
        Ok(SectionPlace {
            offset,
            len: bytes.len() as u32,
            crc: self.seed.section(bytes),
        })
    }

    /// Gives up: the file's contents are of no use, and the caller removes it.
    pub fn abandon(mut self) {
        self.ended = true;
    }

    fn misuse(&self, what: &'static str) -> Error {
        Error::io(
            "build",
            &self.path,
            io::Error::new(io::ErrorKind::InvalidInput, what),
        )
    }
}

impl Drop for SstBuilder {
    fn drop(&mut self) {
        debug_assert!(
            self.ended || self.properties.entry_count == 0 || std::thread::panicking(),
            "an SST builder with entries was neither finished nor abandoned"
        );
    }
}

/// Writes a whole SST from entries in order: the same file as [`SstBuilder`] gives.
pub fn write_sorted<'a>(
    file: Arc<dyn File>,
    path: &Path,
    options: &SstOptions,
    identity: SstIdentity,
    entries: impl IntoIterator<Item = (&'a [u8], SeqNo, EntryValue<'a>)>,
) -> Result<SstSummary> {
    let mut builder = SstBuilder::new(file, path, options, identity)?;
    for (key, seq, value) in entries {
        if let Err(e) = builder.add(key, seq, value) {
            builder.abandon();
            return Err(e);
        }
    }
    builder.finish()
}
