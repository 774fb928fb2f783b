//! Teaches: whole frames instead of bytes, by a codec. A store of names and
//! values: each request and each reply is a frame behind its length (four
//! bytes); `NAME=VALUE` stores, `NAME` asks. A value may hold any bytes.
//!
//! ```text
//! cargo run --features codec --example framed -- 127.0.0.1:7007
//! printf '\0\0\0\6a=one\n\0\0\0\1a' | nc -N 127.0.0.1 7007 | xxd
//! ```

use std::collections::HashMap;
use std::env;

use bytes::{Bytes, BytesMut};
use serve_forever::codec::{FrameHandler, FrameWriter, Framed, LengthDelimitedCodec};
use serve_forever::{BoxError, Config, Io, Limits, Origin, Reactor, Sent};

#[derive(Default)]
struct Store {
    values: HashMap<Bytes, Bytes>,
    writer: FrameWriter,
}

impl FrameHandler for Store {
    type Session = LengthDelimitedCodec; // nothing else of one connection
    type Codec = LengthDelimitedCodec;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Self::Session, BoxError> {
        Ok(LengthDelimitedCodec::builder().max_frame_length(64 << 10).new_codec())
    }

    fn codec(session: &mut Self::Session) -> &mut Self::Codec {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, codec: &mut Self::Codec, request: BytesMut) -> Result<(), BoxError> {
        let copy = Bytes::copy_from_slice; // what is stored is not to hold the read buffer
        let reply = match request.iter().position(|byte| *byte == b'=') {
            Some(end) => self.values.insert(copy(&request[..end]), copy(&request[end + 1..])),
            None => self.values.get(&request[..]).cloned(),
        };
        if self.writer.write(io, codec, reply.unwrap_or_default())? == Sent::Full {
            io.pause(io.id()); // its further requests wait until it has read
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut Self::Session) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".into());
    let mut reactor = Reactor::new(Config::default())?;
    let service = reactor.add(Framed::new(Store::default()), Limits::default())?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    reactor.serve_forever()
}
