//! Datagrams over Unix sockets: who sent them, who cannot be answered, and the
//! socket's file (docs/guarantees.md, 51, 57).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use serve_forever::services::{Echo, Once, Upper};
use serve_forever::{
    Address, BindOptions, Config, DatagramHandler, Endpoint, Error, Limits, Peer, Reactor, Sent, SocketId,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{DatagramClient, DatagramServer, Heard, PATIENCE, Watcher, heard, noise};

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    (directory, path)
}

fn serve<S: DatagramHandler + Send>(handler: S, path: &Path) -> DatagramServer<S> {
    let at = [Endpoint::UnixDatagram(path.into())];
    DatagramServer::start_with(handler, Limits::default(), &at, &BindOptions::default())
}

fn bind(path: &Path) -> (Reactor, Result<SocketId, Error>) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    let outcome = reactor.bind(&echo, &Endpoint::UnixDatagram(path.into()));
    (reactor, outcome)
}

#[track_caller]
fn refused(path: &Path) -> io::ErrorKind {
    match bind(path).1 {
        Err(Error::Bind { endpoint, source }) => {
            assert!(endpoint.contains("socket"), "{endpoint} names the path");
            source.kind()
        }
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn who_has_a_path_is_answered_there() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::echo();
    let server = serve(watcher, &path);
    let name = directory.path().join("client");
    let client = DatagramClient::connect(server.at(), Some(&name));
    for len in [5, 0, 1000, 65_507] {
        let message = noise(len);
        client.send(&message);
        client.expect(&message);
        let peer = Peer::unix(Some(name.clone()), None);
        assert_eq!(heard(&told), Heard::Datagram(peer, message));
    }
}

// docs/guarantees.md, 51.
#[test]
fn an_unnamed_sender_is_reported_as_such_and_cannot_be_answered() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::new(|io, on, heard| {
        if let Heard::Datagram(from, data) = heard {
            let sent = io.send_to(on, from, data);
            assert_eq!(sent == Sent::Gone, from.address == Address::Unnamed);
        }
        Ok(())
    });
    let server = serve(watcher, &path);
    server.connect().send("from nobody");
    let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
    assert_eq!((from.address, from.credentials), (Address::Unnamed, None));
    // Whoever is named is answered as before, and not taken for the last one.
    let client = DatagramClient::connect(server.at(), Some(&directory.path().join("client")));
    client.send("from somebody");
    client.expect("from somebody");
    heard(&told);
    server.connect().send("from nobody again");
    let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
    assert_eq!(from.to_string(), "unix");
    let stats = server.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_out, stats.panicked), (3, 1, 0));
}

#[test]
fn the_services_answer_whom_they_can_and_outlive_whom_they_cannot() {
    fn answers(handler: impl DatagramHandler + Send, question: &str, answer: &str) {
        let (directory, path) = place();
        let server = serve(handler, &path);
        let client = DatagramClient::connect(server.at(), Some(&directory.path().join("client")));
        for _ in 0..3 {
            server.connect().send("from nobody");
            client.send(question);
            client.expect(answer);
        }
        let stats = server.stop();
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (6, 3));
        assert_eq!((stats.failed, stats.panicked, stats.datagrams_unsent), (0, 0, 0));
    }
    answers(Echo::new(), "Hello", "Hello");
    answers(Upper::new(), "Hello", "HELLO");
    answers(Once::new("yes"), "Hello", "yes\n");
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_an_abstract_name_is_answered_there() {
    let (_directory, path) = place();
    let (watcher, told) = Watcher::echo();
    let _server = serve(watcher, &path);
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("a socket");
    let name = format!("\0serve-forever-test-{}", std::process::id());
    socket.bind(&SockAddr::unix(&name).expect("a short name")).expect("a free name");
    socket.connect(&SockAddr::unix(&path).expect("a short path")).expect("it is there");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    let client = DatagramClient(socket);
    client.send("abstract");
    client.expect("abstract");
    let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
    assert_eq!(from.address, Address::Abstract(name.as_bytes()[1..].to_vec()));
    assert!(from.to_string().starts_with("unix:@serve-forever-test-"), "{from}");
}

#[test]
fn who_has_left_is_told_as_an_error_and_the_socket_stays() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::new(|_, _, _| Ok(()));
    let server = serve(watcher, &path);
    let on = server.sockets[0];
    let send = |to: &Path| {
        let to = Peer::unix(Some(to.into()), None);
        assert_eq!(server.ask(move |_, io| io.send_to(on, &to, b"there?")), Sent::Queued);
        let Heard::Send(_, 6, reason) = heard(&told) else { panic!("it is refused") };
        reason
    };
    let left = directory.path().join("left");
    drop(UnixDatagram::bind(&left).expect("a free path"));
    assert_eq!(send(&left), Some(rustix::io::Errno::CONNREFUSED.raw_os_error()));
    assert_eq!(send(&directory.path().join("never")), Some(rustix::io::Errno::NOENT.raw_os_error()));
    server.connect().send("still there");
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"still there"));
    assert_eq!(server.stop().datagrams_unsent, 2);
}

