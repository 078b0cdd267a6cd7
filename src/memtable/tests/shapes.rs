//! Keys of all shapes, versions in all orders, and cursors that are held while entries are inserted.

use super::*;

/// Everything in both directions, and every key by `get` and by `seek` in both directions.
pub(super) fn assert_same<T: SortedTable>(list: &Arc<T>, model: &Model) {
    let mut cursor = list.cursor();
    cursor.seek_to_first().unwrap();
    for expected in model.iter().map(flat) {
        assert!(current(&cursor) == Some(expected));
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
    cursor.seek_to_last().unwrap();
    for expected in model.iter().rev().map(flat) {
        assert!(current(&cursor) == Some(expected));
        cursor.prev().unwrap();
    }
    assert!(!cursor.valid());
    for (key, seq) in model.keys() {
        let at = (key.clone(), *seq);
        cursor.seek(key, seq.0).unwrap();
        assert!(current(&cursor) == model.range(at.clone()..).next().map(flat));
        cursor.seek_before(key, seq.0).unwrap();
        assert!(current(&cursor) == model.range(..at).next_back().map(flat));
        let found = found(seq.0, model[&(key.clone(), *seq)].as_deref());
        assert!(list.get(key, seq.0) == Some(found));
    }
    assert_eq!(list.len(), model.len());
}

/// The keys, each once, in an order without a pattern.
fn shuffled(mut keys: Vec<Vec<u8>>, random: &mut Random) -> Vec<Vec<u8>> {
    for i in (1..keys.len()).rev() {
        keys.swap(i, random.below(i + 1));
    }
    keys
}

fn filled<T: SortedTable>(keys: Vec<Vec<u8>>) -> (Arc<T>, Model) {
    let (list, mut model) = (Arc::new(T::new()), Model::new());
    for (i, key) in keys.into_iter().enumerate() {
        let value = match i % 13 {
            12 => object(i as u64),
            len => vec![i as u8; len],
        };
        put(&*list, &mut model, key, i as u64 + 1, Some(value));
    }
    (list, model)
}

pub(super) fn keys_that_are_prefixes_of_each_other_keep_their_order<T: SortedTable>() {
    let longest = if cfg!(miri) { 20 } else { 1000 };
    for (seed, unit) in [(7, &b"a"[..]), (8, b"eight by"), (9, b"more than eight bytes")] {
        let keys = (0..longest / unit.len()).map(|n| unit.repeat(n)).collect();
        let (list, model) = filled::<T>(shuffled(keys, &mut Random(seed)));
        assert_same(&list, &model);
    }
}

pub(super) fn a_thousand_shared_bytes_are_told_apart_wherever_they_end<T: SortedTable>() {
    let len = if cfg!(miri) { 30 } else { 1000 };
    let mut random = Random(10);
    let mut keys = Vec::new();
    for _ in 0..len / 5 {
        let mut key = vec![b'p'; len];
        for _ in 0..random.below(3) {
            let at = random.below(len);
            key[at] = random.below(256) as u8;
        }
        for _ in 0..3 {
            key.push(random.below(4) as u8);
        }
        key.truncate(len + 3 - random.below(2) * random.below(len));
        keys.push(key);
    }
    keys.sort();
    keys.dedup();
    let (list, model) = filled::<T>(shuffled(keys, &mut random));
    assert_same(&list, &model);
    // Absent keys that leave the path inside of shared bytes.
    let mut cursor = list.cursor();
    for _ in 0..len {
        let mut key = vec![b'p'; 1 + random.below(len)];
        let last = key.len() - 1;
        key[last] = random.below(256) as u8;
        let at = (key.clone(), std::cmp::Reverse(MAX_SEQ));
        assert!(list.get(&key, MAX_SEQ).is_some() == model.keys().any(|(other, _)| *other == key));
        cursor.seek(&key, MAX_SEQ).unwrap();
        assert!(current(&cursor) == model.range(at.clone()..).next().map(flat));
        cursor.seek_before(&key, MAX_SEQ).unwrap();
        assert!(current(&cursor) == model.range(..at).next_back().map(flat));
    }
}

pub(super) fn the_longest_keys_are_told_apart_at_either_end<T: SortedTable>() {
    let mut keys = Vec::new();
    for at in [0, 1, 7, 8, 9, 32_767, MAX_KEY_LEN - 9, MAX_KEY_LEN - 1] {
        for byte in [0, b'j', b'l', 0xff] {
            let mut key = vec![b'k'; MAX_KEY_LEN];
            key[at] = byte;
            keys.push(key.clone());
            key.truncate(at);
            keys.push(key);
        }
    }
    keys.push(vec![b'k'; MAX_KEY_LEN]);
    keys.sort();
    keys.dedup();
    let (list, model) = filled::<T>(shuffled(keys, &mut Random(11)));
    assert_same(&list, &model);
}

pub(super) fn all_bytes_branch_in_order_however_they_arrive<T: SortedTable>() {
    let mut keys = vec![b"x".to_vec()];
    for first in 0..=255u8 {
        keys.push(vec![b'x', first]);
        for second in (0..=255u8).step_by(1 + usize::from(first)) {
            keys.push(vec![b'x', first, second, b'y']);
        }
    }
    if cfg!(miri) {
        keys.truncate(60);
    }
    let mut random = Random(12);
    assert_same_after(filled::<T>(keys.clone()));
    assert_same_after(filled::<T>(shuffled(keys.clone(), &mut random)));
    keys.reverse();
    assert_same_after(filled::<T>(keys));
}

fn assert_same_after<T: SortedTable>((list, model): (Arc<T>, Model)) {
    assert_same(&list, &model);
}

pub(super) fn versions_of_a_key_are_ordered_whatever_the_order_of_their_numbers<T: SortedTable>() {
    let versions = if cfg!(miri) { 12 } else { 300u64 };
    for order in 0..3u64 {
        let (list, mut model) = (Arc::new(T::new()), Model::new());
        for i in 0..versions {
            let seq = match order {
                0 => i,
                1 => versions - i,
                _ => i * 7 % 303, // all numbers differ, since 303 is no multiple of 7
            };
            for key in ["key", "key2", "k"] {
                put(
                    &*list,
                    &mut model,
                    key.into(),
                    10 + 2 * seq,
                    Some(seq.to_be_bytes().to_vec()),
                );
            }
        }
        assert_same(&list, &model);
        for snapshot in 0..2 * versions + 12 {
            let at = (b"key".to_vec(), std::cmp::Reverse(snapshot));
            let expected = model
                .range(at.clone()..)
                .next()
                .map(flat)
                .filter(|e| e.0 == b"key");
            let found = list.get(b"key", snapshot);
            assert_eq!(found.is_some(), expected.is_some());
            if let (Some(Found::Value(seq, _)), Some((_, expected, _))) = (found, expected) {
                assert_eq!(seq, expected);
            }
            let mut cursor = list.cursor();
            cursor.seek_before(b"key", snapshot).unwrap();
            assert_eq!(current(&cursor), model.range(..at).next_back().map(flat));
        }
    }
}

/// A cursor that was sought when `floor` was the newest number.
struct Held<C> {
    cursor: C,
    floor: SeqNo,
}

/// One step of a held cursor: strictly onwards, to an entry that exists, past none that was there when it was sought.
fn step_held(held: &mut Held<impl Cursor>, model: &Model, forward: bool) {
    let from = (held.cursor.key().to_vec(), std::cmp::Reverse(held.cursor.seq()));
    if forward {
        held.cursor.next().unwrap();
    } else {
        held.cursor.prev().unwrap();
    }
    let to = current(&held.cursor);
    let expected = |at: &Version| to == model.get_key_value(at).map(flat);
    let to_version = (held.cursor.key().to_vec(), std::cmp::Reverse(held.cursor.seq()));
    use std::ops::Bound::{Excluded, Unbounded};
    let passed = match (&to, forward) {
        (None, true) => (Excluded(&from), Unbounded),
        (None, false) => (Unbounded, Excluded(&from)),
        (Some(_), true) => (Excluded(&from), Excluded(&to_version)),
        (Some(_), false) => (Excluded(&to_version), Excluded(&from)),
    };
    if to.is_some() {
        assert!(expected(&to_version), "an entry that nobody inserted");
        assert_eq!(from < to_version, forward, "not onwards");
    }
    let missed = model.range(passed).find(|((_, seq), _)| seq.0 <= held.floor);
    assert_eq!(missed, None, "an entry that was there is passed over");
}

pub(super) fn cursors_held_over_inserts_stay_in_order_and_miss_nothing<T: SortedTable>() {
    let (list, mut model, mut random) = (Arc::new(T::new()), Model::new(), Random(13));
    let mut held: Vec<Held<T::Cursor>> = (0..8)
        .map(|_| Held {
            cursor: list.cursor(),
            floor: 0,
        })
        .collect();
    for seq in 1..=MODEL_ENTRIES {
        put(
            &*list,
            &mut model,
            crowded_key(seq),
            seq,
            Some(seq.to_be_bytes().to_vec()),
        );
        for (i, held) in held.iter_mut().enumerate() {
            if !held.cursor.valid() || random.below(200) == 0 {
                held.floor = seq;
                match random.below(4) {
                    0 => held.cursor.seek_to_first(),
                    1 => held.cursor.seek_to_last(),
                    2 => held.cursor.seek(&tricky_key(&mut random), MAX_SEQ),
                    _ => held.cursor.seek_before(&tricky_key(&mut random), MAX_SEQ),
                }
                .unwrap();
            }
            // Some walk slowly one way, some to and fro.
            if held.cursor.valid() && random.below(3) == 0 {
                let forward = if i < 6 { i % 2 == 0 } else { random.below(2) == 0 };
                step_held(held, &model, forward);
            }
        }
    }
    assert_same(&list, &model);
}
