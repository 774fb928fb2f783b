//! The only door from a handler to the outside.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::close::{CloseReason, Sent, Tally};
use crate::conn::{Conn, NO_SESSION};
use crate::core::{Core, NO_CONNECTION, Purpose, Repeat, RunState};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::id::{ChildId, ConnId, GroupId, SocketId, TimerId};
use crate::layer::{ContainedLayer, Layer};
use crate::life::Flags;
use crate::limits::Limits;
use crate::origin::Peer;
use crate::process::{Command, ExitCause, Pipe};
use crate::service_stats::ServiceStats;
use crate::stats::Stats;

/// The options of an outbound connection.
///
/// A new field is not counted as a breaking change: begin with
/// [`ConnectOptions::default`], or end with `..ConnectOptions::default()`.
#[derive(Default)]
pub struct ConnectOptions {
    /// The layer between its socket and its handler. Default none.
    pub layer: Option<Box<dyn Layer>>,
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions").field("has_layer", &self.layer.is_some()).finish()
    }
}

/// What a callback can do.
///
/// Every method only queues: the loop carries it out after the callback has
/// returned, so no callback is ever entered while another one runs, and none
/// of these methods blocks. An id whose connection, timer or group is gone is
/// an ordinary case: sending answers [`Sent::Gone`], and the rest do nothing.
pub struct Io<'a> {
    core: &'a mut Core,
    service: u16,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("id", &self.id()).field("now", &self.now()).finish_non_exhaustive()
    }
}

/// # This callback
impl<'a> Io<'a> {
    pub(crate) const fn new(core: &'a mut Core, service: u16) -> Self {
        Self { core, service }
    }

    /// The state that the callback notes its requests in, for methods in other files.
    pub(crate) const fn core(&mut self) -> &mut Core {
        self.core
    }

    /// True if the reactor has workers for [`offload`](Self::offload).
    #[cfg(feature = "workers")]
    #[must_use]
    pub const fn has_workers(&self) -> bool {
        self.core.jobs.desk.is_some()
    }

    /// Runs `f` as a callback of the service that belongs to no connection: in it
    /// [`id`](Self::id) names none, replies go nowhere, and timers are the service's.
    /// For a handler that wraps another one, and tells it of what a connection of its
    /// own has brought.
    pub fn as_service<R>(&mut self, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        let current = self.core.current;
        self.core.direct.revoke();
        if !self.core.direct.is_empty() {
            self.core.queue_direct(current, 0);
        }
        self.core.current = NO_CONNECTION;
        let result = f(&mut Io::new(self.core, self.service));
        self.core.current = current;
        result
    }

    /// The index of the service whose callback this is.
    #[cfg(feature = "workers")]
    pub(crate) const fn service(&self) -> u16 {
        self.service
    }

