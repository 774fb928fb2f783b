//! `CloseCode`: why a WebSocket is closed (RFC 6455, 7.4).

use std::fmt;

/// The code of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// It has done what it was for.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser has left the page.
    pub const AWAY: Self = Self(1001);
    /// A frame, or their order, is against the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// This kind of message is not taken here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// A text is no UTF-8.
    pub const INVALID: Self = Self(1007);
    /// What was sent is against the rules of the service.
    pub const POLICY: Self = Self(1008);
    /// A message is too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// The handler failed.
    pub const FAILED: Self = Self(1011);

    /// The code with this number, if it may be sent: 1000 to 1003, 1007 to 1014,
    /// 3000 to 4999.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::CloseCode;

    #[test]
    fn codes_that_may_be_sent() {
        for number in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::new(number), None, "{number}");
        }
        for number in [1000, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(number).map(CloseCode::number), Some(number));
        }
    }
}
