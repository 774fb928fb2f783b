//! Peers that read slowly or not at all, and peers that send without end.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{
    BoxError, Config, ConnId, Endpoint, Io, Limits, Origin, Overflow, Reactor, Sent, StreamHandler,
};

use crate::util::{
    Call, Client, PATIENCE, Recorder, SOON, Server, Take, alone, eventually, listen_anywhere, noise,
    resident_bytes,
};

const MEGABYTE: usize = 1 << 20;

/// An echo that remembers the most it had queued.
#[derive(Default)]
struct WatchedEcho {
    inner: Echo,
    who: Option<ConnId>,
    most_queued: usize,
    pauses: usize,
}

impl StreamHandler for WatchedEcho {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        self.who = Some(io.id());
        self.inner.open(io, origin)
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.inner.data(io, &mut (), input)?;
        self.most_queued = self.most_queued.max(io.queued(io.id()).unwrap_or(0));
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.pauses += 1;
        self.inner.drained(io, &mut ())
    }
}

// docs/guarantees.md, 16. The client sends all it can and reads nothing, until the server
// has stopped reading too; then it reads, and everything is there.
#[test]
fn an_echo_of_a_quarter_gigabyte_waits_for_a_slow_reader() {
    alone("backpressure::an_echo_of_a_quarter_gigabyte_waits_for_a_slow_reader", || {
        const WHOLE: usize = 256 * MEGABYTE;
        let limits = Limits { write_stall: None, ..Echo::limits() };
        let server = Server::start(WatchedEcho::default(), limits);
        let client = server.connect();
        let piece = noise(MEGABYTE);
        let sender = client.share();
        let payload = piece.clone();
        let before = resident_bytes();
        let sending = std::thread::spawn(move || {
            for _ in 0..WHOLE / MEGABYTE {
                sender.send(&payload);
            }
            sender.finish();
        });
        // It has stopped reading when it has paused and nothing comes in
        // between two questions, while the sender, who is far from done, is
        // stuck.
        let mut read = 0;
        eventually("the server stops reading", || {
            server.settle();
            let is_paused = server.ask(|echo, io| echo.who.is_some_and(|who| io.is_paused(who)));
            let now = server.stats().bytes_in;
            let stopped = is_paused && now == read;
            read = now;
            stopped
        });
        assert!(!sending.is_finished());
        assert!((read as usize) < WHOLE / 4, "{read} bytes were read though nobody takes them");
        for _ in 0..WHOLE / MEGABYTE {
            client.expect(&piece);
        }
        client.expect_eof();
        sending.join().expect("all was sent");
        let grown = resident_bytes().saturating_sub(before);
        let (most, pauses) = server.ask(|echo, _| (echo.most_queued, echo.pauses));
        println!("most queued {most} bytes, {pauses} pauses, {grown} bytes of memory more");
        assert!(most <= Limits::default().hard_mark && pauses > 0);
        assert!(grown < 8 * MEGABYTE, "{grown} bytes of memory more");
    });
}

// docs/guarantees.md, 17.
#[test]
fn an_echo_that_is_never_read_ends_at_the_write_stall_deadline() {
    let limits = Limits { write_stall: Some(SOON), ..Echo::limits() };
    let server = Server::start(Echo::new(), limits);
    let client = Client::connect_small(server.at());
    let sender = client.share();
    let sending = std::thread::spawn(move || sender.try_send(noise(64 * MEGABYTE)));
    server.until_connections(0);
    let refused = sending.join().expect("it ends").expect_err("the connection was reset");
    assert!(
        matches!(refused.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "{refused}"
    );
    let stats = server.stop();
    assert_eq!((stats.timed_out, stats.closed), (1, 1));
}

// docs/guarantees.md, 15. The fire hose is never through; the quiet ones are answered
// all the same, and a turn takes no more from the hose than its budget.
#[test]
fn a_fire_hose_does_not_starve_a_hundred_quiet_clients() {
    let server = Server::start(Echo::new(), Echo::limits());
    let hose = server.connect();
    let (sink, source) = (hose.share(), hose.share());
    let draining = std::thread::spawn(move || while source.0.read_some() > 0 {});
    let pouring = std::thread::spawn(move || {
        let water = noise(MEGABYTE);
        while sink.try_send(&water).is_ok() {}
    });
    let quiet: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        for client in &quiet {
            let asked = Instant::now();
            client.send([round]);
            client.expect([round]);
            slowest = slowest.max(asked.elapsed());
        }
    }
    assert!(!pouring.is_finished(), "the hose was on all the time");
    println!("the slowest of 500 answers beside a fire hose took {slowest:?}");
    hose.0.shutdown(std::net::Shutdown::Both).expect("it is connected");
    pouring.join().expect("it ends");
    draining.join().expect("it ends");
}

