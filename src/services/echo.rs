//! `Echo`: sends every byte and every datagram back.

use bytes::BytesMut;

use crate::{BoxError, DatagramHandler, Io, Limits, Origin, Peer, SocketId, StreamHandler};

/// Sends every byte back (RFC 862). After the client's half-close the rest
/// goes out, then our FIN.
///
/// A client that does not read is not read from either: [`Io::reply`] stops
/// reading its connection above the high mark, until the queue has fallen to the
/// low mark.
///
/// Each datagram goes back to its sender, of any size, also an empty one. A
/// datagram for which the queue has no room is lost, and counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo(());

impl Echo {
    /// Makes the service.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// The proposed limits: the defaults.
    #[must_use]
    pub fn limits() -> Limits {
        Limits::default()
    }
}

impl StreamHandler for Echo {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, (): &mut (), input: &[u8]) -> Result<usize, BoxError> {
        io.reply(input);
        Ok(input.len())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        io.reply_buf(input);
        Ok(())
    }
}

impl DatagramHandler for Echo {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        let _ = io.send_to(on, from, data);
        Ok(())
    }
}
