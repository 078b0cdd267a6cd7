//! Filters: what they promise, and bytes that are none.

use super::*;
use crate::sst::SortOrder;

fn hash(i: u64) -> u64 {
    SortOrder::Key.hash(&i.to_le_bytes())
}

fn built(keys: u64) -> Vec<u8> {
    build(&mut (0..keys).map(hash).collect::<Vec<_>>()).unwrap()
}

#[test]
fn equal_hashes_share_a_table_however_many_they_are() {
    for different in [1, 2, 8, 1000] {
        let mut hashes: Vec<u64> = (0..20_000).map(|i| hash(i % different)).collect();
        let bytes = build(&mut hashes).unwrap();
        let filter = Filter::parse(&bytes).expect("it can be read again");
        assert!((0..different).all(|i| filter.may_contain(&bytes, hash(i))));
    }
}

#[test]
fn select_finds_every_set_bit() {
    let mut word = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..200 {
        let positions = (0..64).filter(|bit| word >> bit & 1 == 1);
        for (n, position) in positions.enumerate() {
            assert_eq!(select(word, n as u32), position, "{word:#x} {n}");
        }
        word = word.wrapping_mul(0xd129_0bd3_5e7f_0a6b).rotate_left(17) & !(word >> 3);
        word |= 1 << 63;
    }
}

#[test]
fn every_key_is_found_and_at_most_1_1_percent_of_the_others_at_10_6_bits_a_key() {
    let mut sizes = vec![5_000, 10_000, 62_000, 100_000, 130_000, 262_144, 300_000];
    for power in [13u32, 16, 18] {
        sizes.extend([
            capacity(power) - 1,
            capacity(power),
            capacity(power) + 1,
            (1 << power) - 1,
            1 << power,
        ]);
    }
    sizes.extend([996_147, 1 << 20, 3_000_000]);
    for keys in sizes {
        let bytes = built(keys);
        let filter = Filter::parse(&bytes).unwrap();
        for i in (0..keys).step_by(if keys > 300_000 { 7 } else { 1 }) {
            assert!(filter.may_contain(&bytes, hash(i)), "key {i} of {keys} is lost");
            assert_eq!(ask(&bytes, hash(i)), Some(true));
        }
        let asked = 200_000;
        let wrong = (0..asked)
            .filter(|i| ask(&bytes, hash(i + (1 << 40))) == Some(true))
            .count();
        let (rate, bits) = (
            wrong as f64 / asked as f64,
            bytes.len() as f64 * 8.0 / keys as f64,
        );
        println!(
            "{keys} keys: {} tables, {bits:.2} bits a key, {:.3} %",
            filter.partitions.len(),
            rate * 100.0
        );
        assert!(rate <= 0.011, "{keys} keys: {rate}");
        assert!(bits <= 10.6, "{keys} keys: {bits}");
    }
}

#[test]
fn small_and_repeated_hashes_are_fine() {
    for keys in 0..300 {
        let bytes = built(keys);
        let filter = Filter::parse(&bytes).unwrap();
        assert!((0..keys).all(|i| filter.may_contain(&bytes, hash(i))));
    }
    let mut same = vec![hash(1); 5000];
    same.extend((0..3000).map(hash));
    let bytes = build(&mut same).unwrap();
    let filter = Filter::parse(&bytes).unwrap();
    assert!((0..3000).all(|i| filter.may_contain(&bytes, hash(i))));
    assert!(!(5000..6000).all(|i| filter.may_contain(&bytes, hash(i))));
}

#[test]
fn our_look_up_answers_as_qfilter_does() {
    let bytes = built(capacity(12));
    let filter = Filter::parse(&bytes).unwrap();
    assert_eq!(filter.partitions.len(), 1);
    let theirs: qfilter::FilterRef<'_> = postcard::from_bytes(&bytes[4 + 12..]).unwrap();
    for i in 0..200_000 {
        assert_eq!(
            filter.may_contain(&bytes, hash(i)),
            theirs.contains_fingerprint(hash(i)),
            "{i}"
        );
    }
}

#[test]
fn the_bytes_and_the_hash_are_pinned() {
    assert_eq!(SortOrder::Key.hash(b""), 0x2d06_8005_38d3_94c2);
    assert_eq!(SortOrder::Key.hash(b"packstone"), 18_209_290_989_552_344_858);
    let bytes = built(3000);
    assert_eq!((bytes.len(), crc32fast::hash(&bytes)), (3734, 85_840_042));
    assert_eq!(bytes[..4], [1, 0, 3, 0], "version 1, three tables");
}

#[test]
fn hostile_bytes_neither_hang_nor_panic() {
    // One full table, so that directory and trailer (5 bytes) can be left alone.
    let good = built(capacity(12));
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut parsed = 0;
    for round in 0..4000 {
        let mut bad = good.clone();
        match round % 4 {
            0 => {
                let bit = next() as usize % (bad.len() * 8);
                bad[bit / 8] ^= 1 << (bit % 8);
            }
            1 => {
                let (start, fill) = (64 + next() as usize % 64, next() as u8);
                bad[start..].fill(fill);
                let end = good.len() - 5;
                bad[end..].copy_from_slice(&good[end..]);
            }
            2 => {
                let len = bad.len();
                (40..len - 5).for_each(|at| bad[at] = next() as u8);
            }
            _ => bad.truncate(next() as usize % good.len()),
        }
        if let Some(filter) = Filter::parse(&bad) {
            parsed += 1;
            for i in 0..50 {
                let hash = hash(i * 977 + round);
                assert_eq!(ask(&bad, hash), Some(filter.may_contain(&bad, hash)));
            }
        }
    }
    assert!(parsed > 1500, "most mutations must reach the look-up: {parsed}");
}

#[test]
fn no_key_is_lost_where_equal_hashes_straddle_a_cut() {
    // Two equal ones at the first cut go up, so that the last table gets one more than planned.
    let count = 2851;
    let cut = plan(count).first().unwrap().1;
    let mut hashes: Vec<u64> = (0..count).map(|n| n << 50 | hash(n) >> 14).collect();
    hashes[cut as usize] = hashes[cut as usize - 1];
    let bytes = build(&mut hashes.clone()).unwrap();
    let filter = Filter::parse(&bytes).unwrap();
    for hash in hashes {
        assert!(filter.may_contain(&bytes, hash), "{hash:#x} is lost");
    }
}
