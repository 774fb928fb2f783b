//! `MioSocket`: a datagram socket of the operating system, bound with its
//! options, sending and receiving.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mio::{Interest, Registry};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, RecvMsg, ReturnFlags, SendFlags, SocketAddrAny,
    SocketAddrUnix,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::bound::Name;
use super::options::{BindOptions, Multicast, set_buffers};
use super::pktinfo::PacketInfo;
use super::source::Source;
use super::unix;
use super::unix_path::{self, OwnedPath};
use crate::endpoint::Endpoint;
use crate::origin::{Address, Peer};

/// A datagram socket of [`MioDriver`](super::MioDriver).
#[derive(Debug)]
pub struct MioSocket {
    socket: Source,
    is_unix: bool,
    name: Name,
    /// Set for UDP on an unspecified address.
    info: Option<Box<PacketInfo>>,
    /// The one directory whose sockets it may send to, and its path.
    sends_in: Option<(OwnedFd, PathBuf)>,
    #[allow(dead_code, reason = "removes the file when dropped")]
    path: Option<OwnedPath>,
}

impl AsFd for MioSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// MSG_TRUNC makes recvmsg(2) return the full length of a datagram that is cut
/// off.
#[cfg(any(target_os = "linux", target_os = "android"))]
const RECEIVE: RecvFlags = RecvFlags::TRUNC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// MSG_NOSIGNAL suppresses SIGPIPE for one call, where the system has it.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

impl MioSocket {
    /// Binds a socket, and returns it with its actual endpoint.
    pub(super) fn bind(at: &Endpoint, options: &BindOptions) -> io::Result<(Self, Endpoint)> {
        match at {
            Endpoint::Udp(address) => Self::bind_udp(*address, options),
            Endpoint::UnixDatagram(path) => Self::bind_unix(path, options),
            Endpoint::Tcp(_) | Endpoint::Unix(_) => {
                let message = "the endpoint is for streams; listen on it, or bind udp:// or unixgram:";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    fn bind_udp(at: SocketAddr, options: &BindOptions) -> io::Result<(Self, Endpoint)> {
        let socket = prepare(Domain::for_address(at), options)?;
        socket.set_reuse_address(options.reuse_address)?;
        #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
        socket.set_reuse_port(options.reuse_port)?;
        socket.set_broadcast(options.broadcast)?;
        match at.ip() {
            IpAddr::V4(_) => set_up_v4(&socket, options)?,
            IpAddr::V6(_) => set_up_v6(&socket, options)?,
        }
        let mut info = PacketInfo::of(&socket, at, options.only_v6)?;
        socket.bind(&at.into())?;
        let local = socket.local_addr()?.as_socket().unwrap_or(at);
        if let Some(info) = &mut info {
            info.set_port(local.port());
        }
        // Joining follows binding, so that no datagram for another port
        // arrives.
        for group in &options.multicast {
            match group {
                Multicast::V4 { group, interface } => socket.join_multicast_v4(group, interface)?,
                Multicast::V6 { group, interface } => socket.join_multicast_v6(group, *interface)?,
            }
        }
        let socket = Self {
            socket: Source::new(socket.into()),
            is_unix: false,
            name: Name::Udp { at: local, only_v6: options.only_v6 },
            info,
            sends_in: None,
            path: None,
        };
        Ok((socket, Endpoint::Udp(local)))
    }

    fn bind_unix(path: &Path, options: &BindOptions) -> io::Result<(Self, Endpoint)> {
        let sends_in = options.send_in.as_deref().map(directory).transpose()?;
        unix_path::make_free(path)?;
        let socket = prepare(Domain::UNIX, options)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let owned = OwnedPath::of(path)?;
        if let Some(mode) = options.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        let socket = Self {
            socket: Source::new(socket.into()),
            is_unix: true,
            name: Name::Unix { path: path.to_owned(), file: owned.file() },
            info: None,
            sends_in,
            path: Some(owned),
        };
        Ok((socket, Endpoint::UnixDatagram(path.to_owned())))
    }

    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        self.socket.register(registry, token, Interest::READABLE.add(Interest::WRITABLE))
    }

    /// Receives one datagram and returns its length, which exceeds that of
    /// `into` if the datagram was cut off.
    #[inline]
    pub(super) fn receive(&mut self, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        let room = into.len();
        if let Some(info) = &mut self.info {
            let received = self.socket.input(|socket| info.receive(socket, into, from))?;
            let len = received.len;
            return Ok(if received.is_cut_off { len.max(room + 1) } else { len });
        }
        let pieces = &mut [io::IoSliceMut::new(into)];
        // The system closes descriptors that a peer passes.
        let message = self.socket.input(|socket| {
            Ok(rustix::net::recvmsg(socket, pieces, &mut RecvAncillaryBuffer::default(), RECEIVE)?)
        })?;
        assign(from, self.is_unix, &message);
        let cut_off = message.flags.contains(ReturnFlags::TRUNC);
        Ok(if cut_off { message.bytes.max(room + 1) } else { message.bytes })
    }

    /// Sends one datagram, whole.
    #[inline]
    pub(super) fn send_to(&mut self, to: &Peer, data: &[u8]) -> io::Result<()> {
        let info = self.info.as_deref_mut();
        if let Some((directory, path)) = &self.sends_in {
            let there = only_in(directory, path, &to.address)?;
            return self.socket.output(|socket| send_unix(socket, data, &of_descriptor(&there)?));
        }
        self.socket.output(|socket| match &to.address {
            Address::Inet(address) => match (info, to.asked) {
                (Some(info), Some(ours)) if info.sends_from(&ours) => {
                    info.send(socket, *address, &ours, data)
                }
                _ => send(socket, data, address),
            },
            Address::Unix(path) => send_unix(socket, data, &SocketAddrUnix::new(path)?),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Address::Abstract(name) => send_unix(socket, data, &SocketAddrUnix::new_abstract_name(name)?),
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Address::Abstract(_) => Err(Errno::AFNOSUPPORT.into()),
            Address::Unnamed | Address::Pipe => Err(Errno::DESTADDRREQ.into()),
        })
    }
}

/// Opens a directory, and returns it with its path.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn directory(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((rustix::fs::open(path, flags, Mode::empty())?, path.to_owned()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn directory(_: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "BindOptions::send_in is set, which Linux alone has; leave it None",
    ))
}

