//! `MioStream`: a connected socket, a pipe, a terminal or a file of the
//! operating system, with the calls that suit its kind.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use mio::{Interest, Registry};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::descriptor::{self, Handed};
use super::source::Source;
use super::{Closing, FILE_PIECE, FileError, FileSent, KeepAlive, read_file, unix};
use crate::endpoint::Endpoint;
use crate::origin::{Peer, Side};

/// Both directions, and urgent data where the system reports it, for a read
/// stops there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A connected stream of [`MioDriver`](super::MioDriver): its file descriptor
/// and its kind.
#[derive(Debug)]
pub struct MioStream {
    socket: Source,
    kind: Kind,
}

/// The kind of a stream, as far as its calls differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    /// A Unix socket, whose peer may pass descriptors along with bytes
    /// (unix(7)).
    Unix,
    /// A pipe or a terminal, to read.
    Source,
    /// A pipe or a terminal, to write.
    Sink,
    /// A file, which is always ready, and which epoll does not take (EPERM,
    /// epoll_ctl(2)).
    File,
}

impl AsFd for MioStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl MioStream {
    fn new(socket: OwnedFd, kind: Kind) -> Self {
        Self { socket: Source::new(socket), kind }
    }

    pub(super) fn tcp(socket: impl Into<OwnedFd>) -> Self {
        Self::new(socket.into(), Kind::Tcp)
    }

    pub(super) fn unix(socket: impl Into<OwnedFd>) -> Self {
        Self::new(socket.into(), Kind::Unix)
    }

    /// Makes a stream of a non-blocking pipe or terminal.
    pub(super) fn pipe(socket: OwnedFd, side: Side) -> Self {
        let kind = if side == Side::Output { Kind::Sink } else { Kind::Source };
        Self::new(socket, kind)
    }

    /// See [`MioDriver::adopt`](super::MioDriver::adopt).
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<(Self, Peer)> {
        let socket = Socket::from(socket);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is no stream socket; adopt_input and adopt_output take pipes, terminals and files",
            ));
        }
        let address = socket.peer_addr()?;
        socket.set_nonblocking(true)?;
        Ok(match address.as_socket() {
            Some(address) => (Self::tcp(socket), Peer::inet(address)),
            None => {
                unix::refuse_descriptors(&socket);
                let path = address.as_pathname().map(Path::to_owned);
                let peer = Peer::unix(path, unix::credentials(&socket));
                (Self::unix(socket), peer)
            }
        })
    }

    /// See [`MioDriver::adopt_one_way`](super::MioDriver::adopt_one_way).
    pub(super) fn adopt_one_way(descriptor: OwnedFd, side: Side) -> io::Result<Self> {
        Ok(match descriptor::take(descriptor, side)? {
            Handed::File(file) => Self::new(file, Kind::File),
            Handed::Pipe(pipe) => Self::pipe(pipe, side),
            Handed::Socket(socket) if socket.local_addr()?.is_unix() => {
                unix::refuse_descriptors(&socket);
                Self::unix(socket)
            }
            Handed::Socket(socket) => Self::tcp(socket),
        })
    }

    /// Begins to connect.
    pub(super) fn connect(to: &Endpoint) -> io::Result<Self> {
        match to {
            Endpoint::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_keepalive(&keep_alive(&KeepAlive::default()))?;
                begin(socket.connect(&(*address).into()))?;
                Ok(Self::tcp(socket))
            }
            Endpoint::Unix(path) => {
                let socket = unix::socket(Type::STREAM)?;
                // EAGAIN means a full backlog, and no event would report its
                // room (connect(2)).
                begin(socket.connect(&SockAddr::unix(path)?))?;
                Ok(Self::unix(socket))
            }
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = format!("{to} is for datagrams; connect to tcp:// or unix:");
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    /// The peer, once the connection is established.
    pub(super) fn connected(&mut self) -> io::Result<Option<Peer>> {
        if let Some(error) = SockRef::from(&self.socket).take_error()? {
            return Err(error);
        }
        let address = self.socket.output(|socket| match SockRef::from(socket).peer_addr() {
            // Another event will follow.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            outcome => outcome,
        });
        let address = match address {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            outcome => outcome?,
        };
        let Some(address) = address.as_socket() else {
            let path = address.as_pathname().map(Path::to_owned);
            return Ok(Some(Peer::unix(path, unix::credentials(self))));
        };
        // Without a listener, the system may choose as our local port the very
        // port that we connect to, and TCP lets a socket connect to itself.
        if SockRef::from(&self.socket).local_addr()?.as_socket() == Some(address) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Some(Peer::inet(address)))
    }

    /// Registers a stream. A file is always ready and is not registered.
    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        let interest = match self.kind {
            Kind::Tcp | Kind::Unix => BOTH,
            Kind::Source => Interest::READABLE,
            Kind::Sink => Interest::WRITABLE,
            Kind::File => return Ok(()),
        };
        match self.socket.register(registry, token, interest) {
            // `/dev/null` and similar devices cannot be polled.
            Err(error) if interest != BOTH && error.kind() == io::ErrorKind::PermissionDenied => {
                self.kind = Kind::File;
                Ok(())
            }
            outcome => outcome,
        }
    }

    #[inline(always)]
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.kind == Kind::Tcp {
            // recv(2) is a tenth cheaper than read(2), which passes through the
            // file layer.
            self.socket.input(|socket| {
                let (count, _) = rustix::net::recv(socket, into, rustix::net::RecvFlags::empty())?;
                Ok(count)
            })
        } else {
            read_other(self, into)
        }
    }

    #[inline(always)]
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self.kind, pieces) {
            (Kind::Tcp | Kind::Unix, [piece]) => self.socket.output(|socket| send(socket, piece)),
            _ => write_pieces(self, pieces),
        }
    }

    /// Sends a part of a file: without a copy where the system can, else through a
    /// buffer.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<FileSent, FileError> {
        match self.kind {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Kind::Tcp | Kind::Unix => match self.sendfile(file, offset, count) {
                Err(error) if is_unfit(&error) => self.copy_file(file, offset, count),
                Err(error) if is_of_the_file(&error) => Err(FileError::File(error)),
                Err(error) => Err(FileError::Stream(error)),
                // Fewer bytes than asked for: the socket is full, or the file
                // ends; the next call tells.
                Ok(written) => Ok(FileSent { written, offered: written }),
            },
            _ => self.copy_file(file, offset, count),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sendfile(&mut self, file: &File, mut offset: u64, count: usize) -> io::Result<usize> {
        self.socket.output(|socket| Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), count)?))
    }

    fn copy_file(&mut self, file: &File, offset: u64, count: usize) -> Result<FileSent, FileError> {
        let mut piece = vec![0; count.min(FILE_PIECE)];
        let offered = read_file(file, offset, &mut piece).map_err(FileError::File)?;
        if offered == 0 {
            return Ok(FileSent { written: 0, offered });
        }
        match self.write(&[IoSlice::new(&piece[..offered])]) {
            Ok(0) => Err(FileError::Stream(io::ErrorKind::WriteZero.into())),
            Ok(written) => Ok(FileSent { written, offered }),
            Err(error) => Err(FileError::Stream(error)),
        }
    }

    /// Whether the peer is gone, without a read.
    pub(super) fn is_hung_up(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let look = &mut [PollFd::new(&self.socket, PollFlags::empty())];
        poll(look, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let found = look[0].revents();
        if found.contains(PollFlags::ERR) {
            // A pipe or a terminal has no pending error.
            let told = SockRef::from(&self.socket).take_error().ok().flatten();
            return Err(told.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        }
        Ok(found.contains(PollFlags::HUP))
    }

    /// The number of unread bytes in a pipe.
    pub(super) fn unread(&self) -> io::Result<usize> {
        Ok(usize::try_from(rustix::io::ioctl_fionread(&self.socket)?).unwrap_or(usize::MAX))
    }

    pub(super) fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write)?)
    }

    pub(super) fn close(self, how: Closing) {
        if how == Closing::Reset {
            // socket(7): with a linger time of zero, close sends a reset. A
            // Unix socket has no reset and ignores the linger time.
            let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        }
        drop(self);
    }
}

