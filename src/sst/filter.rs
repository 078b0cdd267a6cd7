//! The filter: says of most absent keys that they are absent, without reading a block.
//!
//! A quotient filter (crate qfilter, 7 remainder bits, a false-positive rate of 0.74 % when full) over the keys' hashes (`SortOrder::hash`).
//! Its table is a power of two, so that it costs 9.6 bits a key when filled to 0.95 and twice that just past a power of
//! two. A file's hashes are therefore cut by value into up to five ranges, each with a table of its own: all but the
//! last are filled exactly (the cuts are quantiles of the hashes themselves, so nothing is left to chance), and the last
//! is the smallest that holds the rest. The range is chosen by the hash's value, in effect its top bits, the
//! fingerprint is its low bits: the two don't overlap.
//!
//! ```text
//! version u16 = 1 | partitions u16 | per partition: first hash u64, length u32 | the partitions, back to back
//! partition: qfilter 0.3's postcard form:
//!   table (varint length, bytes) | keys varint | q u8 | r u8 | 0 u8 (no growth)
//! table: 2^q / 64 blocks of (offset u8 | occupieds u64 | runends u64 | 64 remainders of r bits), 8 bytes of zeros
//! ```
//!
//! The look-up is ours, not qfilter's: qfilter's walks until it finds what a whole table must contain, and hostile bytes
//! can make it walk for ever. Ours stops after [`MAX_STEPS`] and says "maybe", which is always a correct answer. So
//! nothing but sizes needs to be validated at open.
//!
//! A large file has many filters, one for each partition (`partitions`). A partition ends where its keys fill one table.
//!
//! Callers: `builder` builds; `reader` asks.

use qfilter::{Builder, Filter as QuotientFilter};

use crate::coding::{Decoder, array_at, u16_at, u32_at, u64_at};

const VERSION: u16 = 1;
/// The rate that qfilter is asked for; it rounds it to 7 remainder bits.
const FALSE_POSITIVE_RATE: f64 = 0.01;
/// Tables are at least this many slots (qfilter's block)...
const MIN_SLOT_BITS: u32 = 6;
/// ...and at most this many, so that fingerprints (33 bits) stay clear of the bits that choose the partition.
const MAX_SLOT_BITS: u32 = 26;
/// A table of up to this many slots is not split further: 600 bytes are not worth a partition.
const UNSPLIT_SLOT_BITS: u32 = 9;
/// After this many partitions the rest goes into one table. Five waste at most 0.5 / 15.5 of the bits.
const USUAL_PARTITIONS: usize = 5;
/// A table that the rest fills at least this far (in 32nds) is not split further: fewer partitions look up faster.
const GOOD_FILL: u64 = 31;
/// More than any writer makes: 64 full tables hold 4 billion keys, more than a file has room for.
const MAX_PARTITIONS: usize = 128;
/// How many blocks of 64 slots, and how many slots of a run, a look-up walks before it gives up and says "maybe". In a
/// table filled to 0.95 runs average 1.5 slots and are displaced by 10.
const MAX_STEPS: u32 = 512;

/// How many keys a table of 2^`bits` slots holds: qfilter's limit of 0.95.
fn capacity(bits: u32) -> u64 {
    ((1u64 << bits) * 19).div_ceil(20)
}

/// How many keys a partition holds whose filter is one full table of as many slots as `partition_size` says, rounded down
/// to a power of two.
pub(crate) fn partition_keys(partition_size: u32) -> usize {
    let bits = partition_size.max(1).ilog2();
    capacity(bits.clamp(MIN_SLOT_BITS, MAX_SLOT_BITS)) as usize
}

/// The slot bits of the tables for `keys` hashes, and how many go into each.
fn plan(mut keys: u64) -> Vec<(u32, u64)> {
    let mut tables = Vec::new();
    while keys > 0 {
        let holding = (MIN_SLOT_BITS..=MAX_SLOT_BITS).find(|&bits| capacity(bits) >= keys);
        match holding {
            Some(bits)
                if bits <= UNSPLIT_SLOT_BITS
                    || tables.len() + 1 >= USUAL_PARTITIONS
                    || keys * 32 >= capacity(bits) * GOOD_FILL =>
            {
                tables.push((bits, keys));
                break;
            }
            Some(bits) => tables.push((bits - 1, capacity(bits - 1))),
            None => tables.push((MAX_SLOT_BITS, capacity(MAX_SLOT_BITS))),
        }
        keys -= tables.last().map_or(keys, |table| table.1);
    }
    tables
}

