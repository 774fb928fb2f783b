//! Upload: files arrive whole or not at all, in their directory and nowhere
//! else.

#![cfg(feature = "upload")]

mod util;

#[path = "upload/cutting.rs"]
mod cutting;
#[path = "upload/disk.rs"]
mod disk;
#[path = "upload/interop.rs"]
mod interop;
#[path = "upload/place.rs"]
mod place;
#[path = "upload/racing.rs"]
mod racing;
#[path = "upload/refusing.rs"]
mod refusing;
#[cfg(feature = "sim")]
#[path = "upload/simulated.rs"]
mod simulated;
#[path = "upload/taking.rs"]
mod taking;
