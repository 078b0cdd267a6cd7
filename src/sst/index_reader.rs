//! Which key block can have a key: the filter, and the index, in one piece or in partitions (`partitions`).
//!
//! Key blocks are counted through all partitions: entry `at` of the index is the same one, whether the index has one level or
//! two. [`IndexReader`] keeps the partition that it asked last, so that a walk from block to block loads each once.
//!
//! Callers: `look_up`, `cursor`, `verify`, `describe`.

use super::filter::{self, Filter};
use super::index::Index;
use super::partitions::Row;
use super::reader::{Access, BlockBytes, Sst};
use super::resident::{Heads, Leaf, Part, PartFilter};
use crate::{Error, Result};

impl Leaf {
    fn load(sst: &Sst, partition: u32, access: Access, fill: bool) -> Result<Leaf> {
        let row = sst.row(partition)?;
        let first = sst.in_top(|top, bytes| top.first_of(bytes, partition))?;
        let (number, place) = row.index();
        let block = sst.block_at(number, place, access, fill)?;
        let index = Index::parse(sst.bytes(&block), sst.order())
            .filter(|index| first.checked_add(index.count()) == Some(row.key_blocks))
            .ok_or_else(|| sst.block_damaged(number, "expected an index"))?;
        Ok(Leaf {
            partition,
            first,
            index,
            block,
            heads: None,
        })
    }
}

impl Sst {
    /// What is kept of a partition, if anything is: in mapped mode, for reads through the mapping.
    #[inline]
    fn part(&self, partition: u32, access: Access) -> Option<&Part> {
        self.parts
            .get(partition as usize)
            .filter(|_| access == Access::Mapped)
    }

