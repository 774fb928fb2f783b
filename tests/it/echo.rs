//! Echo and upper: every byte comes back, in order, and then the FIN.

use std::thread;

use serve_forever::services::{Echo, Upper};
use serve_forever::{Config, Endpoint, StreamHandler};

use crate::util::{Client, Server, listen_anywhere, noise};

const HUNDRED_MEGABYTES: usize = 100_000_000;

/// Sends from one thread while the other reads and compares, so that neither
/// end has to hold what is on the way.
#[track_caller]
fn sends_back(client: &Client, sent: &[u8], expected: &[u8]) {
    thread::scope(|scope| {
        let sender = client.share();
        scope.spawn(move || {
            sender.send(sent);
            sender.finish();
        });
        for piece in expected.chunks(1 << 20) {
            client.expect(piece);
        }
    });
    client.expect_eof();
}

fn unix_endpoint(directory: &tempfile::TempDir) -> Endpoint {
    Endpoint::Unix(directory.path().join("socket"))
}

fn survives_a_hundred_megabytes(at: Endpoint) {
    let server = Server::start_with(Config::default(), Echo::new(), Echo::limits(), &[at]);
    let bytes = noise(HUNDRED_MEGABYTES);
    sends_back(&server.connect(), &bytes, &bytes);
    let stats = server.stop();
    assert_eq!((stats.bytes_in, stats.bytes_out), (bytes.len() as u64, bytes.len() as u64));
}

#[test]
fn a_hundred_megabytes_come_back_identical_over_tcp() {
    survives_a_hundred_megabytes(listen_anywhere());
}

#[test]
fn a_hundred_megabytes_come_back_identical_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    survives_a_hundred_megabytes(unix_endpoint(&directory));
}

#[test]
fn each_message_comes_back_before_the_next_is_sent() {
    let server = Server::start(Echo::new(), Echo::limits());
    let client = server.connect();
    for length in [1, 2, 3, 1000, 65_535, 65_536, 65_537, 1] {
        let message = noise(length);
        client.send(&message);
        client.expect(&message);
    }
}

#[test]
fn what_came_before_a_half_close_comes_back_before_the_fin() {
    let server = Server::start(Echo::new(), Echo::limits());
    let client = server.connect();
    client.send("a request without an end");
    client.finish();
    assert_eq!(client.rest(), b"a request without an end");
    server.until_connections(0);
}

#[test]
fn a_client_that_only_says_goodbye_gets_a_goodbye() {
    let server = Server::start(Echo::new(), Echo::limits());
    let client = server.connect();
    client.finish();
    client.expect_eof();
    server.until_connections(0);
}

#[test]
fn clients_do_not_get_each_others_bytes() {
    let server = Server::start(Echo::new(), Echo::limits());
    let clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for round in 0..10 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("client {number}, round {round}\n"));
        }
        for (number, client) in clients.iter().enumerate() {
            client.expect(format!("client {number}, round {round}\n"));
        }
    }
}

fn uppers<S: StreamHandler + Send>(handler: S, at: Endpoint) {
    let server = Server::start_with(Config::default(), handler, Upper::limits(), &[at]);
    let every_byte: Vec<u8> = (0..=255).cycle().take(3_000_001).collect();
    let expected: Vec<u8> = every_byte.iter().map(u8::to_ascii_uppercase).collect();
    sends_back(&server.connect(), &every_byte, &expected);
}

#[test]
fn upper_changes_the_26_letters_and_no_other_byte() {
    uppers(Upper::new(), listen_anywhere());
    let directory = tempfile::tempdir().expect("a directory");
    uppers(Upper::new(), unix_endpoint(&directory));
}

#[test]
fn upper_leaves_letters_beyond_ascii_alone_even_when_they_are_cut() {
    let server = Server::start(Upper::new(), Upper::limits());
    let client = server.connect();
    let text = "grüße, ÿ\0\r\n".as_bytes();
    for byte in text {
        client.send([*byte]);
    }
    client.finish();
    assert_eq!(client.rest(), "GRüßE, ÿ\0\r\n".as_bytes());
}
