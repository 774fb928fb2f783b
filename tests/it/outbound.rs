//! Connections that the reactor makes itself.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Endpoint, Error, Io, Limits, Origin, Reactor, Sent,
    StreamHandler,
};

use crate::util::{PATIENCE, SOON, Server, listen_anywhere, noise};

/// What a [`Dialler`] was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Open(ConnId, u64, String),
    Failed(ConnId, u64, io::ErrorKind),
    Data(ConnId, Vec<u8>),
    Drained(ConnId),
    Eof(ConnId),
    Close(ConnId, String),
}

/// Tells of everything that becomes of its connections.
struct Dialler {
    tell: Sender<Told>,
    refuses: bool,
}

impl Dialler {
    fn tell(&self, told: Told) {
        // The test may have seen enough.
        let _ = self.tell.send(told);
    }
}

impl StreamHandler for Dialler {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let Origin::Connected { tag, peer } = origin else { return Ok(()) };
        self.tell(Told::Open(io.id(), *tag, peer.to_string()));
        if self.refuses { Err("not today".into()) } else { Ok(()) }
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.tell(Told::Data(io.id(), input.split().to_vec()));
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.tell(Told::Eof(io.id()));
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.tell(Told::Drained(io.id()));
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), why: &CloseReason) {
        self.tell(Told::Close(io.id(), why.to_string()));
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.tell(Told::Failed(io.id(), tag, error.kind()));
    }
}

/// A dialler on its own thread, and what it is told.
fn dialler_with(config: Config, limits: Limits, refuses: bool) -> (Server<Dialler>, Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    (Server::start_with(config, Dialler { tell, refuses }, limits, &[listen_anywhere()]), told)
}

fn dialler() -> (Server<Dialler>, Receiver<Told>) {
    dialler_with(Config::default(), Limits::default(), false)
}

#[track_caller]
fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("something becomes of it")
}

/// An endpoint where nobody listens, nor will: its port is taken as long as
/// the socket is there.
fn deserted() -> (socket2::Socket, Endpoint) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let anywhere: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&anywhere.into()).expect("a free port");
    let at = socket.local_addr().expect("it is bound").as_socket().expect("an IP address");
    (socket, at.into())
}

#[test]
fn what_is_sent_before_there_is_a_connection_waits_for_it() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let directory = tempfile::tempdir().expect("a directory");
    let path = Endpoint::Unix(directory.path().join("echo"));
    let unix = Server::start_with(Config::default(), Echo::new(), Echo::limits(), &[path]);
    for to in [echo.at().clone(), unix.at().clone()] {
        let (dialler, told) = dialler();
        let (at, shown) = (to.clone(), to.to_string().replace("tcp://", ""));
        let id = dialler.ask(move |_, io| {
            let id = io.connect(&at, 7).expect("there is room");
            assert_eq!(io.send(id, "hello"), Sent::Queued);
            assert_eq!((io.queued(id), io.is_full(id)), (Some(5), false), "it waits");
            id
        });
        assert_eq!(next(&told), Told::Open(id, 7, shown));
        assert_eq!(next(&told), Told::Data(id, b"hello".to_vec()));
        let stats = dialler.stats();
        assert_eq!((stats.connected, stats.connect_failures, stats.accepted), (1, 0, 0));
    }
}

#[test]
fn a_half_close_before_there_is_a_connection_is_sent_after_what_was_queued() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let (dialler, told) = dialler();
    let to = echo.at().clone();
    let id = dialler.ask(move |_, io| {
        let id = io.connect(&to, 0).expect("there is room");
        assert!(io.send(id, "last words").is_queued());
        io.finish(id);
        assert_eq!(io.send(id, "more"), Sent::Gone);
        id
    });
    assert!(matches!(next(&told), Told::Open(..)));
    assert_eq!(next(&told), Told::Data(id, b"last words".to_vec()));
    assert_eq!(next(&told), Told::Eof(id));
    assert_eq!(next(&told), Told::Close(id, "both sides finished".into()));
    dialler.until_connections(0);
}

