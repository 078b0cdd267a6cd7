//! The offset table: where each block lies, by its number.
//!
//! ```text
//! sums: crc32 u32 of each page, seeded as a section's | pages, back to back
//! page: places of blocks, in the order of their numbers; all pages but the last hold equally many (footer: places a page)
//! place: start u32 | length with frame (bits 0 to 27), codec (bit 28), kind (bits 29 to 31) u32
//! ```
//!
//! The length makes reading any block one call; kind and codec are there so that a reader knows, without touching the
//! block, whether to look in the mapping or in the cache. The block's frame must agree.
//!
//! The footer's checksum of this section covers the sums only. A table of one page is read when the file is opened. Of a longer one
//! only the sums are; its pages are served from the mapping, or come by a read call and stay in the cache, and are
//! verified against their sums before they are believed.
//!
//! Callers: `output` writes; `reader`, `salvage` and `footer` read.

use super::frame::{BlockKind, Codec, Seed};
use crate::coding::{array_at, u32_at};

/// Bytes of one place.
pub(crate) const PLACE_LEN: usize = 8;
/// Bytes of one page's checksum.
pub(super) const SUM_LEN: usize = 4;
/// The fewest and the most places that a page holds.
pub(super) const MIN_PAGE_PLACES: u32 = 8;
pub(super) const MAX_PAGE_PLACES: u32 = 1 << 17;

/// Places a page for pages of about so many bytes.
pub(super) fn page_places(partition_size: u32) -> u32 {
    let places = (partition_size / PLACE_LEN as u32).clamp(MIN_PAGE_PLACES, MAX_PAGE_PLACES);
    1 << places.ilog2()
}

/// Pages of a table.
pub(super) fn page_count(blocks: u32, page_places: u32) -> u32 {
    blocks.div_ceil(page_places.max(1))
}

/// Bytes of the sums.
pub(super) fn sums_len(blocks: u32, page_places: u32) -> u64 {
    u64::from(page_count(blocks, page_places)) * SUM_LEN as u64
}

/// Bytes of the whole table.
pub(super) fn table_len(blocks: u32, page_places: u32) -> u64 {
    sums_len(blocks, page_places) + u64::from(blocks) * PLACE_LEN as u64
}

/// The sums of these pages.
pub(super) fn sums(places: &[u8], page_places: u32, seed: Seed) -> Vec<u8> {
    let pages = places.chunks((page_places as usize * PLACE_LEN).max(1));
    pages.flat_map(|page| seed.section(page).to_le_bytes()).collect()
}

/// Whether page number `page` is whole.
pub(super) fn page_fits(sums: &[u8], page: u32, bytes: &[u8], seed: Seed) -> bool {
    u32_at(sums, page as usize * SUM_LEN) == Some(seed.section(bytes))
}

/// Place number `i` of these.
#[inline]
pub(super) fn place_at(places: &[u8], i: usize) -> Option<BlockPlace> {
    array_at(places, i.checked_mul(PLACE_LEN)?).and_then(BlockPlace::decode)
}

/// Where a block lies, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    pub(crate) start: u32,
    /// Frame and stored bytes.
    pub(crate) len: u32,
    pub(crate) kind: BlockKind,
    pub(crate) codec: Codec,
}

impl BlockPlace {
    pub(crate) fn encode(&self) -> [u8; PLACE_LEN] {
        let packed = self.len | u32::from(self.codec.to_bits()) << 28 | u32::from(self.kind.to_bits()) << 29;
        let all = u64::from(self.start) | u64::from(packed) << 32;
        all.to_le_bytes()
    }

    #[inline]
    pub(crate) fn decode(bytes: [u8; PLACE_LEN]) -> Option<BlockPlace> {
        let all = u64::from_le_bytes(bytes);
        let packed = (all >> 32) as u32;
        Some(BlockPlace {
            start: all as u32,
            len: packed & ((1 << 28) - 1),
            kind: BlockKind::from_bits((packed >> 29) as u8)?,
            codec: Codec::from_bits((packed >> 28) as u8 & 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_powers_of_two_within_their_limits() {
        for (size, places) in [(0, 8), (64, 8), (200, 16), (32 << 10, 4096), (u32::MAX, 1 << 17)] {
            assert_eq!(page_places(size), places, "{size}");
        }
        assert_eq!((page_count(0, 8), page_count(8, 8), page_count(9, 8)), (0, 1, 2));
        assert_eq!(table_len(9, 8), 2 * 4 + 9 * 8);
        assert_eq!(page_count(u32::MAX, 8), 1 << 29);
    }

    #[test]
    fn a_page_is_told_from_its_neighbour() {
        let seed = Seed::new(&[7; 16]);
        let places: Vec<u8> = (0..20 * PLACE_LEN).map(|i| i as u8).collect();
        let sums = sums(&places, 8, seed);
        assert_eq!(sums.len() as u64, sums_len(20, 8));
        for (page, bytes) in (0..).zip(places.chunks(64)) {
            assert!(page_fits(&sums, page, bytes, seed));
            assert!(!page_fits(&sums, page + 1, bytes, seed));
        }
    }

    #[test]
    fn block_places_round_trip() {
        for kind in [
            BlockKind::Key,
            BlockKind::Value,
            BlockKind::Medium,
            BlockKind::Filter,
            BlockKind::Index,
            BlockKind::References,
        ] {
            for codec in [Codec::Raw, Codec::Lz4] {
                let place = BlockPlace {
                    start: u32::MAX,
                    len: (1 << 28) - 1,
                    kind,
                    codec,
                };
                assert_eq!(BlockPlace::decode(place.encode()), Some(place));
            }
        }
    }
}
