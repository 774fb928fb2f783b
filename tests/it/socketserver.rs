//! The servers of Python's `socketserver`, row by row of the table in docs/.
//!
//! A test bears the Python name that the row begins with (several, joined by
//! `_and_`); tests/it/readme.rs holds the table against these names. Beside this
//! file: tests/it/socketserver_handlers.rs and tests/it/socketserver_datagrams.rs.

use std::io;
use std::net::Ipv6Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::process::{Command, Exit};
use serve_forever::services::{Echo, Upper};
use serve_forever::{
    BoxError, ChildId, Config, ConnId, Endpoint, Error, Handled, Io, Limits, ListenOptions, Origin, Reactor,
    Service, StreamHandler, serve,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{
    Call, Client, DatagramClient, PATIENCE, Recorder, SOON, Server, Take, bind_anywhere, eventually,
    listen_anywhere, noise,
};

/// A TCP and a Unix endpoint.
fn both(directory: &Path) -> [Endpoint; 2] {
    [listen_anywhere(), Endpoint::Unix(directory.join("socket"))]
}

fn serving<S: StreamHandler>(handler: S, at: &Endpoint) -> (Reactor, Service<S>, Endpoint) {
    serving_with(handler, at, &ListenOptions::default())
}

fn serving_with<S: StreamHandler>(
    handler: S,
    at: &Endpoint,
    options: &ListenOptions,
) -> (Reactor, Service<S>, Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    let listener = reactor.listen_with(&service, at, options).expect("it is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    (reactor, service, at)
}

/// Why an endpoint cannot be listened on.
#[track_caller]
fn refusal(at: &Endpoint, options: &ListenOptions) -> io::ErrorKind {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    match reactor.listen_with(&echo, at, options) {
        Err(Error::Listen { source, .. }) => source.kind(),
        other => panic!("{other:?} is no refusal"),
    }
}

// Three clients in a row, and the end

#[test]
fn base_server_is_a_reactor_that_holds_several() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let [tcp, unix] = both(directory.path()).map(|at| reactor.listen(&upper, &at).expect("it is free"));
    let udp = reactor.bind(&upper, &bind_anywhere()).expect("it is free");
    let streams = [tcp, unix].map(|listener| Client::connect(reactor.local(listener).expect("it is open")));
    let datagrams = DatagramClient::connect(reactor.local(udp).expect("it is open"), None);
    let handle = reactor.handle(&upper);
    let clients = thread::spawn(move || {
        for client in &streams {
            client.send("stream");
            client.expect("STREAM");
        }
        datagrams.send("datagram");
        datagrams.expect("DATAGRAM");
        handle.shutdown(PATIENCE);
    });
    reactor.serve_forever().expect("the loop runs");
    clients.join().expect("each was answered");
}

#[test]
fn tcp_server_and_unix_stream_server_serve_three_clients_in_a_row() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let mut server = Server::start_with(Config::default(), Upper::new(), Upper::limits(), &[at]);
        for number in 0..3 {
            let client = server.connect();
            client.send(format!("client {number}"));
            client.finish();
            assert_eq!(client.rest(), format!("CLIENT {number}").as_bytes());
        }
        server.handle.shutdown(PATIENCE);
        let stats = server.join();
        assert_eq!((stats.accepted, stats.closed), (3, 3));
    }
    assert!(!directory.path().join("socket").exists());
}

#[test]
fn unix_stream_server_and_tcp_server_are_one_call_of_serve() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(_) => assert!(io.write(b"served").is_queued()),
            Call::Eof(_) => io.shutdown(PATIENCE),
            _ => {}
        }
        Ok(())
    });
    let directory = tempfile::tempdir().expect("a directory");
    // On TCP it would have to be told a port, which may be taken.
    let at = Endpoint::Unix(directory.path().join("socket"));
    let text = at.to_string();
    let serving = thread::spawn(move || serve(&text, recorder));
    eventually("it listens", || serving.is_finished() || Client::try_connect(&at).is_ok());
    let client = Client::connect(&at);
    client.send("serve me");
    client.finish();
    assert_eq!(client.rest(), b"served");
    serving.join().expect("it does not panic").expect("it ends in order");
    events.expect_open();
}

