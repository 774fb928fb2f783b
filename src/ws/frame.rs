//! Frames: their heads, parsed and encoded (RFC 6455, 5.2).

use bytes::{BufMut, Bytes, BytesMut};

use super::close::CloseCode;
use super::mask;

/// The most bytes that the payload of a control frame has (RFC 6455, 5.5).
pub(super) const MOST_CONTROL: usize = 125;

/// The two sides of a WebSocket: a client's frames are masked, a server's are
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that has asked.
    Client,
    /// The side that was asked.
    Server,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        self.number() >= 8
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) opcode: Opcode,
    /// The message ends with this frame.
    pub(super) is_last: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) length: u64,
}

impl FrameHead {
    /// Parses a head at the front of `input`: it, and its length. `None` if the rest
    /// has not come.
    pub(super) fn parse(input: &[u8], from: Role) -> Result<Option<(Self, usize)>, &'static str> {
        let Some(first) = input.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err("a reserved bit is set, and no extension was agreed on");
        }
        let opcode = Opcode::of(first & 0x0f).ok_or("the opcode is unknown")?;
        let is_last = first & 0x80 != 0;
        if opcode.is_control() && !is_last {
            return Err("a control frame is fragmented");
        }
        let Some(second) = input.get(1) else { return Ok(None) };
        if (second & 0x80 != 0) != (from == Role::Client) {
            return Err(match from {
                Role::Client => "a frame of a client is not masked",
                Role::Server => "a frame of a server is masked",
            });
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MOST_CONTROL {
            return Err("a control frame is longer than 125 bytes");
        }
        let (length, at) = match short {
            126 => {
                let Some(bytes) = input.get(2..).and_then(|rest| rest.first_chunk()) else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*bytes)), 4)
            }
            127 => {
                let Some(bytes) = input.get(2..).and_then(|rest| rest.first_chunk()) else { return Ok(None) };
                (u64::from_be_bytes(*bytes), 10)
            }
            short => (u64::from(short), 2),
        };
        let least = match short {
            126 => 126,
            127 => 1 << 16,
            _ => 0,
        };
        if length < least || length > u64::MAX >> 1 {
            return Err("the length of a frame is not written as it has to be");
        }
        let (mask, end) = match from {
            Role::Server => (None, at),
            Role::Client => match input.get(at..).and_then(|rest| rest.first_chunk()) {
                Some(mask) => (Some(*mask), at + 4),
                None => return Ok(None),
            },
        };
        Ok(Some((Self { opcode, is_last, mask, length }, end)))
    }

    fn put(self, out: &mut BytesMut) {
        out.put_u8(self.opcode.number() | if self.is_last { 0x80 } else { 0 });
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        match self.length {
            length @ 0..126 => out.put_u8(masked | length as u8),
            length @ 126..0x1_0000 => {
                out.put_u8(masked | 126);
                out.put_u16(length as u16);
            }
            length => {
                out.put_u8(masked | 127);
                out.put_u64(length);
            }
        }
        if let Some(mask) = self.mask {
            out.extend_from_slice(&mask);
        }
    }
}

/// Appends a frame that ends its message, or is all of it.
pub(super) fn put(out: &mut BytesMut, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) {
    put_with(out, FrameHead { opcode, is_last: true, mask, length: payload.len() as u64 }, payload);
}

/// Appends a frame of a message that goes on.
pub(super) fn put_fragment(out: &mut BytesMut, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) {
    put_with(out, FrameHead { opcode, is_last: false, mask, length: payload.len() as u64 }, payload);
}

fn put_with(out: &mut BytesMut, head: FrameHead, payload: &[u8]) {
    head.put(out);
    let begin = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = head.mask {
        mask::apply(&mut out[begin..], mask, 0);
    }
}

/// Appends a close frame. A reason that is too long is cut at a character.
pub(super) fn put_close(out: &mut BytesMut, mask: Option<[u8; 4]>, code: CloseCode, reason: &str) {
    let mut end = reason.len().min(MOST_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.number().to_be_bytes(), &reason.as_bytes()[..end]].concat();
    put(out, Opcode::Close, mask, &payload);
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    put(&mut out, opcode, None, payload);
    out.freeze()
}

/// A text as a frame of a server: made once, [broadcast](crate::Io::broadcast) to a
/// group of WebSockets.
#[must_use]
pub fn text_frame(text: &str) -> Bytes {
    frame(Opcode::Text, text.as_bytes())
}

/// A message of bytes as a frame of a server, to broadcast.
#[must_use]
pub fn binary_frame(data: &[u8]) -> Bytes {
    frame(Opcode::Binary, data)
}

/// A close as a frame of a server. Whoever sends it has to end its side behind it
/// ([`Io::close`](crate::Io::close)).
#[must_use]
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let mut out = BytesMut::new();
    put_close(&mut out, None, code, reason);
    out.freeze()
}

#[cfg(test)]
mod tests;
