//! Replaying recordings of the simulated network and of real sockets: nothing diverges
//! that does the same, and what does something else is found.

use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Script, SimDriver};
use serve_forever::record::{Dump, Payloads, RecordOptions, Recorder};
use serve_forever::services::{Echo, Upper};
use serve_forever::sim::commands::Commands;
use serve_forever::sim::subject::{self, Chat, Hesitant, Hub, Layered, Once, Timed};
use serve_forever::sim::{
    Expected, Plan, Replay, ReplayError, Replayed, Shrinking, Subject, Unshrunk, replay_plan,
};
use serve_forever::{BoxError, Config, Endpoint, Handle, Io, Limits, Origin, Reactor, StreamHandler};

/// Records and replays these seeds, and fails with what diverged.
#[track_caller]
fn replay<S: Subject>(subject: &S, seeds: std::ops::Range<u64>) {
    let (mut calls, mut events) = (0, 0);
    for seed in seeds {
        match replay_plan(subject, &Plan::new(seed)) {
            Ok(replayed) => {
                calls += replayed.replayed.calls;
                events += replayed.stats.events;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(calls > 1000 && events > 100, "{calls} calls, {events} events");
}

#[test]
fn an_echo_is_replayed_to_the_last_byte() {
    replay(&subject::Echo, 0..150);
    replay(&subject::Upper, 1000..1050);
    replay(&Once, 2000..2050);
}

#[test]
fn services_that_cross_connections_and_set_timers_are_replayed() {
    replay(&Hub, 3000..3100);
    replay(&Timed, 4000..4100);
    replay(&Hesitant, 5000..5050);
    replay(&Chat::default(), 6000..6050);
}

#[test]
fn connections_with_layers_are_replayed() {
    replay(&Layered(subject::Echo), 7000..7050);
    replay(&Layered(Hub), 8000..8050);
}

#[test]
fn child_processes_are_replayed() {
    replay(&Commands, 9000..9050);
}

#[cfg(feature = "upload")]
#[test]
fn uploads_are_replayed() {
    replay(&serve_forever::sim::uploads::Upload, 10_000..10_030);
}

fn at() -> Endpoint {
    "127.0.0.1:7".parse().expect("an endpoint")
}

fn options(payloads: Payloads) -> RecordOptions {
    RecordOptions { payloads, ..RecordOptions::default() }
}

/// Records a handler to which clients send these scripts.
fn record<H: StreamHandler>(handler: H, options: RecordOptions, scripts: Vec<Script>) -> Dump {
    let driver = SimDriver::<true>::new(1, Conditions::calm());
    let driver = Recorder::new(driver, options).expect("good options");
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a reactor");
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    reactor.listen(&service, &at()).expect("a network");
    let clients: Vec<_> = scripts
        .into_iter()
        .map(|script| reactor.driver_mut().inner_mut().net_mut().play(&at(), script))
        .collect();
    let has_ended = |reactor: &Reactor<Recorder<SimDriver<true>>>, client| {
        reactor.driver().inner().net().client(client).has_ended()
    };
    while !clients.iter().all(|client| has_ended(&reactor, *client)) {
        reactor.turn(None).expect("it runs");
    }
    reactor.driver_mut().dump()
}

/// Replays a dump into a handler that listens as the recorded one.
fn replay_into<H: StreamHandler>(dump: Dump, handler: H) -> Result<Replayed, ReplayError> {
    let mut reactor = Reactor::with_driver(Replay::<true>::new(dump)?, Config::default()).expect("a reactor");
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    reactor.listen(&service, &at()).expect("as recorded");
    Replay::run(&mut reactor)
}

#[test]
fn a_handler_that_answers_otherwise_diverges_and_both_sides_are_named() {
    let script = Script::new().send("hello").finish();
    let dump = record(Upper::new(), options(Payloads::Kept), vec![script]);
    let Err(ReplayError::Diverged(divergence)) = replay_into(dump, Echo::new()) else { panic!("it has") };
    assert!(divergence.turn >= 2, "{divergence}");
    assert!(divergence.recorded.starts_with("write #2, 5 bytes: took 5 bytes"), "{divergence}");
    assert!(divergence.replayed.contains("5 bytes \"hello\""), "{divergence}");
    assert_eq!(divergence.lost_calls, 0);
    let text = divergence.to_string();
    assert!(text.starts_with(&format!("turn {}, after ", divergence.turn)), "{text}");
}

#[test]
fn a_set_up_that_is_another_diverges_before_the_first_turn() {
    let dump = record(Echo::new(), options(Payloads::Kept), vec![Script::new().finish()]);
    let mut reactor = Reactor::with_driver(Replay::<true>::new(dump).expect("whole"), Config::default())
        .expect("a reactor");
    let service = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    reactor.listen(&service, &"127.0.0.1:8".parse().expect("an endpoint")).expect_err("another port");
    let Err(ReplayError::Diverged(divergence)) = Replay::run(&mut reactor) else { panic!("it has") };
    assert_eq!(divergence.turn, 0);
    assert!(divergence.recorded.contains("tcp://127.0.0.1:7 as"), "{divergence}");
    assert!(divergence.replayed.contains("tcp://127.0.0.1:8 as"), "{divergence}");
}

#[test]
fn hashes_cannot_be_replayed_nor_shrunk_and_hold_no_byte_of_a_client() {
    let dump = record(Echo::new(), options(Payloads::Hashed), vec![Script::new().send("secret").finish()]);
    let mut file = Vec::new();
    dump.write_to(&mut file).expect("memory");
    assert!(!file.windows(6).any(|part| part == b"secret"));
    assert_eq!(dump.payloads(), Some(Payloads::Hashed));
    assert_eq!(Replay::<true>::new(dump.clone()).expect_err("no bytes"), ReplayError::NoPayloads);
    let shrunk = Shrinking::new(Echo::new, Expected::AsUncut).shrink(&dump);
    assert_eq!(shrunk.expect_err("no bytes"), Unshrunk::NoPayloads);
    let conversations = dump.conversations();
    assert_eq!(conversations.len(), 1);
    assert_eq!((conversations[0].received, conversations[0].written), (6, 6));
    assert_eq!(conversations[0].pieces, None);
}

#[test]
fn the_other_kind_of_driver_is_refused() {
    let dump = record(Echo::new(), options(Payloads::Kept), vec![Script::new().finish()]);
    let error = Replay::<false>::new(dump).expect_err("it was true");
    assert_eq!(error, ReplayError::OtherDriver { short_means_blocked: true });
    assert!(error.to_string().contains("Replay::<true>"), "{error}");
}

/// Answers each line, but forgets what stands behind the last one.
struct Forgetful;

impl StreamHandler for Forgetful {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            if line.starts_with(b"panic") {
                panic!("as it was told");
            }
            io.reply(&line);
        }
        input.clear();
        Ok(())
    }
}

/// Lines in pieces that end with them, all but one.
fn lines(count: usize, cut: bool) -> Script {
    let text: String = (0..count).map(|line| format!("line {line}\n")).collect();
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let script = Script::new().send(text);
    if cut { script.cut_at(ends).cut_at([100]).finish() } else { script.cut_at(ends).finish() }
}

#[test]
fn a_ring_that_has_lost_its_beginning_still_gives_a_test() {
    let small = RecordOptions { bytes: 64 << 10, ..options(Payloads::Kept) };
    let mut scripts: Vec<_> =
        (0..20).map(|place| lines(200, false).starting_after(Duration::from_secs(10 * place))).collect();
    scripts.push(lines(50, true).starting_after(Duration::from_secs(1000)));
    let dump = record(Forgetful, small, scripts);
    assert!(!dump.has_beginning() && dump.lost_segments() > 0);
    let error = Replay::<true>::new(dump.clone()).expect_err("it is lost");
    assert!(matches!(error, ReplayError::NoBeginning { .. }), "{error}");
    // The clients of the beginning are gone, and the last one is whole.
    let conversations = dump.conversations();
    assert!(conversations.len() < 20, "{}", conversations.len());
    let shrunk = Shrinking::new(|| Forgetful, Expected::AsUncut).shrink(&dump).expect("the last one fails");
    assert_eq!((shrunk.sent(), shrunk.cuts()), (b"a\n".to_vec(), vec![1]));
    assert_eq!(shrunk.answer(), Some(&b"a\n"[..]));
}

#[test]
fn what_does_not_fail_alone_is_not_shrunk() {
    let dump = record(Echo::new(), options(Payloads::Kept), vec![lines(5, true), lines(5, false)]);
    let error = Shrinking::new(Echo::new, Expected::AsUncut).shrink(&dump).expect_err("an echo is right");
    assert_eq!(error, Unshrunk::NothingFails { clients: 2 });
    assert!(error.to_string().contains("none of the 2 clients"), "{error}");
}

#[test]
fn a_panic_is_shrunk_to_the_line_that_causes_it() {
    let script = Script::new().send("one\ntwo\npanic now\nthree\n").cut_at([4, 10, 20]).finish();
    let dump = record(Forgetful, options(Payloads::Kept), vec![lines(3, false), script]);
    assert_eq!(dump.incidents().count(), 0, "the cut line was forgotten");
    let script = Script::new().send("one\ntwo\npanic now\nthree\n").cut_at([4]).finish();
    let dump = record(Forgetful, options(Payloads::Kept), vec![lines(3, false), script]);
    assert_eq!(dump.incidents().count(), 1);
    let shrunk = Shrinking::new(|| Forgetful, Expected::NoFailure).shrink(&dump).expect("it panics alone");
    assert_eq!((shrunk.sent(), shrunk.cuts()), (b"panic\n".to_vec(), vec![]));
    let test = shrunk.to_test("it_does_not_panic", "Forgetful", "Limits::default()");
    assert_eq!(
        test,
        r#"#[test]
fn it_does_not_panic() {
    let script = Script::new().send("panic\n").finish();
    let mut world = World::<_, true>::new(0, Conditions::calm(), Forgetful, Limits::default())
        .expect("good limits");
    let client = world.play(script);
    world.run().expect("the reactor keeps its promises");
    assert_eq!(world.client(client).and_then(|life| life.closed()), Some("Finished"));
}
"#
        .replace("world.client(client).and", "world.life(client).and")
    );
}

#[test]
fn an_expected_answer_is_held_against_the_bytes_that_are_left() {
    let dump = record(Upper::new(), options(Payloads::Kept), vec![Script::new().send("some text").finish()]);
    // An upper that is wrong about one letter.
    let right = |sent: &[u8]| {
        sent.to_ascii_uppercase().iter().map(|byte| if *byte == b'X' { b'x' } else { *byte }).collect()
    };
    let shrinking = Shrinking::new(Upper::new, Expected::Answer(Box::new(right))).limits(Upper::limits());
    let shrunk = shrinking.shrink(&dump).expect("it fails");
    assert_eq!((shrunk.sent(), shrunk.answer()), (b"x".to_vec(), Some(&b"x"[..])));
}

/// Writes the number of each call of a handle to whoever is there.
#[derive(Default)]
struct Called {
    calls: u64,
    group: Option<serve_forever::GroupId>,
}

impl StreamHandler for Called {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        let group = match self.group {
            Some(group) => group,
            None => io.group()?,
        };
        self.group = Some(group);
        io.join(group, io.id())?;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }
}

