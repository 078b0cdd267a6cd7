//! [`SstBuilder`]: writes one SST from entries that come in order, in bounded memory.
//!
//! What is held: one open value block, one open key block, a write buffer of a mebibyte; of one partition (`partitions`) the hashes,
//! 8 bytes for each distinct key, and the index; and per file the offset table, 8 bytes a block, the top, some 40
//! bytes a partition, and 16 to 20 bytes for each reference (`references`). `finish` syncs the file's contents; its name is the caller's.
//!
//! The same entries give the same bytes: there is no clock and no randomness but the given identity.
//!
//! Callers: flush, compaction, tools; one thread at a time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::footer::{self, FOOTER_LEN, Footer, Header};
use super::frame::{BlockKind, MAX_BLOCK_TARGET, Seed};
use super::key_block::{BlockUse, ENTRY_OVERHEAD};
use super::key_block_builder::{KeyBlockBuilder, separator};
use super::offset_table::page_places;
use super::options::{Compression, PARTITION_SIZES, SstIdentity, SstOptions};
use super::order::{SortOrder, split};
use super::output::{MAX_FILE_LEN, Output, Stored};
use super::partition_builder::{ClosedBlock, PartitionBuilder};
use super::properties::{Properties, SstOrigin};
use super::reader::{RawBlock, SstSummary};
use super::references::ListBuilder;
use crate::env::File;
use crate::planted::{self, Bug};
use crate::types::{
    MAX_INLINE_LEN, MAX_KEY_LEN, MAX_SEQ, MAX_SMALL_LEN, MAX_VALUE_LEN, ObjectRef, SeqNo, ValuePlace,
};
use crate::{Error, Result, Slice};

/// Bytes that `is_full` keeps free below [`MAX_FILE_LEN`], for one more entry of any size.
const FILE_MARGIN: u64 = (MAX_VALUE_LEN + 2 * MAX_KEY_LEN + (1 << 20)) as u64;
/// Key blocks whose longest key is shorter are not compressed: short keys do not compress (spec/sst.md).
const MIN_KEY_TO_COMPRESS: usize = 16;

