//! HTTP and WebSocket: a steady answer allocates nothing, and an idle WebSocket owns
//! little.

use std::thread;

use serve_forever::http::{Http, HttpHandler, HttpIo, Request, SocketOptions, StatusCode};
use serve_forever::ws::Message;
use serve_forever::{BoxError, Config, GroupId, Reactor};

use crate::counting::{allocations_in, live};
use crate::util::{Client, PATIENCE, listen_anywhere};

const WARM_UP: u64 = 200;
const ANSWERS: u64 = 10_000;
const SOCKETS: usize = 1024;

/// A text for each request, and an echo for each message.
#[derive(Default)]
struct Plain {
    options: SocketOptions,
    /// Whether WebSockets are members of a group, and that group.
    has_room: bool,
    room: GroupId,
    requests: u64,
    messages: usize,
}

impl HttpHandler for Plain {
    fn started(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.room = io.group()?;
        Ok(())
    }

    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        self.requests += 1;
        match request.path() {
            "/socket" => _ = io.accept_socket(request, &self.options),
            _ => _ = io.answer(StatusCode::OK).text("Hello, World!"),
        }
        Ok(())
    }

    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        if self.has_room {
            io.join(self.room, io.id())?;
        }
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        self.messages += 1;
        let _ = io.send_message(io.id(), message);
        Ok(())
    }
}

/// Reads a head, and a body of so many bytes.
fn answer(client: &Client, body: usize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1));
    }
    client.take(body);
}

#[test]
fn ten_thousand_answers_allocate_nothing_and_make_two_calls_beside_the_wait() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let plain = reactor.add(Http::new(Plain::default()), Http::<Plain>::limits()).expect("good limits");
    let listener = reactor.listen(&plain, &listen_anywhere()).expect("the endpoint is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let client = Client::connect(&at);
        for _ in 0..WARM_UP + ANSWERS {
            client.send("GET /plain HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n");
            answer(&client, 13);
        }
        client
    });
    let mut serve_until = |requests: u64| {
        while reactor.get(&plain).handler().requests < requests {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        reactor.stats().system
    };
    let before = serve_until(WARM_UP);
    let mut after = before;
    let count = allocations_in(|| after = serve_until(WARM_UP + ANSWERS));
    drop(talking.join().expect("every answer came"));
    assert_eq!(count, 0);
    assert_eq!((after.read - before.read, after.write - before.write), (ANSWERS, ANSWERS));
    assert_eq!(after.total() - after.wait, before.total() - before.wait + 2 * ANSWERS);
}

#[test]
fn an_idle_websocket_takes_less_than_300_bytes() {
    let alone = bytes_of_an_idle_websocket(false);
    assert!(alone < 300, "{alone} bytes");
    let in_a_group = bytes_of_an_idle_websocket(true);
    assert!(in_a_group < 300, "{in_a_group} bytes as a member of a group");
}

/// What each WebSocket owns after an echo, as a member of a group or not.
fn bytes_of_an_idle_websocket(has_room: bool) -> usize {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let plain = Plain { has_room, ..Plain::default() };
    let plain = reactor.add(Http::new(plain), Http::<Plain>::limits()).expect("good limits");
    let listener = reactor.listen(&plain, &listen_anywhere()).expect("the endpoint is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    let connect = move |count: usize| {
        let at = at.clone();
        thread::spawn(move || {
            let open = |_| {
                let client = Client::connect(&at);
                client.send(
                    "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                );
                answer(&client, 0);
                client.send(b"\x81\x85\0\0\0\0hello");
                client.expect(b"\x81\x05hello");
                client
            };
            (0..count).map(open).collect::<Vec<_>>()
        })
    };
    let mut serve_until = |messages: usize| {
        while reactor.get(&plain).handler().messages < messages {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        live()
    };
    // What the first one sets up is there once and for all.
    let first = connect(1);
    let before = serve_until(1);
    let others = connect(SOCKETS - 1);
    let each = (serve_until(SOCKETS) - before) as usize / (SOCKETS - 1);
    println!("{each} bytes for each idle WebSocket, in a group: {has_room}");
    drop((first.join().expect("it echoed"), others.join().expect("all echoed")));
    each
}
