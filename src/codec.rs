//! LZ4 blocks, by two libraries that are each the faster one at what they do here, and read what the other writes: `lz4_flex` compresses
//! (0.45 to 1.5 GB/s; LZ4's own C is 2 to 10 % slower), LZ4's C decompresses (2.8 to 12 GB/s; `lz4_flex` takes 1.15 to three times as
//! long, most where a match overlaps what it makes, which it copies byte by byte).
//!
//! `LZ4_decompress_safe` bears any input: it never reads behind what is stored nor writes behind what was asked for.
//!
//! Callers: blocks of SSTs (`sst::frame`), chunks of records (`pack`).

use std::cell::RefCell;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// LZ4 cannot expand more than 255 times.
const MOST_EXPANSION: usize = 256;

thread_local! {
    /// The working state, kept from one call to the next: a new one is 16 KiB to clear.
    static TABLE: RefCell<CompressTable> = RefCell::new(CompressTable::large());
}

/// The most bytes that content of `len` bytes can take when compressed.
pub(crate) fn most_compressed(len: usize) -> usize {
    get_maximum_output_size(len)
}

/// Compresses `content` into the begin of `out`: how many bytes that takes. `None`: `out` was too short; [`most_compressed`] is never.
pub(crate) fn compress(content: &[u8], out: &mut [u8]) -> Option<usize> {
    TABLE.with_borrow_mut(|table| compress_into_with_table(content, out, table).ok())
}

/// Whether so many stored bytes can decompress to `len`.
pub(crate) fn is_possible(stored_len: usize, len: usize) -> bool {
    len <= stored_len.saturating_mul(MOST_EXPANSION)
}

/// Fills `out` with what `stored` decompresses to; `None` if that is not LZ4, or not of just that length, and `out` holds anything then.
pub(crate) fn decompress(stored: &[u8], out: &mut [u8]) -> Option<()> {
    // Lengths are `int`s over there.
    i32::try_from(stored.len()).ok()?;
    let len = i32::try_from(out.len()).ok()?;
    if !is_possible(stored.len(), out.len()) {
        return None;
    }
    let written = lz4::block::decompress_to_buffer(stored, Some(len), out).ok()?;
    (written == out.len()).then_some(())
}

#[cfg(all(test, not(any(packstone_loom, packstone_shuttle))))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; most_compressed(content.len())];
        let len = compress(content, &mut stored).unwrap_or_default();
        stored.truncate(len);
        stored
    }

    /// Content with matches at every distance, those that overlap what they make among them.
    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        vec((vec(any::<u8>(), 0..80), 0..40usize), 0..40).prop_map(|parts| {
            parts
                .iter()
                .flat_map(|(part, times)| part.repeat(*times))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_one_library_writes_the_other_reads(content in repetitive()) {
            let stored = compressed(&content);
            let mut back = vec![1; content.len()];
            prop_assert_eq!(decompress(&stored, &mut back), Some(()));
            prop_assert_eq!(&back, &content);
            // A length that is not its own is an error, whichever way it is wrong.
            prop_assert_eq!(decompress(&stored, &mut vec![0; content.len() + 1]), None);
            if let Some(shorter) = content.len().checked_sub(1) {
                prop_assert_eq!(decompress(&stored, &mut vec![0; shorter]), None);
            }
            for cut in 0..stored.len().min(50) {
                prop_assert_eq!(decompress(&stored[..cut], &mut back), None);
            }
        }

        #[test]
        fn any_input_is_an_error_or_fills_what_was_asked(stored in vec(any::<u8>(), 0..300), len in 0..5000usize) {
            let mut around = vec![7; len + 64];
            let _ = decompress(&stored, &mut around[32..len + 32]);
            prop_assert!(around[..32].iter().chain(&around[len + 32..]).all(|byte| *byte == 7));
        }
    }

    #[test]
    fn nothing_decompresses_to_nothing_only() {
        let stored = compressed(&[]);
        assert_eq!(decompress(&stored, &mut []), Some(()));
        assert_eq!(decompress(&[], &mut []), None);
        assert_eq!(decompress(&[], &mut [0]), None);
        assert_eq!(decompress(&stored, &mut [0]), None);
    }

    #[test]
    fn an_impossible_length_is_refused_at_once() {
        let stored = compressed(&[0; 100_000]);
        assert_eq!(
            decompress(&stored, &mut vec![0; stored.len() * MOST_EXPANSION + 1]),
            None
        );
    }
}
