//! The socket calls that tutorials teach, row by row of the table in docs/,
//! each under its own name; see tests/it/socketserver.rs.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::BytesMut;
use serve_forever::services::{Echo, Upper};
use serve_forever::{
    AfterEof, BindOptions, BoxError, CloseReason, Config, ConnId, Endpoint, Io, Limits, ListenOptions,
    Origin, Overflow, Peer, Reactor, Sent, StreamHandler,
};

use crate::util::{
    Call, Client, DatagramClient, DatagramServer, Events, Heard, PATIENCE, Recorder, SOON, Server, Watcher,
    accepted_sockets, bind_anywhere, bound_socket, heard, listen_anywhere, noise,
};

/// Tells how its connections came to be, and what became of those it asked for.
struct Teller(Sender<Told>);

#[derive(Debug)]
enum Told {
    Open(Origin),
    Failed(u64, io::Error),
    Data(Vec<u8>),
    End,
}

impl StreamHandler for Teller {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        self.0.send(Told::Open(origin.clone()))?;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.0.send(Told::Data(input.split().to_vec()))?;
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.0.send(Told::End)?;
        Ok(AfterEof::Finish)
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {}

    fn connect_failed(&mut self, _: &mut Io<'_>, tag: u64, error: &io::Error) {
        let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        let _ = self.0.send(Told::Failed(tag, same));
    }
}

fn teller() -> (Server<Teller>, Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    (Server::start(Teller(tell), Limits::default()), told)
}

#[track_caller]
fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("one more callback")
}

/// A reactor with one service, which listens with these options.
fn listening(options: &ListenOptions) -> (Reactor, Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen_with(&echo, &listen_anywhere(), options).expect("a free port");
    let at = reactor.local(listener).expect("it was just made").clone();
    (reactor, at)
}

#[test]
fn bind_and_listen_are_one_call_for_streams() {
    let (_reactor, at) = listening(&ListenOptions::default());
    Client::connect(&at);
}

#[test]
fn bind_is_all_of_it_for_datagrams() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    let socket = reactor.bind(&echo, &bind_anywhere()).expect("a free port");
    let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    client.send("x");
    while reactor.stats().datagrams_out == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    client.expect("x");
}

#[test]
fn accept_is_open_once_for_each_client() {
    let (server, told) = teller();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = server.connect();
        let Told::Open(Origin::Accepted { local, peer, .. }) = next(&told) else { panic!("accepted") };
        assert_eq!(local, *server.at());
        assert_eq!(peer, name_of(&client));
        clients.push(client);
    }
    assert_eq!(server.stats().accepted, 3);
}

fn name_of(client: &Client) -> Peer {
    Peer::inet(client.0.local_addr().expect("it is connected").as_socket().expect("TCP"))
}

#[test]
fn connect_is_answered_by_open_or_by_connect_failed() {
    let (server, told) = teller();
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = Endpoint::Tcp(target.local_addr().expect("it is bound"));
    let to = at.clone();
    server.ask(move |_, io| io.connect(&to, 7)).expect("there is room");
    let Told::Open(Origin::Connected { tag: 7, .. }) = next(&told) else { panic!("connected") };
    drop(target);
    server.ask(move |_, io| io.connect(&at, 8)).expect("there is room");
    // The first one's end may be told before.
    let failed = std::iter::repeat_with(|| next(&told)).find(|told| matches!(told, Told::Failed(..)));
    assert!(matches!(failed, Some(Told::Failed(8, _))));
}

#[test]
fn connect_ex_has_its_errno_in_connect_failed() {
    let (server, told) = teller();
    let directory = tempfile::tempdir().expect("a directory");
    let deserted = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let targets = [
        (Endpoint::Tcp(deserted), rustix::io::Errno::CONNREFUSED),
        (Endpoint::Unix(directory.path().join("nobody")), rustix::io::Errno::NOENT),
    ];
    for (target, errno) in targets {
        server.ask(move |_, io| io.connect(&target, 0)).expect("there is room");
        let Told::Failed(0, error) = next(&told) else { panic!("nobody is there") };
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
    }
}

