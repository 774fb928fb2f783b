//! `Recorder`: a driver around another one, which keeps the outcomes of its calls.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::digest::{Digest, Payloads};
use super::dump::Dump;
use super::entry::{Call, Failure, Number, Outcome, Payload};
use super::options::{DumpRequest, RecordOptions};
use super::readings::Readings;
use super::ring::Ring;
use super::saver::Saver;
use super::short;
use crate::driver::{
    Adopt, BindOptions, Closing, Driver, Event, FileError, FileSent, ListenOptions, Moment, Notice, Spawned,
    Token,
};
use crate::process::{Command, Fate, Signal};
use crate::{Endpoint, Peer, Side, SystemCalls};

/// A driver around another one: the loop runs over it as over the inner one, and the last
/// outcomes of all calls are in a ring of bounded size.
///
/// ```
/// use serve_forever::driver::MioDriver;
/// use serve_forever::record::{Payloads, RecordOptions, Recorder};
/// use serve_forever::{Config, Limits, Reactor, services::Echo};
///
/// let config = Config::default();
/// let options = RecordOptions { payloads: Payloads::Kept, ..RecordOptions::default() };
/// let driver = Recorder::new(MioDriver::new(config.events_per_turn)?, options)?;
/// let mut reactor = Reactor::with_driver(driver, config)?;
/// let echo = reactor.add(Echo::new(), Limits::default())?;
/// reactor.listen(&echo, &"127.0.0.1:0".parse()?)?;
/// reactor.turn(Some(std::time::Duration::ZERO))?;
/// println!("{}", reactor.driver_mut().dump());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Recorder<D: Driver> {
    inner: D,
    ring: Ring,
    payloads: Payloads,
    /// Those since the last other call: `now` cannot change the ring.
    readings: Readings,
    /// The events of a wait in their short forms, in a buffer that is used again.
    events: Vec<u8>,
    made: u64,
    saver: Saver,
}

/// A socket or a child of a [`Recorder`].
#[derive(Debug)]
pub struct Recorded<T> {
    inner: T,
    number: Number,
}

impl<T> Recorded<T> {
    /// The number that it has in the recording.
    #[must_use]
    pub const fn number(&self) -> Number {
        self.number
    }
}

impl<D: Driver> Recorder<D> {
    /// Begins a recording. The driver has not been used yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the options contradict themselves.
    pub fn new(inner: D, options: RecordOptions) -> io::Result<Self> {
        options.check()?;
        let mut this = Self {
            ring: Ring::new(options.bytes),
            payloads: options.payloads,
            readings: Readings::default(),
            events: Vec::new(),
            made: 0,
            saver: Saver::new(options),
            inner,
        };
        let max_streams = this.inner.max_streams().map(|most| most as u64);
        let short_means_blocked = D::SHORT_MEANS_BLOCKED;
        this.add(&Call::Began { short_means_blocked, payloads: this.payloads, max_streams }, &Outcome::Done);
        Ok(this)
    }

    /// The driver that is recorded.
    #[must_use]
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// The driver that is recorded. What is called on it directly is not in the
    /// recording.
    pub const fn inner_mut(&mut self) -> &mut D {
        &mut self.inner
    }

    /// A copy of the recording as of now.
    pub fn dump(&mut self) -> Dump {
        self.flush_readings();
        Dump::of(&self.ring)
    }

    /// Writes the recording as of now.
    ///
    /// # Errors
    ///
    /// The error of the writer.
    pub fn write_to(&mut self, mut to: impl io::Write) -> io::Result<()> {
        self.flush_readings();
        super::dump::write_segments(self.ring.segments(), &mut to)
    }

    /// Has the recorder write a dump to its [file](RecordOptions::file), from anywhere.
    #[must_use]
    pub fn request(&self) -> DumpRequest {
        self.saver.request.clone()
    }

    /// Takes a dump for a reason, if there is a file for it.
    #[cold]
    fn save(&mut self, reason: &str) {
        self.flush_readings();
        self.saver.save(&self.ring, reason);
    }

