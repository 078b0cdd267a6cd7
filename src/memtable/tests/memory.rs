//! Inserts whose allocations fail: each allocation of each insert does, once.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::failing::{self, Failure};
use super::*;

const ENTRIES: u64 = if cfg!(miri) { 40 } else { 400 };

/// Keys of a byte or two fill nodes of every kind; values fill chunks, some have chunks of their own.
fn entry(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let mut key = vec![random.next() as u8];
    if random.below(3) == 0 {
        key.extend_from_slice(&[b'x'; 9][..random.below(10)]);
        key.push(random.below(60) as u8);
    }
    let len = match random.below(20) {
        0 => 400_000,
        1..6 => 10,
        6..12 => 8_000,
        _ => 2_000,
    };
    (key, vec![7; len])
}

fn each_allocation_fails<T: SortedTable>(failure: Failure) {
    let (list, mut model, mut random) = (Arc::new(T::new()), Model::new(), Random(11));
    let mut failures = 0;
    for seq in 1..=ENTRIES {
        let (key, value) = entry(&mut random);
        for successes in 0.. {
            failing::fail_after(successes, failure);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                list.insert(&key, seq, EntryKind::Put, &value)
            }));
            if !failing::stop() {
                outcome.unwrap().unwrap();
                break;
            }
            failures += 1;
            match outcome {
                Ok(inserted) => assert!(matches!(inserted, Err(Error::LimitExceeded { .. }))),
                Err(_) => assert_eq!(failure, Failure::Panic),
            }
            assert_same(&list, &model);
            assert_eq!(list.len(), model.len());
        }
        model.insert((key, std::cmp::Reverse(seq)), Some(value));
    }
    assert_same(&list, &model);
    assert!(failures > ENTRIES / 10, "{failures} of {ENTRIES}");
}

pub(super) fn an_insert_that_gets_no_memory_has_not_happened<T: SortedTable>() {
    each_allocation_fails::<T>(Failure::Null);
}

pub(super) fn an_insert_whose_allocation_panics_has_not_happened<T: SortedTable>() {
    each_allocation_fails::<T>(Failure::Panic);
}
