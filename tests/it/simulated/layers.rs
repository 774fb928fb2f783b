//! Layers: a toy cipher between the socket and the handler, cut everywhere.

use std::time::Duration;

use serve_forever::driver::sim::{Act, ClientId, Conditions, Pace, Script};
use serve_forever::services::Echo;
use serve_forever::sim::{Toy, World};
use serve_forever::{Config, Io, Layer, LayerFactory, Limits, ListenOptions, StreamHandler};

use super::handlers::{Call, Scripted, noise, patient, run, why};

const SECOND: Duration = Duration::from_secs(1);

fn layered() -> ListenOptions {
    ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() }
}

fn through() -> Script {
    Script::new().through(Toy::clients())
}

/// A world whose connections have the toy layer.
fn world<H: StreamHandler, const SHORT: bool>(
    conditions: Conditions,
    handler: H,
    limits: Limits,
) -> World<H, SHORT> {
    World::listening(1, conditions, handler, limits, Config::default(), &layered()).expect("good limits")
}

/// Runs one client of an echo, which must get back what it sends, and an end.
#[track_caller]
fn echoes<const SHORT: bool>(conditions: Conditions, script: Script) -> World<Echo, SHORT> {
    let mut world = world::<_, SHORT>(conditions, Echo::new(), Limits { linger: SECOND, ..patient() });
    let client = world.play(script.finish());
    run(&mut world);
    let seen = world.client(client);
    assert_eq!(seen.received(), seen.sent());
    assert_eq!((seen.layer_error(), seen.saw_layer_end(), seen.has_reset()), (None, true, false));
    assert_eq!(why(&world, client), "Finished");
    world
}

/// The bytes that such a client sends in all.
fn wire_length(script: Script) -> usize {
    let mut world = world::<_, true>(Conditions::calm(), Echo::new(), patient());
    let client = world.play(script.finish());
    run(&mut world);
    world.client(client).handed_over()
}

#[test]
fn what_is_cut_anywhere_once_or_twice_comes_whole() {
    let script = || through().send("hello").after(SECOND).send("again");
    let length = wire_length(script());
    for first in 1..length {
        echoes::<true>(Conditions::calm(), script().cut_at([first]));
        echoes::<false>(Conditions::calm(), script().cut_at([first]));
        for second in first + 1..length {
            echoes::<true>(Conditions::calm(), script().cut_at([first, second]));
        }
    }
}

/// The server's bytes are cut by the room that the client leaves.
#[test]
fn what_is_taken_a_few_bytes_at_a_time_comes_whole() {
    for buffer in 1..40 {
        let conditions = Conditions { buffer, ..Conditions::calm() };
        echoes::<true>(conditions.clone(), through().send(noise(300)));
        echoes::<false>(conditions.clone(), through().send(noise(300)));
        let slow = Pace::Slowly { bytes: 1, every: Duration::from_millis(1) };
        echoes::<true>(conditions, through().read(slow).send(noise(300)));
    }
}

#[test]
fn a_reset_at_each_step_ends_it_and_leaves_nothing() {
    let script = || through().send("hello").after(Duration::from_millis(5)).send(noise(1000));
    for step in 0..200 {
        let mut world = world::<_, true>(Conditions::calm(), Echo::new(), patient());
        let client = world.play(script());
        world.net_mut().later(Duration::from_micros(100) * step, client, Act::Reset);
        run(&mut world);
        let mut world = self::world::<_, false>(Conditions::calm(), Echo::new(), Limits::default());
        let client = world.play(script());
        world.net_mut().later(Duration::from_micros(100) * step, client, Act::Vanish);
        run(&mut world);
    }
}

#[test]
fn a_large_stream_is_more_than_any_share_and_comes_whole() {
    let limits = Limits { read_budget: 100, low_mark: 1000, high_mark: 3000, ..patient() };
    for buffer in [1, 50, 1000, 100_000] {
        let config = Config { layer_buffer: buffer, ..Config::default() };
        let mut world = World::<_, true>::listening(
            1,
            Conditions::calm(),
            Echo::new(),
            limits.clone(),
            config,
            &layered(),
        )
        .expect("good limits");
        let client = world.play(through().send(noise(20_000)).finish());
        run(&mut world);
        let seen = world.client(client);
        assert!(seen.received() == seen.sent() && seen.saw_layer_end(), "buffer {buffer}");
    }
}

