//! `services::Chat` on a bus: one room over several nodes.

use std::time::Duration;

use serve_forever::bus::{Bus, BusHandler, BusLimits, BusOptions, OnBus};
use serve_forever::services::{Chat, SharedChat};
use serve_forever::testing::TestServer;
use serve_forever::{Endpoint, StreamHandler};

use super::nodes;
use super::redis::Redis;
use super::{hasty, options};
use crate::util::Client;

/// The room of a chat.
pub(super) const ROOM: &str = "chat";

type Node = TestServer<OnBus<SharedChat>>;

fn bus(redis: &Redis, limits: BusLimits) -> Bus {
    let max_payload = SharedChat::bus_options().limits.max_payload;
    Bus::new(redis.url(), options(BusLimits { max_payload, ..limits })).expect("good options")
}

fn start(redis: &Redis, limits: BusLimits) -> Node {
    let chat = Chat::new().on_bus(bus(redis, limits));
    let node = TestServer::start(OnBus::new(chat), Chat::limits()).expect("it starts");
    until_live(&node);
    node
}

/// Waits until a node gets the messages of its room.
pub(super) fn until_live<H: StreamHandler + BusHandler + Send>(node: &TestServer<OnBus<H>>) {
    node.until(|node, _| node.handler_mut().bus().position(ROOM).is_some());
}

/// Waits until Redis has all that this node has said: who comes to another node now is in
/// the room behind it.
pub(super) fn until_said<H: StreamHandler + BusHandler + Send>(node: &TestServer<OnBus<H>>) {
    node.until(|node, _| node.handler_mut().bus().waiting() == 0);
}

pub(super) fn connect<H: StreamHandler + BusHandler + Send>(node: &TestServer<OnBus<H>>) -> Client {
    Client::connect(&Endpoint::Tcp(node.address()))
}

/// Somebody who comes and is called so.
#[track_caller]
fn enter(node: &Node, name: &str) -> Client {
    let client = connect(node);
    client.expect(format!("* you are {name}\n"));
    until_said(node);
    client
}

/// The next line, without its end.
#[track_caller]
fn line(client: &Client) -> String {
    client.line().trim_end_matches('\n').to_owned()
}

/// A node for each of these, who have seen each other come.
#[track_caller]
fn guests<const N: usize>(redis: &Redis, limits: &BusLimits) -> ([Node; N], [Client; N]) {
    let nodes: [Node; N] = std::array::from_fn(|_| start(redis, limits.clone()));
    let mut members: Vec<Client> = Vec::new();
    for (number, node) in (1..).zip(&nodes) {
        let client = enter(node, &format!("guest{number}"));
        for member in &members {
            member.expect(format!("* guest{number} joined\n"));
        }
        members.push(client);
    }
    (nodes, members.try_into().expect("so many were made"))
}

#[test]
fn members_of_three_nodes_are_in_one_room() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (nodes, [first, second, third]) = guests(&redis, &hasty());
    first.send("hello\n");
    second.expect("<guest1> hello\n");
    third.expect("<guest1> hello\n");
    for member in [&third, &first] {
        member.send("/who\n");
        member.expect("* guest1, guest2, guest3\n");
    }
    second.send("/nick GUEST3\n/nick b b\n/nick Ann\n/nick ANN\nit is me\n/who\n");
    second.expect("! name taken\n! bad name\n* guest2 is now Ann\n* Ann is now ANN\n* guest1, ANN, guest3\n");
    for member in [&first, &third] {
        member.expect("* guest2 is now Ann\n* Ann is now ANN\n<ANN> it is me\n");
    }
    first.send("/msg ann psst\n/msg bob psst\n/msg guest1 myself\n");
    second.expect("[guest1] psst\n");
    first.expect("! no such name bob\n[guest1] myself\n");
    nodes[0].ask(|node, io| node.run(io, |chat, io| chat.announce(io, "soon\n").expect("it is up")));
    for member in [&first, &second, &third] {
        member.expect("* soon\n");
    }
    second.send("/quit so long\n");
    second.expect_eof();
    first.expect("* ANN left: so long\n");
    drop(third);
    first.expect("* guest3 left\n");
    // The smallest number that is free, on any node.
    let _again = enter(&nodes[0], "guest2");
    first.expect("* guest2 joined\n");
    first.send("/who\n");
    first.expect("* guest1, guest2\n");
}