#[test]
fn unix_stream_server_replaces_a_stale_file_and_no_live_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the path is free"));
    let at = Endpoint::Unix(path.clone());
    let (reactor, _service, _) = serving(Echo::new(), &at);
    assert_eq!(refusal(&at, &ListenOptions::default()), io::ErrorKind::AddrInUse);
    assert!(path.exists());
    drop(reactor);
    assert!(!path.exists());
}

#[test]
fn shutdown_may_come_from_another_thread() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (mut reactor, service, at) = serving(Echo::new(), &at);
        let handle = reactor.handle(&service);
        let asking = thread::spawn(move || {
            let client = Client::connect(&at);
            client.send("hello");
            client.expect("hello");
            handle.shutdown(PATIENCE);
            client.expect_eof();
        });
        reactor.serve_forever().expect("the loop runs");
        asking.join().expect("it does not wait, and gets the end");
    }
}

// Where Python's would wait for itself.
#[test]
fn shutdown_may_come_from_the_serving_thread() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let (tell, told) = std::sync::mpsc::channel::<serve_forever::Handle<Recorder>>();
        let mut own = None;
        let (recorder, _events) = Recorder::new(move |io, call| {
            if matches!(call, Call::Data(_)) {
                assert!(io.write(b"the last word").is_queued());
                own.get_or_insert_with(|| told.recv().expect("it was sent")).shutdown(PATIENCE);
            }
            Ok(())
        });
        let service = reactor.add(recorder, Limits::default()).expect("good limits");
        tell.send(reactor.handle(&service)).expect("the handler has the other end");
        let listener = reactor.listen(&service, &at).expect("it is free");
        let client = Client::connect(reactor.local(listener).expect("it was just made"));
        client.send("the end, please");
        reactor.serve_forever().expect("the loop runs");
        assert_eq!(client.rest(), b"the last word");
    }
}

#[test]
fn block_on_close_is_how_long_a_shutdown_waits() {
    for waits in [true, false] {
        let (recorder, events) = Recorder::passive();
        let mut server =
            Server::start(recorder.taking(Take::Lines), Limits { linger: SOON, ..Limits::default() });
        let client = server.connect();
        client.send("half a li");
        events.expect_open();
        events.expect(&Call::data("half a li"));
        server.handle.shutdown(if waits { PATIENCE * 10 } else { Duration::ZERO });
        if waits {
            assert_eq!(events.next().call, Call::ShuttingDown);
            client.send("ne\n");
            events.expect(&Call::data("half a line\n"));
        }
        server.join();
        assert_eq!(events.life().last(), Some(&Call::close("Shutdown")));
        client.assert_closed();
    }
}

#[test]
fn server_close_right_after_server_bind_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let listener = reactor.listen(&echo, &at).expect("it is free");
        let at = reactor.local(listener).expect("it is open").clone();
        assert!(reactor.close_listener(listener));
        Client::try_connect(&at).expect_err("nobody listens");
        reactor.listen(&echo, &at).expect("it is free again");
        drop(reactor);
        Client::try_connect(&at).expect_err("nobody listens");
        assert!(!directory.path().join("socket").exists());
    }
}

// One request at a time

#[test]
fn handle_request_serves_one_client_and_the_next_one_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (mut reactor, _service, at) = serving(Upper::new(), &at);
        let clients: Vec<_> = (0..3).map(|_| Client::connect(&at)).collect();
        for client in &clients {
            client.send("x");
            client.finish();
        }
        for (served, client) in clients.iter().enumerate() {
            assert_eq!(reactor.stats().accepted, served as u64);
            assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
            assert_eq!(client.rest(), b"X");
        }
    }
}

#[test]
fn timeout_and_handle_timeout_are_the_argument_and_the_answer_of_handle_request() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (mut reactor, _service, at) = serving(Upper::new(), &at);
        assert_eq!(reactor.handle_request(Some(SOON)).expect("the loop turns"), Handled::TimedOut);
        // Who comes then is served, and by a time-out that is over already too.
        let client = Client::connect(&at);
        client.send("x");
        client.finish();
        assert_eq!(reactor.handle_request(Some(Duration::ZERO)).expect("the loop turns"), Handled::Served);
        assert_eq!(client.rest(), b"X");
    }
}

