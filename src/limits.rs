//! Every number that bounds something, with its default.

use std::time::Duration;

use crate::error::{Error, Result};

/// How long a shutdown may take, where nobody has said otherwise: 10 s.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The largest buffer that the loop makes for itself: 256 MiB.
const MOST_BYTES: usize = 256 << 20;

/// The most events of one turn; each has room from the start.
pub(crate) const MOST_EVENTS: usize = 1 << 20;

/// What happens to output that would pass the hard mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The connection ends at once with [`CloseReason::Overflow`](crate::CloseReason::Overflow);
    /// a TCP peer sees a reset, so that it cannot take what it got for the
    /// whole. A Unix socket has no reset: its peer sees an ordinary end.
    #[default]
    Close,
    /// The new message is dropped, whole, and the callback is told
    /// ([`Sent::Dropped`](crate::Sent::Dropped)); the connection lives on.
    DropNewest,
}

/// The limits of one service; each holds for every one of its connections.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::Limits;
///
/// let limits = Limits { idle: Some(Duration::from_secs(60)), ..Limits::default() };
/// ```
///
/// Always end with `..Limits::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of this service at once; one more is closed as soon as it
    /// is accepted. Default: no limit beneath [`Config::max_connections`].
    pub max_connections: usize,
    /// Bytes read from one connection in one turn, so that a fire hose does
    /// not starve its neighbours. Default 64 KiB.
    pub read_budget: usize,
    /// Input that a handler leaves untaken, or
    /// [counts as left](crate::Io::set_partial), in bytes: its longest
    /// frame, and what a handler that pauses leaves of the frames behind that. More
    /// ends the connection with [`CloseReason::InputTooLong`](crate::CloseReason::InputTooLong).
    /// Default 1 MiB.
    pub max_input: usize,
    /// Time for an outbound connection to come about
    /// ([`Io::connect`](crate::Io::connect)). `None`: as long as the system
    /// tries, which is minutes; where the backlog of a Unix socket is full, for
    /// ever. Default 30 s.
    pub connect: Option<Duration>,
    /// Time without a byte in either direction. `None`: no limit. Default
    /// 300 s; [`Io::set_idle`](crate::Io::set_idle) changes it for one connection.
    pub idle: Option<Duration>,
    /// Time from `open` until the handler first takes some input: the first
    /// frame. Dripping bytes do not extend it; what it
    /// [counts as left](crate::Io::set_partial) is not taken. `None`: no limit. Default 30 s.
    pub first_frame: Option<Duration>,
    /// Time that later input may lie untaken: from the first byte of a frame
    /// to its last. Dripping bytes do not extend it; while the handler has
    /// paused the connection it does not run. `None`: no limit. Default 60 s.
    pub frame: Option<Duration>,
    /// Time for which the peer may take no byte at all of the output that
    /// waits for it; on a datagram socket, the system: what waits is then lost.
    /// When it is over, output is offered once more, for the system reports
    /// room only when a good part of its buffer is free (a third on TCP, three
    /// quarters on Unix sockets), and one who takes little at a time may not
    /// have made as much: what the system takes of it shows that the peer has
    /// taken something, and the time begins anew. So a peer that stops is found
    /// after one to two of these. `None`: no limit. Default 60 s.
    pub write_stall: Option<Duration>,
    /// Time given to the peer, after our last byte and FIN, to end its side;
    /// what it still sends is read and discarded meanwhile. Closing with
    /// input unread would make the kernel reset the connection and destroy
    /// the reply on its way (RFC 1122, 4.2.2.13). Zero: close at once.
    /// Default 5 s.
    pub linger: Duration,
    /// Once output passed the high mark and fell to this many waiting bytes,
    /// `drained` is called. Default 64 KiB.
    pub low_mark: usize,
    /// Above this many waiting bytes a write answers
    /// [`Sent::Full`](crate::Sent::Full). Default 256 KiB.
    pub high_mark: usize,
    /// Waiting output never exceeds this many bytes; what the system has taken
    /// waits no more here, but in its own buffer, which comes on top
    /// ([`ListenOptions::send_buffer`](crate::ListenOptions::send_buffer)).
    /// Default 1 MiB.
    pub hard_mark: usize,
    /// What becomes of output that would. Default: the connection ends. (A
    /// datagram socket never ends for it: the newest datagram is dropped.)
    pub overflow: Overflow,
    /// The longest datagram that is handed over, in bytes; a longer one is
    /// lost, counted and told ([`SocketError::TooLong`](crate::SocketError)).
    /// One buffer of this size is made when a socket is bound. At most 256 MiB.
    /// Default 65,535, which UDP never exceeds.
    pub max_datagram: usize,
    /// Datagrams received from one socket in one turn, and as many sent on it.
    /// Default 64.
    pub datagrams_per_turn: usize,
    /// Datagrams that may wait to be sent on one socket, whatever their size;
    /// one more is dropped. Above half of them the answer is
    /// [`Sent::Full`](crate::Sent::Full), and a quarter is the low mark. The
    /// marks above hold for their bytes beside it. Default 1,024.
    pub max_datagrams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: usize::MAX,
            read_budget: 64 << 10,
            max_input: 1 << 20,
            connect: Some(Duration::from_secs(30)),
            idle: Some(Duration::from_secs(300)),
            first_frame: Some(Duration::from_secs(30)),
            frame: Some(Duration::from_secs(60)),
            write_stall: Some(Duration::from_secs(60)),
            linger: Duration::from_secs(5),
            low_mark: 64 << 10,
            high_mark: 256 << 10,
            hard_mark: 1 << 20,
            overflow: Overflow::default(),
            max_datagram: 65_535,
            datagrams_per_turn: 64,
            max_datagrams: 1024,
        }
    }
}