// A receiver whose queue is full is told of by no edge, ever: to wait for one
// would be the end of the socket.
#[test]
fn a_receiver_that_does_not_read_loses_its_own_and_nobody_else_waits() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::echo();
    let server = serve(watcher, &path);
    let deaf = UnixDatagram::bind(directory.path().join("deaf")).expect("a free path");
    deaf.set_read_timeout(Some(PATIENCE)).expect("an option");
    let well = DatagramClient::connect(server.at(), Some(&directory.path().join("well")));
    let mut sent = 0;
    loop {
        deaf.send_to(b"ten bytes.", &path).expect("it is there");
        sent += 1;
        assert!(matches!(heard(&told), Heard::Datagram(..)));
        well.send("and me?");
        well.expect("and me?");
        match heard(&told) {
            Heard::Send(_, 10, reason) => {
                assert_eq!(reason, Some(rustix::io::Errno::NOBUFS.raw_os_error()));
                break;
            }
            Heard::Datagram(..) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(sent > 1, "the first fits in");
    let mut room = [0; 16];
    for _ in 1..sent {
        assert_eq!(deaf.recv(&mut room).expect("it was answered"), 10);
    }
    // It reads again, and is answered again.
    deaf.send_to(b"once more", &path).expect("it is there");
    assert_eq!(deaf.recv(&mut room).expect("it is answered"), 9);
    assert_eq!(server.stop().datagrams_unsent, 1);
}

// A receiver that is connected to us has no bound of its own: what it does not
// read fills our own buffer, for everybody. Of that the edge tells.
#[test]
fn when_the_socket_s_own_buffer_is_full_datagrams_wait_for_room() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::echo();
    let limits = Limits { max_datagrams: 4, ..Limits::default() };
    let options = BindOptions { send_buffer: Some(8 << 10), ..BindOptions::default() };
    let at = [Endpoint::UnixDatagram(path)];
    let server = DatagramServer::start_with(watcher, limits, &at, &options);
    let deaf = DatagramClient::connect(server.at(), Some(&directory.path().join("deaf")));
    while server.stats().dropped == 0 {
        deaf.send(noise(1000));
        assert!(matches!(heard(&told), Heard::Datagram(..)));
    }
    let waiting = |server: &DatagramServer<Watcher>| {
        let stats = server.stats();
        stats.datagrams_in - stats.datagrams_out - stats.dropped
    };
    assert_eq!(waiting(&server), 4);
    // Once it reads there is room again, and what waited leaves.
    while waiting(&server) > 0 {
        deaf.expect(noise(1000));
    }
    assert_eq!(heard(&told), Heard::Drained);
    assert_eq!(server.stop().datagrams_unsent, 0);
}

#[test]
fn datagrams_longer_than_the_limit_are_told_and_longer_ones_than_udp_s_can_be_had() {
    let (directory, path) = place();
    let (watcher, told) = Watcher::echo();
    let server = serve(watcher, &path);
    let client = DatagramClient::connect(server.at(), Some(&directory.path().join("client")));
    client.send(noise(70_000));
    assert!(matches!(heard(&told), Heard::TooLong(_, 70_000)));
    client.send("short");
    client.expect("short");

    let at = [Endpoint::UnixDatagram(directory.path().join("larger"))];
    let limits = Limits { max_datagram: 100_000, ..Limits::default() };
    let server = DatagramServer::start_with(Upper::new(), limits, &at, &BindOptions::default());
    let client = DatagramClient::connect(server.at(), Some(&directory.path().join("other")));
    client.send(noise(70_000));
    client.expect(noise(70_000).to_ascii_uppercase());
}

// The file

#[test]
fn the_file_is_there_while_the_socket_is() {
    let (_directory, path) = place();
    let (mut reactor, socket) = bind(&path);
    let socket = socket.expect("the path is free");
    assert!(path.exists());
    reactor.close_socket(socket);
    assert!(!path.exists());
    let (reactor, socket) = bind(&path);
    socket.expect("the path is free");
    drop(reactor);
    assert!(!path.exists());
}

#[test]
fn the_file_goes_with_a_shutdown() {
    let (_directory, path) = place();
    serve(Echo::new(), &path).stop();
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_whatever_it_was_for() {
    let (_directory, path) = place();
    drop(UnixDatagram::bind(&path).expect("the path is free"));
    bind(&path).1.expect("it is replaced");
    drop(UnixListener::bind(&path).expect("the path is free again"));
    bind(&path).1.expect("it is replaced");
}

#[test]
fn a_live_socket_and_a_file_are_refused_and_stay() {
    let (_directory, path) = place();
    let theirs = UnixDatagram::bind(&path).expect("the path is free");
    assert_eq!(refused(&path), io::ErrorKind::AddrInUse);
    UnixDatagram::unbound().expect("a socket").send_to(b"x", &path).expect("it is still theirs");
    assert_eq!(theirs.recv(&mut [0; 2]).expect("it came"), 1);
    fs::remove_file(&path).expect("ours");
    let theirs = UnixListener::bind(&path).expect("the path is free");
    assert_eq!(refused(&path), io::ErrorKind::AddrInUse);
    drop(theirs);
    fs::remove_file(&path).expect("ours");
    fs::write(&path, "precious").expect("a file");
    assert_eq!(refused(&path), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("it is still there"), b"precious");
}

#[test]
fn a_socket_that_took_our_place_stays() {
    let (_directory, path) = place();
    let (reactor, socket) = bind(&path);
    socket.expect("the path is free");
    fs::remove_file(&path).expect("ours");
    let _theirs = UnixDatagram::bind(&path).expect("the path is free");
    drop(reactor);
    assert!(path.exists());
}

#[test]
fn the_mode_is_the_one_asked_for() {
    let (_directory, path) = place();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    let options = BindOptions { mode: Some(0o600), ..BindOptions::default() };
    reactor.bind_with(&echo, &Endpoint::UnixDatagram(path.clone()), &options).expect("the path is free");
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}