/// A call that a handle makes.
fn announce(called: &mut Called, io: &mut Io<'_>) {
    called.calls += 1;
    if let Some(group) = called.group {
        io.broadcast(group, &format!("call {}\n", called.calls).into(), None);
    }
}

#[test]
fn calls_of_handles_are_reported_and_the_program_can_make_them_again() {
    let driver = SimDriver::<true>::new(1, Conditions::calm());
    let driver = Recorder::new(driver, options(Payloads::Kept)).expect("good options");
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a reactor");
    let service = reactor.add(Called::default(), Limits::default()).expect("good limits");
    reactor.listen(&service, &at()).expect("a network");
    let client = reactor.driver_mut().inner_mut().net_mut().play(&at(), Script::new().send("hello"));
    let handle = reactor.handle(&service);
    let second = Some(Duration::from_secs(1));
    while reactor.stats().accepted == 0 {
        reactor.turn(second).expect("it runs");
    }
    for _ in 0..3 {
        handle.call(announce).expect("there is room");
        reactor.turn(second).expect("it runs");
        reactor.turn(second).expect("it runs");
    }
    handle.shutdown(Duration::from_secs(5));
    while !reactor.turn(None).expect("it runs").finished {}
    assert_eq!(reactor.driver().inner().net().client(client).received(), b"call 1\ncall 2\ncall 3\n");
    let dump = reactor.driver_mut().dump();

    // Without the calls nothing is written, and the divergence says why that may be.
    let error = replay_into(dump.clone(), Called::default()).expect_err("nobody calls");
    let ReplayError::Diverged(divergence) = error else { panic!("{error}") };
    assert_eq!(divergence.lost_calls, 1);
    assert!(divergence.to_string().contains("1 calls of other threads were not replayed"), "{divergence}");

    // With them it is the same run.
    let replay = Replay::<true>::new(dump).expect("whole");
    let mut again = Reactor::with_driver(replay, Config::default()).expect("a reactor");
    let service = again.add(Called::default(), Limits::default()).expect("good limits");
    again.listen(&service, &at()).expect("as recorded");
    let handle: Handle<Called> = again.handle(&service);
    again.driver_mut().on_calls(move |count, shutdown| {
        (0..count).for_each(|_| handle.call(announce).expect("there is room"));
        if let Some(deadline) = shutdown {
            handle.shutdown(deadline);
        }
    });
    let replayed = Replay::run(&mut again).expect("the same run");
    assert_eq!(replayed.lost_calls, 0);
    assert_eq!(again.get(&service).calls, 3);
}

