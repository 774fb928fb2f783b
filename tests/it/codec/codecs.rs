//! Codecs of the tests, and streams of frames for them.

use std::io;

use serve_forever::bytes::{Buf, BufMut, Bytes, BytesMut};
use serve_forever::codec::{AnyDelimiterCodec, Decoder, Encoder, LengthDelimitedCodec, LinesCodec};

/// The longest frame of every codec here.
pub(crate) const LONGEST: usize = 1000;

pub(crate) fn lines() -> LinesCodec {
    LinesCodec::new_with_max_length(LONGEST)
}

pub(crate) fn lengths() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(LONGEST).new_codec()
}

pub(crate) fn delimited() -> AnyDelimiterCodec {
    AnyDelimiterCodec::new_with_max_length(b";,".to_vec(), b";".to_vec(), LONGEST)
}

/// Consistent overhead byte stuffing, as somebody else published it. It takes
/// every byte as soon as it comes.
pub(crate) type Cobs = cobs_codec::Codec<0, 0, 0, LONGEST>;

pub(crate) fn cobs() -> Cobs {
    Cobs::new()
}

/// Netstrings: `5:hello,`. It takes nothing before a frame is whole.
#[derive(Debug)]
pub(crate) struct Netstrings;

pub(crate) fn netstrings() -> Netstrings {
    Netstrings
}

fn no_netstring(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no netstring: {what}"))
}

impl Decoder for Netstrings {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, io::Error> {
        let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 4 {
            return Err(no_netstring("its length is too long"));
        }
        match input.get(digits) {
            None => return Ok(None),
            Some(b':') if digits > 0 => {}
            Some(_) => return Err(no_netstring("it does not begin with a length")),
        }
        let length = input[..digits].iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        if length > LONGEST {
            return Err(no_netstring("it is too long"));
        }
        match input.get(digits + 1 + length) {
            None => Ok(None),
            Some(b',') => {
                input.advance(digits + 1);
                let frame = input.split_to(length).freeze();
                input.advance(1);
                Ok(Some(frame))
            }
            Some(_) => Err(no_netstring("it does not end with a comma")),
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for Netstrings {
    type Error = io::Error;

    fn encode(&mut self, frame: T, output: &mut BytesMut) -> Result<(), io::Error> {
        let frame = frame.as_ref();
        if frame.len() > LONGEST {
            output.put_slice(b"a part of it");
            return Err(no_netstring("it is too long"));
        }
        output.put_slice(format!("{}:", frame.len()).as_bytes());
        output.put_slice(frame);
        output.put_slice(b",");
        Ok(())
    }
}

/// Each byte is a frame. It takes all that comes at once, and gives the frames
/// one after the other.
#[derive(Debug, Default)]
pub(crate) struct Hoarder(std::collections::VecDeque<u8>);

impl Decoder for Hoarder {
    type Item = [u8; 1];
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<[u8; 1]>, io::Error> {
        self.0.extend(input.split().iter());
        Ok(self.0.pop_front().map(|byte| [byte]))
    }
}

/// Lines, between which a NUL says that somebody is still there.
#[derive(Debug)]
pub(crate) struct LinesAndNuls(LinesCodec);

impl LinesAndNuls {
    pub(crate) fn new() -> Self {
        Self(lines())
    }
}

impl Decoder for LinesAndNuls {
    type Item = String;
    type Error = <LinesCodec as Decoder>::Error;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<String>, Self::Error> {
        let nuls = input.iter().take_while(|byte| **byte == 0).count();
        input.advance(nuls);
        self.0.decode(input)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<String>, Self::Error> {
        match self.decode(input)? {
            Some(line) => Ok(Some(line)),
            None => self.0.decode_eof(input),
        }
    }
}

/// A stream of these frames, as a codec encodes them.
#[track_caller]
pub(crate) fn encoded<C: Encoder<T>, T>(mut codec: C, frames: impl IntoIterator<Item = T>) -> Vec<u8>
where
    C::Error: std::fmt::Debug,
{
    let mut output = BytesMut::new();
    for frame in frames {
        codec.encode(frame, &mut output).expect("it can be encoded");
    }
    output.to_vec()
}
