//! System calls for each message: one read and one write. Over poll(2) there are more,
//! since a short read does not say there that nothing is left.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::SystemCalls;
use serve_forever::services::Echo;
use serve_forever::{
    BoxError, CloseReason, Config, ConnId, Endpoint, GroupId, Io, Limits, Origin, Reactor, Sent,
    StreamHandler,
};

use crate::util::{Client, DatagramClient, PATIENCE, bind_anywhere, have, listen_anywhere, role, run_self};

fn difference(after: SystemCalls, before: SystemCalls) -> SystemCalls {
    let mut difference = SystemCalls::default();
    difference.wait = after.wait - before.wait;
    difference.read = after.read - before.read;
    difference.write = after.write - before.write;
    difference.accept = after.accept - before.accept;
    difference.register = after.register - before.register;
    difference.shutdown = after.shutdown - before.shutdown;
    difference.close = after.close - before.close;
    difference
}

const MESSAGES: u64 = 2000;

fn echoes(at: &Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, at).expect("the endpoint is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let client = Client::connect(&at);
        for _ in 0..=MESSAGES {
            client.send("message!");
            client.expect("message!");
        }
        client
    });
    let mut serve_until = |messages: u64| {
        while reactor.stats().bytes_out < messages * 8 {
            assert!(!talking.is_finished(), "the client has given up");
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        reactor.stats().system
    };
    let before = serve_until(1);
    let calls = difference(serve_until(1 + MESSAGES), before);
    talking.join().expect("every message came back");
    assert_eq!((calls.read, calls.write), (MESSAGES, MESSAGES));
    assert_eq!((calls.register, calls.accept, calls.shutdown, calls.close), (0, 0, 0, 0));
    // A client that takes its answer makes room for the next, of which the
    // loop may hear in a turn of its own.
    assert!(calls.wait <= 2 * (MESSAGES + 1), "{} waits", calls.wait);
}

#[test]
fn an_echo_in_steady_state_is_one_read_and_one_write_over_tcp() {
    echoes(&listen_anywhere());
}

#[test]
fn an_echo_in_steady_state_is_one_read_and_one_write_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    echoes(&Endpoint::Unix(directory.path().join("socket")));
}

