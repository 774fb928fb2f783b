//! `Toy`: a [`Layer`] for tests of what stands on layers, with a cipher that keeps
//! no secret.

use std::collections::VecDeque;
use std::io;

use crate::{Layer, LayerFactory};

/// The longest payload of a record.
const MOST: usize = 200;

/// Plaintext from which the layer takes no further record until some is read.
const HELD: usize = 2 * MOST;

/// The bytes of a record before its payload: kind and length.
const HEAD: usize = 3;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const ALERT: u8 = 4;

/// A layer with a handshake of two messages, records with a checksum, an alert and
/// an end of its own: all that the loop has to get right for TLS, in a protocol that
/// one can read. It protects nothing.
///
/// A record is a byte of its kind, two of its length, the payload and a checksum.
/// The client's hello carries a number, and the server's returns it with another;
/// both together are the key that data records are masked with, by their place in
/// the stream. So a byte that is lost, doubled, changed or moved is found.
///
/// ```
/// use serve_forever::driver::sim::{Conditions, Script};
/// use serve_forever::sim::{Toy, World};
/// use serve_forever::services::Echo;
/// use serve_forever::{Config, ListenOptions};
///
/// let options = ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() };
/// let (seed, conditions) = (1, Conditions::calm());
/// let mut world =
///     World::<_, true>::listening(seed, conditions, Echo::new(), Echo::limits(), Config::default(), &options)?;
/// let client = world.play(Script::new().through(Toy::clients()).send("hello").finish());
/// world.run()?;
/// assert_eq!(world.client(client).received(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct Toy {
    role: Role,
    /// Our number of the handshake.
    nonce: u32,
    key: Option<u32>,
    /// The number of bytes masked so far, in each direction.
    sent: u32,
    received: u32,
    /// The start of an incomplete record.
    partial: Vec<u8>,
    plain: VecDeque<u8>,
    wire: Vec<u8>,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

impl Toy {
    /// A layer for the side that connects. It speaks first.
    #[must_use]
    pub fn client(nonce: u32) -> Self {
        let mut layer = Self::new(Role::Client, nonce);
        layer.record(HELLO, &nonce.to_be_bytes());
        layer
    }

    /// A layer for the side that accepts.
    #[must_use]
    pub const fn server(nonce: u32) -> Self {
        Self::new(Role::Server, nonce)
    }

    /// Layers for the connections of a listener.
    #[must_use]
    pub fn servers() -> LayerFactory {
        LayerFactory::new(|| Ok(Box::new(Self::server(0x5EED_0001))))
    }

    /// Layers for the clients of a simulated network.
    #[must_use]
    pub fn clients() -> LayerFactory {
        LayerFactory::new(|| Ok(Box::new(Self::client(0xC11E_0002))))
    }

    const fn new(role: Role, nonce: u32) -> Self {
        Self {
            role,
            nonce,
            key: None,
            sent: 0,
            received: 0,
            partial: Vec::new(),
            plain: VecDeque::new(),
            wire: Vec::new(),
            has_ended: false,
        }
    }

    fn record(&mut self, kind: u8, payload: &[u8]) {
        #[allow(clippy::cast_possible_truncation, reason = "no payload is longer than MOST")]
        let length = payload.len() as u16;
        self.wire.push(kind);
        self.wire.extend(length.to_be_bytes());
        self.wire.extend(payload);
        self.wire.push(checksum(kind, payload));
    }

    /// Takes one record, which is whole.
    fn open(&mut self, kind: u8, payload: &[u8], sum: u8) -> io::Result<()> {
        if sum != checksum(kind, payload) {
            return self.refuse("a record is damaged");
        }
        if self.has_ended {
            return self.refuse("a record follows the end");
        }
        match (kind, self.role, self.key) {
            (HELLO, Role::Server, None) if payload.len() == 4 => {
                let theirs = number(payload);
                self.key = Some(theirs ^ self.nonce);
                let answer = [payload, &self.nonce.to_be_bytes()].concat();
                self.record(HELLO, &answer);
            }
            (HELLO, Role::Client, None) if payload.len() == 8 => {
                if number(&payload[..4]) != self.nonce {
                    return self.refuse("the hello answers another one");
                }
                self.key = Some(self.nonce ^ number(&payload[4..]));
            }
            (DATA, _, Some(key)) => {
                self.plain.extend(payload.iter().zip(self.received..).map(|(byte, at)| byte ^ mask(key, at)));
                #[allow(clippy::cast_possible_truncation, reason = "no payload is longer than MOST")]
                let length = payload.len() as u32;
                self.received = self.received.wrapping_add(length);
            }
            (END, _, Some(_)) if payload.is_empty() => self.has_ended = true,
            (ALERT, ..) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent an alert")),
            _ => return self.refuse("a record of this kind is not expected here"),
        }
        Ok(())
    }

    fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.record(ALERT, &[]);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

impl Layer for Toy {
    fn name(&self) -> &'static str {
        "Toy"
    }

    fn receive(&mut self, wire: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < wire.len() && self.plain.len() < HELD {
            // The rest of the head first, then of what the head announces.
            let length = match self.partial[..] {
                [kind, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length > MOST || !(HELLO..=ALERT).contains(&kind) {
                        self.refuse("this is no record")?;
                    }
                    HEAD + length + 1
                }
                _ => HEAD,
            };
            let count = (length - self.partial.len()).min(wire.len() - taken);
            self.partial.extend(&wire[taken..taken + count]);
            taken += count;
            if self.partial.len() == length && length > HEAD {
                let record = std::mem::take(&mut self.partial);
                self.open(record[0], &record[HEAD..length - 1], record[length - 1])?;
            }
        }
        Ok(taken)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.plain.len());
        for (slot, byte) in into.iter_mut().zip(self.plain.drain(..count)) {
            *slot = byte;
        }
        Ok(count)
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let Some(key) = self.key else { return Err(io::Error::other("the handshake is not complete")) };
        let plain = &plain[..plain.len().min(MOST)];
        let masked: Vec<u8> = plain.iter().zip(self.sent..).map(|(byte, at)| byte ^ mask(key, at)).collect();
        #[allow(clippy::cast_possible_truncation, reason = "no payload is longer than MOST")]
        let length = plain.len() as u32;
        self.sent = self.sent.wrapping_add(length);
        self.record(DATA, &masked);
        Ok(plain.len())
    }

    fn take_wire(&mut self, into: &mut dyn io::Write) -> io::Result<()> {
        into.write_all(&std::mem::take(&mut self.wire))
    }

    fn is_ready(&self) -> bool {
        self.key.is_some()
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn finish(&mut self) {
        if self.key.is_some() {
            self.record(END, &[]);
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The mask of the byte at a place of the stream.
#[allow(clippy::cast_possible_truncation, reason = "the top byte of a mixed number")]
const fn mask(key: u32, at: u32) -> u8 {
    ((key ^ at).wrapping_mul(0x9E37_79B1) >> 24) as u8
}

fn checksum(kind: u8, payload: &[u8]) -> u8 {
    payload.iter().fold(kind ^ 0xA5, |sum, byte| sum.rotate_left(1) ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries what one side has for the wire to the other.
    fn carry(from: &mut Toy, to: &mut Toy) -> io::Result<Vec<u8>> {
        let (mut wire, mut plain) = (Vec::new(), Vec::new());
        from.take_wire(&mut wire)?;
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let taken = to.receive(rest)?;
            rest = &rest[taken..];
            let mut buffer = [0; 1000];
            let count = to.read(&mut buffer)?;
            plain.extend(&buffer[..count]);
        }
        Ok(plain)
    }

    fn pair() -> (Toy, Toy) {
        let (mut client, mut server) = (Toy::client(1), Toy::server(2));
        carry(&mut client, &mut server).expect("a hello");
        assert!(server.is_ready() && !client.is_ready());
        carry(&mut server, &mut client).expect("a hello");
        assert!(client.is_ready());
        (client, server)
    }

    #[test]
    fn both_sides_shake_hands_talk_and_end() {
        let (mut client, mut server) = pair();
        let text = vec![b'x'; 5 * MOST + 7];
        let mut rest = &text[..];
        while !rest.is_empty() {
            let taken = client.write(rest).expect("it is ready");
            rest = &rest[taken..];
        }
        assert_eq!(carry(&mut client, &mut server).expect("good records"), text);
        client.finish();
        assert_eq!(carry(&mut client, &mut server).expect("an end"), b"");
        assert!(server.has_ended() && !client.has_ended());
    }

    #[test]
    fn what_is_changed_or_moved_is_found() {
        let (mut client, mut server) = pair();
        client.write(b"hello").expect("it is ready");
        client.wire[HEAD + 2] ^= 1;
        assert!(carry(&mut client, &mut server).is_err());
        assert_eq!(server.wire[0], ALERT);
        assert!(carry(&mut server, &mut client).is_err());
        assert!(Toy::server(1).receive(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
