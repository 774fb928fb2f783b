//! Bugs that were found, each with the test that found it.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use serve_forever::services::{Echo, Once};
use serve_forever::{Config, Error, Limits, Overflow, Reactor, Sent};

use crate::util::{Call, Client, NEVER, PATIENCE, Recorder, SOON, Server, Take, listen_anywhere, noise};

fn no_deadlines() -> Limits {
    Limits { idle: NEVER, first_frame: NEVER, frame: NEVER, write_stall: NEVER, ..Limits::default() }
}

/// A connection whose lingering was over kept its timer until it was freed,
/// due at once and again: the loop spun on it for ever, and served nobody.
#[test]
fn the_end_of_lingering_does_not_stop_the_loop() {
    let (recorder, _events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            io.close(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits { linger: SOON, ..Limits::default() });
    let client = server.connect();
    client.expect_eof();
    server.until_connections(0);
}

/// The idle deadline, once missed, was looked at again while what was queued
/// was being written: missed still, it cut that short with a reset, and
/// `close` was told of a write that had stalled.
#[test]
fn an_idle_connection_is_closed_in_order_and_as_idle() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder, Limits { idle: Some(SOON), ..no_deadlines() });
    let client = server.connect();
    client.expect_eof();
    assert_eq!(events.life(), [Call::Open, Call::close("TimedOut(Idle)")]);
}

/// Nobody looked at the first-frame deadline of a connection that had been
/// paused when it was opened.
#[test]
fn the_first_frame_deadline_holds_for_one_that_was_paused() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            io.pause(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits { first_frame: Some(SOON), ..no_deadlines() });
    let _client = server.connect();
    let id = events.expect_open();
    server.ask(move |_, io| io.resume(id));
    events.expect_close("TimedOut(FirstFrame)");
}

/// A connection refused by `open` had no deadline: with a greeting that its
/// peer did not read it stayed for ever.
#[test]
fn who_is_refused_and_does_not_read_why_is_dropped() {
    let (recorder, events) = Recorder::new(|io, _| {
        assert!(io.write(&noise(16 << 20)).is_queued());
        Err("not today".into())
    });
    let marks = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..no_deadlines() };
    let server = Server::start(recorder, Limits { write_stall: Some(SOON), ..marks });
    let client = Client::connect_small(server.at());
    events.expect_open();
    server.until_connections(0);
    client.expect_reset();
}

/// A deadline of zero was taken, and looked at without end: with a zero for
/// `frame` alone the loop stood still.
#[test]
fn a_deadline_of_zero_is_refused() {
    let zero = Some(Duration::ZERO);
    let zeros = [
        Limits { idle: zero, ..no_deadlines() },
        Limits { first_frame: zero, ..no_deadlines() },
        Limits { frame: zero, ..no_deadlines() },
        Limits { write_stall: zero, ..no_deadlines() },
    ];
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    for limits in zeros {
        let error = reactor.add(Echo::new(), limits).expect_err("nobody could meet it");
        assert!(matches!(&error, Error::Limits { reason } if reason.contains("None")), "{error}");
    }
}

/// A socket adopted between turns was opened at the time of the last turn: its
/// timers were early, its deadlines too, and `open` was blamed for being slow.
#[test]
fn an_adopted_socket_is_opened_now() {
    // A callback is slow by itself where this thread has to wait for its turn;
    // but not every time.
    assert!((0..10).any(|_| !opens_slowly()), "`open` is blamed for what came before it");
}

/// Whether `open` of a socket adopted after a pause is taken for slow.
fn opens_slowly() -> bool {
    const PAUSE: Duration = Duration::from_millis(150);
    let (tell, told) = mpsc::channel();
    let (recorder, events) = Recorder::new(move |io, call| {
        match call {
            Call::Open => {
                io.after(PAUSE)?;
            }
            Call::Timer(_) => tell.send(Instant::now())?,
            _ => {}
        }
        Ok(())
    });
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, no_deadlines()).expect("good limits");
    // The program is busy elsewhere, and takes no turn.
    std::thread::sleep(PAUSE);
    let (_client, socket) = Client::pair();
    let adopted = Instant::now();
    reactor.adopt(&service, socket).expect("a connected socket");
    let slow = reactor.stats().slow > 0;
    let fired = loop {
        reactor.turn(None).expect("the loop turns");
        if let Ok(at) = told.try_recv() {
            break at;
        }
    };
    assert!(fired - adopted >= PAUSE, "{:?} is early", fired - adopted);
    events.expect_open();
    slow
}

/// A read stops at urgent data though there is more behind it, and such a
/// short read was taken for the last: the rest lay there until something else
/// came.
#[test]
fn what_is_behind_urgent_data_is_read() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let client = Client::connect(reactor.local(listener).expect("it was just made"));
    client.send("before");
    let sent = send(client.0.as_fd(), b"!", SendFlags::OOB);
    assert_eq!(sent, Ok(1));
    client.send("behind");
    turn_until_echoed(&mut reactor, 12);
    client.expect("beforebehind");
}

