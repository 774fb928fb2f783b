//! A last message before a limit, a deadline, an error or a shutdown ends a
//! connection.

use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Act, ClientId, Conditions, Pace, Rng, Script};
use serve_forever::sim::World;
use serve_forever::{BoxError, CloseReason, Deadline, Io, Limits, Origin, Sent, StreamHandler};

use super::handlers::{calm, patient, run, why};

const MINUTE: Duration = Duration::from_secs(60);

/// What a handler does in its last word, beside saying why.
type Ask = fn(&mut Io<'_>);

/// Does what a line says, and says why a connection ends.
struct Polite {
    ask: Ask,
    /// How many times it had the last word.
    words: usize,
}

impl Polite {
    fn new() -> Self {
        Self::asking(|_| ())
    }

    fn asking(ask: Ask) -> Self {
        Self { ask, words: 0 }
    }
}

fn word(why: &CloseReason) -> &'static [u8] {
    match why {
        CloseReason::TimedOut(Deadline::Idle) => b"idle\n",
        CloseReason::TimedOut(Deadline::FirstFrame) => b"first\n",
        CloseReason::TimedOut(Deadline::Frame) => b"frame\n",
        CloseReason::TimedOut(Deadline::Handler) => b"handler\n",
        CloseReason::InputTooLong { .. } => b"long\n",
        CloseReason::Failed(_) => b"failed\n",
        CloseReason::Shutdown => b"shutdown\n",
        _ => b"wrong\n",
    }
}

impl StreamHandler for Polite {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            match &line[..] {
                b"fail\n" => return Err("as it was asked to".into()),
                b"panic\n" => panic!("as it was asked to"),
                b"close\n" => io.close(io.id()),
                b"finish\n" => io.finish(io.id()),
                b"abort\n" => io.abort(io.id()),
                b"soon\n" => io.set_deadline(io.id(), Some(MINUTE)),
                b"flood\n" => while io.write(&[b'x'; 1000]).is_queued() {},
                b"fill\n" => while io.write(&[b'x'; 1000]) == Sent::Queued {},
                _ => io.reply(&line),
            }
        }
        Ok(())
    }

    fn last_word(&mut self, io: &mut Io<'_>, (): &mut (), why: &CloseReason) {
        self.words += 1;
        let _ = io.write(word(why));
        (self.ask)(io);
    }
}

#[test]
fn a_limit_a_deadline_and_an_error_leave_a_last_word() {
    let cases = [
        (Limits { idle: Some(MINUTE), ..patient() }, "hello\n", "hello\nidle\n"),
        (Limits { first_frame: Some(MINUTE), ..patient() }, "", "first\n"),
        (Limits { frame: Some(MINUTE), ..patient() }, "hello\nhal", "hello\nframe\n"),
        (patient(), "hello\nsoon\n", "hello\nhandler\n"),
        (Limits { max_input: 5, ..patient() }, "hello\nfar too long", "hello\nlong\n"),
        (patient(), "hello\nfail\n", "hello\nfailed\n"),
    ];
    for (limits, sent, expected) in cases {
        let mut world = calm(Polite::new(), limits);
        let client = world.play(Script::new().send(sent));
        run(&mut world);
        let received = String::from_utf8_lossy(world.client(client).received()).into_owned();
        assert_eq!((received.as_str(), world.handler().words), (expected, 1));
        assert!(world.client(client).saw_fin().is_some(), "it ends in order: {expected}");
    }
}

#[test]
fn a_shutdown_leaves_a_last_word_to_the_busy_and_the_quiet() {
    let mut world = calm(Polite::new(), patient());
    let quiet = world.play(Script::new().send("hello\n"));
    let busy = world.play(Script::new().send("hello\nhal").after(Duration::from_secs(5)).send("f\n"));
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    world.reactor().shutdown(MINUTE);
    run(&mut world);
    assert_eq!(world.client(quiet).received(), b"hello\nshutdown\n");
    assert_eq!(world.client(busy).received(), b"hello\nhalf\nshutdown\n");
    // At its deadline everything is dropped.
    let mut world = calm(Polite::new(), patient());
    let busy = world.play(Script::new().send("hello\nhal"));
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    world.reactor().shutdown(MINUTE);
    run(&mut world);
    assert_eq!(world.client(busy).received(), b"hello\n");
    assert_eq!(world.handler().words, 0);
}

