//! The properties section: what tools, repair and the compaction's bookkeeping want to know of a file.
//!
//! ```text
//! version varint = 1 | fields in ascending order of tag: tag varint, length varint, bytes
//! ```
//!
//! A number is a varint; a list is varints back to back; a key is its bytes. Unknown tags are skipped, so that a later
//! release can add some; every tag listed here must be there, but for those of [`SstOrigin`], which is what repair goes by
//! when the manifest is lost.
//!
//! Callers: `builder` writes; `reader` reads.

use super::order::SortOrder;
use crate::KeyspaceId;
use crate::Slice;
use crate::coding::{Decoder, put_length_prefixed, put_varint};
use crate::types::SeqNo;

const VERSION: u64 = 1;

/// Blocks of one kind, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTotals {
    /// How many.
    pub count: u64,
    /// Their bytes as stored, frames not counted.
    pub stored_bytes: u64,
    /// Their bytes after decompression.
    pub uncompressed_bytes: u64,
}

/// Where a file comes from: nothing that a reader needs, and all that is left when the manifest is lost.
///
/// The outputs of one flush or compaction are a *run*. It is whole if its last file is there and names only files that are
/// there or are named as replaced by others: only files of a run whose edit was durable are ever replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SstOrigin {
    /// The keyspace's name; empty if it is not known.
    pub keyspace_name: String,
    /// The keyspace's options as the manifest stores them.
    pub keyspace_options: Vec<u8>,
    /// All writes to the keyspace up to this number are in SSTs once this file's run is whole; for a compaction always.
    pub flushed: SeqNo,
    /// The numbers of the files of its run that were written before it.
    pub run: Vec<u64>,
    /// Whether it is the last of its run.
    pub last: bool,
    /// The numbers of files that no version contained any more when this one was begun, and that had not been deleted.
    pub dead: Vec<u64>,
}

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The keyspace that the file was written for.
    pub keyspace: KeyspaceId,
    /// The number that the file was given when it was written.
    pub file_number: u64,
    /// The first key.
    pub min_key: Slice,
    /// The last key.
    pub max_key: Slice,
    /// The smallest sequence number.
    pub min_seq: SeqNo,
    /// The largest sequence number.
    pub max_seq: SeqNo,
    /// Entries of all kinds.
    pub entry_count: u64,
    /// Different keys.
    pub key_count: u64,
    /// Values beside their keys: of at most 8 bytes, and in hash order without compression of at most 4096.
    pub inline_count: u64,
    /// Values in shared value blocks.
    pub small_count: u64,
    /// Longer values.
    pub medium_count: u64,
    /// Tombstones.
    pub tombstone_count: u64,
    /// Bytes of all keys, once per entry.
    pub raw_key_bytes: u64,
    /// Values that are objects in packs: references.
    pub object_count: u64,
    /// Different objects among them: the ids in the list of references.
    pub references: u64,
    /// The lengths of the objects, once per entry; 2^64 - 1 stands for all sums that are larger.
    pub referenced_bytes: u64,
    /// Blocks of the list of references.
    pub reference_blocks: BlockTotals,
    /// The number of the first of them; the others follow. 0 if there is none.
    pub first_reference_block: u64,
    /// Bytes of all values, uncompressed; of an object the 24 of its reference.
    pub raw_value_bytes: u64,
    /// Key blocks.
    pub key_blocks: BlockTotals,
    /// Shared value blocks.
    pub value_blocks: BlockTotals,
    /// Medium value blocks.
    pub medium_blocks: BlockTotals,
    /// Partitions of the filter; none in a file that has it in one piece.
    pub filter_blocks: BlockTotals,
    /// Partitions of the index.
    pub index_blocks: BlockTotals,
    /// Whether the writer compressed blocks: 0 no, 1 LZ4.
    pub compression: u64,
    /// The numbers of the files whose contents this one took over.
    pub replaces: Vec<u64>,
    /// What its entries are sorted by. `min_key` and `max_key` are sort keys.
    pub order: SortOrder,
    /// Where it comes from.
    pub origin: SstOrigin,
}

fn put_list(numbers: &[u64], out: &mut Vec<u8>) {
    numbers.iter().for_each(|&number| put_varint(out, number));
}

fn take_list(value: &mut Decoder<'_>) -> Option<Vec<u64>> {
    let mut list = Vec::new();
    while !value.is_empty() {
        list.push(value.varint()?);
    }
    Some(list)
}

impl Properties {
    fn numbers(&self) -> [u64; 35] {
        let [key, value, medium] = [&self.key_blocks, &self.value_blocks, &self.medium_blocks];
        let [filter, index, list] = [&self.filter_blocks, &self.index_blocks, &self.reference_blocks];
        [
            u64::from(self.keyspace),
            self.file_number,
            self.min_seq,
            self.max_seq,
            self.entry_count,
            self.key_count,
            self.inline_count,
            self.small_count,
            self.medium_count,
            self.tombstone_count,
            self.raw_key_bytes,
            self.raw_value_bytes,
            key.count,
            key.stored_bytes,
            key.uncompressed_bytes,
            value.count,
            value.stored_bytes,
            value.uncompressed_bytes,
            medium.count,
            medium.stored_bytes,
            medium.uncompressed_bytes,
            self.compression,
            filter.count,
            filter.stored_bytes,
            filter.uncompressed_bytes,
            index.count,
            index.stored_bytes,
            index.uncompressed_bytes,
            self.object_count,
            self.references,
            self.referenced_bytes,
            list.count,
            list.stored_bytes,
            list.uncompressed_bytes,
            self.first_reference_block,
        ]
    }

