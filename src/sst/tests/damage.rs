//! Damaged, cut, misplaced and newer files: typed errors or right answers, never a panic or a wrong value.

use super::*;

fn sample(compression: Compression, partition_size: u32) -> (Vec<Entry>, Vec<u8>) {
    let mut random = Random(17);
    let mut entries = Vec::new();
    for i in 0..60u64 {
        let len = [3, 40, 200, 0, 8][i as usize % 5];
        let key = format!("a shared prefix/{:03}", i / 2);
        let value = match i % 7 {
            0 => None,
            3 => object(i / 2, 1 << i),
            _ => Some(value(&mut random, len)),
        };
        entries.push((key.into_bytes(), 100 - i, value));
    }
    entries.push((b"b".to_vec(), 1, Some(value(&mut random, MAX_SMALL_LEN + 10))));
    let (bytes, _) = write(
        &entries,
        &SstOptions {
            compression,
            partition_size,
            ..tiny()
        },
    );
    (entries, bytes)
}

/// In one piece, and in many partitions, with and without compression.
const KINDS: [(Compression, u32); 4] = [
    (Compression::None, 32 << 10),
    (Compression::Lz4, 32 << 10),
    (Compression::None, 64),
    (Compression::Lz4, 200),
];

fn is_typed<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Corruption { .. } | Error::NewerFormat { .. }))
}

/// Reads everything there is; every answer must be right or a typed error. Says whether verify found the damage.
pub(super) fn all_answers_are_right(bytes: &[u8], entries: &[Entry], access: Access) -> bool {
    let sst = match open(bytes, access) {
        Ok(sst) => sst,
        Err(error) => {
            assert!(is_typed(&Err::<(), _>(error)));
            return true;
        }
    };
    match ids(&sst) {
        Ok(found) => assert_eq!(found, ids_of(entries)),
        error => assert!(is_typed(&error)),
    }
    for entry in entries {
        match get(&sst, sst.order().key_of(&entry.0), entry.1) {
            Ok(found) => assert_eq!(found, expected(entries, &entry.0, entry.1)),
            error => assert!(is_typed(&error)),
        }
    }
    match scan(&sst, CursorOptions::default()) {
        Ok(all) => assert!(all == entries),
        error => assert!(is_typed(&error)),
    }
    let verified = sst.verify();
    assert!(verified.is_ok() || is_typed(&verified));
    verified.is_err()
}

