//! `Limits` and `Config`: every bound of a service and of a reactor, with its
//! default.

use std::time::Duration;

use crate::error::{Error, Result};

/// The time that a shutdown may take where the program gives no other: 10 s.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The largest buffer that the loop allocates for itself: 256 MiB.
const MOST_BYTES: usize = 256 << 20;

/// The most events of one turn; the driver allocates room for each at the
/// start.
pub(crate) const MOST_EVENTS: usize = 1 << 20;

/// The policy for output that would pass the hard mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The connection ends at once with
    /// [`CloseReason::Overflow`](crate::CloseReason::Overflow); a TCP peer sees
    /// a reset, so that it cannot mistake a part for the whole. A Unix socket
    /// has no reset: its peer sees an ordinary end.
    #[default]
    Close,
    /// The new message is dropped, whole, and the write answers
    /// [`Sent::Dropped`](crate::Sent::Dropped); the connection lives on.
    DropNewest,
}

/// The limits of one service; each holds for every one of its connections, unless
/// [`Io::set_limits`](crate::Io::set_limits) gives a connection its own.
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
    /// Open connections of this service; the reactor closes one more as soon as
    /// it has accepted it. Default: no limit beneath
    /// [`Config::max_connections`].
    pub max_connections: usize,
    /// Bytes read from one connection in one turn, so that a fast sender does
    /// not starve its neighbours. Default 64 KiB.
    pub read_budget: usize,
    /// Input that a handler leaves untaken, in bytes: room for its longest
    /// frame, and for the frames behind it that a handler leaves when it pauses.
    /// More ends the connection with
    /// [`CloseReason::InputTooLong`](crate::CloseReason::InputTooLong). Default
    /// 1 MiB.
    pub max_input: usize,
    /// Time to establish an outbound connection
    /// ([`Io::connect`](crate::Io::connect)). `None`: as long as the system
    /// tries, which is minutes; where the backlog of a Unix socket is full, for
    /// ever. Default 30 s.
    pub connect: Option<Duration>,
    /// Time for the handshake of a [`Layer`](crate::Layer), such as TLS, on a
    /// connection that was accepted, or that [`Io::start_layer`](crate::Io::start_layer)
    /// began it on; it comes before the time of `first_frame`. The handshake of an
    /// outbound connection counts under `connect`. `None`: no limit. Default 10 s.
    pub handshake: Option<Duration>,
    /// Time without a byte in either direction. `None`: no limit. Default
    /// 300 s; [`Io::set_idle`](crate::Io::set_idle) changes it for one connection.
    pub idle: Option<Duration>,
    /// Time from `open` to the end of the first frame, however many bytes come
    /// meanwhile: for protocols in which a client has to speak. `None`: a client
    /// may be silent for as long as [`idle`](Self::idle) allows. Default `None`.
    pub first_frame: Option<Duration>,
    /// Time from the first byte of a frame to its last: a client may be silent,
    /// but what it has begun it finishes in time. Dripping bytes do not extend
    /// it; it does not run while the handler has paused the connection. `None`:
    /// no limit. Default 60 s.
    ///
    /// A frame is open while the handler leaves input untaken, or says so
    /// ([`Io::begin_frame`](crate::Io::begin_frame)). A handler that takes all
    /// of its input and says nothing has no frames.
    pub frame: Option<Duration>,
    /// Time for which the peer may take no byte of the output that waits for
    /// it; on a datagram socket, the time for which the system may take no
    /// datagram, and then what waits is lost. When the time is over, the
    /// reactor offers output once more: the system reports room only when a
    /// good part of its buffer is free (a third on TCP, three quarters on Unix
    /// sockets), and a peer that takes little at a time may not have freed as
    /// much. If the system takes some output then, the peer has taken
    /// something, and the time begins anew. So the reactor finds a peer that
    /// stops after one to two of these periods. `None`: no limit. Default 60 s.
    pub write_stall: Option<Duration>,
    /// Time given to the peer, after our last byte and FIN, to end its side;
    /// meanwhile the reactor reads and discards what the peer still sends.
    /// Closing with input unread would make the kernel reset the connection and
    /// destroy the reply in flight (RFC 1122, 4.2.2.13). Zero: close at once.
    /// Default 5 s.
    pub linger: Duration,
    /// Waiting bytes at which the reactor calls `drained`, once output has
    /// passed the high mark. Default 64 KiB.
    pub low_mark: usize,
    /// Waiting bytes above which a write answers
    /// [`Sent::Full`](crate::Sent::Full). Default 256 KiB.
    pub high_mark: usize,
    /// The most bytes of output that may wait in memory; what waits in files
    /// counts for the other marks alone. The system's own buffer comes on top ([`ListenOptions::send_buffer`](crate::ListenOptions::send_buffer)):
    /// what the system has taken no longer counts here. Default 1 MiB.
    pub hard_mark: usize,
    /// Parts of files that may wait on one connection
    /// ([`Io::send_file`](crate::Io::send_file)): each holds a descriptor. Above
    /// half of them the answer is [`Sent::Full`](crate::Sent::Full), and a quarter
    /// is the low mark. Default 16.
    pub max_files: usize,
    /// Bytes of a file that are sent on one connection in one turn. Reading a file
    /// blocks the loop where the system has to ask a disk. Default 256 KiB.
    pub file_budget: usize,
    /// Bytes of the last message of a connection that a limit or a deadline
    /// ends ([`StreamHandler::last_word`](crate::StreamHandler::last_word)), beside
    /// the hard mark. Zero: there is none. Default 4 KiB.
    pub last_word: usize,
    /// The policy for output that would pass the hard mark. Default: the
    /// connection ends. (A datagram socket never ends for it: the newest
    /// datagram is dropped.)
    pub overflow: Overflow,
    /// The longest datagram that the reactor delivers, in bytes; it drops a
    /// longer one, counts it and reports it
    /// ([`SocketError::TooLong`](crate::SocketError)). Binding a socket
    /// allocates one buffer of this size. At most 256 MiB. Default 65,535,
    /// which UDP never exceeds.
    pub max_datagram: usize,
    /// Datagrams received from one socket in one turn; also datagrams sent on
    /// it in one turn. Default 64.
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
            handshake: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(300)),
            first_frame: None,
            frame: Some(Duration::from_secs(60)),
            write_stall: Some(Duration::from_secs(60)),
            linger: Duration::from_secs(5),
            low_mark: 64 << 10,
            high_mark: 256 << 10,
            hard_mark: 1 << 20,
            max_files: 16,
            file_budget: 256 << 10,
            last_word: 4 << 10,
            overflow: Overflow::default(),
            max_datagram: 65_535,
            datagrams_per_turn: 64,
            max_datagrams: 1024,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self) -> Result<()> {
        at_least_1("Limits::max_connections", self.max_connections, "nothing could connect")?;
        at_least_1("Limits::read_budget", self.read_budget, "nothing could be read")?;
        at_least_1("Limits::max_input", self.max_input, "no frame could wait for its end")?;
        at_least_1("Limits::hard_mark", self.hard_mark, "nothing could be written")?;
        let Self { low_mark, high_mark, hard_mark, .. } = self;
        require(low_mark <= high_mark && high_mark <= hard_mark, || {
            format!(
                "Limits::low_mark is {low_mark}, high_mark {high_mark} and hard_mark {hard_mark}; \
                 they must rise: low_mark <= high_mark <= hard_mark"
            )
        })?;
        at_least_1("Limits::file_budget", self.file_budget, "no file could be sent")?;
        at_least_1("Limits::datagrams_per_turn", self.datagrams_per_turn, "none could be received")?;
        at_least_1("Limits::max_datagrams", self.max_datagrams, "none could be sent")?;
        at_most("Limits::max_datagram", self.max_datagram, MOST_BYTES)?;
        let deadlines = [
            ("connect", self.connect),
            ("handshake", self.handshake),
            ("idle", self.idle),
            ("first_frame", self.first_frame),
            ("frame", self.frame),
            ("write_stall", self.write_stall),
        ];
        deadlines.into_iter().try_for_each(|(field, deadline)| {
            require(deadline != Some(Duration::ZERO), || {
                format!("Limits::{field} is 0, which nobody could meet; give more, or None for no deadline")
            })
        })
    }
}

