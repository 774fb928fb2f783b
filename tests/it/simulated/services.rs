//! The services whose protocols have no file of their own here: any bytes at
//! all, however they are cut, and the deadlines that they promise.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Rng, Script};
use serve_forever::services::{Echo, Framing, Once, Upper};
use serve_forever::sim::World;
use serve_forever::{Config, Limits, StreamHandler};

use super::handlers::{calm, noise, run, why};

const SECOND: Duration = Duration::from_secs(1);

// All clients are on Unix sockets: from elsewhere nobody has a command run.

/// What a service answers to bytes that come in segments of at most `most`.
fn answer<H: StreamHandler>(handler: H, limits: Limits, input: &[u8], seed: u64, most: usize) -> Vec<u8> {
    answer_prepared(handler, limits, input, seed, most, |_| ())
}

/// The same, with something done to the world first.
fn answer_prepared<H: StreamHandler>(
    handler: H,
    limits: Limits,
    input: &[u8],
    seed: u64,
    most: usize,
    prepare: impl FnOnce(&mut World<H, true>),
) -> Vec<u8> {
    let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
    let config = Config { read_buffer: most, ..Config::default() };
    let mut world = World::with_config(seed, conditions, handler, limits, config).expect("good limits");
    prepare(&mut world);
    let client = world.play_unix(Script::new().send(input.to_vec()).finish());
    run(&mut world);
    world.client(client).received().to_vec()
}

/// Bytes among which there are many of these pieces.
fn stream(rng: &mut Rng, pieces: &[&[u8]], len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        if rng.below(4) == 0 {
            bytes.extend(rng.draw().to_le_bytes());
        } else {
            bytes.extend_from_slice(pieces[rng.size(0, pieces.len() - 1)]);
        }
    }
    bytes
}

// docs/guarantees.md, 60.
#[test]
fn any_bytes_are_echoed_raised_and_answered_the_same_however_they_are_cut() {
    let mut rng = Rng::new(60);
    for round in 0..30 {
        let input = match round % 10 {
            0 => ["x".repeat(rng.size(65_530, 65_545)).into_bytes(), b"\r\nmore".to_vec()].concat(),
            1 => noise(rng.size(0, 2000)),
            _ => {
                let len = rng.size(0, 300);
                stream(&mut rng, &[b"\n", b"\r\n", b"\0", b"a", "ü".as_bytes(), b"\xff"], len)
            }
        };
        let most = 1 + input.len() / 500 + rng.size(0, 20);
        assert!(answer(Echo::new(), Echo::limits(), &input, round, most) == input);
        assert!(answer(Upper::new(), Upper::limits(), &input, round, most) == input.to_ascii_uppercase());
        let [cut, whole] =
            [most, 1 << 20].map(|most| answer(Once::new("yes"), Once::limits(), &input, round, most));
        assert_eq!(cut, whole, "round {round}");
        let first = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first = first.strip_suffix(b"\r").unwrap_or(first);
        let expected = match (input.len(), first.len()) {
            (0, _) => &b""[..],
            (_, ..=Framing::MAX_LINE) => b"yes\n",
            _ => b"! line too long\n",
        };
        assert_eq!(cut, expected, "round {round}");
    }
}

/// How long each of these is kept waiting, and why it is closed.
#[track_caller]
fn ends<H: StreamHandler>(handler: H, limits: Limits, scripts: [Script; 2]) -> [(Duration, String); 2] {
    let mut world = calm(handler, limits);
    let clients = scripts.map(|script| world.play_unix(script));
    run(&mut world);
    clients.map(|client| {
        let fin = world.client(client).saw_fin().expect("it ends in order");
        (Duration::from_secs(Duration::from_nanos(fin.as_nanos()).as_secs()), why(&world, client))
    })
}

/// It says nothing; or a byte each few seconds, and never a line end.
fn slow_ones() -> [Script; 2] {
    let drip = |script: Script, _| script.send("x").after(SECOND * 5);
    [Script::new(), (0..100).fold(Script::new(), drip)]
}

#[test]
fn a_request_has_thirty_seconds_to_come() {
    let in_time = (SECOND * 30, "TimedOut(FirstFrame)".to_owned());
    assert_eq!(ends(Once::new("yes"), Once::limits(), slow_ones()), [in_time.clone(), in_time]);
}

#[test]
fn a_stream_that_is_silent_for_five_minutes_is_closed() {
    let scripts = || [Script::new().send("x"), Script::new().after(SECOND * 100).send("x")];
    for ended in
        [ends(Echo::new(), Echo::limits(), scripts()), ends(Upper::new(), Upper::limits(), scripts())]
    {
        assert_eq!(ended, [300, 400].map(|after| (SECOND * after, "TimedOut(Idle)".to_owned())));
    }
}

#[cfg(feature = "command")]
mod commands {
    use serve_forever::driver::sim::Program;
    use serve_forever::process::Signal;
    use serve_forever::services::{Command, Reply};

    use super::*;

    /// A system whose `echo` prints its arguments as one.
    fn with_echo(command: Command) -> World<Command, true> {
        let limits = command.limits();
        let mut world = calm(command, limits);
        world.net_mut().install("echo", Program::new().write_arguments());
        world
    }

