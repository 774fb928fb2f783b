//! The least that a chat can do on mio: each line is appended to the buffer of
//! every other member, and at the end of the tick each of them gets what it has
//! with one write.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use mio::net::TcpStream;
use slab::Slab;

use super::Result;
use super::connections::{BUFFER, Bare, LISTENER, unless_blocked};

struct Member {
    stream: TcpStream,
    /// The beginning of a line whose end has not come yet, usually nothing.
    begun: Vec<u8>,
    /// What it is to get.
    out: Vec<u8>,
    /// In the list of those who are written to at the end of the tick.
    listed: bool,
}

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let mut bare = Bare::new(listener)?;
    let mut events = Bare::<Member>::events();
    let mut buffer = vec![0; BUFFER];
    let mut to_write = Vec::new();
    let mut gone = Vec::new();
    loop {
        bare.poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                bare.accept(|stream| Member { stream, begun: Vec::new(), out: Vec::new(), listed: false })?;
                continue;
            }
            let place = event.token().0;
            let Some(member) = bare.connections.get_mut(place) else { continue };
            if event.is_writable() && !member.out.is_empty() && !member.listed {
                member.listed = true;
                to_write.push(place);
            }
            let until_empty = event.is_read_closed() || event.is_error();
            let stays = read(&mut bare.connections, place, &mut buffer, until_empty, &mut to_write);
            if !stays.unwrap_or(false) {
                gone.push(place);
            }
        }
        for place in to_write.drain(..) {
            let Some(member) = bare.connections.get_mut(place) else { continue };
            member.listed = false;
            if member.write().is_err() {
                gone.push(place);
            }
        }
        for place in gone.drain(..) {
            bare.connections.try_remove(place);
        }
    }
}

/// Reads what a member has sent and hands its lines on; false at its end.
fn read(
    members: &mut Slab<Member>,
    place: usize,
    buffer: &mut [u8],
    until_empty: bool,
    to_write: &mut Vec<usize>,
) -> io::Result<bool> {
    loop {
        let sender = &mut members[place];
        let count = match unless_blocked(sender.stream.read(buffer))? {
            Some(0) => return Ok(false),
            Some(count) => count,
            None => return Ok(true),
        };
        let mut begun = std::mem::take(&mut sender.begun);
        let mut rest = &buffer[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            if begun.is_empty() {
                broadcast(members, place, line, to_write);
            } else {
                begun.extend_from_slice(line);
                broadcast(members, place, &begun, to_write);
                begun.clear();
            }
        }
        begun.extend_from_slice(rest);
        members[place].begun = begun;
        if count < buffer.len() && !until_empty {
            return Ok(true);
        }
    }
}

fn broadcast(members: &mut Slab<Member>, from: usize, line: &[u8], to_write: &mut Vec<usize>) {
    for (place, member) in members.iter_mut() {
        if place != from {
            member.out.extend_from_slice(line);
            if !member.listed {
                member.listed = true;
                to_write.push(place);
            }
        }
    }
}

impl Member {
    /// Writes once; what the socket does not take stays until there is room.
    fn write(&mut self) -> io::Result<()> {
        let written = unless_blocked(self.stream.write(&self.out))?.unwrap_or(0);
        if written == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }
}
