//! User code that runs outside of a callback, and panics: errors, owners of
//! bytes, calls that are not run, sessions, handlers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::process::Command;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, DatagramHandler, Io, Limits, Origin, Peer, Reactor, SocketId,
    StreamHandler, TimerId,
};

use crate::util::{Client, DatagramServer, PATIENCE, Server, alone, captured_logs, eventually};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PanicsAsItDrops,
    PanicsAsItIsPrinted,
    CannotBePrinted,
}

const FAULTS: [Fault; 3] = [Fault::PanicsAsItDrops, Fault::PanicsAsItIsPrinted, Fault::CannotBePrinted];

/// An error; or an owner of bytes, a part of a call, a session, a handler.
#[derive(Debug)]
struct Bad(Fault);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::PanicsAsItDrops => f.write_str("a bad error"),
            Fault::PanicsAsItIsPrinted => panic!("it cannot be printed"),
            Fault::CannotBePrinted => Err(fmt::Error),
        }
    }
}

impl std::error::Error for Bad {}

impl Drop for Bad {
    fn drop(&mut self) {
        // A second panic would end the process whatever anybody does.
        assert!(self.0 != Fault::PanicsAsItDrops || std::thread::panicking(), "it cannot be dropped");
    }
}

/// Fails once, where it is told to; else an echo.
struct Failing {
    at: Option<&'static str>,
    fault: Fault,
    closed: Vec<String>,
}

impl Failing {
    fn fail_at(&mut self, here: &str) -> Result<(), BoxError> {
        if self.at == Some(here) {
            self.at = None;
            return Err(Bad(self.fault).into());
        }
        Ok(())
    }
}

impl StreamHandler for Failing {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        if self.at == Some("timer") {
            io.after(Duration::from_millis(1))?;
        }
        if self.at == Some("drained") {
            assert!(io.write(&[0; 300 << 10]).is_queued());
        }
        self.fail_at("open")
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        assert!(io.write(input).is_queued());
        input.clear();
        if self.at == Some("data, closing") {
            // The error is not the first reason, and is dropped unseen.
            io.close(io.id());
        }
        self.fail_at("data, closing")?;
        self.fail_at("data")
    }

    fn eof(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.fail_at("eof")?;
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, _: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.fail_at("drained")
    }

    fn timer(&mut self, _: &mut Io<'_>, (): &mut (), _: TimerId) -> Result<(), BoxError> {
        self.fail_at("timer")
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        self.closed.push(why.to_string());
    }
}

#[test]
fn an_error_that_panics_as_it_is_dropped_or_printed_ends_its_connection_alone() {
    alone("contained::an_error_that_panics_as_it_is_dropped_or_printed_ends_its_connection_alone", || {
        captured_logs(); // so that all is printed
        for fault in FAULTS {
            for at in ["open", "data", "data, closing", "eof", "drained", "timer"] {
                let server =
                    Server::start(Failing { at: None, fault, closed: Vec::new() }, Limits::default());
                let bystander = server.connect();
                server.until_connections(1);
                server.ask(move |failing, _| failing.at = Some(at));
                let client = server.connect();
                if at.starts_with("data") {
                    client.send("hello");
                    client.expect("hello");
                } else if at == "eof" {
                    client.finish();
                }
                client.assert_closed();
                drop(client);
                server.until_connections(1);
                bystander.send("still here");
                bystander.expect("still here");
                let closed = server.ask(|failing, _| failing.closed.clone());
                let told: &[&str] = match (at, fault) {
                    ("open", _) => &[],
                    ("data, closing", _) => &["closed by the handler"],
                    (_, Fault::PanicsAsItDrops) => &["failed: a bad error"],
                    (_, Fault::PanicsAsItIsPrinted) => {
                        &["failed, with an error whose printing panicked: it cannot be printed"]
                    }
                    (_, Fault::CannotBePrinted) => &["failed, with an error that cannot be printed"],
                };
                assert_eq!(closed, told, "{at}, {fault:?}");
                drop(bystander);
                assert_eq!(server.stop().failed, 1, "{at}, {fault:?}");
            }
        }
    });
}

/// Sends datagrams back, and fails then.
struct BadDatagrams(Fault);

impl DatagramHandler for BadDatagrams {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        assert!(io.send_to(on, from, data).is_queued());
        Err(Bad(self.0).into())
    }
}

#[test]
fn such_an_error_of_a_datagram_harms_no_other_datagram() {
    alone("contained::such_an_error_of_a_datagram_harms_no_other_datagram", || {
        captured_logs();
        for fault in FAULTS {
            let server = DatagramServer::start(BadDatagrams(fault));
            let client = server.connect();
            for word in ["one", "two"] {
                client.send(word);
                client.expect(word);
            }
            assert_eq!(server.stop().failed, 2);
        }
    });
}

/// A payload whose owner counts that it is dropped, and panics then.
struct Payload {
    bytes: Vec<u8>,
    dropped: Arc<AtomicUsize>,
    _bad: Bad,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers everything with such payloads, to a whole group.
struct Owners {
    dropped: Arc<AtomicUsize>,
    count: usize,
}

const LARGE: usize = 1 << 20;

impl StreamHandler for Owners {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        for _ in 0..self.count {
            let payload = Payload {
                bytes: vec![b'x'; LARGE],
                dropped: Arc::clone(&self.dropped),
                _bad: Bad(Fault::PanicsAsItDrops),
            };
            assert!(io.write_bytes(Bytes::from_owner(payload)).is_queued());
        }
        Ok(())
    }
}

