//! The service that runs commands, where many clients share what it has, and
//! where a reply waits for its client.

use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{ClientId, Conditions, Odds, Program, Rng, Script};
use serve_forever::process::{self, Exit};
use serve_forever::services::{Command, CommandSession, Framing};
use serve_forever::sim::World;
use serve_forever::{
    AfterEof, BoxError, ChildId, CloseReason, Config, Io, Limits, Origin, Peer, StreamHandler, TimerId,
};

use super::handlers::{calm, run, why};

const SECOND: Duration = Duration::from_secs(1);
const PROGRAMS: [&str; 4] = ["echo", "work", "big", "stay"];

type Commands<H = Command> = World<H, true>;

fn install<H: StreamHandler>(world: &mut Commands<H>) {
    install_in(world);
}

fn install_in<H: StreamHandler, const SHORT: bool>(world: &mut World<H, SHORT>) {
    let net = world.net_mut();
    net.install("echo", Program::new().write_arguments());
    net.install("work", Program::new().after(SECOND).write("done"));
    net.install("big", Program::new().write("x".repeat(1000)));
    net.install("stay", Program::new().stay());
}

fn allowing() -> Command {
    Command::allow(PROGRAMS)
}

fn with(command: Command, change: impl FnOnce(Limits) -> Limits) -> Commands {
    let limits = change(command.limits());
    let mut world = calm(command, limits);
    install(&mut world);
    world
}

fn received(world: &Commands, client: ClientId) -> String {
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

/// When a client saw our FIN, in whole seconds.
#[track_caller]
fn fin(world: &Commands, client: ClientId) -> u64 {
    world.client(client).saw_fin().expect("it ends in order").as_nanos() / 1_000_000_000
}

#[test]
fn who_waits_for_longest_is_next_whatever_others_have_under_way() {
    let mut world = with(allowing().max_children(4), |limits| limits);
    let busy: Vec<ClientId> =
        (0..4).map(|_| world.play_unix(Script::new().send("work\n".repeat(50)).finish())).collect();
    let late: Vec<ClientId> = (0..3)
        .map(|place| world.play_unix(Script::new().starting_after(SECOND / 2 * (place + 1)).send("echo 1\n")))
        .collect();
    world.run_for(SECOND * 4).expect("it keeps its promises");
    for client in late {
        assert_eq!(received(&world, client), "info|1|0\n1");
    }
    run(&mut world);
    for client in busy {
        assert_eq!(received(&world, client), "info|4|0\ndone".repeat(50));
    }
}

#[test]
fn many_that_ask_for_much_take_turns() {
    let mut world = with(allowing().max_children(2), |limits| limits);
    let clients: Vec<ClientId> =
        (0..7).map(|_| world.play_unix(Script::new().send("work\n".repeat(10)).finish())).collect();
    for second in 1..35 {
        world.run_for(SECOND).expect("it keeps its promises");
        let count = |client: &ClientId| received(&world, *client).matches("done").count();
        let counts: Vec<usize> = clients.iter().map(count).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most <= least.map(|least| least + 1).as_ref(), "after {second} s: {counts:?}");
    }
    run(&mut world);
}

fn acknowledged() -> Command {
    allowing().framing(Framing::Chunk).await_ack(true)
}

#[test]
fn an_end_of_file_in_place_of_the_word_ends_it_before_and_after() {
    for (wait, command, announced) in [(0, "echo", "info|0"), (0, "work", "info|4"), (5, "work", "info|4")] {
        let mut world = with(acknowledged(), |limits| limits);
        let script = Script::new().send(command).after(SECOND * wait).finish();
        let client = world.play_unix(script);
        run(&mut world);
        assert_eq!(received(&world, client), announced);
        assert_eq!(fin(&world, client), u64::from(wait.max(u32::from(command == "work"))));
        assert!(format!("{:?}", world.handler()).contains("held: 0"));
    }
}

#[test]
fn what_was_asked_for_behind_the_missing_word_is_not_run() {
    let mut world = with(acknowledged(), |limits| limits);
    let script = Script::new().send("work").after(SECOND / 2).send("echo 2").finish();
    let client = world.play_unix(script);
    run(&mut world);
    assert_eq!(received(&world, client), "info|4");
    assert_eq!(world.net().processes().len(), 1);
}

