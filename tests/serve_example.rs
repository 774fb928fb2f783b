//! The example `serve`, run as its user would: what it prints, how it ends,
//! and what each of its options does.

#![cfg(feature = "cli")]

mod util;

#[path = "serve_example/commands.rs"]
mod commands;
#[path = "serve_example/console.rs"]
mod console;
#[path = "serve_example/ending.rs"]
mod ending;
#[path = "serve_example/interop.rs"]
mod interop;
#[path = "serve_example/options.rs"]
mod options;
#[path = "serve_example/refusing.rs"]
mod refusing;
#[path = "serve_example/starting.rs"]
mod starting;