#[test]
fn serve_forever_does_not_poll() {
    let (mut reactor, service, at) = serving(Echo::new(), &listen_anywhere());
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert_eq!(reactor.next_timeout(), None, "nothing is due, ever");
    let handle = reactor.handle(&service);
    let client = Client::connect(&at);
    let asking = thread::spawn(move || {
        client.send("hello");
        client.expect("hello");
        handle.shutdown(PATIENCE);
    });
    reactor.serve_forever().expect("the loop runs");
    asking.join().expect("it was answered");
    let turns = reactor.stats().turns;
    assert!(turns < 20, "{turns} turns for a connection, a message and the end");
}

#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn fileno_is_readable_when_there_is_something_to_do() {
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let is_readable = |reactor: &Reactor, wait: Duration| {
        let wait = Timespec::try_from(wait).expect("a short time");
        poll(&mut [PollFd::new(&reactor.as_fd(), PollFlags::IN)], Some(&wait)).expect("it is open") == 1
    };
    let (mut reactor, _service, at) = serving(Upper::new(), &listen_anywhere());
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert!(!is_readable(&reactor, Duration::ZERO));
    let client = Client::connect(&at);
    client.send("x");
    while reactor.stats().bytes_out == 0 {
        assert!(is_readable(&reactor, PATIENCE));
        reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    }
    client.expect("X");
}

#[test]
fn service_actions_are_ones_own_code_between_turns_or_a_tick() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            io.tick_every(Duration::from_millis(1))?;
        }
        Ok(())
    });
    let (mut reactor, _service, at) = serving(recorder, &listen_anywhere());
    let _client = Client::connect(&at);
    let (mut actions, mut ticks) = (0, 0);
    while ticks < 3 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
        actions += 1;
        ticks += events.so_far().iter().filter(|call| matches!(call, Call::Tick(_))).count();
    }
    assert!(actions >= 3);
}

// Addresses and options

#[test]
fn server_address_has_the_real_port() {
    let (_reactor, _service, at) = serving(Echo::new(), &"127.0.0.1:0".parse().expect("good"));
    let Endpoint::Tcp(address) = &at else { panic!("{at} is TCP") };
    assert_ne!(address.port(), 0);
    Client::connect(&at);
    let directory = tempfile::tempdir().expect("a directory");
    let path = Endpoint::Unix(directory.path().join("socket"));
    assert_eq!(serving(Echo::new(), &path).2, path);
}

#[test]
fn address_family_and_socket_type_are_told_by_the_endpoint() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display();
    let kinds = [
        ("127.0.0.1:0".to_owned(), Domain::IPV4, Type::STREAM),
        (format!("tcp://[{}]:0", Ipv6Addr::LOCALHOST), Domain::IPV6, Type::STREAM),
        (format!("unix:{place}/stream"), Domain::UNIX, Type::STREAM),
        ("udp://127.0.0.1:0".to_owned(), Domain::IPV4, Type::DGRAM),
        ("udp://[::1]:0".to_owned(), Domain::IPV6, Type::DGRAM),
        (format!("unixgram:{place}/datagram"), Domain::UNIX, Type::DGRAM),
    ];
    for (text, domain, kind) in kinds {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
        let at: Endpoint = text.parse().expect("a good endpoint");
        let local = if kind == Type::STREAM {
            reactor.listen(&upper, &at).map(|listener| reactor.local(listener).cloned())
        } else {
            reactor.bind(&upper, &at).map(|socket| reactor.local(socket).cloned())
        };
        let address = match local.expect("it is free").expect("it was just made") {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => SockAddr::from(address),
            Endpoint::Unix(path) | Endpoint::UnixDatagram(path) => {
                SockAddr::unix(path).expect("a short path")
            }
            other => panic!("{other} is new"),
        };
        // The wrong type is refused by the system.
        let socket = Socket::new(domain, kind, None).expect("a descriptor is free");
        socket.connect(&address).unwrap_or_else(|error| panic!("{text}: {error}"));
        if domain != Domain::UNIX || kind == Type::STREAM {
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket.send(b"kind").expect("it takes a message");
            while reactor.stats().bytes_out == 0 {
                reactor.turn(Some(PATIENCE)).expect("the loop turns");
            }
            let mut room = [0; 8];
            assert_eq!(io::Read::read(&mut &socket, &mut room).expect("it answers"), 4);
        }
    }
}

