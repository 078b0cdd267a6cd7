//! [`PartitionBuilder`]: collects filter and index of a file that is being written, and ends partitions (`partitions`).
//!
//! What is held: the hashes of the open partition, 8 bytes each, its index, and the top.
//!
//! Callers: `builder`.

use super::filter;
use super::frame::{BlockKind, FRAME_LEN};
use super::index::IndexBuilder;
use super::options::SstOptions;
use super::order::SortOrder;
use super::output::Output;
use super::partitions::{Row, TYPE_TOP};
use super::properties::Properties;
use crate::Result;

/// Bits of filter per key, for estimates.
const FILTER_BITS: u64 = 10;

/// Filter and index under construction.
#[derive(Debug)]
pub(super) struct PartitionBuilder {
    partition_size: usize,
    /// Whether there is a filter.
    filter: bool,
    /// How many hashes a partition takes.
    most_hashes: usize,
    /// One per distinct key of the open partition.
    hashes: Vec<u64>,
    /// Of the open partition.
    index: IndexBuilder,
    /// The first sort key of the open partition.
    first: Vec<u8>,
    top: TopBuilder,
    /// A buffer that is used again and again.
    block: Vec<u8>,
}

/// A key block: its first and last sort key, what separates it from the next, and its number.
#[derive(Default)]
pub(super) struct ClosedBlock {
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    pub(super) separator: Vec<u8>,
    pub(super) number: u32,
}

impl PartitionBuilder {
    pub(super) fn new(options: &SstOptions) -> Self {
        PartitionBuilder {
            partition_size: options.partition_size as usize,
            filter: options.filter,
            most_hashes: filter::partition_keys(options.partition_size),
            hashes: Vec::new(),
            index: IndexBuilder::new(options.order),
            first: Vec::new(),
            top: TopBuilder::new(options.order),
            block: Vec::new(),
        }
    }

    /// Whether a further key belongs into another partition.
    pub(super) fn filter_is_full(&self) -> bool {
        self.hashes.len() >= self.most_hashes
    }

    /// Whether a further key block belongs into another partition.
    pub(super) fn index_is_full(&self) -> bool {
        self.index.encoded_len() >= self.partition_size
    }

    /// Adds a key by its hash.
    pub(super) fn add_key(&mut self, hash: impl FnOnce() -> u64) {
        if self.filter {
            let hash = hash();
            if self.hashes.last() != Some(&hash) {
                self.hashes.push(hash);
            }
        }
    }

    /// Adds a key block that has been written.
    pub(super) fn add_block(&mut self, block: &ClosedBlock) {
        if self.index.count() == 0 {
            self.first.clear();
            self.first.extend_from_slice(&block.first);
        }
        self.index
            .push(&block.first, &block.last, &block.separator, block.number);
    }

    /// Writes filter and index of the open partition, which ends with `last`.
    pub(super) fn close(
        &mut self,
        last: &ClosedBlock,
        output: &mut Output,
        properties: &mut Properties,
    ) -> Result<()> {
        let mut row = Row {
            key_blocks: self.index.count() as u32,
            ..Row::default()
        };
        let start = output.position();
        if let Some(filter) = self.take_filter() {
            let (number, totals) = (output.reserve()?, &mut properties.filter_blocks);
            output.write_block(BlockKind::Filter, number, &filter, false, totals)?;
            row.filter_len = (filter.len() + FRAME_LEN) as u32;
        }
        self.index.encode(&mut self.block);
        let (number, totals) = (output.reserve()?, &mut properties.index_blocks);
        output.write_block(BlockKind::Index, number, &self.block, false, totals)?;
        row.index_len = (self.block.len() + FRAME_LEN) as u32;
        // It has been written, so that it lies below 4 GiB.
        (row.number, row.start) = (number, start as u32);
        self.top.push(row, &self.first, &last.last, &last.separator);
        self.index.clear();
        Ok(())
    }

    /// Ends the file's last partition with `last`, if it is not the only one. Gives the filter and index sections.
    pub(super) fn finish(
        &mut self,
        last: &ClosedBlock,
        output: &mut Output,
        properties: &mut Properties,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        if self.top.count() > 0 {
            self.close(last, output, properties)?;
            return Ok((Vec::new(), self.top.encode()));
        }
        let mut index = Vec::new();
        self.index.encode(&mut index);
        Ok((self.take_filter().unwrap_or_default(), index))
    }

    /// The filter of the hashes collected, which are forgotten.
    fn take_filter(&mut self) -> Option<Vec<u8>> {
        if !self.filter {
            return None;
        }
        let filter = filter::build(&mut self.hashes);
        self.hashes.clear();
        filter
    }

    /// About how many bytes would be added to the file if it ended now.
    pub(super) fn estimated_size(&self) -> u64 {
        let index = self.index.buffered() + self.top.buffered();
        index as u64 + self.hashes.len() as u64 * FILTER_BITS / 8
    }

    /// Bytes held in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let hashes = self.hashes.capacity() * size_of::<u64>();
        hashes + self.index.buffered() + self.top.buffered() + self.block.capacity()
    }
}

/// Collects the top.
#[derive(Debug)]
struct TopBuilder {
    rows: Vec<u8>,
    separators: IndexBuilder,
    key_blocks: u32,
}

impl TopBuilder {
    fn new(order: SortOrder) -> Self {
        TopBuilder {
            rows: Vec::new(),
            separators: IndexBuilder::new(order),
            key_blocks: 0,
        }
    }

    fn count(&self) -> u32 {
        self.separators.count() as u32
    }

    /// Bytes buffered.
    fn buffered(&self) -> usize {
        self.rows.len() + self.separators.buffered()
    }

    /// Adds a partition of `row.key_blocks` key blocks, whose sort keys reach from `first` to `last`.
    fn push(&mut self, mut row: Row, first: &[u8], last: &[u8], separator: &[u8]) {
        let number = self.count();
        self.key_blocks += row.key_blocks;
        row.key_blocks = self.key_blocks;
        row.encode(&mut self.rows);
        self.separators.push(first, last, separator, number);
    }

    fn encode(&self) -> Vec<u8> {
        let mut separators = Vec::new();
        self.separators.encode(&mut separators);
        let mut out = u32::from(TYPE_TOP).to_le_bytes().to_vec();
        out.extend_from_slice(&self.count().to_le_bytes());
        out.extend_from_slice(&self.rows);
        out.extend_from_slice(&separators);
        out
    }
}
