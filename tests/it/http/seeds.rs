//! Requests under conditions of many seeds: cut, delayed, interrupted.

use serve_forever::driver::sim::{Conditions, Rng, Script};
use serve_forever::http::{Http, HttpLimits};
use serve_forever::sim::World;
use serve_forever::{Limits, Overflow};

use super::api::{Api, answers, get, service};

const SEEDS: u64 = 30;

/// Requests of all kinds, one after the other.
fn requests() -> String {
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n";
    [
        get("/hello"),
        post("/echo", &"y".repeat(2000)),
        get("/later?3"),
        chunked.to_owned(),
        get("/stream?2"),
        post("/pieces", &"z".repeat(3000)),
        get("/later?1"),
        get("/length?2"),
        get("/hello"),
    ]
    .concat()
}

#[test]
fn what_arrives_is_the_same_under_every_seed() {
    let expected = answers(requests());
    // No deadline ends what the network delays.
    let http = HttpLimits { request: None, ..HttpLimits::default() };
    let limits = Limits { idle: None, write_stall: None, overflow: Overflow::Close, ..Http::<Api>::limits() };
    let mut whole = 0;
    for seed in 0..SEEDS {
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        let mut world: World<Http<Api>> =
            World::new(seed, conditions, service(http.clone()), limits.clone()).expect("good limits");
        let script = Script::new().send(requests()).finish();
        let client = if seed % 2 == 0 { world.play(script) } else { world.play_unix(script) };
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let seen = world.client(client);
        if seen.received() == expected.as_bytes() {
            whole += 1;
        } else {
            assert!(seen.was_lost(), "seed {seed}: {} of {} bytes", seen.received().len(), expected.len());
            assert!(expected.as_bytes().starts_with(seen.received()), "seed {seed}");
        }
        world.check_baseline().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
    assert!(whole > SEEDS / 2, "only {whole} of {SEEDS} were whole");
}