#[test]
fn server_bind_and_server_activate_are_listen_with_options() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let options = ListenOptions { mode: Some(0o600), ..ListenOptions::default() };
    let (_reactor, _service, at) = serving_with(Echo::new(), &Endpoint::Unix(path.clone()), &options);
    let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().expect("it is there"));
    assert_eq!(mode & 0o777, 0o600);
    Client::connect(&at);
}

#[test]
fn allow_reuse_address_is_on() {
    let (mut reactor, service, at) = serving(Echo::new(), &listen_anywhere());
    // Who ends first has the connection linger at its port (TIME_WAIT).
    let client = Client::connect(&at);
    let handle = reactor.handle(&service);
    while reactor.connections() == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    handle.shutdown(PATIENCE);
    let ending = thread::spawn(move || client.expect_eof());
    reactor.serve_forever().expect("the loop runs");
    ending.join().expect("an end in order");
    drop(reactor);
    let off = ListenOptions { reuse_address: false, ..ListenOptions::default() };
    assert_eq!(refusal(&at, &off), io::ErrorKind::AddrInUse);
    serving(Echo::new(), &at);
}

#[test]
fn allow_reuse_port_lets_two_listen_if_both_say_so() {
    let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let (_one, _service, at) = serving_with(Echo::new(), &listen_anywhere(), &shared);
    assert_eq!(refusal(&at, &ListenOptions::default()), io::ErrorKind::AddrInUse);
    serving_with(Echo::new(), &at, &shared);
}

#[test]
fn request_queue_size_is_how_many_may_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let waiting = |backlog: Option<u32>| {
        let default = ListenOptions::default();
        let options = ListenOptions { backlog: backlog.unwrap_or(default.backlog), ..default };
        let _server = serving_with(Echo::new(), &Endpoint::Unix(path.clone()), &options);
        let mut clients = Vec::new();
        while clients.len() < 50 {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a descriptor is free");
            client.set_nonblocking(true).expect("an option");
            match client.connect(&SockAddr::unix(&path).expect("a short path")) {
                Ok(()) => clients.push(client),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        clients.len()
    };
    // Linux holds one more than it was told.
    assert!((5..=6).contains(&waiting(Some(5))));
    assert_eq!(waiting(None), 50);
}

// What comes in

#[test]
fn get_request_may_be_ones_own_accept() {
    let (mut reactor, service, _) = serving(Upper::new(), &listen_anywhere());
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = Endpoint::Tcp(listener.local_addr().expect("it is bound"));
    reactor.adopt_listener(&service, listener).expect("it listens");
    let other = Client::connect(&at);
    for client in [&client, &other] {
        client.send("x");
        client.finish();
    }
    while reactor.stats().closed < 2 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    assert_eq!((client.rest(), other.rest()), (b"X".to_vec(), b"X".to_vec()));
}

#[test]
fn verify_request_refuses_one_and_the_next_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (recorder, events) = Recorder::passive();
        let (mut reactor, service, at) = serving(recorder.verifying(false), &at);
        let refused = Client::connect(&at);
        assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
        refused.assert_closed();
        assert_eq!(events.so_far(), [Call::Verify]);
        reactor.get_mut(&service).verify = Some(true);
        let welcome = Client::connect(&at);
        welcome.finish();
        assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
        welcome.expect_eof();
        assert_eq!(reactor.stats().refused_by_handler, 1);
    }
}

