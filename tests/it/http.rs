//! The feature `http`: requests and answers, over the simulated network and over
//! real sockets.

mod api;
mod body;
mod cutting;
mod files;
mod keeping;
mod pipelining;
mod refusing;
mod seeds;
mod sending_files;
mod streams;
#[cfg(feature = "workers")]
mod workers;