/// An echo of datagrams, one after the other and in bursts.
fn echoes_datagrams(at: &Endpoint) {
    const BURST: u64 = 8;
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    let socket = reactor.bind(&echo, at).expect("the endpoint is free");
    let at = reactor.local(socket).expect("it was just made").clone();
    let name = match &at {
        Endpoint::UnixDatagram(path) => Some(path.with_extension("client")),
        _ => None,
    };
    let client = DatagramClient::connect(&at, name.as_deref());
    let mut serve = |burst: u64| {
        let before = reactor.stats();
        for _ in 0..burst {
            client.send("message!");
        }
        while reactor.stats().datagrams_out < before.datagrams_out + burst {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        for _ in 0..burst {
            client.expect("message!");
        }
        difference(reactor.stats().system, before.system)
    };
    serve(1);
    for burst in [1, BURST] {
        for _ in 0..100 {
            let calls = serve(burst);
            // The one more finds out that there are no more. A path is looked
            // at: it may lead to us.
            let looks = if name.is_some() { burst } else { 0 };
            assert_eq!((calls.read, calls.write, calls.register), (burst + looks + 1, burst, 0));
            // A client that takes an answer makes room, of which the loop may
            // hear in a turn of its own.
            assert!(calls.wait <= 2, "{} waits", calls.wait);
        }
    }
}

#[test]
fn datagrams_are_one_receive_and_one_send_each_and_one_receive_more_for_all() {
    echoes_datagrams(&bind_anywhere());
    let directory = tempfile::tempdir().expect("a directory");
    echoes_datagrams(&Endpoint::UnixDatagram(directory.path().join("socket")));
}

/// Sends what anybody says to everybody.
#[derive(Default)]
struct Room {
    group: Option<GroupId>,
}

impl StreamHandler for Room {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        let group = match self.group {
            Some(group) => group,
            None => *self.group.insert(io.group()?),
        };
        io.join(group, io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let text = input.split().freeze();
        self.group.map(|group| io.broadcast(group, &text, None));
        Ok(())
    }
}

fn room(members: usize) -> (Reactor, serve_forever::Service<Room>, Vec<Client>) {
    room_with(members, Config::default())
}

fn room_with(members: usize, config: Config) -> (Reactor, serve_forever::Service<Room>, Vec<Client>) {
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let room = reactor.add(Room::default(), Limits::default()).expect("good limits");
    let clients = (0..members)
        .map(|_| {
            let (client, socket) = Client::pair();
            reactor.adopt(&room, socket).expect("a connected socket");
            client
        })
        .collect();
    // Their first events, which say that they can be written to.
    while reactor.turn(Some(Duration::ZERO)).expect("the loop turns").events > 0 {}
    (reactor, room, clients)
}

/// Turns until nothing is left; how many writes each made.
fn writes_of_turns(reactor: &mut Reactor) -> Vec<u64> {
    let mut writes = Vec::new();
    loop {
        let before = reactor.stats().system.write;
        let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        writes.push(reactor.stats().system.write - before);
        if !turn.more {
            return writes;
        }
    }
}

#[test]
fn a_turn_writes_to_so_many_and_what_comes_meanwhile_joins_the_writes_to_the_others() {
    for (flushes_per_turn, first) in [(0, 1), (10, 10), (39, 39), (40, 40), (usize::MAX, 40)] {
        let config = Config { flushes_per_turn, gather_from: usize::MAX, ..Config::default() };
        let (mut reactor, service, clients) = room_with(40, config);
        let say = |reactor: &Reactor, text: &'static str| {
            let to_all = move |room: &mut Room, io: &mut Io<'_>| {
                io.broadcast(
                    room.group.expect("somebody has come"),
                    &Bytes::from_static(text.as_bytes()),
                    None,
                );
            };
            reactor.handle(&service).call(to_all).expect("there is room");
        };
        say(&reactor, "one ");
        let before = reactor.stats().system.write;
        let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert_eq!(turn.more, first < 40, "{flushes_per_turn}");
        assert_eq!(reactor.stats().system.write - before, first, "{flushes_per_turn}");
        say(&reactor, "two");
        let rest: u64 = writes_of_turns(&mut reactor).iter().sum();
        // Who had the first gets the second alone; all others get both at once.
        assert_eq!(rest, 40, "{flushes_per_turn}");
        for client in &clients {
            client.expect("one two");
        }
    }
}

#[test]
fn what_one_says_is_answered_while_others_still_wait_for_a_broadcast() {
    let config = Config { flushes_per_turn: 10, ..Config::default() };
    let (mut reactor, service, clients) = room_with(40, config);
    let echo = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&echo, socket).expect("a connected socket");
    writes_of_turns(&mut reactor);
    let to_all = |room: &mut Room, io: &mut Io<'_>| {
        io.broadcast(room.group.expect("somebody has come"), &Bytes::from_static(b"to all"), None);
    };
    reactor.handle(&service).call(to_all).expect("there is room");
    let mut sent = reactor.stats().system.write;
    let mut turn = |reactor: &mut Reactor| {
        let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        let writes = reactor.stats().system.write;
        (turn.more, writes - std::mem::replace(&mut sent, writes))
    };
    while turn(&mut reactor).1 == 0 {}
    client.send("me too");
    assert_eq!(turn(&mut reactor), (true, 11), "ten more members, and the echo");
    client.expect("me too");
    assert_eq!((turn(&mut reactor), turn(&mut reactor)), ((true, 10), (false, 10)));
    for client in &clients {
        client.expect("to all");
    }
}

