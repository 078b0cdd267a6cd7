//! Keys as paths: symbols, shared bytes, and many bytes compared at once. Numbers only, no memory.
//!
//! Callers: the radix tree.

/// What a node tells keys apart by: [`END`], or a byte's number plus one.
pub(super) type Symbol = u32;

/// The key ends here. Comes before all bytes, as a key comes before those that it is a prefix of.
pub(super) const END: Symbol = 0;

/// How many bytes before its depth a node keeps.
pub(super) const TAIL_LEN: usize = 6;

#[inline]
pub(super) fn symbol_of(byte: u8) -> Symbol {
    Symbol::from(byte) + 1
}

/// The byte of a symbol, unless it is END.
#[inline]
pub(super) fn byte(symbol: Symbol) -> Option<u8> {
    symbol.checked_sub(1).map(|byte| byte as u8)
}

/// What the key has at a depth.
#[inline]
pub(super) fn symbol_at(key: &[u8], depth: usize) -> Symbol {
    key.get(depth).map_or(END, |&byte| symbol_of(byte))
}

/// The eight bytes before `depth`, the last one uppermost, zeros before the first. REQUIRES: the key is as long.
#[inline]
pub(super) fn tail(key: &[u8], depth: usize) -> u64 {
    let before = key.get(..depth).unwrap_or(key);
    if let Some(last) = before.last_chunk::<8>() {
        return u64::from_le_bytes(*last);
    }
    before
        .iter()
        .fold(0, |tail, &byte| tail >> 8 | u64::from(byte) << 56)
}

/// The first position from `from` on at which the keys differ or one of them ends.
#[inline]
pub(super) fn common_len(a: &[u8], b: &[u8], from: usize) -> usize {
    let (rest_a, rest_b) = (
        a.get(from..).unwrap_or_default(),
        b.get(from..).unwrap_or_default(),
    );
    let mut len = from;
    for (x, y) in rest_a.chunks_exact(8).zip(rest_b.chunks_exact(8)) {
        if x != y {
            break;
        }
        len += 8;
    }
    let (rest_a, rest_b) = (a.get(len..).unwrap_or_default(), b.get(len..).unwrap_or_default());
    len + rest_a.iter().zip(rest_b).take_while(|(x, y)| x == y).count()
}

/// A bit for each of the sixteen bytes (the lowest of `first` first) that equals `byte`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn equal_bytes(first: u64, second: u64, byte: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: every x86-64 processor has SSE2; only values are computed.
    let mask = unsafe {
        let bytes = _mm_set_epi64x(second as i64, first as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8)))
    };
    u64::from(mask as u32)
}

/// A bit for each of the sixteen bytes (the lowest of `first` first) that equals `byte`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn equal_bytes(first: u64, second: u64, byte: u8) -> u64 {
    equal_bytes_portably(first, second, byte)
}

/// The same for processors that are not known here.
#[cfg_attr(target_arch = "x86_64", cfg(test))]
#[inline]
fn equal_bytes_portably(first: u64, second: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let equal = |word: u64| {
        let differing = word ^ (u64::from(byte) * LOW);
        // The upper bit of each byte: whether the byte is zero. No carry leaves a byte.
        let zero = !(((differing & SEVEN) + SEVEN) | differing | SEVEN);
        // Gathers the upper bits: byte i's arrives at bit 56 + i.
        (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    equal(first) | equal(second) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_where_they_are_on_every_processor() {
        let mut state = 1u64;
        for _ in 0..2000 {
            state = state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            // Few different bytes, so that there are matches, also of neighbours of the byte looked for.
            let first = (state >> 7) & 0x8101_0180_ff01_0081;
            let second = (state >> 13) & 0x0180_0181_0001_ff01;
            for byte in [0, 1, 0x7f, 0x80, 0x81, 0xfe, 0xff] {
                let all = [first.to_le_bytes(), second.to_le_bytes()].concat();
                let expected = (0..16).fold(0, |mask, i| mask | u64::from(all[i] == byte) << i);
                assert_eq!(equal_bytes(first, second, byte), expected);
                assert_eq!(equal_bytes_portably(first, second, byte), expected);
            }
        }
    }

    #[test]
    fn shared_bytes_are_counted_from_anywhere() {
        let a: Vec<u8> = (0..40).collect();
        for differing in 0..40 {
            let mut b = a.clone();
            b[differing] = 0xff;
            for from in 0..=differing {
                assert_eq!(common_len(&a, &b, from), differing);
                assert_eq!(common_len(&a, &b[..differing], from), differing);
            }
        }
        assert_eq!(common_len(&a, &a, 7), 40);
    }

    #[test]
    fn the_tail_has_the_last_byte_uppermost() {
        assert_eq!(tail(b"", 0), 0);
        assert_eq!(tail(b"ab", 2), 0x6261_0000_0000_0000);
        assert_eq!(tail(b"abcdefgh", 8), 0x6867_6665_6463_6261);
        assert_eq!(tail(b"xabcdefghij", 9), 0x6867_6665_6463_6261);
    }
}
