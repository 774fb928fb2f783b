//! `Outgoing`: frames on their way out, masked where this side is the client.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::BytesMut;

use super::close::CloseCode;
use super::frame::{self, Opcode};
use super::message::{Message, Part};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing<'a> {
    Message(Message<'a>),
    Part(Part<'a>),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// A close; without a code where the peer gave none.
    Close(Option<CloseCode>, &'a str),
}

impl Outgoing<'_> {
    /// Appends the frame. A payload of a ping or pong that is longer than 125 bytes
    /// is cut.
    pub(crate) fn put(self, out: &mut BytesMut, mask: Option<[u8; 4]>) {
        let short = |payload: &'_ [u8]| payload.len().min(frame::MOST_CONTROL);
        match self {
            Self::Message(Message::Text(text)) => frame::put(out, Opcode::Text, mask, text.as_bytes()),
            Self::Message(Message::Binary(data)) => frame::put(out, Opcode::Binary, mask, data),
            Self::Part(Part::First(Message::Text(text))) => {
                frame::put_fragment(out, Opcode::Text, mask, text.as_bytes());
            }
            Self::Part(Part::First(Message::Binary(data))) => {
                frame::put_fragment(out, Opcode::Binary, mask, data);
            }
            Self::Part(Part::Next(data)) => frame::put_fragment(out, Opcode::Continuation, mask, data),
            Self::Part(Part::Last(data)) => frame::put(out, Opcode::Continuation, mask, data),
            Self::Ping(payload) => frame::put(out, Opcode::Ping, mask, &payload[..short(payload)]),
            Self::Pong(payload) => frame::put(out, Opcode::Pong, mask, &payload[..short(payload)]),
            Self::Close(Some(code), reason) => frame::put_close(out, mask, code, reason),
            Self::Close(None, _) => frame::put(out, Opcode::Close, mask, &[]),
        }
    }
}

/// The masks of a client: each new, and none to be foreseen by whoever chooses the
/// payload (RFC 6455, 10.3): a keyed hash of a counter, whose key the system has
/// drawn.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    hash: RandomState,
    count: u64,
}

impl Masks {
    fn number(&mut self) -> u64 {
        self.count += 1;
        let mut hasher = self.hash.build_hasher();
        hasher.write_u64(self.count);
        hasher.finish()
    }

    pub(crate) fn next(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.number().to_ne_bytes();
        [a, b, c, d]
    }

    /// The bytes of a key.
    pub(crate) fn key(&mut self) -> [u8; 16] {
        (u128::from(self.number()) << 64 | u128::from(self.number())).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn masks_are_new_each_time() {
        let mut masks = Masks::default();
        let drawn: BTreeSet<_> = (0..1000).map(|_| masks.next()).collect();
        assert!(drawn.len() > 990, "{} of 1000", drawn.len());
        assert_ne!(masks.key(), masks.key());
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let mut out = BytesMut::new();
        Outgoing::Close(Some(CloseCode::NORMAL), &"ä".repeat(100)).put(&mut out, None);
        assert_eq!(&out[..4], [0x88, 124, 3, 0xe8]);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("ä".repeat(61).as_str()));
    }
}
