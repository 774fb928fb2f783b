//! HTTP/1.1 (feature `http`): whole requests, answers now or later, streams and
//! files, on the same loop as everything else.

mod answer;
mod arrival;
mod chunked;
mod conditions;
mod core;
mod date;
mod encode;
mod event;
mod files;
mod handler;
mod head;
mod io;
mod limits;
mod metrics;
mod pipeline;
mod read;
mod refusal;
mod request;
mod server;
mod session;
#[cfg(feature = "ws")]
mod socket_io;
#[cfg(feature = "ws")]
mod socket_read;
#[cfg(feature = "ws")]
mod sockets;
mod source;

/// The crate of the types of requests and answers.
pub use ::http as types;
pub use ::http::{HeaderName, Method, StatusCode, Version, header};

pub use self::answer::Answer;
pub use self::date::WallClock;
pub use self::event::Event;
pub use self::files::Files;
pub use self::handler::{Body, HttpHandler};
pub use self::io::HttpIo;
pub use self::limits::HttpLimits;
pub use self::metrics::{METRICS_TYPE, metrics_text};
pub use self::pipeline::Ticket;
pub use self::request::Request;
pub use self::server::Http;
pub use self::session::HttpSession;
#[cfg(feature = "ws")]
pub use self::socket_io::{Handshake, SocketOptions, SocketRequest};
