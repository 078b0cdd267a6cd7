//! References to objects: in key blocks of all kinds.

use super::*;

const ORDERS: [SortOrder; 3] = [SortOrder::Key, SortOrder::Hash { seed: 7 }, WEAK];

/// Entries of all classes, versions of a key, every third an object.
fn mixed(count: u64, order: SortOrder) -> Vec<Entry> {
    let mut random = Random(count + 11);
    let lens = [0, 3, 8, 9, ObjectRef::LEN, 300, MAX_SMALL_LEN + 1];
    let mut entries: Vec<Entry> = Vec::new();
    for i in 0..count {
        let key = format!("key {:07}", i / 2);
        let value = match i % 9 {
            0 | 4 | 7 => object(random.below(count), random.below(1 << 40)),
            1 => None,
            _ => {
                let len = lens[random.below(if count > 1000 { 5 } else { 7 }) as usize];
                Some(value(&mut random, len))
            }
        };
        entries.push((key.into_bytes(), 2 - i % 2, value));
    }
    sorted(entries, order)
}

fn options(order: SortOrder, compression: Compression) -> SstOptions {
    SstOptions {
        order,
        compression,
        ..SstOptions::default()
    }
}

#[test]
fn references_come_back_in_every_order_beside_all_other_classes() {
    for (order, compression) in ORDERS
        .iter()
        .flat_map(|order| CODECS.map(|codec| (*order, codec)))
    {
        for size in [200, 16 << 10] {
            let entries = mixed(500, order);
            let options = SstOptions {
                key_block_size: size,
                ..options(order, compression)
            };
            let (bytes, _) = write(&entries, &options);
            for access in BOTH {
                let sst = open(&bytes, access).unwrap();
                assert!(scan(&sst, CursorOptions::default()).unwrap() == entries);
                let mut cursor = sst.cursor(CursorOptions::default());
                cursor.seek_to_first().unwrap();
                for object in objects_of(&entries) {
                    assert_eq!(cursor.value().kind() == EntryKind::Object, object.is_some());
                    cursor.next().unwrap();
                }
                for (key, seq, _) in &entries {
                    let user_key = order.key_of(key);
                    let wanted = expected(&entries, key, *seq);
                    assert_eq!(get(&sst, user_key, *seq).unwrap(), wanted);
                    let (_, place) = sst.find(user_key, order.hash(user_key), *seq).unwrap().unwrap();
                    let Some(Found::Object(_, object)) = wanted else {
                        assert!(sst.object(place).is_err());
                        continue;
                    };
                    assert_eq!(sst.object(place).unwrap(), object);
                    assert_eq!(sst.load(place).unwrap(), &object.to_bytes()[..]);
                }
                assert_eq!(sst.verify().unwrap().entries, 500);
                let objects = objects_of(&entries).into_iter().flatten().count();
                assert_eq!(sst.properties().object_count, objects as u64);
            }
        }
    }
}

#[test]
fn a_look_up_of_an_object_reads_its_key_block_and_nothing_else() {
    for order in ORDERS {
        let entries = mixed(3000, order);
        let (bytes, _) = write(&entries, &options(order, Compression::Lz4));
        let file = MemFile::of(bytes);
        let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
        let objects = objects_of(&entries);
        let found = entries
            .iter()
            .zip(&objects)
            .filter(|(_, object)| object.is_some());
        for ((key, seq, _), _) in found.step_by(17) {
            let before = file.reads();
            assert!(matches!(
                get(&sst, order.key_of(key), *seq).unwrap(),
                Some(Found::Object(..))
            ));
            let limit = if order == WEAK { 20 } else { 1 };
            assert!(file.reads() - before <= limit);
        }
    }
}

#[test]
fn references_count_when_key_blocks_are_cut() {
    for order in ORDERS {
        let entries: Vec<Entry> = (0..1000u32)
            .map(|i| (i.to_be_bytes().to_vec(), 1, object(i.into(), 5)))
            .collect();
        let entries = sorted(entries, order);
        let (bytes, _) = write(&entries, &options(order, Compression::None));
        let sst = open(&bytes, Access::Pread).unwrap();
        let in_a_block = (16 << 10) / (4 + 20 + ObjectRef::LEN as u64);
        assert_eq!(sst.properties().key_blocks.count, 1000u64.div_ceil(in_a_block));
    }
}

