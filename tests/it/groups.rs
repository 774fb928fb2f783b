//! Groups, and broadcasts to them.

use bytes::Bytes;
use serve_forever::services::Echo;
use serve_forever::{Config, ConnId, GroupId, Io, Limits, Overflow, Reactor};

use crate::util::{Client, Events, Recorder, Server, noise};

/// A server, one group, and so many clients in it.
fn group_of(count: usize, limits: Limits) -> (Server<Recorder>, Events, GroupId, Vec<(ConnId, Client)>) {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder, limits);
    let group = server.ask(|_, io| io.group().expect("there is room"));
    let members: Vec<_> = (0..count)
        .map(|_| {
            let client = server.connect();
            let id = events.expect_open();
            assert!(server.ask(move |_, io| io.join(group, id)).expect("there is room"));
            (id, client)
        })
        .collect();
    (server, events, group, members)
}

#[test]
fn a_broadcast_reaches_every_member_but_the_one_left_out() {
    for payload in [Bytes::from_static(b"small"), noise(100_000).into()] {
        let (server, _events, group, members) = group_of(10, Limits::default());
        let outsider = server.connect();
        let (except, _) = members[3];
        let sent = payload.clone();
        let tally = server.ask(move |_, io| io.broadcast(group, &sent, Some(except)));
        assert_eq!((tally.queued, tally.full, tally.dropped, tally.gone), (9, 0, 0, 0));
        for (id, client) in &members {
            if *id != except {
                client.expect(&payload);
            }
        }
        outsider.assert_silent();
        members[3].1.assert_silent();
    }
}

// docs/guarantees.md, 27, the copy: with what the payload is shared, it is freed once all
// have been sent it.
#[test]
fn a_broadcast_holds_one_copy_of_its_payload() {
    let (server, _events, group, members) = group_of(100, Limits::default());
    let payload = Bytes::from(noise(50_000));
    let (sent, held) = (payload.clone(), payload.clone());
    drop(payload);
    server.ask(move |_, io| assert_eq!(io.broadcast(group, &sent, None).queued, 100));
    for (_, client) in &members {
        client.expect(&held);
    }
    server.settle();
    assert!(held.is_unique(), "nobody holds on to it");
}

#[test]
fn members_leave_by_themselves_by_request_and_with_their_connection() {
    let (server, events, group, mut members) = group_of(5, Limits::default());
    let ids: Vec<_> = members.iter().map(|(id, _)| *id).collect();
    let (first, second) = (ids[0], ids[1]);
    server.ask(move |_, io| {
        assert!(io.leave(group, first));
        assert!(!io.leave(group, first), "once");
        assert!(io.join(group, second).expect("there is room"), "twice is once");
        assert_eq!(members_of(io, group).len(), 4);
    });
    let (gone, client) = members.remove(2);
    client.reset();
    assert_eq!(events.expect_close("Io("), gone);
    server.until_connections(4);
    let mut left = server.ask(move |_, io| members_of(io, group));
    left.sort();
    let mut expected = vec![ids[1], ids[3], ids[4]];
    expected.sort();
    assert_eq!(left, expected);
    server.ask(move |_, io| assert!(!io.join(group, gone).expect("no limit in the way"), "it is gone"));
}

fn members_of(io: &Io<'_>, group: GroupId) -> Vec<ConnId> {
    io.members(group).to_vec()
}

#[test]
fn a_dissolved_group_reaches_nobody_and_its_id_names_no_other() {
    let (server, _events, group, members) = group_of(3, Limits::default());
    let id = members[0].0;
    server.ask(move |_, io| {
        io.dissolve(group);
        let next = io.group().expect("there is room");
        assert_ne!(next, group);
        assert!(io.join(next, id).expect("there is room"));
        let tally = io.broadcast(group, &Bytes::from_static(b"lost"), None);
        assert_eq!((tally.queued, tally.gone), (0, 0));
        assert!(io.members(group).is_empty());
        assert!(!io.join(group, id).expect("no limit in the way"));
        assert!(!io.leave(group, id));
        assert_eq!(io.broadcast(next, &Bytes::from_static(b"found"), None).queued, 1);
    });
    members[0].1.expect("found");
    members[1].1.assert_silent();
}

// docs/guarantees.md, 25, below the chat: who never reads is dropped at its limit, and
// nobody waits for it.
#[test]
fn a_member_that_never_reads_holds_up_nobody() {
    let limits = Limits { overflow: Overflow::Close, ..Limits::default() };
    let (server, events, group, mut members) = group_of(1, limits);
    let sloth = Client::connect_small(server.at());
    let sloth_id = events.expect_open();
    server.ask(move |_, io| io.join(group, sloth_id)).expect("there is room");
    let (_, reader) = members.remove(0);
    let payload = Bytes::from(noise(200_000));
    let mut sent = 0;
    loop {
        let data = payload.clone();
        let tally = server.ask(move |_, io| io.broadcast(group, &data, None));
        sent += 1;
        reader.expect(&payload);
        if tally.dropped == 1 {
            assert_eq!(tally.queued, 1);
            break;
        }
        assert!(sent < 1000, "the sloth is never dropped");
    }
    assert_eq!(events.expect_close("Overflow"), sloth_id);
    sloth.expect_reset();
    let data = payload.clone();
    server.until_connections(1);
    let tally = server.ask(move |_, io| io.broadcast(group, &data, None));
    assert_eq!((tally.queued, tally.gone, tally.dropped), (1, 0, 0));
    reader.expect(&payload);
}

