//! The arena: memory for the nodes of one memtable, handed out and never taken back before the memtable dies.
//!
//! Memory comes in chunks. A place in the arena is a [`Place`], 32 bits wide, so that a link costs half a pointer:
//!
//! ```text
//!  31  30           17 16               0
//! +---+---------------+------------------+
//! | 0 | chunk, from 1 | offset / 8 bytes |      0 = no place; chunk 0 is never used; users may mark links by the top bit
//! +---+---------------+------------------+
//!
//! chunk:  | bytes u64 | bits u64 | one bit for each 8 bytes of the chunk: an entry starts here | entries ... |
//! ```
//!
//! There may be several bump pointers, each with chunks of its own: what is searched lies apart from what is only found.
//! Chunks of a bump pointer for nodes have no start bits: no number from outside can lead there.
//!
//! Invariants:
//! 1. A chunk is never moved, resized or freed while the arena lives: a resolved pointer stays good that long.
//! 2. A chunk's slot is written once, before any place inside the chunk exists. Whoever has learned of a place through
//!    an Acquire load (or a lock) therefore finds the slot filled.
//! 3. One thread allocates at a time (it holds all of the arena's [`Bump`]s); any number resolve, without a lock.
//! 4. A start bit is set after the entry there is whole, and never cleared: a number from outside, checked against the
//!    bits, can't lead to anything but a whole entry.
//! 5. Where the system gives no memory, or all places are taken, `allocate` is an error (`LimitExceeded`), nothing that was
//!    handed out has changed, and a later call may succeed. The same holds if the allocator panics. All other memory of the
//!    library is std's: where that is missing the process aborts (`std::alloc::handle_alloc_error`).
//! 6. Chunks start at 16 KiB (for nodes: 4 KiB) and grow with what there is, up to 1 MiB, and there is none before the
//!    first allocation.
//!
//! Callers: `skip_list` and `radix`.
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

/// The first chunk, in bytes: what an idle keyspace costs after its first write. (Under loom three entries fill it.)
const MIN_CHUNK: usize = if cfg!(packstone_loom) { 256 } else { 16 << 10 };

/// The first chunk for nodes, in bytes: they take about a tenth of what entries take.
const MIN_NODE_CHUNK: usize = if cfg!(packstone_loom) { 256 } else { 4 << 10 };

/// Chunks grow with what there is: this share of it at most, so that little is allocated beyond what is used. Doubling
/// them made memtables of 256 KiB full when they held half of it: the sum of two such series passes the limit early.
const GROWTH_SHARE: usize = 4;

/// Where the growth ends, in bytes. It bounds what a memtable allocates beyond what it uses.
const MAX_CHUNK: usize = 1 << 20;

/// Entries above this share of a chunk get a chunk of their own, so that at most three eighths of a chunk stay empty
/// when the next entry doesn't fit. A smaller share would let large entries use up the chunk numbers sooner.
const OWN_CHUNK: usize = MAX_CHUNK / 8 * 3;

/// The start bits of a chunk for one entry: a word of them, which covers where the entry starts.
const OWN_CHUNK_BITS: usize = 64;

pub(super) const OFFSET_BITS: u32 = (MAX_CHUNK / UNIT).trailing_zeros();
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;

/// The bits of a place. The one above them is free for users.
const PLACE_BITS: u32 = 31;

/// Slots in one segment of the chunk table: 2 KiB a segment, enough for a 250 MiB memtable. The first one lies in the arena
/// itself: that saves a dependent load for each step of a search. (Under loom the second chunk begins the second segment, and
/// there are few: each is an object of the checker's.)
const SEGMENT_LEN: usize = if cfg!(packstone_loom) { 2 } else { 256 };
const SEGMENTS: usize = if cfg!(packstone_loom) {
    16
} else {
    (1 << (PLACE_BITS - OFFSET_BITS)) / SEGMENT_LEN
};

/// The largest number of chunks (slot 0 is never used): 6 GiB if all entries are huge, 16 GiB if they are small. The
/// engine asks for 5 GiB at most: a write buffer of 4 GiB and the batch that fills it.
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

