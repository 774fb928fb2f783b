//! `Refusal`: the reasons for which a request is answered with an error and its
//! connection closed.

use std::fmt;

use http::StatusCode;

use crate::CloseReason;

/// A request that is not taken: its status, and a sentence that says why. The
/// connection ends behind the answer, for where the next request would begin is
/// not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    /// The refusal of a request that has begun and that an end of its connection cuts
    /// off; `None` for an end that a client can do nothing about.
    pub(crate) const fn of_end(why: &CloseReason) -> Option<Self> {
        match why {
            CloseReason::TimedOut(_) => Some(Self::TIMEOUT),
            CloseReason::InputTooLong { .. } => Some(Self::HEAD_TOO_LONG),
            _ => None,
        }
    }

    pub(crate) const TIMEOUT: Self =
        Self { status: StatusCode::REQUEST_TIMEOUT, reason: "the request did not come in time" };
    pub(crate) const NO_LENGTH: Self =
        Self { status: StatusCode::LENGTH_REQUIRED, reason: "the body needs a Content-Length" };
    pub(crate) const BODY_TOO_LONG: Self =
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, reason: "the body is too long" };
    pub(crate) const LINE_TOO_LONG: Self =
        Self { status: StatusCode::URI_TOO_LONG, reason: "the first line is too long" };
    pub(crate) const UNKNOWN_EXPECTATION: Self =
        Self { status: StatusCode::EXPECTATION_FAILED, reason: "nothing but 100-continue is expected here" };
    pub(crate) const HEAD_TOO_LONG: Self =
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason: "the head is too long" };
    pub(crate) const TOO_MANY_FIELDS: Self =
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason: "there are too many fields" };
    pub(crate) const UNKNOWN_CODING: Self =
        Self { status: StatusCode::NOT_IMPLEMENTED, reason: "no transfer coding but chunked is known here" };
    pub(crate) const NO_TUNNEL: Self =
        Self { status: StatusCode::NOT_IMPLEMENTED, reason: "this is no proxy: CONNECT is not served" };
    pub(crate) const VERSION: Self = Self {
        status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        reason: "only HTTP/1.0 and HTTP/1.1 are served here",
    };
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.reason)
    }
}

impl std::error::Error for Refusal {}
