//! `ListenOptions` and `BindOptions`: socket options of listeners, of the
//! connections that they accept, and of datagram sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use socket2::Socket;

use crate::layer::LayerFactory;

/// Probes of an idle TCP connection (tcp(7)), which find a peer that vanished
/// without a FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe, in whole seconds (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes, in whole seconds (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes after which the connection is broken (`TCP_KEEPCNT`).
    pub probes: u32,
}

impl Default for KeepAlive {
    /// 60 s, then 6 probes 10 s apart: they find a vanished peer in two
    /// minutes.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 6 }
    }
}

/// The options of a listener. Those of connections apply to every connection
/// that it accepts.
///
/// Always end with `..ListenOptions::default()`: a new field is not counted as
/// a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that the kernel holds until the reactor accepts them
    /// (listen(2)); the kernel may cap the number, at `net.core.somaxconn` on
    /// Linux. Default 1,024.
    pub backlog: u32,
    /// TCP: take a port while connections of an earlier process linger on it
    /// (`SO_REUSEADDR`, socket(7)). Default on.
    pub reuse_address: bool,
    /// TCP: share the port with other listeners that also set this; the kernel
    /// spreads connections over them (`SO_REUSEPORT`, socket(7)). Default off.
    pub reuse_port: bool,
    /// An IPv6 wildcard listens for IPv6 alone (`IPV6_V6ONLY`, ipv6(7)), on
    /// every system alike. Default on.
    pub only_v6: bool,
    /// TCP: send small messages at once (`TCP_NODELAY`, tcp(7)). Default on.
    pub no_delay: bool,
    /// TCP: probe idle connections. Default: as [`KeepAlive::default`].
    pub keep_alive: Option<KeepAlive>,
    /// TCP: break a connection whose peer has not acknowledged sent data for
    /// this long, in whole milliseconds (`TCP_USER_TIMEOUT`, tcp(7); Linux
    /// only). Default: the system's, which is many minutes.
    pub user_timeout: Option<Duration>,
    /// The kernel's send buffer of each connection, in bytes (`SO_SNDBUF`,
    /// socket(7)): what it holds of our output that the peer has not
    /// acknowledged, or on a Unix socket not read. It comes **on top** of the
    /// marks of [`Limits`](crate::Limits): a peer that does not read costs
    /// [`hard_mark`](crate::Limits::hard_mark) in this process and this much in
    /// the kernel.
    ///
    /// Linux doubles the number, to account for its own overhead, and caps it
    /// at `net.core.wmem_max`. Linux no longer tunes a TCP connection whose
    /// buffer is set; without a value the buffer begins with 16 KiB and grows
    /// with what the peer takes, up to 4 MiB (`tcp_wmem`, tcp(7)). A number
    /// below the bandwidth-delay product (rate × round trip) makes a fast peer
    /// slow. A Unix connection costs one more system call for it. Default: the
    /// system's.
    pub send_buffer: Option<usize>,
    /// TCP: the kernel's receive buffer of each connection, in bytes
    /// (`SO_RCVBUF`, socket(7)): what it holds of unread input, above all of a
    /// paused connection. Linux doubles, caps (`net.core.rmem_max`) and no
    /// longer tunes it in the same way; without a value it grows up to 6 MiB
    /// (`tcp_rmem`, tcp(7)). On a Unix socket the sender's buffer counts
    /// instead. Default: the system's.
    pub receive_buffer: Option<usize>,
    /// Unix: the permissions of the socket's file, for chmod(2). Default:
    /// what the umask leaves.
    pub mode: Option<u32>,
    /// The maker of the layer ([`Layer`](crate::Layer), such as TLS) that stands
    /// between the socket and the handler of each connection. The reactor calls it,
    /// and the driver does not see it. Default none.
    pub layer: Option<LayerFactory>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            only_v6: true,
            no_delay: true,
            keep_alive: Some(KeepAlive::default()),
            user_timeout: None,
            send_buffer: None,
            receive_buffer: None,
            mode: None,
            layer: None,
        }
    }
}

/// Sets the kernel's buffers of a socket, if options give them. A value is
/// capped at the largest `int`, so that no conversion truncates it.
pub(super) fn set_buffers(socket: &Socket, receive: Option<usize>, send: Option<usize>) -> io::Result<()> {
    const MOST: usize = i32::MAX as usize;
    if let Some(size) = receive {
        socket.set_recv_buffer_size(size.min(MOST))?;
    }
    if let Some(size) = send {
        socket.set_send_buffer_size(size.min(MOST))?;
    }
    Ok(())
}

