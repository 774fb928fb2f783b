//! Listeners: where they listen, for whom, and what they hand on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serve_forever::services::{Echo, Upper};
use serve_forever::{
    Address, BoxError, Config, Endpoint, Error, Handled, Io, KeepAlive, Limits, ListenOptions, ListenerId,
    Origin, Peer, Reactor, Service, StreamHandler,
};

use crate::util::{Client, PATIENCE, Server, accepted_sockets, have, listen_anywhere, role, run_self};

fn reactor() -> (Reactor, Service<Echo>) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    (reactor, echo)
}

fn local(reactor: &Reactor, listener: ListenerId) -> Endpoint {
    reactor.local(listener).expect("the listener is open").clone()
}

/// Turns until so many connections are there.
fn turn_until(reactor: &mut Reactor, connections: usize) {
    while reactor.connections() != connections {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
}

#[track_caller]
fn refusal(outcome: Result<ListenerId, Error>) -> (String, io::ErrorKind) {
    match outcome {
        Err(error @ Error::Listen { .. }) => {
            let text = error.to_string();
            let Error::Listen { source, .. } = error else { unreachable!("just matched") };
            (text, source.kind())
        }
        other => panic!("{other:?} is no refusal to listen"),
    }
}

#[test]
fn ipv4_ipv6_and_unix_are_served_by_one_reactor() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = [
        listen_anywhere(),
        "[::1]:0".parse().expect("a good endpoint"),
        Endpoint::Unix(directory.path().join("socket")),
    ];
    let server = Server::start_with(Config::default(), Echo::new(), Echo::limits(), &at);
    for local in server.locals() {
        if let Endpoint::Tcp(address) = local {
            assert_ne!(address.port(), 0, "the real port is told");
        }
        let client = Client::connect(local);
        client.send(local.to_string());
        client.expect(local.to_string());
    }
}

#[test]
fn services_of_several_types_share_a_reactor() {
    let (mut reactor, echo) = reactor();
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let first = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let second = reactor.listen(&upper, &listen_anywhere()).expect("a free port");
    let (echo_at, upper_at) = (local(&reactor, first), local(&reactor, second));
    let handle = reactor.handle(&echo);
    let clients = std::thread::spawn(move || {
        for (at, expected) in [(echo_at, "abc"), (upper_at, "ABC")] {
            let client = Client::connect(&at);
            client.send("abc");
            client.expect(expected);
        }
        handle.shutdown(Duration::ZERO);
    });
    reactor.serve_forever().expect("the loop runs");
    clients.join().expect("the answers are right");
}

// docs/guarantees.md, 13, as far as the options go (tests/it/vanished.rs goes on).
#[test]
fn what_is_accepted_inherits_the_options_of_its_listener() {
    let (mut reactor, echo) = reactor();
    let options = ListenOptions {
        keep_alive: Some(KeepAlive {
            idle: Duration::from_secs(77),
            interval: Duration::from_secs(11),
            probes: 3,
        }),
        user_timeout: Some(Duration::from_millis(12_345)),
        ..ListenOptions::default()
    };
    let listener = reactor.listen_with(&echo, &listen_anywhere(), &options).expect("a free port");
    let client = Client::connect(&local(&reactor, listener));
    turn_until(&mut reactor, 1);
    let accepted = the_accepted(&client);
    assert!(accepted.tcp_nodelay().expect("a TCP socket"));
    assert!(accepted.keepalive().expect("a TCP socket"));
    assert_eq!(accepted.tcp_keepalive_time().expect("a TCP socket"), Duration::from_secs(77));
    assert_eq!(accepted.tcp_keepalive_interval().expect("a TCP socket"), Duration::from_secs(11));
    assert_eq!(accepted.tcp_keepalive_retries().expect("a TCP socket"), 3);
    assert_eq!(accepted.tcp_user_timeout().expect("a TCP socket"), Some(Duration::from_millis(12_345)));
    assert!(accepted.nonblocking().expect("a socket"));
    // Nothing that the program starts is to hold a connection open.
    let flags = rustix::io::fcntl_getfd(&accepted).expect("an open descriptor");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn the_kernels_buffers_of_what_is_accepted_are_as_the_listener_says() {
    let (mut reactor, echo) = reactor();
    // Below every system's cap, so that what comes of it is certain.
    let (send, receive) = (40_000, 30_000);
    let options =
        ListenOptions { send_buffer: Some(send), receive_buffer: Some(receive), ..ListenOptions::default() };
    let listener = reactor.listen_with(&echo, &listen_anywhere(), &options).expect("a free port");
    let client = Client::connect(&local(&reactor, listener));
    turn_until(&mut reactor, 1);
    let accepted = the_accepted(&client);
    assert_eq!(accepted.send_buffer_size().expect("a socket"), 2 * send, "Linux doubles it");
    assert_eq!(accepted.recv_buffer_size().expect("a socket"), 2 * receive, "Linux doubles it");
    // More than an `int` says is as much as there is, and not what is left of it.
    let options = ListenOptions { send_buffer: Some(1 << 32), ..ListenOptions::default() };
    let listener = reactor.listen_with(&echo, &listen_anywhere(), &options).expect("a free port");
    let client = Client::connect(&local(&reactor, listener));
    turn_until(&mut reactor, 2);
    assert!(the_accepted(&client).send_buffer_size().expect("a socket") > 100_000);
}

/// Nothing hands it on there: each is told.
#[test]
fn a_unix_peer_that_does_not_read_takes_what_its_buffer_holds() {
    struct Flood;
    impl StreamHandler for Flood {
        type Session = ();
        fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            assert!(io.write(&[0; 1_000_000]).is_queued());
            Ok(())
        }
        fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut bytes::BytesMut) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let taken = |name: &str, send_buffer| {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let service = reactor.add(Flood, Limits::default()).expect("good limits");
        let at = Endpoint::Unix(directory.path().join(name));
        let options = ListenOptions { send_buffer, ..ListenOptions::default() };
        reactor.listen_with(&service, &at, &options).expect("a free path");
        let _client = Client::connect(&at);
        turn_until(&mut reactor, 1);
        while reactor.turn(Some(Duration::ZERO)).expect("the loop turns").more {}
        reactor.stats().bytes_out
    };
    let (small, usual) = (taken("small", Some(8 << 10)), taken("usual", None));
    assert!(0 < small && small <= 32 << 10, "{small} bytes");
    assert!(usual > 64 << 10, "{usual} bytes");
}

