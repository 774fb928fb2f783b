//! WebSocket (feature `ws`; RFC 6455): frames, messages and handshakes. The
//! feature's callbacks are those of an
//! [`HttpHandler`](crate::http::HttpHandler), and what can be sent is said in
//! [`HttpIo`](crate::http::HttpIo).
//!
//! A server's frame is not masked: [`text_frame`] makes one, once, and
//! [`Io::broadcast`](crate::Io::broadcast) sends it to a group of WebSockets.
//!
//! Messages are not compressed (no `permessage-deflate`; RFC 7692): a stream that
//! is compressed needs memory for each connection, and a broadcast would have to be
//! compressed for each.

mod close;
mod frame;
mod handshake;
mod mask;
mod message;
mod reader;
mod utf8;
mod writer;

pub use self::close::CloseCode;
pub use self::frame::{Role, binary_frame, close_frame, text_frame};
pub use self::handshake::Origins;
pub(crate) use self::handshake::{accept, is_key, key};
pub use self::message::{Message, Part};
pub use self::reader::SocketLimits;
pub(crate) use self::reader::{Found, Reader};
pub(crate) use self::writer::{Masks, Outgoing};