#[test]
fn what_the_program_does_between_turns_it_has_to_do_again() {
    let driver = SimDriver::<true>::new(1, Conditions::calm());
    let driver = Recorder::new(driver, options(Payloads::Kept)).expect("good options");
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a reactor");
    let service = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    let now = Some(Duration::ZERO);
    reactor.turn(now).expect("it runs");
    // How long it may sleep is asked now and then, and makes no difference.
    for _ in 0..10 {
        let _ = reactor.next_timeout();
    }
    reactor.turn(now).expect("it runs");
    reactor.listen(&service, &at()).expect("a network");
    reactor.turn(now).expect("it runs");
    let dump = reactor.driver_mut().dump();

    let replay = Replay::<true>::new(dump).expect("whole");
    let mut again = Reactor::with_driver(replay, Config::default()).expect("a reactor");
    let service = again.add(Echo::new(), Limits::default()).expect("good limits");
    let error = Replay::run(&mut again).expect_err("it has to listen");
    let ReplayError::Program { turn: 2, call } = &error else { panic!("{error}") };
    assert!(call.starts_with("listen on tcp://127.0.0.1:7 as"), "{call}");
    again.listen(&service, &at()).expect("as recorded");
    assert_eq!(Replay::run(&mut again).expect("the rest").turns, 3);
}