#[test]
fn an_answer_of_the_turn_that_broadcasts_goes_before_the_broadcast() {
    for gather_from in [1, usize::MAX] {
        let config = Config { flushes_per_turn: 10, gather_from, ..Config::default() };
        let (mut reactor, _service, clients) = room_with(40, config);
        let echo = reactor.add(Echo::new(), Limits::default()).expect("good limits");
        let (client, socket) = Client::pair();
        reactor.adopt(&echo, socket).expect("a connected socket");
        writes_of_turns(&mut reactor);
        // Both are read in one turn, this one first.
        clients[0].send("to all");
        client.send("me too");
        let before = reactor.stats().system.write;
        while reactor.stats().system.write == before {
            reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        }
        assert_eq!(reactor.stats().system.write - before, 12, "the answer, the speaker, ten members");
        client.expect("me too");
        assert_eq!(writes_of_turns(&mut reactor).iter().sum::<u64>(), 29);
        for client in &clients {
            client.expect("to all");
        }
    }
}

#[test]
fn who_waits_for_a_write_is_written_to_before_much_more_is_read() {
    let config = Config { flushes_per_turn: 1, gather_from: usize::MAX, ..Config::default() };
    let (mut reactor, _service, clients) = room_with(40, config);
    let line = "x".repeat(32 << 10);
    let mut writes = || {
        clients[0].send(&line);
        let before = reactor.stats().system.write;
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
        reactor.stats().system.write - before
    };
    assert_eq!([writes(), writes()], [2, 2], "the speaker, and one more");
    assert!(writes() >= 40, "64 KiB were read since the first were left");
}

/// Says goodbye to each member, and then turns until none is left: each has heard it.
fn says_before_the_end(
    say: impl Fn(&mut Io<'_>, ConnId) + Send + 'static,
    last: impl FnOnce(&mut Io<'_>) + Send + 'static,
) {
    let config = Config { flushes_per_turn: 10, ..Config::default() };
    let (mut reactor, service, clients) = room_with(40, config);
    let to_each = move |room: &mut Room, io: &mut Io<'_>| {
        let members = io.members(room.group.expect("somebody has come")).to_vec();
        members.into_iter().for_each(|member| say(io, member));
        last(io);
    };
    reactor.handle(&service).call(to_each).expect("there is room");
    let deadline = std::time::Instant::now() + PATIENCE;
    while reactor.connections() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} are left", reactor.connections());
        reactor.turn(Some(Duration::from_millis(10))).expect("the loop turns");
    }
    for client in &clients {
        client.expect("goodbye");
    }
}

#[test]
fn everybody_hears_what_was_said_before_the_loop_stops() {
    says_before_the_end(
        |io, member| {
            assert_eq!(io.send(member, Bytes::from_static(b"goodbye")), Sent::Queued);
        },
        |io| io.stop(),
    );
}

#[test]
fn everybody_hears_what_was_said_before_an_end_that_waits_for_nothing() {
    says_before_the_end(
        |io, member| {
            assert_eq!(io.send(member, Bytes::from_static(b"goodbye")), Sent::Queued);
            io.set_idle(member, Some(Duration::ZERO));
            io.close(member);
        },
        |_| {},
    );
}

#[test]
fn with_much_to_say_to_all_a_turn_writes_to_all() {
    let config = Config { flushes_per_turn: 10, gather_from: usize::MAX, ..Config::default() };
    let (mut reactor, service, clients) = room_with(40, config);
    let lines = |room: &mut Room, io: &mut Io<'_>| {
        let group = room.group.expect("somebody has come");
        let line = Bytes::from(vec![b'x'; 64]);
        for _ in 0..1 << 10 {
            io.broadcast(group, &line, None);
        }
    };
    reactor.handle(&service).call(lines).expect("there is room");
    let before = reactor.stats().system.write;
    let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert!(!turn.more, "nobody waits");
    assert_eq!(reactor.stats().system.write - before, 40);
    for client in &clients {
        client.expect("x".repeat(64 << 10));
    }
}

#[test]
fn a_burst_of_broadcasts_is_one_write_for_each_member() {
    let (mut reactor, service, clients) = room(40);
    let before = reactor.stats().system;
    let burst = |room: &mut Room, io: &mut Io<'_>| {
        let group = room.group.expect("somebody has come");
        for number in 0..100 {
            let tally = io.broadcast(group, &Bytes::from(format!("{number:03}")), None);
            assert_eq!(tally.queued, 40);
        }
    };
    reactor.handle(&service).call(burst).expect("there is room");
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    let calls = difference(reactor.stats().system, before);
    assert_eq!((calls.write, calls.read, calls.register), (40, 0, 0));
    let expected: String = (0..100).map(|number| format!("{number:03}")).collect();
    for client in &clients {
        client.expect(&expected);
    }
}