#[test]
fn an_echo_to_a_slow_reader_stops_reading_and_loses_nothing() {
    let mut world = world::<_, true>(Conditions::calm(), Echo::new(), patient());
    let script = through().after(SECOND).read(Pace::Never).send(noise(4 << 20)).finish();
    let client = world.play(script.after(30 * SECOND).read(Pace::AtOnce));
    world.run_for(20 * SECOND).expect("it keeps its promises");
    let taken = world.net().moved().0;
    assert!(taken < 800 << 10, "{taken} bytes are read and not sent on");
    run(&mut world);
    assert!(world.client(client).received() == world.client(client).sent(), "nothing is lost");
    assert!(world.client(client).saw_layer_end());
}

#[test]
fn a_peer_that_takes_nothing_has_stalled_though_the_layer_holds_all_of_it() {
    let limits = Limits { write_stall: Some(5 * SECOND), ..patient() };
    let conditions = Conditions { buffer: 100, ..Conditions::calm() };
    let mut world = world::<_, true>(conditions, Echo::new(), limits);
    let client = world.play(through().after(SECOND).read(Pace::Never).send(noise(200)));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(WriteStall)");
    assert!(!world.client(client).saw_layer_end(), "a part is not taken for the whole");
}

// docs/guarantees.md, 77.
#[test]
fn a_fin_without_the_layers_end_is_an_error_and_no_eof() {
    let mut world = world::<_, true>(Conditions::calm(), Echo::new(), patient());
    // The FIN comes from below the layer, behind a whole record.
    let client = world.play(through().send("hello").after(SECOND));
    world.run_for(SECOND).expect("it keeps its promises");
    assert_eq!(world.client(client).received(), b"hello");
    world.net_mut().act(client, Act::CutOff);
    run(&mut world);
    let life = world.life(client).expect("it was opened");
    assert!(!life.saw_eof());
    let why = life.closed().expect("it was closed");
    assert!(why.starts_with("Io") && why.contains("its FIN came without the end"), "{why}");
}

// docs/guarantees.md, 76.
#[test]
fn a_fin_or_silence_in_the_handshake_opens_nothing() {
    let mut world = world::<_, true>(Conditions::calm(), Echo::new(), Limits::default());
    let raw = [
        world.play(Script::new().finish()),
        world.play(Script::new().send(&[1, 0][..]).finish()),
        world.play(Script::new().send(&[1, 0][..])),
        world.play(Script::new()),
        world.play(Script::new().send("GET / HTTP/1.1\r\n\r\n")),
    ];
    run(&mut world);
    assert_eq!(world.lives().len(), 0, "no session was opened");
    let took = world.elapsed();
    assert!(took >= 10 * SECOND && took < 20 * SECOND, "Limits::handshake: {took:?}");
    let stats = world.reactor().stats();
    assert_eq!((stats.handshakes, stats.handshake_failures), (0, raw.len() as u64));
    assert!(world.client(raw[4]).received().starts_with(&[4]), "an alert says so");
}

#[test]
fn handshakes_under_way_are_bounded_and_the_others_wait_for_their_turn() {
    let config = Config { max_handshakes: 3, handshakes_per_turn: 1, ..Config::default() };
    let limits = Limits { handshake: Some(5 * SECOND), ..patient() };
    let mut world =
        World::<_, true>::listening(1, Conditions::calm(), Echo::new(), limits, config, &layered())
            .expect("good limits");
    let silent: Vec<ClientId> = (0..3).map(|_| world.play(Script::new())).collect();
    world.run_for(SECOND).expect("it keeps its promises");
    let talkers: Vec<ClientId> = (0..20).map(|_| world.play(through().send("hello").finish())).collect();
    world.run_for(2 * SECOND).expect("it keeps its promises");
    assert_eq!(world.lives().len(), 0, "three handshakes are under way");
    run(&mut world);
    for client in talkers {
        assert_eq!(world.client(client).received(), b"hello");
    }
    assert!(silent.iter().all(|client| world.client(*client).received().is_empty()));
}

#[test]
fn the_handler_ends_its_side_first_and_still_reads() {
    let handler = Scripted::new(|io, call| {
        if let Call::Open = call {
            let _ = io.write(b"goodbye\n");
            io.finish(io.id());
        }
        Ok(())
    });
    let mut world = world::<_, false>(Conditions::calm(), handler, patient());
    let client =
        world.play(through().then(Act::StayAfterFin).after(SECOND).send("one\ntwo\n").after(SECOND).finish());
    run(&mut world);
    let seen = world.client(client);
    assert_eq!((seen.received(), seen.saw_layer_end()), (&b"goodbye\n"[..], true));
    assert_eq!(world.life(client).map(|life| life.input()), Some(&b"one\ntwo\n"[..]));
    assert_eq!(why(&world, client), "Finished");
}

