//! The parts of an SST that are decoded at open, each alone: filter, footer, header, offset table, properties.
//!
//! A filter never says "absent" of a key that it was built with, and ends on any bytes. Footer, header, place and properties
//! that are accepted encode to what was accepted.

use packstone::fuzzing;

use crate::support::{Input, mix, put_prefixed, put_varint, repair_end};

/// Keys of a filter at most: enough for several tables and full runs.
const MAX_HASHES: u64 = 3000;

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 8 {
        0 | 1 => built_filter(&mut input),
        2 => drop(fuzzing::filter_answers(input.rest(), &hashes(200, 1, 64))),
        3 => made_up_filter(&mut input),
        4 => footer(&mut input),
        5 => header(&mut input),
        6 => places(&mut input),
        _ => properties(&mut input),
    }
}

/// Hashes that differ only in some bits, so that runs are long.
fn hashes(count: u64, seed: u64, bits: u32) -> Vec<u64> {
    let mask = u64::MAX >> (64 - bits.clamp(1, 64));
    (0..count).map(|n| mix(n ^ seed << 32) & mask).collect()
}

fn built_filter(input: &mut Input<'_>) {
    let count = u64::from(input.u16()) % MAX_HASHES;
    let (seed, bits) = (u64::from(input.u8()), 6 + u32::from(input.u8() % 59));
    let mut keys = hashes(count, seed, bits);
    // A file has each key once; equal hashes are what different keys can have.
    if bits < 20 {
        keys.truncate(300);
    }
    let Some(mut bytes) = fuzzing::filter_build(&keys) else {
        // Too many equal hashes for a table: the file does without.
        assert!(bits < 30, "no filter of {count} hashes of {bits} bits");
        return;
    };
    let answers = fuzzing::filter_answers(&bytes, &keys).expect("a filter that was just built");
    assert!(
        answers.iter().all(|answer| *answer),
        "{count} hashes of {bits} bits, seed {seed}"
    );
    if count > 500 && bits > 40 {
        let others = hashes(1000, seed + 1000, 64);
        let wrong = fuzzing::filter_answers(&bytes, &others).unwrap();
        assert!(wrong.iter().filter(|answer| **answer).count() < 60);
    }
    while !input.is_empty() {
        input.patch(&mut bytes);
    }
    // Whatever the bits say: an answer to each question, and an end.
    let answers = fuzzing::filter_answers(&bytes, &keys);
    assert!(answers.is_none_or(|answers| answers.len() == keys.len()));
}

/// The frame of a filter around tables of any bytes.
fn made_up_filter(input: &mut Input<'_>) {
    let (mut head, mut tables) = (Vec::new(), Vec::new());
    let count = u16::from(input.u8() % 6);
    head.extend_from_slice(&1u16.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    for n in 0..u64::from(count) {
        let how = input.u8();
        let (slot_bits, remainder_bits) = (6 + (how & 3), 1 + (how >> 2 & 15));
        let len = (1usize << (slot_bits - 6)) * (17 + 8 * usize::from(remainder_bits)) + 8;
        let pattern = input.bytes(usize::from(input.0.first().copied().unwrap_or(0) & 31) + 1);
        let mut table: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
        table.resize(len, 0xff);
        let at = usize::from(input.u16());
        for (to, from) in table.iter_mut().skip(at).zip(input.bytes(16)) {
            *to = *from;
        }
        let mut partition = Vec::new();
        put_prefixed(&mut partition, &table);
        put_varint(&mut partition, u64::from(how));
        partition.extend_from_slice(&[slot_bits, remainder_bits, how >> 7]);
        head.extend_from_slice(&(n << 61).to_le_bytes());
        head.extend_from_slice(&(partition.len() as u32).to_le_bytes());
        tables.extend_from_slice(&partition);
    }
    head.extend_from_slice(&tables);
    let mut asked = hashes(300, u64::from(count), 64);
    asked.extend([0, u64::MAX, 1 << 61, (1 << 61) - 1]);
    asked.push(input.u64());
    drop(fuzzing::filter_answers(&head, &asked));
}

fn footer(input: &mut Input<'_>) {
    let how = input.u8();
    let mut bytes = Vec::from(*b"PKSTFTR\0");
    bytes.extend_from_slice(&fuzzing::SST_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    let blocks = u32::from(input.u8());
    bytes.extend_from_slice(&blocks.to_le_bytes());
    bytes.extend_from_slice(&input.u64().to_le_bytes());
    bytes.extend_from_slice(&[how; 16]);
    let mut at = 52 + input.u64() % (1 << 33);
    for len in [
        u32::from(input.u16()),
        u32::from(input.u16()),
        u32::from(input.u8()),
        // Sums of pages of eight blocks, and the places.
        blocks.div_ceil(8) * 4 + blocks * 8,
    ] {
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&[how; 4]);
        at += u64::from(len);
    }
    bytes.extend_from_slice(&(at + 128).to_le_bytes());
    bytes.extend_from_slice(&8u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    repair_end(&mut bytes);
    assert_eq!(fuzzing::footer(&bytes).as_ref(), Some(&bytes), "a good footer");
    patched(input, &mut bytes, how & 1 != 0);
    if let Some(again) = fuzzing::footer(&bytes) {
        assert_eq!(again, bytes);
    }
}

fn header(input: &mut Input<'_>) {
    let how = input.u8();
    let mut bytes = Vec::from(*b"PKSTSST\0");
    bytes.extend_from_slice(&fuzzing::SST_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[how; 16]);
    // Keyspace, order, seed, and room for the checksum.
    bytes.extend_from_slice(&[0; 20]);
    repair_end(&mut bytes);
    assert_eq!(
        fuzzing::sst_header(&bytes).as_ref(),
        Some(&bytes),
        "a good header"
    );
    patched(input, &mut bytes, how & 1 != 0);
    if let Some(again) = fuzzing::sst_header(&bytes) {
        assert_eq!(again, bytes);
    }
}

fn patched(input: &mut Input<'_>, bytes: &mut Vec<u8>, repaired: bool) {
    while !input.is_empty() {
        input.patch(bytes);
    }
    if repaired {
        repair_end(bytes);
    }
}

fn places(input: &mut Input<'_>) {
    while !input.is_empty() {
        let bytes = input.u64().to_le_bytes();
        if let Some(again) = fuzzing::block_place(bytes) {
            assert_eq!(again, bytes);
        }
    }
}

fn properties(input: &mut Input<'_>) {
    let raw = input.u8() & 1 != 0;
    let mut bytes = if raw { Vec::new() } else { good_properties(input) };
    while !raw && !input.is_empty() {
        input.patch(&mut bytes);
    }
    bytes.extend_from_slice(input.rest());
    let Some(found) = fuzzing::properties(&bytes) else {
        return;
    };
    let again = fuzzing::encode_properties(&found);
    assert_eq!(fuzzing::properties(&again), Some(found));
}

fn good_properties(input: &mut Input<'_>) -> Vec<u8> {
    let mut properties = packstone::sst::Properties {
        keyspace: u32::from(input.u8()),
        file_number: input.u64(),
        min_seq: u64::from(input.u16()),
        ..Default::default()
    };
    properties.min_key = input.bytes(8).into();
    properties.max_key = input.bytes(12).into();
    properties.replaces = (0..input.u8() % 9)
        .map(|n| mix(u64::from(n)) >> (n * 7))
        .collect();
    let bytes = fuzzing::encode_properties(&properties);
    assert_eq!(fuzzing::properties(&bytes), Some(properties));
    bytes
}
