//! Tests only: allocations of a memtable that fail, on the thread that asks for it.

use std::cell::Cell;

/// What a failing allocation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It gives null, as the allocator does when there is no memory.
    Null,
    /// It panics, as an allocator may that a program has chosen.
    Panic,
}

thread_local! {
    /// How many allocations succeed before one fails, and how it does.
    static NEXT: Cell<Option<(u32, Failure)>> = const { Cell::new(None) };
}

/// From now on `successes` allocations succeed, and the next one fails.
pub(crate) fn fail_after(successes: u32, failure: Failure) {
    NEXT.set(Some((successes, failure)));
}

/// Allocations succeed again. Says whether the one that was to fail has come.
pub(crate) fn stop() -> bool {
    NEXT.take().is_none()
}

/// Asked at each allocation: whether it gives null.
pub(super) fn fails() -> bool {
    match NEXT.get() {
        None => false,
        Some((0, failure)) => {
            NEXT.set(None);
            assert!(failure != Failure::Panic, "a test's own panic: no memory");
            true
        }
        Some((successes, failure)) => {
            NEXT.set(Some((successes - 1, failure)));
            false
        }
    }
}
