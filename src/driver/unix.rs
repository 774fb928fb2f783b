//! Unix sockets as they are used here: without descriptors that peers pass
//! along, and with the credentials of who is at the other end.

use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use crate::origin::Credentials;

/// A Unix socket that does not block, and that takes no descriptors.
pub(super) fn socket(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    refuse_descriptors(&socket);
    Ok(socket)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod option {
    // What the macro expands to calls setsockopt(2); that is nix's code, made
    // for options that it does not know, and its value is one `int`, as
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

/// Has the system refuse, to whoever tries, to pass descriptors to this socket
/// (`SO_PASSRIGHTS`, Linux 6.16): the peer's sendmsg(2) fails with EPERM. What
/// a listener accepts is as the listener is.
///
/// Nobody here asks for descriptors, and the system closes those that come.
/// But it does so in our thread, when their message is read, and the last
/// close of a socket with a linger time waits for that time (`SO_LINGER`,
/// socket(7)), whatever we do: the whole loop would stand still.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn refuse_descriptors(socket: &impl AsFd) {
    // An older system does not know the option (ENOPROTOOPT).
    let _ = nix::sys::socket::setsockopt(socket, option::PassRights, &false);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn refuse_descriptors(_: &impl AsFd) {}

/// Who was at the other end when the connection came about.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn credentials(socket: &impl AsFd) -> Option<Credentials> {
    // Not by rustix, whose process ids are never 0: this one may be.
    let found = nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(from_system(found.pid(), found.uid(), found.gid()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn credentials(_: &impl AsFd) -> Option<Credentials> {
    None
}

/// A process that our PID namespace has no number for is 0 to the system
/// (pid_namespaces(7)); its user and group are told all the same.
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