/// Where the next allocation goes. All of an arena's lie behind the memtable's lock.
pub(super) struct Bump {
    /// The chunk that is being filled; dangling while there is none.
    base: *mut u8,
    chunk: usize,
    used: usize,
    capacity: usize,
    /// The first chunk's size.
    first_size: usize,
    /// Bytes of the chunks so far, without those for one entry.
    total: usize,
    /// Whether the chunks have start bits.
    marked: bool,
}

// SAFETY: `base` points into the arena, which outlives the bump pointer's use (both live in one memtable) and whose
// memory belongs to no thread.
unsafe impl Send for Bump {}

impl Bump {
    /// For entries, which numbers from outside may lead to.
    pub(super) fn new() -> Self {
        Bump {
            base: ptr::null_mut(),
            chunk: 0,
            used: 0,
            capacity: 0,
            first_size: MIN_CHUNK,
            total: 0,
            marked: true,
        }
    }

    /// For nodes, which only links lead to.
    pub(super) fn for_nodes() -> Self {
        Bump {
            first_size: MIN_NODE_CHUNK,
            marked: false,
            ..Bump::new()
        }
    }
}

pub(super) struct Arena {
    first_segment: Segment,
    /// The others. Slot 0 is not used.
    segments: [AtomicPtr<Segment>; SEGMENTS],
    /// The next chunk's slot. Only the thread that allocates touches it.
    next_chunk: AtomicUsize,
    /// Bytes of chunks and segments.
    allocated: AtomicUsize,
}

