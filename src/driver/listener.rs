//! `MioListener`: a listening socket of the operating system, made with its
//! options, accepting connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mio::{Interest, Registry};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::options::set_buffers;
use super::stream::{MioStream, keep_alive};
use super::unix_path::{self, OwnedPath};
use super::{ListenOptions, unix};
use crate::endpoint::Endpoint;
use crate::origin::Peer;

/// A listening socket of [`MioDriver`](super::MioDriver).
#[derive(Debug)]
pub struct MioListener(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(mio::net::TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
struct UnixListener {
    /// Its file, if the driver made it. Dropped before the socket, while its
    /// inode cannot be reused.
    #[allow(dead_code, reason = "removes it when dropped")]
    path: Option<OwnedPath>,
    socket: mio::net::UnixListener,
    /// The send buffer of each connection: Unix sockets do not inherit it.
    send_buffer: Option<usize>,
}

impl MioListener {
    /// Listens, and returns the listener with its actual endpoint.
    pub(super) fn listen(at: &Endpoint, options: &ListenOptions) -> io::Result<(Self, Endpoint)> {
        match at {
            Endpoint::Tcp(address) => Self::listen_tcp(*address, options),
            Endpoint::Unix(path) => Self::listen_unix(path, options),
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = "the endpoint is for datagrams; bind it, or listen on tcp:// or unix:";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    fn listen_tcp(at: SocketAddr, options: &ListenOptions) -> io::Result<(Self, Endpoint)> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(options.reuse_address)?;
        #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
        socket.set_reuse_port(options.reuse_port)?;
        if at.is_ipv6() {
            socket.set_only_v6(options.only_v6)?;
        }
        // Linux and the BSDs let accepted sockets inherit these options, so
        // that an accepted socket costs no further call
        // (tests/it/listeners.rs).
        socket.set_tcp_nodelay(options.no_delay)?;
        if let Some(keep_alive) = &options.keep_alive {
            socket.set_tcp_keepalive(&self::keep_alive(keep_alive))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if options.user_timeout.is_some() {
            socket.set_tcp_user_timeout(options.user_timeout)?;
        }
        // Set before listen(2), which settles the window that a receive buffer
        // allows (tcp(7)); inherited in the same way.
        set_buffers(&socket, options.receive_buffer, options.send_buffer)?;
        socket.bind(&at.into())?;
        socket.listen(backlog(options))?;
        let listener = mio::net::TcpListener::from_std(socket.into());
        let local = listener.local_addr()?;
        Ok((Self(Listening::Tcp(listener)), Endpoint::Tcp(local)))
    }

    fn listen_unix(path: &Path, options: &ListenOptions) -> io::Result<(Self, Endpoint)> {
        unix_path::make_free(path)?;
        // Accepted sockets inherit that it takes no descriptors.
        let socket = unix::socket(Type::STREAM)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let owned = OwnedPath::of(path)?;
        // Set before listen(2), so that no client connects under the wider
        // permissions.
        if let Some(mode) = options.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        socket.listen(backlog(options))?;
        let socket = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
        let listener = UnixListener { path: Some(owned), socket, send_buffer: options.send_buffer };
        Ok((Self(Listening::Unix(listener)), Endpoint::Unix(path.to_owned())))
    }

    /// See [`MioDriver::adopt_listener`](super::MioDriver::adopt_listener).
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<(Self, Endpoint)> {
        let socket = Socket::from(socket);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is no stream socket that listens; adopt takes a connected one",
            ));
        }
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        if let Some(address) = local.as_socket() {
            let listener = mio::net::TcpListener::from_std(socket.into());
            Ok((Self(Listening::Tcp(listener)), Endpoint::Tcp(address)))
        } else if local.is_unix() {
            unix::refuse_descriptors(&socket);
            // A socket without a path is in no file system; its endpoint has an
            // empty path.
            let path = local.as_pathname().map(Path::to_owned).unwrap_or_default();
            let socket = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
            let listener = UnixListener { path: None, socket, send_buffer: None };
            Ok((Self(Listening::Unix(listener)), Endpoint::Unix(path)))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is of neither TCP nor Unix; give one of these",
            ))
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        match &mut self.0 {
            Listening::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Listening::Unix(listener) => registry.register(&mut listener.socket, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(MioStream, Peer)> {
        match &self.0 {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((MioStream::tcp(stream), Peer::inet(address)))
            }
            Listening::Unix(listener) => {
                let (stream, address) = listener.socket.accept()?;
                if listener.send_buffer.is_some() {
                    // A failure is not worth the connection.
                    let _ = set_buffers(&SockRef::from(&stream), None, listener.send_buffer);
                }
                let peer = Peer::unix(address.as_pathname().map(Path::to_owned), unix::credentials(&stream));
                Ok((MioStream::unix(stream), peer))
            }
        }
    }
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}
