//! `Replay`: the driver itself.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::outcome::ReplayError;
use super::source::Source;
use crate::driver::sim::{Conditions, SimDriver};
use crate::driver::{
    Adopt, BindOptions, Closing, Driver, Event, FileError, FileSent, ListenOptions, Moment, Notice, Spawned,
    Token,
};
use crate::process::{Command, Fate, Signal};
use crate::record::{Call, Digest, Dump, Entry, Number, Outcome, Payload, Payloads};
use crate::{Endpoint, Peer, Side, SystemCalls};

/// A driver that answers each call from a recording, without a socket and as fast as the
/// handler goes.
///
/// Make the reactor as the recorded one was made: the same configuration, the same
/// services, the same listeners in the same order. Then [`run`](Self::run) takes the turns
/// of the recording. If the handler does what it did, the replay is the run again, to the
/// last byte; if not, the first difference is a [`Divergence`](super::Divergence).
///
/// ```
/// use serve_forever::driver::sim::{Conditions, Script, SimDriver};
/// use serve_forever::record::{Payloads, RecordOptions, Recorder};
/// use serve_forever::services::Upper;
/// use serve_forever::sim::Replay;
/// use serve_forever::{Config, Endpoint, Reactor};
///
/// // A run, recorded. In a program, the inner driver is `MioDriver`.
/// let options = RecordOptions { payloads: Payloads::Kept, ..RecordOptions::default() };
/// let driver = Recorder::new(SimDriver::<true>::new(1, Conditions::calm()), options)?;
/// let at: Endpoint = "127.0.0.1:7".parse()?;
/// let mut reactor = Reactor::with_driver(driver, Config::default())?;
/// let upper = reactor.add(Upper::new(), Upper::limits())?;
/// reactor.listen(&upper, &at)?;
/// let net = reactor.driver_mut().inner_mut().net_mut();
/// let client = net.play(&at, Script::new().send("hello").finish());
/// while !reactor.driver().inner().net().client(client).has_ended() {
///     reactor.turn(None)?;
/// }
/// let dump = reactor.driver_mut().dump();
///
/// // The same again.
/// let mut reactor = Reactor::with_driver(Replay::<true>::new(dump)?, Config::default())?;
/// let upper = reactor.add(Upper::new(), Upper::limits())?;
/// reactor.listen(&upper, &at)?;
/// let replayed = Replay::run(&mut reactor)?;
/// assert!(replayed.turns > 2);
/// assert_eq!(reactor.stats().bytes_out, 5);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # What is not replayed
///
/// A handler that reads a clock or a random number of its own, a file, or what another
/// thread has left somewhere, gets what there is today. The calls of
/// [`Handle`](crate::Handle)s and the results of workers are closures, which no recording
/// has: the recording says when they came, and [`on_calls`](Self::on_calls) lets the
/// program make them again. TLS draws its own random numbers.
///
/// `SHORT` is the [`Driver::SHORT_MEANS_BLOCKED`] of the recorded driver.
pub struct Replay<const SHORT: bool = true> {
    pub(super) source: Source,
    epoch: Instant,
    max_streams: Option<usize>,
    calls: SystemCalls,
    reported_all: bool,
    on_calls: Option<OnCalls>,
}

/// Makes the calls of other threads again.
type OnCalls = Box<dyn FnMut(usize, Option<Duration>)>;

/// A socket or a child of a [`Replay`].
#[derive(Debug)]
pub struct Played(Number);

