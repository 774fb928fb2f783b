//! A readiness reactor for services on sockets, with plain callbacks: no
//! threads, no `async`.
//!
//! # The one idea
//!
//! A **handler** owns the shared state of a service; a **session** is its
//! state for one connection; [`Io`] is the only door to the outside. A
//! callback gets all three, mutably, and the bytes. What it does through `Io`
//! is queued, and carried out after it has returned: **nothing calls user code
//! while user code runs**. So there is nothing to lock, nothing to count
//! references of, and no order of callbacks to guess.
//!
//! ```
//! use bytes::BytesMut;
//! use serve_forever::{BoxError, Io, Origin, Reactor, StreamHandler};
//!
//! /// Answers every line with its number.
//! struct Counter {
//!     lines: u64, // of all connections
//! }
//!
//! impl StreamHandler for Counter {
//!     type Session = (); // nothing of one connection
//!
//!     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
//!         Ok(())
//!     }
//!
//!     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
//!         while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
//!             let _line = input.split_to(end + 1);
//!             self.lines += 1;
//!             io.reply(format!("{}\n", self.lines).as_bytes());
//!         }
//!         Ok(()) // an incomplete line stays, in front of what comes next
//!     }
//! }
//!
//! let mut reactor = Reactor::new(serve_forever::Config::default())?;
//! let counter = reactor.add(Counter { lines: 0 }, serve_forever::Limits::default())?;
//! reactor.listen(&counter, &"127.0.0.1:0".parse()?)?;
//! # reactor.handle(&counter).shutdown(std::time::Duration::ZERO);
//! reactor.serve_forever()?;
//! # Ok::<(), serve_forever::Error>(())
//! ```
//!
//! # What is where
//!
//! - [`StreamHandler`]: what a service is made of, and the order of callbacks
//! - [`DatagramHandler`]: the same for datagrams
//! - [`Io`]: what a callback can do
//! - [`Reactor`]: the loop, its turn step by step, listeners
//! - [`Handle`]: the way in from other threads
//! - `Workers` (feature `workers`): threads for work that blocks, and names of hosts
//! - [`Limits`], [`Config`]: every bound and its default
//! - [`process`]: programs to run as child processes
//! - [`services`]: services that are ready to use
//! - `codec` (feature `codec`): whole frames instead of bytes, by any codec
//!   made for tokio
//! - `http` (feature `http`): HTTP/1.1; with the feature `ws`, WebSocket on the
//!   same listeners
//! - `bus` (feature `bus`): rooms over many processes and machines, through a Redis
//! - [`driver`]: what stands between the loop and the operating system
//! - `sim` (feature `sim`): testing a handler over a simulated network
//! - `testing` (feature `testing`): a server on a thread of its own, for a test
//! - `record` (feature `record`): a recording of the last seconds, for a dump after an
//!   incident
//! - [`scale`]: what a million connections take, and how to use every core

//!
//! # Logging
//!
//! The library reports through the crate [`log`] what went wrong: a connection that a
//! limit or an error has ended, a callback that took long or panicked, a listener that
//! failed. A program that installs no logger (`env_logger::init()`, or any other) sees
//! none of it. A client is told only what its protocol has words for.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod buffer;
#[cfg(feature = "bus")]
pub mod bus;
mod children;
mod close;
#[cfg(feature = "codec")]
pub mod codec;
mod conn;
mod contain;
mod core;
mod datagram;
mod direct;
pub mod driver;
mod endpoint;
mod error;
mod groups;
mod handle;
mod handler;
mod heap;
mod histogram;
#[cfg(feature = "http")]
pub mod http;
mod id;
mod inbox;
mod incident;
mod input;
mod io;
mod layer;
mod layers;
mod life;
mod limits;
mod log_rate;
mod moment;
#[cfg(feature = "workers")]
mod names;
#[cfg(feature = "workers")]
mod offload;
mod origin;
mod printable;
pub mod process;
mod reactor;
#[cfg(feature = "record")]
pub mod record;
mod serve;
mod service;
mod service_stats;
mod shared_output;
#[doc = include_str!("../docs/scale.md")]
pub mod scale {}
/// The code in docs/workers.md compiles.
#[cfg(all(doctest, feature = "workers"))]
#[doc = include_str!("../docs/workers.md")]
mod workers_page {}
#[cfg(feature = "signals")]
mod orphans;
pub mod services;
#[cfg(feature = "signals")]
mod signals;
#[cfg(feature = "sim")]
pub mod sim;
mod slots;
mod socket;
mod stats;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
#[cfg(feature = "tls")]
pub mod tls;
mod work_list;
#[cfg(feature = "workers")]
mod workers;
#[cfg(feature = "ws")]
pub mod ws;

/// The crate of the buffers that callbacks are given.
pub use bytes;

pub use crate::close::{CloseReason, Deadline, Sent, Tally};
pub use crate::datagram::{DatagramHandler, SocketError};
pub use crate::driver::{BindOptions, KeepAlive, ListenOptions, Multicast};
pub use crate::endpoint::{Endpoint, UNIX_PATH_MAX};
pub use crate::error::{BoxError, Error, Result};
pub use crate::handle::{AskError, Handle, Refused};
pub use crate::handler::{AfterEof, StreamHandler};
pub use crate::histogram::Histogram;
pub use crate::id::{Bound, ChildId, ConnId, GroupId, ListenerId, SocketId, TimerId};
pub use crate::io::{ConnectOptions, Io};
pub use crate::layer::{Layer, LayerFactory};
pub use crate::limits::{Config, Limits, Overflow, SHUTDOWN_DEADLINE};
pub use crate::log_rate::{LogRate, More};
pub use crate::origin::{Address, Credentials, Origin, Peer, Side};
#[cfg(feature = "signals")]
pub use crate::orphans::Orphans;
pub use crate::printable::Printable;
pub use crate::reactor::{Handled, Reactor, Service, Turn};
pub use crate::serve::serve;
pub use crate::service_stats::{CloseCounts, ServiceStats};
#[cfg(feature = "signals")]
pub use crate::signals::Signals;
pub use crate::stats::{Stats, SystemCalls};
#[cfg(feature = "workers")]
pub use crate::workers::{JobDone, JobError, WorkerOptions, Workers};

/// The code in README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code in docs/http.md compiles.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/http.md")]
struct DocsOfHttp;

/// The code in docs/incident.md compiles.
#[cfg(all(doctest, feature = "record", feature = "sim", feature = "upload"))]
#[doc = include_str!("../docs/incident.md")]
struct DocsOfIncident;

/// The code in docs/websocket.md compiles.
#[cfg(all(doctest, feature = "ws"))]
#[doc = include_str!("../docs/websocket.md")]
struct DocsOfWebSocket;
