//! Datagrams that come from our own sockets, or claim to: they are dropped, or
//! one of them would have a server talk to itself for ever. And where answers
//! may go on Unix sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use serve_forever::services::{Echo, Upper};
use serve_forever::{
    BindOptions, Config, DatagramHandler, Endpoint, Handled, Limits, Reactor, Service, SocketId,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{
    DatagramClient, DatagramServer, Heard, PATIENCE, Watcher, address, bind_anywhere, eventually, heard,
};

/// A socket that the reactor binds beside: the kernel gives what is for one to
/// the last of them (socket(7), `SO_REUSEADDR`).
fn beside(at: impl Into<SocketAddr>) -> (UdpSocket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a descriptor is free");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&at.into().into()).expect("it is free");
    let at = socket.local_addr().expect("it is bound").as_socket().expect("UDP");
    (UdpSocket::from(std::os::fd::OwnedFd::from(socket)), at)
}

struct Stand {
    reactor: Reactor,
    echo: Service<Echo>,
}

impl Stand {
    fn new() -> Self {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
        Self { reactor, echo }
    }

    fn bind(&mut self, at: &Endpoint) -> SocketId {
        let options = BindOptions { reuse_address: true, ..BindOptions::default() };
        self.reactor.bind_with(&self.echo, at, &options).expect("it is free")
    }

    fn local(&self, socket: SocketId) -> Endpoint {
        self.reactor.local(socket).expect("it is open").clone()
    }

    /// So many were dropped, and nothing was said to anybody: not even to
    /// ourselves. Who is somebody else is answered.
    #[track_caller]
    fn expect(&mut self, from_own: u64, by: &Endpoint) {
        let began = std::time::Instant::now();
        while self.reactor.stats().datagrams_from_own < from_own {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.reactor.stats());
            self.reactor.turn(Some(Duration::from_millis(1))).expect("the loop turns");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let name = matches!(by, Endpoint::UnixDatagram(_)).then(|| directory.path().join("client"));
        let client = DatagramClient::connect(by, name.as_deref());
        client.send("and I?");
        while self.reactor.stats().datagrams_out == 0 {
            self.reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        client.expect("and I?");
        let stats = self.reactor.stats();
        let counts = (stats.datagrams_from_own, stats.datagrams_in, stats.datagrams_out);
        assert_eq!(counts, (from_own, 1, 1));
    }
}

#[test]
fn what_claims_to_come_from_the_socket_itself_is_dropped() {
    let mut stand = Stand::new();
    let (forger, at) = beside((Ipv4Addr::LOCALHOST, 0));
    let socket = stand.bind(&Endpoint::Udp(at));
    forger.send_to(b"for ever", at).expect("it can be sent");
    let by = stand.local(socket);
    stand.expect(1, &by);
}

#[test]
fn what_claims_to_come_from_another_of_our_sockets_is_dropped() {
    let mut stand = Stand::new();
    let (forger, at) = beside((Ipv4Addr::LOCALHOST, 0));
    let first = stand.bind(&Endpoint::Udp(at));
    let upper = stand.reactor.add_datagram(Upper::new(), Limits::default()).expect("good limits");
    let other = stand.reactor.bind(&upper, &bind_anywhere()).expect("a free port");
    let Endpoint::Udp(to) = stand.local(other) else { panic!("UDP") };
    forger.send_to(b"for ever", to).expect("it can be sent");
    let by = stand.local(first);
    stand.expect(1, &by);
    // Once that is bound no more, its address is somebody else's.
    assert!(stand.reactor.close_socket(first));
    forger.set_read_timeout(Some(PATIENCE)).expect("an option");
    forger.send_to(b"again", to).expect("it can be sent");
    while stand.reactor.stats().datagrams_out < 2 {
        stand.reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    let mut reply = [0; 8];
    assert_eq!(forger.recv(&mut reply).expect("an answer"), 5);
    assert_eq!(&reply[..5], b"AGAIN");
}

#[cfg(target_os = "linux")]
#[test]
fn a_wildcard_knows_itself_by_every_address_of_the_machine() {
    // Whatever it has beside the loopback.
    let outside = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let ours = [Some([127, 0, 0, 1].into()), Some([127, 0, 0, 44].into()), outside()];
    for ip in ours.into_iter().flatten() {
        let mut stand = Stand::new();
        let (forger, at) = beside((ip, 0));
        let socket = stand.bind(&Endpoint::Udp((Ipv4Addr::UNSPECIFIED, at.port()).into()));
        forger.send_to(b"for ever", (Ipv4Addr::new(127, 0, 0, 2), at.port())).expect("it can be sent");
        let by = stand.local(socket);
        let Endpoint::Udp(by) = by else { panic!("UDP") };
        stand.expect(1, &Endpoint::Udp(([127, 0, 0, 2], by.port()).into()));
    }
}

#[test]
fn a_path_that_leads_to_one_of_our_sockets_is_ours() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    for target in ["first", "second"] {
        let mut stand = Stand::new();
        for name in ["first", "second"] {
            stand.bind(&Endpoint::UnixDatagram(path(name)));
        }
        let forged = path(&format!("forged {target}"));
        let forger = UnixDatagram::bind(&forged).expect("a free path");
        fs::remove_file(&forged).expect("it is there");
        symlink(path(target), &forged).expect("a free path");
        forger.send_to(b"for ever", path("first")).expect("it is there");
        stand.expect(1, &Endpoint::UnixDatagram(path("first")));
    }
}

/// The link is made between the look and the answer: then the answer comes to
/// us, and is known for our own.
#[test]
fn our_own_answer_is_none_to_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (us, them) = (path("us"), path("them"));
    let (place, link) = (us.clone(), them.clone());
    let (watcher, told) = Watcher::new(move |io, on, heard| {
        if let Heard::Datagram(from, data) = heard {
            fs::remove_file(&link)?;
            symlink(&place, &link)?;
            let _ = io.send_to(on, from, data);
        }
        Ok(())
    });
    let server = unix(watcher, &us, BindOptions::default());
    let client = UnixDatagram::bind(&them).expect("a free path");
    client.send_to(b"for ever", &us).expect("it is there");
    assert!(matches!(heard(&told), Heard::Datagram(..)));
    eventually("our own answer has come", || server.stats().datagrams_from_own == 1);
    let stats = server.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_out, stats.datagrams_from_own), (1, 1, 1));
}