/// A descriptor of a socket that lies in this directory itself. Links are not
/// followed. The descriptor names the same socket whatever happens to its path.
fn only_in(directory: &OwnedFd, path: &Path, to: &Address) -> io::Result<OwnedFd> {
    use rustix::fs::{FileType, Mode, OFlags};
    let Address::Unix(to) = to else { return Err(Errno::ACCESS.into()) };
    let name = to.file_name().filter(|_| to.parent() == Some(path)).ok_or(Errno::ACCESS)?;
    // O_PATH neither follows a link nor opens the socket (open(2)).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let is_socket = FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) == FileType::Socket;
    if is_socket { Ok(there) } else { Err(Errno::ACCESS.into()) }
}

/// The address of the socket that a descriptor names (proc(5)).
fn of_descriptor(there: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}", there.as_raw_fd()))?)
}

#[inline]
fn send(socket: &OwnedFd, data: &[u8], to: &impl rustix::net::addr::SocketAddrArg) -> io::Result<()> {
    rustix::net::sendto(socket, data, SEND, to)?;
    Ok(())
}

/// Sends to a Unix socket, and tells two kinds of EAGAIN apart. If our own
/// buffer is full, an edge follows when it has room. If the *receiver's* queue
/// is full, no edge ever follows, for a socket that is not connected to the
/// receiver is writable all the time, and waiting would hang. That datagram is
/// refused, with the receiver's lack of room as its error.
fn send_unix(socket: &OwnedFd, data: &[u8], to: &SocketAddrUnix) -> io::Result<()> {
    match send(socket, data, to) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_room(socket) => {}
        outcome => return outcome,
    }
    // The buffer may have got room after the first attempt.
    match send(socket, data, to) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_room(socket) => {
            Err(Errno::NOBUFS.into())
        }
        outcome => outcome,
    }
}

/// True if the system reports room in the socket's own buffer.
#[cold]
fn has_room(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

/// Makes a socket with the options that all kinds share.
fn prepare(domain: Domain, options: &BindOptions) -> io::Result<Socket> {
    let socket = if domain == Domain::UNIX {
        unix::socket(Type::DGRAM)?
    } else {
        Socket::new(domain, Type::DGRAM, None)?
    };
    socket.set_nonblocking(true)?;
    set_buffers(&socket, options.receive_buffer, options.send_buffer)?;
    Ok(socket)
}

fn set_up_v4(socket: &Socket, options: &BindOptions) -> io::Result<()> {
    if let Some(hops) = options.hops {
        socket.set_ttl_v4(hops)?;
    }
    if let Some(hops) = options.multicast_hops {
        socket.set_multicast_ttl_v4(hops)?;
    }
    if let Some(interface) = options.multicast_interface_v4 {
        socket.set_multicast_if_v4(&interface)?;
    }
    socket.set_multicast_loop_v4(options.multicast_loop)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_multicast_all_v4(false)?;
    Ok(())
}

fn set_up_v6(socket: &Socket, options: &BindOptions) -> io::Result<()> {
    socket.set_only_v6(options.only_v6)?;
    if let Some(hops) = options.hops {
        socket.set_unicast_hops_v6(hops)?;
    }
    if let Some(hops) = options.multicast_hops {
        socket.set_multicast_hops_v6(hops)?;
    }
    if let Some(interface) = options.multicast_interface_v6 {
        socket.set_multicast_if_v6(interface)?;
    }
    socket.set_multicast_loop_v6(options.multicast_loop)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_multicast_all_v6(false)?;
    Ok(())
}

/// Stores the sender in `from`, reusing its buffer.
#[inline]
fn assign(from: &mut Peer, is_unix: bool, message: &RecvMsg) {
    let address: Option<&SocketAddrAny> = message.address.as_ref();
    if !is_unix {
        if let Some(address) = address.and_then(|address| SocketAddr::try_from(address.clone()).ok()) {
            *from = Peer::inet(address);
        }
        return;
    }
    let address = address
        .filter(|address| address.address_family() == AddressFamily::UNIX)
        .and_then(|address| SocketAddrUnix::try_from(address.clone()).ok());
    if let Some(path) = address.as_ref().and_then(SocketAddrUnix::path_bytes) {
        return from.assign_path(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = address.as_ref().and_then(SocketAddrUnix::abstract_name) {
        return from.assign_abstract(name);
    }
    *from = Peer::unix(None, None);
}
