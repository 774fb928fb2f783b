//! Simulated listeners: accepts connections, and the faults of accepting.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;

use super::network::{Due, Listening, Network, Way};
use super::trace::What;
use super::wire::{Kind, Stage};
use crate::driver::{ListenOptions, Token};
use crate::endpoint::Endpoint;
use crate::origin::{Credentials, Peer};

impl Network {
    /// Makes a listener, and returns its place and its actual endpoint.
    pub(super) fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(usize, Endpoint)> {
        let place = self.listeners.len();
        let at = match at {
            Endpoint::Tcp(address) if address.port() == 0 => {
                let port = u16::try_from(20_000 + place).map_err(|_| Errno::ADDRINUSE)?;
                Endpoint::Tcp(SocketAddr::new(address.ip(), port))
            }
            Endpoint::Tcp(_) | Endpoint::Unix(_) => at.clone(),
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = "the endpoint is for datagrams; bind it, or listen on tcp:// or unix:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        let now = self.now;
        if self.listeners.iter().any(|listener| listener.token.is_some() && listener.at == at)
            || self.taken.iter().any(|(taken, until)| *taken == at && *until > now)
        {
            return Err(Errno::ADDRINUSE.into());
        }
        self.listeners.push(Listening {
            at: at.clone(),
            token: Some(token),
            backlog: options.backlog as usize,
            keep_alive: options.keep_alive,
            user_timeout: options.user_timeout,
            waiting: VecDeque::new(),
            aborted: 0,
            broken: None,
            armed: true,
            edge: false,
            listed: false,
        });
        Ok((place, at))
    }

    /// Accepts a connection of a backlog, and returns its place and its peer.
    pub(super) fn accept(&mut self, listener: usize) -> io::Result<(usize, Peer)> {
        self.call()?;
        if let Some(error) = self.accept_fault(listener) {
            #[allow(clippy::cast_sign_loss, reason = "an errno is positive")]
            let number = error.raw_os_error() as u64;
            self.trace.note(self.now, None, What::AcceptFailed, number);
            return Err(error.into());
        }
        let place = self.listeners[listener].waiting.pop_front().ok_or(Errno::AGAIN)?;
        if self.rng.chance(self.conditions.aborted) {
            self.faults.aborted += 1;
            self.wires[place].lose();
            self.send_reset(place, Way::Down);
            let errors = [Errno::CONNABORTED, Errno::PROTO, Errno::OPNOTSUPP, Errno::HOSTUNREACH];
            let error = errors[self.rng.size(0, errors.len() - 1)];
            return self.fail(place, What::AcceptFailed, error);
        }
        self.note(place, What::Accept, listener as u64);
        self.open += 1;
        let wire = &mut self.wires[place];
        wire.stage = Stage::Accepted;
        wire.socket.open = true;
        Ok((place, peer_of(wire.kind, place)))
    }

    /// The error of a failing accept, if it fails.
    fn accept_fault(&mut self, place: usize) -> Option<Errno> {
        self.starved = None;
        if let Some(error) = self.listeners[place].broken {
            return Some(Errno::from_raw_os_error(error));
        }
        if let Some((_, error)) = self.exhausted.filter(|(until, _)| *until > self.now) {
            self.faults.exhausted += 1;
            return Some(Errno::from_raw_os_error(error));
        }
        self.exhausted = None;
        if self.descriptors.is_some_and(|limit| self.open >= limit) {
            self.faults.exhausted += 1;
            self.starved = Some(place);
            return Some(Errno::MFILE);
        }
        if self.listeners[place].aborted > 0 {
            self.listeners[place].aborted -= 1;
            return Some(Errno::CONNABORTED);
        }
        if self.listeners[place].waiting.is_empty() {
            self.listeners[place].armed = true;
            return Some(Errno::AGAIN);
        }
        if self.rng.chance(self.conditions.exhausted) {
            let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
            let error = errors[self.rng.size(0, 3)];
            let time = Duration::from_millis(self.rng.between(0, 1000));
            self.exhaust(time, error);
            self.faults.exhausted += 1;
            return Some(error);
        }
        if self.blocks_anyway() {
            self.listeners[place].armed = true;
            let latency = self.latency();
            self.after(latency, Due::AcceptEdge(place));
            return Some(Errno::AGAIN);
        }
        None
    }

    /// The peer of an outbound connection, once it is established.
    pub(super) fn connected(&mut self, place: usize) -> io::Result<Option<Peer>> {
        self.call()?;
        let wire = &mut self.wires[place];
        if let Some(error) = wire.socket.error.take() {
            return Err(Errno::from_raw_os_error(error).into());
        }
        Ok((wire.stage == Stage::Accepted).then(|| peer_of(wire.kind, place)))
    }

    /// Closes a listener, and resets the connections in its backlog.
    pub(super) fn close_listener(&mut self, listener: usize) {
        let listening = &mut self.listeners[listener];
        listening.token = None;
        for place in std::mem::take(&mut listening.waiting) {
            self.wires[place].lose();
            self.send_reset(place, Way::Down);
        }
    }
}

/// The peer address of a client, which encodes the number that
/// [`ClientId::of`](super::ClientId::of) reads.
fn peer_of(kind: Kind, place: usize) -> Peer {
    #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24 clients")]
    let number = place as u32;
    match kind {
        Kind::Tcp => Peer::inet((Ipv4Addr::from(10 << 24 | number), 40_000).into()),
        // The reactor names the peer of a pipe itself.
        Kind::Pipe => Peer::pipe(),
        Kind::Unix => Peer::unix(None, Some(Credentials { pid: Some(number), uid: 1000, gid: 1000 })),
    }
}
