//! The ways in which a connection ends, as its peer sees them.

use std::collections::HashSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::services::Echo;
use serve_forever::{
    BoxError, CloseReason, Config, ConnId, Endpoint, Io, Limits, Origin, Reactor, Sent, StreamHandler,
};

use crate::util::{Call, Client, Events, PATIENCE, Recorder, Server, listen_anywhere, noise};

/// Does with a connection what its client says, one word at a time.
#[derive(Default)]
struct Obedient {
    others: HashSet<ConnId>,
    closed: Vec<(ConnId, String)>,
}

impl StreamHandler for Obedient {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.others.insert(io.id());
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let id = io.id();
        let text = String::from_utf8(input.split().to_vec())?;
        for word in text.split_whitespace() {
            match word {
                "close" => io.close(id),
                "abort" => io.abort(id),
                "finish" => io.finish(id),
                "fail" => return Err("as told".into()),
                "close-others" => {
                    self.others.iter().filter(|other| **other != id).for_each(|id| io.close(*id))
                }
                "abort-others" => {
                    self.others.iter().filter(|other| **other != id).for_each(|id| io.abort(*id))
                }
                "big" => assert!(io.write_bytes(noise(900_000).into()).is_queued()),
                // What is said after the end is answered by nobody.
                word => {
                    let _ = io.write(word.as_bytes());
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), why: &CloseReason) {
        assert_eq!(io.write(b"too late"), Sent::Gone);
        assert_eq!(io.queued(io.id()), None);
        self.others.remove(&io.id());
        self.closed.push((io.id(), format!("{why:?}")));
    }
}

fn obedient() -> Server<Obedient> {
    Server::start(Obedient::default(), Limits::default())
}

#[track_caller]
fn assert_ended_once(server: &Server<Obedient>, why: &str) {
    server.until_connections(0);
    let closed = server.ask(|handler, _| std::mem::take(&mut handler.closed));
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert!(closed[0].1.starts_with(why), "{closed:?}");
}

#[test]
fn close_sends_what_is_queued_then_fin() {
    let server = obedient();
    let client = server.connect();
    client.send("big close ignored");
    assert_eq!(client.rest(), noise(900_000));
    drop(client);
    assert_ended_once(&server, "Closed");
}

#[test]
fn a_failing_callback_sends_what_is_queued_then_fin() {
    let server = obedient();
    let client = server.connect();
    client.send("big fail");
    assert_eq!(client.rest(), noise(900_000));
    drop(client);
    assert_ended_once(&server, "Failed(\"as told\")");
}

// docs/guarantees.md, 8.
#[test]
fn abort_is_a_reset_and_drops_what_is_queued() {
    let server = obedient();
    let client = server.connect();
    client.send("lost abort");
    client.expect_reset();
    assert_ended_once(&server, "Aborted");
}

#[test]
fn abort_on_a_unix_socket_is_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let server = Server::start_with(Config::default(), Obedient::default(), Limits::default(), &[at]);
    let client = server.connect();
    client.send("lost abort");
    client.assert_closed();
    assert_ended_once(&server, "Aborted");
}

// docs/guarantees.md, 4.
#[test]
fn after_finish_the_client_may_go_on() {
    let server = obedient();
    let client = server.connect();
    client.send("last finish");
    assert_eq!(client.rest(), b"last");
    // Our side is over; what is said now is heard, and cannot be answered.
    client.send("unanswered");
    server.settle();
    assert_eq!(server.connections(), 1);
    client.finish();
    assert_ended_once(&server, "Finished");
}

#[test]
fn the_client_that_finishes_first_gets_all_that_was_to_come() {
    let server = obedient();
    let client = server.connect();
    client.send("big");
    client.finish();
    assert_eq!(client.rest(), noise(900_000));
    assert_ended_once(&server, "Finished");
}

// docs/guarantees.md, 8: whom a callback ends may be in the same batch of events, and
// may have ended itself.
#[test]
fn a_callback_closes_all_the_others_while_they_speak() {
    for (word, why) in [("close-others", "Closed"), ("abort-others", "Aborted")] {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let service = reactor.add(Obedient::default(), Limits::default()).expect("good limits");
        let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
        let at = reactor.local(listener).expect("it was just made").clone();
        let clients: Vec<_> = (0..50).map(|_| Client::connect(&at)).collect();
        while reactor.connections() < clients.len() {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        for client in &clients {
            client.send(word);
        }
        while reactor.connections() > 1 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
            let closed = reactor.get_mut(&service).closed.len();
            if closed == clients.len() - 1 && why == "Closed" {
                break;
            }
        }
        let closed = &reactor.get_mut(&service).closed;
        let ids: HashSet<_> = closed.iter().map(|(id, _)| *id).collect();
        assert_eq!((closed.len(), ids.len()), (49, 49), "once each, and the first speaker is left");
        assert!(closed.iter().all(|(_, told)| told == why), "{closed:?}");
    }
}