#[test]
fn a_close_writes_what_is_queued_and_then_the_layers_end() {
    for buffer in [7, 100, 10_000] {
        let handler = Scripted::new(|io, call| {
            if let Call::Line(_) = call {
                let _ = io.write(&noise(5000));
                io.close(io.id());
            }
            Ok(())
        });
        let conditions = Conditions { buffer, ..Conditions::calm() };
        let mut world = world::<_, true>(conditions, handler, patient());
        // It goes on sending, which nobody reads.
        let client = world.play(through().send("now\n").send(noise(3000)));
        run(&mut world);
        let seen = world.client(client);
        assert!(seen.received() == noise(5000) && seen.saw_layer_end(), "buffer {buffer}");
        assert_eq!(why(&world, client), "Closed");
    }
}

#[test]
fn a_pause_keeps_what_the_layer_holds_and_a_resume_finds_it() {
    let handler = Scripted::new(|io, call| {
        match call {
            Call::Line(line) => {
                io.reply(line);
                io.pause(io.id());
                io.after(SECOND)?;
            }
            Call::Timer(_) => io.resume(io.id()),
            _ => {}
        }
        Ok(())
    });
    // All lines come in one read, and the budget takes them apart.
    let limits = Limits { read_budget: 6, ..patient() };
    let mut world = world::<_, true>(Conditions::calm(), handler, limits);
    let client = world.play(through().send("line1\n".repeat(50)).finish());
    run(&mut world);
    assert_eq!(world.client(client).received(), "line1\n".repeat(50).as_bytes());
    assert!(world.elapsed() >= 49 * SECOND);
}

/// Neither an event nor a FIN tells of plaintext that the layer holds back.
#[test]
fn what_a_budget_leaves_with_the_layer_is_read_in_the_next_turns() {
    for read_budget in [1, 6, 100, 399, 400] {
        let limits = Limits { read_budget, ..patient() };
        let mut world = world::<_, true>(Conditions::calm(), Echo::new(), limits);
        let client = world.play(through().send(noise(3000)).after(100 * SECOND).finish());
        world.run_for(SECOND).expect("it keeps its promises");
        assert!(world.client(client).received() == noise(3000), "budget {read_budget}");
        run(&mut world);
    }
}

#[test]
fn a_broadcast_goes_through_every_layer() {
    let mut everybody = None;
    let handler = Scripted::new(move |io, call| {
        match call {
            Call::Open => {
                let group = match everybody {
                    Some(group) => group,
                    None => *everybody.insert(io.group()?),
                };
                io.join(group, io.id())?;
            }
            Call::Line(line) => {
                io.broadcast(everybody.expect("there is a member"), &line.to_vec().into(), None);
            }
            _ => {}
        }
        Ok(())
    });
    let mut world = world::<_, true>(Conditions::calm(), handler, patient());
    let listeners: Vec<ClientId> =
        (0..20).map(|_| world.play(through().after(5 * SECOND).finish())).collect();
    let lines = "a line\n".repeat(30);
    world.play(through().after(SECOND).send(lines.clone()).after(5 * SECOND).finish());
    run(&mut world);
    for client in listeners {
        assert_eq!(world.client(client).received(), lines.as_bytes());
        assert!(world.client(client).saw_layer_end());
    }
}

#[test]
fn a_shutdown_ends_quiet_connections_in_the_layers_way_and_drops_silent_handshakes() {
    let mut world = world::<_, true>(Conditions::calm(), Echo::new(), Limits::default());
    let quiet = world.play(through().send("hello"));
    let silent = world.play(Script::new());
    world.run_for(SECOND).expect("it keeps its promises");
    world.reactor().shutdown(9 * SECOND);
    while !world.turn(None).expect("it keeps its promises").finished {}
    let took = world.elapsed();
    assert!(took < 2 * SECOND, "nobody holds it up: {took:?}");
    world.net_mut().settle();
    assert_eq!((world.client(quiet).received(), world.client(quiet).saw_layer_end()), (&b"hello"[..], true));
    assert_eq!(why(&world, quiet), "Shutdown");
    assert!(world.client(silent).has_ended());
}

