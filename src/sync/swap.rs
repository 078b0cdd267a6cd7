//! [`Swap`]: a counted pointer that is replaced now and then and read all the time, without a lock and without a count that
//! all readers change.
//!
//! Wraps arc-swap: a reader notes its debt in a slot of its own thread, and whoever replaces the pointer pays the debts by
//! raising the count. So a read touches no memory that another reader writes. Under shuttle a lock stands in its place,
//! because the checker has to see each operation.
//!
//! Callers: `engine::keyspace`.

use std::ops::Deref;
use std::sync::Arc;

#[cfg(packstone_shuttle)]
use super::RwLock;

/// See the module's comment.
pub(crate) struct Swap<T> {
    #[cfg(not(packstone_shuttle))]
    current: arc_swap::ArcSwap<T>,
    #[cfg(packstone_shuttle)]
    current: RwLock<Arc<T>>,
}

/// What a [`Swap`] held when it was read. For short use by one thread; [`Swap::load_full`] is for keeping.
pub(crate) struct Pinned<T> {
    #[cfg(not(packstone_shuttle))]
    guard: arc_swap::Guard<Arc<T>>,
    #[cfg(packstone_shuttle)]
    guard: Arc<T>,
}

impl<T> Deref for Pinned<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

#[cfg(not(packstone_shuttle))]
impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Swap {
            current: arc_swap::ArcSwap::from_pointee(value),
        }
    }

    /// What is there now, without a count.
    #[inline]
    pub(crate) fn load(&self) -> Pinned<T> {
        Pinned {
            guard: self.current.load(),
        }
    }

    /// What is there now, counted.
    pub(crate) fn load_full(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Replaces it, and returns what was there.
    pub(crate) fn swap(&self, value: T) -> Arc<T> {
        self.current.swap(Arc::new(value))
    }
}

#[cfg(packstone_shuttle)]
impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Swap {
            current: RwLock::new(Arc::new(value)),
        }
    }

    pub(crate) fn load(&self) -> Pinned<T> {
        Pinned {
            guard: self.load_full(),
        }
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.current.read().clone()
    }

    pub(crate) fn swap(&self, value: T) -> Arc<T> {
        std::mem::replace(&mut *self.current.write(), Arc::new(value))
    }
}
