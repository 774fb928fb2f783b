//! `services::Web` on a bus: browsers on one node, lines on another.

use std::sync::mpsc;
use std::time::Duration;

use serve_forever::bus::{Bus, BusLimits, BusOptions, OnBus, Position};
use serve_forever::services::{Chat, SharedChat, SharedWeb, Web};
use serve_forever::ws::text_frame;
use serve_forever::{Config, Endpoint};

use super::redis::Redis;
use crate::util::{Client, PATIENCE, Server, listen_anywhere};
use crate::websocket::sockets::{shake_hands, text};

type Node = Server<OnBus<SharedWeb>>;

/// A node at an endpoint, and where its chat is spoken to in lines.
pub(crate) fn start_at(redis: &Redis, limits: BusLimits, at: &Endpoint) -> (Node, Endpoint) {
    let options = BusOptions { limits, ..BusOptions::default() };
    let bus = Bus::new(redis.url(), options).expect("good options");
    let (tell, told) = mpsc::channel();
    let web = OnBus::new(Web::new(Chat::new().on_bus(bus)));
    let node = Server::start_prepared(
        Config::default(),
        web,
        Web::limits(),
        std::slice::from_ref(at),
        move |reactor, web| {
            let lines = reactor.listen(web, &listen_anywhere()).expect("a port");
            reactor.get_mut(web).handler_mut().chat_on(lines);
            tell.send(reactor.local(lines).cloned().expect("it was just made")).expect("the test waits");
        },
    );
    (node, told.recv_timeout(PATIENCE).expect("the server starts"))
}

fn start_with(redis: &Redis, limits: BusLimits) -> (Node, Endpoint) {
    start_at(redis, limits, &listen_anywhere())
}

fn start(redis: &Redis) -> (Node, Endpoint) {
    start_with(redis, SharedChat::bus_options().limits)
}

/// Somebody who comes in lines and is called so. Redis has the notice of that.
fn enter(lines: &Endpoint, name: &str) -> Client {
    let member = Client::connect(lines);
    member.expect(format!("* you are {name}\n"));
    until_said(&member, name);
    member
}

/// Waits until what a member has said is in the room.
fn until_said(member: &Client, name: &str) {
    member.send(format!("/msg {name} in\n"));
    member.expect(format!("[{name}] in\n"));
}

/// Opens a WebSocket.
fn open(node: &Node, path: &str) -> Client {
    shake_hands(Client::connect(node.at()), path)
}

/// A page that keeps the position that it was told last.
struct Page {
    client: Client,
    at: Option<Position>,
}

impl Page {
    /// Comes back from where it was, if it was anywhere.
    fn open(node: &Node, at: Option<Position>) -> Self {
        Self::on(Client::connect(node.at()), at)
    }

    fn on(client: Client, at: Option<Position>) -> Self {
        let from = at.map(|at| at.to_string()).unwrap_or_default();
        Self { client: shake_hands(client, &format!("/chat/ws?from={from}")), at }
    }

    fn say(&self, line: &str) {
        self.client.send(text(line));
    }

