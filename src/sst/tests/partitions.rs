//! Filter, index and offset table in partitions: what is read and held of a large file, and that answers are those of a small one.

use super::*;

const ENTRIES: u64 = 60_000;
const PARTITION: u32 = 4 << 10;
const ORDERS: [SortOrder; 2] = [SortOrder::Key, SortOrder::Hash { seed: 7 }];

fn key(i: u64) -> Vec<u8> {
    format!("key{i:013}").into_bytes()
}

fn options(order: SortOrder, partition_size: u32) -> SstOptions {
    SstOptions {
        order,
        partition_size,
        compression: Compression::None,
        ..SstOptions::default()
    }
}

/// Even keys, values of 40 bytes: in key order 16 KiB of keys and 4 KiB of values a block.
fn large(options: &SstOptions) -> (Vec<Entry>, Arc<MemFile>) {
    let rows = (0..ENTRIES).map(|i| (key(2 * i), 1, Some(vec![i as u8; 40])));
    let entries = sorted(rows.collect(), options.order);
    let file = MemFile::of(write(&entries, options).0);
    (entries, file)
}

fn sorted(entries: Vec<Entry>, order: SortOrder) -> Vec<Entry> {
    match order {
        SortOrder::Key => entries,
        SortOrder::Hash { .. } => super::sorted(entries, order),
    }
}

/// Reads, and bytes of them, that `work` makes.
fn reads<T>(file: &MemFile, work: impl FnOnce() -> T) -> (T, u64, u64) {
    let before = (file.reads(), file.bytes_read());
    let result = work();
    (result, file.reads() - before.0, file.bytes_read() - before.1)
}

fn counts(sst: &Sst) -> (u64, u64) {
    let p = sst.properties();
    (p.filter_blocks.count, p.index_blocks.count)
}

#[test]
fn a_file_gets_partitions_when_its_keys_fill_more_than_one_table() {
    // Partitions of 64 slots: 61 keys.
    for (keys, partitions) in [(61, 0), (62, 2), (122, 2), (123, 3)] {
        let entries: Vec<Entry> = (0..keys).map(|i| (key(i), 1, None)).collect();
        for partition_size in [64, 127] {
            let whole = SstOptions {
                key_block_size: 1 << 20,
                ..options(SortOrder::Key, partition_size)
            };
            let sst = open(&write(&entries, &whole).0, Access::Pread).unwrap();
            assert_eq!(counts(&sst), (partitions, partitions), "{keys} keys");
            assert_eq!(scan(&sst, CursorOptions::default()).unwrap(), entries);
            sst.verify().unwrap();
        }
    }
}

#[test]
fn an_index_that_grows_has_partitions_without_a_filter_too() {
    let options = SstOptions {
        key_block_size: 64,
        filter: false,
        ..options(SortOrder::Key, 500)
    };
    let entries: Vec<Entry> = (0..2000).map(|i| (key(i), 1, None)).collect();
    let sst = open(&write(&entries, &options).0, Access::Pread).unwrap();
    let (filters, indexes) = counts(&sst);
    assert_eq!(filters, 0);
    assert!((20..120).contains(&indexes), "{indexes}");
    let mean = sst.properties().index_blocks.stored_bytes / indexes;
    assert!((150..1000).contains(&mean), "{mean} bytes a partition");
    assert!(sst.may_contain(b"key", 1).unwrap());
    for entry in &entries {
        assert_eq!(get(&sst, &entry.0, 1).unwrap(), Some(Found::Tombstone(1)));
    }
    sst.verify().unwrap();
}

#[test]
fn opening_a_large_file_reads_and_holds_little() {
    for order in ORDERS {
        let (_, whole) = large(&options(order, 1 << 20));
        let (_, parted) = large(&options(order, PARTITION));
        let (in_one, calls, bytes) = reads(&whole, || open_with(whole.clone(), Access::Pread, 8 << 20));
        let in_one = in_one.unwrap();
        println!(
            "{order:?}, in one piece: {calls} calls, {bytes} bytes, {} held",
            in_one.heap_bytes()
        );
        assert_eq!((counts(&in_one), calls), ((0, 0), 3), "header, footer, sections");
        assert!(bytes > ENTRIES && in_one.heap_bytes() as u64 > ENTRIES);
        for access in BOTH {
            let (sst, calls, bytes) = reads(&parted, || open_with(parted.clone(), access, 8 << 20));
            let sst = sst.unwrap();
            let held = sst.heap_bytes();
            println!("{order:?}, {access:?}: {calls} calls, {bytes} bytes, {held} held");
            let (filters, indexes) = counts(&sst);
            assert_eq!((filters, indexes), (16, 16), "60,000 keys, 3,892 to a table");
            // The sixteen parts are there from the beginning, for what look-ups will keep in them.
            let most_held = if access == Access::Mapped {
                5000 + 16 * 430
            } else {
                5000
            };
            assert!(
                calls <= 3 && bytes < 6000 && held < most_held,
                "{calls} {bytes} {held}"
            );
        }
    }
}

