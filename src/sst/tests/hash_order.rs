//! Hash order: what is its own beside the models, which run in both orders.

use super::*;

fn rows(count: u32, key_len: usize) -> Vec<Entry> {
    let key = |i: u32| {
        let mut key = i.to_be_bytes().to_vec();
        key.resize(key_len, b'k');
        key
    };
    (0..count)
        .map(|i| (key(i), 1, Some(i.to_le_bytes().to_vec())))
        .collect()
}

fn options(order: SortOrder) -> SstOptions {
    SstOptions {
        order,
        compression: Compression::None,
        ..SstOptions::default()
    }
}

const STRONG: SortOrder = SortOrder::Hash { seed: 7 };

fn built(entries: Vec<Entry>, options: &SstOptions) -> (Vec<Entry>, Arc<Sst>, Arc<MemFile>) {
    let entries = sorted(entries, options.order);
    let file = MemFile::of(write(&entries, options).0);
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    (entries, sst, file)
}

#[test]
fn a_look_up_reads_one_key_block() {
    let one_piece = SstOptions {
        partition_size: 1 << 20,
        ..options(STRONG)
    };
    let (entries, sst, file) = built(rows(100_000, 16), &one_piece);
    let before = file.reads();
    for (sort_key, ..) in entries.iter().step_by(10) {
        assert!(get(&sst, STRONG.key_of(sort_key), 1).unwrap().is_some());
    }
    assert_eq!(file.reads() - before, 10_000);
    let before = file.reads();
    let absent = (100_000..110_000u32).filter(|i| {
        let mut key = i.to_be_bytes().to_vec();
        key.resize(16, b'k');
        get(&sst, &key, 1).unwrap().is_some()
    });
    assert_eq!(absent.count(), 0);
    assert!(file.reads() - before < 110, "filters answer all but one in 130");
}

#[test]
fn short_keys_take_two_bytes_for_their_hash_and_long_ones_eight() {
    for (len, width) in [(16, 2), (32, 2), (33, 8), (100, 8)] {
        let (_, sst, _) = built(rows(1000, len), &options(STRONG));
        let layout = SstBlock::read(&sst, 0).unwrap().layout(&sst).unwrap().unwrap();
        assert_eq!(
            (layout.hash_width, layout.end_width),
            (width, 0),
            "keys of {len} bytes"
        );
        sst.verify().unwrap();
    }
    let (_, sst, _) = built(one_of_each(), &options(STRONG));
    let layout = SstBlock::read(&sst, 0).unwrap().layout(&sst).unwrap().unwrap();
    assert_eq!(
        (layout.hash_width, layout.prefix_len),
        (2, 3),
        "they share a prefix"
    );
}

#[test]
fn an_entry_costs_two_bytes_more_than_in_key_order_without_the_shared_prefixes() {
    let mut random = Random(5);
    let keys: std::collections::BTreeSet<Vec<u8>> = (0..50_000)
        .map(|_| random.below(u64::MAX).to_be_bytes().repeat(2))
        .collect();
    let entries: Vec<Entry> = keys.into_iter().map(|key| (key, 0, Some(vec![7; 4]))).collect();
    let size = |order| {
        let sorted = sorted(entries.clone(), order);
        write(&sorted, &options(order)).1.file_size as f64 / entries.len() as f64
    };
    let (by_key, by_hash) = (size(SortOrder::Key), size(STRONG));
    assert!(by_hash - by_key < 3.0, "{by_hash} and {by_key} bytes an entry");
}

#[test]
fn keys_that_share_a_hash_are_told_apart_in_a_few_blocks_reads() {
    // Eight hashes for all: each fills dozens of blocks.
    let (entries, sst, file) = built(rows(20_000, 16), &options(WEAK));
    let blocks = sst.properties().key_blocks.count;
    assert!(blocks > 40);
    for (sort_key, _, value) in entries.iter().step_by(97) {
        let before = file.reads();
        let found = get(&sst, WEAK.key_of(sort_key), 1).unwrap();
        let value = value.as_deref().unwrap();
        assert_eq!(found, Some(Found::Value(1, value.into())));
        let reads = file.reads() - before;
        assert!(reads <= 8, "{reads} reads in {blocks} blocks");
    }
    assert_eq!(get(&sst, b"absent", 1).unwrap(), None);
    sst.verify().unwrap();
}

#[test]
fn a_sort_key_that_is_none_is_refused_and_leaves_the_builder_as_it_was() {
    let file = Arc::new(MemFile::default());
    let mut builder = SstBuilder::new(file, Path::new(PATH), &options(STRONG), identity()).unwrap();
    for wrong in [&b""[..], b"short", b"12345678key"] {
        assert!(matches!(
            builder.add(wrong, 1, EntryValue::Tombstone),
            Err(Error::Io { .. })
        ));
    }
    builder
        .add(&sort_key(b"k", STRONG), 1, EntryValue::Tombstone)
        .unwrap();
    builder.finish().unwrap();
}

#[test]
fn a_file_says_its_order_and_seed() {
    let (_, sst, _) = built(rows(10, 16), &options(STRONG));
    assert_eq!(sst.order(), STRONG);
    assert_eq!(sst.properties().order, STRONG);
    let (first, last) = (&sst.summary().min_key, &sst.summary().max_key);
    assert!(STRONG.is_sort_key(first) && STRONG.is_sort_key(last) && first < last);
}

#[test]
fn a_hash_that_is_not_its_keys_is_damage() {
    // Long keys: their hashes are stored.
    let (_, sst, _) = built(rows(100, 40), &options(STRONG));
    let mut block = SstBlock::read(&sst, 0).unwrap().bytes.to_vec();
    let keys = sst.key_block(0, &block).unwrap();
    let mut key = Vec::new();
    let read = |block: &[u8], i: u32, key: &mut Vec<u8>| {
        keys.begin_key(block, key).unwrap();
        keys.sort_key(block, i, STRONG, key).unwrap();
        STRONG.is_sort_key(key)
    };
    assert!((0..100).all(|i| read(&block, i, &mut key)));
    block[120 + 16 + 8 * 3] ^= 1;
    assert!(!read(&block, 3, &mut key));
}
