//! The order of callbacks, for every way in which a connection can end:
//!
//! ```text
//! verify -> open -> (data | drained | timer)* -> eof? -> (drained | timer)* -> close
//! ```

use std::time::Duration;

use serve_forever::{BoxError, Io, Limits, Overflow, Sent};

use crate::util::{Call, Client, Events, Recorder, SOON, Server, Take, noise};

type Script = fn(&mut Io<'_>, &Call) -> Result<(), BoxError>;

fn serve(limits: Limits, script: Script) -> (Server<Recorder>, Events) {
    let (recorder, events) = Recorder::new(script);
    (Server::start(recorder.verifying(true), limits), events)
}

/// One word for each callback; `data` once for however many pieces it took.
#[track_caller]
fn words(life: &[Call]) -> Vec<&'static str> {
    let mut words: Vec<_> = life
        .iter()
        .map(|call| match call {
            Call::Verify => "verify",
            Call::Open => "open",
            Call::Data(_) => "data",
            Call::Eof(_) => "eof",
            Call::Drained => "drained",
            Call::Timer(_) => "timer",
            Call::Close(_) => "close",
            Call::Tick(_) | Call::ShuttingDown => panic!("{call:?} belongs to no connection"),
        })
        .collect();
    words.dedup_by(|a, b| a == b && *a == "data");
    words
}

/// One connection under `script`, from its client's side `act`; its life, and
/// why it closed. Nothing comes after `close`.
#[track_caller]
fn one_life(limits: Limits, script: Script, act: impl FnOnce(Client)) -> (Vec<&'static str>, String) {
    let (server, events) = serve(limits, script);
    act(server.connect());
    let life = events.life();
    server.until_connections(0);
    drop(server);
    let after: Vec<_> = events.so_far().into_iter().filter(|call| *call != Call::ShuttingDown).collect();
    assert_eq!(after, [], "close is the last");
    let Some(Call::Close(why)) = life.last() else { panic!("{life:?}") };
    (words(&life), why.clone())
}

fn quiet(_: &mut Io<'_>, _: &Call) -> Result<(), BoxError> {
    Ok(())
}

#[test]
fn both_sides_finish() {
    let (life, why) = one_life(Limits::default(), quiet, |client| {
        client.send("hello");
        client.finish();
        client.expect_eof();
    });
    assert_eq!((&life[..], &why[..]), (&["verify", "open", "data", "eof", "close"][..], "Finished"));
}

#[test]
fn the_server_finishes_first() {
    let script: Script = |io, call| {
        if *call == Call::Open {
            io.finish(io.id());
        }
        Ok(())
    };
    let (life, why) = one_life(Limits::default(), script, |client| {
        client.expect_eof();
        client.send("more");
        client.finish();
    });
    assert_eq!((&life[..], &why[..]), (&["verify", "open", "data", "eof", "close"][..], "Finished"));
}

#[test]
fn the_handler_closes_and_hears_no_more() {
    let script: Script = |io, call| {
        if matches!(call, Call::Data(_)) {
            io.close(io.id());
        }
        Ok(())
    };
    let (life, why) = one_life(Limits::default(), script, |client| {
        client.send("hello");
        client.expect_eof();
        client.send("unheard");
        client.finish();
    });
    assert_eq!((&life[..], &why[..]), (&["verify", "open", "data", "close"][..], "Closed"));
}

#[test]
fn the_handler_closes_or_aborts_as_it_opens() {
    for (script, expected) in [
        (
            (|io, _| {
                io.close(io.id());
                Ok(())
            }) as Script,
            "Closed",
        ),
        (
            |io, _| {
                io.abort(io.id());
                Ok(())
            },
            "Aborted",
        ),
        (
            |io, _| {
                io.close(io.id());
                io.abort(io.id());
                Ok(())
            },
            "Aborted",
        ),
        (
            |io, _| {
                io.abort(io.id());
                io.close(io.id());
                Ok(())
            },
            "Aborted",
        ),
    ] {
        let (life, why) = one_life(Limits::default(), script, |client| client.assert_closed());
        assert_eq!((&life[..], &why[..]), (&["verify", "open", "close"][..], expected));
    }
}

#[test]
fn the_peer_resets() {
    let script: Script = |io, call| {
        if *call == Call::Open {
            assert!(io.write(b".").is_queued());
        }
        Ok(())
    };
    let (life, why) = one_life(Limits::default(), script, |client| {
        client.expect(".");
        client.reset();
    });
    assert_eq!(life, ["verify", "open", "close"]);
    assert!(why.starts_with("Io("), "{why}");
}

#[test]
fn a_drained_and_a_timer_come_before_the_end_and_none_after_it() {
    let script: Script = |io, call| {
        match call {
            Call::Open => {
                io.every(Duration::from_millis(1))?;
            }
            Call::Timer(timer) => {
                io.cancel(*timer);
                // More than the high mark, and at once on its way.
                assert!(io.write(&[0; 300 << 10]).is_queued());
            }
            Call::Drained => io.finish(io.id()),
            _ => {}
        }
        Ok(())
    };
    let (life, why) = one_life(Limits::default(), script, |client| {
        assert_eq!(client.rest().len(), 300 << 10);
    });
    assert_eq!(life, ["verify", "open", "timer", "drained", "eof", "close"]);
    assert_eq!(why, "Finished");
}

