//! A datagram client, a handler that tells of its datagrams, and a server on a
//! thread of its own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serve_forever::{
    BindOptions, BoxError, Config, DatagramHandler, Endpoint, Handle, Io, Limits, Peer, Reactor, SocketError,
    SocketId, Stats, TimerId,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{PATIENCE, eventually};

/// Any free UDP port of the loopback interface.
pub(crate) fn bind_anywhere() -> Endpoint {
    "udp://127.0.0.1:0".parse().expect("a good endpoint")
}

/// The address of a UDP endpoint.
#[track_caller]
pub(crate) fn address(at: &Endpoint) -> SocketAddr {
    let Endpoint::Udp(address) = at else { panic!("{at} is not UDP") };
    *address
}

/// A blocking datagram socket that talks to one server.
#[derive(Debug)]
pub(crate) struct DatagramClient(pub(crate) Socket);

impl DatagramClient {
    /// One of the kind that the server is, with a name of its own if it is a
    /// Unix socket and there is a `name`.
    #[track_caller]
    pub(crate) fn connect(to: &Endpoint, name: Option<&Path>) -> Self {
        let (domain, address) = match to {
            Endpoint::Udp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Endpoint::UnixDatagram(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
            other => panic!("{other} takes no datagrams"),
        };
        let socket = match name {
            Some(path) => std::os::fd::OwnedFd::from(UnixDatagram::bind(path).expect("a free path")).into(),
            None => Socket::new(domain, Type::DGRAM, None).expect("a descriptor is free"),
        };
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        socket.connect(&address).expect("the server is there");
        Self(socket)
    }

    #[track_caller]
    pub(crate) fn send(&self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        assert_eq!(self.0.send(data).expect("the server is there"), data.len());
    }

    /// The next datagram.
    #[track_caller]
    pub(crate) fn take(&self) -> Vec<u8> {
        use std::io::Read;
        let mut room = vec![0; 256 << 10];
        let count = (&self.0).read(&mut room).expect("the server answers");
        room.truncate(count);
        room
    }

    /// The next datagram is this one.
    #[track_caller]
    pub(crate) fn expect(&self, data: impl AsRef<[u8]>) {
        let (expected, got) = (data.as_ref(), self.take());
        if expected.len() < 1000 {
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
        }
        assert!(got == expected, "{} bytes came, not these {}", got.len(), expected.len());
    }

    /// Nothing has come yet. Only after something that proves it would have.
    #[track_caller]
    pub(crate) fn assert_silent(&self) {
        use std::io::Read;
        self.0.set_nonblocking(true).expect("a socket");
        let outcome = (&self.0).read(&mut [0; 16]);
        self.0.set_nonblocking(false).expect("a socket");
        assert_eq!(outcome.expect_err("nothing was to come").kind(), io::ErrorKind::WouldBlock);
    }
}

/// A callback of a [`Watcher`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Datagram(Peer, Vec<u8>),
    Drained,
    TooLong(Peer, usize),
    /// Receiving failed for this reason.
    Receive(io::ErrorKind),
    /// A datagram of that length was refused, for this reason.
    Send(Peer, usize, Option<i32>),
    Tick(TimerId),
    Draining,
}

