//! Child processes over the simulated network: scripted programs, and every
//! turn checked.

#![cfg(feature = "sim")]

#[path = "simulated_children/endings.rs"]
mod endings;
#[path = "simulated_children/jobs.rs"]
mod jobs;
#[path = "simulated_children/limits.rs"]
mod limits;
#[path = "simulated_children/output.rs"]
mod output;
#[path = "simulated_children/signals.rs"]
mod signals;