#[test]
fn after_eof_a_handler_that_stays_goes_on_until_it_ends_the_connection() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Eof(_) => {
                io.after(Duration::from_millis(1))?;
            }
            Call::Timer(_) => {
                assert!(io.write(b"the answer").is_queued());
                io.finish(io.id());
            }
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder.verifying(true).staying(), Limits::default());
    let client = server.connect();
    client.send("a question");
    client.finish();
    assert_eq!(client.rest(), b"the answer");
    let life = events.life();
    assert_eq!(words(&life), ["verify", "open", "data", "eof", "timer", "close"]);
    assert_eq!(life.last(), Some(&Call::close("Finished")));
}

#[test]
fn eof_is_given_what_data_had_left() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder.taking(Take::Lines), Limits::default());
    let client = server.connect();
    client.send("one\ntwo\nthr");
    client.finish();
    client.expect_eof();
    let life = events.life();
    assert_eq!(life[life.len() - 2..], [Call::eof("thr"), Call::close("Finished")]);
}

#[test]
fn who_is_not_verified_is_not_opened() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder.verifying(false), Limits::default());
    server.connect().assert_closed();
    let stats = server.stop();
    assert_eq!((stats.refused_by_handler, stats.accepted, stats.closed), (1, 0, 0));
    assert_eq!(events.so_far(), [Call::Verify, Call::ShuttingDown]);
}

#[test]
fn an_open_that_fails_has_no_close_and_what_it_wrote_arrives() {
    let (server, events) = serve(Limits::default(), |io, call| {
        if *call == Call::Open {
            assert!(io.write(b"go away").is_queued());
            return Err("not today".into());
        }
        Ok(())
    });
    let client = server.connect();
    client.send("unheard");
    assert_eq!(client.rest(), b"go away");
    drop(client);
    server.until_connections(0);
    let stats = server.stop();
    assert_eq!((stats.failed, stats.closed), (1, 0));
    assert_eq!(events.so_far(), [Call::Verify, Call::Open, Call::ShuttingDown]);
}

/// Tells a callback from the others.
type Callback = fn(&Call) -> bool;

/// What a client does to make it come.
type Provocation = fn(&Client);

/// Fails in that callback, having written.
fn fails_in(at: Callback) -> (Server<Recorder>, Events) {
    let (recorder, events) = Recorder::new(move |io, call| {
        if *call == Call::Open {
            io.after(Duration::from_millis(1))?;
            // Past the high mark, so that `drained` is owed.
            assert!(io.write(&noise(300 << 10)).is_queued());
        }
        if at(call) {
            assert!(io.write(b"last words").is_queued());
            return Err("as told".into());
        }
        Ok(())
    });
    (Server::start(recorder, Limits::default()), events)
}

#[test]
fn an_error_from_any_callback_ends_the_connection_behind_its_last_words() {
    let data = |call: &Call| matches!(call, Call::Data(_));
    let eof = |call: &Call| matches!(call, Call::Eof(_));
    let drained = |call: &Call| matches!(call, Call::Drained);
    let timer = |call: &Call| matches!(call, Call::Timer(_));
    let callbacks: [(Callback, Provocation); 4] =
        [(data, |client| client.send("hello")), (eof, Client::finish), (drained, |_| {}), (timer, |_| {})];
    for (at, provoke) in callbacks {
        let (server, events) = fails_in(at);
        let client = server.connect();
        provoke(&client);
        client.expect(noise(300 << 10));
        let words = client.rest();
        drop(client);
        let life = events.life();
        assert_eq!(words, b"last words", "{life:?}");
        assert!(at(&life[life.len() - 2]), "{life:?}");
        assert_eq!(life.last(), Some(&Call::close("Failed(\"as told\")")));
        server.until_connections(0);
        assert_eq!(server.stop().failed, 1);
    }
}

#[test]
fn a_deadline_an_overflow_and_too_much_input_close_once() {
    let limits = Limits { idle: Some(SOON), linger: SOON, ..Limits::default() };
    let (life, why) = one_life(limits, quiet, |client| client.expect_eof());
    assert_eq!((&life[..], &why[..]), (&["verify", "open", "close"][..], "TimedOut(Idle)"));

    let flood: Script = |io, call| {
        if *call == Call::Open {
            assert_eq!(io.write(&noise(2 << 20)), Sent::Dropped);
        }
        Ok(())
    };
    let limits = Limits { overflow: Overflow::Close, ..Limits::default() };
    let (life, why) = one_life(limits, flood, |client| client.expect_reset());
    let overflow = "Overflow { message: 2097152, queued: 0, hard_mark: 1048576 }";
    assert_eq!((&life[..], &why[..]), (&["verify", "open", "close"][..], overflow));

    let (recorder, events) = Recorder::passive();
    let limits = Limits { max_input: 10, ..Limits::default() };
    let server = Server::start(recorder.taking(Take::Nothing), limits);
    let client = server.connect();
    client.send("ten bytes.");
    events.expect_open();
    events.expect(&Call::data("ten bytes."));
    client.send("!");
    events.expect(&Call::data("ten bytes.!"));
    events.expect_close("InputTooLong");
    client.expect_eof();
}
