//! `HttpLimits`: every bound of an HTTP service, with its default.

use std::time::Duration;

use crate::Error;

/// The largest value of [`HttpLimits::max_fields`]: a head is parsed into room
/// on the stack.
pub(super) const MOST_FIELDS: usize = 128;

/// The limits of an HTTP service, beside its [`Limits`](crate::Limits); each holds
/// for every one of its connections.
///
/// ```
/// use serve_forever::http::HttpLimits;
///
/// let limits = HttpLimits { max_body: 64 << 10, ..HttpLimits::default() };
/// ```
///
/// Always end with `..HttpLimits::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request's head: its first line, its fields, and the empty lines
    /// before and behind them. A longer one is answered with 431. Also the bytes
    /// of a chunked body's trailers. Default 16 KiB.
    pub max_head: usize,
    /// Fields of a request, at most 128. More are answered with 431. Default 100.
    pub max_fields: usize,
    /// Bytes of a request's first line. A longer one is answered with 414.
    /// Default 8 KiB.
    pub max_line: usize,
    /// Bytes of a body that a handler takes whole. A longer one is answered with
    /// 413, before it comes if its length is known. Default 1 MiB.
    pub max_body: usize,
    /// Bytes of all chunk extensions of one body. More are answered with 400.
    /// Default 4 KiB.
    pub max_chunk_extensions: usize,
    /// Requests of one connection that wait for their answers. While there are as
    /// many, the service reads no further ones. Default 16.
    pub max_pipelined: usize,
    /// Time from the first byte of a request to its last; of one whose body the
    /// handler takes in pieces, to the end of its head, and then between two
    /// pieces. Dripping bytes do not extend it, pieces do. A slower request is
    /// answered with 408. `None`: no limit. Default 30 s.
    pub request: Option<Duration>,
    /// The period in which each WebSocket is sent a ping, unless it has sent
    /// something. One that sends nothing for two periods is closed. `None`: no
    /// pings. Default 30 s.
    #[cfg(feature = "ws")]
    pub ping: Option<Duration>,
    /// Time from the first byte of a WebSocket's message to its last, whatever its
    /// fragments, and of a control frame. Dripping bytes do not extend it, and the
    /// time in which this side has paused the connection does not count. A slower one
    /// closes the WebSocket with 1008. `None`: no limit. Default 60 s.
    #[cfg(feature = "ws")]
    pub message: Option<Duration>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_head: 16 << 10,
            max_fields: 100,
            max_line: 8 << 10,
            max_body: 1 << 20,
            max_chunk_extensions: 4 << 10,
            max_pipelined: 16,
            request: Some(Duration::from_secs(30)),
            #[cfg(feature = "ws")]
            ping: Some(Duration::from_secs(30)),
            #[cfg(feature = "ws")]
            message: Some(Duration::from_secs(60)),
        }
    }
}

impl HttpLimits {
    /// Whether a request could be served.
    pub(super) fn check(&self) -> Result<(), Error> {
        let bad = |reason: String| Err(Error::Limits { reason });
        let sizes = [
            ("max_head", self.max_head),
            ("max_fields", self.max_fields),
            ("max_line", self.max_line),
            ("max_pipelined", self.max_pipelined),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return bad(format!("HttpLimits::{field} is 0, and no request could be served; give 1 or more"));
        }
        if self.max_fields > MOST_FIELDS {
            let fields = self.max_fields;
            return bad(format!("HttpLimits::max_fields is {fields}; give {MOST_FIELDS} or less"));
        }
        #[cfg(feature = "ws")]
        if self.message == Some(Duration::ZERO) {
            return bad("HttpLimits::message is 0, which nobody could meet; give more, or None".into());
        }
        if self.request == Some(Duration::ZERO) {
            return bad("HttpLimits::request is 0, which nobody could meet; give more, or None".into());
        }
        Ok(())
    }
}