/// The limits and switches of a whole reactor.
///
/// A field takes any value unless it states a largest one: the reactor
/// allocates nothing in advance for it, and `usize::MAX` or [`Duration::MAX`]
/// leaves only the limit of the machine.
///
/// Always end with `..Config::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Open connections of all services. The reactor closes one more as soon as
    /// it has accepted it. `None`: 10,000, or half of the process's soft limit
    /// of file descriptors, whichever is less. Default `None`.
    pub max_connections: Option<usize>,
    /// Open listeners. Default 1,024.
    pub max_listeners: usize,
    /// Open datagram sockets. Default 1,024.
    pub max_sockets: usize,
    /// Connections accepted from one listener in one turn. Default 64.
    pub accepts_per_turn: usize,
    /// Accepted connections whose layer ([`Layer`](crate::Layer), such as TLS) has
    /// its handshake under way. At this number, listeners with a layer stop
    /// accepting until one of the handshakes is over; the clients wait in the
    /// backlog. Default 1,024.
    pub max_handshakes: usize,
    /// Steps of handshakes taken in one turn, over all connections: a step computes
    /// for as long as a signature takes, a tenth of a millisecond or so (some ten
    /// times as long with RSA), and everybody else waits. Default 1.
    pub handshakes_per_turn: usize,
    /// The size, in bytes, of each of the two buffers that all connections with a
    /// layer share: for what comes from a socket, and for what a layer has for it.
    /// One flush gives a layer at most as much plaintext, and one connection keeps
    /// at most four times as much for a socket that takes nothing. The reactor
    /// allocates them with the first layer. At most 256 MiB. Default 64 KiB.
    pub layer_buffer: usize,
    /// The pause of accepting when the system is out of file descriptors or
    /// memory; a connection that closes ends it early. Default 100 ms.
    pub accept_retry: Duration,
    /// Time for which the reactor tries to make a failed listener again
    /// (`EBADF`, `EINVAL`: another part of the program has closed its socket):
    /// at the same endpoint, after [`accept_retry`](Self::accept_retry) and
    /// then twice as long each time, up to 5 s. After this time the reactor
    /// gives the listener up. It reports the failure and the giving up to
    /// [`StreamHandler::listener_failed`](crate::StreamHandler::listener_failed),
    /// and [`Reactor::serve_forever`](crate::Reactor::serve_forever) ends when
    /// it was the last listener. `None`: the reactor gives the listener up at
    /// once, and what follows from that is its owner's decision. Default 60 s.
    pub listen_again: Option<Duration>,
    /// Events taken from the system in one turn; room for all of them is
    /// allocated at the start. At most 1,048,576. Default 1,024.
    pub events_per_turn: usize,
    /// Time for which a turn with nothing to do polls the system for events
    /// before it sleeps. `None`, or zero: it sleeps at once. Default `None`.
    ///
    /// Waking a thread takes some microseconds, and tens of them where the
    /// processor itself has gone to sleep; a message that comes while the loop
    /// polls is spared that. The price is processor time: a loop that receives
    /// messages more often than this occupies a whole processor, and other
    /// threads, such as those of its clients, have to do without. Polling slows
    /// everything down on a machine without a processor to spare. Some 50 µs
    /// suit a peer that answers at once; [`Duration::MAX`] never sleeps.
    ///
    /// Timers, [`Handle`](crate::Handle)s and the `max_wait` of
    /// [`Reactor::turn`](crate::Reactor::turn) hold as they do without polling,
    /// and a turn that must not wait does not poll. A loop around the reactor,
    /// which waits for its descriptor, sleeps there
    /// ([`next_timeout`](crate::Reactor::next_timeout) does not account for
    /// polling). [`SystemCalls::wait`](crate::SystemCalls::wait) counts each
    /// poll.
    pub busy_poll: Option<Duration>,
    /// Connections with output from which a broadcast is left to the next turn, once.
    /// That turn does not wait for events: it reads what has come meanwhile, and what is
    /// broadcast of it leaves in the same writes. A write costs some microseconds, and
    /// the turn about as many as one of them. Above 64 KiB of short broadcasts nothing
    /// waits for more. 0 counts as 1; with `usize::MAX` no broadcast waits for that turn.
    /// Default 32.
    pub gather_from: usize,
    /// Connections that take queued output in one turn, each by one write. The others
    /// are first in the next turn, which does not wait for events. To write to a
    /// thousand connections takes milliseconds: the turns in between read what comes
    /// meanwhile and answer it, and what is broadcast of it leaves in the writes that
    /// are still to come. A connection for which nothing waits but an answer of its own
    /// callback goes before them and does not count. A turn writes to all once 64 KiB
    /// were received since the first was left or 64 KiB of short broadcasts wait, and
    /// when the loop is to end. 0 counts as 1. Default 64.
    pub flushes_per_turn: usize,
    /// The size of the read buffer in bytes. The whole reactor shares it, and
    /// allocates it three times. At most 256 MiB. Default 64 KiB.
    pub read_buffer: usize,
    /// Output buffers kept for reuse, in bytes of all together: a broadcast
    /// needs the same buffers again with the next one. Default 16 MiB, which is
    /// a thousand buffers of the largest size that small messages fill.
    pub spare_output: usize,
    /// Calls from [`Handle`](crate::Handle)s that may wait for the loop, and as many
    /// calls between services ([`Io::call`](crate::Io::call)). Default 1,024.
    pub max_calls: usize,
    /// Jobs that handlers may have given to workers and whose end is not told yet, of all
    /// services (`Io::offload`). Lookups of names
    /// (`Io::connect_name`) count. Without the feature `workers` there are none. Default
    /// 1,024.
    pub max_jobs: usize,
    /// Timers that handlers may have pending, of all services. Default 1,048,576.
    pub max_timers: usize,
    /// Groups of all services. Default 65,536.
    pub max_groups: usize,
    /// Child processes of all services; each counts until its end is reported.
    /// As many again may be reported and still wait for the SIGKILL that ends
    /// their process group; above that number the SIGKILL comes early. Default
    /// 256.
    pub max_children: usize,
    /// Programs started in one turn: each blocks the loop for as long as the
    /// system needs to load it, a millisecond or so. Default 1.
    pub spawns_per_turn: usize,
    /// Time for which the end of the reactor, by a shutdown or by dropping it,
    /// waits for children that it has killed. A child may survive SIGKILL for a
    /// while: it waits for a disk, or has become another user's. After this
    /// time the reactor abandons it, logs that, and reports the child's end
    /// without a status. Default 1 s.
    pub reap_within: Duration,
    /// Groups that one connection may be a member of. Default 1,024.
    pub max_groups_per_connection: usize,
    /// Duration from which the reactor logs a warning that names a slow
    /// callback, which has kept every other connection waiting. It costs a
    /// reading of the clock for each callback; `None` switches it off. Default
    /// 100 ms.
    pub slow_callback: Option<Duration>,
    /// Whether the reactor catches a panic in a callback, ends that connection
    /// alone with [`CloseReason::Panicked`](crate::CloseReason::Panicked), and
    /// counts it. `false` lets the panic propagate out of the loop, in the
    /// middle of a turn: the rest of that turn's work may be lost, so drop the
    /// reactor then. The reactor contains panics of the program's code outside
    /// of callbacks in any case: see [`StreamHandler`](crate::StreamHandler).
    /// Default `true`.
    pub catch_panics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_listeners: 1024,
            max_sockets: 1024,
            accepts_per_turn: 64,
            max_handshakes: 1024,
            handshakes_per_turn: 1,
            layer_buffer: 64 << 10,
            accept_retry: Duration::from_millis(100),
            listen_again: Some(Duration::from_secs(60)),
            events_per_turn: 1024,
            busy_poll: None,
            gather_from: 32,
            flushes_per_turn: 64,
            read_buffer: 64 << 10,
            spare_output: 16 << 20,
            max_calls: 1024,
            max_jobs: 1024,
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
        let connections = self.max_connections.unwrap_or(1);
        at_least_1("Config::max_connections", connections, "nothing could connect")?;
        at_least_1("Config::accepts_per_turn", self.accepts_per_turn, "nothing could connect")?;
        require(!self.accept_retry.is_zero(), || {
            "Config::accept_retry is 0, and a system without descriptors would be asked all the time; \
             give 1 ms or more"
                .into()
        })?;
        at_least_1("Config::events_per_turn", self.events_per_turn, "nothing would be noticed")?;
        at_least_1("Config::read_buffer", self.read_buffer, "nothing could be read")?;
        at_least_1("Config::max_handshakes", self.max_handshakes, "no layer could begin")?;
        at_least_1("Config::handshakes_per_turn", self.handshakes_per_turn, "no handshake would ever end")?;
        at_least_1("Config::layer_buffer", self.layer_buffer, "no layer could receive anything")?;
        at_least_1("Config::spawns_per_turn", self.spawns_per_turn, "no program would ever start")?;
        at_least_1("Config::max_calls", self.max_calls, "every call would be refused")?;
        at_most("Config::events_per_turn", self.events_per_turn, MOST_EVENTS)?;
        at_most("Config::layer_buffer", self.layer_buffer, MOST_BYTES)?;
        at_most("Config::read_buffer", self.read_buffer, MOST_BYTES)
    }
}

