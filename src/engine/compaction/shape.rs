//! [`Shape`]: how many bytes each level is meant to hold, from the bottom up.
//!
//! ```text
//!            bytes of the tree   1 GiB          10 GiB         100 GiB
//!  level 0   by files            v              v              v
//!        4                       │              │              1   GiB  <- base
//!        5                       │              1   GiB <- base  9.1 GiB
//!        6   the rest            1 GiB <- base  9   GiB        90  GiB
//! ```
//!
//! The last level holds nine tenths of everything below level 0, each level above it a tenth of the next one. So what is
//! stored more than once is at most about a ninth of the last level: space stays near 1.11 times the live data, whatever
//! its size. Levels that would be too small to be worth their step are not opened: level 0 goes straight into the *base*,
//! the highest level in use.
//!
//! When a level opens. Level 0 hands down B bytes at once. Straight into a base of X bytes that costs 1 + X/B bytes written
//! for each byte; by way of a new level of X/10 it costs 1 + X/10B for the first step and 1 + X/(B + X/10) for the second.
//! The two are equal at X = 4.5 B; the new base opens at `OPENS` = 4.
//!
//! Levels above the base (of a tree that has shrunk) are meant to be empty, and are drained. Nothing is ever written
//! below a level that has something, past it: the base is never deeper than the first level with a file.

use crate::manifest::LEVELS;

/// Each level is meant to hold this many times the one above.
const FACTOR: u64 = 10;

/// A level opens above the base when the base is meant to hold this many times what level 0 hands down at once.
const OPENS: u64 = 4;

/// The target of the last level: there is nowhere to go.
pub(crate) const NO_TARGET: u64 = u64::MAX;

/// The sizes that a tree is meant to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where level 0 goes.
    pub(crate) base: usize,
    /// Bytes beyond which a level is too large; nothing for level 0, where files are counted.
    pub(crate) targets: [u64; LEVELS],
}

impl Shape {
    /// The shape for levels of these sizes, of which level 0 hands down `handed_down` at once.
    pub(crate) fn new(bytes: &[u64; LEVELS], handed_down: u64) -> Shape {
        let total: u64 = bytes.iter().skip(1).sum();
        let mut targets = [0; LEVELS];
        if let Some(last) = targets.last_mut() {
            *last = NO_TARGET;
        }
        let mut base = LEVELS - 1;
        let mut target = total - total / FACTOR;
        while base > 1 && target > handed_down.saturating_mul(OPENS) {
            base -= 1;
            target /= FACTOR;
            if let Some(slot) = targets.get_mut(base) {
                *slot = target;
            }
        }
        let first = (1..LEVELS).find(|level| bytes.get(*level).is_some_and(|bytes| *bytes > 0));
        Shape {
            base: first.map_or(base, |first| first.min(base)),
            targets,
        }
    }

    pub(crate) fn target(&self, level: usize) -> u64 {
        self.targets.get(level).copied().unwrap_or(NO_TARGET)
    }

    /// Bytes that compaction has still to write until no level is too large: what is over a target goes down, and
    /// rewrites as much of the next level as it overlaps. `level_0` counts if level 0 is to go.
    pub(crate) fn owed(&self, bytes: &[u64; LEVELS], level_0: u64, handed_down: u64) -> u64 {
        let at = |level: usize| bytes.get(level).copied().unwrap_or(0) as f64;
        let mut owed = 0.0;
        // Level 0 meets all of the base each time that it has filled up.
        let mut coming = level_0 as f64;
        owed += coming * (1.0 + at(self.base) / handed_down.max(1) as f64);
        for level in self.base..LEVELS {
            let size = at(level) + coming;
            coming = (size - self.target(level) as f64).max(0.0);
            if coming > 0.0 {
                owed += coming * (1.0 + at(level + 1) / size);
            }
        }
        owed as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HANDED_DOWN: u64 = 256 * MIB;

    fn in_last(total: u64) -> [u64; LEVELS] {
        let mut bytes = [0; LEVELS];
        bytes[LEVELS - 1] = total;
        bytes
    }

    #[test]
    fn an_empty_tree_goes_straight_into_the_last_level() {
        let shape = Shape::new(&[0; LEVELS], HANDED_DOWN);
        assert_eq!(shape.base, 6);
        assert_eq!(shape.targets, [0, 0, 0, 0, 0, 0, NO_TARGET]);
    }

    #[test]
    fn levels_open_one_by_one_as_the_tree_grows() {
        let base = |total| Shape::new(&in_last(total), HANDED_DOWN).base;
        assert_eq!(base(1024 * MIB), 6);
        assert_eq!(base(1200 * MIB), 5);
        assert_eq!(base(11_000 * MIB), 5);
        assert_eq!(base(12_000 * MIB), 4);
        assert_eq!(base(120_000 * MIB), 3);
        assert_eq!(base(1 << 60), 1, "never above level 1");
    }

    #[test]
    fn each_level_is_a_tenth_of_the_next_and_the_last_has_nine_tenths() {
        let shape = Shape::new(&in_last(100_000 * MIB), HANDED_DOWN);
        assert_eq!(shape.base, 4);
        assert_eq!(shape.target(5), 9_000 * MIB);
        assert_eq!(shape.target(4), 900 * MIB);
        assert_eq!(shape.target(3), 0);
    }

    #[test]
    fn levels_of_a_tree_that_has_shrunk_are_drained_before_the_base_moves_down() {
        let mut bytes = in_last(100 * MIB);
        bytes[2] = 7;
        let shape = Shape::new(&bytes, HANDED_DOWN);
        assert_eq!((shape.base, shape.target(2), shape.target(5)), (2, 0, 0));
        // What lies too high goes all the way down, so it is owed at each step.
        assert_eq!(shape.owed(&bytes, 0, HANDED_DOWN) / MIB, 100);
    }

    #[test]
    fn what_passes_an_empty_level_is_owed_once() {
        let shape = Shape::new(&in_last(100_000 * MIB), HANDED_DOWN);
        assert_eq!(shape.base, 4);
        let owed = shape.owed(&in_last(100_000 * MIB), 40 * MIB, HANDED_DOWN);
        assert_eq!(owed, 40 * MIB);
    }

    #[test]
    fn a_tree_in_shape_owes_nothing_and_debt_grows_with_what_comes() {
        let mut bytes = in_last(9_000 * MIB);
        bytes[5] = 890 * MIB;
        let shape = Shape::new(&bytes, HANDED_DOWN);
        assert_eq!(shape.owed(&bytes, 0, HANDED_DOWN), 0);
        let owed: Vec<u64> = (0..10)
            .map(|files| shape.owed(&bytes, files * 40 * MIB, HANDED_DOWN))
            .collect();
        assert!(owed.is_sorted() && owed[1] > 40 * MIB, "{owed:?}");
        // Twice as much coming owes between once and three times as much: no step.
        assert!(owed[8] < owed[4] * 3, "{owed:?}");
        // What is over the target, and nine times as much of the next level.
        bytes[5] = 1_000 * MIB;
        let shape = Shape::new(&bytes, HANDED_DOWN);
        assert_eq!(shape.owed(&bytes, 0, HANDED_DOWN), 1_000 * MIB);
    }
}