#[test]
fn setblocking_is_off_for_adopted_sockets_too() {
    let (mut reactor, _) = listening(&ListenOptions::default());
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let (_client, socket) = Client::pair();
    let socket = socket2::Socket::from(socket);
    let same = socket.try_clone().expect("a descriptor is free");
    assert!(!same.nonblocking().expect("a socket"));
    reactor.adopt(&echo, socket).expect("a connected socket");
    assert!(same.nonblocking().expect("a socket"));
}

#[test]
fn settimeout_is_set_limits_for_one_connection() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Data(_)) {
            io.set_limits(io.id(), Limits { idle: Some(SOON), ..io.limits().clone() })?;
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let patient = server.connect();
    let patient_id = events.expect_open();
    let client = server.connect();
    let id = events.expect_open();
    client.send("soon");
    events.expect(&Call::data("soon"));
    assert_eq!(events.expect_close("TimedOut(Idle)"), id);
    client.expect_eof();
    assert!(server.ask(move |_, io| io.is_open(patient_id)));
    patient.assert_silent();
}

#[test]
fn recv_is_data_and_its_end_is_eof() {
    let (server, told) = teller();
    let client = server.connect();
    assert!(matches!(next(&told), Told::Open(_)));
    let message = noise(1_000_000);
    client.send(&message);
    client.finish();
    let mut received = Vec::new();
    loop {
        match next(&told) {
            Told::Data(data) => received.extend(data),
            Told::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(received == message);
}

#[test]
fn recvfrom_is_datagram_and_sendto_is_send_to() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    client.send("who am I?");
    client.expect("who am I?");
    let name = client.0.local_addr().expect("it is bound").as_socket().expect("UDP");
    assert_eq!(heard(&told), Heard::Datagram(Peer::inet(name), b"who am I?".to_vec()));
}

#[test]
fn sendto_reaches_anybody_at_any_time() {
    let (watcher, _told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    let to = Peer::inet(client.0.local_addr().expect("it is bound").as_socket().expect("UDP"));
    let on = server.sockets[0];
    assert_eq!(server.ask(move |_, io| io.send_to(on, &to, b"unasked")), Sent::Queued);
    client.expect("unasked");
}

/// A connection that its peer does not read.
fn unread() -> (Server<Recorder>, Client, ConnId, Events) {
    let (recorder, events) = Recorder::passive();
    let limits = Limits {
        low_mark: 1000,
        high_mark: 100_000,
        hard_mark: 200_000,
        overflow: Overflow::DropNewest,
        ..Limits::default()
    };
    let server = Server::start(recorder, limits);
    let client = Client::connect_small(server.at());
    let id = events.expect_open();
    (server, client, id, events)
}

#[test]
fn send_takes_all_or_nothing_and_says_which() {
    let (server, client, id, _events) = unread();
    let mut answers = Vec::new();
    while answers.last() != Some(&Sent::Dropped) {
        answers.push(server.ask(move |_, io| io.send(id, noise(10_000))));
    }
    assert!(answers.contains(&Sent::Queued) && answers.contains(&Sent::Full));
    for answer in answers {
        if answer.is_queued() {
            client.expect(noise(10_000));
        }
    }
    server.ask(move |_, io| io.finish(id));
    client.expect_eof();
}

#[test]
fn sendall_waits_for_nobody_and_drained_tells_when_there_is_room() {
    let (server, client, id, events) = unread();
    let mut sent = 0;
    while server.ask(move |_, io| io.send(id, noise(10_000))) == Sent::Queued {
        sent += 1;
    }
    for _ in 0..=sent {
        client.expect(noise(10_000));
    }
    events.expect(&Call::Drained);
}

#[test]
fn getpeername_is_the_peer_of_the_link() {
    let (server, told) = teller();
    let client = server.connect();
    let Told::Open(origin) = next(&told) else { panic!("it is open") };
    assert_eq!(*origin.peer(), name_of(&client));
    // Of one that we connected, it is the address that was asked for.
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = target.local_addr().expect("it is bound");
    server.ask(move |_, io| io.connect(&address.into(), 0)).expect("there is room");
    let Told::Open(origin) = next(&told) else { panic!("it is open") };
    assert_eq!(*origin.peer(), Peer::inet(address));
}

#[test]
fn getsockname_is_local() {
    let (server, told) = teller();
    let client = server.connect();
    let theirs = client.0.peer_addr().expect("it is connected").as_socket().expect("TCP");
    assert_eq!(*server.at(), Endpoint::Tcp(theirs));
    let Told::Open(Origin::Accepted { local, .. }) = next(&told) else { panic!("accepted") };
    assert_eq!(local, *server.at());
    let server = DatagramServer::start(Echo::new());
    let theirs = server.connect().0.peer_addr().expect("it is connected").as_socket().expect("UDP");
    assert_eq!(*server.at(), Endpoint::Udp(theirs));
}

#[test]
fn setsockopt_is_a_field_of_the_options() {
    let options = ListenOptions { no_delay: false, keep_alive: None, ..ListenOptions::default() };
    let (mut reactor, at) = listening(&options);
    let client = Client::connect(&at);
    while reactor.connections() == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    let name = client.0.local_addr().expect("it is connected").as_socket().expect("TCP");
    let accepted = accepted_sockets(name).remove(0);
    assert!(!accepted.tcp_nodelay().expect("an option") && !accepted.keepalive().expect("an option"));

    let upper = reactor.add_datagram(Upper::new(), Limits::default()).expect("good limits");
    let options = BindOptions { broadcast: true, hops: Some(5), ..BindOptions::default() };
    let socket = reactor.bind_with(&upper, &bind_anywhere(), &options).expect("a free port");
    let Some(Endpoint::Udp(address)) = reactor.local(socket) else { panic!("it is UDP") };
    let bound = bound_socket(*address);
    assert!(bound.broadcast().expect("an option"));
    assert_eq!(bound.ttl_v4().expect("an option"), 5);
}

#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn fileno_is_one_for_all_sockets() {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let listener = reactor.listen(&upper, &listen_anywhere()).expect("a free port");
    let socket = reactor.bind(&upper, &bind_anywhere()).expect("a free port");
    let stream = Client::connect(reactor.local(listener).expect("it is open"));
    let datagrams = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    stream.send("x");
    datagrams.send("x");
    let patience = Timespec::try_from(PATIENCE).expect("a short time");
    while reactor.stats().bytes_out < 2 {
        let ready = poll(&mut [PollFd::new(&reactor.as_fd(), PollFlags::IN)], Some(&patience));
        assert_eq!(ready, Ok(1));
        reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    }
    stream.expect("X");
    datagrams.expect("X");
}

#[test]
fn shutdown_of_our_side_is_finish() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            assert!(io.write(b"that is all").is_queued());
            io.finish(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    assert_eq!(client.rest(), b"that is all");
    client.send("and mine");
    client.finish();
    let life = [Call::Open, Call::data("and mine"), Call::eof(""), Call::close("Finished")];
    assert_eq!(events.life(), life);
}

#[test]
fn close_is_in_order_or_at_once() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(data) if data == b"close" => io.close(io.id()),
            Call::Data(_) => io.abort(io.id()),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.send("close");
    client.expect_eof();
    drop(client);
    assert_eq!(events.life().last(), Some(&Call::close("Closed")));
    let client = server.connect();
    client.send("abort");
    client.expect_reset();
    assert_eq!(events.life().last(), Some(&Call::close("Aborted")));
}

#[test]
fn close_frees_the_address_of_a_listener_and_of_a_socket() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let listener = reactor.listen(&upper, &listen_anywhere()).expect("a free port");
    let socket = reactor.bind(&upper, &bind_anywhere()).expect("a free port");
    let (tcp, udp) = (reactor.local(listener).cloned(), reactor.local(socket).cloned());
    assert!(reactor.close_listener(listener) && reactor.close_socket(socket));
    reactor.listen(&upper, &tcp.expect("it was open")).expect("it is free");
    reactor.bind(&upper, &udp.expect("it was open")).expect("it is free");
}
