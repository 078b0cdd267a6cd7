//! What a memtable promises, pinned against a `BTreeMap`; in `shapes` for keys of all shapes and cursors that are held over
//! inserts, in `beside` for readers beside a writer, by what they may never see; in `memory` for allocations that fail.

mod beside;
mod memory;
mod shapes;

use std::collections::BTreeMap;

use self::beside::*;
use self::memory::*;
use self::shapes::*;
use super::radix::RadixTree;
use super::skip_list::SkipList;
use super::*;
use crate::types::{MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN, ObjectRef, ValuePlace, ValueRef};
use crate::{Error, Slice};

/// Each test for each memtable.
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
    a_made_up_value_handle_is_an_error,
    a_reference_has_24_bytes,
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
    an_insert_that_gets_no_memory_has_not_happened,
    an_insert_whose_allocation_panics_has_not_happened,
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

/// The reference to object `n`, as a value of the model.
fn object(n: u64) -> Vec<u8> {
    let id = *b"an id of 16 byte";
    ObjectRef { id, len: n }.to_bytes().to_vec()
}

/// A value of the model that is made by `object` is a reference.
fn kind_of(value: Option<&[u8]>) -> EntryKind {
    match value {
        None => EntryKind::Tombstone,
        Some(value) if value.starts_with(b"an id of 16 byte") => EntryKind::Object,
        Some(_) => EntryKind::Put,
    }
}

/// What a look-up finds of an entry of the model.
fn found(seq: SeqNo, value: Option<&[u8]>) -> Found {
    match (kind_of(value), value.unwrap_or_default()) {
        (EntryKind::Tombstone, _) => Found::Tombstone(seq),
        (EntryKind::Put, value) => Found::Value(seq, Slice::from(value)),
        (EntryKind::Object, bytes) => Found::Object(seq, ObjectRef::from_bytes(bytes).unwrap()),
    }
}

fn put<T: SortedTable>(list: &T, model: &mut Model, key: Vec<u8>, seq: SeqNo, value: Option<Vec<u8>>) {
    let kind = kind_of(value.as_deref());
    list.insert(&key, seq, kind, value.as_deref().unwrap_or_default())
        .unwrap();
    model.insert((key, std::cmp::Reverse(seq)), value);
}

fn random_list<T: SortedTable>(seed: u64, entries: u64) -> (Arc<T>, Model) {
    let (list, mut model, mut random) = (Arc::new(T::new()), Model::new(), Random(seed));
    for seq in 1..=entries {
        let value = match random.below(6) {
            0 => None,
            1 => Some(vec![7; 300]),
            2 => Some(object(seq)),
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
    let kind = value.kind();
    let value = (kind != EntryKind::Tombstone).then_some(bytes);
    assert_eq!(kind_of(value.as_deref()), kind);
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
            .map(|((_, seq), value)| found(seq.0, value.as_deref()));
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
    list.insert(b"d", 4, EntryKind::Object, &object(5)).unwrap();
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
    assert!(matches!(values[3].place, ValuePlace::MemoryObject { .. }));
    assert_eq!(values[3].kind(), EntryKind::Object);
    let loaded: Vec<Slice> = values
        .into_iter()
        .map(|value| cursor.load(value).unwrap())
        .collect();
    assert_eq!(loaded[0], b"longer than eight bytes");
    assert_eq!(loaded[1], b"short");
    assert!(loaded[2].is_empty());
    assert_eq!(loaded[3], &object(5)[..]);
}

fn a_made_up_value_handle_is_an_error<T: SortedTable>() {
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
    let as_object = |handle| ValueRef::new(ValuePlace::MemoryObject { handle });
    assert!(cursor.load(as_object(good)).is_err(), "a value is no reference");
    list.insert(b"b", 2, EntryKind::Object, &object(1)).unwrap();
    cursor.seek_to_last().unwrap();
    let ValuePlace::MemoryObject { handle } = cursor.value().place else {
        panic!("a reference lies in memory");
    };
    assert!(load(&cursor, handle).is_err(), "a reference is no value");
    assert_eq!(cursor.load(as_object(handle)).unwrap(), &object(1)[..]);
    assert!(cursor.load(as_object(handle + 1)).is_err());
    let mut out = vec![9];
    cursor.load_into(as_object(handle), &mut out).unwrap();
    assert_eq!(out, object(1));
}

fn a_reference_has_24_bytes<T: SortedTable>() {
    let list = Arc::new(T::new());
    for len in [0, 8, 23, 25, 100] {
        let refused = list.insert(b"a", 1, EntryKind::Object, &vec![0; len]);
        assert!(matches!(
            refused,
            Err(Error::LimitExceeded {
                what: "reference",
                ..
            })
        ));
    }
    assert_eq!(list.len(), 0);
    list.insert(b"a", 2, EntryKind::Object, &object(7)).unwrap();
    list.insert(b"a", 1, EntryKind::Put, &object(8)).unwrap();
    assert_eq!(list.find(b"a", 2), Some((2, Held::Object(&object(7)))));
    assert_eq!(list.find(b"a", 1), Some((1, Held::Value(&object(8)))));
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
