//! Requests that are cut anywhere get the answers of those that are not
//! (docs/guarantees.md, 64).

use std::time::Duration;

use serve_forever::bytes::Bytes;
use serve_forever::driver::sim::{ClientId, Script};

use super::api::{ApiWorld, answers, received, world};

const GAP: Duration = Duration::from_millis(50);

/// A client that sends a text in three pieces.
fn cut(world: &mut ApiWorld, text: &Bytes, first: usize, second: usize) -> ClientId {
    let pieces = [text.slice(..first), text.slice(first..second), text.slice(second..)];
    let script = pieces
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .fold(Script::new(), |script, piece| script.send(piece).after(GAP));
    world.play(script.finish())
}

/// Holds every pair of cuts against the whole. The clients of one first cut share
/// a world.
#[track_caller]
fn every_pair_of_cuts_is_the_same(text: &str) {
    let whole = answers(text.to_owned());
    assert!(whole.starts_with("HTTP/1.1 "), "{whole}");
    let text = Bytes::from(text.to_owned());
    for first in 0..text.len() {
        let mut world = world();
        let clients: Vec<_> =
            (first..=text.len()).map(|second| cut(&mut world, &text, first, second)).collect();
        world.run().expect("it keeps its promises");
        for (client, second) in clients.into_iter().zip(first..) {
            assert_eq!(received(&world, client), whole, "cut at {first} and {second}");
        }
        world.check_baseline().expect("nothing is left");
    }
}

#[test]
fn requests_without_a_body_sent_ahead() {
    every_pair_of_cuts_is_the_same(
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nHEAD /hello HTTP/1.1\r\nhost: a\r\n\r\n\r\nGET /x HTTP/1.0\r\n\r\n",
    );
}

#[test]
fn bodies_by_length_and_chunked() {
    every_pair_of_cuts_is_the_same(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
         POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
    );
}

#[test]
fn bodies_in_pieces_and_answers_that_come_later() {
    every_pair_of_cuts_is_the_same(
        "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /later?9 HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    );
}

#[test]
fn what_is_refused() {
    for text in [
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
        "POST /private HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        every_pair_of_cuts_is_the_same(text);
    }
}

#[test]
fn an_upgrade_and_what_follows_it() {
    every_pair_of_cuts_is_the_same(
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: Shout\r\nConnection: upgrade\r\n\r\nhow do you do",
    );
}
