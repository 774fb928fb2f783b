//! Counters: what the reactor did, and what it asked of the system.

/// Counts since the reactor was made. None of them is ever reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Passes of the loop.
    pub turns: u64,
    /// Events that the system reported.
    pub events: u64,
    /// Events of a connection that had ended before they were looked at.
    pub stale_events: u64,
    /// Connections taken in: accepted and within every limit.
    pub accepted: u64,
    /// Outbound connections that came about.
    pub connected: u64,
    /// Outbound connections that did not.
    pub connect_failures: u64,
    /// Connections closed at once for a `max_connections`.
    pub refused_full: u64,
    /// Connections that `verify` refused.
    pub refused_by_handler: u64,
    /// Times that accepting paused for want of file descriptors or memory.
    pub accept_pauses: u64,
    /// Connections that failed between the kernel's accepting and ours.
    pub accept_errors: u64,
    /// Sessions whose `close` was called.
    pub closed: u64,
    /// Of those: by a deadline ([`CloseReason::TimedOut`](crate::CloseReason::TimedOut)).
    pub timed_out: u64,
    /// Of those: by an error of the system ([`CloseReason::Io`](crate::CloseReason::Io)).
    pub broken: u64,
    /// Of those: by a full output queue ([`CloseReason::Overflow`](crate::CloseReason::Overflow)).
    pub overflowed: u64,
    /// Callbacks that returned an error.
    pub failed: u64,
    /// Callbacks that panicked.
    pub panicked: u64,
    /// Callbacks that took longer than `Config::slow_callback`.
    pub slow: u64,
    /// Bytes read and handed over, or read and discarded while closing.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages dropped at a hard mark, datagrams included
    /// ([`Sent::Dropped`](crate::Sent::Dropped)).
    pub dropped: u64,
    /// Datagrams received whole; their bytes are in `bytes_in`.
    pub datagrams_in: u64,
    /// Of those: refused by `verify`.
    pub datagrams_refused: u64,
    /// Datagrams that were longer than `Limits::max_datagram`, and are lost.
    pub datagrams_too_long: u64,
    /// Datagrams that came, or claimed to come, from a datagram socket of this
    /// reactor, and were dropped ([`BindOptions::from_own`](crate::BindOptions::from_own)).
    pub datagrams_from_own: u64,
    /// Datagrams sent; their bytes are in `bytes_out`.
    pub datagrams_out: u64,
    /// Datagrams that were queued, and that the system then refused.
    pub datagrams_unsent: u64,
    /// Errors that receiving from a datagram socket reported.
    pub receive_errors: u64,
    /// Times that output was offered again when its write stall was over,
    /// though no event had told of room.
    pub stalls_checked: u64,
    /// Timers of handlers that fired.
    pub timers_fired: u64,
    /// Child processes that were started.
    pub children_started: u64,
    /// Child processes that could not be.
    pub children_failed: u64,
    /// Child processes that have exited, and whose handler was told.
    pub children_exited: u64,
    /// Calls from handles that ran.
    pub calls: u64,
    /// What was asked of the operating system.
    pub system: SystemCalls,
}

/// Calls into the operating system, as the driver counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemCalls {
    /// Waits for events (`epoll_wait`).
    pub wait: u64,
    /// Reads, receives of a datagram, and looks at who sent it where that takes
    /// a call: the path of each sender on a Unix socket, and who sends from the
    /// port of a wildcard.
    pub read: u64,
    /// Writes, each of one or more pieces, and sends of a datagram.
    pub write: u64,
    /// Accepts, those that found nobody waiting included.
    pub accept: u64,
    /// Beginnings of outbound connections, and looks at what became of them.
    pub connect: u64,
    /// Registrations (`epoll_ctl`): none but one for each socket.
    pub register: u64,
    /// Half-closes (`shutdown`).
    pub shutdown: u64,
    /// Closes.
    pub close: u64,
    /// All about child processes: starting them, looking at them, signals.
    pub child: u64,
}

impl SystemCalls {
    /// All of them together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.wait
            + self.read
            + self.write
            + self.accept
            + self.connect
            + self.register
            + self.shutdown
            + self.close
            + self.child
    }

    /// Each count with its name, for tables.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 9] {
        [
            ("wait", self.wait),
            ("read", self.read),
            ("write", self.write),
            ("accept", self.accept),
            ("connect", self.connect),
            ("register", self.register),
            ("shutdown", self.shutdown),
            ("close", self.close),
            ("child", self.child),
        ]
    }
}