    /// Adds an entry, behind the readings of the clock that came before.
    #[inline]
    fn add(&mut self, call: &Call<'_>, outcome: &Outcome<'_>) {
        self.flush_readings();
        self.ring.add(call, outcome);
    }

    /// Adds a call that has failed.
    #[inline(never)]
    fn add_failed(&mut self, call: &Call<'_>, error: &io::Error) {
        self.add(call, &Outcome::Failed(Failure::of(error)));
    }

    #[inline(always)]
    fn flush_readings(&mut self) {
        self.readings.take(|reading| self.ring.add_time(reading));
    }

    /// Adds a call that returns a value or fails, and passes its result on.
    fn note<T>(
        &mut self,
        call: &Call<'_>,
        result: io::Result<T>,
        outcome: impl FnOnce(&T) -> Outcome<'static>,
    ) -> io::Result<T> {
        match &result {
            Ok(value) => self.add(call, &outcome(value)),
            Err(error) => self.add_failed(call, error),
        }
        result
    }

    fn next_number(&mut self) -> Number {
        self.made += 1;
        Number(self.made)
    }

    /// Gives something that was made a number.
    fn number<T>(&mut self, inner: T) -> Recorded<T> {
        Recorded { inner, number: self.next_number() }
    }

    /// Adds a call that makes a socket at an endpoint.
    fn note_bound<T>(
        &mut self,
        call: &Call<'_>,
        result: io::Result<(T, Endpoint)>,
    ) -> io::Result<(Recorded<T>, Endpoint)> {
        let made = result.map(|(inner, at)| (self.number(inner), at));
        self.note(call, made, |(made, at)| Outcome::MadeAt(made.number, at.clone()))
    }

    /// Adds a call that makes a connected stream.
    fn note_connected<T>(
        &mut self,
        call: &Call<'_>,
        result: io::Result<(T, Peer)>,
    ) -> io::Result<(Recorded<T>, Peer)> {
        let made = result.map(|(inner, peer)| (self.number(inner), peer));
        self.note(call, made, |(made, peer)| Outcome::MadeWith(made.number, peer.clone()))
    }

    /// The payload of bytes that came in.
    #[inline]
    fn payload<'a>(&self, bytes: &'a [u8]) -> Payload<'a> {
        if self.payloads == Payloads::Kept && bytes.len() <= self.ring.longest_payload() {
            Payload::Kept(Cow::Borrowed(bytes))
        } else {
            Payload::Hashed(Digest::sample(bytes))
        }
    }
}

impl<D: Driver> Driver for Recorder<D> {
    type Listener = Recorded<D::Listener>;
    type Stream = Recorded<D::Stream>;
    type Socket = Recorded<D::Socket>;
    type Child = Recorded<D::Child>;

    const SHORT_MEANS_BLOCKED: bool = D::SHORT_MEANS_BLOCKED;

    fn epoch(&self) -> Instant {
        self.inner.epoch()
    }

    #[inline(always)]
    fn now(&self) -> Moment {
        let now = self.inner.now();
        self.readings.add(now);
        now
    }

