//! A handler with WebSockets, and messages over the simulated network.

use std::time::Duration;

use serve_forever::driver::sim::{ClientId, Conditions, Pace, Script};
use serve_forever::http::{Handshake, Http, HttpHandler, HttpIo, HttpLimits, Request, SocketOptions};
use serve_forever::sim::World;
use serve_forever::ws::{CloseCode, Message, SocketLimits, text_frame};
use serve_forever::{BoxError, ConnId, GroupId, Limits, Sent};

use crate::util::Client;

const SECOND: Duration = Duration::from_secs(1);

/// Echoes messages; some words have another meaning.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) options: SocketOptions,
    pub(crate) opened: Vec<ConnId>,
    pub(crate) closed: Vec<Option<u16>>,
    pub(crate) chosen: Vec<Option<String>>,
    pub(crate) room: GroupId,
}

impl HttpHandler for Sockets {
    fn started(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.room = io.group()?;
        Ok(())
    }

    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        if let Handshake::Accepted { protocol } = io.accept_socket(request, &self.options) {
            self.chosen.push(protocol.map(Into::into));
        }
        Ok(())
    }

    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.opened.push(io.id());
        io.join(self.room, io.id())?;
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        match message {
            Message::Text("fail") => return Err("as asked".into()),
            Message::Text("panic") => panic!("as asked"),
            Message::Text("close") => {
                io.close_socket(io.id(), CloseCode::new(4000).expect("a good code"), "as asked")
            }
            Message::Text("shut down") => io.shutdown(10 * SECOND),
            Message::Text("all") => {
                io.broadcast(self.room, &text_frame("to all"), None);
            }
            message => {
                if io.send_message(io.id(), message) == Sent::Full {
                    io.pause(io.id());
                }
            }
        }
        Ok(())
    }

    fn socket_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn socket_closed(&mut self, _: &mut HttpIo<'_, '_>, code: Option<CloseCode>) {
        self.closed.push(code.map(CloseCode::number));
    }
}

pub(crate) type SocketWorld = World<Http<Sockets>, true>;

pub(crate) fn world() -> SocketWorld {
    world_with(SocketOptions::default(), HttpLimits::default(), Http::<Sockets>::limits())
}

pub(crate) fn world_with(options: SocketOptions, http: HttpLimits, limits: Limits) -> SocketWorld {
    let handler = Sockets { options, ..Sockets::default() };
    let http = Http::with_limits(handler, http).expect("good limits").clock(None);
    World::new(1, Conditions::calm(), http, limits).expect("good limits")
}

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Opens a WebSocket at a path of a web server.
pub(crate) fn shake_hands(client: Client, path: &str) -> Client {
    client.send(handshake("").replace("/socket", path));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    client
}

/// A handshake with these fields beside the necessary ones.
pub(crate) fn handshake(fields: &str) -> String {
    format!(
        "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame of a client.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ mask[place % 4]));
    out
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// What a client gets behind the answer to its handshake.
#[track_caller]
pub(crate) fn received(world: &SocketWorld, client: ClientId) -> Vec<u8> {
    let all = world.client(client).received();
    let rest = all.strip_prefix(ACCEPTED.as_bytes());
    rest.unwrap_or_else(|| panic!("no WebSocket: {}", String::from_utf8_lossy(all))).to_vec()
}

/// What a client gets for these frames, sent with its handshake.
#[track_caller]
fn answers(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<Option<u16>>) {
    let mut world = world();
    let client = world.play(Script::new().send(handshake("")).send(frames.concat()).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("nothing is left");
    (received(&world, client), world.handler().handler().closed.clone())
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    [&[0x88, payload.len() as u8], payload.as_slice()].concat()
}

#[test]
fn messages_pings_and_a_close() {
    let frames = [
        text("one"),
        frame(0x89, b"p"),
        frame(0x01, b"tw"),
        frame(0x8a, b""),
        frame(0x80, b"o"),
        frame(0x88, b"\x03\xe9bye"),
    ];
    let (answer, closed) = answers(&frames);
    assert_eq!(answer, [b"\x81\x03one\x8a\x01p\x81\x03two".to_vec(), close(1001, "")].concat());
    assert_eq!(closed, [Some(1001)]);
}

// docs/guarantees.md, 71.
#[test]
fn what_is_against_the_protocol_is_closed_with_its_code() {
    let cases: [(Vec<u8>, u16); 6] = [
        (vec![0x81, 0x01, b'x'], 1002),
        (frame(0xc1, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x81, b"\xff"), 1007),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4], 1009),
    ];
    for (bytes, code) in cases {
        let (answer, closed) = answers(&[text("ok"), bytes.clone(), text("never seen")]);
        assert_eq!(answer[..4], *b"\x81\x02ok", "{bytes:?}");
        assert_eq!((answer[4], u16::from_be_bytes([answer[6], answer[7]])), (0x88, code), "{bytes:?}");
        assert_eq!(closed, [None]);
    }
}

#[test]
fn a_handler_closes_or_fails() {
    let (answer, closed) = answers(&[text("close"), text("never seen")]);
    assert_eq!((answer, closed), (close(4000, "as asked"), vec![None]));
    let (answer, closed) = answers(&[text("fail"), text("never seen")]);
    assert_eq!((answer, closed), (close(1011, ""), vec![None]));
    let mut world = world();
    let client = world.play(Script::new().send(handshake("")).after(SECOND).send(text("panic")));
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), b"", "without a word");
    assert_eq!(world.handler().handler().closed, [None], "and once");
}