#[test]
fn a_failure_is_told_once_with_the_systems_reason() {
    let (dialler, told) = dialler();
    let directory = tempfile::tempdir().expect("a directory");
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).expect("the path is free"));
    let (_socket, deserted) = deserted();
    for (to, kind) in [
        (deserted, io::ErrorKind::ConnectionRefused),
        (Endpoint::Unix(stale), io::ErrorKind::ConnectionRefused),
        (Endpoint::Unix(directory.path().join("nothing")), io::ErrorKind::NotFound),
        ("udp://127.0.0.1:9".parse().expect("an endpoint"), io::ErrorKind::Unsupported),
    ] {
        let id = dialler.ask(move |_, io| io.connect(&to, 3).expect("there is room"));
        assert_eq!(next(&told), Told::Failed(id, 3, kind));
        assert_eq!(dialler.ask(move |_, io| io.send(id, "x")), Sent::Gone);
    }
    assert_eq!(dialler.connections(), 0);
    let stats = dialler.stop();
    assert_eq!((stats.connected, stats.connect_failures, stats.closed), (0, 4, 0));
    assert_eq!(told.try_recv().ok(), None, "each is told once");
}

// A listener whose backlog is full leaves a TCP client waiting: as near to a
// host that does not answer as one gets on a loopback interface.
#[test]
fn a_peer_that_does_not_answer_is_given_up_in_time() {
    let (socket, to) = deserted();
    socket.listen(0).expect("it is bound");
    let limits = Limits { connect: Some(SOON), ..Limits::default() };
    let (dialler, told) = dialler_with(Config::default(), limits, false);
    for tag in 0..8 {
        let to = to.clone();
        dialler.ask(move |_, io| io.connect(&to, tag).map(|_| ())).expect("there is room");
    }
    let mut given_up = 0;
    for _ in 0..8 {
        match next(&told) {
            Told::Failed(_, _, io::ErrorKind::TimedOut) => given_up += 1,
            Told::Open(..) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(given_up > 0, "a backlog of 0 does not hold eight");
}

#[test]
fn one_that_the_handler_ends_before_it_came_about_is_answered_too() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let (dialler, told) = dialler();
    let to = echo.at().clone();
    let id = dialler.ask(move |_, io| {
        let id = io.connect(&to, 1).expect("there is room");
        io.close(id);
        id
    });
    assert_eq!(next(&told), Told::Failed(id, 1, io::ErrorKind::ConnectionAborted));
    let to = echo.at().clone();
    let id = dialler.ask(move |_, io| {
        let id = io.connect(&to, 2).expect("there is room");
        io.stop();
        id
    });
    assert_eq!(next(&told), Told::Failed(id, 2, io::ErrorKind::ConnectionAborted));
}

#[test]
fn a_connection_whose_open_fails_was_answered_by_open_alone() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let (dialler, told) = dialler_with(Config::default(), Limits::default(), true);
    let to = echo.at().clone();
    let id = dialler.ask(move |_, io| io.connect(&to, 1).expect("there is room"));
    assert!(matches!(next(&told), Told::Open(opened, 1, _) if opened == id));
    dialler.until_connections(0);
    let stats = dialler.stop();
    assert_eq!((stats.connected, stats.connect_failures, stats.closed), (1, 0, 0));
    assert_eq!(told.try_recv().ok(), None);
}

#[test]
fn outbound_connections_count_among_the_others() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let config = Config { max_connections: Some(1), ..Config::default() };
    let (dialler, told) = dialler_with(config, Limits::default(), false);
    let to = echo.at().clone();
    let second = dialler.ask(move |_, io| {
        io.connect(&to, 1).expect("there is room for one");
        io.connect(&to, 2)
    });
    assert!(matches!(second, Err(Error::Full { what: "connections", limit: 1, .. })), "{second:?}");
    assert!(matches!(next(&told), Told::Open(_, 1, _)));
}