fn at_least_1(field: &str, value: usize, otherwise: &str) -> Result<()> {
    require(value > 0, || format!("{field} is 0, and {otherwise}; give 1 or more"))
}

fn at_most(field: &str, value: usize, most: usize) -> Result<()> {
    require(value <= most, || format!("{field} is {value}; give {most} or less"))
}

fn require(holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Limits { reason: reason() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        Limits::default().check().expect("good defaults");
        Config::default().check().expect("good defaults");
    }

    #[test]
    fn contradictions_are_refused_with_what_would_be_right() {
        let limits = Limits { low_mark: 2, high_mark: 1, ..Limits::default() };
        let text = limits.check().expect_err("falling marks").to_string();
        assert_eq!(
            text,
            "bad limits: Limits::low_mark is 2, high_mark 1 and hard_mark 1048576; \
             they must rise: low_mark <= high_mark <= hard_mark"
        );
        let limits = Limits { frame: Some(Duration::ZERO), ..Limits::default() };
        let text = limits.check().expect_err("nobody could meet it").to_string();
        assert!(text.contains("Limits::frame is 0") && text.contains("None"), "{text}");
        let config = Config { read_buffer: MOST_BYTES + 1, ..Config::default() };
        let text = config.check().expect_err("too large").to_string();
        assert_eq!(text, "bad limits: Config::read_buffer is 268435457; give 268435456 or less");
        assert!(Limits { read_budget: 0, ..Limits::default() }.check().is_err());
        assert!(Config { max_connections: Some(0), ..Config::default() }.check().is_err());
    }
}