    /// Tags: 1 min key, 2 max key, 3 replaces; 4 keyspace name, 5 keyspace options, 6 flushed and then 1 for the last of a run,
    /// 7 run, 8 dead; 9 the seed of hash order, u64; the numbers from 16 on, in the order of `numbers`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, VERSION);
        let mut field = |tag: u64, bytes: &[u8]| {
            put_varint(&mut out, tag);
            put_length_prefixed(&mut out, bytes);
        };
        field(1, &self.min_key);
        field(2, &self.max_key);
        let list = |numbers: &[u64]| {
            let mut list = Vec::new();
            put_list(numbers, &mut list);
            list
        };
        field(3, &list(&self.replaces));
        if self.origin != SstOrigin::default() {
            let origin = &self.origin;
            field(4, origin.keyspace_name.as_bytes());
            field(5, &origin.keyspace_options);
            field(6, &list(&[origin.flushed, u64::from(origin.last)]));
            field(7, &list(&origin.run));
            field(8, &list(&origin.dead));
        }
        if let SortOrder::Hash { seed } = self.order {
            field(9, &seed.to_le_bytes());
        }
        for (i, &number) in self.numbers().iter().enumerate() {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            field(16 + i as u64, &bytes);
        }
        out
    }

    /// `None` when the bytes are not properties, or a field is missing.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Properties> {
        let mut decoder = Decoder::new(bytes);
        if decoder.varint()? != VERSION {
            return None;
        }
        let (mut keys, mut replaces, mut numbers) = ([None, None], None, [None; 35]);
        let (mut origin, mut last_tag) = (SstOrigin::default(), 0);
        let mut order = SortOrder::Key;
        while !decoder.is_empty() {
            let (tag, mut value) = (decoder.varint()?, Decoder::new(decoder.length_prefixed()?));
            if tag <= last_tag {
                return None;
            }
            last_tag = tag;
            match tag {
                1 => keys[0] = value.bytes(value.remaining()),
                2 => keys[1] = value.bytes(value.remaining()),
                3 => replaces = Some(take_list(&mut value)?),
                4 => {
                    origin.keyspace_name = String::from_utf8(value.bytes(value.remaining())?.to_vec()).ok()?
                }
                5 => origin.keyspace_options = value.bytes(value.remaining())?.to_vec(),
                6 => (origin.flushed, origin.last) = (value.varint()?, value.varint()? == 1),
                7 => origin.run = take_list(&mut value)?,
                8 => origin.dead = take_list(&mut value)?,
                9 => order = SortOrder::Hash { seed: value.u64()? },
                16.. => {
                    let place = usize::try_from(tag - 16).ok().and_then(|i| numbers.get_mut(i));
                    if let Some(place) = place {
                        *place = Some(value.varint()?);
                    }
                }
                _ => {}
            }
        }
        let mut numbers = numbers.into_iter();
        let mut number = || numbers.next().flatten();
        Some(Properties {
            keyspace: KeyspaceId::try_from(number()?).ok()?,
            file_number: number()?,
            min_seq: number()?,
            max_seq: number()?,
            entry_count: number()?,
            key_count: number()?,
            inline_count: number()?,
            small_count: number()?,
            medium_count: number()?,
            tombstone_count: number()?,
            raw_key_bytes: number()?,
            raw_value_bytes: number()?,
            key_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            value_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            medium_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            compression: number()?,
            filter_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            index_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            object_count: number()?,
            references: number()?,
            referenced_bytes: number()?,
            reference_blocks: BlockTotals {
                count: number()?,
                stored_bytes: number()?,
                uncompressed_bytes: number()?,
            },
            first_reference_block: number()?,
            min_key: Slice::from(keys[0]?),
            max_key: Slice::from(keys[1]?),
            replaces: replaces?,
            order,
            origin,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_round_trip_and_skip_what_later_releases_add() {
        let properties = Properties {
            keyspace: 7,
            file_number: 1 << 40,
            max_key: Slice::from(&[255; 40][..]),
            medium_blocks: BlockTotals {
                count: 1,
                stored_bytes: 2,
                uncompressed_bytes: 3,
            },
            object_count: u64::MAX,
            references: 1 << 33,
            referenced_bytes: u64::MAX,
            reference_blocks: BlockTotals {
                count: 4,
                stored_bytes: 5,
                uncompressed_bytes: 6,
            },
            first_reference_block: 77,
            replaces: vec![5, 900],
            order: SortOrder::Hash { seed: 1 << 63 },
            origin: SstOrigin {
                keyspace_name: "users".into(),
                keyspace_options: vec![1, 2],
                flushed: 1 << 50,
                run: vec![7, 9],
                last: true,
                dead: vec![3],
            },
            ..Properties::default()
        };
        let mut bytes = properties.encode();
        assert_eq!(Properties::decode(&bytes), Some(properties.clone()));
        put_varint(&mut bytes, 1000);
        put_length_prefixed(&mut bytes, b"new");
        assert_eq!(Properties::decode(&bytes), Some(properties));
        for len in 0..bytes.len() - 6 {
            assert_eq!(Properties::decode(&bytes[..len]), None, "cut to {len}");
        }
    }
}