// docs/guarantees.md, 5.
#[test]
fn a_reset_during_our_write_ends_that_connection_once() {
    let server = obedient();
    let bystander = server.connect();
    for _ in 0..20 {
        let client = Client::connect_small(server.at());
        client.send("big");
        client.take(1000);
        client.reset();
        server.until_connections(1);
        let closed = server.ask(|handler, _| std::mem::take(&mut handler.closed));
        assert_eq!(closed.len(), 1, "{closed:?}");
        assert!(closed[0].1.starts_with("Io("), "{closed:?}");
    }
    bystander.send("well");
    bystander.expect("well");
    assert_eq!(server.stats().broken, 20);
}

// docs/guarantees.md, 6.
#[test]
fn a_reset_before_accept_does_not_stop_accepting() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let at = reactor.local(listener).expect("it was just made").clone();
    for _ in 0..10 {
        let gone = Client::connect(&at);
        gone.send("never read");
        gone.reset();
    }
    let client = Client::connect(&at);
    client.send("hello");
    while reactor.stats().bytes_out < 5 || reactor.connections() > 1 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    client.expect("hello");
    let stats = reactor.stats();
    assert_eq!(stats.accepted + stats.accept_errors, 11);
}

// docs/guarantees.md, 7.
#[test]
fn a_stale_id_reaches_nobody_though_its_slot_is_taken_again() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder, Limits::default());
    let first = server.connect();
    let stale = events.expect_open();
    first.reset();
    events.expect_close("Io(");
    server.until_connections(0);

    let second = server.connect();
    let fresh = events.expect_open();
    let slot = |id: ConnId| id.to_string().split('.').next().map(str::to_owned);
    assert_eq!(slot(stale), slot(fresh), "the slot is the same, or this tests nothing");
    assert_ne!(stale, fresh);
    server.ask(move |_, io| {
        assert_eq!(io.send(stale, Bytes::from_static(b"for another")), Sent::Gone);
        assert_eq!(io.queued(stale), None);
        assert!(!io.is_open(stale));
        io.pause(stale);
        io.set_deadline(stale, Some(Duration::from_nanos(1)));
        io.set_limits(stale, Limits::default()).expect("good limits");
        assert_eq!(io.limits_of(stale), None);
        io.begin_frame(stale);
        io.end_frame(stale);
        io.finish(stale);
        io.close(stale);
        io.abort(stale);
        assert!(io.is_open(fresh));
    });
    second.send("still here");
    events.expect(&Call::data("still here"));
    second.assert_silent();
}

// Closing a socket with input unread makes the kernel reset the connection and
// destroy the reply; so the input of one that was paused is read after all.
#[test]
fn the_reply_is_not_lost_on_input_that_nobody_wanted() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            io.pause(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    let id = events.expect_open();
    assert!(client.fill(&noise(1 << 20)) > 0);
    server.settle();
    server.ask(move |_, io| {
        assert!(io.send(id, Bytes::from_static(b"no more, thank you")).is_queued());
        io.close(id);
    });
    assert_eq!(client.rest(), b"no more, thank you");
    client.finish();
    server.until_connections(0);
    events.expect_close("Closed");
}

/// Holds every connection after its peer's FIN, or paused from the start.
fn holding(paused: bool) -> (Recorder, Events) {
    let (recorder, events) = Recorder::new(move |io, call| {
        if paused && *call == Call::Open {
            io.pause(io.id());
        }
        Ok(())
    });
    (recorder.staying(), events)
}

#[test]
fn a_reset_is_noticed_on_a_connection_that_is_not_read() {
    for paused in [false, true] {
        let (recorder, events) = holding(paused);
        let server = Server::start(recorder, Limits::default());
        let client = server.connect();
        events.expect_open();
        if !paused {
            client.finish();
            events.expect(&Call::eof(""));
        }
        client.reset();
        events.expect_close("Io(");
    }
}

#[test]
fn a_unix_peer_that_has_closed_is_told_from_one_that_has_only_finished() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let (recorder, events) = holding(false);
    let server = Server::start_with(Config::default(), recorder, Limits::default(), &[at]);
    let stays = server.connect();
    let held = events.expect_open();
    stays.finish();
    assert_eq!(events.expect(&Call::eof("")), held);
    let leaves = server.connect();
    let lost = events.expect_open();
    drop(leaves);
    assert_eq!(events.expect(&Call::eof("")), lost);
    assert_eq!(events.expect_close("Io("), lost);
    // The other one is there, and can be written to.
    server.ask(move |_, io| assert!(io.send(held, "hello").is_queued()));
    stays.expect("hello");
    drop(stays);
    assert_eq!(events.expect_close("Io("), held);
}
