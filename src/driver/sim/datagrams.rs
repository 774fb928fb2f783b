//! Simulated datagrams: delivers, loses, doubles and reorders them.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use rustix::io::Errno;

use super::datagram_actor::{DatagramActor, DatagramNews, DatagramOrder, DatagramPlayer};
use super::datagram_socket::{DatagramSocket, Packet};
use super::network::{Due, Network, Source};
use super::trace::What;
use crate::driver::{Event, Moment, Token};
use crate::endpoint::Endpoint;
use crate::origin::{Address, Peer};

/// The longest datagram, as of UDP over IPv4.
const MOST: usize = 65_507;

impl Network {
    /// Sends a datagram from a peer to an endpoint of the server. Without a
    /// socket bound there now it is dropped. The network may lose or double it
    /// ([`Conditions::lost`](super::Conditions::lost)), and a later one may
    /// overtake it, as each has its own latency.
    pub fn send_datagram(&mut self, from: &Peer, to: &Endpoint, data: impl Into<Bytes>) {
        let data = data.into();
        if let Some(place) = self.socket_at(to) {
            let mut from = from.clone();
            from.asked = self.datagram_sockets[place].asked(to);
            self.asked.extend(from.asked.map(|asked| asked.ip()));
            self.transmit(|| Packet::Up(place, from.clone(), data.clone()));
        }
    }

    /// Gives an address to an actor, which begins at once. An earlier actor at this
    /// address is gone, and its timers are.
    pub fn play_datagrams(&mut self, peer: &Peer, actor: impl DatagramActor) {
        if let Some(earlier) = self.datagram_player(peer) {
            self.datagram_players[earlier] = None;
        }
        self.datagram_players.push(Some(DatagramPlayer { peer: peer.clone(), actor: Box::new(actor) }));
        self.tell_datagram_actor(self.datagram_players.len() - 1, &DatagramNews::Begin);
    }

    /// The actor that has this address, to read; `None` if that is of another type.
    #[must_use]
    pub fn datagram_actor<A: DatagramActor>(&self, peer: &Peer) -> Option<&A> {
        let player = self.datagram_players[self.datagram_player(peer)?].as_ref()?;
        let actor: &dyn Any = player.actor.as_ref();
        actor.downcast_ref()
    }

    fn datagram_player(&self, peer: &Peer) -> Option<usize> {
        let is_there = |player: &DatagramPlayer| player.peer.address == peer.address;
        self.datagram_players.iter().position(|player| player.as_ref().is_some_and(is_there))
    }

    /// Calls a datagram actor, and carries out what it asks for.
    pub(super) fn tell_datagram_actor(&mut self, place: usize, news: &DatagramNews<'_>) {
        let now = self.now();
        let Some(player) = &mut self.datagram_players[place] else { return };
        let peer = player.peer.clone();
        for order in player.tell(now, news) {
            match order {
                DatagramOrder::Send(to, data) => self.send_datagram(&peer, &to, data),
                DatagramOrder::Timer(after, tag) => self.after(after, Due::DatagramTimer(place, tag)),
            }
        }
    }

    /// Whether datagrams to this peer arrive at a socket of the server.
    pub(super) fn is_own(&self, peer: &Peer) -> bool {
        self.own_socket(peer).is_some()
    }

    /// The socket of the server that receives datagrams to this peer. A
    /// wildcard has the loopback addresses and those at which a peer has asked.
    fn own_socket(&self, peer: &Peer) -> Option<usize> {
        let to = match &peer.address {
            Address::Inet(address) => Endpoint::Udp(*address),
            Address::Unix(path) => Endpoint::UnixDatagram(path.clone()),
            _ => return None,
        };
        let is_here = |ip: IpAddr| ip.is_loopback() || self.asked.contains(&ip);
        self.socket_at(&to).filter(|place| match &peer.address {
            Address::Inet(address) => self.datagram_sockets[*place].at == to || is_here(address.ip()),
            _ => true,
        })
    }

    /// The socket that receives datagrams to an endpoint: an exactly bound one
    /// before one on a wildcard.
    fn socket_at(&self, to: &Endpoint) -> Option<usize> {
        let exactly = |socket: &DatagramSocket| socket.at == *to && socket.takes(to);
        let any = || self.datagram_sockets.iter().position(|socket| socket.takes(to));
        self.datagram_sockets.iter().position(exactly).or_else(any)
    }