/// A multicast group to join (ip(7), ipv6(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multicast {
    /// An IPv4 group.
    V4 {
        /// The group.
        group: Ipv4Addr,
        /// The interface, by its address; the unspecified address (`0.0.0.0`)
        /// leaves the choice to the system.
        interface: Ipv4Addr,
    },
    /// An IPv6 group.
    V6 {
        /// The group.
        group: Ipv6Addr,
        /// The interface, by its index; 0 leaves the choice to the system.
        interface: u32,
    },
}

/// The options of a datagram socket.
///
/// Always end with `..BindOptions::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// UDP: bind even if another socket is bound there, if that one sets this
    /// too (`SO_REUSEADDR`, socket(7)). On Linux the last socket then gets
    /// unicast datagrams, and all of them get multicasts. Default **off**,
    /// unlike for listeners: UDP has no lingering connection to wait for.
    pub reuse_address: bool,
    /// UDP: share the port with other sockets that also set this; the kernel
    /// spreads datagrams over them (`SO_REUSEPORT`, socket(7)). Default off.
    pub reuse_port: bool,
    /// An IPv6 wildcard receives IPv6 alone (`IPV6_V6ONLY`, ipv6(7)). Default on.
    pub only_v6: bool,
    /// UDP: allow sending to broadcast addresses (`SO_BROADCAST`, socket(7)).
    /// Default off.
    pub broadcast: bool,
    /// UDP: multicast groups to join. Datagrams to groups that only other
    /// sockets of the host have joined do not arrive, unlike by default on
    /// Linux (`IP_MULTICAST_ALL`, ip(7)). Default none.
    pub multicast: Vec<Multicast>,
    /// UDP: deliver multicasts that this socket sends to members on this host
    /// too (`IP_MULTICAST_LOOP`). Default on.
    pub multicast_loop: bool,
    /// UDP: the hop limit of multicasts; 1 is this network alone
    /// (`IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`). Default: the system's, 1.
    pub multicast_hops: Option<u32>,
    /// UDP over IPv4: the interface that multicasts leave by, by its address
    /// (`IP_MULTICAST_IF`). Default: the system's choice.
    pub multicast_interface_v4: Option<Ipv4Addr>,
    /// UDP over IPv6: the same, by the interface's index (`IPV6_MULTICAST_IF`).
    pub multicast_interface_v6: Option<u32>,
    /// UDP: the hop limit of all other datagrams (`IP_TTL`,
    /// `IPV6_UNICAST_HOPS`). Default: the system's.
    pub hops: Option<u32>,
    /// The kernel's receive buffer in bytes, which holds what arrives while the
    /// loop is busy (`SO_RCVBUF`, socket(7)); the kernel may cap it. Default:
    /// the system's.
    pub receive_buffer: Option<usize>,
    /// The kernel's send buffer in bytes (`SO_SNDBUF`, socket(7)). On a Unix
    /// socket it holds all that its receivers have not read yet. Default: the
    /// system's.
    pub send_buffer: Option<usize>,
    /// Unix: the permissions of the socket's file, for chmod(2). Default:
    /// what the umask leaves.
    pub mode: Option<u32>,
    /// Deliver datagrams that come from a datagram socket of this reactor, this
    /// one included, or claim to: from its address on UDP, or from a path that
    /// leads to it. If a handler answers such a datagram, and the answer too,
    /// the sockets send to each other for ever, and one forged datagram is
    /// enough to begin that. A socket's own multicasts come back this way.
    /// Default off: the reactor drops and counts them
    /// ([`Stats::datagrams_from_own`](crate::Stats::datagrams_from_own)).
    pub from_own: bool,
    /// Unix, on Linux: send only to sockets that lie in this directory itself.
    /// A datagram to any other target (behind a link, in another directory, at
    /// an abstract name) is lost, and reported as `EACCES`. Without this option
    /// an answer goes **with the rights of this process to whatever path its
    /// client has named**, even a link to another user's socket. A directory in
    /// which every client can make its socket, and no client can rename
    /// another's (mode 1733), keeps clients apart. Each datagram takes three
    /// more system calls, and needs `/proc`. Default: `None`, any path.
    pub send_in: Option<PathBuf>,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            only_v6: true,
            broadcast: false,
            multicast: Vec::new(),
            multicast_loop: true,
            multicast_hops: None,
            multicast_interface_v4: None,
            multicast_interface_v6: None,
            hops: None,
            receive_buffer: None,
            send_buffer: None,
            mode: None,
            from_own: false,
            send_in: None,
        }
    }
}