type Script = Box<dyn FnMut(&mut Io<'_>, SocketId, &Heard) -> Result<(), BoxError> + Send>;

/// Tells of every callback of its datagram sockets, after it has done what its
/// script says.
pub(crate) struct Watcher {
    tell: Sender<Heard>,
    script: Script,
    /// Datagrams that begin like this are refused by `verify`.
    pub(crate) refuses: Option<&'static [u8]>,
    last: Option<SocketId>,
}

impl Watcher {
    pub(crate) fn new(
        script: impl FnMut(&mut Io<'_>, SocketId, &Heard) -> Result<(), BoxError> + Send + 'static,
    ) -> (Self, Receiver<Heard>) {
        let (tell, told) = mpsc::channel();
        (Self { tell, script: Box::new(script), refuses: None, last: None }, told)
    }

    /// Sends every datagram back.
    pub(crate) fn echo() -> (Self, Receiver<Heard>) {
        Self::new(|io, on, heard| {
            if let Heard::Datagram(from, data) = heard {
                let _ = io.send_to(on, from, data);
            }
            Ok(())
        })
    }

    fn hear(&mut self, io: &mut Io<'_>, on: SocketId, heard: Heard) -> Result<(), BoxError> {
        self.last = Some(on);
        let outcome = (self.script)(io, on, &heard);
        // The test may have heard enough and be gone.
        let _ = self.tell.send(heard);
        outcome
    }
}

impl DatagramHandler for Watcher {
    fn verify(&mut self, _: SocketId, _: &Peer, data: &[u8]) -> bool {
        !self.refuses.is_some_and(|refused| data.starts_with(refused))
    }

    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        self.hear(io, on, Heard::Datagram(from.clone(), data.to_vec()))
    }

    fn drained(&mut self, io: &mut Io<'_>, on: SocketId) {
        let _ = self.hear(io, on, Heard::Drained);
    }

    fn error(&mut self, io: &mut Io<'_>, on: SocketId, error: &SocketError<'_>) {
        let heard = match error {
            SocketError::TooLong { from, len } => Heard::TooLong((*from).clone(), *len),
            SocketError::Receive(error) => Heard::Receive(error.kind()),
            SocketError::Send { to, len, error } => Heard::Send((*to).clone(), *len, error.raw_os_error()),
            other => panic!("{other} is new"),
        };
        let _ = self.hear(io, on, heard);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let on = self.last.expect("a datagram set the timer");
        let _ = self.hear(io, on, Heard::Tick(timer));
    }

    fn shutting_down(&mut self, _: &mut Io<'_>) {
        let _ = self.tell.send(Heard::Draining);
    }
}

/// The next callback.
#[track_caller]
pub(crate) fn heard(told: &Receiver<Heard>) -> Heard {
    told.recv_timeout(PATIENCE).expect("one more callback")
}

/// A reactor with one service of datagrams, on a thread of its own.
pub(crate) struct DatagramServer<S: DatagramHandler> {
    pub(crate) handle: Handle<S>,
    locals: Vec<Endpoint>,
    pub(crate) sockets: Vec<SocketId>,
    thread: Option<JoinHandle<Stats>>,
}

impl<S: DatagramHandler + Send> DatagramServer<S> {
    /// Serves on a free UDP port.
    pub(crate) fn start(handler: S) -> Self {
        Self::start_with(handler, Limits::default(), &[bind_anywhere()], &BindOptions::default())
    }

    /// Serves on all of these.
    pub(crate) fn start_with(handler: S, limits: Limits, at: &[Endpoint], options: &BindOptions) -> Self {
        let (tell, told) = mpsc::channel();
        let (at, options) = (at.to_vec(), options.clone());
        let serve = move || {
            let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
            let service = reactor.add_datagram(handler, limits).expect("good limits");
            let bind = |at: &Endpoint| reactor.bind_with(&service, at, &options).expect("it is free");
            let sockets: Vec<SocketId> = at.iter().map(bind).collect();
            let locals: Vec<_> =
                sockets.iter().map(|on| reactor.local(*on).expect("it was just made").clone()).collect();
            tell.send((reactor.handle(&service), locals, sockets)).expect("the test waits for it");
            reactor.serve_forever().expect("the loop runs");
            reactor.stats()
        };
        let thread = thread::Builder::new().name("reactor".into()).spawn(serve).expect("a thread");
        let (handle, locals, sockets) = told.recv_timeout(PATIENCE).expect("the server starts");
        Self { handle, locals, sockets, thread: Some(thread) }
    }

    pub(crate) fn at(&self) -> &Endpoint {
        &self.locals[0]
    }

    pub(crate) fn locals(&self) -> &[Endpoint] {
        &self.locals
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> DatagramClient {
        DatagramClient::connect(self.at(), None)
    }

    /// Asks on the reactor's thread, and waits for the answer.
    #[track_caller]
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S, &mut Io<'_>) -> R + Send + 'static,
    ) -> R {
        let (tell, told) = mpsc::channel();
        let ask = move |handler: &mut S, io: &mut Io<'_>| {
            tell.send(question(handler, io)).expect("the test waits for it");
        };
        self.handle.call(ask).expect("the server is there");
        told.recv_timeout(PATIENCE).expect("the loop turns")
    }

    #[track_caller]
    pub(crate) fn stats(&self) -> Stats {
        self.ask(|_, io| io.stats().clone())
    }

    /// Ends the loop in order; returns what it counted.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Stats {
        self.handle.shutdown(PATIENCE);
        self.join()
    }
}

impl<S: DatagramHandler> DatagramServer<S> {
    fn join(&mut self) -> Stats {
        let thread = self.thread.take().expect("it is joined once");
        eventually("the loop ends", || thread.is_finished());
        thread.join().expect("the loop does not panic")
    }
}

impl<S: DatagramHandler> Drop for DatagramServer<S> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.shutdown(Duration::ZERO);
            if !thread::panicking() {
                self.join();
            }
        }
    }
}
