//! Counters by service, the names of services, and the times of callbacks and turns.

use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{
    BoxError, CloseReason, Config, Endpoint, Error, Histogram, Io, Limits, Origin, Peer, Reactor,
    ServiceStats, StreamHandler,
};

use crate::util::{Client, PATIENCE, Server, alone, captured_logs, eventually, listen_anywhere};

/// Ends its connections as its clients say.
struct Ends {
    welcome: bool,
}

impl StreamHandler for Ends {
    type Session = ();

    fn verify(&mut self, _: &Peer) -> bool {
        self.welcome
    }

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let id = io.id();
        match &input.split()[..] {
            b"close" => io.close(id),
            b"abort" => io.abort(id),
            b"fail" => return Err("as it was asked to".into()),
            b"panic" => panic!("as it was asked to"),
            b"dawdle" => std::thread::sleep(Duration::from_millis(40)),
            b"unwelcome" => self.welcome = false,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {}
}

/// The durations that are longer than half of this.
fn longer_than_half(histogram: &Histogram, of: Duration) -> u64 {
    histogram.buckets().filter(|(bound, _)| *bound >= of).map(|(_, count)| count).sum()
}

fn service_stats<S: StreamHandler>(server: &Server<S>) -> Vec<ServiceStats> {
    server.ask(|_, io| io.service_stats().cloned().collect())
}

#[test]
fn each_service_counts_its_own_connections_and_their_ends() {
    let (tell, told) = mpsc::channel::<Endpoint>();
    let limits = Limits { idle: None, max_connections: 2, ..Limits::default() };
    let config = Config { slow_callback: Some(Duration::from_millis(20)), ..Config::default() };
    let ends = Ends { welcome: true };
    let server = Server::start_prepared(config, ends, limits, &[listen_anywhere()], move |reactor, _| {
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let listener = reactor.listen(&echo, &listen_anywhere()).expect("a port");
        tell.send(reactor.local(listener).cloned().expect("it was just made")).expect("the test waits");
    });
    let echo = told.recv_timeout(PATIENCE).expect("the server starts");
    for word in ["close", "abort", "fail", "panic"] {
        let client = server.connect();
        client.send(word);
        client.assert_closed();
    }
    let client = Client::connect(&echo);
    client.send("hello");
    client.expect("hello");
    let slow = server.connect();
    slow.send("dawdle");
    eventually("a callback is slow", || service_stats(&server)[0].slow > 0);
    let second = server.connect();
    server.until_connections(2);
    server.connect().assert_closed();
    slow.finish();
    slow.expect_eof();
    server.until_connections(1);
    second.send("unwelcome");
    eventually("nobody is welcome", || server.ask(|ends, _| !ends.welcome));
    server.connect().assert_closed();

    let stats = service_stats(&server);
    let names: Vec<_> = stats.iter().map(|stats| stats.name.as_str()).collect();
    assert_eq!(names, ["Ends", "Echo"]);
    let [ends, echo] = &stats[..] else { panic!("{stats:?}") };
    assert_eq!((ends.accepted, ends.refused_full, ends.refused_by_handler), (6, 1, 1));
    assert_eq!((ends.connections, ends.failed, ends.panicked), (1, 1, 1));
    let closed = ends.closed;
    assert_eq!((closed.closed, closed.aborted, closed.failed, closed.panicked), (1, 1, 1, 1), "{closed:?}");
    assert_eq!((closed.finished, closed.total()), (1, 5), "{closed:?}");
    assert_eq!((echo.accepted, echo.connections, echo.closed.total(), echo.slow), (1, 1, 0, 0));

    let stats = server.stats();
    let dawdled = Duration::from_millis(40);
    assert!(longer_than_half(&stats.callback_times, dawdled) >= 1, "{stats:?}");
    assert!(longer_than_half(&stats.turn_times, dawdled) >= 1, "{stats:?}");
    assert!(stats.callback_times.sum() >= dawdled && stats.turn_times.sum() >= dawdled);
    let stats = server.stop();
    assert_eq!(stats.turn_times.count(), stats.turns);
}

#[test]
fn a_service_has_the_name_that_it_was_given() {
    alone("counters::a_service_has_the_name_that_it_was_given", || {
        captured_logs();
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let ends = reactor.add(Ends { welcome: true }, Limits::default()).expect("good limits");
        reactor.set_name(&ends, "the end").expect("its own service");
        let names: Vec<_> = reactor.service_stats().map(|stats| stats.name.clone()).collect();
        assert_eq!(names, ["the end"]);
        let mut other = Reactor::new(Config::default()).expect("a good configuration");
        assert!(matches!(other.set_name(&ends, "mine"), Err(Error::ForeignService)));

        let (client, socket) = Client::pair();
        reactor.adopt(&ends, socket).expect("a connected socket");
        client.send("fail");
        eventually("the log names it", || {
            reactor.turn(Some(Duration::from_millis(1))).expect("the loop turns");
            captured_logs().iter().any(|(_, text)| text.starts_with("the end: connection "))
        });
    });
}
