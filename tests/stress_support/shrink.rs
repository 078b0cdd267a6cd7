//! Shortening what fails: delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
//! 2002), as a loop that leaves out ever smaller pieces as long as the rest still fails.

use super::steps::{History, Step};

/// The shortest list found of which `fails` is still true; it asks at most `budget` times. REQUIRES: `fails(items)`.
pub(crate) fn shorten<T: Clone>(items: &[T], budget: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut items, mut asked) = (items.to_vec(), 0);
    let mut piece = items.len().div_ceil(2).max(1);
    loop {
        let (before, mut at) = (items.len(), 0);
        while at < items.len() {
            if asked >= budget {
                return items;
            }
            let end = (at + piece).min(items.len());
            let mut rest = items[..at].to_vec();
            rest.extend_from_slice(&items[end..]);
            asked += 1;
            if fails(&rest) {
                items = rest;
            } else {
                at = end;
            }
        }
        if piece == 1 && items.len() == before {
            return items;
        }
        piece = if piece == 1 { 1 } else { piece.div_ceil(2) };
    }
}

/// A history with as few steps, and in each write as few items, as keep it failing.
pub(crate) fn shorten_history(
    history: &History,
    budget: usize,
    mut fails: impl FnMut(&History) -> bool,
) -> History {
    let with = |steps: &[Step]| History {
        steps: steps.to_vec(),
        ..*history
    };
    let mut steps = shorten(&history.steps, budget, |steps| fails(&with(steps)));
    for at in 0..steps.len() {
        let Step::Write(sync, items) = steps[at].clone() else {
            continue;
        };
        if items.len() < 2 {
            continue;
        }
        let items = shorten(&items, budget / 8, |items| {
            let mut fewer = steps.clone();
            fewer[at] = Step::Write(sync, items.to_vec());
            fails(&with(&fewer))
        });
        steps[at] = Step::Write(sync, items);
    }
    with(&steps)
}
