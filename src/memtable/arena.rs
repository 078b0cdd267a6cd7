//! The arena: memory for the nodes of one memtable, handed out and never taken back before the memtable dies.
//!
//! Memory comes in chunks. A place in the arena is a [`Place`], 32 bits wide, so that a link costs half a pointer:
//!
//! ```text
//!  31            17 16               0
//! +----------------+------------------+
//! | chunk, from 1  | offset / 8 bytes |      0 = no place; chunk 0 is never used
//! +----------------+------------------+
//!
//! chunk:  | bytes u64 | bits u64 | one bit for each 8 bytes of the chunk: an entry starts here | entries ... |
//! ```
//!
//! Invariants:
//! 1. A chunk is never moved, resized or freed while the arena lives: a resolved pointer stays good that long.
//! 2. A chunk's slot is written once, before any place inside the chunk exists. Whoever has learned of a place through
//!    an Acquire load (or a lock) therefore finds the slot filled.
//! 3. One thread allocates at a time (it holds the only [`Bump`]); any number resolve, without a lock.
//! 4. A start bit is set after the entry there is whole, and never cleared: a number from outside, checked against the
//!    bits, can't lead to anything but a whole entry.
//! 5. Chunks start at 16 KiB and double up to 1 MiB, and there is none before the first allocation.
//!
//! Caller: `skip_list` only.
#![allow(
    unsafe_code,
    reason = "chunks are raw memory, shared between one writer and lock-free readers"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem::size_of;
use std::ptr::{self, NonNull};

use crate::sync::lock_free::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, Witness, atomics, exclusive};
use crate::{Error, Result};

/// The unit of places and the alignment of everything in the arena, in bytes.
const UNIT: usize = 8;

/// The first chunk, in bytes: what an idle keyspace costs after its first write. (Under loom two entries fill it.)
const MIN_CHUNK: usize = if cfg!(packstone_loom) { 256 } else { 16 << 10 };

/// Where the doubling ends, in bytes. It bounds what a memtable allocates beyond what it uses.
const MAX_CHUNK: usize = 1 << 20;

/// Entries above this share of a chunk get a chunk of their own, so that at most a quarter of a chunk stays empty
/// when the next entry doesn't fit.
const OWN_CHUNK: usize = MAX_CHUNK / 4;

const OFFSET_BITS: u32 = (MAX_CHUNK / UNIT).trailing_zeros();
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;

/// Slots in one segment of the chunk table: 2 KiB a segment, enough for a 250 MiB memtable. (Under loom the second chunk
/// begins the second and last segment.)
const SEGMENT_LEN: usize = if cfg!(packstone_loom) { 2 } else { 256 };
const SEGMENTS: usize = if cfg!(packstone_loom) {
    2
} else {
    (1 << (32 - OFFSET_BITS)) / SEGMENT_LEN
};

/// The largest number of chunks (slot 0 is never used): 8 GiB if all entries are huge, 32 GiB if they are small.
const MAX_CHUNKS: usize = SEGMENTS * SEGMENT_LEN;

const CHUNK_ALIGN: usize = 64;

/// A place in the arena. Zero means none.
pub(super) type Place = u32;

type Segment = [AtomicPtr<Header>; SEGMENT_LEN];

/// What a chunk starts with. The start bits follow.
#[repr(C)]
struct Header {
    bytes: u64,
    /// How many start bits there are: one a unit, or just enough for the one entry of a chunk of its own.
    bits: u64,
    witness: Witness,
}

/// Where the next allocation goes. There is one for each arena, behind the memtable's lock.
pub(super) struct Bump {
    /// The chunk that is being filled; dangling while there is none.
    base: *mut u8,
    chunk: usize,
    used: usize,
    capacity: usize,
    /// The next chunk's slot.
    next_chunk: usize,
    next_size: usize,
}

// SAFETY: `base` points into the arena, which outlives the bump pointer's use (both live in one `SkipList`) and whose
// memory belongs to no thread.
unsafe impl Send for Bump {}

impl Bump {
    pub(super) fn new() -> Self {
        Bump {
            base: ptr::null_mut(),
            chunk: 0,
            used: 0,
            capacity: 0,
            next_chunk: 1,
            next_size: MIN_CHUNK,
        }
    }
}

pub(super) struct Arena {
    segments: [AtomicPtr<Segment>; SEGMENTS],
    /// Bytes of chunks and segments.
    allocated: AtomicUsize,
}

impl Arena {
    pub(super) fn new() -> Self {
        Arena {
            segments: atomics!(AtomicPtr::new(ptr::null_mut()); SEGMENTS),
            allocated: AtomicUsize::new(0),
        }
    }

