//! What a memtable promises, pinned against a `BTreeMap` and, for readers beside a writer, by what they may never see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::radix::RadixTree;
use super::skip_list::SkipList;
use super::*;
use crate::types::{MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN, ValuePlace, ValueRef};
use crate::{Error, Slice};

/// Each test of this file for each memtable.
macro_rules! for_all_memtables {
    ($($name:ident,)*) => {
        mod of_skip_list {
            $(#[test] fn $name() { super::$name::<super::SkipList>() })*
        }
        mod of_radix_tree {
            $(#[test] fn $name() { super::$name::<super::RadixTree>() })*
        }
    };
}

for_all_memtables! {
    both_directions_give_what_a_sorted_map_gives,
    seeks_land_where_a_sorted_map_says,
    a_snapshot_sees_the_newest_version_at_or_below_it,
    ascending_descending_and_interleaved_inserts_keep_the_order,
    a_key_and_the_same_key_with_zeros_behind_it_are_two_keys,
    keys_and_values_at_the_limits_are_kept_and_beyond_them_refused,
    memory_usage_starts_small_and_follows_what_is_stored,
    a_value_can_be_loaded_after_the_cursor_has_moved,
    a_made_up_value_reference_is_an_error,
    a_cursor_that_stands_nowhere_answers_harmlessly,
    a_cursor_keeps_the_memtable_alive,
    readers_beside_a_writer_see_whole_entries_in_order_and_all_that_came_before,
    several_writers_lose_nothing,
    readers_beside_a_writer_of_crowded_keys_see_all_versions_that_came_before,
    keys_that_are_prefixes_of_each_other_keep_their_order,
    a_thousand_shared_bytes_are_told_apart_wherever_they_end,
    the_longest_keys_are_told_apart_at_either_end,
    all_bytes_branch_in_order_however_they_arrive,
    versions_of_a_key_are_ordered_whatever_the_order_of_their_numbers,
    cursors_held_over_inserts_stay_in_order_and_miss_nothing,
}

type Model = BTreeMap<(Vec<u8>, std::cmp::Reverse<SeqNo>), Option<Vec<u8>>>;

/// SplitMix64: the tests' numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Keys that are easily mixed up: few different bytes, zeros at the end, prefixes of each other, long shared prefixes.
fn tricky_key(random: &mut Random) -> Vec<u8> {
    let mut key = match random.below(4) {
        0 => Vec::new(),
        1 => vec![0; random.below(12)],
        2 => b"a common prefix of some length/".to_vec(),
        _ => b"a".to_vec(),
    };
    for _ in 0..random.below(10) {
        key.push([0, 1, b'a', 0xff][random.below(4)]);
    }
    key
}

fn put<T: SortedTable>(list: &T, model: &mut Model, key: Vec<u8>, seq: SeqNo, value: Option<Vec<u8>>) {
    let kind = if value.is_some() {
        EntryKind::Put
    } else {
        EntryKind::Tombstone
    };
    list.insert(&key, seq, kind, value.as_deref().unwrap_or_default())
        .unwrap();
    model.insert((key, std::cmp::Reverse(seq)), value);
}

fn random_list<T: SortedTable>(seed: u64, entries: u64) -> (Arc<T>, Model) {
    let (list, mut model, mut random) = (Arc::new(T::new()), Model::new(), Random(seed));
    for seq in 1..=entries {
        let value = match random.below(5) {
            0 => None,
            1 => Some(vec![7; 300]),
            _ => Some(seq.to_be_bytes()[8 - random.below(9)..].to_vec()),
        };
        put(&*list, &mut model, tricky_key(&mut random), seq, value);
    }
    (list, model)
}

type Entry = (Vec<u8>, SeqNo, Option<Vec<u8>>);

fn current(cursor: &impl Cursor) -> Option<Entry> {
    let value = cursor.value();
    let bytes = cursor.load(value).unwrap().to_vec();
    let value = (value.kind() == EntryKind::Put).then_some(bytes);
    cursor
        .valid()
        .then(|| (cursor.key().to_vec(), cursor.seq(), value))
}

type Version = (Vec<u8>, std::cmp::Reverse<SeqNo>);

fn flat(entry: (&Version, &Option<Vec<u8>>)) -> Entry {
    (entry.0.0.clone(), entry.0.1.0, entry.1.clone())
}

const MODEL_ENTRIES: u64 = if cfg!(miri) { 60 } else { 3000 };

fn both_directions_give_what_a_sorted_map_gives<T: SortedTable>() {
    let (list, model) = random_list::<T>(1, MODEL_ENTRIES);
    let expected: Vec<Entry> = model.iter().map(flat).collect();
    let mut cursor = list.cursor();
    let mut forward = Vec::new();
    cursor.seek_to_first().unwrap();
    while let Some(entry) = current(&cursor) {
        forward.push(entry);
        cursor.next().unwrap();
    }
    assert_eq!(forward, expected);
    let mut backward = Vec::new();
    cursor.seek_to_last().unwrap();
    while let Some(entry) = current(&cursor) {
        backward.push(entry);
        cursor.prev().unwrap();
    }
    backward.reverse();
    assert_eq!(backward, expected);
    assert_eq!(list.len(), expected.len());
}

fn seeks_land_where_a_sorted_map_says<T: SortedTable>() {
    let (list, model) = random_list::<T>(2, MODEL_ENTRIES);
    let mut random = Random(3);
    let mut cursor = list.cursor();
    for _ in 0..MODEL_ENTRIES {
        let key = tricky_key(&mut random);
        let seq = if random.below(2) == 0 {
            MAX_SEQ
        } else {
            random.next() % (MODEL_ENTRIES + 2)
        };
        let at = (key.clone(), std::cmp::Reverse(seq));
        cursor.seek(&key, seq).unwrap();
        assert_eq!(current(&cursor), model.range(at.clone()..).next().map(flat));
        cursor.seek_before(&key, seq).unwrap();
        assert_eq!(current(&cursor), model.range(..at).next_back().map(flat));
    }
}

fn a_snapshot_sees_the_newest_version_at_or_below_it<T: SortedTable>() {
    let (list, model) = random_list::<T>(4, MODEL_ENTRIES);
    let mut random = Random(5);
    for _ in 0..MODEL_ENTRIES {
        let (key, snapshot) = (tricky_key(&mut random), random.next() % (MODEL_ENTRIES + 2));
        let expected = model
            .range((key.clone(), std::cmp::Reverse(snapshot))..)
            .next()
            .filter(|((found, _), _)| *found == key)
            .map(|((_, seq), value)| match value {
                Some(value) => Found::Value(seq.0, Slice::from(&value[..])),
                None => Found::Tombstone(seq.0),
            });
        assert_eq!(list.get(&key, snapshot), expected);
    }
}

fn ascending_descending_and_interleaved_inserts_keep_the_order<T: SortedTable>() {
    for pattern in 0..3u32 {
        let (list, mut model) = (Arc::new(T::new()), Model::new());
        for i in 0..MODEL_ENTRIES as u32 {
            let number = match pattern {
                0 => i,
                1 => u32::MAX - i,
                _ => (i % 3) << 16 | i, // three ascending runs, taking turns
            };
            let key = format!("{number:016}").into_bytes();
            put(&*list, &mut model, key, u64::from(i) + 1, Some(vec![1]));
        }
        let mut cursor = list.cursor();
        cursor.seek_to_first().unwrap();
        for expected in model.iter().map(flat) {
            assert_eq!(current(&cursor), Some(expected));
            cursor.next().unwrap();
        }
        assert!(!cursor.valid());
    }
}

fn a_key_and_the_same_key_with_zeros_behind_it_are_two_keys<T: SortedTable>() {
    let list = Arc::new(T::new());
    let keys: Vec<Vec<u8>> = (0..12)
        .map(|zeros| [&b"a"[..], &vec![0; zeros]].concat())
        .collect();
    for (i, key) in keys.iter().enumerate().rev() {
        list.insert(key, 1, EntryKind::Put, &[i as u8]).unwrap();
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(
            list.get(key, MAX_SEQ),
            Some(Found::Value(1, Slice::from(&[i as u8][..])))
        );
    }
    assert_eq!(list.get(b"a\0\x01", MAX_SEQ), None);
    assert_eq!(list.get(b"", MAX_SEQ), None);
}

fn keys_and_values_at_the_limits_are_kept_and_beyond_them_refused<T: SortedTable>() {
    let list = Arc::new(T::new());
    let longest = vec![b'k'; MAX_KEY_LEN];
    let sibling = [&longest[..MAX_KEY_LEN - 1], b"l"].concat();
    list.insert(&longest, 2, EntryKind::Put, b"one").unwrap();
    list.insert(&sibling, 3, EntryKind::Put, b"two").unwrap();
    list.insert(b"", 1, EntryKind::Put, b"").unwrap();
    let size = if cfg!(miri) { 1 << 20 } else { MAX_VALUE_LEN };
    let mut value = vec![3; size];
    value[size - 1] = 4;
    if size == MAX_VALUE_LEN {
        list.insert(b"huge", 4, EntryKind::Put, &value).unwrap();
        assert_eq!(
            list.get(b"huge", 4),
            Some(Found::Value(4, Slice::from(&value[..])))
        );
        value.push(0);
        let refused = list.insert(b"more", 5, EntryKind::Put, &value);
        assert!(matches!(refused, Err(Error::LimitExceeded { what: "value", .. })));
    }
    assert_eq!(
        list.get(&longest, 9),
        Some(Found::Value(2, Slice::from(&b"one"[..])))
    );
    assert_eq!(
        list.get(&sibling, 9),
        Some(Found::Value(3, Slice::from(&b"two"[..])))
    );
    assert_eq!(list.get(b"", 9), Some(Found::Value(1, Slice::default())));
    let before = (list.len(), list.memory_usage());
    let refused = list.insert(&vec![0; MAX_KEY_LEN + 1], 6, EntryKind::Put, b"");
    assert!(matches!(refused, Err(Error::LimitExceeded { what: "key", .. })));
    assert_eq!(
        (list.len(), list.memory_usage()),
        before,
        "a refused insert leaves nothing behind"
    );
}

fn memory_usage_starts_small_and_follows_what_is_stored<T: SortedTable>() {
    let list = T::new();
    assert!(
        list.memory_usage() <= 4096,
        "a hundred idle keyspaces cost next to nothing"
    );
    list.insert(b"key", 1, EntryKind::Put, b"value").unwrap();
    assert!(list.memory_usage() <= 32 << 10);
    if cfg!(miri) {
        return;
    }
    let mut stored = 0;
    for seq in 2..100_000u64 {
        let key = format!(
            "{:016}",
            seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000_000_000_000
        );
        list.insert(key.as_bytes(), seq, EntryKind::Put, &[0; 100])
            .unwrap();
        stored += 116;
    }
    let usage = list.memory_usage();
    assert!(usage > stored, "every byte is counted");
    assert!(
        usage < stored * 3 / 2 + (1 << 20),
        "{usage} bytes for {stored} bytes of keys and values"
    );
}

fn a_value_can_be_loaded_after_the_cursor_has_moved<T: SortedTable>() {
    let list = Arc::new(T::new());
    list.insert(b"a", 1, EntryKind::Put, b"longer than eight bytes")
        .unwrap();
    list.insert(b"b", 2, EntryKind::Put, b"short").unwrap();
    list.insert(b"c", 3, EntryKind::Tombstone, b"").unwrap();
    let mut cursor = list.cursor();
    cursor.seek_to_first().unwrap();
    let mut values = Vec::new();
    while cursor.valid() {
        values.push(cursor.value());
        cursor.next().unwrap();
    }
    assert!(matches!(values[0].place, ValuePlace::Memory { .. }));
    assert!(matches!(values[1].place, ValuePlace::Inline { len: 5, .. }));
    assert_eq!(values[2].place, ValuePlace::Tombstone);
    let loaded: Vec<Slice> = values
        .into_iter()
        .map(|value| cursor.load(value).unwrap())
        .collect();
    assert_eq!(loaded[0], b"longer than eight bytes");
    assert_eq!(loaded[1], b"short");
    assert!(loaded[2].is_empty());
}

fn a_made_up_value_reference_is_an_error<T: SortedTable>() {
    let list = Arc::new(T::new());
    list.insert(b"a", 1, EntryKind::Put, &[0xff; 100]).unwrap();
    let mut cursor = list.cursor();
    let load = |cursor: &T::Cursor, handle| cursor.load(ValueRef::new(ValuePlace::Memory { handle }));
    assert!(
        load(&cursor, 0).is_err(),
        "a cursor that stands nowhere has no value either"
    );
    cursor.seek_to_first().unwrap();
    let ValuePlace::Memory { handle: good } = cursor.value().place else {
        panic!("a value of 100 bytes lies in memory");
    };
    for handle in [
        0,
        1,
        good - 1,
        good + 1,
        good << 1,
        u64::from(u32::MAX),
        good | 1 << 32,
        u64::MAX,
    ] {
        assert!(load(&cursor, handle).is_err());
    }
    assert_eq!(load(&cursor, good).unwrap().len(), 100);
}

fn a_cursor_that_stands_nowhere_answers_harmlessly<T: SortedTable>() {
    let list = Arc::new(T::new());
    let mut cursor = list.cursor();
    assert_eq!((cursor.valid(), cursor.key(), cursor.seq()), (false, &b""[..], 0));
    assert_eq!(cursor.value().place, ValuePlace::Tombstone);
    cursor.seek_to_last().unwrap();
    cursor.prev().unwrap();
    cursor.next().unwrap();
    cursor.seek(b"", MAX_SEQ).unwrap();
    assert!(!cursor.valid());
}

fn a_cursor_keeps_the_memtable_alive<T: SortedTable>() {
    let list = Arc::new(T::new());
    list.insert(b"key", 1, EntryKind::Put, b"a value of some length")
        .unwrap();
    let mut cursor = list.cursor();
    drop(list);
    cursor.seek_to_first().unwrap();
    assert_eq!(cursor.key(), b"key");
    assert_eq!(cursor.load(cursor.value()).unwrap(), b"a value of some length");
}

/// The writers insert key `hash(n)` with number n and a value derived from it, in the order of n within each writer.
fn concurrent_key(n: u64) -> Vec<u8> {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key.to_vec()
}

fn concurrent_value(n: u64) -> Vec<u8> {
    let mut value = vec![n as u8; 9 + (n % 50) as usize];
    value[..8].copy_from_slice(&n.to_be_bytes());
    value
}

/// Everything that was inserted before the scan began is there, in order, whole; what came later is whole too.
fn scan_beside_writers<T: SortedTable>(
    list: &Arc<T>,
    done: &AtomicU64,
    backwards: bool,
    key_of: fn(u64) -> Vec<u8>,
) -> u64 {
    let floor = done.load(Ordering::Acquire);
    let mut cursor = list.cursor();
    if backwards {
        cursor.seek_to_last()
    } else {
        cursor.seek_to_first()
    }
    .unwrap();
    let (mut seen, mut previous) = (0, None::<Version>);
    while cursor.valid() {
        let n = cursor.seq();
        assert_eq!(cursor.key(), key_of(n));
        assert_eq!(cursor.load(cursor.value()).unwrap(), concurrent_value(n));
        let at = (cursor.key().to_vec(), std::cmp::Reverse(n));
        if let Some(previous) = &previous {
            let order = if backwards {
                at.cmp(previous)
            } else {
                previous.cmp(&at)
            };
            assert!(order.is_lt(), "out of order");
        }
        seen += u64::from(n <= floor);
        previous = Some(at);
        if backwards { cursor.prev() } else { cursor.next() }.unwrap();
    }
    assert_eq!(seen, floor, "an entry inserted before the scan began is missing");
    floor
}

fn readers_beside_a_writer_see_whole_entries_in_order_and_all_that_came_before<T: SortedTable>() {
    let total = if cfg!(miri) { 60 } else { 20_000 };
    let (list, done) = (Arc::new(T::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (list, done) = (&list, &done);
            scope.spawn(move || {
                let mut floor = 0;
                while floor < total {
                    if reader == 2 {
                        floor = done.load(Ordering::Acquire);
                        for n in (1..=floor).rev().take(100) {
                            let found = list.get(&concurrent_key(n), MAX_SEQ);
                            assert_eq!(found, Some(Found::Value(n, concurrent_value(n).into())));
                        }
                    } else {
                        floor = scan_beside_writers(list, done, reader == 1, concurrent_key);
                    }
                }
            });
        }
        for n in 1..=total {
            list.insert(&concurrent_key(n), n, EntryKind::Put, &concurrent_value(n))
                .unwrap();
            done.store(n, Ordering::Release);
        }
    });
}

fn several_writers_lose_nothing<T: SortedTable>() {
    let each = if cfg!(miri) { 20 } else { 5_000 };
    let list = Arc::new(T::new());
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let list = &list;
            scope.spawn(move || {
                for n in writer * each + 1..=(writer + 1) * each {
                    list.insert(&concurrent_key(n), n, EntryKind::Put, &concurrent_value(n))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(list.len() as u64, 4 * each);
    assert_eq!(
        scan_beside_writers(&list, &AtomicU64::new(4 * each), false, concurrent_key),
        4 * each
    );
}

/// Few keys, of all the shapes that are easily mixed up, so that most have several versions and nodes are replaced often.
fn crowded_key(n: u64) -> Vec<u8> {
    let mut random = Random(n);
    let mut key = tricky_key(&mut random);
    if random.below(2) == 0 {
        key.push(random.below(256) as u8);
    }
    key
}

fn readers_beside_a_writer_of_crowded_keys_see_all_versions_that_came_before<T: SortedTable>() {
    let total = if cfg!(miri) { 60 } else { 8_000 };
    let (list, done) = (Arc::new(T::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (list, done) = (&list, &done);
            scope.spawn(move || {
                let mut floor = 0;
                while floor < total {
                    if reader < 2 {
                        floor = scan_beside_writers(list, done, reader == 1, crowded_key);
                        continue;
                    }
                    floor = done.load(Ordering::Acquire);
                    for n in (1..=floor).rev().take(100) {
                        let found = list.get(&crowded_key(n), n);
                        assert_eq!(found, Some(Found::Value(n, concurrent_value(n).into())));
                        let mut cursor = list.cursor();
                        cursor.seek(&crowded_key(n), n).unwrap();
                        assert_eq!(cursor.seq(), n);
                    }
                }
            });
        }
        for n in 1..=total {
            list.insert(&crowded_key(n), n, EntryKind::Put, &concurrent_value(n))
                .unwrap();
            done.store(n, Ordering::Release);
        }
    });
}

/// Everything in both directions, and every key by `get` and by `seek` in both directions.
fn assert_same<T: SortedTable>(list: &Arc<T>, model: &Model) {
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
        let found = match &model[&(key.clone(), *seq)] {
            Some(value) => Found::Value(seq.0, Slice::from(&value[..])),
            None => Found::Tombstone(seq.0),
        };
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
        put(&*list, &mut model, key, i as u64 + 1, Some(vec![i as u8; i % 12]));
    }
    (list, model)
}

fn keys_that_are_prefixes_of_each_other_keep_their_order<T: SortedTable>() {
    let longest = if cfg!(miri) { 20 } else { 1000 };
    for (seed, unit) in [(7, &b"a"[..]), (8, b"eight by"), (9, b"more than eight bytes")] {
        let keys = (0..longest / unit.len()).map(|n| unit.repeat(n)).collect();
        let (list, model) = filled::<T>(shuffled(keys, &mut Random(seed)));
        assert_same(&list, &model);
    }
}

fn a_thousand_shared_bytes_are_told_apart_wherever_they_end<T: SortedTable>() {
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

fn the_longest_keys_are_told_apart_at_either_end<T: SortedTable>() {
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

fn all_bytes_branch_in_order_however_they_arrive<T: SortedTable>() {
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

fn versions_of_a_key_are_ordered_whatever_the_order_of_their_numbers<T: SortedTable>() {
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

fn cursors_held_over_inserts_stay_in_order_and_miss_nothing<T: SortedTable>() {
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
