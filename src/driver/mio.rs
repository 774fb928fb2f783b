//! The operating system itself, through mio: the only file that names its
//! `Poll`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::child::MioChild;
use super::datagram::MioSocket;
use super::unix_path::{self, OwnedPath};
use super::{BindOptions, Closing, Driver, Event, KeepAlive, ListenOptions, Moment, Spawned, Token};
use crate::endpoint::Endpoint;
use crate::link::{Credentials, Peer, Side};
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a token is 64 bits wide, and so must be mio's, which is a usize");

/// mio's token of the waker; no socket has it, as their tokens are not 0.
const WAKER: mio::Token = mio::Token(0);

/// With urgent data where the system tells of it, for a read stops there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The operating system, through mio: epoll on Linux and Android, kqueue on
/// the BSDs and macOS.
pub struct MioDriver {
    poll: Poll,
    events: Events,
    calls: SystemCalls,
    epoch: Instant,
    epoch_nanos: u64,
}

/// A listening socket of [`MioDriver`].
#[derive(Debug)]
pub struct MioListener(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(mio::net::TcpListener),
    /// With its file, if that is ours to remove: first, while nobody else can
    /// be given the same inode.
    Unix(#[allow(dead_code, reason = "removes it when dropped")] Option<OwnedPath>, mio::net::UnixListener),
}

/// A connected socket of [`MioDriver`]: its file descriptor, and of which kind
/// it is.
#[derive(Debug)]
pub struct MioStream {
    socket: OwnedFd,
    kind: Kind,
}

/// What a stream is, as far as its calls differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    /// Its peer may pass descriptors along with bytes (unix(7)).
    Unix,
    /// A pipe or a terminal, to read.
    Source,
    /// A pipe or a terminal, to write.
    Sink,
    /// A file, which is always ready, and which epoll does not take (EPERM,
    /// epoll_ctl(2)).
    File,
}

impl MioStream {
    fn tcp(socket: impl Into<OwnedFd>) -> Self {
        Self { socket: socket.into(), kind: Kind::Tcp }
    }

    fn unix(socket: impl Into<OwnedFd>) -> Self {
        Self { socket: socket.into(), kind: Kind::Unix }
    }
}

impl AsFd for MioStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for MioDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioDriver")
            .field("poll", &self.poll)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