    /// The time of this turn. It stands still while callbacks run.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The connection of this callback. In a callback that belongs to none
    /// (`tick`, `shutting_down`, a call from a [`Handle`](crate::Handle)) an id
    /// that names no connection and never will.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.core.current
    }

    /// The limits of the service whose callback this is.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.core.services[self.service as usize].limits
    }

    /// The limits of a connection, of whichever service; `None` if it is gone.
    #[must_use]
    pub fn limits_of(&self, id: ConnId) -> Option<&Limits> {
        self.core.conns.get(id.0).map(|conn| self.core.limits(id, conn))
    }

    /// Gives one connection limits of its own, from now on: longer deadlines for
    /// a client that has logged in, room for one that is sent much.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use serve_forever::{BoxError, Io, Limits};
    /// # fn subscribed(io: &mut Io<'_>) -> Result<(), BoxError> {
    /// let limits = Limits { idle: None, hard_mark: 64 << 20, ..io.limits().clone() };
    /// io.set_limits(io.id(), limits)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What waits already stays, above a lower hard mark too. Of no effect on
    /// one connection are [`max_connections`](Limits::max_connections) and what
    /// is about datagrams. If the connection is gone, nothing happens. Such a
    /// connection takes some 250 bytes more of memory, and some more
    /// instructions for each message.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`](crate::Error::Limits) if the limits contradict each
    /// other; then the connection keeps those that it has.
    pub fn set_limits(&mut self, id: ConnId, limits: Limits) -> Result<()> {
        self.core.set_limits(id, limits)
    }

    /// The counters of the whole reactor. Its [`Stats::system`] is not quite of now: the
    /// loop brings it up to date before it accepts, before it runs calls of
    /// [`Handle`](crate::Handle)s, and before a wait in which something may be due or
    /// behind which nothing came.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// The counters of each service of the reactor, in the order in which they were
    /// added.
    pub fn service_stats(&self) -> impl ExactSizeIterator<Item = &ServiceStats> {
        self.core.services.iter().map(|service| &service.stats)
    }

    /// The default of `connect_failed`.
    #[cold]
    pub(crate) fn warn_of_connect(&mut self, tag: u64, error: &io::Error) {
        let (now, current) = (self.now(), self.id());
        if let Some(more) = self.core.rates.connects.allows(now) {
            log::warn!("connection {current} (tag {tag}) did not come about: {error}{more}");
        }
    }

    /// The default of `spawn_failed`.
    #[cold]
    pub(crate) fn warn_of_spawn(&mut self, child: ChildId, tag: u64, error: &io::Error) {
        let now = self.now();
        if let Some(more) = self.core.rates.spawns.allows(now) {
            log::warn!("child process {child} (tag {tag}) was not started: {error}{more}");
        }
    }
}

