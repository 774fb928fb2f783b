//! Unix sockets: made to refuse descriptors that peers pass, and asked for the
//! credentials of their peers.

use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use crate::origin::Credentials;

/// Makes a non-blocking Unix socket that takes no descriptors.
pub(super) fn socket(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    refuse_descriptors(&socket);
    Ok(socket)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod option {
    // The macro expands to a call of setsockopt(2). That is nix's code, made
    // for options that nix does not know, and its value is one `int`, as
    // SO_PASSRIGHTS takes.
    use nix::{libc, setsockopt_impl, sockopt_impl};

    /// asm-generic/socket.h, from Linux 6.16 on; SPARC has numbers of its own.
    const SO_PASSRIGHTS: libc::c_int =
        if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 0x5c } else { 83 };

    sockopt_impl!(
        /// Whether a Unix socket takes descriptors.
        PassRights,
        SetOnly,
        libc::SOL_SOCKET,
        SO_PASSRIGHTS,
        bool
    );
}

/// Makes the system refuse descriptors that a peer passes to this socket
/// (`SO_PASSRIGHTS`, Linux 6.16): the peer's sendmsg(2) fails with EPERM.
/// Accepted sockets inherit the option from their listener.
///
/// The reactor asks for no descriptors, and the system closes those that
/// arrive. It closes them in this thread, when their message is read, and the
/// last close of a socket with a linger time blocks for that time (`SO_LINGER`,
/// socket(7)): a peer could stop the whole loop.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn refuse_descriptors(socket: &impl AsFd) {
    // An older kernel does not know the option (ENOPROTOOPT).
    let _ = nix::sys::socket::setsockopt(socket, option::PassRights, &false);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn refuse_descriptors(_: &impl AsFd) {}

/// The credentials of the peer at the time of its connect(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn credentials(socket: &impl AsFd) -> Option<Credentials> {
    // rustix cannot represent the process id 0, which the system may return.
    let found = nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(from_system(found.pid(), found.uid(), found.gid()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn credentials(_: &impl AsFd) -> Option<Credentials> {
    None
}

/// Converts the system's credentials. The system returns 0 for a process
/// without an id in our PID namespace (pid_namespaces(7)), with its user and
/// group all the same.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn from_system(pid: i32, uid: u32, gid: u32) -> Credentials {
    Credentials { pid: u32::try_from(pid).ok().filter(|pid| *pid != 0), uid, gid }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_peer_without_a_number_here_has_a_user_and_a_group() {
        assert_eq!(from_system(0, 1000, 100), Credentials { pid: None, uid: 1000, gid: 100 });
        assert_eq!(from_system(7, 0, 0), Credentials { pid: Some(7), uid: 0, gid: 0 });
    }
}
