//! The memory that the library takes, with a global allocator that counts.
//!
//! A binary of its own: all other tests run with the allocator that users have.

mod counting;
#[path = "../it/util/mod.rs"]
mod util;

mod allocation;
// Over poll(2) mio keeps a list of its own, and a read takes two calls.
#[cfg(all(feature = "ws", not(mio_unsupported_force_poll_poll)))]
mod http;
mod idle;
#[cfg(feature = "workers")]
mod jobs;
#[cfg(feature = "workers")]
mod pinned;