#[test]
fn of_two_who_take_a_name_at_once_one_gets_it() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (_nodes, [first, second]) = guests(&redis, &hasty());
    let mut names = ["guest1".to_owned(), "guest2".to_owned()];
    for round in 0..20 {
        let name = format!("name{round}");
        for member in [&first, &second] {
            member.send(format!("/nick {name}\n/who\n"));
        }
        // What each hears until its second line is answered.
        let heard = [&first, &second].map(|member| {
            let mut lines = vec![line(member)];
            while !lines[lines.len() - 1].contains(", ") {
                lines.push(line(member));
            }
            lines
        });
        let is_refused = |place: usize| heard[place].iter().any(|line| line == "! name taken");
        assert!(is_refused(0) != is_refused(1), "{heard:?}");
        let (winner, loser) = if is_refused(1) { (0, 1) } else { (1, 0) };
        let notice = format!("* {} is now {name}", names[winner]);
        assert!(heard[winner].contains(&notice), "{heard:?}");
        if !heard[loser].contains(&notice) {
            assert_eq!(line([&first, &second][loser]), notice);
        }
        names[winner] = name;
    }
}

#[test]
fn a_name_that_another_node_gives_back_while_it_is_asked_for_is_kept() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (_nodes, [first]) = guests(&redis, &hasty());
    for _ in 0..20 {
        first.send("/nick ann\n/nick guest1\n/nick ann\n");
        let chat = Chat::new().on_bus(bus(&redis, hasty()));
        let node = TestServer::start(OnBus::new(chat), Chat::limits()).expect("it starts");
        let members = [connect(&node), connect(&node)];
        let names = members.each_ref().map(|member| {
            let mut told = line(member);
            while !told.starts_with("* you are ") {
                told = line(member);
            }
            told.trim_start_matches("* you are ").to_owned()
        });
        assert_ne!(names[0], names[1]);
        members[0].send("/who\n");
        let mut who = line(&members[0]);
        while !who.contains(", ") {
            who = line(&members[0]);
        }
        assert!(names.iter().all(|name| who.contains(name.as_str())), "{names:?} in {who}");
        first.send("/nick guest1\n");
    }
}

#[test]
fn a_flood_on_three_nodes_has_one_order() {
    const LINES: usize = 3000;
    let Some(redis) = Redis::start(&[]) else { return };
    let (nodes, speakers) = guests::<3>(&redis, &BusLimits { history: 100_000, ..hasty() });
    let listeners: Vec<_> =
        (4..7).zip(&nodes).map(|(number, node)| enter(node, &format!("guest{number}"))).collect();
    for (number, speaker) in speakers.iter().enumerate() {
        let speaker = speaker.share();
        std::thread::spawn(move || {
            for line in 0..LINES {
                speaker.send(format!("line {line} of {number}\n"));
            }
        });
    }
    let readers: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let listener = listener.share();
            std::thread::spawn(move || {
                let lines = std::iter::repeat_with(|| line(&listener)).filter(|line| line.starts_with('<'));
                lines.take(3 * LINES).collect::<Vec<_>>()
            })
        })
        .collect();
    let heard: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("it heard all")).collect();
    assert!(heard[0] == heard[1] && heard[1] == heard[2], "they differ");
    for (number, speaker) in speakers.iter().enumerate() {
        let own = format!("<guest{}>", number + 1);
        let own_lines: Vec<_> = heard[0].iter().filter(|line| line.starts_with(&own)).collect();
        let expected: Vec<_> = (0..LINES).map(|line| format!("{own} line {line} of {number}")).collect();
        assert!(own_lines.iter().copied().eq(expected.iter()), "in the order of {own}");
        let others = heard[0].iter().filter(|line| !line.starts_with(&own));
        let mut lines = std::iter::repeat_with(|| line(speaker)).filter(|line| line.starts_with('<'));
        assert!(others.clone().all(|line| lines.next().as_ref() == Some(line)), "all but its own");
    }
}

