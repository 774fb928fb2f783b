//! `Reply`: answers in both versions of RESP, by the encoder of `redis-protocol`.

use redis_protocol::{resp2, resp3};
use serve_forever::bytes::BytesMut;

/// The version of RESP that a client has chosen with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    Two,
    Three,
}

/// An answer, or a message that no command asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Simple(&'a str),
    Error(&'a str),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(Vec<Self>),
    /// Pairs; in RESP2 an array of both in turn.
    Map(Vec<(Self, Self)>),
    /// A message of a channel, and the answer to subscribing; in RESP2 an array.
    Push(Vec<Self>),
}

impl Reply<'_> {
    /// Appends it to `out`, which grows as it has to: the encoder's one error, a buffer
    /// that is too small, does not occur.
    pub(crate) fn encode(&self, version: Version, out: &mut BytesMut) {
        let _ = match version {
            Version::Two => self.encode_2(out),
            Version::Three => self.encode_3(out),
        };
    }

    fn encode_2(&self, out: &mut BytesMut) -> Result<usize, redis_protocol::error::RedisProtocolError> {
        use resp2::types::BorrowedFrame as Frame;
        let frame = match self {
            Self::Simple(text) => Frame::SimpleString(text.as_bytes()),
            Self::Error(text) => Frame::Error(text),
            Self::Integer(value) => Frame::Integer(*value),
            Self::Bulk(data) => Frame::BulkString(data),
            Self::Null => Frame::Null,
            Self::Array(_) | Self::Map(_) | Self::Push(_) => {
                let frame = self.to_2();
                let from = out.len();
                out.resize(from + resp2::types::Resp2Frame::encode_len(&frame, false), 0);
                return resp2::encode::encode(&mut out[from..], &frame, false);
            }
        };
        resp2::encode::extend_encode_borrowed(out, &frame, false)
    }

    fn encode_3(&self, out: &mut BytesMut) -> Result<usize, redis_protocol::error::RedisProtocolError> {
        use resp3::types::BorrowedFrame as Frame;
        let attributes = None;
        let frame = match self {
            Self::Simple(text) => Frame::SimpleString { data: text.as_bytes(), attributes },
            Self::Error(data) => Frame::SimpleError { data, attributes },
            Self::Integer(data) => Frame::Number { data: *data, attributes },
            Self::Bulk(data) => Frame::BlobString { data, attributes },
            Self::Null => Frame::Null,
            Self::Array(_) | Self::Map(_) | Self::Push(_) => {
                let frame = self.to_3();
                let from = out.len();
                out.resize(from + resp3::types::Resp3Frame::encode_len(&frame, false), 0);
                return resp3::encode::complete::encode(&mut out[from..], &frame, false);
            }
        };
        resp3::encode::complete::extend_encode_borrowed(out, &frame, false)
    }

    fn to_2(&self) -> resp2::types::OwnedFrame {
        use resp2::types::OwnedFrame as Frame;
        match self {
            Self::Simple(text) => Frame::SimpleString(text.as_bytes().to_vec()),
            Self::Error(text) => Frame::Error((*text).to_owned()),
            Self::Integer(value) => Frame::Integer(*value),
            Self::Bulk(data) => Frame::BulkString(data.to_vec()),
            Self::Null => Frame::Null,
            Self::Array(items) | Self::Push(items) => Frame::Array(items.iter().map(Self::to_2).collect()),
            Self::Map(pairs) => {
                Frame::Array(pairs.iter().flat_map(|(key, value)| [key.to_2(), value.to_2()]).collect())
            }
        }
    }

    fn to_3(&self) -> resp3::types::OwnedFrame {
        use resp3::types::OwnedFrame as Frame;
        let attributes = None;
        match self {
            Self::Simple(text) => Frame::SimpleString { data: text.as_bytes().to_vec(), attributes },
            Self::Error(text) => Frame::SimpleError { data: (*text).to_owned(), attributes },
            Self::Integer(data) => Frame::Number { data: *data, attributes },
            Self::Bulk(data) => Frame::BlobString { data: data.to_vec(), attributes },
            Self::Null => Frame::Null,
            Self::Array(items) => Frame::Array { data: items.iter().map(Self::to_3).collect(), attributes },
            Self::Push(items) => Frame::Push { data: items.iter().map(Self::to_3).collect(), attributes },
            Self::Map(pairs) => {
                let data = pairs.iter().map(|(key, value)| (key.to_3(), value.to_3())).collect();
                Frame::Map { data, attributes }
            }
        }
    }
}
