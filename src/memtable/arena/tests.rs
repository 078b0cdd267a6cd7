//! What the arena hands out, and what happens where it can't.

use super::*;

#[test]
fn nothing_is_allocated_before_the_first_use_and_little_after() {
    let arena = Arena::new();
    assert_eq!(arena.allocated(), 0);
    let mut bump = Bump::new();
    // SAFETY: the arena's only bump pointer.
    unsafe { arena.allocate(&mut bump, 100) }.unwrap();
    assert_eq!(arena.allocated(), MIN_CHUNK);
}

#[test]
fn allocations_are_apart_aligned_and_resolve_to_their_address() {
    let arena = Arena::new();
    let mut bump = Bump::new();
    let mut got: Vec<(usize, usize)> = Vec::new();
    let sizes = [
        1,
        8,
        9,
        4000,
        16 << 10,
        100_000,
        OWN_CHUNK,
        OWN_CHUNK + 1,
        3 << 20,
        24,
    ];
    for size in sizes.into_iter().cycle().take(200) {
        // SAFETY: the arena's only bump pointer; places are its own.
        let (place, address) = unsafe { arena.allocate(&mut bump, size) }.unwrap();
        assert_ne!(place, 0);
        assert_eq!(address.as_ptr() as usize % UNIT, 0);
        // SAFETY: a place that this arena gave; `size` bytes there are ours.
        unsafe {
            assert_eq!(arena.resolve(place), address);
            address.as_ptr().write_bytes(0xff, size);
        }
        assert!(
            !arena.is_start(place),
            "not a start before it is marked, whatever is written elsewhere"
        );
        arena.mark_start(place);
        assert!(arena.is_start(place));
        got.push((address.as_ptr() as usize, size));
    }
    got.sort_unstable();
    for pair in got.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "allocations overlap");
    }
}

#[test]
fn numbers_from_outside_are_never_a_start() {
    let arena = Arena::new();
    let mut bump = Bump::new();
    // SAFETY: the arena's only bump pointer.
    let (place, _) = unsafe { arena.allocate(&mut bump, 64) }.unwrap();
    arena.mark_start(place);
    for bogus in [
        0,
        1,
        place - 1,
        place + 1,
        place + (1 << OFFSET_BITS),
        u32::MAX,
        OFFSET_MASK,
    ] {
        assert!(!arena.is_start(bogus));
    }
}

/// Places run out where millions of large entries have used up the chunks: here nearly all are passed over.
#[test]
fn when_all_chunks_are_taken_a_large_entry_is_refused_and_small_ones_go_on() {
    let arena = Arena::new();
    let mut bump = Bump::new();
    // SAFETY, here and below: the arena's only bump pointer; places are its own.
    let (first, address) = unsafe { arena.allocate(&mut bump, 64) }.unwrap();
    arena.mark_start(first);
    arena.next_chunk.store(MAX_CHUNKS - 1, Ordering::Relaxed);
    let (last, _) = unsafe { arena.allocate(&mut bump, OWN_CHUNK + 1) }.unwrap();
    arena.mark_start(last);
    let before = arena.allocated();
    for _ in 0..2 {
        let refused = unsafe { arena.allocate(&mut bump, OWN_CHUNK + 1) };
        assert!(matches!(
            refused,
            Err(Error::LimitExceeded { what: "memtable", .. })
        ));
    }
    assert_eq!(arena.allocated(), before);
    assert!(arena.is_start(first) && arena.is_start(last));
    assert_eq!(unsafe { arena.resolve(first) }, address);
    // The chunk that was begun before has room.
    let (small, _) = unsafe { arena.allocate(&mut bump, 64) }.unwrap();
    assert!(!arena.is_start(small));
}
