//! The examples `client`, `command_client` and `upload_client`, run as their
//! users would: on pipes, on files, and at a terminal.

mod client;
mod command_client;
mod plumbing;
mod terminal;
