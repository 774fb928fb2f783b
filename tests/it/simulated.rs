//! The guarantees (docs/guarantees.md) as scripts over the simulated network: days
//! pass in milliseconds, and every turn is checked.

mod accepting;
mod bursts;
mod chat;
#[cfg(feature = "command")]
mod command;
mod console;
mod deadlines;
mod endings;
mod flow;
mod handlers;
mod replies;
mod services;
mod timers;
