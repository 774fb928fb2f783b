//! The floors: each work done by the least that can do it right, without
//! limits, deadlines, or anything that a service must have besides. The peers
//! (`benches/peers`) and the benches beside this folder hold the library
//! against them.
#![allow(dead_code, reason = "no program needs all of them")]

pub(crate) mod chat;
pub(crate) mod command;
mod connections;
pub(crate) mod echo;
pub(crate) mod splice;
pub(crate) mod upload;

use std::io;
use std::net::TcpListener;

/// None of them returns unless it fails.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// For a floor that serves one connection after the other, and blocks.
fn blocking(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(false)?;
    Ok(listener)
}