#[test]
fn an_end_without_order_or_by_one_of_the_sides_leaves_none() {
    let stalls = Limits { write_stall: Some(MINUTE), ..patient() };
    let idle = Limits { idle: Some(MINUTE), ..patient() };
    let cases = [
        (patient(), Script::new().send("hello\n").finish(), "Finished"),
        (patient(), Script::new().send("close\n").finish(), "Closed"),
        (patient(), Script::new().send("abort\n"), "Aborted"),
        (patient(), Script::new().send("panic\n"), "Panicked"),
        (patient(), Script::new().send("flood\n"), "Overflow"),
        (patient(), Script::new().send("hello\n").after(MINUTE).reset(), "Io"),
        (stalls, Script::new().read(Pace::Never).send("fill\n"), "TimedOut(WriteStall)"),
        (idle, Script::new().then(Act::StayAfterFin).send("finish\n"), "TimedOut(Idle)"),
    ];
    for (limits, script, expected) in cases {
        let mut world = calm(Polite::new(), limits);
        let client = world.play(script);
        run(&mut world);
        let why = why(&world, client);
        assert!(why.starts_with(expected), "{why}, not {expected}");
        assert_eq!(world.handler().words, 0, "{expected}");
    }
}

#[test]
fn nothing_that_the_last_word_asks_for_keeps_the_connection() {
    let keeps: Ask = |io| {
        let id = io.id();
        io.resume(id);
        io.pause(id);
        io.set_busy(id, true);
        io.begin_frame(id);
        io.set_deadline(id, None);
        io.set_limits(id, patient()).expect("good limits");
        io.close(id);
        io.finish(id);
        let group = io.group().expect("there is room");
        assert_eq!((io.join(group, id).ok(), io.is_open(id)), (Some(false), false));
    };
    let mut world = calm(Polite::asking(keeps), Limits { idle: Some(MINUTE), ..patient() });
    let client = world.play(Script::new().send("hello\n"));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
    assert_eq!(world.client(client).received(), b"hello\nidle\n");
}

#[test]
fn a_last_word_may_be_an_abort_and_its_panic_is_one() {
    let asks: [(Ask, &str); 2] =
        [(|io| io.abort(io.id()), "Aborted"), (|_| panic!("at the end"), "Panicked")];
    for (ask, expected) in asks {
        let mut world = calm(Polite::asking(ask), Limits { idle: Some(MINUTE), ..patient() });
        let client = world.play(Script::new().send("hello\n"));
        run(&mut world);
        let why = why(&world, client);
        assert!(why.starts_with(expected), "{why}, not {expected}");
        assert!(world.client(client).saw_reset().is_some(), "what it had said is dropped");
    }
}

// The word of an idle connection is five bytes.
#[test]
fn a_last_word_is_bounded_by_its_limit_beside_the_hard_mark() {
    let asks: [(Ask, usize); 2] = [
        (|io| assert_eq!(io.write(&[b'x'; 95]), Sent::Queued), 100),
        (|io| assert_eq!(io.write(&[b'x'; 96]), Sent::Dropped), 5),
    ];
    for (ask, said) in asks {
        let limits = Limits { idle: Some(MINUTE), last_word: 100, ..patient() };
        let mut world = calm(Polite::asking(ask), limits);
        let client = world.play(Script::new().send("hello\n"));
        run(&mut world);
        assert_eq!(why(&world, client), "TimedOut(Idle)");
        assert_eq!(world.client(client).received().len(), "hello\n".len() + said);
        assert_eq!(world.reactor().stats().overflowed, 0);
    }
}

#[test]
fn a_last_word_goes_behind_a_queue_that_is_full() {
    let marks = Limits { low_mark: 100, high_mark: 99_000, hard_mark: 100_000, ..patient() };
    let mut world = calm(Polite::new(), Limits { idle: Some(MINUTE), ..marks });
    // It reads only after the deadline.
    let script = Script::new().read(Pace::Never).send("fill\n").after(MINUTE + MINUTE / 2).read(Pace::AtOnce);
    let client = world.play(script);
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
    let received = world.client(client).received();
    assert!(received.len() > 90_000 && received.ends_with(b"xidle\n"), "{} bytes", received.len());
}

fn ends_with_a_word(world: &World<Polite, false>, client: ClientId, seed: u64) {
    let seen = world.client(client);
    // On a slow network the first line may be what takes too long.
    let whole = if seen.received().starts_with(b"h") { &b"hello\nframe\n"[..] } else { b"frame\n" };
    assert!(whole.starts_with(seen.received()), "seed {seed}: {:?}", seen.received());
    if seen.saw_fin().is_some() {
        assert_eq!(seen.received(), whole, "seed {seed}");
    }
}

#[test]
fn a_last_word_is_whole_or_its_peer_is_reset_whatever_the_network_does() {
    for seed in 0..300 {
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        let limits = Limits { frame: Some(MINUTE), ..patient() };
        let mut world = World::<_, false>::new(seed, conditions, Polite::new(), limits).expect("good limits");
        let clients: Vec<_> = (0..4).map(|_| world.play(Script::new().send("hello\nhalf a li"))).collect();
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        clients.into_iter().for_each(|client| ends_with_a_word(&world, client, seed));
    }
}
