//! [`Bounds`]: a range of keys in one form.

use std::ops::{Bound, RangeBounds};

/// A half-open range of keys: `lower` belongs to it, `upper` does not.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) lower: Vec<u8>,
    pub(super) upper: Option<Vec<u8>>,
}

/// The least key above `key`.
pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

pub(super) fn of_range<K: AsRef<[u8]>>(range: &impl RangeBounds<K>) -> Bounds {
    let lower = match range.start_bound() {
        Bound::Included(key) => key.as_ref().to_vec(),
        Bound::Excluded(key) => successor(key.as_ref()),
        Bound::Unbounded => Vec::new(),
    };
    let upper = match range.end_bound() {
        Bound::Included(key) => Some(successor(key.as_ref())),
        Bound::Excluded(key) => Some(key.as_ref().to_vec()),
        Bound::Unbounded => None,
    };
    Bounds { lower, upper }
}

pub(super) fn of_prefix(prefix: &[u8]) -> Bounds {
    // The least key above all that begin with the prefix: its last byte that can be raised is.
    let raised = prefix.iter().rposition(|byte| *byte != 0xff).and_then(|at| {
        let mut upper = prefix.get(..=at)?.to_vec();
        *upper.last_mut()? += 1;
        Some(upper)
    });
    Bounds {
        lower: prefix.to_vec(),
        upper: raised,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_last_raisable_byte_is_raised() {
        assert_eq!(of_prefix(b"al").upper.unwrap(), b"am");
        assert_eq!(of_prefix(b"a\xff\xff").upper.unwrap(), b"b");
        assert_eq!(of_prefix(b"\xff\xff").upper, None);
        assert_eq!(of_prefix(b"").upper, None);
    }

    #[test]
    fn bounds_are_made_half_open() {
        let open = of_range::<&[u8]>(&(Bound::Excluded(&b"a"[..]), Bound::Included(&b"b"[..])));
        assert_eq!(
            (open.lower, open.upper.unwrap()),
            (b"a\0".to_vec(), b"b\0".to_vec())
        );
        let all = of_range::<&[u8]>(&..);
        assert_eq!((all.lower, all.upper), (vec![], None));
    }
}
