//! Scripts over the simulated network, one for each case that a server must survive:
//! days pass in milliseconds, and every turn is checked.

mod accepting;
mod actors;
mod bursts;
#[cfg(feature = "bus")]
mod bus;
mod chat;
#[cfg(feature = "command")]
mod command;
mod console;
mod counters;
mod deadlines;
mod endings;
mod every_cut;
mod files;
mod flow;
mod frames;
mod handlers;
mod last_word;
mod layers;
mod replies;
mod services;
#[cfg(feature = "bus")]
mod shared_chat;
#[cfg(all(feature = "bus", feature = "ws"))]
mod shared_web;
mod timers;
#[cfg(feature = "tls")]
mod tls;
