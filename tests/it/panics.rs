//! Handlers that panic, and handlers that are slow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, Io, Limits, Origin, Peer, Reactor, Stats, StreamHandler, TimerId,
};

use crate::util::{Client, PATIENCE, Server, alone, captured_logs, eventually, listen_anywhere};

/// Panics, or dawdles, where it is told to; else an echo, of which every
/// session counts.
#[derive(Default)]
struct Moody {
    at: Option<&'static str>,
    dawdles: bool,
    opened: usize,
    closed: Vec<String>,
}

impl Moody {
    fn mood(&mut self, here: &str) {
        if self.at == Some(here) {
            // Only once, so that the next client is served.
            self.at = None;
            assert!(self.dawdles, "no {here} today");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl StreamHandler for Moody {
    type Session = ();

    fn verify(&mut self, _: &Peer) -> bool {
        self.mood("verify");
        true
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.opened += 1;
        if self.at == Some("timer") {
            io.after(Duration::from_millis(1))?;
        }
        if self.at == Some("drained") {
            assert!(io.write(&[0; 300 << 10]).is_queued());
        }
        self.mood("open");
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        assert!(io.write(input).is_queued());
        input.clear();
        self.mood("data");
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.mood("eof");
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, _: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.mood("drained");
        Ok(())
    }

    fn timer(&mut self, _: &mut Io<'_>, (): &mut (), _: TimerId) -> Result<(), BoxError> {
        self.mood("timer");
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        self.closed.push(format!("{why:?}"));
        self.mood("close");
    }

    fn tick(&mut self, _: &mut Io<'_>, _: TimerId) {
        self.mood("tick");
    }

    fn shutting_down(&mut self, _: &mut Io<'_>) {
        self.mood("shutting_down");
    }
}

/// Makes one connection go through every callback it can.
fn live_through(client: &Client) {
    // All of it may fail half-way: that is what is tested.
    let _ = client.try_send("hello");
    let _ = client.0.shutdown(std::net::Shutdown::Write);
    client.assert_closed();
}

fn moody(at: &'static str, config: Config, dawdles: bool) -> Server<Moody> {
    let handler = Moody { at: Some(at), dawdles, ..Moody::default() };
    Server::start_with(config, handler, Limits::default(), &[listen_anywhere()])
}

/// The loop was not harmed: somebody else is served.
#[track_caller]
fn assert_serves(server: &Server<Moody>) {
    let client = server.connect();
    client.send("well");
    client.expect("well");
    client.finish();
    client.expect_eof();
    server.until_connections(0);
}

#[track_caller]
fn stats_of(server: Server<Moody>, panicked: u64) -> Stats {
    let stats = server.stop();
    assert_eq!(stats.panicked, panicked);
    stats
}

// docs/guarantees.md, 52.
#[test]
fn a_panic_in_a_callback_of_a_connection_ends_that_connection_alone() {
    for at in ["data", "eof", "drained", "timer"] {
        let server = Server::start(Moody::default(), Limits::default());
        let bystander = server.connect();
        server.until_connections(1);
        server.ask(move |moody, _| moody.at = Some(at));
        let client = server.connect();
        // The other two come by themselves, and may be over by now.
        match at {
            "data" => client.send("hello"),
            "eof" => client.finish(),
            _ => {}
        }
        client.assert_closed();
        bystander.send("still here");
        bystander.expect("still here");
        drop(bystander);
        server.until_connections(0);
        assert_serves(&server);
        let (opened, closed) = server.ask(|moody, _| (moody.opened, moody.closed.clone()));
        assert_eq!((opened, closed.len()), (3, 3), "{at}: {closed:?}");
        let panicked = format!("Panicked(\"no {at} today\")");
        assert_eq!(closed.iter().filter(|why| **why == panicked).count(), 1, "{closed:?}");
        stats_of(server, 1);
    }
}

#[test]
fn what_was_queued_before_a_panic_is_dropped_with_a_reset() {
    let server = moody("data", Config::default(), false);
    let client = server.connect();
    client.send("hello");
    client.expect_reset();
    stats_of(server, 1);
}

#[test]
fn a_panic_before_there_is_a_session_refuses_the_connection() {
    for at in ["verify", "open"] {
        let server = moody(at, Config::default(), false);
        live_through(&server.connect());
        server.until_connections(0);
        assert_serves(&server);
        let closed = server.ask(|moody, _| moody.closed.clone());
        assert_eq!(closed, ["Finished"], "{at}: of the one that was opened");
        let stats = stats_of(server, 1);
        assert_eq!(stats.refused_by_handler, u64::from(at == "verify"));
    }
}

#[test]
fn a_panic_in_close_is_the_last_of_that_connection() {
    let server = moody("close", Config::default(), false);
    live_through(&server.connect());
    server.until_connections(0);
    assert_serves(&server);
    let closed = server.ask(|moody, _| moody.closed.clone());
    assert_eq!(closed, ["Finished", "Finished"]);
    stats_of(server, 1);
}

#[test]
fn a_panic_that_belongs_to_no_connection_ends_none() {
    let server = moody("tick", Config::default(), false);
    let client = server.connect();
    server.ask(|_, io| io.tick_after(Duration::ZERO).expect("there is room"));
    eventually("it has panicked", || server.stats().panicked == 1);
    client.send("still here");
    client.expect("still here");
    server.handle.call(|_, _| panic!("no call today")).expect("the server is there");
    eventually("it has panicked", || server.stats().panicked == 2);
    client.send("still here");
    client.expect("still here");
    server.ask(|moody, _| moody.at = Some("shutting_down"));
    stats_of(server, 3);
}

#[test]
fn a_panic_propagates_where_that_is_asked_for() {
    let config = Config { catch_panics: false, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let handler = Moody { at: Some("data"), ..Moody::default() };
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    client.send("hello");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        loop {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    }));
    let payload = outcome.expect_err("it comes through");
    let text = payload.downcast_ref::<String>().expect("a formatted message");
    assert_eq!(text, "no data today");
    assert_eq!(reactor.get_mut(&service).closed.len(), 0);
    drop(reactor);
    client.assert_closed();
}

// docs/guarantees.md, 53.
#[test]
fn a_slow_callback_is_counted_and_named() {
    alone("panics::a_slow_callback_is_counted_and_named", || {
        captured_logs();
        let config = Config { slow_callback: Some(Duration::from_millis(20)), ..Config::default() };
        for at in ["verify", "open", "data", "eof", "drained", "timer", "close", "tick"] {
            let server = moody(at, config.clone(), true);
            let client = server.connect();
            client.send("hello");
            if at == "tick" {
                server.ask(|_, io| io.tick_after(Duration::ZERO).expect("there is room"));
            }
            if at != "timer" && at != "tick" {
                client.finish();
            }
            let wanted = format!("`{at}`");
            // On a busy machine others may be slow too, and before it.
            eventually(&format!("{at} is counted and named"), || {
                server.stats().slow > 0
                    && captured_logs().iter().any(|(level, text)| {
                        *level == log::Level::Warn && text.contains("Moody") && text.contains(&wanted)
                    })
            });
        }
    });
}

#[test]
fn no_callback_is_slow_where_nobody_asks() {
    let server = moody("data", Config { slow_callback: None, ..Config::default() }, true);
    let client = server.connect();
    client.send("hello");
    client.expect("hello");
    let stats = server.stats();
    assert_eq!((stats.slow, stats.callback_times.count()), (0, 0));
    assert!(stats.turn_times.count() > 0);
}