/// A dialogue like SMTP's: a greeting, STARTTLS, and lines.
fn starter() -> Scripted {
    Scripted::new(|io: &mut Io<'_>, call| {
        match call {
            Call::Open => io.reply(b"ready\n"),
            Call::Line(b"starttls\n") => {
                io.reply(b"go ahead\n");
                assert!(io.start_layer(io.id(), Box::new(Toy::server(7))));
                assert!(!io.start_layer(io.id(), Box::new(Toy::server(8))), "one is enough");
                // Behind the handshake.
                io.reply(b"welcome to the other side\n");
            }
            Call::Line(line) => io.reply(line),
            _ => {}
        }
        Ok(())
    })
}

fn starting(cuts: &[usize]) -> Script {
    let script = Script::new().send("hello\n").send("starttls\n").after(SECOND);
    script.start_layer(Toy::clients()).send("secret\n").finish().cut_at(cuts.iter().copied())
}

#[test]
fn a_layer_begins_on_an_open_connection_behind_what_was_written_before() {
    let expected: &[u8] = b"ready\nhello\ngo ahead\nwelcome to the other side\nsecret\n";
    for cut in 1..60 {
        for buffer in [1, 5, 10_000] {
            let conditions = Conditions { buffer, ..Conditions::calm() };
            let mut world = World::<_, true>::new(1, conditions, starter(), patient()).expect("good limits");
            let client = world.play(starting(&[cut]));
            run(&mut world);
            let seen = world.client(client);
            assert_eq!(String::from_utf8_lossy(seen.received()), String::from_utf8_lossy(expected));
            assert!(seen.saw_layer_end(), "cut {cut}, buffer {buffer}");
        }
    }
}

// docs/guarantees.md, 78.
#[test]
fn cleartext_before_the_handshake_ends_the_connection() {
    // In the same read, and taken by nobody.
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            assert_eq!(line, b"starttls\n");
            io.start_layer(io.id(), Box::new(Toy::server(7)));
        }
        Ok(())
    });
    let mut world = World::<_, true>::new(1, Conditions::calm(), handler, patient()).expect("good limits");
    let client = world.play(Script::new().send("starttls\ninjected"));
    run(&mut world);
    let why = why(&world, client);
    assert!(why.starts_with("Io") && why.contains("8 bytes of cleartext"), "{why}");
    // Behind it, where the handshake should be.
    let mut world = World::<_, true>::new(1, Conditions::calm(), starter(), patient()).expect("good limits");
    let client = world.play(Script::new().send("starttls\n").after(SECOND).send("injected\n"));
    run(&mut world);
    let why = self::why(&world, client);
    assert!(why.starts_with("Io") && why.contains("this is no record"), "{why}");
    assert_eq!(world.life(client).map(|life| life.input()), Some(&b"starttls\n"[..]));
}

#[test]
fn a_handshake_on_an_open_connection_has_its_deadline() {
    let limits = Limits { handshake: Some(3 * SECOND), ..patient() };
    let mut world = World::<_, true>::new(1, Conditions::calm(), starter(), limits).expect("good limits");
    let client = world.play(Script::new().send("starttls\n"));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Handshake)");
    assert!(world.elapsed() < 4 * SECOND);
}

/// A reply beyond the marks pauses the connection until the peer takes it, which it
/// cannot before the handshake.
#[test]
fn a_reply_beyond_the_marks_behind_the_beginning_of_a_layer_waits_for_the_handshake() {
    let handler = Scripted::new(|io: &mut Io<'_>, call| {
        if let Call::Line(b"starttls\n") = call {
            assert!(io.start_layer(io.id(), Box::new(Toy::server(7))));
            io.reply(&noise(5000));
        } else if let Call::Line(line) = call {
            io.reply(line);
        }
        Ok(())
    });
    let limits = Limits { low_mark: 100, high_mark: 1000, ..patient() };
    let mut world = World::<_, true>::new(1, Conditions::calm(), handler, limits).expect("good limits");
    let script = Script::new().send("starttls\n").after(SECOND).start_layer(Toy::clients());
    let client = world.play(script.send("secret\n").finish());
    run(&mut world);
    assert!(world.client(client).received() == [&noise(5000)[..], b"secret\n"].concat());
    assert_eq!(why(&world, client), "Finished");
}