#[test]
fn options_that_are_off_are_off() {
    let (mut reactor, echo) = reactor();
    let options = ListenOptions { keep_alive: None, no_delay: false, ..ListenOptions::default() };
    let listener = reactor.listen_with(&echo, &listen_anywhere(), &options).expect("a free port");
    let client = Client::connect(&local(&reactor, listener));
    turn_until(&mut reactor, 1);
    let accepted = the_accepted(&client);
    assert!(!accepted.tcp_nodelay().expect("a TCP socket"));
    assert!(!accepted.keepalive().expect("a TCP socket"));
}

fn the_accepted(client: &Client) -> socket2::Socket {
    let name = client.0.local_addr().expect("it is connected").as_socket().expect("an IP address");
    let mut found = accepted_sockets(name);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn an_address_in_use_is_refused_and_leaves_nothing_behind() {
    let (mut reactor, echo) = reactor();
    let first = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let at = local(&reactor, first);
    let (text, kind) = refusal(reactor.listen(&echo, &at));
    assert_eq!(kind, io::ErrorKind::AddrInUse);
    assert!(text.contains(&at.to_string()) && text.contains("in use"), "{text}");
    assert!(reactor.close_listener(first));
    assert!(!reactor.close_listener(first), "once");
    assert_eq!(reactor.local(first), None);
    reactor.listen(&echo, &at).expect("it is free again");
}

#[test]
fn two_reactors_share_a_port_if_both_say_so() {
    let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let (mut one, one_echo) = reactor();
    let first = one.listen_with(&one_echo, &listen_anywhere(), &options).expect("a free port");
    let at = local(&one, first);
    let (mut other, other_echo) = reactor();
    assert_eq!(refusal(other.listen(&other_echo, &at)).1, io::ErrorKind::AddrInUse);
    other.listen_with(&other_echo, &at, &options).expect("a shared port");
    // The kernel spreads them by a hash: that 64 all go one way is 1 in 2^63.
    let clients: Vec<_> = (0..64).map(|_| Client::connect(&at)).collect();
    while one.connections() + other.connections() < clients.len() {
        one.turn(Some(Duration::ZERO)).expect("the loop turns");
        other.turn(Some(Duration::ZERO)).expect("the loop turns");
    }
    assert!(one.connections() > 0 && other.connections() > 0);
}

#[test]
fn an_ipv6_wildcard_takes_ipv4_only_if_told_to() {
    for only_v6 in [true, false] {
        let (mut reactor, echo) = reactor();
        let wildcard: Endpoint = "[::]:0".parse().expect("a good endpoint");
        let options = ListenOptions { only_v6, ..ListenOptions::default() };
        let listener = reactor.listen_with(&echo, &wildcard, &options).expect("a free port");
        let Endpoint::Tcp(address) = local(&reactor, listener) else { panic!("it is TCP") };
        let v4: SocketAddr = ([127, 0, 0, 1], address.port()).into();
        assert_eq!(Client::try_connect(&v4.into()).is_err(), only_v6);
    }
}

#[test]
fn a_datagram_endpoint_is_refused_with_what_would_be_right() {
    let (mut reactor, echo) = reactor();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    for at in ["udp://127.0.0.1:0".parse().expect("a good endpoint"), Endpoint::UnixDatagram(path.clone())] {
        let (text, kind) = refusal(reactor.listen(&echo, &at));
        assert_eq!(kind, io::ErrorKind::Unsupported);
        assert!(text.contains(&at.to_string()) && text.contains("tcp://"), "{text}");
    }
    assert!(!path.exists());
}

#[test]
fn a_service_of_another_reactor_is_refused() {
    let (_one, foreign) = reactor();
    let (mut other, _) = reactor();
    assert!(matches!(other.listen(&foreign, &listen_anywhere()), Err(Error::ForeignService)));
    let (_client, socket) = Client::pair();
    assert!(matches!(other.adopt(&foreign, socket), Err(Error::ForeignService)));
}

#[test]
fn a_closed_listener_refuses_and_what_it_accepted_stays() {
    let (mut reactor, echo) = reactor();
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let at = local(&reactor, listener);
    let client = Client::connect(&at);
    turn_until(&mut reactor, 1);
    reactor.close_listener(listener);
    let refused = Client::try_connect(&at).expect_err("nobody listens");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    client.send("still here");
    while reactor.stats().bytes_out == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    client.expect("still here");
}

/// Tells its clients who they are.
struct WhoAmI;

impl StreamHandler for WhoAmI {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let Origin::Accepted { local, peer, .. } = origin else { return Err("not accepted".into()) };
        assert!(io.write(format!("{peer} {:?} at {local}", peer.credentials).as_bytes()).is_queued());
        io.close(io.id());
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut bytes::BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_peer_is_known_by_its_address_or_its_credentials() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = [listen_anywhere(), Endpoint::Unix(directory.path().join("socket"))];
    let server = Server::start_with(Config::default(), WhoAmI, Limits::default(), &at);
    let [tcp, unix] = server.locals() else { panic!("two listeners") };

    let client = Client::connect(tcp);
    let name = client.0.local_addr().expect("it is connected").as_socket().expect("an IP address");
    assert_eq!(String::from_utf8_lossy(&client.rest()), format!("{name} None at {tcp}"));

    let told = Client::connect(unix).rest();
    let ours = serve_forever::Credentials {
        pid: Some(std::process::id()),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    assert_eq!(String::from_utf8_lossy(&told), format!("unix {:?} at {unix}", Some(ours)));
}

/// The kernel has no number for it here, and says 0.
#[test]
fn a_peer_of_another_pid_namespace_has_a_user_and_a_group() {
    const TEST: &str = "listeners::a_peer_of_another_pid_namespace_has_a_user_and_a_group";
    const AT: &str = "SERVE_FOREVER_TEST_SOCKET";
    if role().as_deref() == Some(TEST) {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let service = reactor.add(WhoIsThere, Limits::default()).expect("good limits");
        let to = Endpoint::Unix(std::env::var_os(AT).expect("it was set").into());
        reactor.connect(&service, &to, 0).expect("there is room");
        while !reactor.turn(Some(PATIENCE)).expect("the loop runs").finished {}
        return;
    }
    let within = ["unshare", "--map-root-user", "--pid", "--fork"];
    let may = have(within[0])
        .then(|| std::process::Command::new(within[0]).args(&within[1..]).arg("true").output());
    if !may.is_some_and(|may| may.is_ok_and(|output| output.status.success())) {
        return eprintln!("skipped: no PID namespace can be had here");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a free path");
    let output = run_self(TEST, TEST, &within).env(AT, &path).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = serve_forever::Credentials { pid: None, uid: 0, gid: 0 };
    assert!(text.contains(&format!("it is {:?}", Some(expected))), "{text}");
}

/// Says who is at the other end, and ends.
struct WhoIsThere;

impl StreamHandler for WhoIsThere {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        println!("it is {:?}", origin.peer().credentials);
        io.shutdown(Duration::ZERO);
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut bytes::BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn an_adopted_socket_is_a_connection_like_any_other() {
    let (mut reactor, echo) = reactor();
    let (client, socket) = Client::pair();
    client.send("hello");
    client.finish();
    let id = reactor.adopt(&echo, socket).expect("a connected socket");
    assert_eq!(reactor.connections(), 1);
    turn_until(&mut reactor, 0);
    assert_eq!(client.rest(), b"hello", "of {id}");

    let file = std::fs::File::open("/dev/null").expect("it is always there");
    assert!(matches!(reactor.adopt(&echo, file), Err(Error::System { .. })), "no socket");
    let loose = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    assert!(matches!(reactor.adopt(&echo, loose), Err(Error::System { .. })), "not connected");
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn listeners_are_limited() {
    let config = Config { max_listeners: 1, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let only = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let second = reactor.listen(&echo, &listen_anywhere());
    assert!(matches!(second, Err(Error::Full { what: "listeners", limit: 1, .. })), "{second:?}");
    reactor.close_listener(only);
    reactor.listen(&echo, &listen_anywhere()).expect("there is room again");
}

#[test]
fn verify_may_go_by_the_address() {
    struct LocalOnly(Vec<Address>);
    impl StreamHandler for LocalOnly {
        type Session = ();
        fn verify(&mut self, peer: &Peer) -> bool {
            self.0.push(peer.address.clone());
            matches!(peer.address, Address::Inet(address) if !address.ip().is_loopback())
        }
        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            unreachable!("everybody is local here")
        }
        fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut bytes::BytesMut) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(LocalOnly(Vec::new()), Limits::default()).expect("good limits");
    let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
    let client = Client::connect(&local(&reactor, listener));
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
    client.assert_closed();
    let name = client.0.local_addr().expect("it was connected").as_socket().expect("an IP address");
    assert_eq!(reactor.get_mut(&service).0, [Address::Inet(name)]);
    assert_eq!(reactor.stats().refused_by_handler, 1);
}

#[test]
fn a_listener_that_was_passed_on_serves_those_who_waited_and_leaves_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = std::os::unix::net::UnixListener::bind(&path).expect("the path is free");
    let tcp_at = Endpoint::Tcp(tcp.local_addr().expect("it is bound"));
    let unix_at = Endpoint::Unix(path.clone());
    let early = [Client::connect(&tcp_at), Client::connect(&unix_at)];

    let (mut reactor, echo) = reactor();
    let tcp = reactor.adopt_listener(&echo, tcp).expect("it listens");
    let unix = reactor.adopt_listener(&echo, unix).expect("it listens");
    assert_eq!(reactor.local(tcp), Some(&tcp_at));
    assert_eq!(reactor.local(unix), Some(&unix_at));
    for client in &early {
        client.send("hello");
    }
    while reactor.stats().bytes_out < 10 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    for client in &early {
        client.expect("hello");
    }
    drop(reactor);
    assert!(path.exists(), "the file is not ours to remove");
}

#[test]
fn localhost_and_a_link_local_address_with_its_interface_are_listened_at() {
    let mut at = vec!["localhost:0".to_owned()];
    let addresses = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let link_local = addresses.lines().find_map(|line| {
        let digits = line.strip_prefix("fe80").map(|rest| format!("fe80{}", &rest[..28]))?;
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(format!("[{}%{}]:0", std::net::Ipv6Addr::from(number), line.split_whitespace().last()?))
    });
    match link_local {
        Some(address) => at.push(address),
        None => eprintln!("SKIPPED: this machine has no link-local address"),
    }
    for at in at {
        let (mut reactor, echo) = reactor();
        let listener = reactor.listen(&echo, &at.parse().expect("an endpoint")).expect("it is ours");
        let client = Client::connect(&local(&reactor, listener));
        client.send("hello");
        while reactor.stats().bytes_out < 5 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        client.expect("hello");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_listener_that_was_passed_on_takes_a_layer() {
    use serve_forever::{ConnectOptions, ListenOptions};

    use super::util::certificates::CERTIFICATES;

    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = Endpoint::Tcp(tcp.local_addr().expect("it is bound"));
    let (mut reactor, echo) = reactor();
    let options =
        ListenOptions { layer: Some(CERTIFICATES.tls_server().factory()), ..ListenOptions::default() };
    reactor.adopt_listener_with(&echo, tcp, &options).expect("it listens");

    let layer = CERTIFICATES.tls_client().layer("localhost").expect("a good name");
    let options = ConnectOptions { layer: Some(layer) };
    reactor.connect_with(&echo, &at, 0, options).expect("there is room");
    let begun = std::time::Instant::now();
    while reactor.stats().handshakes < 2 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert!(begun.elapsed() < PATIENCE, "{:?}", reactor.stats());
    }
    assert_eq!(reactor.stats().handshake_failures, 0);
}

#[test]
fn what_does_not_listen_is_not_taken_for_a_listener() {
    let (mut reactor, echo) = reactor();
    let (connected, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let file = tempfile::tempfile().expect("a file");
    for socket in [OwnedFd::from(connected), datagrams.into(), file.into()] {
        let refused = reactor.adopt_listener(&echo, socket);
        assert!(matches!(refused, Err(Error::Listen { .. })), "{refused:?}");
    }
}
