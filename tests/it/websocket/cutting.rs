//! A handshake and frames that are cut anywhere mean the same.

use std::time::Duration;

use serve_forever::bytes::Bytes;
use serve_forever::driver::sim::Script;

use super::sockets::{frame, handshake, received, text, world};

// docs/guarantees.md, 73.
#[test]
fn every_pair_of_cuts_is_the_same() {
    let frames = [
        text("aä"),
        frame(0x01, "€".as_bytes()),
        frame(0x89, b"p"),
        frame(0x80, "x".as_bytes()),
        frame(0x82, &[7; 130]),
        frame(0x88, b"\x03\xe8"),
    ];
    let head = handshake("");
    let all = Bytes::from([head.clone().into_bytes(), frames.concat()].concat());
    let mut whole = world();
    let client = whole.play(Script::new().send(all.clone()).finish());
    whole.run().expect("it keeps its promises");
    let expected = received(&whole, client);
    assert!(expected.ends_with(b"\x88\x02\x03\xe8"), "{expected:?}");
    // Cuts within the head are those of HTTP; its last bytes are enough.
    let begin = head.len() - 4;
    for first in begin..all.len() {
        let mut world = world();
        let clients: Vec<_> = (first..=all.len())
            .map(|second| {
                let pieces = [all.slice(..first), all.slice(first..second), all.slice(second..)];
                let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
                let script = pieces
                    .fold(Script::new(), |script, piece| script.send(piece).after(Duration::from_millis(50)));
                world.play(script.finish())
            })
            .collect();
        world.run().expect("it keeps its promises");
        for (client, second) in clients.into_iter().zip(first..) {
            assert_eq!(received(&world, client), expected, "cut at {first} and {second}");
        }
        world.check_baseline().expect("nothing is left");
    }
}