#[test]
fn what_waits_while_redis_is_away_comes_when_it_is_back() {
    let Some(redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let told = told_while_away(redis);
    for line in ["<guest1> one", "<guest1> two", "* guest3 joined"] {
        assert_eq!(told.iter().filter(|told| *told == line).count(), 1, "{line}: {told:?}");
    }
}

#[test]
fn nobody_is_said_to_leave_and_nothing_is_lost_that_waits_when_redis_has_lost_its_data() {
    let Some(redis) = Redis::start(&[]) else { return };
    let told = told_while_away(redis);
    for line in ["* lines may have been missed", "<guest1> one", "<guest1> two"] {
        assert_eq!(told.iter().filter(|told| *told == line).count(), 1, "{line}: {told:?}");
    }
}

/// What a member is told of a Redis that is killed and comes back, while a member of
/// another node says more than may wait.
fn told_while_away(mut redis: Redis) -> Vec<String> {
    // The nodes come back at different times, and wait so long for each other's members.
    let presence_ttl = Duration::from_secs(12);
    let patience = presence_ttl / 6;
    let limits = BusLimits { max_waiting: 2, presence_ttl, ..hasty() };
    let (nodes, [first, second]) = guests(&redis, &limits);
    redis.kill();
    for member in [&first, &second] {
        member.expect("* the room is offline\n");
    }
    let third = connect(&nodes[1]);
    third.expect("* the room is offline\n");
    first.send("one\ntwo\nthree\n/nick ann\n/who\n");
    first.expect("! not delivered: the room is offline\n! not delivered: the room is offline\n");
    first.expect("* guest1, guest2\n");
    redis.start_again();
    for member in [&first, &second, &third] {
        member.expect("* the room is back\n");
    }
    third.expect("* you are guest3\n");
    for node in &nodes {
        let log = node.log().join("\n");
        assert!(log.contains("the bus is down: ") && log.contains("WARN"), "{log}");
        assert!(log.contains("the bus is up again: ") && !log.contains("ConnectionReset,"), "{log}");
    }
    // Longer than somebody is waited for whom nobody lists again.
    std::thread::sleep(patience + patience / 2); // the passing of time is the point
    nodes.iter().for_each(until_said);
    first.send("end\n");
    let mut told = vec![line(&second)];
    while told[told.len() - 1] != "<guest1> end" {
        told.push(line(&second));
    }
    assert!(told.iter().all(|line| !line.contains("left") && !line.contains("three")), "{told:?}");
    second.send("/who\n");
    second.expect("* guest1, guest2, guest3\n");
    told
}

#[test]
fn a_line_that_waits_for_too_long_is_said_not_to_be_delivered() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let limits = BusLimits { publish_timeout: Duration::from_millis(300), ..hasty() };
    let (_nodes, [first]) = guests(&redis, &limits);
    redis.kill();
    first.expect("* the room is offline\n");
    first.send("lost\n");
    first.expect("! not delivered: the room is offline\n");
}

#[test]
fn the_members_of_a_node_that_stands_still_leave_in_time_and_come_back() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (nodes, [first, second]) = guests(&redis, &hasty());
    let third = enter(&nodes[1], "guest3");
    second.expect("* guest3 joined\n");
    first.expect("* guest3 joined\n");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    nodes[1].handle().call(move |_, _| _ = stopped.recv()).expect("there is room");
    let mut left = [line(&first), line(&first)];
    left.sort();
    assert_eq!(left, ["* guest2 left", "* guest3 left"]);
    first.send("/who\nanybody there?\n/nick guest2\n");
    first.expect("* guest1\n* guest1 is now guest2\n");
    drop(stop);
    // One of the names is taken now.
    let mut told = vec![line(&first), line(&first)];
    told.sort();
    assert_eq!(told, ["* guest2 is now guest1", "* guest3 joined"]);
    first.send("/who\n");
    let who = line(&first);
    assert!(who.contains("guest1") && who.contains("guest2") && who.contains("guest3"), "{who}");
    first.send("there you are\n");
    for member in [&second, &third] {
        while line(member) != "<guest2> there you are" {}
    }
}

