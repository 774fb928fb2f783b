//! Counters of a reactor's work, and of its calls into the operating system.

use crate::histogram::Histogram;

/// Counts since the reactor was made. None of them is ever reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Events that the system reported.
    pub events: u64,
    /// Events of connections that had ended before the loop looked at the event.
    pub stale_events: u64,
    /// Connections that were accepted and are within every limit.
    pub accepted: u64,
    /// Outbound connections that were established.
    pub connected: u64,
    /// Outbound connections that failed.
    pub connect_failures: u64,
    /// Handshakes of layers that were completed ([`Layer`](crate::Layer)).
    pub handshakes: u64,
    /// Handshakes that were not: refused, broken off, or out of time.
    pub handshake_failures: u64,
    /// Connections closed at once because `max_connections` of the reactor or of the
    /// service was reached.
    pub refused_full: u64,
    /// Connections that `verify` refused.
    pub refused_by_handler: u64,
    /// Times that accepting paused for want of file descriptors or memory.
    pub accept_pauses: u64,
    /// Connections that failed after the kernel had accepted them and before
    /// `accept` returned them.
    pub accept_errors: u64,
    /// Sessions whose `close` was called.
    pub closed: u64,
    /// Those among `closed` that a deadline ended ([`CloseReason::TimedOut`](crate::CloseReason::TimedOut)).
    pub timed_out: u64,
    /// Those among `closed` that an error of the system ended ([`CloseReason::Io`](crate::CloseReason::Io)).
    pub broken: u64,
    /// Those among `closed` whose output queue was full ([`CloseReason::Overflow`](crate::CloseReason::Overflow)).
    pub overflowed: u64,
    /// Callbacks that returned an error.
    pub failed: u64,
    /// Callbacks that panicked.
    pub panicked: u64,
    /// Callbacks that took longer than `Config::slow_callback`.
    pub slow: u64,
    /// How long callbacks took. Nothing is counted where
    /// [`Config::slow_callback`](crate::Config::slow_callback) is `None`, for then
    /// nobody reads the clock after a callback.
    pub callback_times: Histogram,
    /// How long turns took without the wait: from the end of the wait to the end of the
    /// last callback, or of the writes in phase 6 if they came later. So long a
    /// connection may have waited for another one. What the last callback wrote to its
    /// own connection is not in it, unless
    /// [`Config::slow_callback`](crate::Config::slow_callback) is `None`.
    pub turn_times: Histogram,
    /// Bytes read: delivered to a handler, or discarded while a connection closes.
    /// A connection with a layer counts what came over the wire.
    pub bytes_in: u64,
    /// Bytes written to connections, and sent in datagrams.
    pub bytes_out: u64,
    /// Messages dropped at a hard mark, datagrams included
    /// ([`Sent::Dropped`](crate::Sent::Dropped)).
    pub dropped: u64,
    /// Datagrams received whole; their bytes are in `bytes_in`.
    pub datagrams_in: u64,
    /// Those among `datagrams_in` that `verify` refused.
    pub datagrams_refused: u64,
    /// Datagrams longer than `Limits::max_datagram`, which the loop dropped.
    pub datagrams_too_long: u64,
    /// Datagrams that came, or claimed to come, from a datagram socket of this
    /// reactor, and were dropped ([`BindOptions::from_own`](crate::BindOptions::from_own)).
    pub datagrams_from_own: u64,
    /// Datagrams sent; their bytes are in `bytes_out`.
    pub datagrams_out: u64,
    /// Datagrams that the loop queued and the system then refused.
    pub datagrams_unsent: u64,
    /// Errors reported by receiving from a datagram socket.
    pub receive_errors: u64,
    /// Times that the loop offered output once more at the end of
    /// `Limits::write_stall`, without an event for it.
    pub stalls_checked: u64,
    /// Timers of handlers that fired.
    pub timers_fired: u64,
    /// Child processes that were started.
    pub children_started: u64,
    /// Child processes that could not be started.
    pub children_failed: u64,
    /// Child processes that exited, each counted when `child_exited` was called.
    pub children_exited: u64,
    /// Calls of [`Handle`](crate::Handle)s that ran.
    pub calls: u64,
    /// Jobs of workers whose end was told (`Io::offload`), lookups of names included.
    pub jobs: u64,
    /// Calls between services that ran ([`Io::call`](crate::Io::call)).
    pub local_calls: u64,
    /// Calls into the operating system.
    pub system: SystemCalls,
}

/// Calls into the operating system, as the driver counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemCalls {
    /// Waits for events (`epoll_wait`).
    pub wait: u64,
    /// Reads, receives of a datagram, and the calls that find a datagram's sender:
    /// one for the path of each sender on a Unix socket, one for a sender from the
    /// port of a wildcard socket.
    pub read: u64,
    /// Writes, each of one or more pieces, and sends of a datagram.
    pub write: u64,
    /// Accepts, including those that found no connection waiting.
    pub accept: u64,
    /// Starts of outbound connections, and checks of their result.
    pub connect: u64,
    /// Registrations (`epoll_ctl`), one for each socket.
    pub register: u64,
    /// Half-closes (`shutdown`).
    pub shutdown: u64,
    /// Closes.
    pub close: u64,
    /// Calls for child processes: starting, waiting, signalling.
    pub child: u64,
}

impl SystemCalls {
    /// The sum of all counts.
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
