//! One answer, and goodbye.

use bytes::{Bytes, BytesMut};

use crate::{AfterEof, BoxError, DatagramHandler, Io, Limits, Link, Peer, SocketId, StreamHandler};

/// The longest request, in bytes, its line end not counted.
const MAX_LINE: usize = 65_536;

const TOO_LONG: &[u8] = b"! line too long\n";

/// Waits for one request, answers with a fixed text, and closes without
/// losing the answer, whatever else the client sends.
///
/// A request is a line, or what has come by the client's half-close if there
/// is any; one that is too long is told so. Each datagram is a request, which
/// is answered.
#[derive(Clone, Debug)]
pub struct Once {
    answer: Bytes,
}

impl Once {
    /// Answers with `text` and a line end.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { answer: format!("{text}\n").into() }
    }

    /// The limits proposed for it: room for its longest line.
    #[must_use]
    pub fn limits() -> Limits {
        Limits::default()
    }

    fn answer(&self, io: &mut Io<'_>, with: Bytes) {
        // A connection that takes no output any more needs no answer either.
        let _ = io.write_bytes(with);
        io.close(io.id());
    }
}

impl StreamHandler for Once {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Link) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        match input.iter().take(MAX_LINE + 2).position(|byte| *byte == b'\n') {
            Some(end) if length(&input[..end]) <= MAX_LINE => self.answer(io, self.answer.clone()),
            None if input.len() <= MAX_LINE + 1 => {}
            _ => self.answer(io, Bytes::from_static(TOO_LONG)),
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        if length(rest) > MAX_LINE {
            self.answer(io, Bytes::from_static(TOO_LONG));
        } else if !rest.is_empty() {
            self.answer(io, self.answer.clone());
        }
        Ok(AfterEof::Finish)
    }
}

impl DatagramHandler for Once {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, _: &[u8]) -> Result<(), BoxError> {
        let _ = io.send_to(on, from, &self.answer);
        Ok(())
    }
}

/// The length of a line without its end, to which a carriage return belongs.
fn length(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}
