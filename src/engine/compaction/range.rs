//! The plan of `compact_range`: everything in a range of keys, of all levels, into the last one.

use super::plan::{Action, Plan, bounds, overlaps, run_of};
use crate::engine::tree::{Filed, Tree};
use crate::manifest::LEVELS;

/// Everything in every level that overlaps `least..=greatest`. `None` when nothing does.
///
/// The range is widened until no file outside overlaps one inside: else an entry could sink below an older one.
pub(crate) fn plan_range<T: Filed>(tree: &Tree<T>, least: &[u8], greatest: Option<&[u8]>) -> Option<Plan<T>> {
    // A range without an upper bound ends with the greatest key that there is.
    let (_, end) = bounds(tree.tables())?;
    let (mut least, mut greatest) = (least.to_vec(), greatest.map_or(end, <[u8]>::to_vec));
    if greatest < least {
        return None;
    }
    loop {
        let mut inputs = Vec::new();
        // Level 0 goes whole or not at all.
        let level_0 = tree.level(0);
        if level_0.iter().any(|table| overlaps(table, &least, &greatest)) {
            inputs.extend(run_of(tree, 0, 0..level_0.len()));
        }
        for level in 1..LEVELS {
            inputs.extend(run_of(tree, level, tree.overlapping(level, &least, &greatest)));
        }
        let plan = Plan::new(Action::Merge, inputs, LEVELS - 1)?;
        if plan.least >= least && plan.greatest <= greatest {
            return Some(plan);
        }
        least = least.min(plan.least);
        greatest = greatest.max(plan.greatest);
    }
}