#[test]
fn a_cold_look_up_reads_a_filter_an_index_a_page_and_blocks_and_a_warm_one_nothing() {
    for order in ORDERS {
        let (entries, file) = large(&options(order, PARTITION));
        for (i, entry) in entries.iter().enumerate().step_by(5_000) {
            let sst = open_with(file.clone(), Access::Pread, 8 << 20).unwrap();
            let user_key = order.key_of(&entry.0);
            let (found, cold, _) = reads(&file, || get(&sst, user_key, 1).unwrap());
            assert!(found.is_some());
            // In hash order values lie in their key blocks, and the table has one page. Key block and values may have their places
            // on two pages.
            let blocks = if order.is_hash() { 1 } else { 2 };
            assert!((2 + blocks..=2 + 2 * blocks).contains(&cold), "entry {i}: {cold}");
            let (again, warm, _) = reads(&file, || get(&sst, user_key, 1).unwrap());
            assert_eq!((again, warm), (found, 0));
        }
    }
}

#[test]
fn an_absent_key_reads_at_most_one_filter_partition_and_passes_as_seldom_as_ever() {
    for order in ORDERS {
        let (_, file) = large(&options(order, PARTITION));
        let (_, whole) = large(&options(order, 1 << 20));
        let cold = open_with(file.clone(), Access::Pread, 0).unwrap();
        let (warm, in_one) = (
            open_with(file.clone(), Access::Pread, 8 << 20).unwrap(),
            open_with(whole, Access::Pread, 8 << 20).unwrap(),
        );
        let (mut passed, mut passed_in_one, asked) = (0, 0, 20_000);
        for i in 0..asked {
            let absent = key(2 * i + 1);
            let hash = order.hash(&absent);
            let (found, calls, bytes) = reads(&file, || cold.may_contain(&absent, hash).unwrap());
            assert!(calls <= 1 && bytes <= 4800, "{calls} calls, {bytes} bytes");
            let (_, calls, _) = reads(&file, || assert_eq!(get(&cold, &absent, 1).unwrap(), None));
            assert!(
                found || calls <= 1,
                "{calls} calls for a key that its filter knows not"
            );
            assert_eq!(warm.may_contain(&absent, hash).unwrap(), found);
            passed += u64::from(found);
            passed_in_one += u64::from(in_one.may_contain(&absent, hash).unwrap());
        }
        println!("{order:?}: {passed} passed, {passed_in_one} in one piece, of {asked}");
        assert!(passed * 90 < asked && passed_in_one * 90 < asked);
        let p = warm.properties();
        let bits = p.filter_blocks.stored_bytes as f64 * 8.0 / p.key_count as f64;
        assert!(bits < 9.9, "{bits} bits a key");
    }
}

#[test]
fn a_mapped_look_up_of_raw_blocks_takes_nothing_from_the_cache() {
    for order in ORDERS {
        let (entries, file) = large(&options(order, PARTITION));
        let sst = open_with(file.clone(), Access::Mapped, 8 << 20).unwrap();
        let (_, calls, _) = reads(&file, || {
            for entry in entries.iter().step_by(100) {
                assert!(get(&sst, order.key_of(&entry.0), 1).unwrap().is_some());
            }
        });
        assert_eq!((calls, sst.cache.used_bytes(), sst.cache.hits()), (0, 0, 0));
    }
}

#[test]
fn a_scan_reads_each_partition_of_the_index_once_and_no_filter() {
    let (entries, file) = large(&options(SortOrder::Key, PARTITION));
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    let blocks = sst.properties().key_blocks.count;
    let ((), calls, _) = reads(&file, || {
        let mut cursor = sst.cursor(CursorOptions {
            fill_cache: false,
            ..CursorOptions::default()
        });
        cursor.seek_to_first().unwrap();
        for entry in &entries {
            assert_eq!(cursor.key(), entry.0);
            cursor.next().unwrap();
        }
        assert!(!cursor.valid());
    });
    assert_eq!(calls, blocks + sst.properties().index_blocks.count);
}

