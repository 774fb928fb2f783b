//! The encoder of answers: status line, fields, chunks.

use std::io::Write;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use http::StatusCode;

use super::date::DateField;
use super::pipeline::Exchange;

/// Adds a field.
pub(super) fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Adds what the client has to know of the connection.
pub(super) fn connection(out: &mut BytesMut, exchange: Exchange) {
    if !exchange.keep_alive {
        field(out, b"connection", b"close");
    } else if !exchange.is_1_1 {
        field(out, b"connection", b"keep-alive");
    }
}

/// Adds the length of the body.
pub(super) fn content_length(out: &mut BytesMut, length: u64) {
    field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

/// Ends the fields.
pub(super) fn end(out: &mut BytesMut) {
    out.extend_from_slice(b"\r\n");
}

/// Whether answers with this status have a body (RFC 9110, 6.4.1), and so a
/// length.
pub(super) fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// Whether a value may stand in a field: nothing of it ends a line (RFC 9110,
/// 5.5).
pub(super) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Adds the size line of a chunk.
pub(super) fn chunk_size(out: &mut BytesMut, size: usize) {
    // Writing to a buffer that grows does not fail.
    let _ = write!(out.writer(), "{size:x}\r\n");
}

/// What stands behind the last chunk, and is one itself.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The interim answer that a client waits for before it sends a body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What all answers of a service need: a buffer, and the date.
#[derive(Debug)]
pub(super) struct Encoder {
    /// The answer that is being composed; it keeps its memory for the next.
    pub(super) out: BytesMut,
    pub(super) date: DateField,
}

/// The capacity up to which the buffer is kept.
const KEEP: usize = 64 << 10;

impl Encoder {
    pub(super) fn new() -> Self {
        Self { out: BytesMut::new(), date: DateField::of_the_system() }
    }

    /// Begins an answer: its status line, and the date.
    pub(super) fn begin(&mut self, now: Instant, status: StatusCode) -> &mut BytesMut {
        self.clear();
        let Self { out, date } = self;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.put_u8(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(date) = date.text(now) {
            field(out, b"date", date);
        }
        out
    }

    /// Empties the buffer.
    pub(super) fn clear(&mut self) {
        self.out.clear();
        if self.out.capacity() > KEEP {
            self.out = BytesMut::new();
        }
    }
}
