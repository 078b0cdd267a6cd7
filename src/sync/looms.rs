//! Loom's types, and stand-ins where they differ from the ordinary ones. See [`super::lock_free`].

pub(crate) use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// An array of equal atomics.
macro_rules! atomics {
    ($new:expr; $len:expr) => {
        std::array::from_fn(|_| $new)
    };
}
pub(crate) use atomics;

/// parking_lot's interface: no poisoning.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// A cell that is written when it is made: in the memory that is to be published, by the thread that publishes it.
pub(crate) struct Witness(loom::cell::UnsafeCell<()>);

impl Witness {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let cell = loom::cell::UnsafeCell::new(());
        // A moment of its own: to loom, what is only made is as old as the atomic store before it, which would so publish it.
        cell.with_mut(|_| {});
        Witness(cell)
    }

    #[track_caller]
    pub(crate) fn read(&self) {
        self.0.with(|_| {});
    }
}

/// What an atomic pointer holds that no other thread uses.
#[track_caller]
pub(crate) fn exclusive<T>(pointer: &mut AtomicPtr<T>) -> *mut T {
    pointer.with_mut(|pointer| *pointer)
}
