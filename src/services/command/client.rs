//! What is known of a client.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Peer;
use crate::services::http_guard::HttpGuard;

/// Requests that may wait behind the one that is answered.
const WAITING: usize = 4;

/// One client, and what it waits for.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    /// It has shown the token, or there is none.
    pub(super) is_admitted: bool,
    /// What its first request looks like.
    pub(super) guard: HttpGuard,
    /// Requests that wait behind the one that is answered.
    pub(super) queue: VecDeque<Request>,
    pub(super) doing: Doing,
    /// No more requests will come.
    pub(super) ends: bool,
    /// It does not take its replies as fast as they come.
    pub(super) is_full: bool,
    /// It is not read.
    pub(super) is_paused: bool,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) enum Request {
    Line(Bytes),
    /// More than may be asked for: the last that is answered.
    TooLong,
}

/// What becomes of the request that is answered.
#[derive(Debug, Default)]
pub(super) enum Doing {
    #[default]
    Nothing,
    /// This line waits for a child to end.
    Waits(Bytes),
    /// The command of this number runs.
    Runs(u64),
    /// The rest of the reply, of this number, waits for its time.
    AwaitsGap(u64),
    /// The rest of the reply, of this number, waits for a word of the client.
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

    /// Its next request can be answered.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.doing, Doing::Nothing) && !self.is_full
    }

    /// It waits for nothing.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.doing, Doing::Nothing) && self.queue.is_empty()
    }

    /// There is room for another request, or one is needed.
    pub(super) fn wants_requests(&self) -> bool {
        let awaits = matches!(self.doing, Doing::AwaitsAck(_));
        !self.ends && (awaits || self.queue.len() < WAITING)
    }
}
