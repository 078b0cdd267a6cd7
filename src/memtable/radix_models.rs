//! The radix tree under loom, as `models` does with the skip list: one writer beside one reader, at each change of the tree
//! that replaces a link. A list that becomes a table is left out: its 256 links are too many for the checker.
//!
//! Run as models/README.md says.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::SortedTable;
use super::radix::RadixTree;
use crate::cursor::Cursor;
use crate::types::{EntryKind, Found, MAX_SEQ};

/// As in `models`, but one fewer: an insert takes more steps.
const PREEMPTIONS: usize = 2;

struct World {
    tree: Arc<RadixTree>,
    keys: &'static [&'static str],
    published: AtomicU64,
}

/// Too long to travel inside of a reference.
fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 20]
}

impl World {
    fn key(&self, n: u64) -> &'static [u8] {
        self.keys[n as usize - 1].as_bytes()
    }

    fn write(&self, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            self.tree
                .insert(self.key(n), n, EntryKind::Put, &value(n))
                .unwrap();
            self.published.store(n, Ordering::Release);
        }
    }

    /// Looks every entry up. What was published before must be there, what is there must be whole.
    fn look_up(&self) {
        let floor = self.published.load(Ordering::Acquire);
        for n in 1..=self.keys.len() as u64 {
            match self.tree.get(self.key(n), n) {
                Some(Found::Value(seq, bytes)) => {
                    assert!(seq == n || n > floor, "{n} was published and {seq} was found");
                    assert_eq!(bytes, value(seq));
                }
                _ => assert!(n > floor, "{n} was published and is not there"),
            }
        }
    }

    /// The same by a cursor, which must keep the order, too.
    fn scan(&self, backwards: bool) {
        let floor = self.published.load(Ordering::Acquire);
        let mut cursor = self.tree.cursor();
        let mut seen = Vec::new();
        if backwards {
            cursor.seek_to_last()
        } else {
            cursor.seek(b"", MAX_SEQ)
        }
        .unwrap();
        while cursor.valid() {
            let n = cursor.seq();
            assert_eq!(cursor.key(), self.key(n));
            assert_eq!(cursor.load(cursor.value()).unwrap(), value(n));
            seen.push(n);
            if backwards { cursor.prev() } else { cursor.next() }.unwrap();
        }
        if backwards {
            seen.reverse();
        }
        let order = |n: &u64| (self.key(*n), std::cmp::Reverse(*n));
        assert!(
            seen.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])),
            "out of order: {seen:?}"
        );
        assert!(
            (1..=floor).all(|n| seen.contains(&n)),
            "{seen:?} lacks some of 1 to {floor}"
        );
    }
}

/// The writer inserts the last `written` keys beside a reader; the others are there before.
fn beside_a_writer(keys: &'static [&'static str], written: u64, read: fn(&World)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = 100_000;
    builder.check(move || {
        let world = Arc::new(World {
            tree: Arc::new(RadixTree::new()),
            keys,
            published: AtomicU64::new(0),
        });
        let upto = keys.len() as u64;
        world.write(1..=upto - written);
        let reader = thread::spawn({
            let world = Arc::clone(&world);
            move || read(&world)
        });
        world.write(upto - written + 1..=upto);
        reader.join().unwrap();
        world.look_up();
        world.scan(false);
    });
}

/// By look-ups, and by scans in both directions.
fn every_reader(keys: &'static [&'static str], written: u64) {
    beside_a_writer(keys, written, World::look_up);
    beside_a_writer(keys, written, |world| world.scan(false));
    beside_a_writer(keys, written, |world| world.scan(true));
}

#[test]
fn the_first_entries_of_a_tree() {
    every_reader(&["b", "a"], 2);
}

#[test]
fn a_list_that_has_room() {
    every_reader(&["b", "d", "a"], 1);
}

#[test]
fn a_list_that_grows() {
    every_reader(&["b", "d", "a", "e", "c"], 1);
}

#[test]
fn shared_bytes_that_part() {
    every_reader(&["abcdefghx", "abcdefghz", "abd"], 1);
}

#[test]
fn a_key_that_ends_where_others_go_on() {
    every_reader(&["ab", "ac", "a"], 1);
}

#[test]
fn versions_of_a_key() {
    every_reader(&["a", "a", "a"], 2);
}