    /// The datagrams of the server that have arrived at a peer.
    pub fn datagrams_to<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = &'a Bytes> {
        self.delivered.iter().filter(move |(_, to, _)| to.address == peer.address).map(|(.., data)| data)
    }

    /// The datagrams that have arrived at a peer from this endpoint of the
    /// server alone, as a connected socket receives them.
    pub fn datagrams_from<'a>(
        &'a self,
        server: &'a Endpoint,
        peer: &'a Peer,
    ) -> impl Iterator<Item = &'a Bytes> {
        let hears =
            move |(from, to, _): &&(Endpoint, Peer, Bytes)| from == server && to.address == peer.address;
        self.delivered.iter().filter(hears).map(|(.., data)| data)
    }

    /// The moment at which the network last took a datagram from the socket
    /// that is, or was, bound there.
    #[must_use]
    pub fn last_taken(&self, on: &Endpoint) -> Option<Moment> {
        let socket = self.datagram_sockets.iter().rfind(|socket| socket.at == *on)?;
        socket.taken.map(Moment::from_nanos)
    }

    /// Binds a new socket, and returns its place and its actual endpoint.
    pub(super) fn bind(&mut self, at: &Endpoint, token: Token) -> io::Result<(usize, Endpoint)> {
        let at = match at {
            Endpoint::Udp(address) if address.port() == 0 => {
                let port =
                    u16::try_from(20_000 + self.datagram_sockets.len()).map_err(|_| Errno::ADDRINUSE)?;
                Endpoint::Udp(SocketAddr::new(address.ip(), port))
            }
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => at.clone(),
            Endpoint::Tcp(_) | Endpoint::Unix(_) => {
                let message = "the endpoint is for streams; listen on it, or bind udp:// or unixgram:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        if self.datagram_sockets.iter().any(|socket| socket.token.is_some() && socket.at == at) {
            return Err(Errno::ADDRINUSE.into());
        }
        self.datagram_sockets.push(DatagramSocket {
            at: at.clone(),
            token: Some(token),
            waiting: VecDeque::new(),
            taken: None,
            read_armed: true,
            write_armed: false,
            read_edge: false,
            write_edge: false,
            listed: false,
        });
        Ok((self.datagram_sockets.len() - 1, at))
    }

    /// Puts a datagram in flight: once, twice or not at all.
    fn transmit(&mut self, make: impl Fn() -> Packet) {
        if self.rng.chance(self.conditions.lost) {
            self.faults.lost += 1;
            return;
        }
        let doubled = self.rng.chance(self.conditions.doubled);
        self.faults.doubled += u64::from(doubled);
        for _ in 0..1 + usize::from(doubled) {
            self.packets.push(Some(make()));
            let latency = self.latency();
            self.after(latency, Due::Packet(self.packets.len() - 1));
        }
    }

    pub(super) fn deliver(&mut self, place: usize) {
        match self.packets[place].take() {
            Some(Packet::Down(from, to, data)) => {
                if let Some(player) = self.datagram_player(&to) {
                    self.tell_datagram_actor(player, &DatagramNews::Datagram(&from, &data));
                }
                self.delivered.push((from, to, data));
            }
            Some(Packet::Up(place, from, data)) => {
                let room = self.conditions.buffer.max(MOST);
                let socket = &mut self.datagram_sockets[place];
                let held: usize = socket.waiting.iter().map(|(_, data)| data.len()).sum();
                if socket.token.is_none() {
                    return;
                }
                if held + data.len() > room {
                    self.faults.lost += 1;
                    return;
                }
                socket.waiting.push_back((from, data));
                if std::mem::take(&mut socket.read_armed) {
                    socket.read_edge = true;
                    self.list_socket(place);
                }
            }
            None => {}
        }
    }

    /// Makes the edge that follows a needless `WouldBlock`.
    pub(super) fn socket_edge(&mut self, place: usize) {
        let socket = &mut self.datagram_sockets[place];
        if !socket.waiting.is_empty() {
            socket.read_edge |= std::mem::take(&mut socket.read_armed);
        }
        socket.write_edge |= std::mem::take(&mut socket.write_armed);
        self.list_socket(place);
    }

    fn list_socket(&mut self, place: usize) {
        if !std::mem::replace(&mut self.datagram_sockets[place].listed, true) {
            self.edges.push(Source::DatagramSocket(place));
        }
    }

    pub(super) fn socket_event(&mut self, place: usize) -> Option<Event> {
        let socket = &mut self.datagram_sockets[place];
        socket.listed = false;
        let readable = std::mem::take(&mut socket.read_edge);
        let writable = std::mem::take(&mut socket.write_edge);
        let token = socket.token.filter(|_| readable || writable)?;
        self.trace.note(self.now, None, What::SocketEvent, place as u64);
        Some(Event { token, readable, writable, hangup: false })
    }

    pub(super) fn receive(
        &mut self,
        place: usize,
        blocks: bool,
        into: &mut [u8],
        from: &mut Peer,
    ) -> io::Result<usize> {
        if blocks || self.datagram_sockets[place].waiting.is_empty() {
            self.datagram_sockets[place].read_armed = true;
            if blocks {
                let latency = self.latency();
                self.after(latency, Due::SocketEdge(place));
            }
            return Err(Errno::AGAIN.into());
        }
        let (sender, data) = self.datagram_sockets[place].waiting.pop_front().ok_or(Errno::AGAIN)?;
        self.trace.note(self.now, None, What::Receive, data.len() as u64);
        let held = data.len().min(into.len());
        into[..held].copy_from_slice(&data[..held]);
        *from = sender;
        Ok(data.len())
    }

    pub(super) fn send_to(&mut self, place: usize, blocks: bool, to: &Peer, data: &[u8]) -> io::Result<()> {
        if data.len() > MOST {
            return Err(Errno::MSGSIZE.into());
        }
        if blocks {
            self.datagram_sockets[place].write_armed = true;
            let latency = self.latency();
            self.after(latency, Due::SocketEdge(place));
            return Err(Errno::AGAIN.into());
        }
        self.datagram_sockets[place].taken = Some(self.now);
        self.trace.note(self.now, None, What::SendTo, data.len() as u64);
        self.trace.bytes(data);
        let from = self.datagram_sockets[place].source(to);
        let Some(own) = self.own_socket(to) else {
            self.transmit(|| Packet::Down(from.clone(), to.clone(), Bytes::copy_from_slice(data)));
            return Ok(());
        };
        let mut sender = match from {
            Endpoint::Udp(address) | Endpoint::Tcp(address) => Peer::inet(address),
            Endpoint::Unix(path) | Endpoint::UnixDatagram(path) => Peer::unix(Some(path), None),
        };
        if let Address::Inet(address) = to.address {
            sender.asked = self.datagram_sockets[own].asked(&Endpoint::Udp(address));
        }
        self.transmit(|| Packet::Up(own, sender.clone(), Bytes::copy_from_slice(data)));
        Ok(())
    }
}
