//! Upload: files arrive whole or not at all, in their directory and nowhere
//! else.

mod cutting;
mod disk;
mod interop;
mod place;
mod racing;
mod refusing;
#[cfg(all(feature = "sim", feature = "workers"))]
mod simulated;
mod taking;
