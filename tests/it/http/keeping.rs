//! Connections that are kept, closed and upgraded.

use super::api::{CLOSE, DATE, answers, get, text, text_with};

#[test]
fn a_connection_of_1_1_is_kept_unless_one_side_closes_it() {
    let hello = text("200 OK", "hello\n");
    assert_eq!(answers(get("/hello").repeat(3)), hello.repeat(3));
    let last = text_with("200 OK", CLOSE, "hello\n");
    let closing = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(answers(get("/hello") + closing + &get("/hello")), hello + &last);
    assert_eq!(answers(get("/close") + &get("/hello")), text_with("200 OK", CLOSE, "bye\n"));
}

#[test]
fn a_connection_of_1_0_is_closed_unless_it_is_to_be_kept() {
    assert_eq!(answers("GET /hello HTTP/1.0\r\n\r\n".repeat(2)), text_with("200 OK", CLOSE, "hello\n"));
    let kept = "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = text_with("200 OK", "connection: keep-alive\r\n", "hello\n");
    assert_eq!(answers(kept.repeat(2)), answer.repeat(2));
}

// docs/guarantees.md, 69.
#[test]
fn answers_without_a_body() {
    assert_eq!(
        answers(get("/none") + &get("/hello")),
        format!("HTTP/1.1 204 No Content\r\n{DATE}\r\n") + &text("200 OK", "hello\n")
    );
    assert_eq!(answers(get("/unchanged")), format!("HTTP/1.1 304 Not Modified\r\n{DATE}\r\n"));
    let head = text("200 OK", "hello\n");
    let head = head.strip_suffix("hello\n").expect("its body");
    assert_eq!(answers("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n"), head);
}

#[test]
fn a_stream_to_head_or_to_1_0() {
    let head = answers("HEAD /stream?3 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + &get("/hello"));
    assert_eq!(
        head,
        format!("HTTP/1.1 200 OK\r\n{DATE}transfer-encoding: chunked\r\n\r\n") + &text("200 OK", "hello\n")
    );
    let old = answers("GET /stream?1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let body = "x".repeat(10_000);
    assert_eq!(old, format!("HTTP/1.1 200 OK\r\n{DATE}{CLOSE}\r\n{body}"));
}

#[test]
fn an_upgrade_takes_all_that_follows() {
    let request =
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: shout\r\nConnection: upgrade\r\n\r\nGET / HTTP/1.1\r\n";
    let switched =
        format!("HTTP/1.1 101 Switching Protocols\r\n{DATE}connection: upgrade\r\nupgrade: shout\r\n\r\n");
    assert_eq!(answers(request), switched + "GET / HTTP/1.1\r\n");
}

#[test]
fn an_upgrade_waits_for_the_answers_before_it() {
    let request = get("/later?50")
        + "GET /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: shout\r\nConnection: upgrade\r\n\r\nabc";
    let answer = answers(request);
    assert!(answer.starts_with(&text("200 OK", "50\n")) && answer.ends_with("\r\n\r\nABC"), "{answer}");
}

#[test]
fn a_request_with_a_body_is_not_upgraded() {
    let request = "POST /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: shout\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx";
    assert!(answers(request).starts_with("HTTP/1.1 426 "));
}
