//! `FrameWriter`: encodes frames into a buffer that it reuses, and writes or
//! sends them.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Encoder;

use crate::{ConnId, Io, Sent};

/// The capacity up to which a writer keeps its buffer.
const KEEP_UP_TO: usize = 64 << 10;

/// An encoder of frames, with a buffer that it reuses.
///
/// A handler holds one writer for all of its connections. Each call names the
/// codec that encodes: that of a session; or, without a session (in `tick`, or
/// a call from a [`Handle`](crate::Handle)), a codec that the handler holds
/// beside its writer. The encoders of most codecs are stateless, so one can
/// encode for all connections. A stateful encoder (which compresses, or numbers
/// its frames) belongs to the connection that its frames go to.
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
/// When encoding fails, nothing is written, and the writer drops what the
/// encoder had put into the buffer.
#[derive(Debug, Default)]
pub struct FrameWriter {
    /// Empty between calls.
    buffer: BytesMut,
}

impl FrameWriter {
    /// Makes a writer. It allocates nothing before its first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a frame to the connection of this callback, as [`Io::write`]
    /// writes bytes. It allocates nothing in the steady state.
    ///
    /// # Errors
    ///
    /// The codec's error.
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
    /// The codec's error.
    pub fn send<C: Encoder<T>, T>(
        &mut self,
        io: &mut Io<'_>,
        to: ConnId,
        codec: &mut C,
        frame: T,
    ) -> Result<Sent, C::Error> {
        Ok(io.send(to, self.encode(codec, frame)?))
    }

    /// Encodes a frame once for several uses: for [`Io::broadcast`], for
    /// several [`Io::send`]s, or, if it is large, to be written by reference
    /// ([`Io::write_bytes`]). The frame has its own allocation, so that while
    /// it waits for a slow reader it holds no more memory than the queue
    /// counts.
    ///
    /// # Errors
    ///
    /// The codec's error.
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