/// Urgent data that nobody has asked for is no event again and again.
#[test]
fn urgent_data_lets_the_loop_sleep() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let over_tcp = Client::connect(reactor.local(listener).expect("it was just made"));
    let (over_unix, socket) = Client::pair();
    reactor.adopt(&echo, socket).expect("a connected socket");
    for client in [&over_tcp, &over_unix] {
        let before = reactor.stats().bytes_out;
        client.send("before");
        // Unix sockets have known of it since Linux 5.15.
        let _ = send(client.0.as_fd(), b"!", SendFlags::OOB);
        turn_until_echoed(&mut reactor, before + 6);
        client.expect("before");
        for _ in 0..20 {
            reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        }
        let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        assert_eq!((turn.events, turn.more), (0, false));
    }
}

/// A read from a Unix socket stops behind bytes that came with a descriptor,
/// with the same consequence.
#[test]
fn what_is_behind_a_passed_descriptor_is_read() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let (client, socket) = Client::pair();
    let passed = [client.0.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    let sent = sendmsg(client.0.as_fd(), &[IoSlice::new(b"with")], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(4));
    client.send("behind");
    reactor.adopt(&echo, socket).expect("a connected socket");
    turn_until_echoed(&mut reactor, 10);
    client.expect("withbehind");
}

/// Turns until so many bytes went out, or nothing happens any more.
#[track_caller]
fn turn_until_echoed(reactor: &mut Reactor, count: u64) {
    while reactor.stats().bytes_out < count {
        let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert!(turn.events > 0 || turn.more, "only {} bytes came back", reactor.stats().bytes_out);
    }
}

/// A last line one byte too long was answered where it ended with the stream
/// instead of a line end.
#[test]
fn once_holds_the_last_line_to_the_length_of_every_other() {
    let server = Server::start(Once::new("yes"), Once::limits());
    let client = server.connect();
    client.send(vec![b'x'; 65_537]);
    client.finish();
    assert_eq!(client.rest(), b"! line too long\n");
}

/// What a handler had left was handed over to it though it had paused the
/// connection again, where it had resumed it first in the same callback.
#[test]
fn pause_after_resume_pauses() {
    let (recorder, events) = Recorder::new(|io, call| {
        if let Call::Data(_) = call {
            io.pause(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::Nothing), no_deadlines());
    let client = server.connect();
    client.send("left");
    let id = events.expect_open();
    events.expect(&Call::data("left"));
    server.ask(move |_, io| {
        io.resume(id);
        io.pause(id);
    });
    server.settle();
    events.expect_none();
    server.ask(move |_, io| io.resume(id));
    events.expect(&Call::data("left"));
}

/// Every event behind the peer's FIN says that there is input, for ever; it was
/// believed, and a shutdown waited until its deadline for input that nobody
/// would read.
#[test]
fn what_comes_behind_the_fin_does_not_hold_up_a_shutdown() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder.staying(), no_deadlines()).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    events.expect_open();
    client.finish();
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    events.expect(&Call::eof(""));
    drop(client);
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    reactor.handle(&service).shutdown(Duration::from_secs(600));
    for _ in 0..5 {
        if reactor.turn(Some(Duration::ZERO)).expect("the loop turns").finished {
            return;
        }
    }
    panic!("it waits for the deadline");
}

/// A wish to end that came up while the loop ended was kept, and ended the
/// next loop as it began.
#[test]
fn a_wish_to_end_is_over_with_that_end() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::ShuttingDown || matches!(call, Call::Close(_)) {
            io.shutdown(Duration::from_secs(600));
            io.stop();
        }
        Ok(())
    });
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, no_deadlines()).expect("good limits");
    for call in [Call::ShuttingDown, Call::close("Shutdown")] {
        let (_client, socket) = Client::pair();
        if call != Call::ShuttingDown {
            reactor.adopt(&service, socket).expect("a connected socket");
        }
        reactor.handle(&service).shutdown(Duration::ZERO);
        reactor.serve_forever().expect("the loop ends");
        assert!(events.so_far().contains(&call));
        reactor.listen(&service, &listen_anywhere()).expect("a free port");
        let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        assert_eq!((turn.more, turn.finished), (false, false), "after {call:?}");
    }
}

/// Who was told `Dropped` while nothing was queued was not told `drained`
/// either: nothing would be written after which that could be.
#[test]
fn drained_comes_after_a_message_that_was_dropped_from_an_empty_queue() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(_) => assert_eq!(io.write(&noise(1000)), Sent::Dropped),
            Call::Drained => assert!(io.write(b"shorter").is_queued()),
            _ => {}
        }
        Ok(())
    });
    let marks = Limits { low_mark: 10, high_mark: 20, hard_mark: 100, ..no_deadlines() };
    let server = Server::start(recorder, Limits { overflow: Overflow::DropNewest, ..marks });
    let client = server.connect();
    events.expect_open();
    client.send("x");
    client.expect("shorter");
    events.expect(&Call::data("x"));
    events.expect(&Call::Drained);
    server.settle();
    events.expect_none();
}