/// What an entry says of its key.
#[derive(Clone, Copy, Debug)]
pub enum EntryValue<'a> {
    /// A value.
    Put(&'a [u8]),
    /// No value.
    Tombstone,
    /// A value that is an object in a pack.
    Object(&'a ObjectRef),
    /// A medium value as another SST stores it: neither decompressed nor compressed again.
    RawMedium(&'a RawBlock),
}

/// Writes one SST. See the module's comment.
///
/// A builder that has taken entries must be finished or abandoned; dropping it otherwise (except after an error) is a
/// bug that debug builds catch.
pub struct SstBuilder {
    output: Output,
    options: SstOptions,
    identity: [u8; 16],
    properties: Properties,
    keys: KeyBlockBuilder,
    /// What the index will say of the open key block; `last` stays when that is closed.
    open: ClosedBlock,
    values: Vec<u8>,
    values_number: u32,
    partitions: PartitionBuilder,
    references: ListBuilder,
    last_seq: SeqNo,
    /// A buffer that is used again and again.
    block: Vec<u8>,
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
        if !PARTITION_SIZES.contains(&options.partition_size) {
            let (least, most) = (PARTITION_SIZES.start(), PARTITION_SIZES.end());
            let what = format!(
                "{} bytes given, {least} to {most} are allowed",
                options.partition_size
            );
            return Err(Error::InvalidOption {
                name: "partition_size",
                what,
            });
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
        let front = footer::encode_header(&Header {
            identity: identity.identity,
            keyspace: identity.keyspace,
            order: options.order,
        });
        let seed = Seed::new(&identity.identity);
        Ok(SstBuilder {
            output: Output::new(file, path.to_owned(), seed, options.compression, front),
            options: options.clone(),
            identity: identity.identity,
            properties,
            keys: KeyBlockBuilder::new(options.order),
            open: ClosedBlock::default(),
            values: Vec::new(),
            values_number: 0,
            partitions: PartitionBuilder::new(options),
            references: ListBuilder::default(),
            last_seq: 0,
            block: Vec::new(),
        })
    }

    /// Says where the file comes from.
    pub fn set_origin(&mut self, origin: SstOrigin) {
        self.properties.origin = origin;
    }

    /// Gathers so many bytes for a write, at most a MiB.
    pub(crate) fn set_gathered(&mut self, bytes: u64) {
        self.output.set_gathered(bytes);
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
        let new_key = self.properties.entry_count == 0 || key != self.open.last.as_slice();
        let reference;
        let beside = match value {
            EntryValue::Object(object) => {
                reference = object.to_bytes();
                &reference[..]
            }
            _ => self.row_value(&value),
        };
        let row_len = key.len() - self.options.order.hash_len() + beside.len();
        let filter_full = new_key && self.partitions.filter_is_full();
        let block_full = self.keys.weight() + row_len + ENTRY_OVERHEAD > self.options.key_block_size as usize;
        if self.keys.count() > 0 && (block_full || filter_full) {
            separator(&self.open.last, key, &mut self.open.separator);
            self.close_key_block()?;
            if filter_full || self.partitions.index_is_full() {
                let (output, properties) = (&mut self.output, &mut self.properties);
                self.partitions.close(&self.open, output, properties)?;
            }
        }
        if self.keys.count() == 0 {
            self.open.number = self.output.reserve()?;
            self.open.first.clear();
            self.open.first.extend_from_slice(key);
        }
        let (place, value_len) = self.place_value(value)?;
        self.keys.push(key, seq, &place, beside);
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
        if self.output.ended {
            return Err(self.misuse("the builder has failed or ended"));
        }
        let value_len = match value {
            EntryValue::Put(value) => value.len(),
            EntryValue::Tombstone => 0,
            EntryValue::Object(_) => ObjectRef::LEN,
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
        let ascends = match self.open.last.as_slice().cmp(key) {
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
            EntryValue::Object(object) => {
                self.references.add(object.id);
                let sum = &mut self.properties.referenced_bytes;
                *sum = sum.saturating_add(object.len);
                let place = ValuePlace::Object {
                    block: self.open.number,
                    offset: 0, // the reader knows
                };
                Ok((place, ObjectRef::LEN as u32))
            }
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
                        block: self.open.number,
                        offset: 0, // the reader knows
                        len,
                    }
                } else if value.len() <= MAX_SMALL_LEN {
                    self.place_small(value)?
                } else {
                    let (block, totals) = (self.output.reserve()?, &mut self.properties.medium_blocks);
                    self.output
                        .write_block(BlockKind::Medium, block, value, true, totals)?;
                    ValuePlace::Medium { block, len }
                };
                Ok((place, len))
            }
            EntryValue::RawMedium(raw) => {
                let (block, len) = (self.output.reserve()?, raw.uncompressed_len);
                let stored = Stored {
                    codec: raw.codec,
                    bytes: &raw.stored,
                    uncompressed_len: len,
                };
                let totals = &mut self.properties.medium_blocks;
                self.output
                    .write_frame(BlockKind::Medium, block, &stored, totals)?;
                Ok((ValuePlace::Medium { block, len }, len))
            }
        }
    }

    fn place_small(&mut self, value: &[u8]) -> Result<ValuePlace> {
        if self.values.is_empty() {
            self.values_number = self.output.reserve()?;
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
            self.open.last.clear();
            self.open.last.extend_from_slice(key);
            let order = self.options.order;
            self.partitions.add_key(|| match order {
                SortOrder::Key => SortOrder::Key.hash(key),
                SortOrder::Hash { .. } => split(key).0,
            });
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
            ValuePlace::Object { .. } | ValuePlace::MemoryObject { .. } => p.object_count += 1,
            ValuePlace::Tombstone => p.tombstone_count += 1,
        }
    }

    fn close_value_block(&mut self) -> Result<()> {
        let totals = &mut self.properties.value_blocks;
        let written =
            self.output
                .write_block(BlockKind::Value, self.values_number, &self.values, true, totals);
        self.values.clear();
        written
    }

    /// Writes the open key block, and its entry of the index with the separator that has been prepared.
    fn close_key_block(&mut self) -> Result<()> {
        self.keys.encode(BlockUse::Keys, &mut self.block);
        let compress = self.keys.longest_key() >= MIN_KEY_TO_COMPRESS;
        let totals = &mut self.properties.key_blocks;
        let written =
            self.output
                .write_block(BlockKind::Key, self.open.number, &self.block, compress, totals);
        self.keys.clear();
        self.partitions.add_block(&self.open);
        written
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
        let open = self.keys.buffered() + self.values.len() + self.output.table_len();
        let bounds = self.properties.min_key.len() + self.open.last.len();
        let partitions = self.partitions.estimated_size() + self.references.estimated_size();
        self.output.position() + (open + bounds + FOOTER_LEN + 512) as u64 + partitions
    }

    /// Bytes of entries that are held in memory and not yet framed as blocks: at most one value block and one key block,
    /// each with one entry more than its target.
    pub fn buffered_bytes(&self) -> usize {
        self.keys.buffered() + self.values.len()
    }

    /// Bytes held in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let buffers = self.block.capacity() + self.buffered_bytes();
        let lists = self.partitions.held_bytes() + self.references.held_bytes();
        self.output.held_bytes() + lists + buffers
    }

    /// The last sort key added; empty before the first.
    pub fn last_key(&self) -> &[u8] {
        &self.open.last
    }

    /// Writes what is open, list of references, filter, index, properties, offset table and footer, and makes the contents durable. The
    /// file's name is durable only after a sync of its directory, which is the caller's. An SST without entries is refused.
    pub fn finish(mut self) -> Result<SstSummary> {
        let finished = self.finish_inner();
        self.output.ended = true;
        finished
    }

    fn finish_inner(&mut self) -> Result<SstSummary> {
        if self.output.ended {
            return Err(self.misuse("the builder has failed"));
        }
        if self.properties.entry_count == 0 {
            return Err(self.misuse("an SST holds at least one entry"));
        }
        if !self.values.is_empty() {
            self.close_value_block()?;
        }
        self.open.separator.clone_from(&self.open.last);
        self.close_key_block()?;
        self.properties.max_key = Slice::from(self.open.last.as_slice());

        let (output, properties) = (&mut self.output, &mut self.properties);
        self.references.finish(output, properties)?;
        let (filter, index) = self.partitions.finish(&self.open, output, properties)?;
        let filter = self.output.write_section(&filter)?;
        let index = self.output.write_section(&index)?;
        let properties = self.output.write_section(&self.properties.encode())?;
        let (block_count, page_places) = (
            self.output.block_count(),
            page_places(self.options.partition_size),
        );
        let offset_table = self.output.write_table(page_places)?;
        let footer = Footer {
            hash_order: self.options.order.is_hash(),
            block_count,
            entry_count: self.properties.entry_count,
            identity: self.identity,
            filter,
            index,
            properties,
            offset_table,
            file_len: self.output.position() + FOOTER_LEN as u64,
            page_places,
        };
        self.output.write_footer(&footer.encode())?;
        if !planted::is(Bug::DataFileNotSynced) {
            self.output.sync()?;
        }
        Ok(SstSummary::new(&self.properties, footer.file_len, self.identity))
    }

    /// Gives up: the file's contents are of no use, and the caller removes it.
    pub fn abandon(mut self) {
        self.output.ended = true;
    }

    fn misuse(&self, what: &'static str) -> Error {
        Error::io(
            "build",
            &self.output.path,
            io::Error::new(io::ErrorKind::InvalidInput, what),
        )
    }
}

impl Drop for SstBuilder {
    fn drop(&mut self) {
        debug_assert!(
            self.output.ended || self.properties.entry_count == 0 || std::thread::panicking(),
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