/// True for an error that says that sendfile(2) is not for this file, such as one
/// of `/proc` or a pipe.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_unfit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unfit = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::SPIPE];
    error.raw_os_error().is_some_and(|raw| unfit.iter().any(|errno| errno.raw_os_error() == raw))
}

/// True for an error of sendfile(2) that is one of reading the file.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_of_the_file(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_files =
        [Errno::IO, Errno::BADF, Errno::ISDIR, Errno::OVERFLOW, Errno::STALE, Errno::NXIO, Errno::ACCESS];
    error.raw_os_error().is_some_and(|raw| of_files.iter().any(|errno| errno.raw_os_error() == raw))
}

/// Reads from any stream but TCP, outside of the hottest path.
#[inline(never)]
fn read_other(stream: &mut MioStream, into: &mut [u8]) -> io::Result<usize> {
    stream.socket.input(|source| match stream.kind {
        Kind::Unix => read_unix(source, into),
        _ => Ok(rustix::io::read(source, into)?),
    })
}

/// Reads from a Unix socket. A read stops behind bytes that came with
/// descriptors, so that a program can match both; here no code takes
/// descriptors, and the system closes them. It reports that it did
/// (MSG_CTRUNC), and only then does this read again, so that a short read still
/// means an empty socket.
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
            // `WouldBlock`; or a broken connection, whose hang-up an event
            // announces too.
            Err(_) if count > 0 => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends with MSG_NOSIGNAL, independently of how the program handles SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
#[inline(always)]
fn send(socket: &OwnedFd, piece: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, piece, rustix::net::SendFlags::NOSIGNAL)?)
}

/// mio sets `SO_NOSIGPIPE` on sockets here.
#[cfg(target_vendor = "apple")]
#[inline(always)]
fn send(socket: &OwnedFd, piece: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(socket, piece)?)
}

/// Writes several pieces, or to a pipe or a file, outside of the hot path.
#[inline(never)]
fn write_pieces(stream: &mut MioStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.socket.output(|sink| match stream.kind {
        #[cfg(not(target_vendor = "apple"))]
        Kind::Tcp | Kind::Unix => {
            use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
            let none = &mut SendAncillaryBuffer::default();
            Ok(sendmsg(sink, pieces, none, SendFlags::NOSIGNAL)?)
        }
        #[cfg(target_vendor = "apple")]
        Kind::Tcp | Kind::Unix => Ok(rustix::io::writev(sink, pieces)?),
        Kind::Source | Kind::Sink => Ok(rustix::io::writev(sink, pieces)?),
        Kind::File => write_file(sink, pieces),
    })
}

/// Writes all pieces: no event would report when a file takes the rest.
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

pub(super) fn keep_alive(options: &KeepAlive) -> TcpKeepalive {
    TcpKeepalive::new().with_time(options.idle).with_interval(options.interval).with_retries(options.probes)
}

/// Takes EINPROGRESS for success: the connection is under way.
fn begin(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(()),
        outcome => outcome,
    }
}
