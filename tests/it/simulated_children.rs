//! Child processes over the simulated network: scripted programs, and every
//! turn checked.

mod endings;
mod jobs;
mod limits;
mod output;
mod signals;