/// Over sockets of the system: an echo, datagrams, a child, a connection to the echo, a
/// part of a file, and a socket that the program has made.
mod system {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use serve_forever::driver::{Adopt, Driver, MioDriver};
    use serve_forever::process::{Command, Exit};
    use serve_forever::{AfterEof, ChildId, ConnId, SocketId};

    use super::*;
    use crate::util::{Client, DatagramClient};

    /// Does what lines say: runs a program, sends a file, connects; its answers go to
    /// who has asked first.
    struct Errands {
        file: File,
        echo: Endpoint,
        client: Option<ConnId>,
    }

    /// What a connection is.
    #[derive(PartialEq)]
    enum Kind {
        Client,
        /// A pipe of a child, or a connection of ours.
        Source,
    }

    impl StreamHandler for Errands {
        type Session = Kind;

        fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Kind, BoxError> {
            match origin {
                Origin::Accepted { .. } | Origin::Adopted { .. } => {
                    let id = io.id();
                    self.client.get_or_insert(id);
                    Ok(Kind::Client)
                }
                Origin::Connected { .. } => {
                    io.reply(b"from afar\n");
                    Ok(Kind::Source)
                }
                _ => Ok(Kind::Source),
            }
        }

        fn data(&mut self, io: &mut Io<'_>, kind: &mut Kind, input: &mut BytesMut) -> Result<(), BoxError> {
            let Some(client) = self.client else {
                return Err("nobody has asked for anything".into());
            };
            if *kind == Kind::Source {
                let _ = io.send(client, input.split().freeze());
                return Ok(());
            }
            match &input.split()[..] {
                b"run" => drop(io.spawn(Command::new("echo").arg("from a child"), 0)?),
                b"file" => drop(io.send_file(client, self.file.try_clone()?, 3..9)?),
                b"connect" => drop(io.connect(&self.echo, 0)?),
                b"fail" => drop(io.spawn(Command::new("/no/such/program"), 0)?),
                _ => {}
            }
            Ok(())
        }