// docs/guarantees.md, 74.
#[test]
fn a_close_that_is_never_answered_ends_with_the_linger_time() {
    let mut world = world();
    let script = Script::new()
        .then(serve_forever::driver::sim::Act::StayAfterFin)
        .send(handshake(""))
        .send(text("close"));
    let client = world.play(script);
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), close(4000, "as asked"));
    world.check_baseline().expect("nothing is left");
}

#[test]
fn one_frame_serves_a_whole_group() {
    let mut world = world();
    let clients: Vec<_> = (0..20).map(|_| world.play(Script::new().send(handshake("")))).collect();
    world.run_for(SECOND).expect("it keeps its promises");
    let speaker = world.play(Script::new().send(handshake("")).send(text("all")).finish());
    world.run_for(SECOND).expect("it keeps its promises");
    for client in clients {
        assert_eq!(received(&world, client), b"\x81\x06to all");
    }
    assert_eq!(received(&world, speaker), b"\x81\x06to all");
}

#[test]
fn silent_peers_get_pings_and_those_that_do_not_answer_are_dropped() {
    let mut world = world();
    let dead = world.play(Script::new().send(handshake("")));
    let pongs = (0..20).fold(Script::new().send(handshake("")), |script, _| {
        script.after(25 * SECOND).send(frame(0x8a, b""))
    });
    let alive = world.play(pongs);
    world.run_for(300 * SECOND).expect("it keeps its promises");
    assert_eq!(received(&world, alive), b"");
    assert_eq!(world.life(alive).and_then(|life| life.closed()), None, "and idle is no reason");
    assert_eq!(received(&world, dead), b"\x89\0");
    assert_eq!(world.life(dead).and_then(|life| life.closed()), Some("Aborted"));
}

#[test]
fn a_peer_that_does_not_read_is_asked_for_no_more() {
    let limits = Limits { low_mark: 1000, high_mark: 4000, ..Http::<Sockets>::limits() };
    let mut world = world_with(SocketOptions::default(), HttpLimits::default(), limits);
    let flood = [text(&"x".repeat(1000)), frame(0x89, &[b'p'; 125])].concat().repeat(2000);
    let script = Script::new().send(handshake("")).read(Pace::Never).send(flood);
    let client =
        world.play(script.after(40 * SECOND).read(Pace::AtOnce).after(SECOND).send(frame(0x88, b"")));
    world.run_for(30 * SECOND).expect("it keeps its promises");
    assert_eq!(world.life(client).and_then(|life| life.closed()), None);
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client).len(), 2000 * (1004 + 127) + 2);
}

// docs/guarantees.md, 72.
#[test]
fn a_message_in_very_many_fragments_is_refused_at_the_limit() {
    let options = SocketOptions {
        limits: SocketLimits { max_fragments: 1000, ..SocketLimits::default() },
        ..SocketOptions::default()
    };
    let mut world = world_with(options, HttpLimits::default(), Http::<Sockets>::limits());
    let mut bytes = frame(0x01, b"");
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[0x00, 0x80, 0, 0, 0, 0]);
    }
    let client = world.play(Script::new().send(handshake("")).send(bytes));
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), close(1009, "a message has too many fragments"));
}

#[test]
fn a_shutdown_closes_all_of_them_with_1001() {
    let mut world = world();
    let client = world.play(Script::new().send(handshake("")));
    world.play(Script::new().after(SECOND).send(handshake("")).send(text("shut down")));
    world.run_for(20 * SECOND).expect("it keeps its promises");
    assert_eq!(received(&world, client), close(1001, "the server goes down"));
}

#[test]
fn a_websocket_that_a_deadline_ends_is_told() {
    let http = HttpLimits { ping: None, ..HttpLimits::default() };
    let limits = Limits { idle: Some(60 * SECOND), ..Http::<Sockets>::limits() };
    let mut world = world_with(SocketOptions::default(), http, limits);
    let client = world.play(Script::new().send(handshake("")));
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), close(1008, ""));
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("TimedOut(Idle)"));
}
