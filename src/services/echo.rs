//! `Echo`: sends every byte and every datagram back.

use bytes::BytesMut;

use crate::{BoxError, DatagramHandler, Io, Limits, Origin, Peer, Sent, SocketId, StreamHandler};

/// Sends every byte back (RFC 862). After the client's half-close the rest
/// goes out, then our FIN.
///
/// The service pauses a client that does not read: above the high mark it stops
/// reading its connection, until the queue has fallen to the low mark.
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

    /// The proposed limits: a plain stream of bytes has no frames, and so no
    /// deadlines for them.
    #[must_use]
    pub fn limits() -> Limits {
        Limits::without_frames()
    }
}

impl StreamHandler for Echo {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, (): &mut (), input: &[u8]) -> Result<usize, BoxError> {
        if io.write(input) == Sent::Full {
            io.pause(io.id());
        }
        Ok(input.len())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let sent = io.write_buf(input);
        input.clear();
        if sent == Sent::Full {
            io.pause(io.id());
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

impl DatagramHandler for Echo {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        let _ = io.send_to(on, from, data);
        Ok(())
    }
}
