//! Datagrams over UDP: what comes in, what goes out, and what outlives what.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::{Echo, Once, Upper};
use serve_forever::{
    BindOptions, BoxError, Config, DatagramHandler, Endpoint, Error, Handled, Io, Limits, Multicast, Origin,
    Peer, Reactor, Sent, Service, SocketId, StreamHandler,
};

use crate::util::{
    Client, DatagramClient, DatagramServer, Heard, PATIENCE, SOON, Watcher, address, bind_anywhere,
    bound_socket, heard, listen_anywhere, noise,
};

/// What UDP over IPv4 carries at most.
const LONGEST: usize = 65_507;

fn bound<S: DatagramHandler>(handler: S, limits: Limits) -> (Reactor, Service<S>, SocketId, Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add_datagram(handler, limits).expect("good limits");
    let socket = reactor.bind(&service, &bind_anywhere()).expect("a free port");
    let at = reactor.local(socket).expect("it was just made").clone();
    (reactor, service, socket, at)
}

/// Takes turns until it holds.
#[track_caller]
fn turn_until(reactor: &mut Reactor, what: &str, mut holds: impl FnMut(&Reactor) -> bool) {
    let began = std::time::Instant::now();
    while !holds(reactor) {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        reactor.turn(Some(Duration::from_millis(10))).expect("the loop turns");
    }
}

// docs/guarantees.md, 49.
#[test]
fn an_echo_answers_each_datagram_whatever_its_size() {
    let server = DatagramServer::start(Echo::new());
    let client = server.connect();
    for len in [1, 0, 2, 1472, 1473, 9000, LONGEST, 0, LONGEST - 1, 1] {
        let message = noise(len);
        client.send(&message);
        client.expect(&message);
    }
    let stats = server.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (10, 10));
    assert_eq!(stats.bytes_in, stats.bytes_out);
}

#[test]
fn upper_and_once_answer_datagrams() {
    let server = DatagramServer::start(Upper::new());
    let client = server.connect();
    client.send("aZ\u{e4}\0\n");
    client.expect("AZ\u{e4}\0\n");
    client.send("");
    client.expect("");

    let server = DatagramServer::start(Once::new("yes"));
    let client = server.connect();
    for request in ["one", "", "no line end\r\n\r\n"] {
        client.send(request);
        client.expect("yes\n");
    }
}

#[test]
fn senders_are_told_apart_and_answered_apart() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(format!("from {number}"));
    }
    for (number, client) in clients.iter().enumerate() {
        client.expect(format!("from {number}"));
        let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
        let local = clients[number].0.local_addr().expect("it is bound").as_socket().expect("UDP");
        assert_eq!(from, Peer::inet(local));
    }
}

#[test]
fn ipv6_is_served_beside_ipv4() {
    let at = [bind_anywhere(), "udp://[::1]:0".parse().expect("a good endpoint")];
    let server = DatagramServer::start_with(Echo::new(), Limits::default(), &at, &BindOptions::default());
    for at in server.locals() {
        let client = DatagramClient::connect(at, None);
        client.send("hello");
        client.expect("hello");
    }
    // UDP over IPv6 carries twenty bytes more.
    let client = DatagramClient::connect(&server.locals()[1], None);
    let message = noise(65_527);
    client.send(&message);
    client.expect(&message);
}

