//! A client: a blocking socket of either kind, and what one expects of it.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use serve_forever::Endpoint;
use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Socket);

impl Client {
    /// Connects to where a server listens.
    #[track_caller]
    pub(crate) fn connect(to: &Endpoint) -> Self {
        Self::try_connect(to).expect("the server listens there")
    }

    pub(crate) fn try_connect(to: &Endpoint) -> io::Result<Self> {
        Self::prepared(to, |_| Ok(()))
    }

    /// Connects with a receive buffer so small that a server soon has to wait.
    #[track_caller]
    pub(crate) fn connect_small(to: &Endpoint) -> Self {
        Self::prepared(to, |socket| socket.set_recv_buffer_size(4096)).expect("the server listens there")
    }

    fn prepared(to: &Endpoint, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<Self> {
        let (domain, address) = match to {
            Endpoint::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Endpoint::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            other => panic!("{other} is no stream"),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        prepare(&socket)?;
        socket.connect(&address)?;
        if domain != Domain::UNIX {
            // Small pieces are to arrive as they are sent.
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Self::of(socket))
    }

    fn of(socket: Socket) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        Self(socket)
    }

    /// A connected pair: a client, and the socket for a server to adopt.
    pub(crate) fn pair() -> (Self, OwnedFd) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a pair of sockets");
        (Self::of(ours), theirs.into())
    }

    /// The same connection, for another thread.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.try_clone().expect("a descriptor is free"))
    }

    #[track_caller]
    pub(crate) fn send(&self, data: impl AsRef<[u8]>) {
        self.try_send(data).expect("the server reads");
    }

    pub(crate) fn try_send(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        (&self.0).write_all(data.as_ref())
    }

    /// The next bytes are these.
    #[track_caller]
    pub(crate) fn expect(&self, data: impl AsRef<[u8]>) {
        let expected = data.as_ref();
        let got = self.take(expected.len());
        if expected.len() < 1000 {
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
        }
        assert!(got == expected, "{} bytes came, but not the right ones", got.len());
    }

    /// The next `count` bytes, whatever they are.
    #[track_caller]
    pub(crate) fn take(&self, count: usize) -> Vec<u8> {
        let mut got = vec![0; count];
        (&self.0).read_exact(&mut got).expect("the server answers");
        got
    }

    /// Everything up to the server's FIN.
    #[track_caller]
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut got = Vec::new();
        (&self.0).read_to_end(&mut got).expect("the server ends in order");
        got
    }

    /// The server has ended its side, and sent nothing before.
    #[track_caller]
    pub(crate) fn expect_eof(&self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "", "nothing more was to come");
    }

    /// The server has reset the connection. What comes before that is no
    /// matter: a reset does not keep it.
    #[track_caller]
    pub(crate) fn expect_reset(&self) {
        let mut got = Vec::new();
        let error = (&self.0).read_to_end(&mut got).expect_err("a reset, not an end in order");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// The connection is over, whichever way.
    #[track_caller]
    pub(crate) fn assert_closed(&self) {
        let mut got = Vec::new();
        match (&self.0).read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }

    /// Nothing has come yet. Only after something that proves it would have.
    #[track_caller]
    pub(crate) fn assert_silent(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        let outcome = (&self.0).read(&mut [0; 16]);
        self.0.set_nonblocking(false).expect("a socket");
        let error = outcome.expect_err("nothing was to come");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    /// Whether there is something to read, or its end; it is not read.
    pub(crate) fn has_something(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&now)).expect("it is a socket") > 0
    }

    /// One line, with its end.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(self.take(1));
        }
        String::from_utf8(line).expect("UTF-8")
    }

    /// Half-close: our FIN, and still reading.
    #[track_caller]
    pub(crate) fn finish(&self) {
        self.0.shutdown(std::net::Shutdown::Write).expect("it is connected");
    }

    /// Ends with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        self.0.set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    /// Sends as much as fits without the server reading any of it; returns how
    /// much that was.
    pub(crate) fn fill(&self, data: &[u8]) -> usize {
        self.0.set_nonblocking(true).expect("a socket");
        let mut sent = 0;
        while sent < data.len() {
            match (&self.0).write(&data[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("the server takes input: {error}"),
            }
        }
        self.0.set_nonblocking(false).expect("a socket");
        sent
    }
}