/// What a callback had written before its panic came out of the loop was still
/// in hand, and went to the connection of the next callback.
#[test]
fn what_was_written_before_a_panic_reaches_nobody_else() {
    let (recorder, _events) = Recorder::new(|io, call| {
        match call {
            Call::Data(what) if what == b"panic" => {
                assert!(io.write(b"a secret").is_queued());
                panic!("as asked");
            }
            Call::Data(what) => assert!(io.write(what).is_queued()),
            _ => {}
        }
        Ok(())
    });
    let config = Config { catch_panics: false, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let service = reactor.add(recorder, no_deadlines()).expect("good limits");
    let (one, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    let (other, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    one.send("panic");
    let outcome = catch_unwind(AssertUnwindSafe(|| reactor.turn(Some(PATIENCE))));
    outcome.expect_err("it comes through");
    other.send("hello");
    turn_until_echoed(&mut reactor, 5);
    other.expect("hello");
}

/// A deadline of zero was missed again while what was queued was being
/// written, in the same turn: a reset took the place of the last words.
#[test]
fn a_deadline_of_zero_ends_a_connection_in_order() {
    let (recorder, events) = Recorder::new(|io, call| {
        if let Call::Data(_) = call {
            assert!(io.write(b"last words").is_queued());
            io.set_deadline(io.id(), Some(Duration::ZERO));
        }
        Ok(())
    });
    let server = Server::start(recorder, no_deadlines());
    let client = server.connect();
    client.send("x");
    assert_eq!(client.rest(), b"last words");
    drop(client);
    assert_eq!(events.life()[2..], [Call::close("TimedOut(Handler)")]);
}

/// The timer of another reactor named, by chance, what looks at a deadline
/// here: it was cancelled, and no timer could be set any more.
#[test]
fn a_timer_of_another_reactor_cancels_no_deadline() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder, Limits { idle: Some(SOON), ..no_deadlines() });
    let (recorder, _events) = Recorder::passive();
    let other = Server::start(recorder, no_deadlines());
    let foreign = other.ask(|_, io| io.after(Duration::from_secs(600)).expect("there is room"));
    let _client = server.connect();
    events.expect_open();
    // In one callback, so that no deadline is over before.
    let (cancelled, set) = server.ask(move |_, io| (io.cancel(foreign), io.after(Duration::ZERO).is_ok()));
    assert_eq!((cancelled, set), (false, true));
    // Either may be first, on a machine that is busy enough.
    let both = [events.next().call, events.next().call];
    assert!(both.iter().any(|call| matches!(call, Call::Tick(_))), "{both:?}");
    assert!(both.contains(&Call::close("TimedOut(Idle)")), "{both:?}");
}

/// A timer that was set where a connection is over, as to try it once more
/// later, was taken for that connection's, and ended with it.
#[test]
fn a_timer_that_close_sets_fires_for_the_service() {
    let (recorder, events) = Recorder::new(|io, call| {
        if let Call::Close(_) = call {
            io.after(Duration::ZERO)?;
        }
        Ok(())
    });
    let server = Server::start(recorder, no_deadlines());
    server.connect().finish();
    assert_eq!(events.life(), [Call::Open, Call::eof(""), Call::close("Finished")]);
    assert!(matches!(events.next().call, Call::Tick(_)));
}

/// A datagram socket was adopted as a stream: its first empty datagram was
/// taken for the end.
#[test]
fn a_datagram_socket_is_not_adopted() {
    let (_peer, socket) = UnixDatagram::pair().expect("a pair");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let error = reactor.adopt(&echo, socket).expect_err("it is no stream");
    assert!(matches!(error, Error::System { .. }), "{error}");
    assert_eq!(reactor.connections(), 0);
}

/// Who was told `Dropped` of a connection on its way was not told `drained`
/// when that had come about.
#[test]
fn drained_comes_after_a_message_that_was_dropped_on_the_way() {
    let target = Server::start(Echo::new(), Echo::limits());
    let (recorder, events) = Recorder::passive();
    let marks = Limits { low_mark: 1, high_mark: 2, hard_mark: 10, ..no_deadlines() };
    let server = Server::start(recorder, Limits { overflow: Overflow::DropNewest, ..marks });
    let at = target.at().clone();
    server.ask(move |_, io| {
        let id = io.connect(&at, 0).expect("there is room");
        assert_eq!(io.send(id, noise(100)), Sent::Dropped);
    });
    events.expect_open();
    events.expect(&Call::Drained);
    server.settle();
    events.expect_none();
}
