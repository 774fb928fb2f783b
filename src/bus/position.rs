//! `Position`: a place in the order of a room.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The time in which the numbers of a room are valid. It changes when Redis may have
/// lost messages: when it was restarted, or forgot the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub(super) u64);

impl fmt::Display for Epoch {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in the order of a room: the number of a message in its epoch, counted from 1.
/// Displays as `EPOCH:OFFSET`, and parses from that, so that a client can keep it.
///
/// ```
/// use serve_forever::bus::Position;
///
/// let position: Position = "00000000000000ff:42".parse()?;
/// assert_eq!(position.offset, 42);
/// assert_eq!(position.to_string(), "00000000000000ff:42");
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The number of the message.
    pub offset: u64,
}

impl Position {
    /// The place of these two texts of the wire.
    pub(super) fn from_parts(epoch: &[u8], offset: &[u8]) -> Option<Self> {
        let epoch = std::str::from_utf8(epoch).ok().filter(|text| text.len() == 16)?;
        let offset = std::str::from_utf8(offset).ok().filter(|text| !text.starts_with('+'))?;
        Some(Self { epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?), offset: offset.parse().ok()? })
    }

    /// The next place of the same epoch.
    pub(super) const fn next(self) -> Self {
        Self { epoch: self.epoch, offset: self.offset + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// [`Error::Bus`] for everything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once(':')
            .and_then(|(epoch, offset)| Self::from_parts(epoch.as_bytes(), offset.as_bytes()))
            .ok_or_else(|| Error::Bus {
                what: "the position",
                reason: format!("{:?} is not EPOCH:OFFSET, 16 hexadecimal digits and a number", text),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_and_nothing_else_is() {
        let position = Position { epoch: Epoch(0x00ab_cdef), offset: u64::MAX >> 12 };
        assert_eq!(position.to_string().parse::<Position>().expect("its own form"), position);
        for text in ["", ":", "1:1", "00000000000000ff:", "00000000000000ff:-1", "00000000000000ff:+1", "x"] {
            let error = text.parse::<Position>().expect_err(text).to_string();
            assert!(error.contains("EPOCH:OFFSET"), "{error}");
        }
    }
}
