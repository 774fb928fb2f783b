//! What threads meet at: `tests/wake.rs` compiles the files that use it with
//! those of a model checker in their place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
