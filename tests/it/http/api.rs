//! A handler with a route for each thing that a handler can do, and a world
//! around it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serve_forever::bytes::{Bytes, BytesMut};
use serve_forever::driver::sim::{ClientId, Conditions, Script};
use serve_forever::http::{
    Body, Event, Http, HttpHandler, HttpIo, HttpLimits, Method, Request, StatusCode, Ticket, header,
};
use serve_forever::sim::World;
use serve_forever::{BoxError, Limits, Sent, TimerId};

pub(crate) const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// The size of `/big`.
pub(crate) const BIG: usize = 3 << 20;

/// Answers by what the path asks for.
#[derive(Debug, Default)]
pub(crate) struct Api {
    /// What was asked, in order.
    pub(crate) asked: Vec<String>,
    /// Requests that are answered when a timer is due.
    later: BTreeMap<TimerId, (Ticket, String)>,
    /// The same of those whose answer ends the connection.
    last: BTreeMap<TimerId, Ticket>,
    /// Bytes of bodies in pieces.
    pub(crate) pieces: BTreeMap<Ticket, usize>,
    /// Streams, and how many pieces each has still to write.
    pub(crate) streams: BTreeMap<Ticket, usize>,
    pub(crate) fulls: usize,
    /// Requests whose connection ended before their answer.
    pub(crate) gone: Vec<Ticket>,
    pub(crate) events: Vec<Ticket>,
}

/// The answer to `/last`, so many times.
pub(crate) const LAST: &str = "bye\n";
pub(crate) const LAST_TIMES: usize = 3000;

/// A piece of a stream.
pub(crate) const PIECE: &[u8] = &[b'x'; 10_000];

impl Api {
    fn pour(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) {
        while let Some(left) = self.streams.get_mut(&ticket) {
            if *left == 0 {
                self.streams.remove(&ticket);
                io.end_body(ticket);
                return;
            }
            *left -= 1;
            match io.write_body(ticket, PIECE) {
                Sent::Queued => {}
                Sent::Full => {
                    self.fulls += 1;
                    return;
                }
                Sent::Gone | Sent::Dropped => {
                    self.streams.remove(&ticket);
                }
            }
        }
    }
}

