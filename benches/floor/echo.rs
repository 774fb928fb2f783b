//! The least that an echo can do on mio: one read, one write, one shared
//! buffer. Edge-triggered; what the socket does not take is kept, and nothing
//! is read meanwhile. No limits, no deadlines.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use mio::net::TcpStream;

use super::Result;
use super::connections::{BUFFER, Bare, LISTENER, unless_blocked};

struct Connection {
    stream: TcpStream,
    /// What the socket did not take, usually nothing.
    rest: Vec<u8>,
}

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let mut bare = Bare::new(listener)?;
    let mut events = Bare::<Connection>::events();
    let mut buffer = vec![0; BUFFER];
    loop {
        bare.poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                bare.accept(|stream| Connection { stream, rest: Vec::new() })?;
                continue;
            }
            let place = event.token().0;
            let Some(connection) = bare.connections.get_mut(place) else { continue };
            // Its end of file may lie right behind what a short read took.
            let until_empty = event.is_read_closed() || event.is_error();
            if !connection.turn(&mut buffer, until_empty).unwrap_or(false) {
                bare.connections.remove(place);
            }
        }
    }
}

impl Connection {
    /// Echoes what is there; false at its end.
    fn turn(&mut self, buffer: &mut [u8], until_empty: bool) -> io::Result<bool> {
        if !self.rest.is_empty() && !self.write_rest()? {
            return Ok(true);
        }
        loop {
            let count = match unless_blocked(self.stream.read(buffer))? {
                Some(0) => return Ok(false),
                Some(count) => count,
                None => return Ok(true),
            };
            let written = unless_blocked(self.stream.write(&buffer[..count]))?.unwrap_or(0);
            if written < count {
                self.rest.extend_from_slice(&buffer[written..count]);
                return Ok(true); // the edge that makes room brings us back
            }
            if count < buffer.len() && !until_empty {
                return Ok(true);
            }
        }
    }

    /// True when all of it is written.
    fn write_rest(&mut self) -> io::Result<bool> {
        let written = unless_blocked(self.stream.write(&self.rest))?.unwrap_or(0);
        self.rest.drain(..written);
        Ok(self.rest.is_empty())
    }
}