trait ReadSome {
    fn read_some(&self) -> usize;
}

impl ReadSome for socket2::Socket {
    /// What there is, thrown away; 0 at the end, whichever.
    fn read_some(&self) -> usize {
        std::io::Read::read(&mut &*self, &mut [0; 1 << 16]).unwrap_or(0)
    }
}

#[test]
fn one_turn_reads_no_more_than_the_budget() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let limits = Limits { read_budget: 1000, ..Echo::limits() };
    let echo = reactor.add(Echo::new(), limits).expect("good limits");
    // What is sent over a Unix socket is there when it has been sent.
    let (client, socket) = Client::pair();
    let bytes = noise(10_500);
    client.send(&bytes);
    reactor.adopt(&echo, socket).expect("a connected socket");
    let mut before = 0;
    while before < bytes.len() as u64 {
        let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
        let read = reactor.stats().bytes_in;
        assert!(read - before <= 1000, "{} bytes in one turn", read - before);
        assert!(turn.more || read == bytes.len() as u64 || read == 0, "the rest is not forgotten");
        before = read;
    }
    client.expect(&bytes);
}

/// Writes a message for each line it gets, and reports every answer.
fn writer(message: usize, limits: Limits) -> (Server<Recorder>, Client, std::sync::mpsc::Receiver<Sent>) {
    let (tell, told) = std::sync::mpsc::channel();
    let (recorder, _events) = Recorder::new(move |io, call| {
        if let Call::Data(asked) = call {
            for _ in asked {
                tell.send(io.write(&noise(message)))?;
            }
        }
        Ok(())
    });
    let server = Server::start(recorder, limits);
    let client = server.connect();
    (server, client, told)
}

#[test]
fn full_is_told_above_the_high_mark_and_overflow_ends_the_connection() {
    let limits = Limits { low_mark: 100, high_mark: 250, hard_mark: 400, ..Limits::default() };
    // All in one callback, so that nothing is written in between.
    let (server, client, told) = writer(100, limits);
    client.send("xxxxxx");
    let answers: Vec<_> = (0..6).map(|_| told.recv_timeout(PATIENCE).expect("an answer")).collect();
    assert_eq!(answers, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Full, Sent::Dropped, Sent::Gone]);
    client.expect_reset();
    server.until_connections(0);
    assert_eq!(server.stop().overflowed, 1);
}

#[test]
fn drop_newest_drops_whole_messages_and_the_connection_lives() {
    let limits = Limits {
        low_mark: 100,
        high_mark: 250,
        hard_mark: 450,
        overflow: Overflow::DropNewest,
        ..Limits::default()
    };
    let (server, client, told) = writer(100, limits);
    client.send("xxxxxx");
    let answers: Vec<_> = (0..6).map(|_| told.recv_timeout(PATIENCE).expect("an answer")).collect();
    assert_eq!(answers[..4], [Sent::Queued, Sent::Queued, Sent::Full, Sent::Full]);
    assert_eq!(answers[4..], [Sent::Dropped, Sent::Dropped]);
    let message = noise(100);
    for _ in 0..4 {
        client.expect(&message);
    }
    client.send("x");
    client.expect(&message);
    client.finish();
    client.expect_eof();
    let stats = server.stop();
    assert_eq!((stats.dropped, stats.overflowed), (2, 0));
}

#[test]
fn drained_comes_once_for_each_crossing() {
    let (recorder, events) = Recorder::new(|io, call| {
        if let Call::Data(_) = call {
            // Far above the mark, several times over, in one crossing.
            for _ in 0..4 {
                assert!(io.write(&noise(300 << 10)).is_queued());
            }
        }
        Ok(())
    });
    let limits = Limits { hard_mark: 8 * MEGABYTE, ..Limits::default() };
    let server = Server::start(recorder, limits);
    let client = Client::connect_small(server.at());
    events.expect_open();
    for _ in 0..3 {
        client.send("x");
        assert_eq!(events.next().call, Call::data("x"));
        for _ in 0..4 {
            client.expect(noise(300 << 10));
        }
        events.expect(&Call::Drained);
        server.settle();
        events.expect_none();
    }
}