#[test]
fn a_slow_peer_fills_the_queue_and_drained_tells_when_to_go_on() {
    let sink = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to: Endpoint = sink.local_addr().expect("it is bound").into();
    let (dialler, told) = dialler();
    let piece = noise(200 << 10);
    let first = piece.clone();
    let id = dialler.ask(move |_, io| {
        let id = io.connect(&to, 0).expect("there is room");
        assert_eq!(io.send(id, first.clone()), Sent::Queued);
        assert_eq!(io.send(id, first), Sent::Full, "it waits although there is no connection");
        id
    });
    let (mut accepted, _) = sink.accept().expect("it connects");
    let mut got = vec![0; 2 * piece.len()];
    io::Read::read_exact(&mut accepted, &mut got).expect("everything arrives");
    assert!(got == [piece.clone(), piece].concat());
    assert!(matches!(next(&told), Told::Open(..)));
    assert_eq!(next(&told), Told::Drained(id));
}

#[test]
fn a_reactor_connects_from_outside_its_callbacks_too() {
    let echo = Server::start(Echo::new(), Echo::limits());
    let (tell, told) = mpsc::channel();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(Dialler { tell, refuses: false }, Limits::default()).expect("good limits");
    let id = reactor.connect(&service, echo.at(), 5).expect("there is room");
    while reactor.stats().connected == 0 {
        reactor.turn(Some(Duration::from_secs(1))).expect("the loop turns");
    }
    assert!(matches!(next(&told), Told::Open(opened, 5, _) if opened == id));
}

// One event says that it is there, that something has come, and that it ends.
#[test]
fn a_peer_that_has_said_all_before_it_is_there_is_heard_to_its_end() {
    let sink = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to: Endpoint = sink.local_addr().expect("it is bound").into();
    let (tell, told) = mpsc::channel();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(Dialler { tell, refuses: false }, Limits::default()).expect("good limits");
    let id = reactor.connect(&service, &to, 0).expect("there is room");
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    let (mut accepted, _) = sink.accept().expect("it connects");
    io::Write::write_all(&mut accepted, b"all there is").expect("there is room");
    drop(accepted);
    let began = Instant::now();
    while reactor.connections() > 0 {
        assert!(began.elapsed() < PATIENCE, "its end is not seen");
        reactor.turn(Some(Duration::from_secs(1))).expect("the loop turns");
    }
    assert!(matches!(next(&told), Told::Open(opened, 0, _) if opened == id));
    assert_eq!(next(&told), Told::Data(id, b"all there is".to_vec()));
    assert_eq!(next(&told), Told::Eof(id));
    assert!(matches!(next(&told), Told::Close(..)));
}

/// The system says EAGAIN, and no event tells when there is room.
#[test]
fn a_unix_socket_whose_backlog_is_full_is_waited_for() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("crowded");
    let address = SockAddr::unix(&path).expect("a short path");
    let unix = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a descriptor is free");
    let listener = unix();
    listener.bind(&address).expect("a free path");
    listener.listen(0).expect("it is bound");
    let mut crowd = Vec::new();
    loop {
        let client = unix();
        client.set_nonblocking(true).expect("a socket");
        if client.connect(&address).is_err() {
            break;
        }
        crowd.push(client);
    }
    assert!(!crowd.is_empty(), "its backlog is full");
    let (dialler, told) = dialler();
    let to = Endpoint::Unix(path);
    let (at, shown) = (to.clone(), to.to_string());
    let id = dialler.ask(move |_, io| io.connect(&at, 7).expect("there is room"));
    // It has been tried more than once.
    while dialler.stats().system.connect < 3 {
        std::thread::yield_now();
    }
    assert!(told.try_recv().is_err(), "nothing has become of it yet");
    let _first = listener.accept().expect("they wait");
    assert_eq!(next(&told), Told::Open(id, 7, shown));
}
