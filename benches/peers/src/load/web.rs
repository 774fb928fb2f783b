//! Requests over HTTP, and messages over a WebSocket that come back: so many
//! connections, each with so many under way.

use std::io::{Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connect::Connector;
use super::patience::Patience;
use super::{Bound, EVENTS, Effort, SETTLE, Target, Work, unless_blocked};
use crate::Result;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `GET /plaintext`: 13 bytes of text
    Plaintext,
    /// `GET /json`: 1 KiB of JSON
    Json,
    /// `GET /file`: 100 MB of a file
    File,
    /// A binary message of so many bytes, which comes back
    Message(usize),
}

/// So many of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Web {
    pub(crate) what: What,
    pub(crate) connections: usize,
    /// Requests that each connection has under way.
    pub(crate) pipeline: u64,
}

/// The mask of a client: any will do for a server that is trusted.
const MASK: [u8; 4] = [0x0f, 0xf0, 0x55, 0xaa];

/// A frame of a client.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ MASK[place % 4]));
    frame
}

/// Asks for a WebSocket, and takes the answer.
pub(super) fn open_socket(stream: &mut std::net::TcpStream) -> Result<()> {
    stream.write_all(
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let head = head(stream)?;
    if head.starts_with(b"HTTP/1.1 101 ") { Ok(()) } else { Err("the server opens no WebSocket".into()) }
}

/// Reads a head, byte by byte: what follows stays.
fn head(stream: &mut std::net::TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// What is sent, and what must come back.
pub(super) struct Script {
    pub(super) request: Vec<u8>,
    /// The first bytes of each answer, and the length of all of it.
    begins: Vec<u8>,
    length: usize,
}

impl Script {
    /// Asks once, to learn the length of an answer.
    fn learn(what: What, stream: &mut std::net::TcpStream) -> Result<Self> {
        let path = match what {
            What::Plaintext => "/plaintext",
            What::Json => "/json",
            What::File => "/file",
            What::Message(size) => {
                let request = frame(2, &vec![b'x'; size]);
                let length = request.len() - MASK.len();
                let mut begins = request[..length - size].to_vec();
                begins[1] &= 0x7f;
                return Ok(Self { request, begins, length });
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        stream.write_all(&request)?;
        let head = head(stream)?;
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let body: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .ok_or("the answer has no length")?;
        stream.read_exact(&mut vec![0; body])?;
        Ok(Self { request, begins: b"HTTP/1.1 200 OK\r\n".to_vec(), length: head.len() + body })
    }
}

/// A connection that is ready to ask.
fn open(what: What, connector: &mut Connector) -> Result<std::net::TcpStream> {
    let mut stream = connector.connect()?;
    if let What::Message(_) = what {
        open_socket(&mut stream)?;
    }
    Ok(stream)
}

/// See [`Load::run`](super::Load::run).
pub(super) fn run(web: Web, target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(web, target, *effort)?;
    load.drive(Bound::Time(effort.warmup()))?;
    Work::measure(target, || load.drive(Bound::Time(effort.window)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(web: Web, answers: u64, target: &Target, effort: &Effort) -> Result<u64> {
    Load::new(web, target, *effort)?.drive(Bound::Count(answers))
}

/// Resident bytes of the server for each of so many connections that have had one
/// answer and are silent.
pub(crate) fn memory(what: What, connections: usize, target: &Target) -> Result<f64> {
    let mut connector = Connector::new(target.address);
    let mut idle = Vec::new();
    let mut connect = |count: usize| -> Result<()> {
        for _ in 0..count {
            let mut stream = open(what, &mut connector)?;
            let script = Script::learn(what, &mut stream)?;
            if let What::Message(_) = what {
                stream.write_all(&script.request)?;
                stream.read_exact(&mut vec![0; script.length])?;
            }
            idle.push(stream);
        }
        Ok(())
    };
    connect(100)?;
    std::thread::sleep(SETTLE);
    let before = target.process.resident()?;
    connect(connections)?;
    std::thread::sleep(SETTLE);
    Ok((target.process.resident()? as f64 - before as f64) / connections as f64)
}

/// Connections that ask, and what they must be answered.
pub(super) struct Load {
    web: Web,
    pub(super) effort: Effort,
    pub(super) poll: Poll,
    pub(super) script: Script,
    pub(super) buffer: Box<[u8]>,
    pub(super) connections: Vec<Connection>,
}

impl Load {
    pub(super) fn new(web: Web, target: &Target, effort: Effort) -> Result<Self> {
        let mut connector = Connector::new(target.address);
        let script = Script::learn(web.what, &mut open(web.what, &mut connector)?)?;
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(web.connections);
        for index in 0..web.connections {
            let stream = open(web.what, &mut connector)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection { stream, owed: 0, partial: 0 });
        }
        Ok(Self { web, effort, poll, script, buffer: vec![0; 256 << 10].into(), connections })
    }

    /// Begins requests within the bound and waits for all answers; returns how many
    /// came.
    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = Patience::new();
        let began = Instant::now();
        let (mut begun, mut back) = (0, 0);
        let requests: Vec<u8> = self.script.request.repeat(self.web.pipeline as usize);
        for connection in &mut self.connections {
            begun += self.web.pipeline;
            connection.owed = requests.len();
            connection.write(&requests)?;
        }
        while back < begun {
            self.effort.wait(&mut self.poll, &mut events)?;
            let now = Instant::now();
            patience.check(back, now)?;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                let whole = connection.read(&self.script, &mut self.buffer)?;
                back += whole;
                if bound.allows(now.duration_since(began), begun) {
                    begun += whole;
                    connection.owed += whole as usize * self.script.request.len();
                }
                connection.write(&requests)?;
            }
        }
        Ok(back)
    }
}

/// A connection of a [`Load`].
pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes of requests that are not written.
    owed: usize,
    /// Bytes of the answer that is coming.
    partial: usize,
}

impl Connection {
    /// Reads what is there; returns how many answers it completed.
    pub(super) fn read(&mut self, script: &Script, buffer: &mut [u8]) -> Result<u64> {
        let mut whole = 0;
        loop {
            let count = match unless_blocked(self.stream.read(buffer))? {
                Some(0) => return Err("a connection was closed".into()),
                Some(count) => count,
                None => return Ok(whole),
            };
            let mut at = 0;
            while at < count {
                let rest = &buffer[at..count];
                let looked = script.begins.len().min(rest.len());
                if self.partial == 0 && rest[..looked] != script.begins[..looked] {
                    let text = String::from_utf8_lossy(&rest[..rest.len().min(60)]);
                    return Err(format!("this is not the answer: {text:?}").into());
                }
                let taken = rest.len().min(script.length - self.partial);
                self.partial += taken;
                at += taken;
                if self.partial == script.length {
                    self.partial = 0;
                    whole += 1;
                }
            }
            if count < buffer.len() {
                return Ok(whole);
            }
        }
    }

    /// How much of what is owed one write can have.
    fn left_of(&self, requests: &[u8]) -> usize {
        match self.owed % requests.len() {
            0 => requests.len(),
            left => left,
        }
    }

    /// Asks once.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.owed += request.len();
        self.write(request)
    }

    /// Writes requests, as far as there is room.
    pub(super) fn write(&mut self, requests: &[u8]) -> Result<()> {
        while self.owed > 0 {
            // All of it is whole requests, but for what is left of the first.
            let piece = &requests[requests.len() - self.left_of(requests)..];
            match unless_blocked(self.stream.write(piece))? {
                Some(count) => self.owed -= count,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