/// The bytes of the only key block of a file.
fn key_block(entries: &[Entry], order: SortOrder) -> Vec<u8> {
    let (bytes, _) = write(entries, &options(order, Compression::None));
    let sst = open(&bytes, Access::Pread).unwrap();
    SstBlock::read(&sst, 0).unwrap().bytes.to_vec()
}

#[test]
fn the_bytes_of_references_are_those_drawn() {
    let mut tail = b"object: \0\0\0\0\0\0\0\x09".to_vec();
    tail.extend_from_slice(&[0x08, 0x07, 0, 0, 0, 0, 0, 0]);
    // In key order in the inline area, in the order of the keys.
    let entries = vec![
        (b"a".to_vec(), 3, Some(b"in".to_vec())),
        (b"b".to_vec(), 3, object(9, 0x0708)),
        (b"c".to_vec(), 3, Some(b"line".to_vec())),
    ];
    let block = key_block(&entries, SortOrder::Key);
    // Two columns have bodies: kinds less 4, and offsets.
    let inline_at = crate::coding::u32_at(&block, 16).unwrap() as usize;
    assert_eq!(&block[inline_at..], [b"in", &tail[..], b"line"].concat());
    assert_eq!(&block[inline_at - 6..inline_at], [14, 0, 16, 0, 2, 26]);
    // In hash order behind its key; no inline area.
    let entries = sorted(vec![(b"key".to_vec(), 3, object(9, 0x0708))], WEAK);
    let block = key_block(&entries, WEAK);
    assert_eq!(crate::coding::u32_at(&block, 16), Some(block.len() as u32));
    assert_eq!(&block[block.len() - tail.len()..], &tail[..]);
}

/// So many entries that refer to different objects, in an order without a pattern, and a few that refer to the same ones.
fn many(count: u64, order: SortOrder) -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..count)
        .map(|i| {
            let n = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
            (format!("key {i:06}").into_bytes(), 1, object(n, i))
        })
        .collect();
    let again: Vec<Entry> = entries
        .iter()
        .step_by(5)
        .map(|(key, _, value)| ([&key[..], b" again"].concat(), 1, value.clone()))
        .collect();
    entries.extend(again);
    entries.push((b"none".to_vec(), 1, None));
    entries.push((b"value".to_vec(), 1, Some(vec![7; ObjectRef::LEN])));
    entries.sort();
    sorted(entries, order)
}

#[test]
fn the_list_of_references_has_every_id_once_in_blocks_of_2048() {
    for (order, count) in ORDERS
        .iter()
        .flat_map(|order| [0, 1, 2, 2047, 2048, 2049, 6000].map(|count| (*order, count)))
    {
        let entries = many(count, order);
        for partition_size in [64, 32 << 10] {
            let options = SstOptions {
                partition_size,
                ..options(order, CODECS[(count % 2) as usize])
            };
            let (bytes, summary) = write(&entries, &options);
            let sums: u64 = objects_of(&entries)
                .into_iter()
                .flatten()
                .map(|object| object.len)
                .sum();
            assert_eq!((summary.references, summary.referenced_bytes), (count, sums));
            for access in BOTH {
                let file = MemFile::of(bytes.clone());
                let sst = open_with(file.clone(), access, 0).unwrap();
                assert_eq!(*sst.summary(), summary);
                let p = sst.properties();
                assert_eq!(
                    (p.references, p.reference_blocks.count),
                    (count, count.div_ceil(2048))
                );
                assert_eq!(p.reference_blocks.stored_bytes, count * 16);
                assert_eq!(sst.verify().unwrap().references, count);
                let wanted = ids_of(&entries);
                assert_eq!(wanted.len() as u64, count);
                for (asked, reads) in [(None, 0), (Some(Access::Pread), count.div_ceil(2048))] {
                    let before = file.reads();
                    let found: Result<Vec<_>> = sst.references(asked).collect();
                    assert!(found.unwrap() == wanted);
                    // Nothing but the blocks; small files have their offset table at hand.
                    if partition_size > 64 && (asked.is_some() || access == Access::Mapped) {
                        assert_eq!(file.reads() - before, reads);
                    }
                }
            }
        }
    }
}