/// # Output
///
/// To the connection of this callback: `reply*` where the handler has nothing to
/// decide, `write*` where it has to know what became of it. To any other: `send`.
impl Io<'_> {
    /// Writes a copy of `data` to the connection of this callback: an answer, of
    /// which the handler has nothing to decide. Above the high mark
    /// ([`Limits::high_mark`](crate::Limits::high_mark)) the loop holds the
    /// connection: it stops reading it, and reads it again by itself at the low
    /// mark, just before [`drained`](crate::StreamHandler::drained). A peer that
    /// does not read its answers is therefore not asked for more.
    ///
    /// A hold is a [pause](Self::pause) by the loop: [`is_paused`](Self::is_paused)
    /// is true, [`resume`](Self::resume) lifts it, and `pause` makes it the
    /// handler's own, which the loop does not lift. Input that the handler left is
    /// handed over again afterwards. So a handler with many requests in one `data`
    /// breaks off when `is_paused` says so:
    ///
    /// ```
    /// # use bytes::BytesMut;
    /// # use serve_forever::{BoxError, Io};
    /// # struct Lines;
    /// # impl serve_forever::StreamHandler for Lines {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Io<'_>, _: &serve_forever::Origin) -> Result<(), BoxError> { Ok(()) }
    /// fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    ///     while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
    ///         let line = input.split_to(end + 1);
    ///         io.reply(&line.repeat(10));
    ///         if io.is_paused(io.id()) {
    ///             break; // the rest comes again when these answers have left
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// An answer that would pass [`Limits::hard_mark`](crate::Limits::hard_mark) has
    /// the consequence that [`Limits::overflow`](crate::Limits::overflow) names, and
    /// one to a connection that takes no output any more is nothing. A handler that
    /// writes more than it is asked for, or that has to know what became of it,
    /// calls [`write`](Self::write).
    #[inline]
    pub fn reply(&mut self, data: &[u8]) {
        self.core.reply(data);
    }

    /// Answers with all of `data`, as [`reply`](Self::reply) does, without a copy
    /// where [`write_buf`](Self::write_buf) makes none. `data` is empty afterwards
    /// in any case.
    ///
    /// ```
    /// # use bytes::BytesMut;
    /// # use serve_forever::{BoxError, Io};
    /// # struct Shout;
    /// # impl serve_forever::StreamHandler for Shout {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Io<'_>, _: &serve_forever::Origin) -> Result<(), BoxError> { Ok(()) }
    /// fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    ///     input.make_ascii_uppercase();
    ///     io.reply_buf(input);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[inline]
    pub fn reply_buf(&mut self, data: &mut BytesMut) {
        self.core.reply_all(data);
    }

    /// Answers with `data`, as [`reply`](Self::reply) does, by reference where
    /// [`write_bytes`](Self::write_bytes) writes by reference.
    #[inline]
    pub fn reply_bytes(&mut self, data: Bytes) {
        self.core.reply_bytes(&data);
    }

    /// Writes a copy of `data` to the connection of this callback, and says what
    /// became of it. For an answer of which there is nothing to decide,
    /// [`reply`](Self::reply) is the shorter way.
    #[inline]
    pub fn write(&mut self, data: &[u8]) -> Sent {
        self.core.write(data)
    }

    /// Writes all of `data` to the connection of this callback, as
    /// [`write`](Self::write) does, and leaves `data` empty: what a handler does
    /// with input, or with output that it composes in a buffer of its own. Most
    /// often nothing is copied: if it is the first that this callback writes,
    /// nothing waits, and the buffer is about as large as the loop's, the two
    /// are exchanged, and `data` is another one, of another capacity. What is
    /// [`Sent::Dropped`] or [`Sent::Gone`] stays in `data`.
    #[inline]
    pub fn write_buf(&mut self, data: &mut BytesMut) -> Sent {
        self.core.write_all(data)
    }

    /// Writes `data` to the connection of this callback: by reference if it has
    /// at least a quarter of [`Config::read_buffer`](crate::Config::read_buffer)
    /// (16 KiB, unless that was changed) and of 1 KiB; else a copy. For bytes are
    /// often a part of something larger, such as what one read has brought,
    /// which all stays in memory as long as they wait, and no mark counts it:
    /// so it is no more than four times what is counted, for all parts of
    /// reads.
    #[inline]
    pub fn write_bytes(&mut self, data: Bytes) -> Sent {
        self.core.write_bytes(&data)
    }

    /// Writes `data` to any connection of this reactor, of whichever service,
    /// as [`write_bytes`](Self::write_bytes) does.
    #[inline]
    pub fn send(&mut self, to: ConnId, data: impl Into<Bytes>) -> Sent {
        self.core.send(to, &data.into())
    }

    /// Sends a part of a file to any connection of this reactor, behind what is
    /// queued: the bytes of `range`, as they are in the file when their turn
    /// comes. An empty range is nothing. One file can be sent to many, as an
    /// [`Arc`](std::sync::Arc).
    ///
    /// ```no_run
    /// # use std::fs::File;
    /// # use serve_forever::{BoxError, Io, Sent};
    /// # fn download(io: &mut Io<'_>) -> Result<(), BoxError> {
    /// let file = File::open("video.mkv")?;
    /// let size = file.metadata()?.len();
    /// io.reply(format!("{size}\n").as_bytes());
    /// if io.send_file(io.id(), file, 0..size)? == Sent::Full {
    ///     io.pause(io.id()); // until `drained`: the next request waits behind this file
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The bytes go from the file to a socket without a copy in this process
    /// where the system can do that (sendfile(2), on Linux), at most
    /// [`Limits::file_budget`](crate::Limits::file_budget) of them in a turn. They
    /// count as queued output: for the high and the low mark, the deadlines and
    /// [`queued`](Self::queued), but not for the hard mark, which bounds memory.
    /// So a file above the high mark is [`Sent::Full`], and `drained` follows when
    /// all but the low mark of it has left. Reading from a disk blocks the loop.
    ///
    /// If the file is truncated meanwhile, or cannot be read, the connection ends
    /// with [`CloseReason::File`](crate::CloseReason::File), and a TCP peer sees a
    /// reset, so that it cannot take the part for the whole.
    ///
    /// sendfile(2) raises SIGPIPE where the peer is gone, which Rust's runtime
    /// ignores; a program without that runtime must ignore it itself (signal(7)).
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at
    /// [`Limits::max_files`](crate::Limits::max_files).
    pub fn send_file(&mut self, to: ConnId, file: impl Into<Arc<File>>, range: Range<u64>) -> Result<Sent> {
        self.core.send_file(to, file.into(), range)
    }

    /// Sends `data` as one datagram on a socket of this reactor, of whichever
    /// service; on a socket that has several addresses, from the one that `to`
    /// has asked ([`Peer::asked`]).
    ///
    /// One that would pass [`Limits::hard_mark`](crate::Limits::hard_mark) or
    /// [`Limits::max_datagrams`](crate::Limits::max_datagrams) is
    /// [`Sent::Dropped`] and counted, and the socket goes on, whatever
    /// [`Limits::overflow`](crate::Limits::overflow) says. [`Sent::Gone`] if the
    /// socket is closed, or `to` has no address to send to
    /// ([`Address::Unnamed`](crate::Address::Unnamed)). What the system refuses
    /// later (`EMSGSIZE`, …) is told to
    /// [`DatagramHandler::error`](crate::DatagramHandler::error).
    #[inline]
    pub fn send_to(&mut self, on: SocketId, to: &Peer, data: &[u8]) -> Sent {
        self.core.send_to(on, to, data)
    }

    /// How many bytes wait to be written to a connection; `None` if it is gone or
    /// closing.
    #[must_use]
    pub fn queued(&self, id: ConnId) -> Option<usize> {
        self.core.queued(id)
    }

    /// True while more waits to be written to a connection than it should: from
    /// the first [`Sent::Full`] or [`Sent::Dropped`] until
    /// [`drained`](crate::StreamHandler::drained). `false` if it is gone or
    /// closing.
    #[must_use]
    pub fn is_full(&self, id: ConnId) -> bool {
        let is_full = |conn: &Conn| conn.life.is_before_end() && conn.has(Flags::ABOVE_HIGH);
        self.core.conns.get(id.0).is_some_and(is_full)
    }
}