impl Arena {
    pub(super) fn new() -> Self {
        Arena {
            first_segment: atomics!(AtomicPtr::new(ptr::null_mut()); SEGMENT_LEN),
            segments: atomics!(AtomicPtr::new(ptr::null_mut()); SEGMENTS),
            next_chunk: AtomicUsize::new(1),
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
    /// `bump` was never used with another arena, and no other thread allocates from this arena at the same time.
    pub(super) unsafe fn allocate(&self, bump: &mut Bump, bytes: usize) -> Result<(Place, NonNull<u8>)> {
        let bytes = bytes.next_multiple_of(UNIT);
        if bytes > OWN_CHUNK {
            let bits = if bump.marked { OWN_CHUNK_BITS } else { 0 };
            let start = first_entry(bits);
            let (chunk, base) = self.add_chunk(start + bytes, bits)?;
            // SAFETY: `start + bytes` is within the chunk just made.
            return Ok((place(chunk, start), unsafe { base.add(start) }));
        }
        if bump.capacity - bump.used < bytes {
            let needed = bytes + bytes / 32 + 2 * CHUNK_ALIGN; // start bits are a 64th
            let share = (bump.total / GROWTH_SHARE).clamp(bump.first_size, MAX_CHUNK);
            let size = (1 << share.ilog2()).max(needed.next_power_of_two());
            let bits = if bump.marked { size / UNIT } else { 0 };
            let (chunk, base) = self.add_chunk(size, bits)?;
            (bump.base, bump.chunk, bump.used, bump.capacity) =
                (base.as_ptr(), chunk, first_entry(bits), size);
            bump.total += size;
        }
        let start = bump.used;
        bump.used += bytes;
        // SAFETY: `used <= capacity` was checked or made true above, and `base` is the chunk's non-null start.
        Ok((place(bump.chunk, start), unsafe {
            NonNull::new_unchecked(bump.base.add(start))
        }))
    }

    /// Makes a chunk of `total` bytes, of which the first are its header and `bits` start bits. Gives the slot and the
    /// chunk.
    fn add_chunk(&self, total: usize, bits: usize) -> Result<(usize, NonNull<u8>)> {
        let full = |limit: usize| Error::LimitExceeded {
            what: "memtable",
            size: (self.allocated() + total) as u64,
            limit: limit as u64,
        };
        let slot = self.next_chunk.load(Ordering::Relaxed);
        if slot >= MAX_CHUNKS {
            return Err(full(self.allocated()));
        }
        let layout = chunk_layout(total).ok_or_else(|| full(isize::MAX as usize))?;
        let segment = self.segment(slot).ok_or_else(|| full(self.allocated()))?;
        // SAFETY: the layout's size is above zero, since it includes a header.
        let header = unsafe { zeroed(layout) }.cast::<Header>();
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
        self.next_chunk.store(slot + 1, Ordering::Relaxed);
        Ok((slot, base.cast()))
    }

    /// The segment of a slot, made if need be. None if there is no memory for it.
    fn segment(&self, slot: usize) -> Option<&Segment> {
        if slot < SEGMENT_LEN {
            return Some(&self.first_segment);
        }
        let root = self.segments.get(slot / SEGMENT_LEN)?;
        let mut segment = root.load(Ordering::Relaxed);
        if segment.is_null() {
            let layout = Layout::new::<Segment>();
            // SAFETY: the layout's size is 2 KiB. A zeroed array of atomic pointers is one of null pointers.
            segment = unsafe { zeroed(layout) }.cast();
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
        // SAFETY: the place exists, so its chunk's number is below MAX_CHUNKS, and its segment and slot were filled before
        // it was handed out (invariant 2), and that happened before this call (the caller's promise): Relaxed suffices.
        // The offset lies inside the chunk for the same reason.
        unsafe {
            let slot = if chunk < SEGMENT_LEN {
                self.first_segment.get_unchecked(chunk)
            } else {
                let root = self.segments.get_unchecked(chunk / SEGMENT_LEN);
                (*root.load(Ordering::Relaxed)).get_unchecked(chunk % SEGMENT_LEN)
            };
            let base = slot.load(Ordering::Relaxed);
            NonNull::new_unchecked(base.cast::<u8>().add(offset))
        }
    }

    /// The word and the mask of a place's start bit, if the arena has such a place at all. Any number may be asked.
    fn start_bit(&self, place: Place) -> Option<(&AtomicU64, u64)> {
        let chunk = (place >> OFFSET_BITS) as usize;
        let unit = u64::from(place & OFFSET_MASK);
        let segment = if chunk < SEGMENT_LEN {
            &self.first_segment
        } else {
            let segment = self.segments.get(chunk / SEGMENT_LEN)?.load(Ordering::Acquire);
            // SAFETY: a segment is null or lives as long as the arena, and is only used through atomics.
            unsafe { segment.as_ref() }?
        };
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
        free_chunks(&mut self.first_segment);
        for root in &mut self.segments {
            let segment = exclusive(root);
            if segment.is_null() {
                continue;
            }
            // SAFETY: `&mut self`: nobody else uses the segment any more. It was allocated by this arena with this layout
            // and is freed once.
            unsafe {
                free_chunks(&mut *segment);
                dealloc(segment.cast(), Layout::new::<Segment>());
            }
        }
    }
}

/// Frees the chunks of a segment, which nobody uses any more.
fn free_chunks(segment: &mut Segment) {
    for slot in segment {
        let header = exclusive(slot);
        if header.is_null() {
            continue;
        }
        // SAFETY: a slot is null or points to a chunk that `add_chunk` allocated with the layout that its header's size
        // gives; only the arena's drop comes here, once for each slot, and `&mut` says that nobody else uses it.
        unsafe {
            if let Some(layout) = chunk_layout((*header).bytes as usize) {
                dealloc(header.cast(), layout);
            }
        }
    }
}

/// Fresh memory, all zeros, or null if there is none.
///
/// # Safety
/// The layout's size is above zero.
unsafe fn zeroed(layout: Layout) -> *mut u8 {
    #[cfg(test)]
    if super::failing::fails() {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    unsafe { alloc_zeroed(layout) }
}

/// Where the entries of a chunk with so many start bits begin.
fn first_entry(bits: usize) -> usize {
    size_of::<Header>() + bits.div_ceil(64) * size_of::<AtomicU64>()
}

/// Asks the processor to fetch the line that holds `at`. Changes nothing but time.
#[inline]
pub(super) fn prefetch<T>(at: NonNull<T>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults; every x86-64 processor has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
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
mod tests;