    /// The next line. Positions come in their order.
    #[track_caller]
    fn line(&mut self) -> String {
        loop {
            let head = self.client.take(2);
            let length = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.client.take(2).try_into().expect("two bytes"))),
                127 => u64::from_be_bytes(self.client.take(8).try_into().expect("eight bytes")),
                length => length.into(),
            };
            let body = self.client.take(length.try_into().expect("it is not so long"));
            let body = String::from_utf8(body).expect("UTF-8");
            match head[0] {
                0x81 => return body,
                0x82 => {
                    let (position, line) = body.split_once(' ').unwrap_or((&body, ""));
                    self.move_to(position.parse().expect("a position"));
                    if !line.is_empty() {
                        return line.into();
                    }
                }
                other => panic!("{other:#x} is neither a line nor a position"),
            }
        }
    }

    fn move_to(&mut self, position: Position) {
        let is_behind = |at: Position| at.epoch != position.epoch || at.offset <= position.offset;
        assert!(self.at.is_none_or(is_behind), "{position} behind {:?}", self.at);
        self.at = Some(position);
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Has been told the position of all that was said so far.
    #[track_caller]
    fn until_all_is_heard(&mut self, name: &str) {
        self.say(&format!("/msg {name} in"));
        self.expect(&format!("[{name}] in"));
    }
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

#[test]
fn a_page_that_loses_its_node_gets_on_another_what_it_missed() {
    let Some(redis) = Redis::start(&[]) else { return };
    let limits = || BusLimits { presence_ttl: Duration::from_secs(6), ..SharedChat::bus_options().limits };
    let (one, _) = start_with(&redis, limits());
    let (other, lines) = start_with(&redis, limits());
    let mut page = Page::open(&one, None);
    page.expect("* you are guest1");
    page.until_all_is_heard("guest1");
    let member = enter(&lines, "guest2");
    page.expect("* guest2 joined");
    member.send("one\n/msg guest1 psst\n");
    page.expect("<guest2> one");
    page.expect("[guest2] psst");
    page.say("mine");
    page.until_all_is_heard("guest1");
    member.expect("<guest1> mine\n");
    // It ends without a word: its member is missed within the time to live.
    one.stop();
    member.expect("* guest1 left\n");
    member.send("two\n/nick bob\nthree\n/msg bob secret\n");
    member.expect("* guest2 is now bob\n[bob] secret\n");

    let mut page = Page::open(&other, page.at);
    // It may speak at once.
    page.say("back");
    page.say("/who");
    page.expect("* you are guest1");
    for line in ["<guest2> two", "* guest2 is now bob", "<bob> three"] {
        page.expect(line);
    }
    page.expect("* bob, guest1");
    member.expect("* guest1 joined\n<guest1> back\n");
    member.send("four\n");
    page.expect("<bob> four");
    page.until_all_is_heard("guest1");

    // It comes back once more, and has missed nothing but that.
    let at = page.at;
    drop(page);
    member.expect("* guest1 left\n");
    let mut page = Page::open(&other, at);
    page.expect("* you are guest1");
    page.expect("* guest1 left");
    member.expect("* guest1 joined\n");
    member.send("five\n");
    page.expect("<bob> five");
}

#[test]
fn a_page_that_was_away_for_too_long_is_told_how_much_it_missed() {
    const LINES: usize = 200;
    let Some(redis) = Redis::start(&["--stream-node-max-entries", "10"]) else { return };
    let (node, lines) = start_with(&redis, BusLimits { history: 20, ..SharedChat::bus_options().limits });
    let mut page = Page::open(&node, None);
    page.expect("* you are guest1");
    let member = enter(&lines, "guest2");
    page.expect("* guest2 joined");
    page.until_all_is_heard("guest1");
    let at = page.at;
    drop(page);
    member.expect("* guest1 left\n");
    member.send((0..LINES).map(|line| format!("line {line}\n")).collect::<String>());
    until_said(&member, "guest2");

    let mut page = Page::open(&node, at);
    page.expect("* you are guest1");
    let gap = page.line();
    let missed = gap.strip_prefix("* ").and_then(|gap| gap.strip_suffix(" lines were missed"));
    let missed: usize = missed.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{gap}"));
    // The notice that it had left is the first of them.
    assert!(missed > LINES / 2 && missed <= LINES, "{missed}");
    for line in missed - 1..LINES {
        page.expect(&format!("<guest2> line {line}"));
    }
    member.expect("* guest1 joined\n");
    member.send("end\n");
    page.expect("<guest2> end");
}

#[test]
fn a_position_of_another_time_is_a_gap_and_what_is_none_is_nothing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (node, lines) = start(&redis);
    let member = enter(&lines, "guest1");
    let far = "00000000000000ff:18446744073709551615".parse().ok();
    let mut page = Page::open(&node, far);
    page.at = None;
    page.expect("* you are guest2");
    page.expect("* lines may have been missed");
    page.expect("* guest1 joined"); // what the room has had since then
    page.until_all_is_heard("guest2");
    let mut here = page.at.expect("it was told");
    // Behind the end of the room.
    here.offset = u64::MAX;
    let mut ahead = Page::open(&node, Some(here));
    ahead.at = None;
    ahead.expect("* you are guest3");
    page.expect("* guest3 joined");
    let none = open(&node, "/chat/ws?from=nowhere");
    none.expect(text_frame("* you are guest4"));
    for page in [&mut page, &mut ahead] {
        page.expect("* guest4 joined");
    }
    member.expect("* guest2 joined\n* guest3 joined\n* guest4 joined\n");
    member.send("hello\n");
    for page in [&mut page, &mut ahead] {
        page.expect("<guest1> hello");
    }
}

#[test]
fn a_page_that_reads_slowly_catches_up_and_nobody_waits_for_it() {
    const LINES: usize = 800;
    let Some(redis) = Redis::start(&[]) else { return };
    let limits = BusLimits { history: 10 * LINES, ..SharedChat::bus_options().limits };
    let (node, lines) = start_with(&redis, limits);
    let member = enter(&lines, "guest1");
    let other = enter(&lines, "guest2");
    let mut page = Page::open(&node, None);
    page.expect("* you are guest3");
    page.until_all_is_heard("guest3");
    let at = page.at;
    drop(page);
    member.expect("* guest2 joined\n");
    for member in [&member, &other] {
        member.expect("* guest3 joined\n* guest3 left\n");
    }
    let long = "long ".repeat(4000);
    let speaker = member.share();
    let text = (0..LINES).map(|line| format!("{line} {long}\n")).collect::<String>();
    let said = std::thread::spawn(move || speaker.send(text));
    for line in 0..LINES {
        other.expect(format!("<guest1> {line} {long}\n"));
    }
    said.join().expect("it was said");

    // 16 MB wait for it, sixteen times as much as may be queued.
    let mut page = Page::on(Client::connect_small(node.at()), at);
    page.expect("* you are guest3");
    other.expect("* guest3 joined\n");
    for line in 0..100 {
        member.send(format!("live {line}\n"));
        other.expect(format!("<guest1> live {line}\n"));
    }
    page.expect("* guest3 left");
    for line in 0..LINES {
        page.expect(&format!("<guest1> {line} {long}"));
    }
    for line in 0..100 {
        page.expect(&format!("<guest1> live {line}"));
    }
    page.until_all_is_heard("guest3");
    assert_eq!(node.connections(), 4, "three members and the link");
}

#[test]
fn more_pages_than_may_catch_up_at_once_are_told_that_lines_are_missing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (node, lines) = start_with(&redis, BusLimits { max_resumes: 1, ..SharedChat::bus_options().limits });
    let mut page = Page::open(&node, None);
    page.expect("* you are guest1");
    page.until_all_is_heard("guest1");
    let member = enter(&lines, "guest2");
    member.send("missed\n");
    until_said(&member, "guest2");
    // Redis gives both their names at once.
    redis.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let mut pages = [(); 2].map(|()| Page::open(&node, page.at));
    node.settle();
    redis.ask(&["CLIENT", "UNPAUSE"]);
    let [first, second] = &mut pages;
    first.expect("* you are guest3");
    second.expect("* you are guest4");
    for line in ["* guest2 joined", "<guest2> missed"] {
        first.expect(line);
    }
    second.expect("* lines may have been missed");
    member.expect("* guest3 joined\n* guest4 joined\n");
    member.send("hello\n");
    for page in &mut pages {
        while page.line() != "<guest2> hello" {}
    }
}
