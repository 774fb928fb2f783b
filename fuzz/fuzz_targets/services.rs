//! Any bytes give the same output of each service however they are cut, and
//! every turn keeps the reactor's promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve_forever::driver::sim::{Rng, Script, Conditions};
use serve_forever::services::{Chat, Echo, Once, Upper};
use serve_forever::sim::World;
use serve_forever::{Config, Limits, StreamHandler};

/// What a service answers to `input`, in segments of at most `most` bytes.
fn answer<H: StreamHandler, const SHORT: bool>(handler: H, limits: Limits, input: &[u8], seed: u64, most: usize) -> Vec<u8> {
    let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
    let config = Config { read_buffer: most, ..Config::default() };
    let mut world =
        World::<_, SHORT>::with_config(seed, conditions, handler, limits, config).expect("good limits");
    let client = world.play(Script::new().send(input.to_vec()).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
    world.client(client).received().to_vec()
}

fuzz_target!(|input: (u64, &[u8])| {
    let (seed, bytes) = input;
    let most = Rng::new(seed).size(1, 64);
    let echoed = answer::<_, true>(Echo::new(), Echo::limits(), bytes, seed, most);
    assert!(echoed == bytes);
    let raised = answer::<_, false>(Upper::new(), Upper::limits(), bytes, seed, most);
    assert!(raised == bytes.to_ascii_uppercase());
    let cut = answer::<_, true>(Once::new("yes"), Once::limits(), bytes, seed, most);
    let whole = answer::<_, false>(Once::new("yes"), Once::limits(), bytes, seed, 64 << 10);
    assert!(cut == whole);
    let cut = answer::<_, true>(Chat::new(), Chat::limits(), bytes, seed, most);
    let whole = answer::<_, false>(Chat::new(), Chat::limits(), bytes, seed, 64 << 10);
    assert!(cut == whole);
});
