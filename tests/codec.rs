//! Frames instead of bytes: the codecs of tokio-util, one that somebody else
//! published, and some of our own, over the simulated network.

#![cfg(all(feature = "codec", feature = "sim"))]

#[path = "codec/callbacks.rs"]
mod callbacks;
#[path = "codec/codecs.rs"]
mod codecs;
#[path = "codec/cutting.rs"]
mod cutting;
#[path = "codec/deadlines.rs"]
mod deadlines;
#[path = "codec/ends.rs"]
mod ends;
#[path = "codec/flow.rs"]
mod flow;
#[path = "codec/handlers.rs"]
mod handlers;
