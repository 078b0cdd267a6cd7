//! A column: one unsigned number per entry of a key block, in as few bytes as the block's numbers allow.
//!
//! ```text
//! descriptor (16 bytes):  base u64 | stride u32 | width u8 (0, 1, 2, 4, 8) | reserved [u8; 3] = 0
//! body:                   count x width bytes
//!
//! value(i) = base + i * stride          when width = 0  (stride 0: a constant)
//! value(i) = base + delta(i)            when width > 0  (stride must be 0)
//! ```
//!
//! Invariant: [`Column::parse`] has checked that the body lies inside the block, so `get` fails only for an entry number
//! that does not exist. Sums wrap: hostile bytes give a wrong number, which its user checks, never an overflow.
//!
//! Callers: `key_block`.

use crate::coding::{array_at, u32_at, u64_at};

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR_LEN: usize = 16;

/// Where a column's numbers lie and how to read them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Column {
    base: u64,
    stride: u32,
    width: u8,
    /// First byte of the body within the block.
    at: usize,
}

impl Column {
    /// Reads the descriptor at `descriptor` and takes the column's body off the block at `at`. Returns the column and
    /// where the next one starts; `None` when it does not fit the block or is not a column.
    pub(crate) fn parse(block: &[u8], descriptor: usize, at: usize, count: u32) -> Option<(Column, usize)> {
        let base = u64_at(block, descriptor)?;
        let stride = u32_at(block, descriptor + 8)?;
        let [width, reserved @ ..] = array_at::<4>(block, descriptor + 12)?;
        if reserved != [0; 3] || !matches!(width, 0 | 1 | 2 | 4 | 8) || (width > 0 && stride > 0) {
            return None;
        }
        // A u32 times at most 8 plus a position within the block: no overflow in 64 bits.
        let end = at.checked_add(count as usize * usize::from(width))?;
        (end <= block.len()).then_some((
            Column {
                base,
                stride,
                width,
                at,
            },
            end,
        ))
    }

    /// Bytes an entry, for descriptions.
    pub(crate) fn width(&self) -> u8 {
        self.width
    }

    /// The number of entry `i`; `None` when there is no such entry.
    #[inline]
    pub(crate) fn get(&self, block: &[u8], i: u32) -> Option<u64> {
        let delta = match self.width {
            0 => u64::from(i) * u64::from(self.stride),
            1 => u64::from(*block.get(self.at + i as usize)?),
            2 => u64::from(u16::from_le_bytes(array_at(block, self.at + i as usize * 2)?)),
            4 => u64::from(u32::from_le_bytes(array_at(block, self.at + i as usize * 4)?)),
            _ => u64::from_le_bytes(array_at(block, self.at + i as usize * 8)?),
        };
        Some(self.base.wrapping_add(delta))
    }
}

/// Appends the descriptor of a column of `values` to `descriptors` and its body to `body`.
pub(crate) fn encode(values: &[u64], descriptors: &mut Vec<u8>, body: &mut Vec<u8>) {
    let (base, stride, width) = choose(values);
    descriptors.extend_from_slice(&base.to_le_bytes());
    descriptors.extend_from_slice(&stride.to_le_bytes());
    descriptors.extend_from_slice(&[width, 0, 0, 0]);
    if width == 0 {
        return;
    }
    for value in values {
        let delta = value.wrapping_sub(base).to_le_bytes();
        body.extend(delta.iter().take(usize::from(width)));
    }
}

/// The smallest form: base, stride, width.
fn choose(values: &[u64]) -> (u64, u32, u8) {
    let first = values.first().copied().unwrap_or(0);
    let second = values.get(1).copied().unwrap_or(first);
    if let Some(stride) = second.checked_sub(first).and_then(|d| u32::try_from(d).ok()) {
        let fits = |(i, &value): (usize, &u64)| {
            value == first.wrapping_add((i as u64).wrapping_mul(u64::from(stride)))
        };
        if values.iter().enumerate().all(fits) {
            return (first, stride, 0);
        }
    }
    let base = values.iter().copied().min().unwrap_or(0);
    let width = match values.iter().copied().max().unwrap_or(0) - base {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    (base, 0, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(values: &[u64]) -> usize {
        let (mut block, mut body) = (Vec::new(), Vec::new());
        encode(values, &mut block, &mut body);
        assert_eq!(block.len(), DESCRIPTOR_LEN);
        let body_len = body.len();
        block.extend(body);
        let (column, end) = Column::parse(&block, 0, DESCRIPTOR_LEN, values.len() as u32).unwrap();
        assert_eq!(end, block.len());
        for (i, &value) in values.iter().enumerate() {
            assert_eq!(column.get(&block, i as u32), Some(value));
        }
        body_len
    }

    #[test]
    fn a_column_takes_the_narrowest_width_that_holds_its_numbers() {
        assert_eq!(round_trip(&[7; 100]), 0, "constant");
        assert_eq!(round_trip(&[3, 13, 23, 33]), 0, "constant stride");
        assert_eq!(round_trip(&[1 << 50, (1 << 50) + 255, 1 << 50]), 3);
        assert_eq!(round_trip(&[9, 0, 65_535]), 6);
        assert_eq!(round_trip(&[9, 0, 65_536]), 12);
        assert_eq!(round_trip(&[9, 0, u64::MAX]), 24);
        assert_eq!(round_trip(&[5]), 0);
        assert_eq!(round_trip(&[]), 0);
    }

    #[test]
    fn descriptors_that_do_not_fit_are_refused() {
        let (mut block, mut body) = (Vec::new(), Vec::new());
        encode(&[1, 9, 3], &mut block, &mut body);
        block.extend(body);
        assert!(Column::parse(&block, 0, DESCRIPTOR_LEN, 3).is_some());
        assert!(
            Column::parse(&block, 0, DESCRIPTOR_LEN, 4).is_none(),
            "one entry more than there are bytes"
        );
        assert!(
            Column::parse(&block, 8, DESCRIPTOR_LEN, 3).is_none(),
            "descriptor past the end"
        );
        let mut bad = block.clone();
        bad[12] = 3;
        assert!(
            Column::parse(&bad, 0, DESCRIPTOR_LEN, 1).is_none(),
            "a width of three bytes"
        );
    }
}