#[test]
fn handle_error_is_for_one_connection_and_all_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (recorder, events) = Recorder::new(|io, call| match call {
            Call::Data(data) if data == b"fail" => Err("as asked".into()),
            Call::Data(data) if data == b"panic" => panic!("as asked"),
            Call::Data(data) => {
                assert!(io.write(data).is_queued());
                Ok(())
            }
            _ => Ok(()),
        });
        let server = Server::start_with(Config::default(), recorder, Limits::default(), &[at]);
        let well = server.connect();
        for (request, why) in [("fail", "Failed(\"as asked\")"), ("panic", "Panicked(\"as asked\")")] {
            let client = server.connect();
            client.send(request);
            client.assert_closed();
            eventually("it is told", || events.so_far().contains(&Call::close(why)));
            well.send("still here");
            well.expect("still here");
        }
        let stats = server.stop();
        assert_eq!((stats.failed, stats.panicked), (1, 1));
    }
}

#[test]
fn finish_request_makes_the_session_or_refuses() {
    let (recorder, events) = Recorder::new(|_, call| match call {
        Call::Open => Err("no session".into()),
        _ => Ok(()),
    });
    let (mut reactor, _service, at) = serving(recorder, &listen_anywhere());
    let client = Client::connect(&at);
    client.finish();
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
    client.expect_eof();
    assert_eq!(events.so_far(), [Call::Open], "without a session there is no end of it");
}

#[test]
fn shutdown_request_sends_what_is_queued_and_then_the_fin() {
    let reply = noise(900_000);
    let expected = reply.clone();
    let (recorder, events) = Recorder::new(move |io, call| {
        if matches!(call, Call::Data(_)) {
            assert!(io.write(&reply).is_queued());
            io.close(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.send("now");
    assert_eq!(client.rest(), expected);
    client.finish();
    assert_eq!(events.life().last(), Some(&Call::close("Closed")));
}

#[test]
fn close_request_is_at_once() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Data(_)) {
            assert!(io.write(&noise(900_000)).is_queued());
            io.abort(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.send("now");
    client.expect_reset();
    events.expect_open();
    events.expect(&Call::data("now"));
    events.expect_close("Aborted");
}

// Threads

// There, a client that says nothing keeps everybody else waiting.
#[test]
fn threading_mix_in_is_not_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let server = Server::start_with(Config::default(), Upper::new(), Upper::limits(), &[at]);
        let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in clients.iter().rev() {
            client.send("x");
            client.expect("X");
        }
    }
}

// Processes

/// Runs a program for each request, as a forking server forks a child, and
/// sends its exit code. A request of 0 runs for ever.
#[derive(Default)]
struct Forking {
    refused: usize,
}

impl StreamHandler for Forking {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        for request in input.split() {
            let command = match request {
                0 => Command::new("sleep").arg("1000"),
                code => Command::shell(format!("exit {code}")),
            };
            if io.spawn(command.null_stdout().null_stderr(), io.id().to_bits()).is_err() {
                self.refused += 1;
            }
        }
        Ok(())
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, exit: &Exit) {
        let code = exit.status.and_then(|status| status.code());
        let _ = io.send(ConnId::from_bits(tag), format!("{code:?}"));
    }
}

#[test]
fn max_children_bounds_those_that_run_at_once() {
    let config = Config { max_children: 2, ..Config::default() };
    let server = Server::start_with(config, Forking::default(), Limits::default(), &[listen_anywhere()]);
    let client = server.connect();
    client.send([0, 0, 0]);
    eventually("the third is refused", || server.ask(|forking, _| forking.refused) == 1);
    assert_eq!(server.ask(|_, io| io.children()), 2);
}

#[test]
fn active_children_and_collect_children_are_for_the_reactor() {
    let server = Server::start(Forking::default(), Limits::default());
    let client = server.connect();
    client.send([7]);
    client.expect("Some(7)");
    client.send([0]);
    eventually("the first is collected, and the second active", || {
        server.ask(|_, io| (io.children(), io.stats().children_started)) == (1, 2)
    });
    server.handle.shutdown(Duration::ZERO);
    let stats = server.stop();
    assert_eq!((stats.children_started, stats.children_exited), (2, 2));
}
