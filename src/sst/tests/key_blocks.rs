//! Key blocks: what is put in comes out; bytes that no writer writes are refused.

use super::*;
use crate::sst::key_block::{BlockUse, DESCRIPTORS_AT, EntryError, HEADER_LEN, KIND_OBJECT, KeyBlock};
use crate::sst::key_block_builder::KeyBlockBuilder;

fn block(entries: &[(&[u8], SeqNo, ValuePlace)]) -> Vec<u8> {
    let mut builder = KeyBlockBuilder::default();
    for (key, seq, place) in entries {
        builder.push(key, *seq, place, &[]);
    }
    let mut out = Vec::new();
    builder.encode(BlockUse::Keys, &mut out);
    out
}

fn inline(value: &[u8]) -> ValuePlace {
    let mut bytes = [0; 8];
    bytes[..value.len()].copy_from_slice(value);
    ValuePlace::Inline {
        len: value.len() as u8,
        bytes,
    }
}

#[test]
fn entries_of_every_kind_come_back() {
    let entries: Vec<(&[u8], SeqNo, ValuePlace)> = vec![
        (b"user/", 9, ValuePlace::Tombstone),
        (b"user/a", 900_000, inline(b"12345678")),
        (b"user/a", 3, inline(b"")),
        (
            b"user/bb",
            0,
            ValuePlace::Small {
                block: 77_000,
                offset: 8191,
                len: 4096,
            },
        ),
        (
            b"user/c",
            1,
            ValuePlace::Medium {
                block: 3,
                len: 1 << 26,
            },
        ),
    ];
    let bytes = block(&entries);
    let parsed = KeyBlock::parse(&bytes, BlockUse::Keys).unwrap();
    assert_eq!(parsed.prefix(&bytes), Some(&b"user/"[..]));
    for (i, (key, seq, place)) in entries.iter().enumerate() {
        assert_eq!(parsed.suffix(&bytes, i as u32), Some(&key[5..]));
        assert_eq!(parsed.entry(&bytes, i as u32, 0), Ok((*seq, *place)));
        assert_eq!(
            parsed.lower_bound(&bytes, key, *seq, SortOrder::Key),
            Some(i as u32)
        );
    }
    assert_eq!(
        parsed.lower_bound(&bytes, b"user/a", 5, SortOrder::Key),
        Some(2),
        "the version that the snapshot sees"
    );
    assert_eq!(parsed.lower_bound(&bytes, b"use", 5, SortOrder::Key), Some(0));
    assert_eq!(parsed.lower_bound(&bytes, b"usf", 5, SortOrder::Key), Some(5));
    assert_eq!(parsed.lower_bound(&bytes, b"user0", 5, SortOrder::Key), Some(5));
}

#[test]
fn places_of_small_values_cost_a_few_bytes_an_entry() {
    let mut builder = KeyBlockBuilder::default();
    for i in 0..400u32 {
        let place = ValuePlace::Small {
            block: 9_000_000 + i / 80,
            offset: i % 80 * 100,
            len: 100,
        };
        builder.push(format!("{i:016}").as_bytes(), 1 << 40, &place, &[]);
    }
    let mut out = Vec::new();
    builder.encode(BlockUse::Keys, &mut out);
    // Three digits of suffix, one byte of block number, two of offset; number, kind and length are constants.
    assert_eq!(out.len(), HEADER_LEN + 13 + 400 * (3 + 1 + 2));
}

#[test]
fn reserved_kinds_are_refused_as_newer() {
    let mut bytes = block(&[(b"k", 1, ValuePlace::Tombstone)]);
    for kind in [5, 6] {
        bytes[DESCRIPTORS_AT] = kind;
        let parsed = KeyBlock::parse(&bytes, BlockUse::Keys).unwrap();
        assert_eq!(parsed.entry(&bytes, 0, 0), Err(EntryError::Newer(kind)));
    }
    // A reference has 24 bytes.
    bytes[DESCRIPTORS_AT] = KIND_OBJECT;
    let parsed = KeyBlock::parse(&bytes, BlockUse::Keys).unwrap();
    assert_eq!(parsed.entry(&bytes, 0, 0), Err(EntryError::Damaged));
    bytes[DESCRIPTORS_AT] = 0x19;
    assert_eq!(
        KeyBlock::parse(&bytes, BlockUse::Keys)
            .unwrap()
            .entry(&bytes, 0, 0),
        Err(EntryError::Damaged)
    );
}

#[test]
fn flipped_bytes_never_panic() {
    let bytes = block(&[
        (b"a", 9, ValuePlace::Tombstone),
        (b"abc", 5, inline(b"1234")),
        (
            b"abd",
            1000,
            ValuePlace::Small {
                block: 1,
                offset: 2,
                len: 3,
            },
        ),
    ]);
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 4, 0x7f, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let Some(parsed) = KeyBlock::parse(&bad, BlockUse::Keys) else {
                continue;
            };
            for i in 0..parsed.count().min(5) {
                let _ = (
                    parsed.suffix(&bad, i),
                    parsed.entry(&bad, i, 0),
                    parsed.key_equals(&bad, i, b"abc"),
                );
            }
            let _ = parsed.lower_bound(&bad, b"abc", 3, SortOrder::Key);
        }
    }
    for len in 0..bytes.len() {
        if let Some(parsed) = KeyBlock::parse(&bytes[..len], BlockUse::Keys) {
            assert!(
                (0..3).any(|i| parsed.entry(&bytes[..len], i, 0).is_err()),
                "cut to {len}"
            );
        }
    }
}

#[test]
fn a_block_cannot_claim_more_entries_than_it_has_bytes() {
    // One key, all columns constant: the count stands for nothing but itself. A scan would see it four billion times.
    let mut bytes = block(&[(b"k", 1, ValuePlace::Tombstone)]);
    assert!(KeyBlock::parse(&bytes, BlockUse::Keys).is_some());
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(KeyBlock::parse(&bytes, BlockUse::Keys).is_none());
}