#[test]
fn who_never_asks_for_its_payload_is_closed_in_the_time_of_a_frame() {
    for (idle, after) in [(None, 60), (Some(300), 60), (Some(2), 2)] {
        let idle = idle.map(Duration::from_secs);
        let mut world = with(acknowledged(), |limits| Limits { idle, ..limits });
        let client = world.play_unix(Script::new().send("big"));
        let prompt = world.play_unix(Script::new().send("big").after(SECOND).send("ok").finish());
        run(&mut world);
        assert_eq!(received(&world, client), "info|1000");
        assert_eq!(fin(&world, client), after);
        assert_eq!(received(&world, prompt), format!("info|1000{}", "x".repeat(1000)));
    }
    // A shutdown waits for it as for anything under way.
    let mut world = with(acknowledged(), |limits| limits);
    let client = world.play_unix(Script::new().send("big").after(SECOND * 5).send("ok"));
    world.run_for(SECOND).expect("it keeps its promises");
    world.reactor().shutdown(SECOND * 10);
    run(&mut world);
    assert_eq!(received(&world, client).len(), 1009);
}

#[test]
fn payloads_that_wait_are_bounded_and_who_has_waited_for_longest_makes_room() {
    let mut world = with(acknowledged().max_held(3500), |limits| limits);
    let clients: Vec<ClientId> = (0..20)
        .map(|place| {
            let script = Script::new().starting_after(SECOND * place).send("big");
            let asks = place % 2 == 1;
            world.play_unix(if asks { script.after(SECOND * 2).send("ok").finish() } else { script })
        })
        .collect();
    for _ in 0..40 {
        world.run_for(SECOND / 2).expect("it keeps its promises");
        let shown = format!("{:?}", world.handler());
        let held = shown.split("held: ").nth(1).and_then(|rest| rest.split([',', ' ']).next()?.parse().ok());
        assert!(held.is_some_and(|held: usize| held <= 3500), "{shown}");
    }
    run(&mut world);
    for (place, client) in clients.into_iter().enumerate() {
        assert_eq!(received(&world, client).len(), if place % 2 == 0 { 9 } else { 1009 }, "{place}");
        assert!(fin(&world, client) < 80, "{place}");
    }
}

#[test]
fn a_gap_is_over_before_its_time_where_others_need_the_room() {
    let command = allowing().framing(Framing::Chunk).gap(SECOND * 100).max_held(1500);
    let mut world = with(command, |limits| limits);
    let scripts = (0..3).map(|place| Script::new().starting_after(SECOND * place).send("big").finish());
    let clients: Vec<ClientId> = scripts.map(|script| world.play_unix(script)).collect();
    run(&mut world);
    let ends = [1, 2, 102];
    for (client, end) in clients.into_iter().zip(ends) {
        assert_eq!(received(&world, client).len(), 1009);
        assert_eq!(fin(&world, client), end);
    }
}

#[test]
fn a_payload_is_not_kept_for_ever_where_there_are_no_timers() {
    for command in [acknowledged(), allowing().framing(Framing::Chunk)] {
        let limits = command.limits();
        let config = Config { max_timers: 0, ..Config::default() };
        let mut world = World::<_, true>::with_config(1, Conditions::calm(), command, limits, config)
            .expect("good limits");
        install(&mut world);
        let client = world.play_unix(Script::new().send("big"));
        world.run_for(SECOND).expect("it keeps its promises");
        assert!(received(&world, client).starts_with("info|1000"));
        assert!(format!("{:?}", world.handler()).contains("held: 0"));
    }
}

/// Takes the only place for a child whenever one is free.
struct Greedy(Command);

impl StreamHandler for Greedy {
    type Session = CommandSession;

