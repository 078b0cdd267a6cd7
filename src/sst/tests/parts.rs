//! Verification in parts: any division finds what the whole finds.

use super::*;

/// Hundreds of key blocks: the versions of one key go on over the borders of parts, and of partitions.
fn many_blocks(partition_size: u32) -> (Vec<Entry>, Vec<u8>) {
    let mut entries: Vec<Entry> = (0..200u32)
        .map(|i| (format!("a{i:05}").into_bytes(), 5, Some(vec![b'v'; 60])))
        .collect();
    entries.extend((0..300u64).map(|i| (b"b".to_vec(), 1000 - i, Some(vec![b'w'; 3]))));
    entries.extend((0..200u32).map(|i| (format!("c{i:05}").into_bytes(), 7, None)));
    let options = SstOptions {
        key_block_size: 64,
        value_block_size: 64,
        partition_size,
        ..SstOptions::default()
    };
    let (bytes, _) = write(&entries, &options);
    (entries, bytes)
}

#[test]
fn parts_add_up_to_the_whole_file_in_any_order() {
    for partition_size in [64, 500, 32 << 10] {
        parts_add_up(partition_size);
    }
}

fn parts_add_up(partition_size: u32) {
    let (entries, bytes) = many_blocks(partition_size);
    let sst = open(&bytes, Access::Pread).unwrap();
    let verification = sst.verification().unwrap();
    let count = verification.key_parts();
    assert!(count > 3, "{count} parts");
    let blocks = (0..verification.block_parts()).map(|part| verification.check_blocks(part).unwrap());
    let blocks = blocks.collect();
    let mut keys: Vec<_> = (0..count)
        .rev()
        .map(|part| verification.check_keys(part).unwrap())
        .collect();
    keys.reverse();
    let report = verification.finish(blocks, keys).unwrap();
    assert_eq!(
        (report.entries, report.file_bytes),
        (entries.len() as u64, bytes.len() as u64)
    );
    assert_eq!(report, sst.verify().unwrap());
}

#[test]
fn parts_in_another_order_or_missing_are_noticed() {
    let (_, bytes) = many_blocks(500);
    let sst = open(&bytes, Access::Pread).unwrap();
    let check = |change: fn(&mut Vec<PartReport>)| {
        let verification = sst.verification().unwrap();
        let blocks = (0..verification.block_parts()).map(|part| verification.check_blocks(part).unwrap());
        let blocks = blocks.collect();
        let keys = (0..verification.key_parts()).map(|part| verification.check_keys(part).unwrap());
        let mut keys = keys.collect();
        change(&mut keys);
        verification.finish(blocks, keys)
    };
    assert!(check(|_| {}).is_ok());
    for change in [
        (|keys| keys.swap(1, 2)) as fn(&mut Vec<PartReport>),
        |keys| drop(keys.remove(2)),
        |keys| keys.truncate(3),
    ] {
        assert!(matches!(check(change), Err(Error::Corruption { .. })));
    }
}
