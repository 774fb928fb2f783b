//! The tests from outside, one module for each concept, in one binary.
//!
//! Tests of one process run beside each other. A test that counts or changes
//! what belongs to the whole process runs its body in [`util::alone`].
//!
//! `.ci/run` builds this once more for poll(2). A module that meets no socket
//! of the system, or needs an example that cannot be built there, is left out.

mod util;

mod backpressure;
mod borrowed;
#[cfg(all(feature = "ws", not(mio_unsupported_force_poll_poll)))]
mod browser;
#[cfg(all(feature = "bus", feature = "testing", not(mio_unsupported_force_poll_poll)))]
mod bus;
#[cfg(feature = "sim")]
mod busy_poll;
mod chat;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod child_faults;
mod children;
#[cfg(feature = "cli")]
mod clients;
mod closing;
#[cfg(all(feature = "codec", feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod codec;
#[cfg(feature = "command")]
mod command;
mod console;
mod contained;
mod counters;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod course;
mod datagram_faults;
mod datagrams;
mod deadlines;
mod echo;
mod embedding;
mod endings;
#[cfg(not(mio_unsupported_force_poll_poll))]
mod examples;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod explore;
mod files;
mod grammar;
mod groups;
mod handle;
mod handle_request;
#[cfg(all(feature = "http", feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod http;
#[cfg(all(feature = "record", feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod incident;
mod interop;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod kv;
#[cfg(not(mio_unsupported_force_poll_poll))]
mod layering;
#[cfg(feature = "sim")]
mod layers;
mod limits;
mod listeners;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod local_calls;
mod log_rate;
mod logs;
#[cfg(all(feature = "sim", feature = "workers", not(mio_unsupported_force_poll_poll)))]
mod names;
#[cfg(all(feature = "sim", feature = "workers", not(mio_unsupported_force_poll_poll)))]
mod offload;
mod once;
mod one_way;
mod out_of_reach;
mod outbound;
mod own_datagrams;
mod panics;
#[cfg(target_os = "linux")]
mod passed_descriptors;
#[cfg(feature = "workers")]
mod proxy;
#[cfg(feature = "cli")]
mod reactor_echo;
#[cfg(not(mio_unsupported_force_poll_poll))]
mod readme;
#[cfg(feature = "record")]
mod record;
mod regressions;
#[cfg(all(feature = "record", feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod replay;
#[cfg(feature = "cli")]
mod serve;
#[cfg(all(feature = "cli", not(mio_unsupported_force_poll_poll)))]
mod serve_example;
mod shutdown;
#[cfg(feature = "signals")]
mod signals;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod simulated;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod simulated_children;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod simulated_datagrams;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod simulated_outbound;
#[cfg(all(feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod simulated_regressions;
mod socketserver;
mod socketserver_calls;
mod socketserver_datagrams;
mod socketserver_handlers;
mod started;
#[cfg(not(mio_unsupported_force_poll_poll))]
mod system_calls;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod unix_datagrams;
mod unix_paths;
#[cfg(feature = "upload")]
mod upload;
#[cfg(all(feature = "cli", feature = "upload"))]
mod upload_client;
mod vanished;
#[cfg(all(feature = "ws", feature = "sim", not(mio_unsupported_force_poll_poll)))]
mod websocket;
#[cfg(target_os = "linux")]
mod wildcard;
mod writing;
