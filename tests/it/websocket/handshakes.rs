//! Handshakes: which are accepted, and how the others are answered.

use serve_forever::driver::sim::Script;
use serve_forever::http::{Http, HttpLimits, SocketOptions};
use serve_forever::ws::Origins;

use super::sockets::{ACCEPTED, KEY, Sockets, frame, handshake, received, world_with};

/// The answer to a request, of a server with these options.
fn answer(options: SocketOptions, request: &str) -> String {
    let mut world = world_with(options, HttpLimits::default(), Http::<Sockets>::limits());
    let client = world.play(Script::new().send(request.to_owned()).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("nothing is left");
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

fn status(request: &str) -> String {
    answer(SocketOptions::default(), request).split(' ').nth(1).unwrap_or_default().to_owned()
}

// docs/guarantees.md, 75.
#[test]
fn what_is_no_handshake_is_answered_with_what_it_lacks() {
    let good = handshake("");
    assert_eq!(answer(SocketOptions::default(), &good), ACCEPTED);
    assert_eq!(status("GET /socket HTTP/1.1\r\nHost: a\r\n\r\n"), "426");
    assert_eq!(status(&good.replace("GET", "POST")), "405");
    assert_eq!(status(&good.replace("HTTP/1.1", "HTTP/1.0")), "426");
    assert_eq!(status(&good.replace("Upgrade: websocket", "Upgrade: h2c")), "426");
    assert_eq!(status(&good.replace("Connection: Upgrade", "Connection: keep-alive")), "426");
    assert_eq!(status(&good.replace(KEY, "c2hvcnQ=")), "400");
    assert_eq!(status(&handshake(&format!("Sec-WebSocket-Key: {KEY}\r\n"))), "400");
    assert_eq!(status(&handshake("Content-Length: 3\r\n").replace("\r\n\r\n", "\r\n\r\nabc")), "400");
    let old = answer(SocketOptions::default(), &good.replace("Version: 13", "Version: 8"));
    assert!(old.starts_with("HTTP/1.1 426 ") && old.contains("sec-websocket-version: 13\r\n"), "{old}");
    assert_eq!(
        status(
            &good.replace("websocket", "WebSocket, h2c").replace("Upgrade\r\n", "keep-alive, upgrade\r\n")
        ),
        "101"
    );
}

#[test]
fn a_page_of_another_origin_opens_none() {
    for (origin, expected) in
        [("http://a", "101"), ("https://a", "101"), ("http://b", "403"), ("null", "403")]
    {
        assert_eq!(status(&handshake(&format!("Origin: {origin}\r\n"))), expected, "{origin}");
    }
    let options =
        SocketOptions { origins: Origins::Also(vec!["http://b".into()]), ..SocketOptions::default() };
    assert_eq!(answer(options, &handshake("Origin: http://b\r\n")), ACCEPTED);
}

#[test]
fn the_best_protocol_that_both_speak_is_chosen() {
    let options = || SocketOptions { protocols: vec!["v2".into(), "v1".into()], ..SocketOptions::default() };
    let chosen = |offer: &str| answer(options(), &handshake(&format!("Sec-WebSocket-Protocol: {offer}\r\n")));
    assert!(chosen("v1, v2").contains("sec-websocket-protocol: v2\r\n"));
    assert!(chosen("v0, v1").contains("sec-websocket-protocol: v1\r\n"));
    assert_eq!(chosen("v0"), ACCEPTED, "none, and the client decides");
}

#[test]
fn frames_right_behind_the_handshake_are_read() {
    let request = [handshake("").as_bytes(), &frame(0x81, b"early")].concat();
    let mut world = world_with(SocketOptions::default(), HttpLimits::default(), Http::<Sockets>::limits());
    let client = world.play(Script::new().send(request).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), b"\x81\x05early");
}