impl<const SHORT: bool> Replay<SHORT> {
    /// Makes a driver of a recording.
    ///
    /// # Errors
    ///
    /// [`ReplayError::NoBeginning`] if the ring had lost the beginning,
    /// [`ReplayError::NoPayloads`] if payloads were not kept, and
    /// [`ReplayError::OtherDriver`] if `SHORT` is not that of the recorded driver.
    pub fn new(dump: Dump) -> Result<Self, ReplayError> {
        let source = Source::new(dump);
        let mut at = source.dump().start();
        let first = source.dump().next(&mut at).map(|entry| entry.call);
        let Some(Call::Began { short_means_blocked, payloads, max_streams }) = first else {
            return Err(ReplayError::NoBeginning { lost_segments: source.dump().lost_segments() });
        };
        if payloads != Payloads::Kept {
            return Err(ReplayError::NoPayloads);
        }
        if short_means_blocked != SHORT {
            return Err(ReplayError::OtherDriver { short_means_blocked });
        }
        source.take(&Call::Began { short_means_blocked, payloads, max_streams });
        Ok(Self {
            source,
            // There is no clock here: this is where simulated time begins.
            epoch: SimDriver::<SHORT>::new(0, Conditions::calm()).start(),
            max_streams: max_streams.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            calls: SystemCalls::default(),
            reported_all: true,
            on_calls: None,
        })
    }

    /// Has the program make the calls of other threads again, which no recording can
    /// hold. `again` is called during the wait before they ran, with their number and the
    /// deadline of the shutdown that a handle had asked for; it makes them through a
    /// [`Handle`](crate::Handle) of its own.
    pub fn on_calls(&mut self, again: impl FnMut(usize, Option<Duration>) + 'static) {
        self.on_calls = Some(Box::new(again));
    }

    /// The recording.
    #[must_use]
    pub const fn dump(&self) -> &Dump {
        self.source.dump()
    }