    fn waker(&mut self) -> io::Result<Waker> {
        let result = self.inner.waker();
        self.note(&Call::Waker, result, |_| Outcome::Done)
    }

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        if self.saver.request.take() {
            self.save("the program has asked for it");
        }
        let Self { inner, events, .. } = self;
        events.clear();
        let result = inner.wait(timeout, |event| {
            events.extend_from_slice(&short::event(event));
            report(event);
        });
        self.flush_readings();
        match &result {
            Ok(_) => self.ring.add_wait(timeout, &self.events, self.inner.reported_all()),
            Err(error) => self.ring.add_failed_wait(timeout, Failure::of(error)),
        }
        result
    }

    fn reported_all(&self) -> bool {
        self.inner.reported_all()
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Endpoint)> {
        let result = self.inner.listen(at, options, token);
        self.note_bound(&Call::Listen { at: Cow::Borrowed(at), token }, result)
    }

    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)> {
        let result = self.inner.accept(&mut listener.inner);
        self.note_connected(&Call::Accept { listener: listener.number }, result)
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<Self::Stream> {
        let made = self.inner.connect(to).map(|inner| self.number(inner));
        self.note(&Call::Connect { to: Cow::Borrowed(to) }, made, |made| Outcome::Made(made.number))
    }

    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<Option<Peer>> {
        let result = self.inner.connected(&mut stream.inner);
        self.note(&Call::Connected { stream: stream.number }, result, |peer| Outcome::Peer(peer.clone()))
    }

    fn close_listener(&mut self, listener: Self::Listener) {
        self.inner.close_listener(listener.inner);
        self.add(&Call::CloseListener { listener: listener.number }, &Outcome::Done);
    }

    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()> {
        let result = self.inner.register(&mut stream.inner, token);
        self.note(&Call::Register { stream: stream.number, token }, result, |()| Outcome::Done)
    }

    #[inline(always)]
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(&mut stream.inner, into);
        let (stream, space) = (stream.number, into.len() as u64);
        match &result {
            Ok(count) => {
                self.flush_readings();
                self.ring.add_read(stream, space, self.payload(&into[..*count]));
            }
            Err(error) => self.add_failed(&Call::Read { stream, space }, error),
        }
        result
    }

    #[inline(always)]
    fn write(&mut self, stream: &mut Self::Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.inner.write(&mut stream.inner, pieces);
        let (stream, offered) = (stream.number, pieces.iter().map(|piece| piece.len() as u64).sum());
        match &result {
            Ok(taken) => {
                self.flush_readings();
                self.ring.add_write(stream, offered, Digest::sample_of_pieces(pieces, *taken));
            }
            Err(error) => self.add_failed(&Call::Write { stream, offered }, error),
        }
        result
    }

    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<FileSent, FileError> {
        let result = self.inner.send_file(&mut stream.inner, file, offset, count);
        let outcome = match &result {
            Ok(FileSent { written, offered }) => {
                Outcome::FileSent { written: *written as u64, offered: *offered as u64 }
            }
            Err(FileError::Stream(error)) => Outcome::Failed(Failure::of(error)),
            Err(FileError::File(error)) => Outcome::FileFailed(Failure::of(error)),
        };
        self.add(&Call::SendFile { stream: stream.number, offset, count: count as u64 }, &outcome);
        result
    }

    fn is_hung_up(&mut self, stream: &mut Self::Stream) -> io::Result<bool> {
        let result = self.inner.is_hung_up(&mut stream.inner);
        self.note(&Call::IsHungUp { stream: stream.number }, result, |answer| Outcome::Answer(*answer))
    }

    fn shutdown(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        let result = self.inner.shutdown(&mut stream.inner);
        self.note(&Call::Shutdown { stream: stream.number }, result, |()| Outcome::Done)
    }

    fn close(&mut self, stream: Self::Stream, how: Closing) {
        self.inner.close(stream.inner, how);
        self.add(&Call::Close { stream: stream.number, how }, &Outcome::Done);
    }

    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(Self::Socket, Endpoint)> {
        let result = self.inner.bind(at, options, token);
        self.note_bound(&Call::Bind { at: Cow::Borrowed(at), token }, result)
    }

    fn receive(&mut self, socket: &mut Self::Socket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        let result = self.inner.receive(&mut socket.inner, into, from);
        let call = Call::Receive { socket: socket.number, space: into.len() as u64 };
        match &result {
            Ok(len) => {
                let data = self.payload(&into[..into.len().min(*len)]);
                self.add(&call, &Outcome::Datagram { data, len: *len as u64, from: from.clone() });
            }
            Err(error) => self.add(&call, &Outcome::Failed(Failure::of(error))),
        }
        result
    }

    fn is_own(&mut self, peer: &Peer) -> bool {
        let answer = self.inner.is_own(peer);
        self.add(&Call::IsOwn { peer: Cow::Borrowed(peer) }, &Outcome::Answer(answer));
        answer
    }

    fn send_to(&mut self, socket: &mut Self::Socket, to: &Peer, data: &[u8]) -> io::Result<()> {
        let result = self.inner.send_to(&mut socket.inner, to, data);
        let call = Call::SendTo { socket: socket.number, to: Cow::Borrowed(to), data: Digest::sample(data) };
        self.note(&call, result, |()| Outcome::Done)
    }

    fn close_socket(&mut self, socket: Self::Socket) {
        self.inner.close_socket(socket.inner);
        self.add(&Call::CloseSocket { socket: socket.number }, &Outcome::Done);
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<Self::Child, Self::Stream>> {
        let result = self.inner.spawn(command, token);
        let call = Call::Spawn { command: Digest::of_command(command), token };
        let spawned = result.map(|Spawned { child, pid, pipes, has_events }| Spawned {
            child: self.number(child),
            pid,
            pipes: pipes.map(|pipe| pipe.map(|pipe| self.number(pipe))),
            has_events,
        });
        self.note(&call, spawned, |spawned| Outcome::Spawned {
            child: spawned.child.number,
            pid: spawned.pid,
            pipes: spawned.pipes.each_ref().map(|pipe| pipe.as_ref().map(Recorded::number)),
            has_events: spawned.has_events,
        })
    }

    fn fate(&mut self, child: &mut Self::Child) -> io::Result<Fate> {
        let result = self.inner.fate(&mut child.inner);
        self.note(&Call::Fate { child: child.number }, result, |fate| Outcome::Fate(*fate))
    }

    fn unread(&mut self, pipe: &mut Self::Stream) -> io::Result<usize> {
        let result = self.inner.unread(&mut pipe.inner);
        self.note(&Call::Unread { pipe: pipe.number }, result, |count| Outcome::Count(*count as u64))
    }

    fn signal(&mut self, child: &mut Self::Child, signal: Signal) -> io::Result<()> {
        let result = self.inner.signal(&mut child.inner, signal);
        self.note(&Call::Signal { child: child.number, signal }, result, |()| Outcome::Done)
    }

    fn reap(&mut self, child: Self::Child, within: Duration) -> Option<ExitStatus> {
        let status = self.inner.reap(child.inner, within);
        self.add(&Call::Reap { child: child.number, within }, &Outcome::Status(status));
        status
    }

    fn max_streams(&self) -> Option<usize> {
        self.inner.max_streams()
    }

    fn calls(&self) -> SystemCalls {
        self.inner.calls()
    }

    fn notice(&mut self, notice: Notice) {
        self.inner.notice(notice);
        self.add(&Call::Notice(notice), &Outcome::Done);
        if let Notice::Incident(incident) = notice
            && self.saver.is_due_after(incident.kind, self.inner.now())
        {
            self.save(&Call::Notice(notice).to_string());
        }
    }
}

