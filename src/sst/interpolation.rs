//! Interpolation search over sorted words that are hashes, or parts of hashes: uniform by construction, so that a word's
//! value tells its place within a few words.
//!
//! The words around the guess are compared all at once, without a branch for each; if what is sought lies outside,
//! bisection takes over. So words that are not uniform, hostile ones included, cost a few probes more and no more than that.
//!
//! Callers: `index` (the file's key blocks), `key_block` (a block's entries).

/// How many words on either side of the guess are looked at. Of n uniform words the one at the guess is off by half
/// the root of n, one standard deviation, in the middle; of 500 that is 11. 32 cover nearly all, in two cache lines of
/// two-byte words.
pub(crate) const REACH: usize = 32;

/// The first of the sorted words that is at or above `target`; their number, if there is none. `words` holds words of `W`
/// bytes, little endian; a rest is not looked at. Unsorted words give some number in range.
#[inline]
pub(crate) fn first_at_least<const W: usize>(words: &[u8], guess: usize, reach: usize, target: u64) -> usize {
    let (words, _) = words.as_chunks::<W>();
    let from = guess.min(words.len()).saturating_sub(reach);
    let to = (from + 2 * reach).min(words.len());
    let below = match words.get(from..to) {
        Some(window) => window.iter().map(|w| usize::from(value(w) < target)).sum(),
        None => 0,
    };
    let at = from + below;
    match below {
        0 if from > 0 => bisect(words, 0, from, target),
        _ if at == to && to < words.len() => bisect(words, to, words.len(), target),
        _ => at,
    }
}

#[cold]
fn bisect<const W: usize>(words: &[[u8; W]], from: usize, to: usize, target: u64) -> usize {
    let words = words.get(from..to).unwrap_or_default();
    from + words.partition_point(|word| value(word) < target)
}

/// Word number `i`.
#[inline]
pub(crate) fn word<const W: usize>(words: &[u8], i: usize) -> Option<u64> {
    words.get(i * W..)?.first_chunk::<W>().map(value)
}

#[inline]
fn value<const W: usize>(word: &[u8; W]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

/// The upper half of the product: `a` as a fraction of 2^64, times `b`.
#[inline]
pub(crate) fn scaled(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<const W: usize>(values: &[u64]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes().into_iter().take(W))
            .collect()
    }

    fn check<const W: usize>(values: &[u64], targets: impl Iterator<Item = u64>) {
        let bytes = words::<W>(values);
        for target in targets {
            let expected = values.partition_point(|v| *v < target);
            for guess in [0, 1, values.len() / 2, values.len(), usize::MAX / 4] {
                for reach in [1, 4, REACH] {
                    let found = first_at_least::<W>(&bytes, guess, reach, target);
                    assert_eq!(found, expected, "{target} of {} words from {guess}", values.len());
                }
            }
        }
    }

    #[test]
    fn every_word_is_found_from_every_guess() {
        for count in [0, 1, 2, 7, 63, 64, 65, 400] {
            let even: Vec<u64> = (0..count).map(|i| i * 100).collect();
            check::<2>(&even, (0..count * 100 + 2).step_by(50));
            check::<8>(&even, (0..count * 100 + 2).step_by(50).chain([u64::MAX]));
            let skewed: Vec<u64> = (0..count).map(|i| i * i * i).collect();
            check::<8>(&skewed, skewed.iter().flat_map(|v| [*v, v + 1]));
        }
    }

    #[test]
    fn equal_words_give_the_first_of_them() {
        check::<2>(&[5; 300], [0, 5, 6].into_iter());
        let runs: Vec<u64> = (0..300).map(|i| i / 100).collect();
        check::<2>(&runs, 0..4);
        check::<8>(&runs, 0..4);
    }

    #[test]
    fn words_that_are_not_sorted_give_a_place_in_range() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 48
        };
        let values: Vec<u64> = (0..500).map(|_| next()).collect();
        let bytes = words::<2>(&values);
        for _ in 0..1000 {
            assert!(first_at_least::<2>(&bytes, next() as usize, 8, next()) <= 500);
        }
    }
}
