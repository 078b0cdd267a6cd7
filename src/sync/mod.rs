//! The synchronisation types of the engine, from one place, so that a model checker can put its own there: what is
//! modelled then is the engine's code itself and no copy of it.
//!
//! | build | here | in [`lock_free`] |
//! | --- | --- | --- |
//! | ordinary | parking_lot and std, re-exported | the same |
//! | `--cfg packstone_shuttle` | shuttle's: each operation is a point where another thread may go on | shuttle's mutex, else as ordinary |
//! | `--cfg packstone_loom` | as ordinary | loom's: loads may see any value that the memory model allows |
//!
//! An ordinary build gets the very same types and functions as without this module, so it costs nothing. The package
//! in `models/` sets the cfgs and brings the two checkers along; neither is a dependency of the library.
//!
//! `Arc` is always std's: an `Arc<dyn Trait>` can't be made of a checker's. Pure statistics (block cache, SST reader) keep
//! std's atomics.
//!
//! Callers: every layer.

#[cfg(packstone_loom)]
mod looms;
#[cfg(packstone_shuttle)]
mod shuttles;
mod swap;

#[cfg(not(packstone_shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(packstone_shuttle)]
pub(crate) use shuttles::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use swap::{Pinned, Swap};

/// Atomics.
pub(crate) mod atomic {
    #[cfg(packstone_shuttle)]
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    #[cfg(not(packstone_shuttle))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

/// For what readers use without a lock: the memtable.
pub(crate) mod lock_free {
    #[cfg(not(packstone_loom))]
    pub(crate) use self::plain::*;
    #[cfg(packstone_loom)]
    pub(crate) use super::looms::*;

    #[cfg(not(packstone_loom))]
    mod plain {
        pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

        // The writers' lock; under shuttle another thread may go on before each entry.
        pub(crate) use super::super::Mutex;

        /// An array of equal atomics.
        macro_rules! atomics {
            ($new:expr; $len:expr) => {
                [const { $new }; $len]
            };
        }
        pub(crate) use atomics;

        /// Stands beside plain memory that one thread writes and others read after it was published. Loom's reports a
        /// read that the write does not happen before; this one is nothing.
        #[derive(Clone, Copy)]
        pub(crate) struct Witness;

        impl Witness {
            #[inline(always)]
            pub(crate) const fn new() -> Self {
                Witness
            }

            /// The memory beside it is read.
            #[inline(always)]
            pub(crate) fn read(&self) {}
        }

        /// What an atomic pointer holds that no other thread uses.
        #[inline(always)]
        pub(crate) fn exclusive<T>(pointer: &mut AtomicPtr<T>) -> *mut T {
            *pointer.get_mut()
        }
    }
}