#[test]
fn what_is_queued_is_counted_to_the_byte() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    let id = events.expect_open();
    let counts = server.ask(move |_, io| {
        let mut counts = Vec::new();
        for size in [1, 10, 100, 1000, 10_000] {
            assert!(io.send(id, noise(size)).is_queued());
            counts.push(io.queued(id));
        }
        counts
    });
    assert_eq!(counts, [1, 11, 111, 1111, 11_111].map(Some));
    client.take(11_111);
    assert_eq!(server.ask(move |_, io| io.queued(id)), Some(0));
}

#[test]
fn pause_holds_back_input_and_its_end_until_resume() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::data("first") {
            io.pause(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.send("first");
    let id = events.expect_open();
    events.expect(&Call::data("first"));
    client.send("second");
    client.finish();
    server.settle();
    server.settle();
    events.expect_none();
    server.ask(move |_, io| io.resume(id));
    events.expect(&Call::data("second"));
    events.expect(&Call::eof(""));
    events.expect_close("Finished");
}

#[test]
fn resume_hands_over_what_was_left_though_nothing_new_has_come() {
    let (recorder, events) = Recorder::new(|io, call| {
        if let Call::Data(_) = call {
            io.pause(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::Nothing), Limits::default());
    let client = server.connect();
    client.send("left");
    let id = events.expect_open();
    events.expect(&Call::data("left"));
    for _ in 0..3 {
        server.ask(move |_, io| io.resume(id));
        events.expect(&Call::data("left"));
    }
}

#[test]
fn who_is_paused_can_be_asked() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(_) => {
                io.pause(io.id());
                io.resume(io.id());
                assert!(!io.is_paused(io.id()), "it was taken back");
                io.pause(io.id());
                assert!(io.is_paused(io.id()));
            }
            Call::Close(_) => assert!(!io.is_paused(io.id())),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    let id = events.expect_open();
    let is_paused = || server.ask(move |_, io| io.is_paused(id));
    assert!(!is_paused());
    client.send("x");
    events.expect(&Call::data("x"));
    assert!(is_paused());
    server.ask(move |_, io| io.resume(id));
    assert!(!is_paused());
    client.send("y");
    events.expect(&Call::data("y"));
    assert!(is_paused());
    server.ask(move |_, io| io.close(id));
    assert!(!is_paused(), "it takes no input any more");
    drop(client);
    events.expect_close("Closed");
    server.until_connections(0);
    assert!(!is_paused(), "it is gone");
}

/// Sends a lot to whoever connects.
struct Lavish(Vec<u8>);

impl StreamHandler for Lavish {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        assert!(io.write(&self.0).is_queued(), "the marks leave room for it");
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

// docs/guarantees.md, 17: the system tells of room only when a good part of its buffer is
// free, which one who takes a little at a time does not reach in time.
#[test]
fn who_takes_a_little_at_a_time_has_not_stalled() {
    const WHOLE: usize = 16 * MEGABYTE;
    let directory = tempfile::tempdir().expect("a directory");
    let unix = Endpoint::Unix(directory.path().join("lavish"));
    for (at, little) in [(listen_anywhere(), 128 << 10), (unix, 40 << 10)] {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let limits =
            Limits { write_stall: Some(Duration::from_millis(20)), hard_mark: WHOLE, ..Limits::default() };
        let whole = noise(WHOLE);
        let lavish = reactor.add(Lavish(whole.clone()), limits).expect("good limits");
        let listener = reactor.listen(&lavish, &at).expect("it is free");
        let at = reactor.local(listener).expect("it was just made").clone();
        let client = Client::connect(&at);
        let mut got = Vec::new();
        // On one thread: between two offers the client always takes something.
        while reactor.stats().stalls_checked < 5 {
            std::thread::sleep(Duration::from_millis(10)); // the passing of time is the point
            if reactor.stats().bytes_out > 0 {
                let left = (WHOLE - got.len()).min(little);
                assert!(left > 0, "all of it has come, and no event was late");
                got.extend(client.take(left));
            }
            reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
            assert_eq!(reactor.stats().timed_out, 0, "{at}: after {} bytes", got.len());
        }
        // And who takes nothing has.
        while reactor.stats().timed_out == 0 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        assert!(whole.starts_with(&got));
    }
}
