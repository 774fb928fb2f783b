//! Any bytes give the same answers of an HTTP service however they are cut: heads,
//! bodies by length, chunks, and requests sent ahead.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve_forever::driver::sim::{Conditions, Rng, Script};
use serve_forever::http::{Body, Http, HttpHandler, HttpIo, Request, StatusCode, Ticket};
use serve_forever::sim::World;
use serve_forever::{BoxError, Config};

/// Says what it was asked; takes a body whole, or in pieces where the path is long.
#[derive(Default)]
struct Mirror {
    pieces: Vec<(Ticket, Vec<u8>)>,
}

impl HttpHandler for Mirror {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        let body = request.body().escape_ascii();
        let text = format!("{} {} {:?} {body}\n", request.method(), request.path(), request.query());
        let _ = io.answer(StatusCode::OK).text(text);
        Ok(())
    }

    fn body(&mut self, _: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<Body, BoxError> {
        Ok(if request.path().len() > 3 { Body::Pieces } else { Body::Whole })
    }

    fn begin(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, _: &Request<'_>) -> Result<(), BoxError> {
        self.pieces.push((ticket, Vec::new()));
        Ok(())
    }

    fn piece(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, data: &[u8]) -> Result<(), BoxError> {
        let (_, body) = self.pieces.iter_mut().find(|(of, _)| *of == ticket).ok_or("it has begun")?;
        body.extend_from_slice(data);
        Ok(())
    }

    fn body_end(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        let place = self.pieces.iter().position(|(of, _)| *of == ticket).ok_or("it has begun")?;
        let (_, body) = self.pieces.remove(place);
        let _ = io.answer_to(ticket, StatusCode::OK).text(body.escape_ascii().to_string());
        Ok(())
    }

    fn gone(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket) {
        self.pieces.retain(|(of, _)| *of != ticket);
    }
}

/// What the service answers to `input`, in segments of at most `most` bytes. Whether a
/// client that waits for it gets a `100 Continue` depends on whether the body is there.
fn answer(input: &[u8], seed: u64, most: usize) -> String {
    let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
    let config = Config { read_buffer: most, ..Config::default() };
    let http = Http::new(Mirror::default()).clock(None);
    let limits = Http::<Mirror>::limits();
    let mut world = World::<_, true>::with_config(seed, conditions, http, limits, config).expect("good limits");
    let client = world.play(Script::new().send(input.to_vec()).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
    assert!(world.handler().handler().pieces.is_empty(), "each is told of its end");
    let text = String::from_utf8_lossy(world.client(client).received()).into_owned();
    text.replace("HTTP/1.1 100 Continue\r\n\r\n", "")
}

fuzz_target!(|input: (u64, &[u8])| {
    let (seed, bytes) = input;
    let cut = answer(bytes, seed, Rng::new(seed).size(1, 64));
    let whole = answer(bytes, seed, 64 << 10);
    assert!(cut == whole, "{cut}\nis not\n{whole}");
});
