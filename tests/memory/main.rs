//! The memory that the library takes, with a global allocator that counts.
//!
//! A binary of its own: all other tests run with the allocator that users have.

mod counting;
#[path = "../it/util/mod.rs"]
mod util;

mod allocation;
#[cfg(feature = "ws")]
mod http;
mod idle;
#[cfg(feature = "workers")]
mod pinned;