#[test]
fn one_value_serves_streams_and_datagrams() {
    /// Numbers requests, however they come.
    struct Counter(u64);

    impl StreamHandler for Counter {
        type Session = ();

        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            Ok(())
        }

        fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
            input.clear();
            self.0 += 1;
            let _ = io.write(self.0.to_string().as_bytes());
            Ok(())
        }
    }

    impl DatagramHandler for Counter {
        fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, _: &[u8]) -> Result<(), BoxError> {
            self.0 += 1;
            let _ = io.send_to(on, from, self.0.to_string().as_bytes());
            Ok(())
        }
    }

    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let counter = reactor.add(Counter(0), Limits::default()).expect("good limits");
    let listener = reactor.listen(&counter, &listen_anywhere()).expect("a free port");
    let first = reactor.bind(&counter, &bind_anywhere()).expect("a free port");
    let second = reactor.bind(&counter, &bind_anywhere()).expect("a free port");
    let stream = Client::connect(reactor.local(listener).expect("it is open"));
    let datagrams = [first, second]
        .map(|socket| DatagramClient::connect(reactor.local(socket).expect("it is open"), None));
    let handle = reactor.handle(&counter);
    let clients = std::thread::spawn(move || {
        for round in 0..3 {
            stream.send("x");
            stream.expect((3 * round + 1).to_string());
            for (place, client) in datagrams.iter().enumerate() {
                client.send("x");
                client.expect((3 * round + 2 + place).to_string());
            }
        }
        handle.shutdown(PATIENCE);
    });
    reactor.serve_forever().expect("the loop runs");
    clients.join().expect("each was answered");
    assert_eq!(reactor.get_mut(&counter).0, 9);

    // Whoever says that it is for datagrams alone is taken at its word.
    let counter = reactor.add_datagram(Counter(0), Limits::default()).expect("good limits");
    reactor.bind(&counter, &bind_anywhere()).expect("a free port");
    let refused = reactor.listen(&counter, &listen_anywhere()).expect_err("it has no sessions");
    assert!(refused.to_string().contains("Reactor::add"), "{refused}");
    let (_client, socket) = Client::pair();
    reactor.adopt(&counter, socket).expect_err("it has no sessions");
}

// docs/guarantees.md, 49.
#[test]
fn what_is_too_long_to_send_is_told_and_the_socket_stays() {
    let (watcher, told) = Watcher::new(|io, on, heard| {
        if let Heard::Datagram(from, data) = heard {
            let len = String::from_utf8(data.clone())?.parse()?;
            assert_eq!(io.send_to(on, from, &noise(len)), Sent::Queued);
        }
        Ok(())
    });
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    for len in [LONGEST, LONGEST + 1, 70_000, 0] {
        client.send(len.to_string());
        let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
        if len <= LONGEST {
            client.expect(noise(len));
        } else {
            assert_eq!(heard(&told), Heard::Send(from, len, Some(rustix::io::Errno::MSGSIZE.raw_os_error())));
        }
    }
    let stats = server.stop();
    assert_eq!((stats.datagrams_out, stats.datagrams_unsent), (2, 2));
}

// docs/guarantees.md, 49.
#[test]
fn what_is_too_long_to_receive_is_told_and_not_handed_over() {
    let (watcher, told) = Watcher::echo();
    let limits = Limits { max_datagram: 8, ..Limits::default() };
    let server = DatagramServer::start_with(watcher, limits, &[bind_anywhere()], &BindOptions::default());
    let client = server.connect();
    client.send("123456789");
    client.send("12345678");
    client.send(noise(1000));
    client.send("");
    client.expect("12345678");
    client.expect("");
    let local = Peer::inet(client.0.local_addr().expect("it is bound").as_socket().expect("UDP"));
    assert_eq!(heard(&told), Heard::TooLong(local.clone(), 9));
    assert_eq!(heard(&told), Heard::Datagram(local.clone(), b"12345678".to_vec()));
    assert_eq!(heard(&told), Heard::TooLong(local, 1000));
    assert_eq!(server.stop().datagrams_too_long, 2);
}

// docs/guarantees.md, 50, as far as Linux tells of it.
#[test]
fn who_is_not_there_any_more_is_no_matter() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let gone = server.connect();
    gone.send("and away");
    drop(gone);
    heard(&told);
    // Its system answers with ICMP: nobody is there.
    let client = server.connect();
    for _ in 0..10 {
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
        let on = server.sockets[0];
        let sent = server.ask(move |_, io| io.send_to(on, &Peer::inet(nobody), b"anybody?"));
        assert_eq!(sent, Sent::Queued);
        client.send("still there?");
        client.expect("still there?");
    }
}

#[test]
fn an_error_and_a_panic_end_nothing() {
    let (watcher, told) = Watcher::new(|io, on, heard| {
        let Heard::Datagram(from, data) = heard else { return Ok(()) };
        let _ = io.send_to(on, from, b"before");
        match &data[..] {
            b"fail" => Err("as asked".into()),
            b"panic" => panic!("as asked"),
            _ => Ok(()),
        }
    });
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    for request in ["fail", "panic", "well", "fail"] {
        client.send(request);
        client.expect("before");
    }
    drop(told);
    let stats = server.stop();
    assert_eq!((stats.failed, stats.panicked, stats.datagrams_in), (2, 1, 4));
}