    // docs/guarantees.md, 60.
    #[test]
    fn any_bytes_are_the_same_commands_however_they_are_cut() {
        let pieces: [&[u8]; 12] =
            [b"echo ", b"echo", b"\n", b"\n", b"\r\n", b" ", b"'", b"\"", b"\\", b"\0", b"rm x", b"\xff"];
        let mut rng = Rng::new(61);
        let mut answers = 0;
        for round in 0..30 {
            let input = match round % 10 {
                0 => ["echo ".into(), "x".repeat(rng.size(65_525, 65_540)), "\necho 1".into()]
                    .concat()
                    .into_bytes(),
                1 => noise(rng.size(0, 2000)),
                _ => {
                    let len = rng.size(0, 300);
                    stream(&mut rng, &pieces, len)
                }
            };
            let most = 1 + input.len() / 500 + rng.size(0, 20);
            let make = || match round % 2 {
                0 => Command::allow(["echo"]),
                _ => Command::allow(["echo"]).reply(Reply::Raw).token("echo").expect("it is not empty"),
            };
            let input = [if rng.below(8) > 0 { &b"echo\r\n"[..] } else { b"" }, &input].concat();
            let [cut, whole] = [most, 1 << 20].map(|most| {
                let limits = make().limits();
                answer_prepared(make(), limits, &input, round, most, |world| {
                    world.net_mut().install("echo", Program::new().write_arguments());
                })
            });
            answers += usize::from(whole.len() > 100);
            assert_eq!(cut.escape_ascii().to_string(), whole.escape_ascii().to_string(), "round {round}");
        }
        assert!(answers > 10, "{answers} of them were more than noise");
    }

    #[test]
    fn a_token_and_a_request_have_thirty_seconds_to_come() {
        let in_time = (SECOND * 30, "TimedOut(FirstFrame)".to_owned());
        for command in [Command::shell(), Command::shell().token("secret").expect("it is not empty")] {
            let limits = command.limits();
            assert_eq!(ends(command, limits, slow_ones()), [in_time.clone(), in_time.clone()]);
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_after_thirty_seconds() {
        let command = Command::allow(["stay"]);
        let limits = command.limits();
        let mut world = calm(command, limits);
        let stay = Program::new().write("so far").stay().ignoring_terminate();
        world.net_mut().install("stay", stay);
        let client = world.play_unix(Script::new().send("stay\n").finish());
        run(&mut world);
        assert_eq!(world.client(client).received(), b"info|6|timeout\nso far");
        assert_eq!(signals(&world), [(30, Signal::Terminate), (31, Signal::Kill)]);
    }

    /// The signals that the first command got, in seconds since the start.
    fn signals(world: &World<Command, true>) -> Vec<(u64, Signal)> {
        let process = &world.net().processes()[0];
        process.signals().map(|(at, signal)| (at.as_nanos() / 1_000_000_000, signal)).collect()
    }

    #[test]
    fn the_command_of_a_client_that_is_gone_is_terminated_and_killed_a_second_later() {
        let command = Command::allow(["stay"]);
        let limits = command.limits();
        let mut world = calm(command, limits);
        let stay = Program::new().stay().ignoring_terminate();
        world.net_mut().install("stay", stay);
        world.play_unix(Script::new().send("stay\n").after(SECOND * 5).reset());
        run(&mut world);
        assert_eq!(signals(&world), [(5, Signal::Terminate), (6, Signal::Kill)]);
    }

    #[test]
    fn in_chunks_a_payload_comes_ten_milliseconds_after_its_length() {
        let mut world = with_echo(Command::allow(["echo"]).framing(Framing::Chunk));
        let client = world.play_unix(Script::new().send("echo hello").after(SECOND).finish());
        let mut when = Vec::new();
        for written in [0, b"info|5".len() as u64] {
            world.run_while(|world| world.net().moved().1 == written).expect("it keeps its promises");
            when.push(world.net().now().as_nanos() / 1_000_000);
        }
        assert!((10..12).contains(&(when[1] - when[0])), "{when:?}");
        run(&mut world);
        assert_eq!(world.client(client).received(), b"info|5hello");
    }

    // docs/guarantees.md, 35: in a system without a shell.
    #[test]
    fn a_missing_shell_is_told_and_the_service_goes_on() {
        let mut world = with_echo(Command::shell());
        let client = world.play_unix(Script::new().send("true\n\ntrue\n").finish());
        run(&mut world);
        let says = "it cannot be started: No such file or directory (os error 2)";
        let answer = format!("info|{}|failed\n{says}", says.len());
        assert_eq!(String::from_utf8_lossy(world.client(client).received()), answer.repeat(2));
    }

    // docs/guarantees.md, 36.
    #[test]
    fn a_command_that_cannot_be_started_is_told_and_the_next_one_runs() {
        use rustix::io::Errno;

        for errno in [Errno::AGAIN, Errno::MFILE, Errno::NOMEM, Errno::TOOBIG, Errno::ACCESS] {
            for reply in [Reply::Framed, Reply::Raw, Reply::Stream] {
                let mut world = with_echo(Command::allow(["broken", "echo"]).reply(reply));
                let broken = Program::that_fails(errno);
                world.net_mut().install("broken", broken);
                let client = world.play_unix(Script::new().send("broken\necho 1\n").finish());
                run(&mut world);
                let says = format!("it cannot be started: {}", std::io::Error::from(errno));
                let expected = match reply {
                    Reply::Framed => format!("info|{}|failed\n{says}info|1|0\n1", says.len()),
                    Reply::Raw => format!("failed: {says}1"),
                    _ => format!("err|{}\n{says}exit|failed\nout|1\n1exit|0\n", says.len()),
                };
                assert_eq!(String::from_utf8_lossy(world.client(client).received()), expected);
            }
        }
    }
}