/// # Groups and broadcast
impl Io<'_> {
    /// Makes an empty group, which lives until it is dissolved.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at [`Config::max_groups`](crate::Config::max_groups).
    pub fn group(&mut self) -> Result<GroupId> {
        self.core.create_group()
    }

    /// Puts a connection into a group; it leaves when it ends. Joining twice
    /// is joining once. `false`: there is no such connection or group.
    ///
    /// A shutdown closes no member while another one has input that is not
    /// taken yet, for that may be a message to it.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at
    /// [`Config::max_groups_per_connection`](crate::Config::max_groups_per_connection).
    pub fn join(&mut self, group: GroupId, id: ConnId) -> Result<bool> {
        self.core.join(group, id)
    }

    /// Takes a connection out of a group; `false` if it was not in it.
    pub fn leave(&mut self, group: GroupId, id: ConnId) -> bool {
        self.core.leave(group, id)
    }

    /// Takes a group away. Its members stay connected.
    pub fn dissolve(&mut self, group: GroupId) {
        self.core.groups.dissolve(group);
    }

    /// The members of a group, in no particular order.
    #[must_use]
    pub fn members(&self, group: GroupId) -> &[ConnId] {
        self.core.groups.members(group)
    }

    /// Sends `data` to every member of a group, but for one who may be left
    /// out. Of a long payload (1 KiB or more) all of them share one copy for as
    /// long as it takes; of a short one until all of them are written to, as far as
    /// they get the same messages, and who does not keep up, or gets others in
    /// between, has a copy. Each gets what was sent to it in a turn with one
    /// write, unless that is many long payloads.
    pub fn broadcast(&mut self, group: GroupId, data: &Bytes, except: Option<ConnId>) -> Tally {
        self.core.broadcast(group, data, except)
    }
}

