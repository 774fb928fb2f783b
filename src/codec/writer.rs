//! Frames on their way out.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Encoder;

use crate::{ConnId, Io, Sent};

/// A buffer that has grown beyond this many bytes is not kept.
const KEEP_UP_TO: usize = 64 << 10;

/// Encodes frames, into a buffer that is used again.
///
/// A handler holds one for all of its connections. Which codec encodes is
/// said with each frame: that of a session; or, where there is no session (in
/// `tick`, or a call from a [`Handle`](crate::Handle)), one that the handler
/// has beside its writer. The encoders of most codecs remember nothing, so
/// that one can encode for everybody. One that does (that compresses, or
/// numbers its frames) belongs to the connection that its frames go to.
///
/// ```
/// use bytes::Bytes;
/// use serve_forever::codec::{FrameWriter, LengthDelimitedCodec, LinesCodec};
///
/// let mut writer = FrameWriter::new();
/// let frame = writer.encode(&mut LengthDelimitedCodec::new(), Bytes::from("hello"))?;
/// assert_eq!(frame, &b"\0\0\0\x05hello"[..]);
/// assert_eq!(writer.encode(&mut LinesCodec::new(), "hello")?, &b"hello\n"[..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When encoding fails nothing is written, and what the encoder had put into
/// the buffer is forgotten.
#[derive(Debug, Default)]
pub struct FrameWriter {
    /// Empty between calls.
    buffer: BytesMut,
}

impl FrameWriter {
    /// A writer. It allocates nothing before its first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a frame to the connection of this callback, as [`Io::write`]
    /// writes bytes. In the steady state this allocates nothing.
    ///
    /// # Errors
    ///
    /// What the codec refuses to encode.
    pub fn write<C: Encoder<T>, T>(
        &mut self,
        io: &mut Io<'_>,
        codec: &mut C,
        frame: T,
    ) -> Result<Sent, C::Error> {
        let outcome = codec.encode(frame, &mut self.buffer).map(|()| io.write_buf(&mut self.buffer));
        self.empty();
        outcome
    }

    /// Sends a frame to any connection of this reactor, as [`Io::send`] sends
    /// bytes. It costs one allocation.
    ///
    /// # Errors
    ///
    /// What the codec refuses to encode.
    pub fn send<C: Encoder<T>, T>(
        &mut self,
        io: &mut Io<'_>,
        to: ConnId,
        codec: &mut C,
        frame: T,
    ) -> Result<Sent, C::Error> {
        Ok(io.send(to, self.encode(codec, frame)?))
    }

    /// Encodes a frame once, for many: for [`Io::broadcast`], for several
    /// [`Io::send`]s, or, if it is large, to be written by reference
    /// ([`Io::write_bytes`]). It has an allocation of its own, so that waiting
    /// for a slow reader it holds no more than is counted.
    ///
    /// # Errors
    ///
    /// What the codec refuses to encode.
    pub fn encode<C: Encoder<T>, T>(&mut self, codec: &mut C, frame: T) -> Result<Bytes, C::Error> {
        let outcome = codec.encode(frame, &mut self.buffer).map(|()| {
            if self.buffer.capacity() > KEEP_UP_TO {
                std::mem::take(&mut self.buffer).freeze()
            } else {
                Bytes::copy_from_slice(&self.buffer)
            }
        });
        self.empty();
        outcome
    }

    fn empty(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > KEEP_UP_TO {
            self.buffer = BytesMut::new();
        }
    }
}
