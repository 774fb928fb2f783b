//! `services::Web`: members with a browser and members with `nc` in one room.

use std::sync::mpsc;

use serve_forever::services::{Chat, Web};
use serve_forever::{Config, Endpoint};

use super::sockets::{frame, shake_hands, text};
use crate::util::{Client, PATIENCE, Server, listen_anywhere};

/// A web server, and where its chat is spoken to in lines.
fn room(web: Web) -> (Server<Web>, Endpoint) {
    let (tell, told) = mpsc::channel();
    let server = Server::start_prepared(
        Config::default(),
        web,
        Web::limits(),
        &[listen_anywhere()],
        move |reactor, web| {
            let lines = reactor.listen(web, &listen_anywhere()).expect("a port");
            reactor.get_mut(web).chat_on(lines);
            tell.send(reactor.local(lines).cloned().expect("it was just made")).expect("the test waits");
        },
    );
    (server, told.recv_timeout(PATIENCE).expect("the server starts"))
}

/// Opens a WebSocket.
fn open(at: &Endpoint, path: &str) -> Client {
    shake_hands(Client::connect(at), path)
}

/// The next message of a WebSocket.
#[track_caller]
fn expect(client: &Client, text: &str) {
    client.expect(serve_forever::ws::text_frame(text));
}

#[test]
fn members_with_a_browser_and_with_lines_are_in_one_room() {
    let (server, lines) = room(Web::new(Chat::new()));
    let first = open(server.at(), "/chat/ws");
    expect(&first, "* you are guest1");
    let second = Client::connect(&lines);
    second.expect("* you are guest2\n");
    expect(&first, "* guest2 joined");
    let third = open(server.at(), "/chat/ws");
    expect(&third, "* you are guest3");
    expect(&first, "* guest3 joined");
    second.expect("* guest3 joined\n");

    first.send(text("hello"));
    second.expect("<guest1> hello\n");
    expect(&third, "<guest1> hello");
    second.send("from nc\n");
    expect(&first, "<guest2> from nc");
    expect(&third, "<guest2> from nc");

    first.send(text("/who"));
    expect(&first, "* guest1, guest2, guest3");
    first.send(text("/msg guest2 psst"));
    second.expect("[guest1] psst\n");
    second.send("/msg guest3 psst\n");
    expect(&third, "[guest2] psst");
    third.send(text("/nick <b>"));
    expect(&third, "! bad name");
    third.send(text("two\nlines\u{7}"));
    expect(&first, "<guest3> two lines");
    second.expect("<guest3> two lines\n");

    first.send(text("/quit so long"));
    first.expect(b"\x88\x02\x03\xe8");
    first.expect_eof();
    second.expect("* guest1 left: so long\n");
    expect(&third, "* guest1 left: so long");
    third.reset();
    second.expect("* guest3 left\n");
    assert_eq!(server.ask(|web, _| web.chat().members().len()), 1);
}

#[test]
fn a_line_that_looks_like_http_is_a_line_in_a_browser() {
    let (server, lines) = room(Web::new(Chat::new()));
    let first = open(server.at(), "/chat/ws");
    expect(&first, "* you are guest1");
    let second = Client::connect(&lines);
    second.expect("* you are guest2\n");
    first.send(text("GET / HTTP/1.1"));
    second.expect("<guest1> GET / HTTP/1.1\n");
}

#[test]
fn members_who_send_too_much_wait_and_lose_nothing() {
    let lines_per_second = std::num::NonZeroU32::new(5).expect("not zero");
    let (server, lines) = room(Web::new(Chat::new().lines_per_second(lines_per_second)));
    let first = open(server.at(), "/chat/ws");
    expect(&first, "* you are guest1");
    let second = Client::connect(&lines);
    second.expect("* you are guest2\n");
    expect(&first, "* guest2 joined");
    let sent: Vec<u8> = (0..12).flat_map(|number| text(&format!("line {number}"))).collect();
    first.send(sent);
    for number in 0..12 {
        second.expect(format!("<guest1> line {number}\n"));
    }
    expect(&first, "! slow down");
}

#[test]
fn the_echo_returns_each_message_up_to_its_limit() {
    let (server, _) = room(Web::new(Chat::new()));
    let client = open(server.at(), "/echo/ws");
    for length in [0, 1, 60_000, 70_000, 16 << 20] {
        let data = vec![b'x'; length];
        client.send(frame(0x82, &data));
        assert_eq!(message(&client), data);
    }
    client.send([0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.take(4)[2..], 1009_u16.to_be_bytes());
}

/// The next message of a WebSocket, whose fragments are joined.
fn message(client: &Client) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let head = client.take(2);
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(client.take(2).try_into().expect("two"))),
            127 => u64::from_be_bytes(client.take(8).try_into().expect("eight")),
            length => u64::from(length),
        };
        data.extend(client.take(length as usize));
        if head[0] & 0x80 != 0 {
            return data;
        }
    }
}

/// The whole answer to a request.
fn ask(server: &Server<Web>, line: &str) -> String {
    let client = server.connect();
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    String::from_utf8(client.rest()).expect("text")
}

#[test]
fn health_the_page_and_files() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("index.html"), "<p>hello").expect("a file");
    let (server, _) = room(Web::new(Chat::new()).files(directory.path()).expect("it is there"));
    let health = ask(&server, "GET /healthz");
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(health.contains("\r\ndate: ") && !health.contains("\r\nserver: "));
    let page = ask(&server, "GET /chat");
    assert!(page.contains("content-security-policy: default-src 'none'; script-src 'sha256-"));
    assert!(page.ends_with("</html>\n"));
    assert!(ask(&server, "GET /").ends_with("<p>hello"));
    assert!(ask(&server, "POST /healthz").starts_with("HTTP/1.1 405 "));
    assert!(ask(&server, "GET /echo/ws").starts_with("HTTP/1.1 426 "));
    let (without, _) = room(Web::new(Chat::new()));
    assert!(ask(&without, "GET /").starts_with("HTTP/1.1 404 "));
}
