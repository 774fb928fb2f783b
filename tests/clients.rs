//! The examples `client`, `command_client` and `upload_client`, run as their
//! users would: on pipes, on files, and at a terminal.

#![cfg(feature = "cli")]

mod util;

#[path = "clients/client.rs"]
mod client;
#[path = "clients/command_client.rs"]
mod command_client;
#[path = "clients/plumbing.rs"]
mod plumbing;
#[path = "clients/terminal.rs"]
mod terminal;
