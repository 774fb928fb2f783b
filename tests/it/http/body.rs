//! Bodies: expected, refused, in pieces.

use std::time::Duration;

use serve_forever::driver::sim::Script;

use super::api::{CLOSE, answers, get, received, text, text_with, world};

#[test]
fn a_client_that_waits_is_told_to_continue_and_one_that_does_not_is_not() {
    let head = "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut world = world();
    let client = world.play(Script::new().send(head).after(Duration::from_secs(1)).send("hello").finish());
    world.run().expect("it keeps its promises");
    let answer = text("200 OK", "5 bytes\n");
    assert_eq!(received(&world, client), format!("HTTP/1.1 100 Continue\r\n\r\n{answer}"));
    assert_eq!(answers(format!("{head}hello")), answer);
}

#[test]
fn a_body_that_is_refused_is_not_read() {
    let request = "POST /private HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n";
    let expected = text_with("401 Unauthorized", CLOSE, "who are you\n");
    assert_eq!(answers(request), expected);
    assert_eq!(answers(request.to_owned() + &get("/hello")), expected);
}

#[test]
fn a_large_body_in_pieces_is_never_held() {
    let mut world = world();
    let head = "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n";
    let client =
        world.play(Script::new().send(head).send(vec![b'x'; 20_000_000]).send(get("/hello")).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), text("200 OK", "20000000 bytes\n") + &text("200 OK", "hello\n"));
}

#[test]
fn a_body_in_pieces_has_a_deadline_between_them_alone() {
    let second = Duration::from_secs(1);
    let head = "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let mut world = world();
    let slow = "hello"
        .chars()
        .fold(Script::new().send(head), |script, letter| script.after(20 * second).send(letter.to_string()));
    let slow = world.play(slow.finish());
    let stalled = world.play(Script::new().send(head).send("he"));
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, slow), text("200 OK", "5 bytes\n"));
    let expected = text_with("408 Request Timeout", CLOSE, "the request did not come in time\n");
    assert_eq!(received(&world, stalled), expected);
    assert_eq!(world.handler().handler().gone.len(), 1);
}

#[test]
fn who_goes_away_within_a_body_is_told_of() {
    let mut world = world();
    let head = "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe";
    world.play(Script::new().send(head).after(Duration::from_secs(1)).reset());
    world.run().expect("it keeps its promises");
    assert_eq!(world.handler().handler().gone.len(), 1);
    world.check_baseline().expect("nothing is left");
}