/// Messages to all are one copy for all of them, and what is sent to one alone,
/// or to all but one, must come between them where it was sent.
#[test]
fn messages_to_all_to_all_but_one_and_to_one_arrive_in_the_order_in_which_they_were_sent() {
    const MEMBERS: usize = 5;
    let (server, _events, group, members) = group_of(MEMBERS, Limits::default());
    let ids: Vec<ConnId> = members.iter().map(|(id, _)| *id).collect();
    let expected = server.ask(move |_, io| {
        let mut expected = vec![String::new(); MEMBERS];
        for number in 0..200 {
            let one = number % MEMBERS;
            let text = format!("{number} {}\n", "-".repeat(number * 7 % 90));
            match number * 13 % 7 {
                0 => {
                    assert!(io.send(ids[one], text.clone()).is_queued());
                    expected[one] += &text;
                }
                1 | 2 => {
                    assert_eq!(io.broadcast(group, &text.clone().into(), Some(ids[one])).queued, MEMBERS - 1);
                    let others = expected.iter_mut().enumerate().filter(|(place, _)| *place != one);
                    others.for_each(|(_, expected)| *expected += &text);
                }
                _ => {
                    assert_eq!(io.broadcast(group, &text.clone().into(), None).queued, MEMBERS);
                    expected.iter_mut().for_each(|expected| *expected += &text);
                }
            }
        }
        expected
    });
    for ((_, client), expected) in members.iter().zip(&expected) {
        client.expect(expected);
    }
}

/// Nobody gets it, so nothing of it may be kept for anybody.
#[test]
fn messages_to_nobody_are_nowhere_and_cost_the_next_ones_nothing() {
    let (server, _events, group, members) = group_of(2, Limits::default());
    let (alone, listener) = (members[0].0, members[1].0);
    let data = Bytes::from(noise(1000));
    server.ask(move |_, io| {
        assert!(io.leave(group, listener));
        for _ in 0..5000 {
            assert_eq!(io.broadcast(group, &data, Some(alone)).queued, 0);
        }
        assert!(io.join(group, listener).expect("there is room"));
        for line in ["one ", "two"] {
            assert_eq!(io.broadcast(group, &line.into(), Some(alone)).queued, 1);
        }
    });
    members[1].1.expect("one two");
    members[0].1.assert_silent();
}

/// What a member's socket does not take of a burst stays in its own queue, while
/// the next burst is on its way to everybody.
#[test]
fn who_reads_late_gets_every_burst_as_it_was() {
    const LINES: usize = 40;
    let limits = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..Limits::default() };
    let (server, events, group, mut members) = group_of(1, limits);
    let late = Client::connect_small(server.at());
    let late_id = events.expect_open();
    server.ask(move |_, io| io.join(group, late_id)).expect("there is room");
    let (_, reader) = members.remove(0);
    let mut everything = Vec::new();
    let mut bursts = 0;
    // Until what waits is more than one socket's buffer took, several times over.
    while server.ask(move |_, io| io.queued(late_id)).expect("it is there") < 100_000 {
        let burst: Vec<Bytes> =
            (0..LINES).map(|line| format!("{bursts}.{line} ").repeat(40).into()).collect();
        let whole = burst.concat();
        server.ask(move |_, io| {
            for line in &burst {
                assert_eq!(io.broadcast(group, line, None).queued, 2);
            }
        });
        reader.expect(&whole);
        everything.extend(whole);
        bursts += 1;
        assert!(bursts < 10_000, "its socket takes everything");
    }
    late.expect(&everything);
}

#[test]
fn many_broadcasts_of_one_callback_arrive_in_order() {
    let (server, _events, group, members) = group_of(20, Limits::default());
    server.ask(move |_, io| {
        for number in 0..100 {
            let text = Bytes::from(format!("{number}\n"));
            assert_eq!(io.broadcast(group, &text, None).queued, 20);
        }
    });
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    for (_, client) in &members {
        client.expect(&expected);
    }
}

#[test]
fn a_message_may_go_to_a_connection_of_another_service() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let (recorder, events) = Recorder::passive();
    let one = reactor.add(recorder, Limits::default()).expect("good limits");
    let other = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    let (client, socket) = Client::pair();
    let id = reactor.adopt(&one, socket).expect("a connected socket");
    assert_eq!(events.expect_open(), id);
    let send = move |_: &mut Echo, io: &mut Io<'_>| {
        assert_eq!(io.connections(), 0, "of its own");
        assert!(io.send(id, Bytes::from_static(b"across")).is_queued());
    };
    reactor.handle(&other).call(send).expect("there is room");
    reactor.turn(None).expect("the loop turns");
    client.expect("across");
}
