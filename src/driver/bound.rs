//! `Bound`: the addresses of the bound datagram sockets, to find senders that
//! are sockets of this driver.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};

use crate::origin::{Address, Peer};

/// The name of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Udp {
        at: SocketAddr,
        /// True if an IPv6 wildcard does not receive IPv4.
        only_v6: bool,
    },
    Unix {
        /// The path as its peers see it.
        path: PathBuf,
        /// The device and inode of its file.
        file: (u64, u64),
    },
}

/// A UDP socket's address; `only_v6` as in [`Name::Udp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Udp {
    at: SocketAddr,
    only_v6: bool,
}

/// The names of all bound sockets.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// UDP sockets, in the order of their ports.
    udp: Vec<Udp>,
    unix: Vec<(PathBuf, (u64, u64))>,
}

impl Bound {
    pub(super) fn add(&mut self, name: &Name) {
        match name {
            Name::Udp { at, only_v6 } => {
                let place = self.udp.partition_point(|bound| bound.at.port() < at.port());
                self.udp.insert(place, Udp { at: *at, only_v6: *only_v6 });
            }
            Name::Unix { path, file } => self.unix.push((path.clone(), *file)),
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        match name {
            Name::Udp { at, only_v6 } => {
                // Other sockets may share the port and the address.
                if let Some(place) =
                    self.udp.iter().position(|bound| *bound == Udp { at: *at, only_v6: *only_v6 })
                {
                    self.udp.remove(place);
                }
            }
            Name::Unix { path, file } => self.unix.retain(|(bound, inode)| (bound, inode) != (path, file)),
        }
    }

    /// Whether a datagram sent to this peer arrives at a bound socket. Adds to
    /// `asked` the system calls made for that, which only unclear cases need.
    #[inline]
    pub(super) fn has(&self, peer: &Peer, asked: &mut u64) -> bool {
        match &peer.address {
            Address::Inet(address) => {
                let from = self.udp.partition_point(|bound| bound.at.port() < address.port());
                let mut same = self.udp[from..].iter().take_while(|bound| bound.at.port() == address.port());
                same.any(|bound| arrives_at(*bound, *address, peer.asked, asked))
            }
            Address::Unix(path) => !self.unix.is_empty() && self.leads_to_one(path, asked),
            Address::Abstract(_) | Address::Unnamed | Address::Pipe => false,
        }
    }

    /// True if the path is, or was until its removal, that of a socket, or a
    /// link to one.
    fn leads_to_one(&self, path: &Path, asked: &mut u64) -> bool {
        *asked += 1;
        match fs::metadata(path) {
            Ok(found) => {
                let found = (found.dev(), found.ino());
                self.unix.iter().any(|(_, file)| *file == found)
            }
            Err(_) => self.unix.iter().any(|(bound, _)| bound == path),
        }
    }
}

#[cold]
fn arrives_at(bound: Udp, to: SocketAddr, ours: Option<SocketAddr>, asked: &mut u64) -> bool {
    let Udp { at, only_v6 } = bound;
    let ip = to.ip().to_canonical();
    if at.ip().to_canonical() == ip {
        return scope(at) == 0 || scope(to) == 0 || scope(at) == scope(to);
    }
    let fits = at.is_ipv4() == ip.is_ipv4() || ip.is_ipv4() && !only_v6;
    at.ip().is_unspecified()
        && fits
        && (ip.is_loopback() || ours.is_some_and(|ours| ours.ip() == ip) || is_local(to, asked))
}

fn scope(address: SocketAddr) -> u32 {
    if let SocketAddr::V6(address) = address { address.scope_id() } else { 0 }
}

/// True if the address is one of this machine: to reach such an address, the
/// system would send from that address. Sends nothing. (Binding would prove
/// less: with `net.ipv4.ip_nonlocal_bind` any address can be bound.)
fn is_local(address: SocketAddr, asked: &mut u64) -> bool {
    *asked += 4;
    let chosen = || -> std::io::Result<Option<IpAddr>> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.connect(&address.into())?;
        Ok(socket.local_addr()?.as_socket().map(|chosen| chosen.ip().to_canonical()))
    };
    chosen().is_ok_and(|chosen| chosen == Some(address.ip().to_canonical()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn bound(at: &[&str]) -> Bound {
        let mut bound = Bound::default();
        for at in at {
            bound.add(&Name::Udp { at: at.parse().expect("an address"), only_v6: true });
        }
        bound
    }

    #[track_caller]
    fn has(bound: &Bound, peer: &str) -> bool {
        bound.has(&Peer::inet(peer.parse().expect("an address")), &mut 0)
    }

    #[test]
    fn an_address_is_that_of_a_socket_by_its_port_and_by_where_it_leads() {
        let one = bound(&["127.0.0.1:7", "[::1]:9", "192.0.2.1:5"]);
        assert!(has(&one, "127.0.0.1:7") && has(&one, "[::ffff:127.0.0.1]:7") && has(&one, "[::1]:9"));
        assert!(has(&one, "192.0.2.1:5"));
        for other in ["127.0.0.2:7", "127.0.0.1:8", "127.0.0.1:9", "[::1]:7", "192.0.2.2:5"] {
            assert!(!has(&one, other), "{other}");
        }
        let any = bound(&["0.0.0.0:7"]);
        assert!(has(&any, "127.0.0.1:7") && has(&any, "127.3.4.5:7") && has(&any, "[::ffff:127.0.0.1]:7"));
        assert!(!has(&any, "127.0.0.1:8") && !has(&any, "192.0.2.1:7") && !has(&any, "[::1]:7"));
        let mut both = Bound::default();
        both.add(&Name::Udp { at: "[::]:7".parse().expect("an address"), only_v6: false });
        assert!(has(&both, "127.0.0.1:7") && has(&both, "[::1]:7") && !has(&both, "[2001:db8::1]:7"));
        assert!(!has(&bound(&["[::]:7"]), "127.0.0.1:7"));
    }

    #[test]
    fn who_sends_from_the_address_that_was_asked_is_here() {
        let any = bound(&["0.0.0.0:7"]);
        let mut peer = Peer::inet(([192, 0, 2, 1], 7).into());
        peer.asked = Some(([192, 0, 2, 1], 7).into());
        assert!(any.has(&peer, &mut 0));
    }

    #[test]
    fn the_system_is_asked_only_where_the_port_is_the_same() {
        let any = bound(&["0.0.0.0:7"]);
        let mut asked = 0;
        assert!(!any.has(&Peer::inet(([192, 0, 2, 1], 8).into()), &mut asked));
        assert!(any.has(&Peer::inet(([127, 0, 0, 1], 7).into()), &mut asked));
        assert_eq!(asked, 0);
    }

    #[test]
    fn what_shares_an_address_stays_when_another_goes() {
        let mut two = bound(&["127.0.0.1:7", "127.0.0.1:7", "127.0.0.1:6"]);
        let name = Name::Udp { at: ([127, 0, 0, 1], 7).into(), only_v6: true };
        two.remove(&name);
        assert!(has(&two, "127.0.0.1:7"));
        two.remove(&name);
        assert!(!has(&two, "127.0.0.1:7") && has(&two, "127.0.0.1:6"));
    }

    #[test]
    fn a_link_to_a_socket_is_the_socket() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let _ours = UnixDatagram::bind(at("ours")).expect("a free path");
        let _theirs = UnixDatagram::bind(at("theirs")).expect("a free path");
        let found = fs::metadata(at("ours")).expect("it was just made");
        let name = Name::Unix { path: at("ours"), file: (found.dev(), found.ino()) };
        std::os::unix::fs::symlink(at("ours"), at("link")).expect("a free path");
        std::os::unix::fs::symlink(at("link"), at("link to it")).expect("a free path");
        fs::hard_link(at("ours"), at("hard")).expect("a free path");
        let mut bound = Bound::default();
        let has = |bound: &Bound, name| bound.has(&Peer::unix(Some(at(name)), None), &mut 0);
        assert!(!has(&bound, "ours"));
        bound.add(&name);
        for ours in ["ours", "link", "link to it", "hard"] {
            assert!(has(&bound, ours), "{ours}");
        }
        assert!(!has(&bound, "theirs") && !has(&bound, "nothing"));
        // Its file is gone, and then somebody else's.
        fs::remove_file(at("ours")).expect("it is there");
        assert!(has(&bound, "ours") && has(&bound, "hard") && !has(&bound, "link"));
        let _other = UnixDatagram::bind(at("ours")).expect("a free path");
        assert!(!has(&bound, "ours"));
        bound.remove(&name);
        assert!(!has(&bound, "hard"));
    }
}