#[test]
fn a_builder_holds_some_20_bytes_for_a_reference_and_knows_the_size_of_its_file() {
    let file = Arc::new(MemFile::default());
    let options = options(SortOrder::Key, Compression::None);
    let mut builder = SstBuilder::new(file.clone(), Path::new(PATH), &options, identity()).unwrap();
    let (count, mut held) = (100_000u64, 0);
    for i in 0..count {
        if i == 1000 {
            held = builder.held_bytes();
        }
        let object = reference(i.reverse_bits(), 1 << 40);
        builder
            .add(&i.to_be_bytes(), 1, EntryValue::Object(&object))
            .unwrap();
    }
    let grown = builder.held_bytes() - held;
    // Besides: the gathered mebibyte, the partition, the offset table.
    assert!(grown < 20 * count as usize + (3 << 20), "{grown}");
    let estimate = builder.estimated_size();
    builder.finish().unwrap();
    let size = file.contents().len() as u64;
    assert!(estimate.abs_diff(size) < size / 50, "{estimate} of {size}");
}

/// A file whose list is changed under right checksums.
fn resealed(entries: &[Entry], change: impl FnOnce(&mut [u8])) -> Arc<Sst> {
    let (mut bytes, _) = write(entries, &options(SortOrder::Key, Compression::None));
    let sst = open(&bytes, Access::Pread).unwrap();
    let (blocks, sections) = (sst.blocks().unwrap(), sst.sections());
    let list = blocks
        .iter()
        .find(|block| block.kind == BlockKind::References)
        .unwrap();
    let at = list.offset as usize + 16;
    change(&mut bytes[at..at + list.stored_len as usize]);
    damage::reseal(&mut bytes, &blocks, &sections);
    open(&bytes, Access::Pread).unwrap()
}

#[test]
fn a_list_that_is_not_what_the_entries_say_is_found_by_verify() {
    let entries = many(100, SortOrder::Key);
    assert!(resealed(&entries, |_| {}).verify().is_ok());
    // Another id in the place of one: an id is missing.
    let other = resealed(&entries, |list| list[16 * 99 + 15] ^= 1);
    assert_eq!(ids(&other).unwrap().len(), 100);
    assert!(matches!(other.verify(), Err(Error::Corruption { .. })));
    // Ids that do not ascend, or come twice, are not even given.
    let swapped = resealed(&entries, |list| list[..32].rotate_left(16));
    let twice = resealed(&entries, |list| list.copy_within(16..32, 0));
    for bad in [swapped, twice] {
        let mut given = bad.references(None);
        assert!(given.next().unwrap().is_ok());
        assert!(matches!(given.next(), Some(Err(Error::Corruption { .. }))));
        assert!(given.next().is_none(), "an error is the last that it gives");
        assert!(matches!(bad.verify(), Err(Error::Corruption { .. })));
    }
}

#[test]
fn an_id_too_many_and_a_wrong_sum_are_found_by_verify() {
    // The key block says now that the object is another, or longer; the list and the sum know nothing of it.
    let entries = vec![(b"a".to_vec(), 1, object(1, 5)), (b"b".to_vec(), 1, object(2, 5))];
    let (bytes, _) = write(&entries, &options(SortOrder::Key, Compression::None));
    let sst = open(&bytes, Access::Pread).unwrap();
    let (blocks, sections) = (sst.blocks().unwrap(), sst.sections());
    let end = blocks[0].offset as usize + 16 + blocks[0].stored_len as usize;
    for (from_end, byte) in [(9, 1), (8, 6)] {
        let mut bad = bytes.clone();
        bad[end - from_end] = byte;
        damage::reseal(&mut bad, &blocks, &sections);
        let sst = open(&bad, Access::Pread).unwrap();
        assert_eq!(scan(&sst, CursorOptions::default()).unwrap().len(), 2);
        assert!(
            matches!(sst.verify(), Err(Error::Corruption { .. })),
            "{from_end}"
        );
    }
}