#[test]
fn what_verify_refuses_is_counted_and_not_handed_over() {
    let (mut watcher, told) = Watcher::echo();
    watcher.refuses = Some(b"no");
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    client.send("not me");
    client.send("me");
    client.expect("me");
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"me"));
    let stats = server.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_refused, stats.datagrams_out), (2, 1, 1));
}

#[test]
fn a_timer_of_a_datagram_ticks_for_the_service() {
    let (watcher, told) = Watcher::new(|io, _, heard| {
        if matches!(heard, Heard::Datagram(..)) {
            io.after(Duration::ZERO)?;
        }
        Ok(())
    });
    let server = DatagramServer::start(watcher);
    server.connect().send("x");
    assert!(matches!(heard(&told), Heard::Datagram(..)));
    assert!(matches!(heard(&told), Heard::Tick(_)));
}

#[test]
fn a_flood_has_its_share_of_a_turn_and_loses_nothing_of_the_rest() {
    let limits = Limits { datagrams_per_turn: 4, ..Limits::default() };
    let (mut reactor, service, _socket, at) = bound(Echo::new(), limits);
    let other = reactor.bind(&service, &bind_anywhere()).expect("a free port");
    let (flood, neighbour) = (
        DatagramClient::connect(&at, None),
        DatagramClient::connect(reactor.local(other).expect("it is open"), None),
    );
    for number in 0..10 {
        flood.send([number]);
    }
    neighbour.send("me too");
    let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert!(turn.more, "six more wait, of which no event tells");
    assert_eq!(reactor.stats().datagrams_in, 5);
    neighbour.expect("me too");
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    for expected in [9, 11, 11] {
        reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        assert_eq!(reactor.stats().datagrams_in, expected);
    }
    assert_eq!(reactor.next_timeout(), None);
    for number in 0..10 {
        flood.expect([number]);
    }
}

#[test]
fn a_handler_that_sends_many_sends_a_share_in_each_turn() {
    let (watcher, _told) = Watcher::new(|io, on, heard| {
        if let Heard::Datagram(from, _) = heard {
            for number in 0..10 {
                assert_eq!(io.send_to(on, from, &[number]), Sent::Queued);
            }
        }
        Ok(())
    });
    let limits = Limits { datagrams_per_turn: 4, ..Limits::default() };
    let (mut reactor, _service, _socket, at) = bound(watcher, limits);
    let client = DatagramClient::connect(&at, None);
    client.send("go");
    for expected in [4, 8, 10] {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert_eq!(reactor.stats().datagrams_out, expected);
    }
    for number in 0..10 {
        client.expect([number]);
    }
}

#[test]
fn what_is_sent_between_sockets_and_from_streams_arrives() {
    /// Sends what it hears on streams to a socket's last sender.
    struct Bridge {
        socket: Option<(SocketId, Peer)>,
    }

    impl StreamHandler for Bridge {
        type Session = ();

        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            Ok(())
        }

        fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
            let (on, to) = self.socket.as_ref().ok_or("nobody has called")?;
            assert_eq!(io.send_to(*on, to, &input.split()), Sent::Queued);
            Ok(())
        }
    }

    impl DatagramHandler for Bridge {
        fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, _: &[u8]) -> Result<(), BoxError> {
            assert_eq!(io.write(b"to whom?"), Sent::Gone, "a datagram has no connection");
            self.socket = Some((on, from.clone()));
            Ok(())
        }
    }

    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let bridge = reactor.add(Bridge { socket: None }, Limits::default()).expect("good limits");
    let socket = reactor.bind(&bridge, &bind_anywhere()).expect("a free port");
    let (stream, ours) = Client::pair();
    reactor.adopt(&bridge, ours).expect("a connected socket");
    let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    client.send("here");
    turn_until(&mut reactor, "it has called", |reactor| reactor.stats().datagrams_in == 1);
    stream.send("over there");
    turn_until(&mut reactor, "it is sent", |reactor| reactor.stats().datagrams_out == 1);
    client.expect("over there");
}

