//! Readers beside a writer, and several writers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// The writers insert key `hash(n)` with number n and a value derived from it, in the order of n within each writer.
fn concurrent_key(n: u64) -> Vec<u8> {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key.to_vec()
}

pub(super) fn concurrent_value(n: u64) -> Vec<u8> {
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

pub(super) fn readers_beside_a_writer_see_whole_entries_in_order_and_all_that_came_before<T: SortedTable>() {
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

pub(super) fn several_writers_lose_nothing<T: SortedTable>() {
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
pub(super) fn crowded_key(n: u64) -> Vec<u8> {
    let mut random = Random(n);
    let mut key = tricky_key(&mut random);
    if random.below(2) == 0 {
        key.push(random.below(256) as u8);
    }
    key
}

pub(super) fn readers_beside_a_writer_of_crowded_keys_see_all_versions_that_came_before<T: SortedTable>() {
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
