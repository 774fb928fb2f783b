//! `Secure`: the TLS of one connection, between the load and its socket.

use std::fmt;
use std::io::{self, Read, Write};

use serve_forever::Layer;

/// Bytes read from the socket at once: a record and its head.
const READ: usize = 17 << 10;

/// TLS, by the library's layer: no I/O, and nothing of the reactor. The bytes that the
/// load sends and checks are those inside.
pub(super) struct Secure {
    layer: Box<dyn Layer>,
    /// Bytes from the socket that the layer has not taken yet.
    unread: Vec<u8>,
    /// Bytes for the socket.
    unwritten: Vec<u8>,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("unwritten", &self.unwritten.len()).finish_non_exhaustive()
    }
}

impl Secure {
    pub(super) fn new(layer: Box<dyn Layer>) -> Self {
        Self { layer, unread: Vec::new(), unwritten: Vec::new() }
    }

    /// Whether bytes wait for room in the socket.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Goes on with the handshake; `WouldBlock` while it is under way.
    pub(super) fn shake_hands(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        loop {
            self.write_out(socket)?;
            if self.layer.is_ready() {
                return Ok(());
            }
            self.take_in(socket)?;
        }
    }

    /// Reads what is inside; 0 behind the peer's end.
    pub(super) fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.layer.read(buffer)? {
                0 if self.layer.has_ended() => return Ok(0),
                0 => self.take_in(socket)?,
                count => return Ok(count),
            }
        }
    }

    /// Writes some of these bytes, once what was written before has left.
    pub(super) fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.write_out(socket)?;
        if self.has_unwritten() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.layer.write(bytes)?;
        self.write_out(socket)?;
        Ok(count)
    }

    /// Sends the end of TLS, if the socket has room for it.
    pub(super) fn end(&mut self, socket: &mut impl Write) {
        self.layer.finish();
        // Nobody waits for it.
        let _ = self.write_out(socket);
    }

    /// Takes some of what the peer has sent.
    fn take_in(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        if self.unread.is_empty() {
            let mut bytes = [0; READ];
            match socket.read(&mut bytes)? {
                0 => {
                    let message = "it was closed without an end of TLS";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                count => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
        let taken = self.layer.receive(&self.unread);
        // An alert, perhaps.
        let written = self.write_out(socket);
        self.unread.drain(..taken?);
        written
    }

    /// Writes what the layer has for the socket, as far as there is room.
    fn write_out(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.layer.take_wire(&mut self.unwritten)?;
        let mut written = 0;
        let outcome = loop {
            if written == self.unwritten.len() {
                break Ok(());
            }
            match socket.write(&self.unwritten[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unwritten.drain(..written);
        outcome
    }
}