/// # Input and flow control
impl Io<'_> {
    /// Stops reading a connection, until [`resume`](Self::resume). The end of
    /// its input is not seen meanwhile either; a reset is, and ends it, unless
    /// the handler has left input untaken. A hold by the loop
    /// ([`reply`](Self::reply)) becomes the handler's own pause.
    pub fn pause(&mut self, id: ConnId) {
        self.core.pause(id);
    }

    /// Reads a connection again. What its handler had left untaken is handed
    /// over first, whether or not more has come. It lifts a hold by the loop
    /// ([`reply`](Self::reply)) as well.
    pub fn resume(&mut self, id: ConnId) {
        self.core.resume(id);
    }

    /// True while a connection is paused, by [`pause`](Self::pause) or held by the
    /// loop for an answer ([`reply`](Self::reply)); `false` if it is gone or closing.
    #[must_use]
    pub fn is_paused(&self, id: ConnId) -> bool {
        let is_paused = |conn: &Conn| conn.life.is_before_end() && conn.has(Flags::PAUSED);
        self.core.conns.get(id.0).is_some_and(is_paused)
    }

    /// Says that a frame is open on a connection: its beginning was taken, and
    /// its end has not come. Until [`end_frame`](Self::end_frame) it has
    /// [`Limits::frame`](crate::Limits::frame) to be completed, a shutdown waits
    /// for the rest, and after a pause [`resume`](Self::resume) calls
    /// [`data`](crate::StreamHandler::data), with no new input if there is none.
    /// A frame that is open already goes on, with the time that it has left.
    ///
    /// A handler that leaves what is not complete in `input` needs none of
    /// this: what it leaves is an open frame. A handler that takes a part, such
    /// as a head and then a body piece by piece, says when the frame begins and
    /// when it ends. Where one frame ends and another begins in one callback, it
    /// says both, in this order.
    ///
    /// ```
    /// # use bytes::{Buf, BytesMut};
    /// # use serve_forever::{BoxError, Io};
    /// /// Counts records: a byte that holds a length, then so many bytes.
    /// struct Records(u64);
    /// # impl serve_forever::StreamHandler for Records {
    ///
    /// type Session = usize; // how many bytes of the record are still to come
    /// #     fn open(&mut self, _: &mut Io<'_>, _: &serve_forever::Origin) -> Result<usize, BoxError> { Ok(0) }
    ///
    /// fn data(&mut self, io: &mut Io<'_>, left: &mut usize, input: &mut BytesMut) -> Result<(), BoxError> {
    ///     while !input.is_empty() {
    ///         if *left == 0 {
    ///             *left = input.get_u8().into();
    ///             io.begin_frame(io.id());
    ///         }
    ///         let part = input.len().min(*left);
    ///         input.advance(part);
    ///         *left -= part;
    ///         if *left == 0 {
    ///             self.0 += 1;
    ///             io.end_frame(io.id());
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn begin_frame(&mut self, id: ConnId) {
        self.core.begin_frame(id);
    }

    /// Says that no frame is open on a connection: the last one is complete.
    /// What is left of the input, or comes next, begins another one.
    pub fn end_frame(&mut self, id: ConnId) {
        self.core.end_frame(id);
    }
}

/// # Ending a connection
impl Io<'_> {
    /// Ends our side of a connection after what is queued (a half-close); its
    /// input goes on until the peer ends it too.
    pub fn finish(&mut self, id: ConnId) {
        self.core.finish(id);
    }

    /// Closes a connection without losing what is queued: writes it, sends
    /// FIN, discards input until the peer's FIN or
    /// [`Limits::linger`](crate::Limits::linger), and frees it.
    pub fn close(&mut self, id: ConnId) {
        self.core.end(id, CloseReason::Closed);
    }

    /// Ends a connection now and drops what is queued; a TCP peer sees a
    /// reset (RFC 9293, 3.9.1.5), so that it cannot take what it got for the
    /// whole.
    pub fn abort(&mut self, id: ConnId) {
        self.core.end(id, CloseReason::Aborted);
    }

    /// Says whether a connection ends, with [`CloseReason::Io`](crate::CloseReason::Io), as
    /// soon as its peer has closed altogether, though it is paused and there
    /// may be unread input: for whoever makes replies, which would reach
    /// nobody, and not for whoever only receives. A Unix socket tells of it; on
    /// TCP a close looks like a half-close, until something is written.
    pub fn end_on_hangup(&mut self, id: ConnId, ends: bool) {
        let Some(conn) = self.core.conns.get_mut(id.0) else { return };
        if ends {
            conn.set(Flags::HANGUP_ENDS);
            self.core.check_hangup(id);
        } else {
            conn.unset(Flags::HANGUP_ENDS);
        }
    }
}