#[test]
fn what_comes_for_many_before_the_next_turn_leaves_in_the_same_write_and_no_later() {
    for (gather_from, writes) in [(0, 1), (40, 1), (41, 2)] {
        // One event a turn: the second message is there, and is seen in the next turn.
        let config = Config { events_per_turn: 1, gather_from, ..Config::default() };
        let (mut reactor, _service, clients) = room_with(40, config);
        for client in &clients[..3] {
            client.send("hi! ");
        }
        let turn = |reactor: &mut Reactor| {
            let before = reactor.stats().system.write;
            let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
            (turn.more, (reactor.stats().system.write - before) / 40)
        };
        assert_eq!(turn(&mut reactor), (true, writes - 1), "{gather_from}");
        assert_eq!(turn(&mut reactor).1, 1, "{gather_from}");
        // The third one waits for its own next turn, though nothing comes there.
        let third = [turn(&mut reactor), turn(&mut reactor)].map(|(_, writes)| writes);
        assert_eq!(third, [writes - 1, 2 - writes], "{gather_from}");
        for client in &clients {
            client.expect("hi! ".repeat(3));
        }
    }
}

#[test]
fn what_all_say_to_all_in_one_turn_is_one_read_and_one_write_each() {
    let (mut reactor, _service, clients) = room(20);
    for client in &clients {
        client.send("hi! ");
    }
    let before = reactor.stats().system;
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    let calls = difference(reactor.stats().system, before);
    assert_eq!((calls.wait, calls.read, calls.write), (1, 20, 20));
    for client in &clients {
        client.expect("hi! ".repeat(20));
    }
}

/// An echo that ends with its only connection.
struct OneEcho(Echo);

impl StreamHandler for OneEcho {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        self.0.open(io, origin)
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.0.data(io, &mut (), input)
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        io.stop();
    }
}

// What the driver counts is what the system is asked: strace sees the same.
#[test]
fn strace_counts_the_same() {
    const NAME: &str = "system_calls::strace_counts_the_same";
    if role().as_deref() == Some("server") {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let echo = reactor.add(OneEcho(Echo::new()), Echo::limits()).expect("good limits");
        let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
        println!("listening {}", reactor.local(listener).expect("it was just made"));
        return reactor.serve_forever().expect("the loop runs");
    }
    if !have("strace") {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    let trace = file.path().to_str().expect("UTF-8");
    let strace = ["strace", "-f", "-e", "trace=network,read,write,epoll_ctl,epoll_wait", "-o", trace];
    let mut server = run_self(NAME, "server", &strace).stdout(Stdio::piped()).spawn().expect("strace runs");
    // Open to the end, for it prints more than what is looked for.
    let mut stdout = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let told = stdout.by_ref().map_while(Result::ok).find_map(|line| {
        line.split_once("listening ").map(|(_, at)| at.parse::<Endpoint>().expect("an endpoint"))
    });
    let Some(at) = told else {
        // Where ptrace is not permitted, say.
        server.wait().expect("it ended");
        return eprintln!("skipped: strace cannot trace here");
    };
    let client = Client::connect(&at);
    for _ in 0..500 {
        client.send("straced message");
        client.expect("straced message");
    }
    client.finish();
    client.expect_eof();
    assert!(server.wait().expect("it ends").success());

    let trace = std::fs::read_to_string(file.path()).expect("strace wrote it");
    let count = |wanted: &str| trace.lines().filter(|line| line.contains(wanted)).count();
    let reads = trace.lines().filter(|line| line.contains("recv") && line.contains("\"straced message\""));
    let writes = trace.lines().filter(|line| line.contains("send") && line.contains("\"straced message\""));
    assert_eq!((reads.count(), writes.count()), (500, 500));
    assert_eq!(count("EAGAIN"), 1, "only accepting asks until there is nobody");
    assert_eq!(count("epoll_ctl("), 3, "the waker, the listener and the connection");
}