#[test]
fn every_flipped_byte_is_noticed_and_never_gives_a_wrong_answer() {
    for (compression, partition_size) in KINDS {
        let (entries, bytes) = sample(compression, partition_size);
        assert!(!all_answers_are_right(&bytes, &entries, Access::Mapped));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= if at % 2 == 0 { 0xff } else { 1 << (at / 2 % 8) };
            let access = BOTH[at / 3 % 2];
            assert!(
                all_answers_are_right(&bad, &entries, access),
                "verify misses byte {at} of {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn a_file_cut_at_any_length_does_not_open() {
    let (_, bytes) = sample(Compression::Lz4, 64);
    for len in 0..bytes.len() {
        for access in BOTH {
            assert!(is_typed(&open(&bytes[..len], access)), "cut to {len}");
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(is_typed(&open(&longer, Access::Mapped)));
}

#[test]
fn a_block_in_the_wrong_place_or_from_the_wrong_file_is_noticed() {
    let entries: Vec<Entry> = [b"a", b"b"]
        .iter()
        .map(|key| (key.to_vec(), 1, Some(vec![key[0]; 5000])))
        .collect();
    let options = SstOptions {
        compression: Compression::None,
        ..SstOptions::default()
    };
    let (bytes, _) = write(&entries, &options);
    let blocks = open(&bytes, Access::Mapped).unwrap().blocks().unwrap();
    let frames: Vec<_> = blocks[1..]
        .iter()
        .map(|b| b.offset as usize..b.offset as usize + 5016)
        .collect();
    // The two medium blocks, whole frames, change places.
    let mut swapped = bytes.clone();
    swapped[frames[0].clone()].copy_from_slice(&bytes[frames[1].clone()]);
    swapped[frames[1].clone()].copy_from_slice(&bytes[frames[0].clone()]);
    // The same block of a file that differs only in its identity.
    let file = Arc::new(MemFile::default());
    let other = SstIdentity {
        identity: [8; 16],
        ..identity()
    };
    let objects = objects_of(&entries);
    let rows = rows(&entries, &objects);
    write_sorted(file.clone(), Path::new(PATH), &options, other, rows).unwrap();
    let mut foreign = bytes.clone();
    foreign[frames[0].clone()].copy_from_slice(&file.contents()[frames[0].clone()]);
    for bad in [swapped, foreign] {
        for access in BOTH {
            let sst = open(&bad, access).unwrap();
            assert!(matches!(get(&sst, b"a", 1), Err(Error::Corruption { .. })));
            assert!(is_typed(&sst.verify()));
        }
    }
}

#[test]
fn a_flipped_byte_in_a_raw_carry_over_is_noticed_on_the_way() {
    for compression in CODECS {
        let entries = [(b"k".to_vec(), 9, Some(value(&mut Random(5), 30_000)))];
        let (mut bytes, _) = write(
            &entries,
            &SstOptions {
                compression,
                ..SstOptions::default()
            },
        );
        let block = open(&bytes, Access::Mapped).unwrap().blocks().unwrap()[1];
        bytes[block.offset as usize + 1000] ^= 4;
        let sst = open(&bytes, Access::Mapped).unwrap();
        let (_, place) = sst.find(b"k", SortOrder::Key.hash(b"k"), 9).unwrap().unwrap();
        assert!(
            matches!(sst.raw_block(place), Err(Error::Corruption { offset, .. }) if offset == block.offset)
        );
        let cursor = sst.cursor(CursorOptions {
            access: Some(Access::Pread),
            fill_cache: false,
            read_ahead: true,
        });
        assert!(is_typed(&cursor.raw_block(place)));
    }
}

#[test]
fn errors_name_file_and_offset() {
    let (_, mut bytes) = sample(Compression::None, 64);
    let block = open(&bytes, Access::Mapped).unwrap().blocks().unwrap()[0];
    bytes[block.offset as usize + 50] ^= 1;
    let error = get(
        &open(&bytes, Access::Mapped).unwrap(),
        b"a shared prefix/000",
        100,
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(PATH) && text.contains(&format!("offset {}", block.offset)),
        "{text}"
    );
}

#[test]
fn a_file_of_a_newer_release_is_named_as_such() {
    let (_, bytes) = sample(Compression::Lz4, 32 << 10);
    let footer_at = bytes.len() - super::super::footer::FOOTER_LEN;
    for (at, value) in [(8, 6), (12, 1)] {
        let mut newer = bytes.clone();
        newer[footer_at + at] = value;
        let crc = crc32fast::hash(&newer[footer_at..bytes.len() - 4]);
        let end = newer.len();
        newer[end - 4..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            open(&newer, Access::Mapped),
            Err(Error::NewerFormat { .. })
        ));
    }
}

/// Makes all checksums of a file right again, as a hostile writer would.
pub(super) fn reseal(bytes: &mut [u8], blocks: &[BlockInfo], sections: &[(&str, u64, u32)]) {
    let identity = identity().identity;
    let crc_of = |parts: &[&[u8]]| crc32fast::hash(&parts.concat()).to_le_bytes();
    for block in blocks {
        let (start, end) = (
            block.offset as usize,
            block.offset as usize + 16 + block.stored_len as usize,
        );
        let number = block.number.to_le_bytes();
        let crc = crc_of(&[
            &identity,
            &number,
            &bytes[start..start + 12],
            &bytes[start + 16..end],
        ]);
        bytes[start + 12..start + 16].copy_from_slice(&crc);
    }
    let footer_at = bytes.len() - 128;
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (count, page) = (blocks.len(), word(bytes, footer_at + 120));
    let table = sections[3].1 as usize;
    let sums_len = match page {
        0 => 0,
        page => count.div_ceil(page) * 4,
    };
    for (number, from) in (0..count).step_by(page.max(1)).enumerate() {
        let at = |place: usize| table + sums_len + place * 8;
        let (from, to) = (at(from), at((from.saturating_add(page)).min(count)));
        let Some(places) = bytes.get(from..to) else { break };
        let crc = crc_of(&[&identity, places]);
        if page > 0 && table + number * 4 + 4 <= footer_at {
            bytes[table + number * 4..][..4].copy_from_slice(&crc);
        }
    }
    for (i, (_, offset, len)) in sections.iter().enumerate() {
        let len = if i == 3 { sums_len as u32 } else { *len };
        let crc = crc_of(&[
            &identity,
            &bytes[*offset as usize..(*offset as usize + len as usize).min(footer_at)],
        ]);
        bytes[footer_at + 48 + i * 16 + 12..][..4].copy_from_slice(&crc);
    }
    let crc = crc_of(&[&bytes[footer_at..footer_at + 124]]);
    bytes[footer_at + 124..].copy_from_slice(&crc);
}

/// Asks a file everything; the answers may be wrong, for its checksums are right.
fn exercise(bytes: &[u8], entries: &[Entry], access: Access) -> bool {
    let Ok(sst) = open(bytes, access) else {
        return false;
    };
    for entry in entries {
        let _ = get(&sst, &entry.0, entry.1);
    }
    let _ = scan(
        &sst,
        CursorOptions {
            access: None,
            fill_cache: false,
            read_ahead: true,
        },
    );
    let mut cursor = sst.cursor(CursorOptions::default());
    let _ = cursor.seek_before(b"a shared prefix/017", 50);
    for _ in 0..200 {
        let _ = cursor.prev();
        let _ = cursor.load(cursor.value());
    }
    let (_, list) = (sst.blocks(), ids(&sst));
    if sst.verify().is_ok() {
        let mut referred = BTreeSet::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            let place = cursor.value().place;
            if cursor.value().kind() == EntryKind::Object {
                referred.insert(sst.object(place).unwrap().id);
            }
            cursor.next().unwrap();
        }
        assert!(
            list.unwrap().into_iter().eq(referred),
            "what is verified is right"
        );
    }
    true
}

#[test]
fn hostile_bytes_with_right_checksums_neither_panic_nor_hang() {
    let mut random = Random(23);
    for (compression, partition_size) in KINDS {
        let (entries, bytes) = sample(compression, partition_size);
        let sst = open(&bytes, Access::Mapped).unwrap();
        let (blocks, sections) = (sst.blocks().unwrap(), sst.sections());
        let mut same = bytes.clone();
        reseal(&mut same, &blocks, &sections);
        assert!(same == bytes, "resealing an intact file changes nothing");
        let mut opened = 0;
        for round in 0..6000 {
            let mut bad = bytes.clone();
            // Half of the mutations go to where structure is dense: frames, key blocks' headers, sections, footer.
            let at = match round % 4 {
                0 => {
                    blocks[random.below(blocks.len() as u64) as usize].offset as usize
                        + random.below(130) as usize
                }
                1 => sections[1].1 as usize + random.below((bytes.len() as u64) - sections[1].1) as usize,
                _ => 40 + random.below(bytes.len() as u64 - 40) as usize,
            };
            let edge = [0, 1, 2, 0x7f, 0x80, 0xff][random.below(6) as usize];
            for byte in &mut bad[at..(at + [1, 2, 4, 8][random.below(4) as usize]).min(bytes.len())] {
                *byte = if round % 3 == 0 {
                    random.below(256) as u8
                } else {
                    edge
                };
            }
            reseal(&mut bad, &blocks, &sections);
            opened += usize::from(exercise(&bad, &entries, BOTH[round % 2]));
        }
        assert!(opened > 3000, "most mutations must get past open: {opened}");
    }
}