impl Limits {
    /// The defaults, without a deadline for frames: for a service whose
    /// clients may listen for as long as they like before they speak.
    #[must_use]
    pub fn without_frames() -> Self {
        Self { first_frame: None, frame: None, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        require(self.max_connections > 0, "max_connections is 0; nothing could connect")?;
        require(self.read_budget > 0, "read_budget is 0; nothing could be read")?;
        require(self.max_input > 0, "max_input is 0; no frame could wait for its end")?;
        require(
            self.low_mark <= self.high_mark && self.high_mark <= self.hard_mark,
            "the marks must rise: low_mark <= high_mark <= hard_mark",
        )?;
        require(self.hard_mark > 0, "hard_mark is 0; nothing could be written")?;
        require(self.datagrams_per_turn > 0, "datagrams_per_turn is 0; none could be received")?;
        require(self.max_datagrams > 0, "max_datagrams is 0; none could be sent")?;
        at_most("max_datagram", self.max_datagram, MOST_BYTES)?;
        require(
            ![self.connect, self.idle, self.first_frame, self.frame, self.write_stall]
                .contains(&Some(Duration::ZERO)),
            "a deadline is 0; nobody could meet it, and None switches it off",
        )
    }

    /// The shortest of the periods that run again and again, by which a
    /// connection's deadlines are looked at: whatever of them starts to run
    /// between two looks cannot end before the second.
    pub(crate) fn check_period(&self) -> Option<Duration> {
        [self.idle, self.frame, self.write_stall].into_iter().flatten().min()
    }
}

/// The limits of a whole reactor, and how it works.
///
/// Where nothing is said of a largest value, any is taken: nothing is made for
/// it in advance, and `usize::MAX` or [`Duration::MAX`] is no limit but that of
/// the machine.
///
/// Always end with `..Config::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections at once, of all services. One more is closed as soon as it
    /// is accepted. `None`: 10,000, or half of the process's soft limit of
    /// file descriptors, whichever is less. Default `None`.
    pub max_connections: Option<usize>,
    /// Listeners at once. Default 1,024.
    pub max_listeners: usize,
    /// Datagram sockets at once. Default 1,024.
    pub max_sockets: usize,
    /// Connections accepted from one listener in one turn. Default 64.
    pub accepts_per_turn: usize,
    /// How long accepting pauses when the system is out of file descriptors
    /// or memory, if no connection closes before. Default 100 ms.
    pub accept_retry: Duration,
    /// How long the reactor tries to make a listener again that has failed for
    /// good (`EBADF`, `EINVAL`: somebody else has closed its socket): at the
    /// same endpoint, after [`accept_retry`](Self::accept_retry) and then twice
    /// as long each time, up to 5 s. After this time it is given up;
    /// [`StreamHandler::listener_failed`](crate::StreamHandler::listener_failed)
    /// is told of both, and [`Reactor::serve_forever`](crate::Reactor::serve_forever)
    /// ends when it was the last. `None`: it is given up at once, and what
    /// follows from that is for its owner. Default 60 s.
    pub listen_again: Option<Duration>,
    /// Events taken from the system in one turn; there is room for all of them
    /// from the start. At most 1,048,576. Default 1,024.
    pub events_per_turn: usize,
    /// How long a turn that has nothing to do asks the system again and again
    /// for events, before it sleeps. `None`, or zero: it sleeps at once.
    /// Default `None`.
    ///
    /// Being woken takes a thread some microseconds, and tens of them where the
    /// processor itself has gone to sleep; a message that comes while the loop
    /// still asks is spared that. The price is a processor: of a loop that is
    /// spoken to more often than this, a whole one, all the time, which other
    /// threads, those of its clients too, then have to do without. Where there
    /// is none to spare it makes everything slower. Some 50 µs suit a peer that
    /// answers at once; [`Duration::MAX`] never sleeps.
    ///
    /// Timers, [`Handle`](crate::Handle)s and the bounds that
    /// [`Reactor::turn`](crate::Reactor::turn) is given hold as they do
    /// without, and a turn that is not to wait does not. A loop around the
    /// reactor, which waits for its descriptor, sleeps there
    /// ([`next_timeout`](crate::Reactor::next_timeout) knows nothing of this).
    /// Each look is counted in [`SystemCalls::wait`](crate::SystemCalls::wait).
    pub busy_poll: Option<Duration>,
    /// The read buffer, one for the whole reactor, in bytes; it is made three
    /// times. At most 256 MiB. Default 64 KiB.
    pub read_buffer: usize,
    /// Output buffers kept for reuse, in bytes of all together: what a message
    /// to each of many needs again with the next one. Default 16 MiB, which is a
    /// thousand buffers of the largest size that is filled with small messages.
    pub spare_output: usize,
    /// Calls from [`Handle`](crate::Handle)s that may wait. Default 1,024.
    pub max_calls: usize,
    /// Timers that handlers may have pending, of all services. Default 1,048,576.
    pub max_timers: usize,
    /// Groups at once, of all services. Default 65,536.
    pub max_groups: usize,
    /// Child processes at once, of all services, until each is told of. As
    /// many again may have been told of and wait for the SIGKILL that their
    /// group is owed; beyond that it comes before its time. Default 256.
    pub max_children: usize,
    /// Programs started in one turn: each blocks the loop for as long as the
    /// system needs to load it, a millisecond or so. Default 1.
    pub spawns_per_turn: usize,
    /// How long the end of the reactor, by a shutdown or by dropping it, waits
    /// for children that it has killed. Such a signal need not end them: they
    /// wait for a disk, or have become another user's. Then they are let go of,
    /// which is logged, and told of without a status. Default 1 s.
    pub reap_within: Duration,
    /// Groups that one connection may be a member of. Default 1,024.
    pub max_groups_per_connection: usize,
    /// A callback that takes at least this long is named in a warning: it
    /// kept everybody else waiting. Costs a reading of the clock for each
    /// callback; `None` switches it off. Default 100 ms.
    pub slow_callback: Option<Duration>,
    /// Catch a panic in a callback, end that connection alone with
    /// [`CloseReason::Panicked`](crate::CloseReason::Panicked), and count it. `false`
    /// lets it propagate out of the loop, in the middle of a turn: what that
    /// turn had still to do may be lost, so drop the reactor then. What of the
    /// program's panics outside of a callback is caught in any case: see
    /// [`StreamHandler`](crate::StreamHandler). Default `true`.
    pub catch_panics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_listeners: 1024,
            max_sockets: 1024,
            accepts_per_turn: 64,
            accept_retry: Duration::from_millis(100),
            listen_again: Some(Duration::from_secs(60)),
            events_per_turn: 1024,
            busy_poll: None,
            read_buffer: 64 << 10,
            spare_output: 16 << 20,
            max_calls: 1024,
            max_timers: 1 << 20,
            max_groups: 1 << 16,
            max_children: 256,
            spawns_per_turn: 1,
            reap_within: Duration::from_secs(1),
            max_groups_per_connection: 1024,
            slow_callback: Some(Duration::from_millis(100)),
            catch_panics: true,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        require(self.max_connections != Some(0), "max_connections is 0; nothing could connect")?;
        require(self.accepts_per_turn > 0, "accepts_per_turn is 0; nothing could connect")?;
        require(
            !self.accept_retry.is_zero(),
            "accept_retry is 0; a system without descriptors would be asked all the time",
        )?;
        require(self.events_per_turn > 0, "events_per_turn is 0; nothing would be noticed")?;
        require(self.read_buffer > 0, "read_buffer is 0; nothing could be read")?;
        require(self.spawns_per_turn > 0, "spawns_per_turn is 0; no program would ever start")?;
        require(self.max_calls > 0, "max_calls is 0; every call would be refused")?;
        at_most("events_per_turn", self.events_per_turn, MOST_EVENTS)?;
        at_most("read_buffer", self.read_buffer, MOST_BYTES)
    }
}

fn at_most(field: &str, value: usize, most: usize) -> Result<()> {
    require(value <= most, &format!("{field} is {value}; {most} is the most"))
}

fn require(holds: bool, reason: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Limits { reason: reason.into() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        Limits::default().check().expect("good defaults");
        Limits::without_frames().check().expect("good defaults");
        Config::default().check().expect("good defaults");
    }

    #[test]
    fn contradictions_are_refused_with_what_would_be_right() {
        let limits = Limits { low_mark: 2, high_mark: 1, ..Limits::default() };
        let text = limits.check().expect_err("falling marks").to_string();
        assert!(text.contains("low_mark <= high_mark"), "{text}");
        assert!(Limits { read_budget: 0, ..Limits::default() }.check().is_err());
        assert!(Config { max_connections: Some(0), ..Config::default() }.check().is_err());
    }

    #[test]
    fn deadlines_are_looked_at_by_the_shortest_period() {
        assert_eq!(Limits::default().check_period(), Some(Duration::from_secs(60)));
        let none = Limits { idle: None, frame: None, write_stall: None, ..Limits::default() };
        assert_eq!(none.check_period(), None);
    }
}
