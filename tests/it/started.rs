//! The beginning of a service, before anything else happens to it.

use bytes::BytesMut;
use serve_forever::{
    BoxError, Config, ConnId, DatagramHandler, Error, GroupId, Io, Limits, Origin, Peer, Reactor, SocketId,
    StreamHandler, TimerId,
};

use crate::util::{Client, PATIENCE, Server, listen_anywhere};

/// Passes everything on to everybody, a call as well.
#[derive(Default)]
struct Hub {
    everybody: GroupId,
    started: usize,
    opened: usize,
    fails: bool,
}

impl StreamHandler for Hub {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        assert_eq!((io.id(), self.opened), (ConnId::default(), 0), "it belongs to no connection");
        self.started += 1;
        self.everybody = io.group()?;
        io.tick_after(std::time::Duration::ZERO)?;
        if self.fails { Err("not today".into()) } else { Ok(()) }
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.opened += 1;
        assert!(io.join(self.everybody, io.id())?, "the group is there");
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        io.broadcast(self.everybody, &input.split().freeze(), None);
        Ok(())
    }

    fn tick(&mut self, _: &mut Io<'_>, _: TimerId) {
        assert_eq!(self.opened, 0, "its timer was set before the first client came");
    }
}

#[test]
fn a_service_starts_once_and_before_its_first_client() {
    let at = listen_anywhere();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let hub = reactor.add(Hub::default(), Limits::default()).expect("it starts");
    assert_eq!(reactor.get(&hub).started, 1);
    let listener = reactor.listen(&hub, &at).expect("it is free");
    let client = Client::connect(reactor.local(listener).expect("it was just made"));
    client.send("hello");
    while reactor.stats().bytes_out == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    client.expect("hello");
    assert_eq!(reactor.get(&hub).started, 1);
}

#[test]
fn a_service_that_does_not_start_is_an_error_with_its_reason() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let fails = Hub { fails: true, ..Hub::default() };
    let error = reactor.add(fails, Limits::default()).expect_err("it fails");
    assert!(matches!(&error, Error::NotStarted { .. }), "{error:?}");
    assert!(error.to_string().ends_with("started::Hub did not start: not today"), "{error}");
    assert_eq!(std::error::Error::source(&error).expect("its reason").to_string(), "not today");
    // A table that is full is an ordinary reason.
    let mut reactor = Reactor::new(Config { max_groups: 0, ..Config::default() }).expect("good");
    let error = reactor.add(Hub::default(), Limits::default()).expect_err("there is no room for a group");
    assert!(error.to_string().ends_with("too many groups: Config::max_groups is 0"), "{error}");
    // The reactor is as good as before.
    let echo = reactor.add(serve_forever::services::Echo::new(), Limits::default()).expect("it starts");
    reactor.listen(&echo, &listen_anywhere()).expect("it is free");
    reactor.shutdown(PATIENCE);
    reactor.serve_forever().expect("the loop turns");
}

/// Panics at its beginning.
struct Panics;

impl DatagramHandler for Panics {
    fn started(&mut self, _: &mut Io<'_>) -> Result<(), BoxError> {
        panic!("at the very beginning")
    }

    fn datagram(&mut self, _: &mut Io<'_>, _: SocketId, _: &Peer, _: &[u8]) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_service_of_datagrams_starts_too_and_a_panic_is_an_error() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let error = reactor.add_datagram(Panics, Limits::default()).expect_err("it panics");
    assert!(error.to_string().ends_with("did not start: panicked: at the very beginning"), "{error}");
    assert_eq!(reactor.stats().panicked, 1);
}

/// Tells how many members a group has when one of them is closed.
#[derive(Default)]
struct Counting {
    everybody: GroupId,
    left: Vec<usize>,
}

impl StreamHandler for Counting {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.join(self.everybody, io.id())?;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &serve_forever::CloseReason) {
        self.left.push(io.members(self.everybody).len());
        assert!(!io.leave(self.everybody, io.id()), "it has left already");
        assert_eq!(io.broadcast(self.everybody, &"gone".into(), None).gone, 0);
    }
}

#[test]
fn a_connection_has_left_its_groups_when_it_is_closed() {
    let server = Server::start(Counting::default(), Limits::default());
    let clients = [server.connect(), server.connect(), server.connect()];
    server.until_connections(3);
    for (number, client) in clients.into_iter().enumerate() {
        drop(client);
        server.until_connections(2 - number);
    }
    assert_eq!(server.ask(|counting, _| counting.left.clone()), [2, 1, 0]);
}