#[test]
fn lengths_whose_sum_is_too_large_stop_at_the_largest_number() {
    let entries = vec![
        (b"a".to_vec(), 1, object(1, u64::MAX)),
        (b"b".to_vec(), 1, object(2, u64::MAX - 1)),
    ];
    let (bytes, summary) = write(&entries, &options(SortOrder::Key, Compression::None));
    assert_eq!(summary.referenced_bytes, u64::MAX);
    open(&bytes, Access::Pread).unwrap().verify().unwrap();
}

#[test]
fn the_bytes_of_the_list_are_those_drawn() {
    let entries = vec![
        (b"a".to_vec(), 1, object(0x0102, 5)),
        (b"b".to_vec(), 1, object(3, 5)),
        (b"c".to_vec(), 1, object(0x0102, 5)),
    ];
    let (bytes, _) = write(&entries, &options(SortOrder::Key, Compression::Lz4));
    let sst = open(&bytes, Access::Pread).unwrap();
    let blocks = sst.blocks().unwrap();
    let list = blocks.last().unwrap();
    assert_eq!(u64::from(list.number), sst.properties().first_reference_block);
    let at = list.offset as usize;
    assert_eq!(bytes[at..at + 12], [6, 0, 0, 0, 32, 0, 0, 0, 32, 0, 0, 0]);
    assert_eq!(
        &bytes[at + 16..at + 48],
        b"object: \0\0\0\0\0\0\0\x03object: \0\0\0\0\0\0\x01\x02"
    );
}

/// All that can be read of a damaged file, as a model has it.
fn salvaged(bytes: Vec<u8>) -> Vec<Entry> {
    let salvage = salvage::Salvage::open(MemFile::of(bytes), Path::new(PATH), None).unwrap();
    let mut cursor = salvage::SalvageCursor::new(Arc::new(salvage));
    let mut found = Vec::new();
    while cursor.advance().unwrap() {
        let value = (cursor.kind() != EntryKind::Tombstone).then(|| cursor.value().to_vec());
        let is_object = object_of(value.as_deref()).is_some();
        assert_eq!(cursor.kind() == EntryKind::Object, is_object);
        found.push((cursor.key().to_vec(), cursor.seq(), value));
    }
    found
}

#[test]
fn salvage_brings_references_out() {
    for (order, compression) in ORDERS
        .iter()
        .flat_map(|order| CODECS.map(|codec| (*order, codec)))
    {
        let entries = mixed(2000, order);
        let (bytes, _) = write(&entries, &options(order, compression));
        let blocks = open(&bytes, Access::Pread).unwrap().blocks().unwrap();
        // Without footer and offset table, and without the list of references.
        assert!(salvaged(bytes[..bytes.len() - 200].to_vec()) == entries);
        let list = blocks.iter().find(|block| block.kind == BlockKind::References);
        let mut bad = bytes.clone();
        bad[list.unwrap().offset as usize + 20] ^= 1;
        assert!(salvaged(bad) == entries);
        // A key block costs its own entries and no others.
        let lost = blocks
            .iter()
            .filter(|block| block.kind == BlockKind::Key)
            .nth(1)
            .unwrap();
        let mut bad = bytes;
        bad[lost.offset as usize + 500] ^= 1;
        let found = salvaged(bad);
        assert!(found.len() < entries.len() && found.len() > entries.len() / 2);
        assert!(found.iter().all(|entry| entries.contains(entry)));
    }
}

#[test]
fn every_flipped_byte_of_a_file_of_references_is_noticed_and_gives_no_wrong_reference() {
    for (order, compression) in ORDERS
        .iter()
        .flat_map(|order| CODECS.map(|codec| (*order, codec)))
    {
        let mut entries: Vec<Entry> = (0..12u64)
            .map(|i| (vec![b'k', i as u8 / 2], 9 - i % 2, object(i % 5, 1 << i)))
            .collect();
        entries[3].2 = None;
        entries[8].2 = Some(vec![3; 40]);
        let entries = sorted(entries, order);
        let (bytes, _) = write(&entries, &options(order, compression));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            for access in BOTH {
                let noticed = damage::all_answers_are_right(&bad, &entries, access);
                assert!(noticed, "{order:?} {compression:?} {access:?}: byte {at}");
            }
        }
    }
}
