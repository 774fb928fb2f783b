//! `Upper`: sends every byte back, with `a`–`z` as `A`–`Z`.

use bytes::BytesMut;

use crate::{BoxError, DatagramHandler, Io, Limits, Origin, Peer, SocketId, StreamHandler};

/// Sends every byte back with `a`–`z` made `A`–`Z`, and all other bytes as
/// they are. Ends, holds and serves datagrams as [`Echo`](super::Echo) does.
#[derive(Clone, Debug, Default)]
pub struct Upper {
    /// The buffer in which the answer to a datagram is made.
    answer: Vec<u8>,
}

impl Upper {
    /// Makes the service.
    #[must_use]
    pub const fn new() -> Self {
        Self { answer: Vec::new() }
    }

    /// The proposed limits, as for [`Echo`](super::Echo::limits).
    #[must_use]
    pub fn limits() -> Limits {
        Limits::default()
    }
}

impl StreamHandler for Upper {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.make_ascii_uppercase();
        io.reply_buf(input);
        Ok(())
    }
}

impl DatagramHandler for Upper {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        self.answer.clear();
        self.answer.extend_from_slice(data);
        self.answer.make_ascii_uppercase();
        let _ = io.send_to(on, from, &self.answer);
        Ok(())
    }
}