/// # Connections and children
impl Io<'_> {
    /// Connects to a listener elsewhere: TCP or Unix, as a connection of this
    /// service. It is answered once: by
    /// [`open`](crate::StreamHandler::open) with a
    /// [`Origin::Connected`](crate::Origin::Connected) that carries `tag`, or by
    /// [`connect_failed`](crate::StreamHandler::connect_failed). What is sent
    /// to the id meanwhile is queued, and written once there is a connection.
    ///
    /// TCP connections have `TCP_NODELAY` and
    /// [`KeepAlive::default`](crate::KeepAlive::default).
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at `max_connections`,
    /// [`Error::Over`](crate::Error::Over) at the end of a shutdown; then there
    /// is no other answer.
    pub fn connect(&mut self, to: &Endpoint, tag: u64) -> Result<ConnId> {
        self.connect_with(to, tag, ConnectOptions::default())
    }

    /// [`connect`](Self::connect) with options. With a layer, the answer comes when
    /// its handshake is complete or has failed, within
    /// [`Limits::connect`](crate::Limits::connect) in all.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with(&mut self, to: &Endpoint, tag: u64, options: ConnectOptions) -> Result<ConnId> {
        self.core.connect(self.service, to.clone(), tag, options.layer.map(ContainedLayer::new))
    }

    /// Puts a [`Layer`], such as TLS, between the socket and the handler of an open
    /// connection, as STARTTLS asks for it. What was written to the connection
    /// before leaves as it is; what is written afterwards waits for the handshake,
    /// which has [`Limits::handshake`](crate::Limits::handshake) to complete. The
    /// handler gets no input meanwhile, and then
    /// [`layer_ready`](crate::StreamHandler::layer_ready).
    ///
    /// Cleartext that was read before and not taken is an error: somebody on the way
    /// may have put it there, to have it taken for what came through the layer. If
    /// the handler leaves any, now or when this callback returns, the connection
    /// ends at once with [`CloseReason::Io`](crate::CloseReason::Io). A handler with
    /// a buffer of its own has to see to the same.
    ///
    /// A paused connection takes no step of the handshake. `false` if the connection
    /// is gone, closing or a pipe, has a layer already, or has ended in either
    /// direction; the layer is then dropped.
    pub fn start_layer(&mut self, id: ConnId, layer: Box<dyn Layer>) -> bool {
        self.core.start_layer(id, ContainedLayer::new(layer))
    }

    /// True while the handshake of a layer that [`start_layer`](Self::start_layer)
    /// has begun is not complete. A handler that takes several frames from one
    /// `data` breaks off then, and leaves the rest.
    #[must_use]
    pub fn is_handshaking(&self, id: ConnId) -> bool {
        self.core.conns.get(id.0).is_some_and(|conn| conn.is_live() && conn.has(Flags::HANDSHAKING))
    }

    /// The layer of a connection, if it has one of this type, whether or not its
    /// handshake is complete.
    #[must_use]
    pub fn layer<L: Layer>(&self, id: ConnId) -> Option<&L> {
        self.core.conns.get(id.0).filter(|conn| conn.has(Flags::LAYERED))?;
        let layer: &dyn Any = self.core.layers.look(id.0)?;
        layer.downcast_ref()
    }

    /// How many connections this service has, those that are closing included,
    /// and the pipes of its children not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.core.services[self.service as usize].stats.connections
    }

    /// True while the connection is there and takes input and output.
    #[must_use]
    pub fn is_open(&self, id: ConnId) -> bool {
        self.core.conns.get(id.0).is_some_and(|conn| conn.is_live())
    }

    /// When a byte of a connection last moved, in either direction; when it was
    /// opened, if none has. A turn in which a callback blocked, or the process
    /// was stopped, counts as its end: a peer is not to blame for that time,
    /// where [`now`](Self::now) as of an earlier callback would make it so.
    /// `None` if the connection is gone.
    ///
    /// A timer that ends silent connections has to compare this with the moment
    /// it was due, not with `now`: after a stop of the process, what has come
    /// between the two may not be read yet.
    #[must_use]
    pub fn last_activity(&self, id: ConnId) -> Option<Instant> {
        self.core.last_activity(id)
    }

    /// Says whether something is under way for a connection that the reactor
    /// cannot see: a reply that is being made elsewhere. Until that is taken
    /// back, a shutdown waits for it, up to its deadline, and
    /// [`Limits::idle`](crate::Limits::idle) does not end it.
    pub fn set_busy(&mut self, id: ConnId, busy: bool) {
        self.core.set_busy(id, busy);
    }

    /// Sets a connection apart from those that a shutdown is about: it is
    /// neither waited for nor closed, and is there when the reactor is used
    /// again; it ends with the reactor at the latest. For what serves the
    /// program itself, such as a connection that signals arrive on. A pipe of
    /// a child goes with the child all the same.
    pub fn set_background(&mut self, id: ConnId, background: bool) {
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            self.core.own -= usize::from(conn.is_own());
            if background {
                conn.set(Flags::BACKGROUND);
            } else {
                conn.unset(Flags::BACKGROUND);
            }
            self.core.own += usize::from(conn.is_own());
        }
    }

    /// Runs a program as a child process of this service. It is started when
    /// the callback has returned, and answered once: by
    /// [`child_exited`](crate::StreamHandler::child_exited) or by
    /// [`spawn_failed`](crate::StreamHandler::spawn_failed).
    ///
    /// Each of its pipes is a connection of this service, opened with
    /// [`Origin::Pipe`](crate::Origin::Pipe) when it has been started; its
    /// [`Pipe::Stdin`](crate::process::Pipe) can be sent to before. Reading
    /// and writing them is bounded as on every connection, so a child that
    /// writes waits while its connection is paused; no deadline holds for
    /// them. They are closed before `child_exited`, which comes
    /// when the child has exited and its output has ended or
    /// [`Command::pipe_grace`](crate::process::Command::pipe_grace) is over.
    /// Closing a connection ends no child: [`terminate`](Self::terminate) does.
    /// A child that nobody ends, a shutdown waits for until its deadline, and
    /// then ends.
    ///
    /// Starting a program blocks until the system has loaded it, which is a
    /// millisecond or so.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at
    /// [`Config::max_children`](crate::Config::max_children),
    /// [`Error::Over`](crate::Error::Over) at the end of a shutdown. Then there
    /// is no other answer. Pipes do not count as connections under any
    /// `max_connections`.
    pub fn spawn(&mut self, command: Command, tag: u64) -> Result<ChildId> {
        self.core.spawn(self.service, command, tag)
    }

    /// The connection that is one of a child's standard streams; `None` if it
    /// is no pipe, or the child is gone. The connection may be gone before.
    #[must_use]
    pub fn pipe(&self, child: ChildId, pipe: Pipe) -> Option<ConnId> {
        self.core.children.table.get(child.0)?.pipe(pipe)
    }

    /// How many children there are, of all services, until each is told of:
    /// those that [`Config::max_children`](crate::Config::max_children) counts.
    #[must_use]
    pub const fn children(&self) -> usize {
        self.core.children.under_way()
    }

    /// The numbers of the processes that are children, of all services: of each
    /// until it is reaped, which may be after it was told of.
    pub fn child_pids(&self) -> impl Iterator<Item = u32> {
        self.core.children.table.iter().filter_map(|(_, child)| child.pid)
    }

    /// Asks a child to end: SIGTERM to its process group, and SIGKILL after
    /// [`Command::kill_after`](crate::process::Command::kill_after), which
    /// reaches what it has started even if it has exited meanwhile. A child
    /// that has left its group gets them too, but not what it has started since.
    /// `false` if it is gone.
    pub fn terminate(&mut self, child: ChildId) -> bool {
        self.core.terminate(child, ExitCause::Killed)
    }

    /// Ends a child at once: SIGKILL to its process group. `false` if it is gone.
    pub fn kill(&mut self, child: ChildId) -> bool {
        self.core.kill_child(child, ExitCause::Killed)
    }
}