    fn verify(&mut self, peer: &Peer) -> bool {
        self.0.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<CommandSession, BoxError> {
        self.0.open(io, origin)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut CommandSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        self.0.data(io, session, input)
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut CommandSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        self.0.eof(io, session, rest)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut CommandSession) -> Result<(), BoxError> {
        self.0.drained(io, session)
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.0.tick(io, timer);
    }

    fn close(&mut self, io: &mut Io<'_>, session: CommandSession, why: &CloseReason) {
        self.0.close(io, session, why);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        // Of no job.
        let _ = io.spawn(process::Command::new("stay").timeout(SECOND), u64::MAX);
        self.0.child_exited(io, child, tag, exit);
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &std::io::Error) {
        self.0.spawn_failed(io, child, tag, error);
    }
}

// Whose request waits, and then cannot be started, has others behind it.
#[test]
fn a_client_whose_turn_comes_to_nothing_goes_on_with_its_next_request() {
    let limits = allowing().limits();
    let config = Config { max_children: 1, ..Config::default() };
    let handler = Greedy(allowing().max_children(1));
    let mut world =
        World::<_, true>::with_config(1, Conditions::calm(), handler, limits, config).expect("good limits");
    install(&mut world);
    world.play_unix(Script::new().send("work\n").finish());
    let script = Script::new().starting_after(SECOND / 2).send("echo 1\nrm 2\nrm 3\n").finish();
    let waiting = world.play_unix(script);
    world.run_for(SECOND * 20).expect("it keeps its promises");
    let text = String::from_utf8_lossy(world.client(waiting).received()).into_owned();
    let statuses: Vec<&str> =
        text.split("info|").skip(1).filter_map(|reply| reply.split(['|', '\n']).nth(1)).collect();
    assert_eq!(statuses, ["failed", "refused", "refused"], "{text}");
    assert_eq!(why(&world, waiting), "Closed");
}

fn size(rng: &mut Rng, most: usize) -> u32 {
    u32::try_from(rng.size(0, most)).expect("it is small")
}

/// Conditions in which every program starts.
fn conditions(seed: u64) -> Conditions {
    Conditions { spawn_fails: Odds::NEVER, ..Conditions::seeded(&mut Rng::new(seed)) }
}

#[test]
fn whatever_clients_do_in_place_of_their_word_none_is_kept() {
    for seed in 0..60 {
        let command = acknowledged().max_held(2500);
        let limits = command.limits();
        let mut world = World::<_>::new(seed, conditions(seed), command, limits).expect("good limits");
        install_in(&mut world);
        let mut rng = Rng::new(seed);
        for _ in 0..12 {
            let asked = Script::new().starting_after(SECOND * size(&mut rng, 3));
            let asked = asked.send(PROGRAMS[rng.size(0, 2)]).after(SECOND * size(&mut rng, 4) / 2);
            world.play_unix(match rng.below(6) {
                0 => asked.finish(),
                1 => asked.send("ok").finish(),
                2 => asked.send("echo 1").after(SECOND).send("ok"),
                3 => asked.reset(),
                4 => asked.close(),
                _ => asked,
            });
        }
        run(&mut world);
        assert!(format!("{:?}", world.handler()).contains("held: 0"), "seed {seed}");
        // The last of them after a minute for its word, or half of one for a request.
        assert!(world.elapsed() < SECOND * 400, "seed {seed}: {:?}", world.elapsed());
    }
}

#[test]
fn in_any_weather_a_late_client_waits_for_no_more_than_a_round() {
    for seed in 0..60 {
        let command = allowing().max_children(2);
        let limits = command.limits();
        // A stop gives everybody's time limits the turn.
        let conditions = Conditions { stopped: Odds::NEVER, ..conditions(seed) };
        let mut world = World::<_>::new(seed, conditions, command, limits).expect("good limits");
        install_in(&mut world);
        for _ in 0..3 {
            world.play_unix(Script::new().send("work\n".repeat(12)).finish());
        }
        world.run_while(|world| world.net().processes().len() < 4).expect("it keeps its promises");
        let late = world.play_unix(Script::new().send("echo 1\n").finish());
        run(&mut world);
        if world.client(late).was_lost() || world.life(late).is_none() {
            continue;
        }
        let place = world.net().processes().iter().position(|process| process.name() == "echo");
        // Those that run, those that wait, and some for its way here.
        assert!(place.is_some_and(|place| place < 16), "seed {seed}: {place:?}");
    }
}