impl<D: Adopt> Adopt for Recorder<D> {
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(Self::Stream, Peer)> {
        let result = self.inner.adopt(socket);
        self.note_connected(&Call::Adopt, result)
    }

    fn adopt_one_way(&mut self, descriptor: OwnedFd, side: Side) -> io::Result<Self::Stream> {
        let made = self.inner.adopt_one_way(descriptor, side).map(|inner| self.number(inner));
        self.note(&Call::AdoptOneWay { side }, made, |made| Outcome::Made(made.number))
    }

    fn adopt_listener(&mut self, socket: OwnedFd, token: Token) -> io::Result<(Self::Listener, Endpoint)> {
        let result = self.inner.adopt_listener(socket, token);
        self.note_bound(&Call::AdoptListener { token }, result)
    }
}

impl<D: Driver + AsFd> AsFd for Recorder<D> {
    /// The descriptor of the recorded driver.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<D: Driver> Drop for Recorder<D> {
    /// Takes a dump if a panic ends the reactor.
    fn drop(&mut self) {
        if std::thread::panicking() && self.saver.is_due_after_panic() {
            self.save("a panic ends the reactor");
        }
    }
}

impl<D: Driver + fmt::Debug> fmt::Debug for Recorder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("inner", &self.inner)
            .field("bytes", &self.ring.len())
            .field("waits", &self.ring.waits())
            .field("payloads", &self.payloads)
            .finish_non_exhaustive()
    }
}