/// The filter's bytes for the hashes of a file's distinct keys (about 10 bits each). Reorders `hashes`.
/// `None` when qfilter refuses, which it has no reason to; a file without a filter is slower, not wrong.
pub(crate) fn build(hashes: &mut [u64]) -> Option<Vec<u8>> {
    let tables = plan(hashes.len() as u64);
    let mut partitions: Vec<(u64, Vec<u8>)> = Vec::with_capacity(tables.len());
    let (mut rest, mut first) = (hashes, 0u64);
    let last = tables.len().saturating_sub(1);
    for (number, (bits, keys)) in tables.into_iter().enumerate() {
        // The last table takes all the rest: more than planned, where equal hashes went up at an earlier cut.
        let keys = if number == last {
            rest.len()
        } else {
            usize::try_from(keys).ok()?
        };
        let (here, next, next_first) = cut(rest, keys);
        if here.is_empty() {
            // The smallest of the rest are all equal: they stay together.
            rest = next;
            continue;
        }
        partitions.push((first, table(here, bits)?));
        (rest, first) = (next, next_first);
    }
    let mut out = Vec::new();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&u16::try_from(partitions.len()).ok()?.to_le_bytes());
    for (first, bytes) in &partitions {
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
    }
    for (_, bytes) in &partitions {
        out.extend_from_slice(bytes);
    }
    Some(out)
}

/// Splits off the `keys` smallest hashes (fewer, where equal hashes straddle the cut). Returns them, the others, and the
/// smallest of the others.
fn cut(hashes: &mut [u64], keys: usize) -> (&mut [u64], &mut [u64], u64) {
    if keys >= hashes.len() {
        return (hashes, &mut [], 0);
    }
    let (_, &mut boundary, _) = hashes.select_nth_unstable(keys);
    // Equal hashes must not lie on both sides: all of them go up.
    let mut below = 0;
    for i in 0..keys {
        if hashes.get(i).is_some_and(|&hash| hash < boundary) {
            hashes.swap(below, i);
            below += 1;
        }
    }
    let (here, next) = hashes.split_at_mut(below);
    (here, next, boundary)
}

fn table(hashes: &mut [u64], bits: u32) -> Option<Vec<u8>> {
    // Equal hashes that went up at a cut can overfill the next table by as many; a larger one holds them.
    let keys = (hashes.len() as u64).max(capacity(bits));
    let mut builder = Builder::new(QuotientFilter::<Box<[u8]>>::new(keys, FALSE_POSITIVE_RATE).ok()?);
    let size = builder.fingerprint_size();
    for hash in hashes.iter_mut() {
        *hash = qfilter::truncate_to_fingerprint(*hash, size);
    }
    hashes.sort_unstable();
    for &fingerprint in hashes.iter() {
        builder.insert_fingerprint(false, fingerprint).ok()?;
    }
    postcard::to_allocvec(&builder.into_filter()).ok()
}

/// One table, as positions within the filter section.
#[derive(Clone, Copy, Debug)]
struct Partition {
    /// The smallest hash that belongs here.
    first: u64,
    table_at: usize,
    table_len: usize,
    slot_mask: u64,
    remainder_bits: u32,
}

/// A parsed filter: positions only, the bytes are passed to every call.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    partitions: Vec<Partition>,
}

impl Filter {
    /// Checks sizes and notes positions. `None` when the bytes are not a filter of this version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Filter> {
        let mut decoder = Decoder::new(bytes);
        let (version, count) = (decoder.u16()?, usize::from(decoder.u16()?));
        if version != VERSION || count > MAX_PARTITIONS {
            return None;
        }
        let mut directory = Vec::with_capacity(count);
        for _ in 0..count {
            directory.push((decoder.u64()?, decoder.u32()? as usize));
        }
        let mut partitions: Vec<Partition> = Vec::with_capacity(count);
        for (first, len) in directory {
            let start = bytes.len() - decoder.remaining();
            let partition = Partition::parse(first, start, decoder.bytes(len)?)?;
            let ascends = partitions
                .last()
                .map_or(first == 0, |before| before.first < first);
            if !ascends {
                return None;
            }
            partitions.push(partition);
        }
        decoder.is_empty().then_some(Filter { partitions })
    }

    /// Each table's slots (a power of two) and remainder bits, for descriptions.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.partitions
            .iter()
            .map(|partition| (partition.slot_mask + 1, partition.remainder_bits))
    }

    /// False: no key of this hash is in the file. True: one probably is.
    #[inline]
    pub(crate) fn may_contain(&self, bytes: &[u8], hash: u64) -> bool {
        let partition = self
            .partitions
            .iter()
            .rev()
            .find(|partition| partition.first <= hash);
        partition.is_some_and(|partition| {
            let end = partition.table_at + partition.table_len;
            let table = bytes.get(partition.table_at..end).unwrap_or_default();
            partition.may_contain(table, hash).unwrap_or(true)
        })
    }
}

/// As [`Filter::may_contain`], of a filter that has not been parsed, without an allocation. `None` when the bytes are not a
/// filter of this version.
#[inline]
pub(crate) fn ask(bytes: &[u8], hash: u64) -> Option<bool> {
    const ENTRY: usize = 12;
    let (version, count) = (u16_at(bytes, 0)?, usize::from(u16_at(bytes, 2)?));
    if version != VERSION || count > MAX_PARTITIONS {
        return None;
    }
    let (mut start, mut chosen) = (4 + count * ENTRY, None);
    for at in (0..count).map(|i| 4 + i * ENTRY) {
        let (first, len) = (u64_at(bytes, at)?, u32_at(bytes, at + 8)? as usize);
        if first > hash {
            break;
        }
        // At most 128 lengths of u32: no overflow in 64 bits.
        (chosen, start) = (Some((first, start, len)), start + len);
    }
    let Some((first, start, len)) = chosen else {
        return Some(false);
    };
    let partition = Partition::parse(first, start, bytes.get(start..start + len)?)?;
    let table = bytes.get(partition.table_at..partition.table_at + partition.table_len)?;
    Some(partition.may_contain(table, hash).unwrap_or(true))
}