    /// Bytes of chunks and of the table that finds them.
    pub(super) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Room for `bytes` bytes, aligned to [`UNIT`], zeroed, and where it is.
    ///
    /// # Safety
    /// `bump` is this arena's only one.
    pub(super) unsafe fn allocate(&self, bump: &mut Bump, bytes: usize) -> Result<(Place, NonNull<u8>)> {
        let bytes = bytes.next_multiple_of(UNIT);
        if bytes > OWN_CHUNK {
            let (chunk, base, start) = self.add_chunk(bump, bytes, 1)?;
            // SAFETY: `start + bytes` is within the chunk just made.
            return Ok((place(chunk, start), unsafe { base.add(start) }));
        }
        if bump.capacity - bump.used < bytes {
            let needed = bytes + bytes / 32 + 2 * CHUNK_ALIGN; // start bits are a 64th
            let size = bump.next_size.max(needed.next_power_of_two());
            let (chunk, base, start) = self.add_chunk(bump, size, size / UNIT)?;
            (bump.base, bump.chunk, bump.used, bump.capacity) = (base.as_ptr(), chunk, start, size);
            bump.next_size = (size * 2).min(MAX_CHUNK);
        }
        let start = bump.used;
        bump.used += bytes;
        // SAFETY: `used <= capacity` was checked or made true above, and `base` is the chunk's non-null start.
        Ok((place(bump.chunk, start), unsafe {
            NonNull::new_unchecked(bump.base.add(start))
        }))
    }

    /// Makes a chunk: of `size` bytes in all if it has as many bits as units, of `size` bytes after the header if it
    /// is for one entry. Gives the slot, the chunk, and the offset of the first byte for entries.
    fn add_chunk(&self, bump: &mut Bump, size: usize, units: usize) -> Result<(usize, NonNull<u8>, usize)> {
        let bits = if units == 1 { CHUNK_ALIGN } else { units };
        let start = size_of::<Header>() + bits.div_ceil(64) * size_of::<AtomicU64>();
        let total = if units == 1 { start + size } else { size };
        let full = |limit: usize| Error::LimitExceeded {
            what: "memtable",
            size: (self.allocated() + total) as u64,
            limit: limit as u64,
        };
        let slot = bump.next_chunk;
        if slot >= MAX_CHUNKS {
            return Err(full(self.allocated()));
        }
        let layout = chunk_layout(total).ok_or_else(|| full(isize::MAX as usize))?;
        let segment = self.segment(slot).ok_or_else(|| full(self.allocated()))?;
        // SAFETY: the layout's size is above zero, since it includes a header.
        let header = unsafe { alloc_zeroed(layout) }.cast::<Header>();
        let Some(base) = NonNull::new(header) else {
            return Err(full(self.allocated()));
        };
        // SAFETY: freshly allocated, zeroed, large enough and aligned for a header and the words of start bits behind it;
        // nobody else knows it.
        unsafe {
            base.write(Header {
                bytes: total as u64,
                bits: bits as u64,
                witness: Witness::new(),
            });
            make_atomics(base.add(1).cast().as_ptr(), bits.div_ceil(64), || {
                AtomicU64::new(0)
            });
        }
        if let Some(entry) = segment.get(slot % SEGMENT_LEN) {
            entry.store(header, Ordering::Release);
        }
        self.allocated.fetch_add(total, Ordering::Relaxed);
        bump.next_chunk += 1;
        Ok((slot, base.cast(), start))
    }

    /// The segment of a slot, made if need be. None if there is no memory for it.
    fn segment(&self, slot: usize) -> Option<&Segment> {
        let root = self.segments.get(slot / SEGMENT_LEN)?;
        let mut segment = root.load(Ordering::Relaxed);
        if segment.is_null() {
            let layout = Layout::new::<Segment>();
            // SAFETY: the layout's size is 2 KiB. A zeroed array of atomic pointers is one of null pointers.
            segment = unsafe { alloc_zeroed(layout) }.cast();
            if segment.is_null() {
                return None;
            }
            // SAFETY: just allocated, zeroed, with room for that many.
            unsafe {
                make_atomics(segment.cast(), SEGMENT_LEN, || {
                    AtomicPtr::<Header>::new(ptr::null_mut())
                })
            };
            self.allocated.fetch_add(layout.size(), Ordering::Relaxed);
            root.store(segment, Ordering::Release);
        }
        // SAFETY: not null, so it is a segment that lives as long as the arena and is only used through atomics.
        Some(unsafe { &*segment })
    }

