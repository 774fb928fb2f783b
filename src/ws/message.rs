//! `Message`: a whole message of a WebSocket.

/// A message. Its payload is where it was read, as long as the callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text, checked to be UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Its payload, whichever kind it is.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(data) => data,
        }
    }
}

/// A fragment of a message that is sent in parts (RFC 6455, 5.4): a message of any
/// length, as its reader takes it. Control frames may go between them, other
/// messages may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The first; its kind is that of the message.
    First(Message<'a>),
    /// One between the first and the last. A text may be cut anywhere.
    Next(&'a [u8]),
    /// The last.
    Last(&'a [u8]),
}
