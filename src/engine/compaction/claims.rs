//! [`Claims`]: what the running compactions of a keyspace work on, so that several can run at once.
//!
//! Invariants, kept by `picker` and held against each new plan by [`Claims::permits`]:
//! 1. No file is an input of two compactions.
//! 2. Two compactions that write to the same level below 0 do so in disjoint ranges of keys: what both leave there does
//!    not overlap.
//! 3. A compaction of level 0 into the base takes, with each file, every older one of level 0 that overlaps it. So at most
//!    one of them runs in a range of keys, and nothing passes an older version that is still in a job's inputs.
//! 4. A file goes down one level at a time (from level 0 to the base, with nothing between), and nothing passes a level that a
//!    running compaction writes to.
//!
//! Of these follows that whatever is older than an entry of a job's inputs, and is not in the inputs itself, lies below the output
//! level in the tree that the job was planned for: the question "may an older version be left" has its answer there.

use std::collections::BTreeSet;

use super::plan::Plan;
use crate::engine::tree::Filed;

/// One running compaction.
#[derive(Debug)]
struct Claim {
    id: u64,
    files: BTreeSet<u64>,
    output_level: usize,
    least: Vec<u8>,
    greatest: Vec<u8>,
}

/// The running compactions of a keyspace.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    running: Vec<Claim>,
    next_id: u64,
}

impl Claims {
    /// Takes note of a compaction that starts. REQUIRES: `permits(plan)`.
    pub(crate) fn add<T: Filed>(&mut self, plan: &Plan<T>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.running.push(Claim {
            id,
            files: plan.numbers().collect(),
            output_level: plan.output_level,
            least: plan.least.clone(),
            greatest: plan.greatest.clone(),
        });
        id
    }

    /// Takes note of the end of a compaction. Its edit is in the keyspace's view by now.
    pub(crate) fn remove(&mut self, id: u64) {
        self.running.retain(|claim| claim.id != id);
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a running compaction has the file as an input.
    pub(crate) fn is_busy(&self, number: u64) -> bool {
        self.running.iter().any(|claim| claim.files.contains(&number))
    }

    /// Whether the plan can run beside all that runs.
    pub(crate) fn permits<T: Filed>(&self, plan: &Plan<T>) -> bool {
        !plan.numbers().any(|number| self.is_busy(number))
            && !self.is_written(plan.output_level, &plan.least, &plan.greatest)
    }

    /// Whether a running compaction writes to the level in this range. Level 0 is ordered by age, not by key.
    fn is_written(&self, level: usize, least: &[u8], greatest: &[u8]) -> bool {
        level > 0
            && self.running.iter().any(|claim| {
                claim.output_level == level && claim.least[..] <= *greatest && claim.greatest[..] >= *least
            })
    }

    /// The highest level that a running compaction writes to, level 0 aside.
    pub(crate) fn highest_output(&self) -> Option<usize> {
        let levels = self.running.iter().map(|claim| claim.output_level);
        levels.filter(|level| *level > 0).min()
    }
}
