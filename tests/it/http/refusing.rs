//! Each refusal is a proper answer, and the connection ends behind it without
//! losing it.

use std::time::Duration;

use serve_forever::Limits;
use serve_forever::driver::sim::{Conditions, Script};
use serve_forever::http::{Http, HttpLimits};

use super::api::{Api, ApiWorld, CLOSE, answers, get, received, text, text_with, world, world_with};

/// What is refused, each with its status and text.
const REFUSED: [(&str, &str, &str); 12] = [
    ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "there is no Host field\n"),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", "400 Bad Request", "a line ends without CR\n"),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400 Bad Request",
        "there are both a Content-Length and a Transfer-Encoding\n",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n",
        "400 Bad Request",
        "the size of a chunk is no hexadecimal number\n",
    ),
    (
        "POST /sized HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "411 Length Required",
        "the body needs a Content-Length\n",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n",
        "413 Payload Too Large",
        "the body is too long\n",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
        "417 Expectation Failed",
        "nothing but 100-continue is expected here\n",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "501 Not Implemented",
        "no transfer coding but chunked is known here\n",
    ),
    (
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "501 Not Implemented",
        "this is no proxy: CONNECT is not served\n",
    ),
    (
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "505 HTTP Version Not Supported",
        "only HTTP/1.0 and HTTP/1.1 are served here\n",
    ),
    (
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "505 HTTP Version Not Supported",
        "only HTTP/1.0 and HTTP/1.1 are served here\n",
    ),
    ("GET /hello HTTP/1.1\r\nHos", "400 Bad Request", "the stream ended within a request\n"),
];

// docs/guarantees.md, 65.
#[test]
fn a_request_that_is_malformed_is_answered_with_what_is_wrong() {
    for (request, status, reason) in REFUSED {
        let before = get("/hello");
        let expected = text("200 OK", "hello\n") + &text_with(status, CLOSE, reason);
        assert_eq!(answers(before + request), expected, "{request:?}");
    }
}

#[test]
fn what_follows_a_refused_request_is_not_looked_at() {
    let mut world = world();
    let text = format!("{}{}", REFUSED[0].0, get("/hello"));
    let client =
        world.play(Script::new().send(text).after(Duration::from_secs(1)).send(get("/hello")).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client).matches("HTTP/1.1").count(), 1);
    assert!(world.handler().handler().asked.is_empty());
}

// docs/guarantees.md, 66.
#[test]
fn heads_that_never_end() {
    for (text, status) in [
        (format!("GET /{}", "a".repeat(1 << 20)), "414 URI Too Long"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(1 << 20)),
            "431 Request Header Fields Too Large",
        ),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000)),
            "431 Request Header Fields Too Large",
        ),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), "431 Request Header Fields Too Large"),
    ] {
        let answer = answers(text);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[test]
fn a_chunked_body_that_is_too_long_or_never_ends() {
    let limits = HttpLimits { max_body: 1000, ..HttpLimits::default() };
    let mut world = world_with(Conditions::calm(), limits, Http::<Api>::limits());
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let client = world.play(Script::new().send(format!("{head}{}", chunk.repeat(1000))));
    world.run().expect("it keeps its promises");
    assert!(received(&world, client).starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_request_that_drips_is_answered_with_408() {
    for begun in [
        "G",
        "GET /hello HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx",
    ] {
        let mut world = world();
        let second = Duration::from_secs(1);
        let script = Script::new().after(20 * second).send(get("/hello")).after(5 * second).send(begun);
        let script = (0..60).fold(script, |script, _| script.after(second).send("x"));
        let client = world.play(script);
        world.run().expect("it keeps its promises");
        let expected = text("200 OK", "hello\n")
            + &text_with("408 Request Timeout", CLOSE, "the request did not come in time\n");
        assert_eq!(received(&world, client), expected, "{begun:?}");
        let ended =
            world.life(client).and_then(|life| life.closed_at()).expect("it has ended") - world.epoch();
        assert!(ended >= 55 * second && ended < 56 * second, "{ended:?}");
        world.check_baseline().expect("nothing is left");
    }
}

/// Ends requests by the limits of the reactor alone.
fn limited(change: impl FnOnce(&mut Limits)) -> ApiWorld {
    let mut limits = Http::<Api>::limits();
    change(&mut limits);
    world_with(Conditions::calm(), HttpLimits { request: None, ..HttpLimits::default() }, limits)
}

#[test]
fn a_request_that_a_limit_of_the_reactor_ends_is_answered_too() {
    let second = Duration::from_secs(1);
    let late = ("408 Request Timeout", "the request did not come in time\n");
    let large = ("431 Request Header Fields Too Large", "the head is too long\n");
    let long = format!("GET /hello HTTP/1.1\r\nHost: {}", "a".repeat(100));
    for (mut world, begun, (status, reason)) in [
        (limited(|limits| limits.frame = Some(5 * second)), "GET /hello HT", late),
        (limited(|limits| limits.idle = Some(5 * second)), "GET /hello HT", late),
        (limited(|limits| limits.max_input = 50), &long, large),
    ] {
        let client = world.play(Script::new().send(get("/hello")).after(second).send(begun.to_owned()));
        world.run().expect("it keeps its promises");
        let expected = text("200 OK", "hello\n") + &text_with(status, CLOSE, reason);
        assert_eq!(received(&world, client), expected, "{begun:?}");
        world.check_baseline().expect("nothing is left");
    }
}

/// A 408 would be taken for the answer to the request before.
#[test]
fn a_request_behind_one_that_is_not_answered_ends_without_a_word() {
    let mut world = limited(|limits| limits.frame = Some(Duration::from_secs(5)));
    let client =
        world.play(Script::new().send(get("/never")).after(Duration::from_secs(1)).send("GET /hello HT"));
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), "");
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("TimedOut(Frame)"));
    world.check_baseline().expect("nothing is left");
}

#[test]
fn who_says_nothing_is_closed_without_a_word() {
    let mut world = world();
    let client = world.play(Script::new());
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), "");
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("TimedOut(Idle)"));
}

#[test]
fn a_handler_that_fails_panics_or_says_nothing() {
    let close = |body| text_with("500 Internal Server Error", CLOSE, body);
    assert_eq!(answers(get("/fails") + &get("/hello")), close("the request failed\n"));
    assert_eq!(answers(get("/panics")), "");
    let expected =
        text("500 Internal Server Error", "the request was not answered\n") + &text("200 OK", "hello\n");
    assert_eq!(answers(get("/silent") + &get("/hello")), expected);
}

#[test]
fn no_text_makes_two_fields_of_one() {
    assert_eq!(
        answers(get("/split")),
        text("500 Internal Server Error", "the answer could not be written\n")
    );
}

#[test]
fn the_handlers_own_refusals() {
    let answer = answers(get("/method"));
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n")
            && answer.contains("allow: PUT, DELETE\r\n")
    );
    let answer = answers(get("/upgrade"));
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n") && answer.contains("upgrade: shout\r\n"));
}