    /// The leaf that is kept, after it has been parsed if need be.
    #[inline]
    fn kept_leaf<'p>(&self, part: &'p Part, partition: u32) -> Result<&'p Leaf> {
        if let Some(leaf) = part.leaf.get() {
            return Ok(leaf);
        }
        let mut leaf = Leaf::load(self, partition, Access::Mapped, true)?;
        let heads = Heads::of(&leaf.index, self.bytes(&leaf.block));
        leaf.heads = Some(heads.ok_or_else(|| self.index_damaged())?);
        // Another thread may have been first; nobody waits for anybody.
        let _ = part.leaf.set(leaf);
        part.leaf.get().ok_or_else(|| self.index_damaged())
    }

    /// The same of the filter.
    #[inline]
    fn kept_filter<'p>(&self, part: &'p Part, partition: u32) -> Result<&'p PartFilter> {
        if let Some(filter) = part.filter.get() {
            return Ok(filter);
        }
        let filter = match self.filter_of(partition, Access::Mapped, true)? {
            Some((number, block)) => {
                let parsed = Filter::parse(self.bytes(&block));
                let parsed = parsed.ok_or_else(|| self.block_damaged(number, "expected a filter"))?;
                Some((parsed, block))
            }
            None => None,
        };
        let _ = part.filter.set(filter);
        part.filter.get().ok_or_else(|| self.index_damaged())
    }

    /// What the filter of a partition says.
    #[inline]
    fn partition_may_contain(&self, partition: u32, hash: u64) -> Result<bool> {
        match self.part(partition, self.access) {
            Some(part) => Ok(match self.kept_filter(part, partition)? {
                Some((filter, block)) => filter.may_contain(self.bytes(block), hash),
                None => true,
            }),
            None => self.ask(&self.filter_of(partition, self.access, true)?, hash),
        }
    }

    /// How many key blocks there are.
    #[inline]
    pub(crate) fn index_count(&self) -> u32 {
        self.top
            .as_ref()
            .map_or_else(|| self.index.count(), |top| top.key_blocks())
    }

    /// Partitions of filter and index; 0: they are in one piece.
    pub(crate) fn partition_count(&self) -> u32 {
        self.top.as_ref().map_or(0, |top| top.count())
    }

    pub(super) fn row(&self, partition: u32) -> Result<Row> {
        self.in_top(|top, bytes| top.row(bytes, partition))
    }

    fn in_top<T>(&self, ask: impl FnOnce(&super::partitions::Top, &[u8]) -> Option<T>) -> Result<T> {
        let top = self.top.as_ref();
        top.and_then(|top| ask(top, self.top_bytes()))
            .ok_or_else(|| self.index_damaged())
    }

    /// A separator that about `share` / `of` of the key blocks lie before; of a file with partitions one between these, so that no
    /// block is read.
    pub(crate) fn sample(&self, share: u32, of: u32) -> Result<Vec<u8>> {
        let at = u64::from(self.index.count()) * u64::from(share) / u64::from(of.max(1));
        self.index
            .separator(self.index_bytes(), at as u32)
            .ok_or_else(|| self.index_damaged())
    }

    /// The first entry behind the partition of entry `at`.
    pub(super) fn partition_behind(&self, at: u32) -> Option<u32> {
        let (top, bytes) = (self.top.as_ref()?, self.top_bytes());
        Some(top.row(bytes, top.partition_of(bytes, at)?)?.key_blocks)
    }

    /// The first separator of the index, or of its top, that is at or above a key.
    #[inline]
    fn index_lower_bound(&self, key: &[u8], hash: u64) -> Result<u32> {
        let found = self.heads.lower_bound(&self.index, self.index_bytes(), key, hash);
        found.ok_or_else(|| self.index_damaged())
    }

    /// The partition that can have a key, or none.
    #[inline]
    fn partition_for(&self, key: &[u8], hash: u64) -> Result<Option<u32>> {
        let found = self.index_lower_bound(key, hash)?;
        let found = self.top.as_ref().map_or(found, |top| top.planted_miss(found));
        Ok((found < self.partition_count()).then_some(found))
    }

    /// The filter of a partition, unless it has none.
    fn filter_of(&self, partition: u32, access: Access, fill: bool) -> Result<Option<(u32, BlockBytes)>> {
        let partition = self
            .top
            .as_ref()
            .map_or(partition, |top| top.planted_neighbour(partition));
        let Some((number, place)) = self.row(partition)?.filter() else {
            return Ok(None);
        };
        let block = self.block_at(number, place, access, fill)?;
        Ok(Some((number, block)))
    }

    /// What a filter of a partition says.
    #[inline]
    fn ask(&self, filter: &Option<(u32, BlockBytes)>, hash: u64) -> Result<bool> {
        match filter {
            Some((number, block)) => filter::ask(self.bytes(block), hash)
                .ok_or_else(|| self.block_damaged(*number, "expected a filter")),
            None => Ok(true),
        }
    }

    /// What the filter says, if that is in one piece.
    #[inline]
    fn piece_may_contain(&self, hash: u64) -> bool {
        match &self.filter {
            Some(filter) => filter.may_contain(self.filter_bytes(), hash),
            None => true,
        }
    }

    /// False: the key, in key order given with its hash, in hash order the hash, is not in the file. Always true for a file
    /// without a filter.
    ///
    /// # Errors
    /// [`Error::Corruption`] and [`Error::Io`], where the filter has to be read.
    pub fn may_contain(&self, key: &[u8], hash: u64) -> Result<bool> {
        if self.top.is_none() {
            return Ok(self.piece_may_contain(hash));
        }
        match self.partition_for(key, hash)? {
            Some(partition) => self.partition_may_contain(partition, hash),
            None => Ok(false),
        }
    }

    /// The first key block that can have `key`, given with its hash: its entry of the index, and its number.
    #[inline]
    pub(super) fn candidate(&self, key: &[u8], hash: u64) -> Result<Option<(u32, u32)>> {
        if self.top.is_some() {
            return self.candidate_in_partition(key, hash);
        }
        if !self.piece_may_contain(hash) {
            return Ok(None);
        }
        let at = self.index_lower_bound(key, hash)?;
        if at >= self.index.count() {
            return Ok(None);
        }
        let child = self.index.child(self.index_bytes(), at);
        Ok(Some((at, child.ok_or_else(|| self.index_damaged())?)))
    }

    fn candidate_in_partition(&self, key: &[u8], hash: u64) -> Result<Option<(u32, u32)>> {
        let Some(partition) = self.partition_for(key, hash)? else {
            return Ok(None);
        };
        if !self.partition_may_contain(partition, hash)? {
            return Ok(None);
        }
        let loaded;
        let leaf = match self.part(partition, self.access) {
            Some(part) => self.kept_leaf(part, partition)?,
            None => {
                loaded = Leaf::load(self, partition, self.access, true)?;
                &loaded
            }
        };
        let bytes = self.bytes(&leaf.block);
        let at = leaf.lower_bound(bytes, key, hash);
        let child = at.and_then(|at| Some((at, leaf.index.child(bytes, at - leaf.first)?)));
        // The top says that there is one.
        child.ok_or_else(|| self.index_damaged()).map(Some)
    }

    #[cold]
    pub(crate) fn index_damaged(&self) -> Error {
        Error::corruption(
            self.path(),
            self.footer.index.offset,
            "expected sorted separators in the index",
        )
    }
}

/// Asks filter and index of one file, and keeps the partitions that it asked last. All calls are given the same file.
pub(crate) struct IndexReader {
    access: Access,
    fill: bool,
    leaf: Option<Leaf>,
    /// A partition and its filter.
    filter: Option<(u32, Option<(u32, BlockBytes)>)>,
}

impl IndexReader {
    pub(crate) fn new(access: Access, fill: bool) -> Self {
        IndexReader {
            access,
            fill,
            leaf: None,
            filter: None,
        }
    }

    fn load<'l>(&'l mut self, sst: &'l Sst, partition: u32) -> Result<&'l Leaf> {
        if let Some(part) = sst.part(partition, self.access) {
            return sst.kept_leaf(part, partition);
        }
        let leaf = match self.leaf.take() {
            Some(leaf) if leaf.partition == partition => leaf,
            _ => Leaf::load(sst, partition, self.access, self.fill)?,
        };
        Ok(self.leaf.insert(leaf))
    }

