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