impl Partition {
    fn parse(first: u64, start: usize, bytes: &[u8]) -> Option<Partition> {
        let mut decoder = Decoder::new(bytes);
        let table = decoder.length_prefixed()?;
        let table_at = start + (bytes.len() - decoder.remaining() - table.len());
        let (keys, slot_bits, remainder_bits, growth) = (
            decoder.varint()?,
            u32::from(decoder.u8()?),
            u32::from(decoder.u8()?),
            decoder.u8()?,
        );
        let sizes_fit = (MIN_SLOT_BITS..=32).contains(&slot_bits) && (1..=16).contains(&remainder_bits);
        if !sizes_fit || growth != 0 || !decoder.is_empty() || keys > 1 << slot_bits {
            return None;
        }
        let blocks = 1u64 << (slot_bits - 6);
        let expected = blocks * (17 + 8 * u64::from(remainder_bits)) + 8;
        (table.len() as u64 == expected).then_some(Partition {
            first,
            table_at,
            table_len: table.len(),
            slot_mask: (1 << slot_bits) - 1,
            remainder_bits,
        })
    }

    /// `None`: can't tell within bounds.
    #[inline]
    fn may_contain(&self, table: &[u8], hash: u64) -> Option<bool> {
        let bucket = (hash >> self.remainder_bits) & self.slot_mask;
        let remainder = hash & ((1 << self.remainder_bits) - 1);
        let block_len = 17 + 8 * self.remainder_bits as usize;
        let front = (bucket / 64) as usize * block_len;
        let occupieds = u64_at(table, front + 1)?;
        let bit = bucket % 64;
        if occupieds >> bit & 1 == 0 {
            return Some(false);
        }
        let mut slot = self.run_start(table, block_len, bucket, occupieds)?;
        for _ in 0..MAX_STEPS {
            slot &= self.slot_mask;
            let at = (slot / 64) as usize * block_len;
            let start_bit = (slot % 64) as usize * self.remainder_bits as usize;
            let word = u64::from_le_bytes(array_at(table, at + 17 + start_bit / 8)?);
            if (word >> (start_bit % 8)) & ((1 << self.remainder_bits) - 1) == remainder {
                return Some(true);
            }
            if u64_at(table, at + 9)? >> (slot % 64) & 1 == 1 {
                return Some(false);
            }
            slot += 1;
        }
        None
    }

    /// The slot where the run of `bucket` begins.
    #[inline]
    fn run_start(&self, table: &[u8], block_len: usize, bucket: u64, occupieds: u64) -> Option<u64> {
        let block = bucket / 64;
        // Slots at the block's start that runs of earlier blocks reach into; 255 stands for "255 or more".
        let offset = u64::from(*table.get(block as usize * block_len)?);
        if offset == 255 {
            return None;
        }
        let earlier = (occupieds & ((1u64 << (bucket % 64)) - 1)).count_ones();
        if earlier == 0 {
            return Some(bucket.max(block * 64 + offset));
        }
        // The end of the last earlier run of this block is the end of the `earlier`-th run from `offset` on.
        let mut wanted = earlier - 1;
        let mut at = block * 64 + offset;
        for _ in 0..MAX_STEPS {
            let in_table = (at & self.slot_mask) / 64;
            let runends = u64_at(table, in_table as usize * block_len + 9)? & (u64::MAX << (at % 64));
            let ends = runends.count_ones();
            if wanted < ends {
                let end = at / 64 * 64 + u64::from(select(runends, wanted));
                return Some((end + 1).max(bucket));
            }
            wanted -= ends;
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

/// The position of set bit number `n` (from 0) of `word`. REQUIRES `n < word.count_ones()`.
#[inline]
fn select(word: u64, n: u32) -> u32 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // Byte i of `sums`: the bits set in bytes 0 to i.
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let sums = ((nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(ONES);
    // The bytes whose sum is at most n lie wholly before the bit.
    let at_most = ((u64::from(n).wrapping_mul(ONES) | TOPS).wrapping_sub(sums)) & TOPS;
    let byte = ((at_most >> 7).wrapping_mul(ONES) >> 56) as u32;
    let before = (sums << 8).wrapping_shr(8 * byte) as u32 & 0xff;
    let mut bits = word.wrapping_shr(8 * byte);
    for _ in before..n {
        bits &= bits.wrapping_sub(1);
    }
    8 * byte + bits.trailing_zeros()
}

#[cfg(test)]
mod tests;
