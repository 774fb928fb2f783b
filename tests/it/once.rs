//! Once: one request, one answer that is not lost, and goodbye.

use serve_forever::Limits;
use serve_forever::services::{Framing, Once};

use crate::util::{SOON, Server, noise};

const ANSWER: &str = "come back tomorrow\n";
const TOO_LONG: &str = "! line too long\n";
const MAX_LINE: usize = 65_536;

fn server() -> Server<Once> {
    Server::start(Once::new("come back tomorrow"), Once::limits())
}

#[test]
fn a_line_is_answered_and_the_connection_closed() {
    let server = server();
    for request in ["hello\n", "hello\r\n", "\n", "\r\n", "a\0b\n", "one\ntwo\nthree\n"] {
        let client = server.connect();
        client.send(request);
        assert_eq!(client.rest(), ANSWER.as_bytes(), "{request:?}");
    }
}

#[test]
fn a_line_may_come_in_pieces() {
    let server = server();
    let client = server.connect();
    for byte in b"hello\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.rest(), ANSWER.as_bytes());
}

#[test]
fn a_last_line_without_its_end_is_a_request() {
    let server = server();
    let client = server.connect();
    client.send("hello");
    client.finish();
    assert_eq!(client.rest(), ANSWER.as_bytes());
}

#[test]
fn nothing_at_all_is_no_request() {
    let server = server();
    let client = server.connect();
    client.finish();
    client.expect_eof();
}

#[test]
fn the_longest_line_is_answered_and_one_byte_more_is_told() {
    let server = server();
    let longest = vec![b'x'; MAX_LINE];
    for end in ["\n", "\r\n"] {
        let client = server.connect();
        client.send(&longest);
        client.send(end);
        assert_eq!(client.rest(), ANSWER.as_bytes());

        let client = server.connect();
        client.send(&longest);
        client.send("x");
        client.send(end);
        assert_eq!(client.rest(), TOO_LONG.as_bytes());
    }
}

#[test]
fn a_last_line_is_held_to_the_same_length() {
    let server = server();
    let client = server.connect();
    client.send(vec![b'x'; MAX_LINE]);
    client.finish();
    assert_eq!(client.rest(), ANSWER.as_bytes());

    let client = server.connect();
    client.send(vec![b'x'; MAX_LINE + 1]);
    client.finish();
    assert_eq!(client.rest(), TOO_LONG.as_bytes());
}

// docs/guarantees.md, 18.
#[test]
fn ten_megabytes_without_a_line_end_are_refused_at_the_limit() {
    let server = server();
    let client = server.connect();
    let sender = client.share();
    let flood = std::thread::spawn(move || sender.try_send(noise_without_line_ends()));
    assert_eq!(client.rest(), TOO_LONG.as_bytes(), "though the client was still sending");
    // The server has read and discarded it: a close with input unread would
    // have been a reset, and this an error.
    flood.join().expect("the sender lives").expect("the server lingers");
    client.finish();
    server.until_connections(0);
    let stats = server.stop();
    assert_eq!(stats.bytes_in, 10_000_000);
}

fn noise_without_line_ends() -> Vec<u8> {
    let mut bytes = noise(10_000_000);
    for byte in &mut bytes {
        *byte = (*byte).max(b' ');
    }
    bytes
}

#[test]
fn the_answer_is_not_lost_on_a_client_that_keeps_sending() {
    let server = server();
    let client = server.connect();
    client.send("hello\n");
    // It knows nothing of the answer yet, and sends on.
    let sent = client.fill(&noise(4_000_000));
    assert!(sent > 0);
    assert_eq!(client.rest(), ANSWER.as_bytes());
    client.finish();
    server.until_connections(0);
}

// Without lingering, closing would be left to the kernel, which resets.
#[test]
fn a_client_that_never_stops_is_dropped_when_its_time_is_over() {
    let limits = Limits { linger: SOON, ..Once::limits() };
    let server = Server::start(Once::new("no"), limits);
    let client = server.connect();
    client.send("hello\n");
    client.expect("no\n");
    while client.try_send(noise(1000)).is_ok() {}
    server.until_connections(0);
    assert_eq!(server.stop().closed, 1);
}

#[test]
fn in_chunks_a_request_is_what_one_read_returned() {
    let server = Server::start(Once::framed("tomorrow", Framing::Chunk), Once::limits());
    for request in ["hello", "hello\n", " \n"] {
        let client = server.connect();
        client.send(request);
        assert_eq!(client.rest(), b"tomorrow", "{request:?}");
    }
}