/// # Timers and deadlines
impl Io<'_> {
    /// Sets a timer: for the connection of this callback, which it ends with;
    /// or for the service where there is none, or none any more (in `close`
    /// and `connect_failed`). Zero is the next turn; `Duration::MAX` is never.
    /// Resolution is a millisecond; it is never early.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at [`Config::max_timers`](crate::Config::max_timers).
    pub fn after(&mut self, period: Duration) -> Result<TimerId> {
        self.core.set_timer(self.purpose(), period, Repeat::Once)
    }

    /// Sets a timer that repeats, like [`after`](Self::after): due every whole
    /// `period` (at least a millisecond) from now, with no drift. Those that
    /// were missed are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at [`Config::max_timers`](crate::Config::max_timers).
    pub fn every(&mut self, period: Duration) -> Result<TimerId> {
        self.core.set_timer(self.purpose(), period, Repeat::Every)
    }

    /// [`after`](Self::after), for the service whichever callback this is.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at [`Config::max_timers`](crate::Config::max_timers).
    pub fn tick_after(&mut self, period: Duration) -> Result<TimerId> {
        self.core.set_timer(Purpose::Service(self.service), period, Repeat::Once)
    }

    /// [`every`](Self::every), for the service whichever callback this is.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at [`Config::max_timers`](crate::Config::max_timers).
    pub fn tick_every(&mut self, period: Duration) -> Result<TimerId> {
        self.core.set_timer(Purpose::Service(self.service), period, Repeat::Every)
    }

    /// Takes a timer back. It will not fire, even if it was due already.
    /// `false` if it is gone.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.cancel_timer(timer)
    }

    /// Changes the idle deadline of one connection; `None` switches it off. The
    /// cheap way to what [`set_limits`](Self::set_limits) can do too: of both, the
    /// last counts.
    pub fn set_idle(&mut self, id: ConnId, idle: Option<Duration>) {
        self.core.set_idle(id, idle);
    }

    /// Sets a deadline of the handler's own for one connection, counted from
    /// now; of several the last counts, and `None` takes it away. When it is
    /// over, the connection ends in order, with
    /// [`Deadline::Handler`](crate::Deadline::Handler). Neither bytes in either
    /// direction nor a pause nor [`set_busy`](Self::set_busy) put it off. Zero
    /// is the next turn.
    ///
    /// For what is no frame: a login that has to be through, a stage of a
    /// protocol, a whole request with its answer. It holds until the connection
    /// begins to close, and not for pipes, terminals and files.
    pub fn set_deadline(&mut self, id: ConnId, after: Option<Duration>) {
        self.core.set_deadline(id, after);
    }

    fn purpose(&self) -> Purpose {
        let current = self.core.current;
        // In `open` there is no session yet, in `close` there is none any more.
        let takes_part = |conn: &Conn| conn.session != NO_SESSION || conn.is_live();
        if self.core.conns.get(current.0).is_some_and(takes_part) {
            Purpose::Session(current)
        } else {
            Purpose::Service(self.service)
        }
    }
}

/// # Shutdown
impl Io<'_> {
    /// Begins a shutdown: listeners close, what is under way is finished
    /// within `deadline`, and the loop ends. Of several, the soonest counts.
    pub fn shutdown(&mut self, deadline: Duration) {
        let at = self.core.moment.plus(deadline);
        self.core.request(RunState::ShuttingDown(at));
    }

    /// True once a shutdown was asked for or has begun, until it is complete.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.core.is_shutting_down || self.core.requested != RunState::Running
    }

    /// Ends the loop with this turn: every connection is dropped with
    /// [`CloseReason::Shutdown`], but for those in the
    /// [background](Self::set_background).
    pub fn stop(&mut self) {
        self.core.request(RunState::Stopping);
    }
}