    /// The address of a place.
    ///
    /// # Safety
    /// `place` came from `allocate` of this arena, and reached this thread through a lock or an Acquire load.
    #[inline]
    pub(super) unsafe fn resolve(&self, place: Place) -> NonNull<u8> {
        let chunk = (place >> OFFSET_BITS) as usize;
        let offset = (place & OFFSET_MASK) as usize * UNIT;
        // SAFETY: `chunk < MAX_CHUNKS` by its width. The place exists, so its segment and slot were filled before it
        // was handed out (invariant 2), and that happened before this call (the caller's promise): Relaxed suffices.
        // The offset lies inside the chunk for the same reason.
        unsafe {
            let segment = self
                .segments
                .get_unchecked(chunk / SEGMENT_LEN)
                .load(Ordering::Relaxed);
            let base = (*segment)
                .get_unchecked(chunk % SEGMENT_LEN)
                .load(Ordering::Relaxed);
            NonNull::new_unchecked(base.cast::<u8>().add(offset))
        }
    }

    /// The word and the mask of a place's start bit, if the arena has such a place at all. Any number may be asked.
    fn start_bit(&self, place: Place) -> Option<(&AtomicU64, u64)> {
        let chunk = (place >> OFFSET_BITS) as usize;
        let unit = u64::from(place & OFFSET_MASK);
        let segment = self.segments.get(chunk / SEGMENT_LEN)?.load(Ordering::Acquire);
        // SAFETY: a segment is null or lives as long as the arena, and is only used through atomics.
        let segment = unsafe { segment.as_ref() }?;
        let header = segment.get(chunk % SEGMENT_LEN)?.load(Ordering::Acquire);
        if header.is_null() {
            return None;
        }
        // SAFETY: a slot is null or points to a chunk whose header was written before the slot was (Release, Acquire)
        // and never changes.
        let bits = unsafe {
            (*header).witness.read();
            (*header).bits
        };
        if unit >= bits {
            return None;
        }
        // SAFETY: `bits` start bits follow the header, in whole words that start aligned to 8 and are used through
        // atomics only; `unit` is below their number.
        let word = unsafe { &*header.add(1).cast::<AtomicU64>().add((unit / 64) as usize) };
        Some((word, 1 << (unit % 64)))
    }

    /// Notes that the entry at `place` is whole. One thread at a time calls this.
    pub(super) fn mark_start(&self, place: Place) {
        if let Some((word, mask)) = self.start_bit(place) {
            word.store(word.load(Ordering::Relaxed) | mask, Ordering::Release);
        }
    }

    /// Whether a whole entry starts at `place`, which may be any number. If so, `place` may be resolved.
    pub(super) fn is_start(&self, place: Place) -> bool {
        self.start_bit(place)
            .is_some_and(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for root in &mut self.segments {
            let segment = exclusive(root);
            if segment.is_null() {
                continue;
            }
            // SAFETY: `&mut self`: nobody else uses segments or chunks any more. Each was allocated by this arena, a
            // chunk with the layout that its header's size gives, and is freed once.
            unsafe {
                for slot in &mut *segment {
                    let header = exclusive(slot);
                    if !header.is_null()
                        && let Some(layout) = chunk_layout((*header).bytes as usize)
                    {
                        dealloc(header.cast(), layout);
                    }
                }
                dealloc(segment.cast(), Layout::new::<Segment>());
            }
        }
    }
}

/// Makes `count` atomics, of the value that zeroed bytes stand for, in zeroed memory. Std's are there already; loom's
/// are not.
///
/// # Safety
/// `at` is aligned for them and has room for them; nobody else knows the memory.
#[inline(always)]
unsafe fn make_atomics<T>(at: *mut T, count: usize, new: impl Fn() -> T) {
    if cfg!(packstone_loom) {
        for i in 0..count {
            // SAFETY: the caller's promise.
            unsafe { at.add(i).write(new()) };
        }
    }
}

fn chunk_layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, CHUNK_ALIGN).ok()
}

fn place(chunk: usize, offset: usize) -> Place {
    (chunk as u32) << OFFSET_BITS | (offset / UNIT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_before_the_first_use_and_little_after() {
        let arena = Arena::new();
        assert_eq!(arena.allocated(), 0);
        let mut bump = Bump::new();
        // SAFETY: the arena's only bump pointer.
        unsafe { arena.allocate(&mut bump, 100) }.unwrap();
        assert_eq!(arena.allocated(), MIN_CHUNK + size_of::<Segment>());
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
}
