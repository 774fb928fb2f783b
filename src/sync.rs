//! Synchronization primitives of the files that threads share. `tests/wake.rs`
//! compiles those files with a model checker's primitives in place of these.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
