//! `PacketInfo`: the local address that a datagram was sent to, and the one
//! that a reply leaves from, for UDP sockets on an unspecified address.
//!
//! Without it the system chooses the source address of a reply by the route to
//! its receiver; a client that used another address of the same host, and
//! accepts replies from that address alone, never sees the reply. Linux reports
//! the address with each datagram (`IP_PKTINFO`, ip(7); `IPV6_RECVPKTINFO`,
//! ipv6(7)), and takes one with each send (`IP_PKTINFO`, `IPV6_PKTINFO`).

pub(super) use self::system::PacketInfo;

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Its length, which may be more than there was room for.
    pub(super) len: usize,
    pub(super) is_cut_off: bool,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use nix::cmsg_space;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmsg, sendmmsg,
        setsockopt, sockopt,
    };

    use super::Received;
    use crate::origin::Peer;

    /// The buffers of such a socket's calls.
    #[derive(Debug)]
    pub(crate) struct PacketInfo {
        is_v4: bool,
        /// The port that the socket is bound to.
        port: u16,
        /// The buffer for the control message of a received datagram.
        told: Vec<u8>,
        /// The headers of a send: nix's calls for one datagram allocate, those
        /// for many do not.
        said: MultiHeaders<SockaddrStorage>,
    }

    impl PacketInfo {
        /// Switches the control message on, before the socket is bound, so that
        /// every datagram carries it. `None` if the address to bind is a
        /// specified one.
        pub(crate) fn of(
            socket: &impl AsFd,
            local: SocketAddr,
            only_v6: bool,
        ) -> io::Result<Option<Box<Self>>> {
            if !local.ip().is_unspecified() {
                return Ok(None);
            }
            if !local.is_ipv4() {
                setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
            if local.is_ipv4() || !only_v6 {
                // For a broadcast, only this message holds the address that
                // received it.
                setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            }
            Ok(Some(Box::new(Self {
                is_v4: local.is_ipv4(),
                port: local.port(),
                told: cmsg_space!(in_pktinfo, in6_pktinfo),
                said: MultiHeaders::preallocate(
                    1,
                    Some(if local.is_ipv4() { cmsg_space!(in_pktinfo) } else { cmsg_space!(in6_pktinfo) }),
                ),
            })))
        }

        /// Sets the port that the socket is bound to.
        pub(crate) fn set_port(&mut self, port: u16) {
            self.port = port;
        }

        /// Receives one datagram, as [`MioSocket`](super::super::MioSocket)
        /// does: its length, and whether it was cut off.
        pub(crate) fn receive(
            &mut self,
            socket: &OwnedFd,
            into: &mut [u8],
            from: &mut Peer,
        ) -> io::Result<Received> {
            let pieces = &mut [IoSliceMut::new(into)];
            let message = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                pieces,
                Some(&mut self.told),
                MsgFlags::MSG_TRUNC,
            )?;
            let sender = message.address.as_ref();
            let v4 = sender.and_then(|sender| Some((*sender.as_sockaddr_in()?).into()));
            let v6 = || sender.and_then(|sender| Some((*sender.as_sockaddr_in6()?).into()));
            if let Some(sender) = v4.map(SocketAddr::V4).or_else(|| v6().map(SocketAddr::V6)) {
                *from = Peer::inet(sender);
            }
            from.asked = asked(message.cmsgs()?, self.port);
            Ok(Received { len: message.bytes, is_cut_off: message.flags.contains(MsgFlags::MSG_TRUNC) })
        }

        /// True if the socket can send from this address.
        pub(crate) const fn sends_from(&self, ours: &SocketAddr) -> bool {
            !ours.ip().is_multicast() && (ours.is_ipv4() || !self.is_v4)
        }

        /// Sends one datagram from a local address.
        pub(crate) fn send(
            &mut self,
            socket: &OwnedFd,
            to: SocketAddr,
            ours: &SocketAddr,
            data: &[u8],
        ) -> io::Result<()> {
            let (v4, v6);
            let info = match ours {
                SocketAddr::V4(ours) if self.is_v4 => {
                    v4 = in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: in_addr { s_addr: ours.ip().to_bits().to_be() },
                        ipi_addr: in_addr { s_addr: 0 },
                    };
                    ControlMessage::Ipv4PacketInfo(&v4)
                }
                SocketAddr::V4(ours) => {
                    v6 = in6(ours.ip().to_ipv6_mapped(), 0);
                    ControlMessage::Ipv6PacketInfo(&v6)
                }
                SocketAddr::V6(ours) => {
                    v6 = in6(*ours.ip(), ours.scope_id());
                    ControlMessage::Ipv6PacketInfo(&v6)
                }
            };
            let pieces = [[IoSlice::new(data)]];
            let to = [Some(SockaddrStorage::from(to))];
            sendmmsg(socket.as_raw_fd(), &mut self.said, &pieces, to, [info], MsgFlags::MSG_NOSIGNAL)?;
            Ok(())
        }
    }

    fn in6(address: Ipv6Addr, interface: u32) -> in6_pktinfo {
        in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface }
    }

    /// The local address that the sender used.
    fn asked(told: impl Iterator<Item = ControlMessageOwned>, port: u16) -> Option<SocketAddr> {
        let mut asked = None;
        for message in told {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let sent_to = Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr));
                    let ours = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
                    // For a broadcast, the address that received it can answer.
                    let address = if sent_to.is_multicast() { sent_to } else { ours };
                    return Some(SocketAddrV4::new(address, port).into());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let sent_to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    asked = Some(match sent_to.to_canonical() {
                        IpAddr::V4(address) => SocketAddrV4::new(address, port).into(),
                        IpAddr::V6(address) => {
                            let has_scope = address.is_unicast_link_local() || address.is_multicast();
                            let scope = if has_scope { info.ipi6_ifindex } else { 0 };
                            SocketAddrV6::new(address, port, 0, scope).into()
                        }
                    });
                }
                _ => {}
            }
        }
        asked
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::{AsFd, OwnedFd};

    use super::Received;
    use crate::origin::Peer;

    /// The system offers no control message here: it chooses the source
    /// address.
    #[derive(Debug)]
    pub(crate) enum PacketInfo {}

    impl PacketInfo {
        pub(crate) fn of(_: &impl AsFd, _: SocketAddr, _: bool) -> io::Result<Option<Box<Self>>> {
            Ok(None)
        }

        pub(crate) fn set_port(&mut self, _: u16) {
            match *self {}
        }

        pub(crate) fn receive(&mut self, _: &OwnedFd, _: &mut [u8], _: &mut Peer) -> io::Result<Received> {
            match *self {}
        }

        pub(crate) fn sends_from(&self, _: &SocketAddr) -> bool {
            match *self {}
        }

        pub(crate) fn send(
            &mut self,
            _: &OwnedFd,
            _: SocketAddr,
            _: &SocketAddr,
            _: &[u8],
        ) -> io::Result<()> {
            match *self {}
        }
    }
}
