//! What a server must survive, each case as a script over the simulated
//! network: days pass in milliseconds, and every turn is checked.

#![cfg(feature = "sim")]

#[path = "simulated/accepting.rs"]
mod accepting;
#[path = "simulated/bursts.rs"]
mod bursts;
#[path = "simulated/chat.rs"]
mod chat;
#[cfg(feature = "command")]
#[path = "simulated/command.rs"]
mod command;
#[path = "simulated/console.rs"]
mod console;
#[path = "simulated/deadlines.rs"]
mod deadlines;
#[path = "simulated/endings.rs"]
mod endings;
#[path = "simulated/flow.rs"]
mod flow;
#[path = "simulated/handlers.rs"]
mod handlers;
#[path = "simulated/services.rs"]
mod services;
#[path = "simulated/timers.rs"]
mod timers;
