//! Frames instead of bytes: the codecs of tokio-util, one that somebody else
//! published, and some of our own, over the simulated network.

mod callbacks;
mod codecs;
mod cutting;
mod deadlines;
mod ends;
mod flow;
mod handlers;