#[test]
fn a_scan_leaves_the_partitions_that_look_ups_need_in_the_cache() {
    let (entries, file) = large(&options(SortOrder::Key, PARTITION));
    // Filters and indexes are 80 KB, key blocks and values 5 MB.
    let sst = open_with(file.clone(), Access::Pread, 2 << 20).unwrap();
    let absent = |i: u64| key(2 * i + 1);
    let ask = || {
        for i in (0..ENTRIES).step_by(500) {
            let hash = SortOrder::Key.hash(&absent(i));
            sst.may_contain(&absent(i), hash).unwrap();
        }
    };
    let ((), first, _) = reads(&file, ask);
    assert_eq!(first, counts(&sst).0, "each filter once");
    assert_eq!(scan(&sst, CursorOptions::default()).unwrap(), entries);
    let ((), again, _) = reads(&file, ask);
    assert!(again <= 1, "{again} of {first} filters had to be read again");
}

#[test]
fn a_writer_holds_the_hashes_of_one_partition() {
    let held = |partition_size: u32, entries: u64| {
        let file = Arc::new(MemFile::default());
        let options = options(SortOrder::Key, partition_size);
        let mut builder = SstBuilder::new(file, Path::new(PATH), &options, identity()).unwrap();
        let mut most = 0;
        for i in 0..entries {
            builder.add(&key(i), 1, EntryValue::Put(&[7; 40])).unwrap();
            most = most.max(builder.held_bytes());
        }
        builder.finish().unwrap();
        most
    };
    let (whole, few, many) = (
        held(1 << 20, 400_000),
        held(PARTITION, 50_000),
        held(PARTITION, 400_000),
    );
    println!("400,000 entries: {whole} bytes in one piece, {many} in partitions; 50,000: {few}");
    assert!(whole > many + 400_000 * 7);
    // The offset table, 8 bytes a block of a hundred values, and the top, are what grows.
    assert!(many < few + 80_000, "{few} {many}");
}

#[test]
fn versions_of_one_key_and_keys_of_one_hash_go_on_over_partitions() {
    let mut entries: Vec<Entry> = (0..50).map(|i| (key(i), 9, None)).collect();
    entries.extend((0..400u64).map(|i| (b"many".to_vec(), 1000 - i, Some(vec![i as u8; 3]))));
    entries.extend((0..50).map(|i| (b"n".iter().copied().chain(key(i)).collect(), 9, None)));
    let tiny = SstOptions {
        key_block_size: 64,
        ..options(SortOrder::Key, 64)
    };
    for access in BOTH {
        let sst = open(&write(&entries, &tiny).0, access).unwrap();
        assert!(counts(&sst).1 > 100, "{:?}", counts(&sst));
        for snapshot in 590..1002 {
            let found = get(&sst, b"many", snapshot).unwrap();
            assert_eq!(found, expected(&entries, b"many", snapshot), "at {snapshot}");
        }
        sst.verify().unwrap();
    }
    let rows = (0..500).map(|i| (key(i), 1, Some(vec![1]))).collect();
    let entries = super::sorted(rows, WEAK);
    let tiny = SstOptions { order: WEAK, ..tiny };
    let sst = open(&write(&entries, &tiny).0, Access::Pread).unwrap();
    assert!(counts(&sst).1 > 100);
    for i in 0..600 {
        assert_eq!(get(&sst, &key(i), 1).unwrap().is_some(), i < 500, "key {i}");
    }
    sst.verify().unwrap();
}

#[test]
fn a_damaged_page_or_partition_is_noticed_when_it_is_asked_for_and_costs_no_other() {
    let small = SstOptions {
        key_block_size: 200,
        value_block_size: 200,
        ..options(SortOrder::Key, 64)
    };
    let entries: Vec<Entry> = (0..400).map(|i| (key(i), 1, Some(vec![i as u8; 40]))).collect();
    let (bytes, _) = write(&entries, &small);
    let (_, table, table_len) = open(&bytes, Access::Pread).unwrap().sections()[3];
    let blocks = open(&bytes, Access::Pread).unwrap().blocks().unwrap();
    let filter = blocks
        .iter()
        .find(|block| block.kind == BlockKind::Filter)
        .unwrap();
    for at in [table + u64::from(table_len) - 3, filter.offset + 30] {
        let mut bad = bytes.clone();
        bad[at as usize] ^= 1;
        for access in BOTH {
            let sst = open(&bad, access).unwrap();
            let answers = entries.iter().map(|entry| get(&sst, &entry.0, 1));
            let (mut right, mut wrong) = (0, 0);
            for (answer, entry) in answers.zip(&entries) {
                match answer {
                    Ok(found) => {
                        assert_eq!(found, expected(&entries, &entry.0, 1));
                        right += 1;
                    }
                    Err(Error::Corruption { .. }) => wrong += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(right > 300 && wrong > 0, "{right} {wrong}");
            assert!(sst.verify().is_err());
        }
    }
}
