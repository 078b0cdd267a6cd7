//! The skip list and its arena under loom: every order of the threads' steps up to a number of preemptions, and every value
//! that the memory model lets a load see. Bounds are small (`arena`, `skip_list`): three entries fill the first chunk, the
//! next chunk needs a new segment, towers are two links high or one.
//!
//! Plain memory is watched by `Witness`es: a read of a node, or of a chunk's header, that its writing does not happen
//! before ends the model, whatever bytes it finds.
//!
//! Run as models/README.md says.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::SortedTable;
use super::arena::OFFSET_BITS;
use super::skip_list::SkipList;
use crate::cursor::Cursor;
use crate::types::{EntryKind, Found, MAX_SEQ, ValuePlace, ValueRef};

/// How often one thread may be interrupted where it could go on. More than the mistakes that we tried needed;
/// `LOOM_MAX_PREEMPTIONS` asks for others.
const PREEMPTIONS: usize = 3;

pub(super) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = 100_000;
    builder.check(model);
}

/// What the engine does around a memtable: `published` is its newest published number.
struct World {
    list: Arc<SkipList>,
    published: AtomicU64,
}

/// The keys in the order in which they are written: behind, before and between each other.
const KEYS: [&[u8]; 4] = [b"m", b"x", b"c", b"p"];

fn key(n: u64) -> &'static [u8] {
    KEYS[n as usize - 1]
}

/// Too long to travel inside of a reference.
fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 20]
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            list: Arc::new(SkipList::new()),
            published: AtomicU64::new(0),
        })
    }

    fn write(&self, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            self.list.insert(key(n), n, EntryKind::Put, &value(n)).unwrap();
            self.published.store(n, Ordering::Release);
        }
    }

    /// Looks every key up. What was published before must be there, what is there must be whole.
    fn look_up(&self) {
        let floor = self.published.load(Ordering::Acquire);
        for n in 1..=KEYS.len() as u64 {
            match self.list.get(key(n), MAX_SEQ) {
                Some(found) => assert_eq!(found, Found::Value(n, value(n).into())),
                None => assert!(n > floor, "{n} was published and is not there"),
            }
        }
    }

    /// The same by a cursor, which must keep the order, too.
    fn scan(&self, backwards: bool) {
        let floor = self.published.load(Ordering::Acquire);
        let mut cursor = self.list.cursor();
        let mut seen = Vec::new();
        if backwards {
            cursor.seek_to_last()
        } else {
            cursor.seek_to_first()
        }
        .unwrap();
        while cursor.valid() {
            let n = cursor.seq();
            assert_eq!(cursor.key(), key(n));
            assert_eq!(cursor.load(cursor.value()).unwrap(), value(n));
            seen.push(n);
            if backwards { cursor.prev() } else { cursor.next() }.unwrap();
        }
        if backwards {
            seen.reverse();
        }
        assert!(seen.is_sorted_by_key(|n| key(*n)), "out of order: {seen:?}");
        assert!(
            (1..=floor).all(|n| seen.contains(&n)),
            "{seen:?} lacks some of 1 to {floor}"
        );
    }
}

/// A writer that goes on behind what is there, beside one reader.
fn beside_a_writer(before: u64, upto: u64, read: fn(&World)) {
    explore(move || {
        let world = World::new();
        world.write(1..=before);
        let reader = thread::spawn({
            let world = Arc::clone(&world);
            move || read(&world)
        });
        world.write(before + 1..=upto);
        reader.join().unwrap();
        assert_eq!(world.list.len() as u64, upto);
        world.look_up();
    });
}

#[test]
fn the_first_write_into_an_empty_list_is_seen_whole_or_not_at_all() {
    beside_a_writer(0, 1, World::look_up);
}

#[test]
fn look_ups_beside_a_writer_see_what_was_published_before() {
    beside_a_writer(1, 3, World::look_up);
}

#[test]
fn a_new_chunk_and_a_new_segment_are_there_before_the_entry_in_them() {
    beside_a_writer(2, 4, World::look_up);
}

#[test]
fn a_scan_beside_a_writer_is_in_order_and_misses_nothing() {
    beside_a_writer(1, 3, |world| world.scan(false));
}

#[test]
fn a_scan_backwards_beside_a_writer_is_in_order_and_misses_nothing() {
    beside_a_writer(1, 3, |world| world.scan(true));
}

#[test]
fn two_readers_that_hand_on_what_they_have_seen_agree() {
    explore(|| {
        let world = World::new();
        let seen = Arc::new(AtomicU64::new(0));
        let first = thread::spawn({
            let (world, seen) = (Arc::clone(&world), Arc::clone(&seen));
            move || {
                if world.list.get(key(1), MAX_SEQ).is_some() {
                    seen.store(1, Ordering::Release);
                }
            }
        });
        let second = thread::spawn({
            let (world, seen) = (Arc::clone(&world), Arc::clone(&seen));
            move || {
                if seen.load(Ordering::Acquire) == 1 {
                    let found = world.list.get(key(1), MAX_SEQ);
                    assert_eq!(
                        found,
                        Some(Found::Value(1, value(1).into())),
                        "time runs backwards"
                    );
                }
            }
        });
        world.write(1..=1);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    explore(|| {
        let world = World::new();
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || world.list.insert(key(2), 2, EntryKind::Put, &value(2)).unwrap()
        });
        world.list.insert(key(1), 1, EntryKind::Put, &value(1)).unwrap();
        other.join().unwrap();
        world.published.store(2, Ordering::Release);
        world.look_up();
        world.scan(false);
    });
}

/// A reference is a number that may have been made up, or come from another thread without any order: here that of the
/// entry that is written last.
fn a_reference_leads_to_a_whole_entry_or_to_none(last: u64, chunk: u64) {
    explore(move || {
        let world = World::new();
        world.write(1..=last - 1);
        // It is known beforehand: the same inserts build the same list.
        let place = {
            let twin = World::new();
            twin.write(1..=last);
            let mut cursor = twin.list.cursor();
            cursor.seek(key(last), MAX_SEQ).unwrap();
            cursor.value()
        };
        assert!(matches!(place.place, ValuePlace::Memory { handle } if handle >> OFFSET_BITS == chunk));
        let reader = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let cursor = world.list.cursor();
                if let Ok(loaded) = cursor.load(ValueRef::new(place.place)) {
                    assert_eq!(loaded, value(last));
                }
            }
        });
        world.write(last..=last);
        reader.join().unwrap();
    });
}

#[test]
fn a_reference_into_a_known_chunk_leads_to_a_whole_entry_or_to_none() {
    a_reference_leads_to_a_whole_entry_or_to_none(2, 1);
}

#[test]
fn a_reference_into_a_new_chunk_leads_to_a_whole_entry_or_to_none() {
    a_reference_leads_to_a_whole_entry_or_to_none(4, 2);
}