    /// The outcome of a call that may fail.
    fn outcome(&self, call: &Call<'_>) -> io::Result<Outcome<'_>> {
        match self.source.take(call) {
            Some(Outcome::Failed(failure)) => Err(failure.to_error()),
            Some(outcome) => Ok(outcome),
            // The run is over; until the loop waits again, nothing happens.
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The error of a call whose outcome is of another call, which no recorder writes.
    fn unfit(&self, call: Call<'_>, outcome: &Outcome<'_>) -> io::Error {
        let replayed = format!("{call}, whose outcome cannot be {outcome}");
        self.source.diverge(&Entry { call, outcome: Outcome::Done }, replayed);
        io::ErrorKind::WouldBlock.into()
    }

    /// Stores the bytes of a read.
    fn store(&self, call: &Call<'_>, payload: &Payload<'_>, into: &mut [u8]) -> io::Result<usize> {
        match payload {
            Payload::Kept(bytes) if bytes.len() <= into.len() => {
                into[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => {
                let entry = Entry { call: call.clone(), outcome: Outcome::Input(payload.clone()) };
                let why = "a read, whose bytes the recording has not kept: they were too many for the ring";
                self.source.diverge(&entry, why.into());
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn made(&self, call: Call<'_>) -> io::Result<Played> {
        match self.outcome(&call)? {
            Outcome::Made(number) => Ok(Played(number)),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn made_at(&self, call: Call<'_>) -> io::Result<(Played, Endpoint)> {
        match self.outcome(&call)? {
            Outcome::MadeAt(number, at) => Ok((Played(number), at)),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn made_with(&self, call: Call<'_>) -> io::Result<(Played, Peer)> {
        match self.outcome(&call)? {
            Outcome::MadeWith(number, peer) => Ok((Played(number), peer)),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn done(&self, call: Call<'_>) -> io::Result<()> {
        match self.outcome(&call)? {
            Outcome::Done => Ok(()),
            other => Err(self.unfit(call, &other)),
        }
    }
}

/// A time as a recording keeps it: it ends after 584 years.
fn kept(time: Duration) -> Duration {
    time.min(Duration::from_nanos(u64::MAX - 1))
}

impl<const SHORT: bool> Driver for Replay<SHORT> {
    type Listener = Played;
    type Stream = Played;
    type Socket = Played;
    type Child = Played;

    const SHORT_MEANS_BLOCKED: bool = SHORT;

    fn epoch(&self) -> Instant {
        self.epoch
    }

    fn now(&self) -> Moment {
        self.source.now()
    }

    fn waker(&mut self) -> io::Result<Waker> {
        self.calls.register += 1;
        self.done(Call::Waker)?;
        Ok(Waker::noop().clone())
    }

    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        self.calls.wait += 1;
        if let Some(again) = &mut self.on_calls
            && !self.source.is_over()
            && let Some((count, shutdown)) = self.source.calls_ahead()
        {
            again(count, shutdown);
        }
        let call = Call::Wait { timeout: timeout.map(kept) };
        match self.source.take(&call) {
            Some(Outcome::Waited { events, reported_all }) => {
                events.iter().for_each(|event| report(*event));
                let count = events.len();
                self.reported_all = reported_all;
                Ok(count)
            }
            Some(Outcome::Failed(failure)) => Err(failure.to_error()),
            _ => Err(self.source.over()),
        }
    }

    fn reported_all(&self) -> bool {
        self.reported_all
    }

    fn listen(&mut self, at: &Endpoint, _: &ListenOptions, token: Token) -> io::Result<(Played, Endpoint)> {
        self.calls.register += 1;
        self.made_at(Call::Listen { at: Cow::Borrowed(at), token })
    }

    fn accept(&mut self, listener: &mut Played) -> io::Result<(Played, Peer)> {
        self.calls.accept += 1;
        self.made_with(Call::Accept { listener: listener.0 })
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<Played> {
        self.calls.connect += 1;
        self.made(Call::Connect { to: Cow::Borrowed(to) })
    }

    fn connected(&mut self, stream: &mut Played) -> io::Result<Option<Peer>> {
        self.calls.connect += 1;
        let call = Call::Connected { stream: stream.0 };
        match self.outcome(&call)? {
            Outcome::Peer(peer) => Ok(peer),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn close_listener(&mut self, listener: Played) {
        self.calls.close += 1;
        self.source.take(&Call::CloseListener { listener: listener.0 });
    }

    fn register(&mut self, stream: &mut Played, token: Token) -> io::Result<()> {
        self.calls.register += 1;
        self.done(Call::Register { stream: stream.0, token })
    }

    fn read(&mut self, stream: &mut Played, into: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        let call = Call::Read { stream: stream.0, space: into.len() as u64 };
        match self.outcome(&call)? {
            Outcome::Input(payload) => self.store(&call, &payload, into),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn write(&mut self, stream: &mut Played, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.write += 1;
        let offered = pieces.iter().map(|piece| piece.len() as u64).sum();
        let call = Call::Write { stream: stream.0, offered };
        match self.outcome(&call)? {
            Outcome::Written(digest) => {
                let count = usize::try_from(digest.len).unwrap_or(usize::MAX);
                let own = Digest::sample_of_pieces(pieces, count);
                if own != digest {
                    let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                    let shown = Payload::Kept(Cow::Owned(bytes));
                    let replayed = format!("{call}: {own}, of {shown}");
                    self.source.diverge(&Entry { call, outcome: Outcome::Written(digest) }, replayed);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            }
            other => Err(self.unfit(call, &other)),
        }
    }

    fn send_file(
        &mut self,
        stream: &mut Played,
        _: &File,
        offset: u64,
        count: usize,
    ) -> Result<FileSent, FileError> {
        self.calls.write += 1;
        let call = Call::SendFile { stream: stream.0, offset, count: count as u64 };
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.outcome(&call).map_err(FileError::Stream)? {
            Outcome::FileSent { written, offered } => {
                Ok(FileSent { written: size(written), offered: size(offered) })
            }
            Outcome::FileFailed(failure) => Err(FileError::File(failure.to_error())),
            other => Err(FileError::Stream(self.unfit(call, &other))),
        }
    }

    fn is_hung_up(&mut self, stream: &mut Played) -> io::Result<bool> {
        self.calls.read += 1;
        let call = Call::IsHungUp { stream: stream.0 };
        match self.outcome(&call)? {
            Outcome::Answer(answer) => Ok(answer),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn shutdown(&mut self, stream: &mut Played) -> io::Result<()> {
        self.calls.shutdown += 1;
        self.done(Call::Shutdown { stream: stream.0 })
    }

    fn close(&mut self, stream: Played, how: Closing) {
        self.calls.close += 1;
        self.source.take(&Call::Close { stream: stream.0, how });
    }

    fn bind(&mut self, at: &Endpoint, _: &BindOptions, token: Token) -> io::Result<(Played, Endpoint)> {
        self.calls.register += 1;
        self.made_at(Call::Bind { at: Cow::Borrowed(at), token })
    }

    fn receive(&mut self, socket: &mut Played, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.calls.read += 1;
        let call = Call::Receive { socket: socket.0, space: into.len() as u64 };
        match self.outcome(&call)? {
            Outcome::Datagram { data, len, from: sender } => {
                self.store(&call, &data, into)?;
                *from = sender;
                Ok(usize::try_from(len).unwrap_or(usize::MAX))
            }
            other => Err(self.unfit(call, &other)),
        }
    }

    fn is_own(&mut self, peer: &Peer) -> bool {
        let call = Call::IsOwn { peer: Cow::Borrowed(peer) };
        matches!(self.source.take(&call), Some(Outcome::Answer(true)))
    }

    fn send_to(&mut self, socket: &mut Played, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.calls.write += 1;
        self.done(Call::SendTo { socket: socket.0, to: Cow::Borrowed(to), data: Digest::sample(data) })
    }

    fn close_socket(&mut self, socket: Played) {
        self.calls.close += 1;
        self.source.take(&Call::CloseSocket { socket: socket.0 });
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<Played, Played>> {
        self.calls.child += 1;
        let call = Call::Spawn { command: Digest::of_command(command), token };
        match self.outcome(&call)? {
            Outcome::Spawned { child, pid, pipes, has_events } => {
                let pipes = pipes.map(|pipe| pipe.map(Played));
                Ok(Spawned { child: Played(child), pid, pipes, has_events })
            }
            other => Err(self.unfit(call, &other)),
        }
    }

    fn fate(&mut self, child: &mut Played) -> io::Result<Fate> {
        self.calls.child += 1;
        let call = Call::Fate { child: child.0 };
        match self.outcome(&call)? {
            Outcome::Fate(fate) => Ok(fate),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn unread(&mut self, pipe: &mut Played) -> io::Result<usize> {
        self.calls.child += 1;
        let call = Call::Unread { pipe: pipe.0 };
        match self.outcome(&call)? {
            Outcome::Count(count) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
            other => Err(self.unfit(call, &other)),
        }
    }

    fn signal(&mut self, child: &mut Played, signal: Signal) -> io::Result<()> {
        self.calls.child += 1;
        self.done(Call::Signal { child: child.0, signal })
    }

    fn reap(&mut self, child: Played, within: Duration) -> Option<ExitStatus> {
        self.calls.child += 1;
        match self.source.take(&Call::Reap { child: child.0, within: kept(within) }) {
            Some(Outcome::Status(status)) => status,
            _ => None,
        }
    }

    fn max_streams(&self) -> Option<usize> {
        self.max_streams
    }

    fn calls(&self) -> SystemCalls {
        self.calls
    }

    fn notice(&mut self, notice: Notice) {
        let notice = match notice {
            Notice::Turn(max_wait) => Notice::Turn(max_wait.map(kept)),
            Notice::Shutdown(deadline) => Notice::Shutdown(kept(deadline)),
            Notice::Calls { count, shutdown } => Notice::Calls { count, shutdown: shutdown.map(kept) },
            other => other,
        };
        self.source.take(&Call::Notice(notice));
    }
}

impl<const SHORT: bool> Adopt for Replay<SHORT> {
    /// Closes the descriptor, and plays what was recorded in its place.
    fn adopt(&mut self, _: OwnedFd) -> io::Result<(Played, Peer)> {
        self.made_with(Call::Adopt)
    }

    fn adopt_one_way(&mut self, _: OwnedFd, side: Side) -> io::Result<Played> {
        self.made(Call::AdoptOneWay { side })
    }

    fn adopt_listener(&mut self, _: OwnedFd, token: Token) -> io::Result<(Played, Endpoint)> {
        self.made_at(Call::AdoptListener { token })
    }
}

impl<const SHORT: bool> fmt::Debug for Replay<SHORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("turn", &self.source.turn())
            .field("divergence", &self.source.divergence())
            .finish_non_exhaustive()
    }
}