impl AsFd for MioDriver {
    /// The descriptor of epoll or kqueue: readable while there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl MioDriver {
    /// A driver that takes up to `events_per_wait` events at once.
    ///
    /// # Errors
    ///
    /// What the system says, if it has no descriptor for the poll.
    pub fn new(events_per_wait: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(events_per_wait),
            calls: SystemCalls::default(),
            epoch: Instant::now(),
            epoch_nanos: monotonic(),
        })
    }

    /// Takes over a connected stream socket that the program made. It becomes
    /// non-blocking, which whoever shares its open file description sees.
    ///
    /// # Errors
    ///
    /// What the system says: `ENOTSOCK` if it is no socket, `ENOTCONN` if it
    /// is not connected. `InvalidInput` if it is no stream.
    pub fn adopt(&mut self, socket: impl Into<OwnedFd>) -> io::Result<(MioStream, Peer)> {
        let socket = Socket::from(socket.into());
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket"));
        }
        let address = socket.peer_addr()?;
        socket.set_nonblocking(true)?;
        Ok(match address.as_socket() {
            Some(address) => (MioStream::tcp(socket), Peer::inet(address)),
            None => {
                let stream = MioStream::unix(socket);
                let path = address.as_pathname().map(Path::to_owned);
                let peer = Peer::unix(path, credentials(&stream));
                (stream, peer)
            }
        })
    }

    /// Takes over one direction of whatever it is: a pipe, a terminal, a socket
    /// or a file. See [`Reactor::adopt_input`](crate::Reactor::adopt_input).
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidInput` if it is a directory.
    pub fn adopt_one_way(&mut self, descriptor: OwnedFd, side: Side) -> io::Result<MioStream> {
        use rustix::fs::FileType;
        let status = rustix::fs::fstat(&descriptor)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a directory")),
            FileType::RegularFile | FileType::BlockDevice => {
                Ok(MioStream { socket: descriptor, kind: Kind::File })
            }
            FileType::Socket => {
                let socket = Socket::from(descriptor);
                socket.set_nonblocking(true)?;
                let is_unix = socket.local_addr()?.is_unix();
                Ok(if is_unix { MioStream::unix(socket) } else { MioStream::tcp(socket) })
            }
            _ => {
                let kind = if side == Side::Output { Kind::Sink } else { Kind::Source };
                let socket = match reopen(&descriptor, side) {
                    Ok(own) => own,
                    Err(_) => {
                        rustix::io::ioctl_fionbio(&descriptor, true)?;
                        descriptor
                    }
                };
                Ok(MioStream { socket, kind })
            }
        }
    }

    /// Takes over a listening stream socket that somebody else made, and
    /// reports its events under `token`. It becomes non-blocking. A file in
    /// the file system stays when it closes: it was not made here.
    ///
    /// # Errors
    ///
    /// What the system says: `ENOTSOCK` if it is no socket. `InvalidInput` if
    /// it does not listen, or not for TCP or Unix streams.
    pub fn adopt_listener(
        &mut self,
        socket: impl Into<OwnedFd>,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        let socket = Socket::from(socket.into());
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket that listens"));
        }
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let registry = self.poll.registry();
        self.calls.register += 1;
        if let Some(address) = local.as_socket() {
            let mut listener = mio::net::TcpListener::from_std(socket.into());
            registry.register(&mut listener, mio_token(token), Interest::READABLE)?;
            Ok((MioListener(Listening::Tcp(listener)), Endpoint::Tcp(address)))
        } else if local.is_unix() {
            // One without a path is in no file system and shown as empty.
            let path = local.as_pathname().map(Path::to_owned).unwrap_or_default();
            let mut listener = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
            registry.register(&mut listener, mio_token(token), Interest::READABLE)?;
            Ok((MioListener(Listening::Unix(None, listener)), Endpoint::Unix(path)))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is for neither TCP nor Unix sockets"))
        }
    }

    fn listen_tcp(
        &self,
        at: SocketAddr,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(options.reuse_address)?;
        #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
        socket.set_reuse_port(options.reuse_port)?;
        if at.is_ipv6() {
            socket.set_only_v6(options.only_v6)?;
        }
        // Linux and the BSDs hand these on to what is accepted, so that an
        // accepted socket costs no further call (tests/listeners.rs).
        socket.set_tcp_nodelay(options.no_delay)?;
        if let Some(keep_alive) = &options.keep_alive {
            socket.set_tcp_keepalive(&self::keep_alive(keep_alive))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if options.user_timeout.is_some() {
            socket.set_tcp_user_timeout(options.user_timeout)?;
        }
        socket.bind(&at.into())?;
        socket.listen(backlog(options))?;
        let mut listener = mio::net::TcpListener::from_std(socket.into());
        self.poll.registry().register(&mut listener, mio_token(token), Interest::READABLE)?;
        let local = listener.local_addr()?;
        Ok((MioListener(Listening::Tcp(listener)), Endpoint::Tcp(local)))
    }

    fn listen_unix(
        &self,
        path: &Path,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        unix_path::make_free(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let owned = OwnedPath::of(path)?;
        // Before listen, so that nobody connects under the wider permissions.
        if let Some(mode) = options.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        socket.listen(backlog(options))?;
        let mut listener = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
        self.poll.registry().register(&mut listener, mio_token(token), Interest::READABLE)?;
        Ok((MioListener(Listening::Unix(Some(owned), listener)), Endpoint::Unix(path.to_owned())))
    }
}

impl Driver for MioDriver {
    type Listener = MioListener;
    type Stream = MioStream;
    type Socket = MioSocket;
    type Child = MioChild;

    const SHORT_MEANS_BLOCKED: bool =
        cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"));

    fn epoch(&self) -> Instant {
        self.epoch
    }

    #[inline]
    fn now(&self) -> Moment {
        // The clock never goes backwards, so this never wraps.
        Moment::from_nanos(monotonic().wrapping_sub(self.epoch_nanos))
    }

    fn waker(&mut self) -> io::Result<Waker> {
        let waker = mio::Waker::new(self.poll.registry(), WAKER)?;
        self.calls.register += 1;
        Ok(Arc::new(PollWaker(waker)).into())
    }

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        self.calls.wait += 1;
        self.poll.poll(&mut self.events, timeout)?;
        let mut reported = 0;
        for event in &self.events {
            if event.token() != WAKER {
                reported += 1;
                report(Event {
                    token: Token::from_bits(event.token().0 as u64),
                    readable: event.is_readable(),
                    // A full pipe that nobody will read is told of as an
                    // error alone.
                    writable: event.is_writable() || event.is_write_closed(),
                    hangup: event.is_read_closed() || event.is_error() || event.is_priority(),
                });
            }
        }
        Ok(reported)
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        let listening = match at {
            Endpoint::Tcp(address) => self.listen_tcp(*address, options, token)?,
            Endpoint::Unix(path) => self.listen_unix(path, options, token)?,
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = "this endpoint is for datagrams: bind it, or listen on tcp:// or unix:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        self.calls.register += 1;
        Ok(listening)
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(MioStream, Peer)> {
        self.calls.accept += 1;
        match &listener.0 {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((MioStream::tcp(stream), Peer::inet(address)))
            }
            Listening::Unix(_, listener) => {
                let (stream, address) = listener.accept()?;
                let stream = MioStream::unix(stream);
                let peer = Peer::unix(address.as_pathname().map(Path::to_owned), credentials(&stream));
                Ok((stream, peer))
            }
        }
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<MioStream> {
        self.calls.connect += 1;
        match to {
            Endpoint::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_keepalive(&keep_alive(&KeepAlive::default()))?;
                begin(socket.connect(&(*address).into()))?;
                Ok(MioStream::tcp(socket))
            }
            Endpoint::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                // EAGAIN, a full backlog, is final here: no event would come
                // of it (unix(7)).
                begin(socket.connect(&SockAddr::unix(path)?))?;
                Ok(MioStream::unix(socket))
            }
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = "a stream connects to tcp:// or unix:";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    fn connected(&mut self, stream: &mut MioStream) -> io::Result<Option<Peer>> {
        self.calls.connect += 1;
        let socket = SockRef::from(&stream.socket);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        let address = match socket.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(None),
            address => address?,
        };
        let Some(address) = address.as_socket() else {
            let path = address.as_pathname().map(Path::to_owned);
            return Ok(Some(Peer::unix(path, credentials(stream))));
        };
        // With nobody listening, the system may choose for us the very port
        // that we connect to, and TCP lets a socket connect to itself.
        if socket.local_addr()?.as_socket() == Some(address) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Some(Peer::inet(address)))
    }

    fn close_listener(&mut self, listener: MioListener) {
        self.calls.close += 1;
        drop(listener);
    }

    fn register(&mut self, stream: &mut MioStream, token: Token) -> io::Result<()> {
        self.calls.register += 1;
        let interest = match stream.kind {
            Kind::Tcp | Kind::Unix => BOTH,
            Kind::Source => Interest::READABLE,
            Kind::Sink => Interest::WRITABLE,
            Kind::File => return Ok(()),
        };
        let mut source = SourceFd(&stream.socket.as_raw_fd());
        match self.poll.registry().register(&mut source, mio_token(token), interest) {
            // `/dev/null` and its like.
            Err(error) if interest != BOTH && error.kind() == io::ErrorKind::PermissionDenied => {
                stream.kind = Kind::File;
                Ok(())
            }
            outcome => outcome,
        }
    }

    #[inline(always)]
    fn read(&mut self, stream: &mut MioStream, into: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        if stream.kind == Kind::Tcp {
            // A tenth cheaper than read(2), whose way leads through the layer
            // of files.
            let (count, _) = rustix::net::recv(&stream.socket, into, rustix::net::RecvFlags::empty())?;
            Ok(count)
        } else {
            read_other(stream, into)
        }
    }

    #[inline(always)]
    fn write(&mut self, stream: &mut MioStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.write += 1;
        match (stream.kind, pieces) {
            (Kind::Tcp | Kind::Unix, [piece]) => send(&stream.socket, piece),
            _ => write_pieces(stream, pieces),
        }
    }

    fn is_hung_up(&mut self, stream: &mut MioStream) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        self.calls.read += 1;
        let look = &mut [PollFd::new(&stream.socket, PollFlags::empty())];
        poll(look, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let found = look[0].revents();
        if found.contains(PollFlags::ERR) {
            // What is no socket has no error of its own to tell.
            let told = SockRef::from(&stream.socket).take_error().ok().flatten();
            return Err(told.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        }
        Ok(found.contains(PollFlags::HUP))
    }

    fn shutdown(&mut self, stream: &mut MioStream) -> io::Result<()> {
        self.calls.shutdown += 1;
        Ok(rustix::net::shutdown(&stream.socket, rustix::net::Shutdown::Write)?)
    }

    fn close(&mut self, stream: MioStream, how: Closing) {
        self.calls.close += 1;
        if how == Closing::Reset {
            // socket(7): with a linger time of zero, close sends a reset.
            // A Unix socket has no such thing and does not mind.
            let _ = rustix::net::sockopt::set_socket_linger(&stream.socket, Some(Duration::ZERO));
        }
        drop(stream);
    }

    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(MioSocket, Endpoint)> {
        let (socket, local) = MioSocket::bind(at, options)?;
        let fd = socket.as_fd().as_raw_fd();
        let both = Interest::READABLE.add(Interest::WRITABLE);
        self.poll.registry().register(&mut SourceFd(&fd), mio_token(token), both)?;
        self.calls.register += 1;
        Ok((socket, local))
    }

    #[inline]
    fn receive(&mut self, socket: &mut MioSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.calls.read += 1;
        socket.receive(into, from)
    }

    #[inline]
    fn send_to(&mut self, socket: &mut MioSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.calls.write += 1;
        socket.send_to(to, data)
    }

    fn close_socket(&mut self, socket: MioSocket) {
        self.calls.close += 1;
        drop(socket);
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<MioChild, MioStream>> {
        self.calls.child += 1;
        let (child, pipes) = MioChild::spawn(command)?;
        let has_events = child.exit().is_some_and(|exit| {
            let mut source = SourceFd(&exit.as_raw_fd());
            self.calls.register += 1;
            self.poll.registry().register(&mut source, mio_token(token), Interest::READABLE).is_ok()
        });
        let kinds = [Kind::Sink, Kind::Source, Kind::Source];
        let mut pipes =
            pipes.into_iter().zip(kinds).map(|(pipe, kind)| Some(MioStream { socket: pipe?, kind }));
        let pipes = std::array::from_fn(|_| pipes.next().flatten());
        Ok(Spawned { pid: child.pid(), child, pipes, has_events })
    }

    fn fate(&mut self, child: &mut MioChild) -> io::Result<Fate> {
        self.calls.child += 1;
        child.fate()
    }

    fn unread(&mut self, pipe: &mut MioStream) -> io::Result<usize> {
        self.calls.child += 1;
        Ok(usize::try_from(rustix::io::ioctl_fionread(&pipe.socket)?).unwrap_or(usize::MAX))
    }

    fn signal(&mut self, child: &mut MioChild, signal: Signal) -> io::Result<()> {
        self.calls.child += 1;
        child.signal(signal)
    }

    fn reap(&mut self, mut child: MioChild) -> Option<ExitStatus> {
        self.calls.child += 1;
        child.reap()
    }

    fn max_streams(&self) -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit).ok()
    }

    fn calls(&self) -> SystemCalls {
        self.calls
    }
}

/// Any instant at all, for a driver whose own clock starts from nothing: there
/// is no other way to make one.
#[cfg(feature = "sim")]
pub(super) fn an_instant() -> Instant {
    Instant::now()
}

/// The monotonic clock in nanoseconds. An `Instant` is the same clock, but its
/// arithmetic costs more than reading it.
#[inline]
#[allow(clippy::cast_sign_loss, reason = "the clock begins at zero, at boot")]
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Whatever is no TCP, and so not the path that is hottest.
#[inline(never)]
fn read_other(stream: &MioStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.kind {
        Kind::Unix => read_unix(&stream.socket, into),
        _ => Ok(rustix::io::read(&stream.socket, into)?),
    }
}

/// A read stops behind bytes that came with descriptors, so that those can be
/// told apart; nobody here wants them, and the system closes them. It says
/// that it did, and only then is it asked again, which keeps a short read the
/// last.
fn read_unix(socket: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
    use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};
    let mut count = 0;
    loop {
        let room = &mut [IoSliceMut::new(&mut into[count..])];
        match recvmsg(socket, room, &mut RecvAncillaryBuffer::default(), RecvFlags::empty()) {
            Ok(message) => {
                count += message.bytes;
                let stopped = message.flags.contains(ReturnFlags::CTRUNC) && message.bytes > 0;
                if !stopped || count == into.len() {
                    return Ok(count);
                }
            }
            // WouldBlock; or a broken connection, whose hang-up is announced too.
            Err(_) if count > 0 => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Without SIGPIPE, whatever the program does about that signal.
#[cfg(not(target_vendor = "apple"))]
#[inline(always)]
fn send(socket: &OwnedFd, piece: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, piece, rustix::net::SendFlags::NOSIGNAL)?)
}

/// Sockets there have `SO_NOSIGPIPE` set by mio.
#[cfg(target_vendor = "apple")]
#[inline(always)]
fn send(socket: &OwnedFd, piece: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(socket, piece)?)
}

/// Whatever is not one piece to a socket, and so not the path that is hot.
#[inline(never)]
fn write_pieces(stream: &MioStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    match stream.kind {
        #[cfg(not(target_vendor = "apple"))]
        Kind::Tcp | Kind::Unix => {
            use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
            let none = &mut SendAncillaryBuffer::default();
            Ok(sendmsg(&stream.socket, pieces, none, SendFlags::NOSIGNAL)?)
        }
        #[cfg(target_vendor = "apple")]
        Kind::Tcp | Kind::Unix => Ok(rustix::io::writev(&stream.socket, pieces)?),
        Kind::Source | Kind::Sink => Ok(rustix::io::writev(&stream.socket, pieces)?),
        Kind::File => write_file(&stream.socket, pieces),
    }
}

/// All of it: no event would tell when a file takes the rest.
#[cold]
fn write_file(file: &OwnedFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut written = 0;
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::write(file, rest))?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[count..];
            written += count;
        }
    }
    Ok(written)
}

/// Opens what a descriptor stands for a second time, non-blocking: that is a
/// property of what was opened, which other processes may share (open(2),
/// "Open file descriptions").
#[cfg(any(target_os = "linux", target_os = "android"))]
fn reopen(descriptor: &OwnedFd, side: Side) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let way = if side == Side::Output { OFlags::WRONLY } else { OFlags::RDONLY };
    let flags = way.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reopen(_: &OwnedFd, _: Side) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: &MioStream) -> Option<Credentials> {
    let found = rustix::net::sockopt::socket_peercred(&socket.socket).ok()?;
    Some(Credentials {
        pid: u32::try_from(found.pid.as_raw_nonzero().get()).ok(),
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn credentials(_: &MioStream) -> Option<Credentials> {
    None
}

fn keep_alive(options: &KeepAlive) -> TcpKeepalive {
    TcpKeepalive::new().with_time(options.idle).with_interval(options.interval).with_retries(options.probes)
}

/// That a connection takes its time is no error.
fn begin(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(()),
        outcome => outcome,
    }
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "usize is 64 bits wide, as checked above")]
const fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.to_bits() as usize)
}

/// mio's waker as the standard library's.
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.wake() {
            log::error!("the loop cannot be woken: {error}");
        }
    }
}
