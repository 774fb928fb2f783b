//! Teaches: answers in parts. Events for a browser, and a download of any length
//! that is made as fast as it is taken.
//!
//! ```text
//! cargo run --features http --example http_stream -- 127.0.0.1:8080
//! curl -N http://127.0.0.1:8080/clock
//! curl http://127.0.0.1:8080/download?1000000000 | wc -c
//! ```

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use serve_forever::http::{Event, Http, HttpHandler, HttpIo, Request, StatusCode, Ticket, header};
use serve_forever::{BoxError, Config, GroupId, Reactor, Sent, TimerId};

static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

#[derive(Default)]
struct Streams {
    /// Those who listen to the clock, and its ticks so far.
    clock: GroupId,
    ticks: u64,
    /// What is left of each download.
    downloads: BTreeMap<Ticket, usize>,
}

impl Streams {
    /// Writes until the client has enough for now.
    fn pour(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) {
        while let Some(left) = self.downloads.get_mut(&ticket) {
            let piece = &PIECE[..PIECE.len().min(*left)];
            *left -= piece.len();
            let sent = io.write_body(ticket, piece);
            if *left == 0 {
                io.end_body(ticket);
            }
            if *left == 0 || sent == Sent::Gone {
                self.downloads.remove(&ticket);
            } else if sent == Sent::Full {
                return; // `drained` goes on
            }
        }
    }
}

impl HttpHandler for Streams {
    fn started(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.clock = io.group()?;
        io.tick_every(Duration::from_secs(1))?;
        Ok(())
    }

    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        match request.path() {
            "/clock" => {
                let listener = io.answer(StatusCode::OK).events();
                io.subscribe(listener, self.clock);
            }
            "/download" => {
                let length = request.query().and_then(|query| query.parse().ok()).unwrap_or(1 << 20);
                let answer =
                    io.answer(StatusCode::OK).header(header::CONTENT_TYPE, "application/octet-stream");
                let ticket = answer.stream_of(length as u64);
                self.downloads.insert(ticket, length);
                self.pour(io, ticket);
            }
            _ => _ = io.answer(StatusCode::NOT_FOUND).text("there are /clock and /download\n"),
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        self.pour(io, ticket);
        Ok(())
    }

    fn gone(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket) {
        self.downloads.remove(&ticket);
    }

    fn tick(&mut self, io: &mut HttpIo<'_, '_>, _: TimerId) {
        self.ticks += 1;
        // Encoded once, for all of them.
        let event = Event::new(&format!("tick {}", self.ticks)).to_bytes();
        io.broadcast(self.clock, &event, None);
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let mut reactor = Reactor::new(Config::default())?;
    let streams = reactor.add(Http::new(Streams::default()), Http::<Streams>::limits())?;
    let listener = reactor.listen(&streams, &at.parse()?)?;
    if let Some(local) = reactor.local(listener) {
        println!("listening on {local}");
    }
    reactor.serve_forever()
}
