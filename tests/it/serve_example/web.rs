//! `web=`: files, the room of the chat, and the options that go with it.

use std::fs;
use std::process::Command;

use crate::util::Client;
use crate::util::program::{Serve, Signal, example};

/// The whole answer to a request.
fn ask(serve: &Serve, place: usize, request: &str) -> String {
    let client = serve.connect(place);
    client.send(format!("GET {request}"));
    String::from_utf8_lossy(&client.rest()).into_owned()
}

/// Asks for the chat's WebSocket, as a page of this origin.
fn open(serve: &Serve, place: usize, origin: &str) -> (Client, String) {
    let client = serve.connect(place);
    client.send(format!(
        "GET /chat/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\r\n"
    ));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1));
    }
    (client, String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn files_and_the_room_of_every_chat_endpoint() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("index.html"), "<p>home").expect("a file");
    let www = format!("--www={}", directory.path().display());
    let serve = Serve::start(&[
        &www,
        "--origin=https://example.org",
        "chat=127.0.0.1:0",
        "web=127.0.0.1:0",
        "chat=127.0.0.1:0",
    ]);
    assert!(ask(&serve, 1, "/ HTTP/1.0\r\n\r\n").ends_with("<p>home"));
    assert!(ask(&serve, 1, "/healthz HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nok\n"));
    let first = serve.connect(0);
    first.expect("* you are guest1\n");
    let (page, head) = open(&serve, 1, "https://example.org");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    page.expect(b"\x81\x10* you are guest2");
    first.expect("* guest2 joined\n");
    let second = serve.connect(2);
    second.expect("* you are guest3\n");
    page.expect(b"\x81\x0f* guest3 joined");
    second.send("hello\n");
    first.expect("* guest3 joined\n<guest3> hello\n");
    page.expect(b"\x81\x0e<guest3> hello");
    let (_, head) = open(&serve, 1, "https://example.com");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    serve.program.signal(Signal::TERM);
    page.expect(b"\x88\x16\x03\xe9the server goes down");
    assert_eq!(serve.program.wait().status, 0);
}

#[test]
fn a_directory_that_is_not_there_and_an_origin_that_is_none() {
    for (arguments, says) in [
        (["--www=/no/such/directory", "web=127.0.0.1:0"], "/no/such/directory"),
        (["--origin=example.org", "web=127.0.0.1:0"], "that is no origin"),
        (["--www=/", "web=udp://127.0.0.1:0"], "web is a service for streams"),
    ] {
        let output = Command::new(example("serve")).args(arguments).output().expect("it is built");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(says) && output.stdout.is_empty(), "{errors}");
    }
}