#[test]
fn a_socket_that_is_closed_frees_its_port_and_is_gone() {
    let (mut reactor, service, socket, at) = bound(Echo::new(), Limits::default());
    assert!(reactor.close_socket(socket));
    assert!(!reactor.close_socket(socket));
    assert_eq!(reactor.local(socket), None);
    let again = reactor.bind(&service, &at).expect("the port is free again");
    assert_ne!(again, socket);
    let nobody = Peer::inet(address(&at));
    let send = move |_: &mut Echo, io: &mut Io<'_>| {
        assert_eq!(io.send_to(socket, &nobody, b"x"), Sent::Gone);
    };
    reactor.handle(&service).call(send).expect("there is room");
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert_eq!(reactor.stats().panicked, 0);
}

#[test]
fn a_stream_endpoint_and_one_in_use_are_refused_with_what_would_be_right() {
    let (mut reactor, service, _socket, at) = bound(Echo::new(), Limits::default());
    let directory = tempfile::tempdir().expect("a directory");
    for stream in [listen_anywhere(), Endpoint::Unix(directory.path().join("socket"))] {
        let Err(Error::Bind { endpoint, source }) = reactor.bind(&service, &stream) else {
            panic!("{stream} is for streams");
        };
        assert_eq!((endpoint, source.kind()), (stream.to_string(), io::ErrorKind::Unsupported));
        assert!(source.to_string().contains("listen"), "{source}");
    }
    let error = reactor.bind(&service, &at).expect_err("it is in use");
    assert!(matches!(&error, Error::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
    assert!(error.to_string().starts_with(&format!("cannot bind {at}")), "{error}");

    let config = Config { max_sockets: 1, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let one = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    assert!(matches!(reactor.bind(&service, &bind_anywhere()), Err(Error::ForeignService)));
    reactor.bind(&one, &bind_anywhere()).expect("a free port");
    assert!(matches!(reactor.bind(&one, &bind_anywhere()), Err(Error::Full { limit: 1, .. })));
}

// Options

#[test]
fn a_port_is_shared_when_all_say_so() {
    let (mut reactor, service, _socket, _) = bound(Echo::new(), Limits::default());
    for options in [
        BindOptions { reuse_address: true, ..BindOptions::default() },
        BindOptions { reuse_port: true, ..BindOptions::default() },
    ] {
        let first = reactor.bind_with(&service, &bind_anywhere(), &options).expect("a free port");
        let at = reactor.local(first).expect("it is open").clone();
        reactor.bind_with(&service, &at, &options).expect("both say so");
        reactor.bind(&service, &at).expect_err("this one does not");
    }
}

#[test]
fn broadcasts_need_to_be_permitted() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let on = server.sockets[0];
    // The loopback's own broadcast address.
    let everybody = Peer::inet(SocketAddr::from(([127, 255, 255, 255], address(server.at()).port())));
    let to = everybody.clone();
    assert_eq!(server.ask(move |_, io| io.send_to(on, &to, b"all")), Sent::Queued);
    let denied = Some(rustix::io::Errno::ACCESS.raw_os_error());
    assert_eq!(heard(&told), Heard::Send(everybody, 3, denied));

    let (watcher, told) = Watcher::new(|_, _, _| Ok(()));
    let options = BindOptions { broadcast: true, from_own: true, ..BindOptions::default() };
    let wildcard = "udp://0.0.0.0:0".parse().expect("a good endpoint");
    let server = DatagramServer::start_with(watcher, Limits::default(), &[wildcard], &options);
    let on = server.sockets[0];
    let everybody = Peer::inet(SocketAddr::from(([127, 255, 255, 255], address(server.at()).port())));
    assert_eq!(server.ask(move |_, io| io.send_to(on, &everybody, b"all")), Sent::Queued);
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"all"));
}