fn owners(count: usize) -> (Server<Owners>, Arc<AtomicUsize>) {
    let dropped = Arc::<AtomicUsize>::default();
    let limits = Limits { high_mark: 64 << 20, hard_mark: 128 << 20, ..Limits::default() };
    (Server::start(Owners { dropped: Arc::clone(&dropped), count }, limits), dropped)
}

#[test]
fn an_owner_of_bytes_that_panics_as_it_drops_ends_nothing_when_they_are_sent() {
    let (server, dropped) = owners(3);
    let client = server.connect();
    client.send("all");
    assert!(client.take(3 * LARGE).iter().all(|byte| *byte == b'x'));
    eventually("each is dropped", || dropped.load(Ordering::SeqCst) == 3);
    client.send("again");
    client.take(3 * LARGE);
    drop(client);
    server.until_connections(0);
    let stats = server.stop();
    assert_eq!((dropped.load(Ordering::SeqCst), stats.panicked), (6, 0));
}

#[test]
fn nor_when_they_are_not() {
    let (server, dropped) = owners(20);
    let bystander = server.connect();
    for _ in 0..2 {
        let client = server.connect();
        client.send("all");
        client.take(1);
        client.reset();
    }
    server.until_connections(1);
    assert_eq!(dropped.load(Ordering::SeqCst), 40);
    // What waits for this one is dropped with the reactor.
    bystander.send("all");
    bystander.take(1);
    server.handle.shutdown(Duration::ZERO);
    drop(server);
    assert_eq!(dropped.load(Ordering::SeqCst), 60);
}

/// Panics as it is dropped even where that ends the process, if nobody takes
/// care.
struct Worse;

impl Drop for Worse {
    fn drop(&mut self) {
        panic!("it cannot be dropped");
    }
}

/// Counts, and panics as it is dropped; may panic in `close`.
struct Counted {
    closed: Arc<AtomicUsize>,
    panics_in_close: bool,
    _worse: Worse,
}

impl StreamHandler for Counted {
    type Session = Option<Worse>;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Option<Worse>, BoxError> {
        Ok(self.panics_in_close.then(|| Worse))
    }

    fn data(&mut self, _: &mut Io<'_>, _: &mut Option<Worse>, _: &mut BytesMut) -> Result<(), BoxError> {
        panic!("no data today");
    }

    fn close(&mut self, _: &mut Io<'_>, _: Option<Worse>, _: &CloseReason) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics_in_close, "no close today");
    }
}

fn counted(panics_in_close: bool) -> (Counted, Arc<AtomicUsize>) {
    let closed = Arc::<AtomicUsize>::default();
    (Counted { closed: Arc::clone(&closed), panics_in_close, _worse: Worse }, closed)
}

#[test]
fn a_reactor_is_dropped_in_order_whatever_its_calls_and_handlers_do_as_they_drop() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let mut clients = Vec::new();
    let mut all = Vec::new();
    for _ in 0..3 {
        let (handler, closed) = counted(false);
        let service = reactor.add(handler, Limits::default()).expect("good limits");
        let (client, socket) = Client::pair();
        reactor.adopt(&service, socket).expect("a connected socket");
        let bad = Bad(Fault::PanicsAsItDrops);
        let call = move |_: &mut Counted, _: &mut Io<'_>| drop(bad);
        reactor.handle(&service).call(call).expect("the reactor is there");
        clients.push(client);
        all.push(closed);
    }
    drop(reactor);
    clients.iter().for_each(Client::assert_closed);
    assert!(all.iter().all(|closed| closed.load(Ordering::SeqCst) == 1), "each session was closed");
}

#[test]
fn a_panic_that_drops_the_reactor_is_the_one_that_comes_out() {
    let config = Config { catch_panics: false, ..Config::default() };
    let (handler, closed) = counted(true);
    let (client, socket) = Client::pair();
    let (other, another) = Client::pair();
    client.send("hello");
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let mut reactor = Reactor::new(config).expect("a good configuration");
        let service = reactor.add(handler, Limits::default()).expect("good limits");
        reactor.adopt(&service, socket).expect("a connected socket");
        reactor.adopt(&service, another).expect("a connected socket");
        loop {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    }));
    let payload = outcome.expect_err("it comes through");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"no data today"));
    assert_eq!(closed.load(Ordering::SeqCst), 0, "a second panic would end the process");
    client.assert_closed();
    other.assert_closed();
}

/// Runs a program that writes down who it is.
struct Parent(String);

impl StreamHandler for Parent {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        if matches!(origin, Origin::Adopted { .. }) {
            io.spawn(Command::shell(&self.0), 0)?;
        }
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {
        panic!("no close today");
    }
}

#[test]
fn a_panic_that_comes_out_of_dropping_the_reactor_leaves_no_child() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let line = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", file.display());
    let config = Config { catch_panics: false, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let service = reactor.add(Parent(line), Limits::default()).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    eventually("it runs", || {
        reactor.turn(Some(Duration::from_millis(1))).expect("the loop turns");
        file.exists()
    });
    let pid = std::fs::read_to_string(&file).expect("it is there").trim().parse().expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    let outcome = catch_unwind(AssertUnwindSafe(move || drop(reactor)));
    assert!(outcome.is_err(), "the panic of `close` comes out");
    client.assert_closed();
    assert!(rustix::process::test_kill_process(pid).is_err(), "it was ended, and reaped");
}