    /// Asks about entry `at` of the index where it is.
    fn with<T>(
        &mut self,
        sst: &Sst,
        at: u32,
        ask: impl FnOnce(&Index, &[u8], u32) -> Option<T>,
    ) -> Result<T> {
        let answer = if sst.top.is_none() {
            ask(&sst.index, sst.index_bytes(), at)
        } else {
            let here = self.leaf.as_ref().filter(|leaf| {
                at.checked_sub(leaf.first)
                    .is_some_and(|at| at < leaf.index.count())
            });
            let partition = match here {
                Some(leaf) => leaf.partition,
                None => sst.in_top(|top, bytes| top.partition_of(bytes, at))?,
            };
            let leaf = self.load(sst, partition)?;
            ask(&leaf.index, sst.bytes(&leaf.block), at - leaf.first)
        };
        answer.ok_or_else(|| sst.index_damaged())
    }

    /// The first entry of the index whose separator is at or above a key, given with its hash, or as a sort key of key order;
    /// `index_count`, if there is none.
    pub(crate) fn lower_bound(&mut self, sst: &Sst, key: &[u8], hash: u64) -> Result<u32> {
        let found = if sst.top.is_none() {
            return sst.index_lower_bound(key, hash);
        } else {
            let Some(partition) = sst.partition_for(key, hash)? else {
                return Ok(sst.index_count());
            };
            let leaf = self.load(sst, partition)?;
            leaf.lower_bound(sst.bytes(&leaf.block), key, hash)
        };
        found.ok_or_else(|| sst.index_damaged())
    }

    /// Whether what is sought may go on behind the key block of entry `at`.
    pub(crate) fn goes_on(&mut self, sst: &Sst, at: u32, key: &[u8], hash: u64) -> Result<bool> {
        self.with(sst, at, |index, bytes, at| index.goes_on(bytes, at, key, hash))
    }

    /// The key block of entry `at`.
    pub(crate) fn child(&mut self, sst: &Sst, at: u32) -> Result<u32> {
        self.with(sst, at, |index, bytes, at| index.child(bytes, at))
    }

    /// Separator `at`, whole: a key, or the eight bytes of a hash.
    pub(crate) fn separator(&mut self, sst: &Sst, at: u32) -> Result<Vec<u8>> {
        self.with(sst, at, |index, bytes, at| index.separator(bytes, at))
    }

    /// In hash order, if entry `at` is the first of the index or of a partition: the least hash that is stated there.
    pub(crate) fn least_hash(&mut self, sst: &Sst, at: u32) -> Result<Option<u64>> {
        self.with(sst, at, |index, _, at| {
            Some(index.least_hash().filter(|_| at == 0))
        })
    }

    /// As [`Sst::may_contain`].
    pub(crate) fn may_contain(&mut self, sst: &Sst, key: &[u8], hash: u64) -> Result<bool> {
        if sst.top.is_none() {
            return Ok(sst.piece_may_contain(hash));
        }
        let Some(partition) = sst.partition_for(key, hash)? else {
            return Ok(false);
        };
        if sst.part(partition, self.access).is_some() {
            return sst.partition_may_contain(partition, hash);
        }
        let filter = match self.filter.take() {
            Some((at, filter)) if at == partition => filter,
            _ => sst.filter_of(partition, self.access, self.fill)?,
        };
        let answer = sst.ask(&filter, hash);
        self.filter = Some((partition, filter));
        answer
    }
}

/// What the top says of a partition, and what is there: for `verify`.
impl Sst {
    /// Checks that a partition's blocks lie where the offset table says, and that the top says of it what its index says.
    pub(super) fn check_partition(&self, partition: u32) -> Result<()> {
        let row = self.row(partition)?;
        let (number, place) = row.index();
        let leaf = Leaf::load(self, partition, Access::Pread, false)?;
        let last = leaf.index.count().saturating_sub(1);
        let separator = leaf.index.separator(self.bytes(&leaf.block), last);
        let above = self.index.separator(self.index_bytes(), partition);
        let child = self.index.child(self.index_bytes(), partition);
        let filter_fits = match row.filter() {
            Some((number, place)) => self.block_place(number)? == place,
            None => true,
        };
        let fits = separator.is_some()
            && separator == above
            && child == Some(partition)
            && filter_fits
            && self.block_place(number)? == place;
        match fits {
            true => Ok(()),
            false => Err(self.block_damaged(number, "the index's top says otherwise of this partition")),
        }
    }

    /// How many blocks of filters and of indexes the partitions have.
    pub(super) fn partition_blocks(&self) -> Result<[u64; 2]> {
        let mut filters = 0;
        for partition in 0..self.partition_count() {
            filters += u64::from(self.row(partition)?.filter_len > 0);
        }
        Ok([filters, self.partition_count().into()])
    }
}
