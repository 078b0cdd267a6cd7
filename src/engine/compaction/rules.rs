//! [`Retention`]: which versions somebody can still see.
//!
//! The open snapshots cut the numbers into stripes. Of a key's versions that lie in one stripe only the newest can be
//! seen by anybody:
//!
//! ```text
//!   numbers    0 ───────── s1 ─────────── s2 ─────────> newest
//!   stripe        0      │       1      │      2
//! ```
//!
//! A version at number n lies in the stripe of the first snapshot at or above n. Snapshots taken after the sample was
//! taken see only the newest version: everything that a job merges was published before.

use crate::types::SeqNo;

/// Decides version by version, in merge order (key ascending, number descending).
pub(crate) struct Retention {
    /// Ascending.
    snapshots: Vec<SeqNo>,
    key: Vec<u8>,
    /// The stripe of the version of `key` that was kept last.
    stripe: Option<usize>,
}

impl Retention {
    pub(crate) fn new(snapshots: Vec<SeqNo>) -> Self {
        Retention {
            snapshots,
            key: Vec::new(),
            stripe: None,
        }
    }

    fn stripe_of(&self, seq: SeqNo) -> usize {
        self.snapshots.partition_point(|snapshot| *snapshot < seq)
    }

    /// Whether anybody can see this version.
    pub(crate) fn keeps(&mut self, key: &[u8], seq: SeqNo) -> bool {
        if self.stripe.is_none() || self.key != key {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.stripe = None;
        }
        let stripe = self.stripe_of(seq);
        if self.stripe == Some(stripe) {
            return false;
        }
        self.stripe = Some(stripe);
        true
    }

    /// Whether every open snapshot sees this version or a newer one of its key: then older versions are for nobody, and
    /// where nothing older lies below, a tombstone hides nothing and a number decides nothing.
    pub(crate) fn is_oldest_stripe(&self, seq: SeqNo) -> bool {
        self.stripe_of(seq) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_a_stripe_is_kept() {
        let mut retention = Retention::new(vec![10, 20]);
        let kept: Vec<SeqNo> = [25, 22, 20, 15, 10, 3]
            .into_iter()
            .filter(|seq| retention.keeps(b"k", *seq))
            .collect();
        assert_eq!(kept, [25, 20, 10]);
    }

    #[test]
    fn keys_do_not_influence_each_other() {
        let mut retention = Retention::new(vec![]);
        assert!(retention.keeps(b"a", 5));
        assert!(!retention.keeps(b"a", 4));
        assert!(retention.keeps(b"b", 4));
        assert!(retention.keeps(b"", 4), "the empty key is a key");
        assert!(!retention.keeps(b"", 3));
    }

    #[test]
    fn the_oldest_stripe_ends_at_the_oldest_snapshot() {
        let retention = Retention::new(vec![10, 20]);
        assert!(retention.is_oldest_stripe(10));
        assert!(!retention.is_oldest_stripe(11));
        assert!(Retention::new(vec![]).is_oldest_stripe(u64::MAX));
    }
}
