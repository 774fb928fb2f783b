//! `Once`: answers the first request of each connection with a fixed text, and
//! closes.

use bytes::{Bytes, BytesMut};

use super::framing::{FIRST_REQUEST, Framing, LineTooLong, TOO_LONG};
use crate::{AfterEof, BoxError, DatagramHandler, Io, Limits, Origin, Peer, SocketId, StreamHandler};

/// Waits for one request, answers with a fixed text, and closes without
/// losing the answer, whatever else the client sends.
///
/// A request is a line, or the input up to the client's half-close if there is
/// any; a line that is too long is answered with `! line too long`.
/// [`framed`](Self::framed) changes the framing. Each datagram is a request,
/// and gets an answer.
#[derive(Clone, Debug)]
pub struct Once {
    framing: Framing,
    answer: Bytes,
}

impl Once {
    /// Makes a service that answers with `text` and a line end.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::framed(text, Framing::Lines)
    }

    /// Makes a service that answers requests of this framing with `text`, and a
    /// line end if the framing is lines.
    #[must_use]
    pub fn framed(text: &str, framing: Framing) -> Self {
        Self { framing, answer: format!("{text}{}", framing.end()).into() }
    }

    /// The proposed limits: the defaults, and a client has 30 s for its request.
    #[must_use]
    pub fn limits() -> Limits {
        Limits { first_frame: Some(FIRST_REQUEST), ..Limits::default() }
    }

    fn answer(&self, io: &mut Io<'_>, request: Result<Option<BytesMut>, LineTooLong>) {
        let answer = match request {
            Ok(None) => return,
            Ok(Some(_)) => self.answer.clone(),
            Err(LineTooLong) => Bytes::from_static(TOO_LONG),
        };
        io.reply_bytes(answer);
        io.close(io.id());
    }
}

impl StreamHandler for Once {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.answer(io, self.framing.next(input));
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.answer(io, self.framing.last(rest));
        Ok(AfterEof::Finish)
    }
}

impl DatagramHandler for Once {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, _: &[u8]) -> Result<(), BoxError> {
        let _ = io.send_to(on, from, &self.answer);
        Ok(())
    }
}