#[test]
fn who_wants_its_own_gets_them() {
    let (watcher, told) = Watcher::new(|_, _, _| Ok(()));
    let options = BindOptions { from_own: true, ..BindOptions::default() };
    let server = DatagramServer::start_with(watcher, Limits::default(), &[bind_anywhere()], &options);
    let on = server.sockets[0];
    let to = serve_forever::Peer::inet(address(server.at()));
    let _ = server.ask(move |_, io| io.send_to(on, &to, b"to myself"));
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == b"to myself"));
    assert_eq!(server.stop().datagrams_from_own, 0);
}

#[test]
fn our_own_is_no_request() {
    let mut stand = Stand::new();
    let (forger, at) = beside((Ipv4Addr::LOCALHOST, 0));
    let socket = stand.bind(&Endpoint::Udp(at));
    forger.send_to(b"for ever", at).expect("it can be sent");
    let client = DatagramClient::connect(&stand.local(socket), None);
    client.send("a request");
    let handled = stand.reactor.handle_request(Some(PATIENCE)).expect("the loop turns");
    assert_eq!(handled, Handled::Served);
    client.expect("a request");
}

// Where answers may go

fn unix<S: DatagramHandler + Send>(handler: S, at: &Path, options: BindOptions) -> DatagramServer<S> {
    DatagramServer::start_with(handler, Limits::default(), &[Endpoint::UnixDatagram(at.into())], &options)
}

#[cfg(target_os = "linux")]
#[test]
fn answers_go_to_sockets_of_one_directory_if_that_is_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let inside = path("clients");
    fs::create_dir(&inside).expect("a free path");
    let options = BindOptions { send_in: Some(inside.clone()), ..BindOptions::default() };
    let (watcher, told) = Watcher::echo();
    let server = unix(watcher, &path("server"), options);
    let client = DatagramClient::connect(server.at(), Some(&inside.join("client")));
    let refused = |socket: &Socket, why: Errno| {
        let error = loop {
            match heard(&told) {
                Heard::Datagram(..) => {}
                Heard::Send(_, 4, error) => break error,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error, Some(why.raw_os_error()));
        socket.set_nonblocking(true).expect("an option");
        assert!(std::io::Read::read(&mut &*socket, &mut [0; 8]).is_err(), "nothing has come");
    };

    client.send("here");
    client.expect("here");
    // Elsewhere; in a directory beneath; by an abstract name.
    fs::create_dir(inside.join("deeper")).expect("a free path");
    for elsewhere in [path("client"), inside.join("deeper/client"), inside.join("../other")] {
        let client = DatagramClient::connect(server.at(), Some(&elsewhere));
        client.send("here");
        refused(&client.0, Errno::ACCESS);
    }
    let abstract_one = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("a descriptor is free");
    let name = format!("\0serve-forever-own-{}", std::process::id());
    abstract_one.bind(&SockAddr::unix(name).expect("a short name")).expect("a free name");
    abstract_one.connect(&SockAddr::unix(path("server")).expect("a short path")).expect("it is there");
    abstract_one.send(b"here").expect("it is there");
    refused(&abstract_one, Errno::ACCESS);

    // A link to somebody else's socket, and what is no socket at all.
    let victim = UnixDatagram::bind(path("victim")).expect("a free path");
    let forger = DatagramClient::connect(server.at(), Some(&inside.join("forger")));
    fs::remove_file(inside.join("forger")).expect("it is there");
    symlink(path("victim"), inside.join("forger")).expect("a free path");
    forger.send("here");
    refused(&forger.0, Errno::ACCESS);
    fs::remove_file(inside.join("forger")).expect("it is there");
    fs::write(inside.join("forger"), "a file").expect("a free path");
    forger.send("here");
    refused(&forger.0, Errno::ACCESS);
    fs::remove_file(inside.join("forger")).expect("it is there");
    forger.send("here");
    refused(&forger.0, Errno::NOENT);
    victim.set_nonblocking(true).expect("an option");
    assert!(victim.recv(&mut [0; 8]).is_err(), "the victim hears nothing");

    client.send("and still here");
    client.expect("and still here");
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_is_none_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Limits::default()).expect("good limits");
    let at = directory.path().join("socket");
    let options = BindOptions { send_in: Some(directory.path().join("nothing")), ..BindOptions::default() };
    reactor.bind_with(&echo, &Endpoint::UnixDatagram(at.clone()), &options).expect_err("it is not there");
    assert!(!at.exists());
}