impl HttpHandler for Api {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        self.asked.push(format!("{} {}", request.method(), request.path()));
        let number = || request.query().and_then(|query| query.parse::<u64>().ok()).unwrap_or(0);
        match request.path() {
            "/hello" => _ = io.answer(StatusCode::OK).text("hello\n"),
            "/echo" => _ = io.answer(StatusCode::OK).body(request.body()),
            "/none" => _ = io.answer(StatusCode::NO_CONTENT).body("never sent"),
            "/unchanged" => _ = io.answer(StatusCode::NOT_MODIFIED).body("never sent"),
            "/close" => _ = io.answer(StatusCode::OK).close().text("bye\n"),
            "/big" => _ = io.answer(StatusCode::OK).bytes(vec![b'b'; BIG]),
            "/later" => {
                let timer = io.tick_after(Duration::from_millis(number()))?;
                self.later.insert(timer, (io.defer(), request.query().unwrap_or_default().into()));
            }
            "/last" => {
                let timer = io.tick_after(Duration::from_millis(number()))?;
                self.last.insert(timer, io.defer());
            }
            "/never" => _ = io.defer(),
            "/stream" | "/length" => {
                let answer = io.answer(StatusCode::OK);
                let ticket = match request.path() {
                    "/stream" => answer.stream(),
                    _ => answer.stream_of(number() * PIECE.len() as u64),
                };
                self.streams.insert(ticket, usize::try_from(number())?);
                self.pour(io, ticket);
            }
            "/short" => {
                let ticket = io.answer(StatusCode::OK).stream_of(10);
                let _ = io.write_body(ticket, "short");
                io.end_body(ticket);
            }
            "/events" => {
                let ticket = io.answer(StatusCode::OK).events();
                self.events.push(ticket);
            }
            "/announce" => {
                let group = io.group()?;
                for ticket in &self.events {
                    assert!(io.subscribe(*ticket, group));
                }
                io.broadcast(group, &Event::new("to all").to_bytes(), None);
                let _ = io.write_body(self.events[1], Event::new("to one").to_bytes());
                let _ = io.answer(StatusCode::OK).empty();
            }
            "/split" => {
                _ = io.answer(StatusCode::OK).header(header::LOCATION, "/\r\nx: y").text("never sent");
            }
            "/silent" => {}
            "/fails" => return Err("it fails".into()),
            "/panics" => panic!("as asked"),
            "/method" => {
                let allowed = [Method::PUT, Method::DELETE];
                _ = io.answer(StatusCode::METHOD_NOT_ALLOWED).allow(&allowed).text("put or delete\n");
            }
            "/upgrade" => {
                if !io.upgrade(request, "shout") {
                    let answer = io.answer(StatusCode::UPGRADE_REQUIRED).header(header::UPGRADE, "shout");
                    _ = answer.text("speak louder\n");
                }
            }
            _ => _ = io.answer(StatusCode::NOT_FOUND).text("nothing\n"),
        }
        Ok(())
    }

    fn body(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<Body, BoxError> {
        Ok(match request.path() {
            "/pieces" => Body::Pieces,
            "/sized" => Body::WithLength,
            "/private" => {
                let _ = io.answer(StatusCode::UNAUTHORIZED).text("who are you\n");
                Body::Whole
            }
            _ => Body::Whole,
        })
    }

    fn begin(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, _: &Request<'_>) -> Result<(), BoxError> {
        self.pieces.insert(ticket, 0);
        Ok(())
    }

    fn piece(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, data: &[u8]) -> Result<(), BoxError> {
        *self.pieces.get_mut(&ticket).ok_or("it has begun")? += data.len();
        Ok(())
    }

    fn body_end(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        let count = self.pieces.remove(&ticket).ok_or("it has begun")?;
        let _ = io.answer_to(ticket, StatusCode::OK).text(format!("{count} bytes\n"));
        Ok(())
    }

    fn drained(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        self.pour(io, ticket);
        Ok(())
    }

    fn gone(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket) {
        self.gone.push(ticket);
        self.streams.remove(&ticket);
        self.pieces.remove(&ticket);
    }

    fn tick(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) {
        if let Some((ticket, text)) = self.later.remove(&timer) {
            let _ = io.answer_to(ticket, StatusCode::OK).text(format!("{text}\n"));
        }
        if let Some(ticket) = self.last.remove(&timer) {
            let _ = io.answer_to(ticket, StatusCode::OK).close().text(LAST.repeat(LAST_TIMES));
        }
    }

    fn raw_data(&mut self, io: &mut HttpIo<'_, '_>, input: &mut BytesMut) -> Result<(), BoxError> {
        input.make_ascii_uppercase();
        io.reply_buf(input);
        Ok(())
    }
}

pub(crate) type ApiWorld = World<Http<Api>, true>;

/// The service, at a time that stands still.
pub(crate) fn service(limits: HttpLimits) -> Http<Api> {
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    Http::with_limits(Api::default(), limits).expect("good limits").clock(Some(clock))
}

pub(crate) fn world() -> ApiWorld {
    world_with(Conditions::calm(), HttpLimits::default(), Http::<Api>::limits())
}

pub(crate) fn world_with(conditions: Conditions, http: HttpLimits, limits: Limits) -> ApiWorld {
    World::new(1, conditions, service(http), limits).expect("good limits")
}

pub(crate) fn received(world: &ApiWorld, client: ClientId) -> String {
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

/// What a client gets for this, in one piece; it ends its side behind it.
#[track_caller]
pub(crate) fn answers(text: impl Into<Bytes>) -> String {
    let mut world = world();
    let client = world.play(Script::new().send(text).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("nothing is left");
    received(&world, client)
}

/// A request without a body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A whole answer with a text as its body.
pub(crate) fn text(status: &str, body: &str) -> String {
    text_with(status, "", body)
}

pub(crate) fn text_with(status: &str, connection: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{DATE}content-type: text/plain; charset=utf-8\r\n{connection}content-length: {length}\r\n\r\n{body}"
    )
}

pub(crate) const CLOSE: &str = "connection: close\r\n";
