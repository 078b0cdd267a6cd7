//! The radix tree under loom, as `models` does with the skip list: one writer beside one reader, at each change of the tree
//! that replaces a link. Nodes are as large as in an ordinary build, the 256 links of a table included.
//!
//! Run as models/README.md says.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::SortedTable;
use super::arena::OFFSET_BITS;
use super::models::explore;
use super::radix::RadixTree;
use crate::cursor::Cursor;
use crate::types::{EntryKind, Found, MAX_SEQ, ValuePlace, ValueRef};

struct World {
    tree: Arc<RadixTree>,
    keys: Vec<String>,
    published: AtomicU64,
}

/// Too long to travel inside of a reference.
fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 20]
}

impl World {
    fn new(keys: &[String]) -> Arc<World> {
        Arc::new(World {
            tree: Arc::new(RadixTree::new()),
            keys: keys.to_vec(),
            published: AtomicU64::new(0),
        })
    }

    fn key(&self, n: u64) -> &[u8] {
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
fn beside_a_writer(keys: &[String], written: u64, read: fn(&World)) {
    let keys = keys.to_vec();
    explore(move || {
        let world = World::new(&keys);
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
fn every_reader(keys: &[String], written: u64) {
    beside_a_writer(keys, written, World::look_up);
    beside_a_writer(keys, written, |world| world.scan(false));
    beside_a_writer(keys, written, |world| world.scan(true));
}

fn keys<const N: usize>(keys: [&str; N]) -> Vec<String> {
    keys.map(str::to_owned).to_vec()
}

/// So many keys, up to 48, that one node tells apart behind `prefix`, in no order.
fn crowd(prefix: &str, count: usize) -> Vec<String> {
    let bytes = (0..48u8).cycle().step_by(7).take(count);
    bytes
        .map(|byte| format!("{prefix}{}", char::from(b'0' + byte)))
        .collect()
}

/// Lists hold up to 4, 10, 16, 30 and 46 keys.
const FULL_LIST: usize = 46;

#[test]
fn the_first_entries_of_a_tree() {
    every_reader(&keys(["b", "a"]), 2);
}

#[test]
fn a_list_that_has_room() {
    every_reader(&keys(["b", "d", "a"]), 1);
}

#[test]
fn a_list_that_grows() {
    every_reader(&keys(["b", "d", "a", "e", "c"]), 1);
}

#[test]
fn shared_bytes_that_part() {
    every_reader(&keys(["abcdefghx", "abcdefghz", "abd"]), 1);
}

#[test]
fn a_key_that_ends_where_others_go_on() {
    every_reader(&keys(["ab", "ac", "a"]), 1);
}

#[test]
fn versions_of_a_key() {
    every_reader(&keys(["a", "a", "a"]), 2);
}

#[test]
fn versions_of_a_key_that_have_room() {
    every_reader(&keys(["a", "a", "a", "a"]), 1);
}

#[test]
fn bytes_beside_the_head_of_a_list() {
    every_reader(&crowd("", 7), 1);
    every_reader(&crowd("", 15), 1); // the first of the second word
}

#[test]
fn a_list_that_becomes_a_table() {
    every_reader(&crowd("", FULL_LIST + 1), 1);
}

#[test]
fn a_table_that_gets_a_link() {
    every_reader(&crowd("", FULL_LIST + 2), 1);
}

#[test]
fn a_key_that_ends_where_a_table_goes_on() {
    let mut keys = crowd("a", FULL_LIST + 1);
    keys.push("a".to_owned());
    every_reader(&keys, 1);
}

/// A reference is a number that may have been made up, or come from another thread without any order: here that of the
/// entry that is written last.
fn a_reference_leads_to_a_whole_entry_or_to_none(keys: Vec<String>, chunk: u64) {
    explore(move || {
        let world = World::new(&keys);
        let last = keys.len() as u64;
        world.write(1..=last - 1);
        // It is known beforehand: the same inserts build the same tree.
        let handle = {
            let twin = World::new(&keys);
            twin.write(1..=last);
            let mut cursor = twin.tree.cursor();
            cursor.seek(twin.key(last), MAX_SEQ).unwrap();
            match cursor.value().place {
                ValuePlace::Memory { handle } => handle,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(handle >> OFFSET_BITS, chunk);
        let reader = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let cursor = world.tree.cursor();
                if let Ok(loaded) = cursor.load(ValueRef::new(ValuePlace::Memory { handle })) {
                    assert_eq!(loaded, value(last));
                }
            }
        });
        world.write(last..=last);
        reader.join().unwrap();
    });
}

// Under loom four records fill a chunk; chunk 2 is that of the nodes; chunk 4 is the first of the third segment.

#[test]
fn a_reference_into_a_known_chunk_leads_to_a_whole_entry_or_to_none() {
    a_reference_leads_to_a_whole_entry_or_to_none(crowd("", 2), 1);
}

#[test]
fn a_reference_into_a_new_chunk_leads_to_a_whole_entry_or_to_none() {
    a_reference_leads_to_a_whole_entry_or_to_none(crowd("", 5), 3);
}

#[test]
fn a_reference_into_a_new_segment_leads_to_a_whole_entry_or_to_none() {
    a_reference_leads_to_a_whole_entry_or_to_none(crowd("", 9), 4);
}
