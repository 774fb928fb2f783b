//! `Client`: the state of a client: its queued requests, and the one being
//! answered.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Peer;
use crate::services::http_guard::HttpGuard;

/// The most requests that wait behind the one being answered.
const WAITING: usize = 4;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    /// True once the client has sent the token, or if there is none.
    pub(super) is_admitted: bool,
    /// The check of its first request.
    pub(super) guard: HttpGuard,
    /// Requests that wait behind the one being answered.
    pub(super) queue: VecDeque<Request>,
    pub(super) doing: Doing,
    /// True once no further request will come.
    pub(super) ends: bool,
    /// True while its output is above the high mark.
    pub(super) is_full: bool,
    /// True while it is paused.
    pub(super) is_paused: bool,
}

/// A request of a client.
#[derive(Debug)]
pub(super) enum Request {
    Line(Bytes),
    /// A request that is too long; the last one that is answered.
    TooLong,
}

/// The progress of the request being answered.
#[derive(Debug, Default)]
pub(super) enum Doing {
    #[default]
    Nothing,
    /// This line waits for a child to end.
    Waits(Bytes),
    /// The command of this number runs.
    Runs(u64),
    /// The rest of the reply, with this number, waits for its gap.
    AwaitsGap(u64),
    /// The rest of the reply, with this number, waits for a chunk of the
    /// client.
    AwaitsAck(u64),
}

impl Client {
    pub(super) fn new(peer: Peer, is_admitted: bool) -> Self {
        Self {
            peer,
            is_admitted,
            guard: HttpGuard::default(),
            queue: VecDeque::new(),
            doing: Doing::Nothing,
            ends: false,
            is_full: false,
            is_paused: false,
        }
    }

    /// True if its next request can be answered.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.doing, Doing::Nothing) && !self.is_full
    }

    /// True if no request of it is left.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.doing, Doing::Nothing) && self.queue.is_empty()
    }

    /// True if the queue has room for a request, or the reply awaits one.
    pub(super) fn wants_requests(&self) -> bool {
        let awaits = matches!(self.doing, Doing::AwaitsAck(_));
        !self.ends && (awaits || self.queue.len() < WAITING)
    }
}