        fn eof(&mut self, _: &mut Io<'_>, _: &mut Kind, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
            Ok(AfterEof::Finish)
        }

        fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, _: u64, exit: &Exit) {
            if let Some(client) = self.client {
                let _ = io.send(client, format!("exit {:?}\n", exit.status.and_then(|status| status.code())));
            }
        }

        fn spawn_failed(&mut self, io: &mut Io<'_>, _: ChildId, _: u64, error: &std::io::Error) {
            if let Some(client) = self.client {
                let _ = io.send(client, format!("{:?}\n", error.kind()));
            }
        }
    }

    /// Where everything is.
    struct Places {
        echo: Endpoint,
        errands: Endpoint,
        datagrams: SocketId,
    }

    /// Makes the same services in a recorded reactor and in a replay.
    fn serve<D: Adopt>(reactor: &mut Reactor<D>, file: &File, adopted: OwnedFd) -> Places {
        let anywhere: Endpoint = "127.0.0.1:0".parse().expect("an endpoint");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let listener = reactor.listen(&echo, &anywhere).expect("a free port");
        let datagrams =
            reactor.bind(&echo, &"udp://127.0.0.1:0".parse().expect("an endpoint")).expect("a free port");
        let echo_at = reactor.local(listener).expect("it listens").clone();
        let file = file.try_clone().expect("a descriptor is free");
        let errands = Errands { file, echo: echo_at.clone(), client: None };
        let errands = reactor.add(errands, Limits::default()).expect("good limits");
        let listener = reactor.listen(&errands, &anywhere).expect("a free port");
        reactor.adopt(&errands, adopted).expect("a connected socket");
        let errands = reactor.local(listener).expect("it listens").clone();
        Places { echo: echo_at, errands, datagrams }
    }

    #[test]
    fn sockets_datagrams_children_and_files_are_replayed() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("there is room");
        let config = || Config { slow_callback: None, ..Config::default() };
        let driver = MioDriver::new(config().events_per_turn).expect("a descriptor is free");
        let driver = Recorder::new(driver, options(Payloads::Kept)).expect("good options");
        let mut reactor = Reactor::with_driver(driver, config()).expect("a reactor");
        let (adopted, theirs) = UnixStream::pair().expect("a pair");
        let places = serve(&mut reactor, &file, theirs.into());
        let datagrams = reactor.local(places.datagrams).expect("it is bound").clone();

        let talk = std::thread::spawn(move || {
            let echo = Client::connect(&places.echo);
            echo.send("hello");
            echo.expect("hello");
            let datagram = DatagramClient::connect(&datagrams, None);
            datagram.send("a datagram");
            datagram.expect("a datagram");
            let errands = Client::connect(&places.errands);
            let adopted = Client(adopted.into());
            for (errand, answer) in [
                ("run", "from a child\nexit Some(0)\n"),
                ("file", "345678"),
                ("connect", "from afar\n"),
                ("fail", "NotFound\n"),
            ] {
                errands.send(errand);
                adopted.expect(answer);
            }
            drop((echo, errands));
        });
        while !(talk.is_finished() && reactor.connections() <= 2) {
            reactor.turn(Some(Duration::from_millis(20))).expect("it runs");
        }
        talk.join().expect("no panic");
        reactor.shutdown(Duration::from_secs(1));
        while !reactor.turn(None).expect("it runs").finished {}
        let dump = reactor.driver_mut().dump();
        let stats = reactor.stats();
        drop(reactor);

        let replay = Replay::<{ MioDriver::SHORT_MEANS_BLOCKED }>::new(dump).expect("whole");
        let mut again = Reactor::with_driver(replay, config()).expect("a reactor");
        let (_, theirs) = UnixStream::pair().expect("a pair");
        serve(&mut again, &file, theirs.into());
        let replayed = Replay::run(&mut again).unwrap_or_else(|error| panic!("{error}"));
        let counts = |mut stats: serve_forever::Stats| {
            stats.system = Default::default();
            stats
        };
        assert_eq!(counts(again.stats()), counts(stats));
        assert!(replayed.turns > 10 && replayed.lost_calls == 0, "{replayed:?}");
    }
}
