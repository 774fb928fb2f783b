#![doc = include_str!("codec/framing.md")]

mod framed;
mod handler;
mod writer;

/// The crate of the codecs, without its runtime: only its feature `codec` is
/// on.
pub use tokio_util;
pub use tokio_util::codec::{
    AnyDelimiterCodec, AnyDelimiterCodecError, BytesCodec, Decoder, Encoder, LengthDelimitedCodec,
    LengthDelimitedCodecError, LinesCodec, LinesCodecError, length_delimited,
};

pub use self::framed::{Framed, FramedSession};
pub use self::handler::FrameHandler;
pub use self::writer::FrameWriter;
