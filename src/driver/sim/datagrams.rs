//! Simulated datagrams: on their way, lost, doubled, overtaken.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use rustix::io::Errno;

use super::network::{Due, Network, Source};
use super::post::{Mail, Mailbox};
use super::trace::What;
use crate::driver::{Event, Moment, Token};
use crate::endpoint::Endpoint;
use crate::origin::{Address, Peer};

/// The most that a datagram holds: what UDP over IPv4 does.
const MOST: usize = 65_507;

impl Network {
    /// Somebody sends a datagram to where the server is bound, or may be by
    /// the time it arrives. It may be lost or doubled
    /// ([`Conditions::lost`](super::Conditions::lost)), and overtaken by a later one,
    /// as each has a latency of its own.
    pub fn send_datagram(&mut self, from: &Peer, to: &Endpoint, data: impl Into<Bytes>) {
        let data = data.into();
        if let Some(place) = self.mailbox_of(to) {
            let mut from = from.clone();
            from.asked = self.mailboxes[place].asked(to);
            self.asked.extend(from.asked.map(|asked| asked.ip()));
            self.mail(|| Mail::Up(place, from.clone(), data.clone()));
        }
    }

    /// What is sent to this peer comes to a socket of the server.
    pub(super) fn is_own(&self, peer: &Peer) -> bool {
        self.own_mailbox(peer).is_some()
    }

    /// The socket of the server that gets what is sent to this peer. A wildcard
    /// is there at the addresses of the loopback and at those where somebody
    /// has asked.
    fn own_mailbox(&self, peer: &Peer) -> Option<usize> {
        let to = match &peer.address {
            Address::Inet(address) => Endpoint::Udp(*address),
            Address::Unix(path) => Endpoint::UnixDatagram(path.clone()),
            _ => return None,
        };
        let is_here = |ip: IpAddr| ip.is_loopback() || self.asked.contains(&ip);
        self.mailbox_of(&to).filter(|place| match &peer.address {
            Address::Inet(address) => self.mailboxes[*place].at == to || is_here(address.ip()),
            _ => true,
        })
    }

    /// The socket that gets what is sent to an endpoint: one that is bound
    /// there before one on a wildcard.
    fn mailbox_of(&self, to: &Endpoint) -> Option<usize> {
        let exactly = |mailbox: &Mailbox| mailbox.at == *to && mailbox.takes(to);
        let any = || self.mailboxes.iter().position(|mailbox| mailbox.takes(to));
        self.mailboxes.iter().position(exactly).or_else(any)
    }

