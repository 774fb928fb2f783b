//! TLS: echoes through it, and handshakes, each with one echo.
//!
//! The client's end is a layer of the library's, which the servers that are compared
//! all meet. It believes any certificate: what is measured is the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serve_forever::Layer;
use serve_forever::tls::{Client, ClientOptions, Roots};

use super::connect::Connector;
use super::patience::Patience;
use super::pattern::{CHUNK, Pattern, Place};
use super::{Bound, Effort, Kept, SETTLE, Target, Work, unless_blocked};
use crate::Result;

/// What is done through TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tls {
    /// Messages there and back.
    Echo {
        connections: usize,
        /// Bytes in a message.
        size: u64,
    },
    /// Connect, shake hands, one echo of 64 bytes, close.
    Handshakes(Sessions),
}

/// Whether a client comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    New,
    Resumed,
}

/// See [`Load::run`](super::Load::run).
pub(super) fn run(tls: Tls, target: &Target, effort: &Effort) -> Result<Work> {
    keep(tls, target)?.window(effort)
}

/// See [`Load::keep`](super::Load::keep).
pub(super) fn keep(tls: Tls, target: &Target) -> Result<Kept> {
    let mut load = Load::new(tls, target)?;
    Ok(Kept::new(target, move |bound| load.drive(bound)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(tls: Tls, messages: u64, target: &Target) -> Result<u64> {
    Load::new(tls, target)?.drive(Bound::Count(messages))
}

/// Resident bytes for each of so many connections that are idle after one echo.
///
/// # Errors
///
/// A connection fails, or has no right echo.
pub(crate) fn memory(connections: usize, target: &Target) -> Result<f64> {
    const FIRST: usize = 100;
    let mut load = Load::new(Tls::Handshakes(Sessions::New), target)?;
    let mut open = |count: usize| (0..count).map(|_| load.visit()).collect::<Result<Vec<_>>>();
    let first = open(FIRST)?;
    std::thread::sleep(SETTLE);
    let before = target.process.resident()?;
    let idle = open(connections)?;
    std::thread::sleep(SETTLE);
    let after = target.process.resident()?;
    drop((first, idle));
    Ok((after as f64 - before as f64) / connections as f64)
}

pub(super) struct Load {
    tls: Tls,
    client: Client,
    connector: Connector,
    pattern: Pattern,
    sessions: Vec<Session>,
    made: usize,
}

impl Load {
    pub(super) fn new(tls: Tls, target: &Target) -> Result<Self> {
        let kept = if matches!(tls, Tls::Handshakes(Sessions::Resumed)) { 16 } else { 0 };
        let options = ClientOptions { sessions: kept, ..ClientOptions::new(Roots::insecure()) };
        let mut load = Self {
            tls,
            client: Client::new(&options)?,
            connector: Connector::new(target.address),
            pattern: Pattern::new(),
            sessions: Vec::new(),
            made: 0,
        };
        if let Tls::Echo { connections, .. } = tls {
            for _ in 0..connections {
                let session = load.visit()?;
                session.stream.set_nonblocking(true)?;
                load.sessions.push(session);
            }
        }
        Ok(load)
    }

    fn drive(&mut self, bound: Bound) -> Result<u64> {
        match self.tls {
            Tls::Echo { size, .. } => self.echo(size, bound),
            Tls::Handshakes(_) => self.shake_hands(bound),
        }
    }

    /// Goes round the connections, and never sleeps.
    fn echo(&mut self, size: u64, bound: Bound) -> Result<u64> {
        let mut patience = Patience::new();
        let began = Instant::now();
        let (mut begun, mut back) = (0, 0);
        for session in &mut self.sessions {
            session.begin(&self.pattern, size)?;
            begun += 1;
        }
        while back < begun {
            let now = Instant::now();
            patience.check(back, now)?;
            for session in &mut self.sessions {
                if session.advance(&self.pattern, size)? {
                    back += 1;
                    if bound.allows(now.duration_since(began), begun) {
                        session.begin(&self.pattern, size)?;
                        begun += 1;
                    }
                }
            }
        }
        Ok(back)
    }

    fn shake_hands(&mut self, bound: Bound) -> Result<u64> {
        let began = Instant::now();
        let mut done = 0;
        while bound.allows(began.elapsed(), done) {
            self.visit()?;
            done += 1;
        }
        Ok(done)
    }

    /// A connection whose handshake is to come.
    pub(super) fn begin(&mut self) -> Result<Session> {
        let place = Place::of_connection(self.made);
        self.made += 1;
        let stream = self.connector.connect()?;
        let layer = self.client.layer("localhost")?;
        Ok(Session { stream, layer, wire: Vec::new(), write_at: place, read_at: place, received: 0 })
    }

    /// A connection that has had its handshake and one echo of 64 bytes.
    pub(super) fn visit(&mut self) -> Result<Session> {
        let mut session = self.begin()?;
        while !session.shake_hands()? {}
        session.begin(&self.pattern, 64)?;
        while !session.advance(&self.pattern, 64)? {}
        Ok(session)
    }
}

pub(super) struct Session {
    pub(super) stream: TcpStream,
    layer: Box<dyn Layer>,
    /// What has not been written yet.
    wire: Vec<u8>,
    write_at: Place,
    read_at: Place,
    /// Bytes of the message that is coming back.
    received: u64,
}

impl Session {
    /// Goes on with the handshake; whether it is complete.
    pub(super) fn shake_hands(&mut self) -> Result<bool> {
        self.send()?;
        if !self.layer.is_ready() {
            self.receive()?;
            self.send()?;
        }
        Ok(self.layer.is_ready())
    }

    /// Sends one message.
    pub(super) fn begin(&mut self, pattern: &Pattern, size: u64) -> Result<()> {
        let mut owed = size;
        while owed > 0 {
            let taken = self.layer.write(pattern.piece(self.write_at, owed))?;
            self.write_at.advance(taken);
            owed -= taken as u64;
            self.layer.take_wire(&mut self.wire)?;
        }
        self.send()
    }

    /// Reads what is there. True when the message is back.
    pub(super) fn advance(&mut self, pattern: &Pattern, size: u64) -> Result<bool> {
        self.send()?;
        self.receive()?;
        let mut plain = [0; CHUNK];
        loop {
            let count = self.layer.read(&mut plain)?;
            if count == 0 {
                break;
            }
            pattern
                .check(self.read_at, &plain[..count])
                .map_err(|mismatch| format!("a connection got other bytes than it sent: {mismatch:?}"))?;
            self.read_at.advance(count);
            self.received += count as u64;
        }
        let is_back = self.received == size;
        if is_back {
            self.received = 0;
        }
        Ok(is_back)
    }

    fn send(&mut self) -> Result<()> {
        self.layer.take_wire(&mut self.wire)?;
        if !self.wire.is_empty() {
            let written = unless_blocked(self.stream.write(&self.wire))?.unwrap_or(0);
            self.wire.drain(..written);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut bytes = [0; CHUNK];
        match unless_blocked(self.stream.read(&mut bytes))? {
            Some(0) => Err("a connection was closed".into()),
            Some(count) => {
                // A message is less than a layer holds back.
                self.layer.receive(&bytes[..count])?;
                Ok(())
            }
            None => Ok(()),
        }
    }
}
