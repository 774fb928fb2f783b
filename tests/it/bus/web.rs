//! `services::Web` on a bus: browsers on one node, lines on another.

use std::sync::mpsc;

use serve_forever::Config;
use serve_forever::bus::{Bus, OnBus};
use serve_forever::services::{Chat, SharedChat, SharedWeb, Web};
use serve_forever::ws::text_frame;

use super::redis::Redis;
use crate::util::{Client, PATIENCE, Server, listen_anywhere};
use crate::websocket::sockets::{handshake, text};

type Node = Server<OnBus<SharedWeb>>;

/// A node, and where its chat is spoken to in lines.
fn start(redis: &Redis) -> (Node, serve_forever::Endpoint) {
    let bus = Bus::new(redis.url(), SharedChat::bus_options()).expect("good options");
    let (tell, told) = mpsc::channel();
    let web = OnBus::new(Web::new(Chat::new().on_bus(bus)));
    let node = Server::start_prepared(
        Config::default(),
        web,
        Web::limits(),
        &[listen_anywhere()],
        move |reactor, web| {
            let lines = reactor.listen(web, &listen_anywhere()).expect("a port");
            reactor.get_mut(web).handler_mut().chat_on(lines);
            tell.send(reactor.local(lines).cloned().expect("it was just made")).expect("the test waits");
        },
    );
    (node, told.recv_timeout(PATIENCE).expect("the server starts"))
}

/// Opens a WebSocket.
fn open(node: &Node, path: &str) -> Client {
    let client = Client::connect(node.at());
    client.send(handshake("").replace("/socket", path));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    client
}

#[test]
fn a_browser_on_one_node_and_lines_on_another_are_in_one_room() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (one, _) = start(&redis);
    let (_other, lines) = start(&redis);
    let page = open(&one, "/chat/ws");
    page.expect(text_frame("* you are guest1"));
    // What the page has said comes back behind the notice that it has joined, and who comes
    // now is in the room behind both.
    page.send(text("/msg guest1 in"));
    page.expect(text_frame("[guest1] in"));
    let member = Client::connect(&lines);
    member.expect("* you are guest2\n");
    page.expect(text_frame("* guest2 joined"));
    member.send("hello\n/msg guest1 psst\n");
    page.expect(text_frame("<guest2> hello"));
    page.expect(text_frame("[guest2] psst"));
    page.send(text("/nick Ann"));
    page.expect(text_frame("* guest1 is now Ann"));
    page.send(text("two\nlines"));
    page.send(text("/who"));
    page.expect(text_frame("* Ann, guest2"));
    member.expect("* guest1 is now Ann\n<Ann> two lines\n");
    page.send(text("/quit so long"));
    page.expect(b"\x88\x02\x03\xe8");
    member.expect("* Ann left: so long\n");
}