    /// What has arrived of the datagrams that the server sent to a peer.
    pub fn datagrams_to<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = &'a Bytes> {
        self.delivered.iter().filter(move |(_, to, _)| to.address == peer.address).map(|(.., data)| data)
    }

    /// What has arrived at a peer that takes datagrams from this endpoint of
    /// the server alone, as a socket does that is connected to it.
    pub fn datagrams_from<'a>(
        &'a self,
        server: &'a Endpoint,
        peer: &'a Peer,
    ) -> impl Iterator<Item = &'a Bytes> {
        let hears =
            move |(from, to, _): &&(Endpoint, Peer, Bytes)| from == server && to.address == peer.address;
        self.delivered.iter().filter(hears).map(|(.., data)| data)
    }

    /// When the network last took a datagram that the server sent on the socket
    /// which is, or was, bound there.
    #[must_use]
    pub fn last_taken(&self, on: &Endpoint) -> Option<Moment> {
        let mailbox = self.mailboxes.iter().rfind(|mailbox| mailbox.at == *on)?;
        mailbox.taken.map(Moment::from_nanos)
    }

    /// A new socket: its place, and where it is bound indeed.
    pub(super) fn bind(&mut self, at: &Endpoint, token: Token) -> io::Result<(usize, Endpoint)> {
        let at = match at {
            Endpoint::Udp(address) if address.port() == 0 => {
                let port = u16::try_from(20_000 + self.mailboxes.len()).map_err(|_| Errno::ADDRINUSE)?;
                Endpoint::Udp(SocketAddr::new(address.ip(), port))
            }
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => at.clone(),
            Endpoint::Tcp(_) | Endpoint::Unix(_) => {
                let message = "this is for datagrams; use udp:// or unixgram:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        if self.mailboxes.iter().any(|mailbox| mailbox.token.is_some() && mailbox.at == at) {
            return Err(Errno::ADDRINUSE.into());
        }
        self.mailboxes.push(Mailbox {
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
        Ok((self.mailboxes.len() - 1, at))
    }

    /// Puts a datagram on its way: once, twice or not at all.
    fn mail(&mut self, make: impl Fn() -> Mail) {
        if self.rng.chance(self.conditions.lost) {
            self.faults.lost += 1;
            return;
        }
        let doubled = self.rng.chance(self.conditions.doubled);
        self.faults.doubled += u64::from(doubled);
        for _ in 0..1 + usize::from(doubled) {
            self.post.push(Some(make()));
            let latency = self.latency();
            self.after(latency, Due::Mail(self.post.len() - 1));
        }
    }

    pub(super) fn deliver(&mut self, place: usize) {
        match self.post[place].take() {
            Some(Mail::Down(from, to, data)) => self.delivered.push((from, to, data)),
            Some(Mail::Up(place, from, data)) => {
                let room = self.conditions.buffer.max(MOST);
                let mailbox = &mut self.mailboxes[place];
                let held: usize = mailbox.waiting.iter().map(|(_, data)| data.len()).sum();
                if mailbox.token.is_none() {
                    return;
                }
                if held + data.len() > room {
                    self.faults.lost += 1;
                    return;
                }
                mailbox.waiting.push_back((from, data));
                if std::mem::take(&mut mailbox.read_armed) {
                    mailbox.read_edge = true;
                    self.list_mailbox(place);
                }
            }
            None => {}
        }
    }

    /// The edge that follows a `WouldBlock` out of the blue.
    pub(super) fn mailbox_edge(&mut self, place: usize) {
        let mailbox = &mut self.mailboxes[place];
        if !mailbox.waiting.is_empty() {
            mailbox.read_edge |= std::mem::take(&mut mailbox.read_armed);
        }
        mailbox.write_edge |= std::mem::take(&mut mailbox.write_armed);
        self.list_mailbox(place);
    }

    fn list_mailbox(&mut self, place: usize) {
        if !std::mem::replace(&mut self.mailboxes[place].listed, true) {
            self.edges.push(Source::Mailbox(place));
        }
    }

    pub(super) fn mailbox_event(&mut self, place: usize) -> Option<Event> {
        let mailbox = &mut self.mailboxes[place];
        mailbox.listed = false;
        let readable = std::mem::take(&mut mailbox.read_edge);
        let writable = std::mem::take(&mut mailbox.write_edge);
        let token = mailbox.token.filter(|_| readable || writable)?;
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
        if blocks || self.mailboxes[place].waiting.is_empty() {
            self.mailboxes[place].read_armed = true;
            if blocks {
                let latency = self.latency();
                self.after(latency, Due::MailboxEdge(place));
            }
            return Err(Errno::AGAIN.into());
        }
        let (sender, data) = self.mailboxes[place].waiting.pop_front().ok_or(Errno::AGAIN)?;
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
            self.mailboxes[place].write_armed = true;
            let latency = self.latency();
            self.after(latency, Due::MailboxEdge(place));
            return Err(Errno::AGAIN.into());
        }
        self.mailboxes[place].taken = Some(self.now);
        self.trace.note(self.now, None, What::SendTo, data.len() as u64);
        self.trace.bytes(data);
        let from = self.mailboxes[place].source(to);
        let Some(own) = self.own_mailbox(to) else {
            self.mail(|| Mail::Down(from.clone(), to.clone(), Bytes::copy_from_slice(data)));
            return Ok(());
        };
        let mut sender = match from {
            Endpoint::Udp(address) | Endpoint::Tcp(address) => Peer::inet(address),
            Endpoint::Unix(path) | Endpoint::UnixDatagram(path) => Peer::unix(Some(path), None),
        };
        if let Address::Inet(address) = to.address {
            sender.asked = self.mailboxes[own].asked(&Endpoint::Udp(address));
        }
        self.mail(|| Mail::Up(own, sender.clone(), Bytes::copy_from_slice(data)));
        Ok(())
    }
}