#[test]
fn what_cannot_be_read_is_skipped_and_what_can_is_cleaned() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (_nodes, [first]) = guests(&redis, &hasty());
    let stranger = nodes::start(&redis, options(hasty()));
    stranger.ask(|node, io| {
        let payloads: [&[u8]; 6] = [
            b"9S 1 ann of another version",
            b"",
            b"1S 1 a/b no name",
            b"1S 1 ann \x1b[2Jclear\xff\n* bob left",
            b"1Q 1 nobody bye",
            b"1S 18446744073709551615 ann fine",
        ];
        for payload in payloads {
            let token = node.run(io, |node, io| node.bus.publish(io, ROOM, payload)).expect("it is up");
            node.handler_mut().tokens.insert(token, String::new());
        }
    });
    first.expect("<ann> [2Jclear\u{fffd}* bob left\n<ann> fine\n");
}

#[test]
fn what_comes_with_the_end_is_said_when_the_name_is_there() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (nodes, [first]) = guests(&redis, &hasty());
    for text in ["at once\nand the last", "the last alone", "at once\n"] {
        let short = connect(&nodes[0]);
        short.send(text);
        short.finish();
        first.expect("* guest2 joined\n");
        for line in text.lines() {
            first.expect(format!("<guest2> {line}\n"));
        }
        first.expect("* guest2 left\n");
        short.expect("* you are guest2\n");
        short.expect_eof();
    }
    // Who has nothing to say is gone before it has a name, or not.
    connect(&nodes[0]).finish();
    first.send("/who\n");
    let mut told = line(&first);
    while told != "* guest1" {
        assert!(told.starts_with("* guest"), "{told}");
        if !told.ends_with("joined") {
            first.send("/who\n");
        }
        told = line(&first);
    }
}

#[test]
fn a_node_that_ends_takes_its_members_along() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (nodes, [first, second]) = guests(&redis, &hasty());
    let [one, other] = nodes;
    second.send("goodbye\n");
    first.expect("<guest2> goodbye\n");
    other.stop();
    first.expect("* guest2 left\n");
    first.send("/who\n");
    first.expect("* guest1\n");
    assert_eq!(one.ask(|node, _| node.handler().members().len()), 1);
}

#[test]
fn a_bus_with_little_room_holds_its_members_and_loses_nothing() {
    const LINES: usize = 2000;
    let Some(redis) = Redis::start(&[]) else { return };
    let limits = BusLimits { max_in_flight: 4, max_waiting: 8, ..hasty() };
    let (_nodes, [first, second]) = guests(&redis, &limits);
    let speaker = first.share();
    std::thread::spawn(move || {
        let lines: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
        speaker.send(lines);
    });
    for line in 0..LINES {
        second.expect(format!("<guest1> line {line}\n"));
    }
    first.send("/who\n");
    first.expect("* guest1, guest2\n");
}

#[test]
fn the_options_of_a_bus_have_room_for_the_longest_line() {
    let Some(redis) = Redis::start(&[]) else { return };
    let chat = || {
        let bus = Bus::new(redis.url(), BusOptions { seed: None, ..SharedChat::bus_options() });
        let chat = Chat::new().on_bus(bus.expect("good options"));
        let node = TestServer::start(OnBus::new(chat), Chat::limits()).expect("it starts");
        until_live(&node);
        node
    };
    let nodes = [chat(), chat()];
    let first = enter(&nodes[0], "guest1");
    let second = enter(&nodes[1], "guest2");
    first.expect("* guest2 joined\n");
    let line = "ä".repeat(serve_forever::services::Framing::MAX_LINE / 2);
    first.send(format!("{line}\n"));
    second.expect(format!("<guest1> {line}\n"));
    // Cleaned, it is longer.
    first.send([vec![0xff; 60_000], b"\n".to_vec()].concat());
    first.expect("! not delivered: the line is too long\n");
}
