//! The example `serve`, run as its user would: what it prints, how it ends,
//! and what each of its options does.

#[cfg(all(feature = "bus", feature = "testing"))]
mod bus;
mod commands;
mod console;
mod ending;
mod interop;
mod options;
mod refusing;
mod starting;
mod tls;
mod web;