#[test]
fn who_has_joined_a_group_gets_what_is_sent_to_it_and_nobody_else_does() {
    let group = Ipv4Addr::new(239, 255, 42, 17);
    let wildcard: Endpoint = "udp://0.0.0.0:0".parse().expect("a good endpoint");
    let (watcher, told) = Watcher::new(|_, _, _| Ok(()));
    let joins = BindOptions {
        multicast: vec![Multicast::V4 { group, interface: Ipv4Addr::LOCALHOST }],
        multicast_interface_v4: Some(Ipv4Addr::LOCALHOST),
        multicast_hops: Some(1),
        reuse_address: true,
        ..BindOptions::default()
    };
    let member = DatagramServer::start_with(watcher, Limits::default(), &[wildcard], &joins);
    let port = address(member.at()).port();

    // On the same port, and in no group.
    let (stranger, nothing) = Watcher::new(|_, _, _| Ok(()));
    let stays = BindOptions { reuse_address: true, ..BindOptions::default() };
    let at = [Endpoint::Udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))];
    let stranger = DatagramServer::start_with(stranger, Limits::default(), &at, &stays);

    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let sender = socket2::Socket::from(sender);
    sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("the loopback takes multicasts");
    let to = SocketAddr::from((group, port));
    sender.send_to(b"members", &to.into()).expect("it can be sent");
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"members"));
    // The last that was bound gets what is for one.
    sender.send_to(b"one", &SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("it can be sent");
    assert!(matches!(heard(&nothing), Heard::Datagram(_, data) if data == b"one"));

    // And out again: the member sends, another member hears.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    listener.set_reuse_address(true).expect("an option");
    listener.bind(&SocketAddr::from((group, 0)).into()).expect("a free port");
    listener.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).expect("the loopback has groups");
    listener.set_read_timeout(Some(PATIENCE)).expect("an option");
    let to = Peer::inet(listener.local_addr().expect("it is bound").as_socket().expect("UDP"));
    let on = member.sockets[0];
    assert_eq!(member.ask(move |_, io| io.send_to(on, &to, b"out")), Sent::Queued);
    let mut got = [0; 16];
    assert_eq!(io::Read::read(&mut &listener, &mut got).expect("it came"), 3);
    drop(stranger);
}

#[test]
fn a_group_of_ipv6_is_joined() {
    let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0x42, 0x17);
    let (watcher, told) = Watcher::new(|_, _, _| Ok(()));
    let options = BindOptions {
        multicast: vec![Multicast::V6 { group, interface: LOOPBACK }],
        multicast_interface_v6: Some(LOOPBACK),
        multicast_hops: Some(1),
        hops: Some(3),
        ..BindOptions::default()
    };
    let wildcard: Endpoint = "udp://[::]:0".parse().expect("a good endpoint");
    let server = DatagramServer::start_with(watcher, Limits::default(), &[wildcard], &options);
    let members = std::fs::read_to_string("/proc/net/igmp6").expect("a Linux with /proc");
    assert!(members.contains("ff010000000000000000000000420017"), "{members}");
    let sender = socket2::Socket::from(UdpSocket::bind("[::1]:0").expect("a free port"));
    sender.set_multicast_if_v6(LOOPBACK).expect("the loopback takes multicasts");
    let to = SocketAddr::from((group, address(server.at()).port()));
    match sender.send_to(b"six", &to.into()) {
        Ok(_) => assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"six")),
        Err(error) => {
            // Where no route leads to any group.
            assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
            eprintln!("nothing is sent: there is no route to IPv6 groups on this machine");
        }
    }
}

/// On Linux the loopback is the first interface there is.
const LOOPBACK: u32 = 1;

#[test]
fn the_buffers_and_hops_are_those_asked_for() {
    let (mut reactor, service, _socket, _) = bound(Echo::new(), Limits::default());
    let options = BindOptions {
        receive_buffer: Some(32 << 10),
        send_buffer: Some(16 << 10),
        hops: Some(7),
        ..BindOptions::default()
    };
    let socket = reactor.bind_with(&service, &bind_anywhere(), &options).expect("a free port");
    let at = address(reactor.local(socket).expect("it is open"));
    let found = bound_socket(at);
    // Linux doubles them, for its own needs (socket(7)).
    assert_eq!(found.recv_buffer_size().expect("an option"), 64 << 10);
    assert_eq!(found.send_buffer_size().expect("an option"), 32 << 10);
    assert_eq!(found.ttl_v4().expect("an option"), 7);
    assert!(!found.broadcast().expect("an option"));
}