// docs/guarantees.md, 87.
#[test]
fn a_pause_within_a_handshake_holds_up_neither_it_nor_its_deadline() {
    let paused = || {
        Scripted::new(|io: &mut Io<'_>, call| {
            match call {
                Call::Line(b"starttls\n") => {
                    assert!(io.start_layer(io.id(), Box::new(Toy::server(7))));
                    io.pause(io.id());
                    io.every(2 * SECOND)?;
                }
                Call::Timer(_) => {
                    io.resume(io.id());
                    io.pause(io.id());
                }
                _ => {}
            }
            Ok(())
        })
    };
    let limits = Limits { handshake: Some(3 * SECOND), ..patient() };
    let mut world = World::<_, true>::new(1, Conditions::calm(), paused(), limits).expect("good limits");
    let client = world.play(Script::new().send("starttls\n"));
    let script = Script::new().send("starttls\n").after(SECOND).start_layer(Toy::clients());
    let shaken = world.play(script.after(9 * SECOND).reset());
    world.run_for(8 * SECOND).expect("it keeps its promises");
    assert_eq!(why(&world, client), "TimedOut(Handshake)");
    assert_eq!(world.reactor().stats().handshakes, 1);
    run(&mut world);
    assert!(why(&world, shaken).starts_with("Io"));
}

/// Answers every byte with a hundred, and never has any plaintext.
struct Chatterbox {
    wire: Vec<u8>,
    is_ready: bool,
}

impl Layer for Chatterbox {
    fn name(&self) -> &'static str {
        "Chatterbox"
    }

    fn receive(&mut self, wire: &[u8]) -> std::io::Result<usize> {
        self.is_ready = true;
        self.wire.resize(self.wire.len() + 100 * wire.len(), b'!');
        Ok(wire.len())
    }

    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn write(&mut self, plain: &[u8]) -> std::io::Result<usize> {
        Ok(plain.len())
    }

    fn take_wire(&mut self, into: &mut dyn std::io::Write) -> std::io::Result<()> {
        into.write_all(&std::mem::take(&mut self.wire))
    }

    fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

/// A world with a layer that is wrong in some way.
fn wrong(make: impl Fn() -> Box<dyn Layer> + Send + Sync + 'static, limits: Limits) -> World<Echo, true> {
    let layer = LayerFactory::new(move || Ok(make()));
    let options = ListenOptions { layer: Some(layer), ..ListenOptions::default() };
    let conditions = Conditions { buffer: 1000, ..Conditions::calm() };
    World::listening(1, conditions, Echo::new(), limits, Config::default(), &options).expect("good limits")
}

// docs/guarantees.md, 79.
#[test]
fn what_a_layer_answers_is_bounded_when_nobody_reads_it() {
    let chatterbox = || Box::new(Chatterbox { wire: Vec::new(), is_ready: false }) as Box<dyn Layer>;
    let mut world = wrong(chatterbox, patient());
    let client = world.play(Script::new().read(Pace::Never).send(noise(10_000)));
    run(&mut world);
    let closed = why(&world, client);
    assert!(closed.contains("provokes more output than it takes"), "{closed}");
    // Less than that stalls.
    let mut world = wrong(chatterbox, Limits { write_stall: Some(SECOND), ..patient() });
    let client = world.play(Script::new().read(Pace::Never).send(noise(100)));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(WriteStall)");
}

/// Panics in one of its methods.
struct Panics(&'static str, Toy);

impl Layer for Panics {
    fn name(&self) -> &'static str {
        "Panics"
    }

    fn receive(&mut self, wire: &[u8]) -> std::io::Result<usize> {
        assert_ne!(self.0, "receive");
        self.1.receive(wire)
    }

    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        assert_ne!(self.0, "read");
        self.1.read(into)
    }

    fn write(&mut self, plain: &[u8]) -> std::io::Result<usize> {
        assert_ne!(self.0, "write");
        self.1.write(plain)
    }

    fn take_wire(&mut self, into: &mut dyn std::io::Write) -> std::io::Result<()> {
        assert_ne!(self.0, "take_wire");
        self.1.take_wire(into)
    }

    fn is_ready(&self) -> bool {
        assert_ne!(self.0, "is_ready");
        self.1.is_ready()
    }

    fn has_ended(&self) -> bool {
        assert_ne!(self.0, "has_ended");
        self.1.has_ended()
    }

    fn finish(&mut self) {
        assert_ne!(self.0, "finish");
        self.1.finish();
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop");
    }
}

#[test]
fn a_layer_that_panics_ends_its_own_connection_alone() {
    for method in ["receive", "read", "write", "take_wire", "is_ready", "has_ended", "finish", "drop"] {
        let mut world = wrong(move || Box::new(Panics(method, Toy::server(1))), Limits::default());
        world.play(through().send("hello").finish());
        run(&mut world);
    }
}