// handle_request

#[test]
fn one_datagram_is_a_request_and_the_next_one_waits() {
    let (mut reactor, service, _socket, at) = bound(Echo::new(), Limits::default());
    let other = reactor.bind(&service, &bind_anywhere()).expect("a free port");
    let client = DatagramClient::connect(&at, None);
    let second = DatagramClient::connect(reactor.local(other).expect("it is open"), None);
    for text in ["one", "two"] {
        client.send(text);
    }
    second.send("three");
    for served in 1..=3 {
        assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
        assert_eq!((reactor.stats().datagrams_in, reactor.stats().datagrams_out), (served, served));
    }
    client.expect("one");
    client.expect("two");
    second.expect("three");
    assert_eq!(reactor.handle_request(Some(SOON)).expect("the loop turns"), Handled::TimedOut);
}

#[test]
fn a_refused_datagram_is_a_refused_request() {
    let (mut watcher, _told) = Watcher::echo();
    watcher.refuses = Some(b"no");
    let (mut reactor, _service, _socket, at) = bound(watcher, Limits::default());
    DatagramClient::connect(&at, None).send("no");
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
}

#[test]
fn datagrams_wait_while_one_connection_is_served_and_the_loop_sleeps() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let socket = reactor.bind(&echo, &bind_anywhere()).expect("a free port");
    let stream = Client::connect(reactor.local(listener).expect("it is open"));
    let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    client.send("later");
    let talking = std::thread::spawn(move || {
        for _ in 0..10 {
            stream.send("now");
            stream.expect("now");
            std::thread::sleep(SOON / 10); // for the loop to spin in, if it does
        }
        stream.finish();
        stream.expect_eof();
    });
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    talking.join().expect("it was served");
    let stats = reactor.stats();
    assert_eq!(stats.datagrams_in, 0);
    assert!(stats.turns < 100, "{} turns: it did not sleep", stats.turns);
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    client.expect("later");
}

// What is not received meanwhile must not hold the connection's end up, nor
// the shutdown for ever.
#[test]
fn a_shutdown_while_one_connection_is_served_is_over_when_datagrams_are_answered_too() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let socket = reactor.bind(&echo, &bind_anywhere()).expect("a free port");
    let stream = Client::connect(reactor.local(listener).expect("it is open"));
    let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    let handle = reactor.handle(&echo);
    let talking = std::thread::spawn(move || {
        stream.send("now");
        stream.expect("now");
        client.send("when that is over");
        handle.shutdown(Duration::MAX);
        // It has nothing under way, and so is closed.
        stream.expect_eof();
        client
    });
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    let client = talking.join().expect("it was served");
    turn_until(&mut reactor, "the socket is closed", |reactor| reactor.local(socket).is_none());
    client.expect("when that is over");
}

// Shutdown

#[test]
fn a_shutdown_answers_what_has_arrived_and_closes_the_sockets() {
    let (watcher, told) = Watcher::echo();
    let limits = Limits { datagrams_per_turn: 2, ..Limits::default() };
    let (mut reactor, service, socket, at) = bound(watcher, limits);
    let client = DatagramClient::connect(&at, None);
    for number in 0..9 {
        client.send([number]);
    }
    reactor.handle(&service).shutdown(PATIENCE);
    reactor.serve_forever().expect("the loop ends");
    for number in 0..9 {
        client.expect([number]);
    }
    assert!(told.try_iter().any(|heard| heard == Heard::Draining));
    assert_eq!(reactor.local(socket), None);
    // And again, for a reactor can be used again.
    let socket = reactor.bind(&service, &at).expect("the port is free again");
    assert!(reactor.local(socket).is_some());
}

#[test]
fn a_stop_closes_the_sockets_at_once() {
    let (mut reactor, service, socket, _at) = bound(Echo::new(), Limits::default());
    reactor.handle(&service).call(|_, io| io.stop()).expect("there is room");
    reactor.serve_forever().expect("the loop ends");
    assert_eq!(reactor.local(socket), None);
}
