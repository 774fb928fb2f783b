//! Clients that keep a server waiting.

use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Act, Conditions, Odds, Pace, Script, SimDriver};
use serve_forever::services::{Echo, Once};
use serve_forever::sim::World;
use serve_forever::{
    BoxError, Config, Endpoint, Handled, Io, Limits, ListenOptions, Origin, Reactor, StreamHandler, TimerId,
};

use super::handlers::{Call, Scripted, calm, noise, patient, run, why};

const HOUR: Duration = Duration::from_secs(3600);

/// The defaults, of a service whose clients have to speak.
fn talkative() -> Limits {
    Limits { first_frame: Some(Duration::from_secs(30)), ..Limits::default() }
}

/// When a client saw the server's FIN.
#[track_caller]
fn fin<H: StreamHandler>(world: &World<H, true>, client: serve_forever::driver::sim::ClientId) -> Duration {
    Duration::from_nanos(world.client(client).saw_fin().expect("a FIN").as_nanos())
}

#[test]
fn who_says_nothing_is_closed_at_the_first_frames_deadline() {
    let mut world = calm(Scripted::lines(), talkative());
    let client = world.play(Script::new());
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(FirstFrame)");
    assert!(fin(&world, client) < Duration::from_secs(31));
}

#[test]
fn a_slow_loris_is_closed_at_its_deadline_and_not_in_the_evening() {
    let mut world = calm(Scripted::lines(), talkative());
    let drip = |script: Script, _| script.send("x").after(Duration::from_secs(5));
    let first_frame = world.play((0..5 * 720).fold(Script::new(), drip));
    let later_frame = world.play((0..5 * 720).fold(Script::new().send("polite\n"), drip));
    run(&mut world);
    assert_eq!(why(&world, first_frame), "TimedOut(FirstFrame)");
    assert!(fin(&world, first_frame) < Duration::from_secs(31));
    assert_eq!(why(&world, later_frame), "TimedOut(Frame)");
    assert!(fin(&world, later_frame) < Duration::from_secs(61));
    assert_eq!(world.client(later_frame).received(), b"polite\n");
}

/// Sets the idle deadline with whatever comes, and takes whole lines.
struct Restless;

impl StreamHandler for Restless {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        io.set_limits(io.id(), Limits { idle: Some(HOUR), ..io.limits().clone() })?;
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            drop(input.split_to(end + 1));
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_sets_the_idle_deadline_puts_off_no_other() {
    let mut world = calm(Restless, Limits::default());
    let drip = |script: Script, _| script.send("x").after(Duration::from_secs(5));
    let client = world.play((0..720).fold(Script::new().send("polite\n"), drip));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Frame)");
    assert!(fin(&world, client) < Duration::from_secs(61));
}

#[test]
fn an_idle_day_ends_after_a_day() {
    let limits = Limits { idle: Some(24 * HOUR), ..patient() };
    let mut world = calm(Echo::new(), limits);
    let client = world.play(Script::new().after(HOUR).send("still there"));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
    assert!((25 * HOUR..25 * HOUR + Duration::from_secs(1)).contains(&fin(&world, client)));
    assert!(world.turns() < 50, "{} turns for a day in which nothing happened", world.turns());
}

#[test]
fn a_thousand_halves_of_a_frame_keep_nobody_out() {
    let mut world = calm(Scripted::lines(), talkative());
    let halves: Vec<_> = (0..1000).map(|_| world.play(Script::new().send("no end of the line"))).collect();
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    assert_eq!(world.reactor().connections(), 1000);
    let client = world.play(Script::new().send("a line\n").finish());
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    assert_eq!(world.client(client).received(), b"a line\n");
    run(&mut world);
    assert!(halves.iter().all(|half| why(&world, *half) == "TimedOut(FirstFrame)"));
}

#[test]
fn who_takes_nothing_is_closed_when_its_output_stalls() {
    let mut world = calm(Echo::new(), Limits { idle: None, ..Echo::limits() });
    let client = world.play(Script::new().read(Pace::Never).send(noise(1 << 20)));
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(WriteStall)");
    assert!(world.client(client).saw_reset().is_some(), "what was queued is dropped, and it is told so");
    assert!(world.client(client).handed_over() < 600 << 10, "an echo stops reading");
}

#[test]
fn who_vanishes_is_given_up_by_keep_alive() {
    let mut world = calm(Echo::new(), patient());
    let client = world.play(Script::new().send("hello").after(HOUR).vanish());
    run(&mut world);
    assert!(why(&world, client).starts_with("Io(Os { code: 110"), "{}", why(&world, client));
    assert!(world.elapsed() > HOUR + Duration::from_secs(119), "60 s and six probes of 10 s");
}

#[test]
fn who_vanishes_unprobed_is_found_by_the_idle_deadline_alone() {
    let mut world = calm(Echo::new(), Limits { idle: Some(2 * HOUR), ..patient() });
    let service = world.service().clone();
    let at = "127.0.0.1:70".parse().expect("an endpoint");
    let options = ListenOptions { keep_alive: None, ..ListenOptions::default() };
    world.reactor().listen_with(&service, &at, &options).expect("it is free");
    let client = world.net_mut().play(&at, Script::new().send("hello").after(HOUR).vanish());
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
}

#[test]
fn who_does_not_leave_after_its_answer_is_left_when_lingering_ends() {
    let mut world = calm(Once::new("yes"), Once::limits());
    let client = world.play(Script::new().then(Act::StayAfterFin).send("please\n"));
    run(&mut world);
    assert_eq!((why(&world, client).as_str(), world.client(client).received()), ("Closed", &b"yes\n"[..]));
    let lingered = Duration::from_secs(5)..Duration::from_secs(6);
    assert!(lingered.contains(&world.elapsed()), "{:?}", world.elapsed());
}

/// Lingering counts from our FIN, and not from the last byte that we wrote.
#[test]
fn who_is_closed_without_a_word_is_lingered_for_as_long_as_anybody() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(_) = call {
            let id = io.id();
            io.close(id);
        }
        Ok(())
    });
    let mut world = calm(handler, Limits { linger: Duration::from_secs(5), ..patient() });
    let client = world.play(Script::new().then(Act::StayAfterFin).after(HOUR).send("bye\n"));
    run(&mut world);
    assert_eq!(why(&world, client), "Closed");
    let lingered = HOUR + Duration::from_secs(5)..HOUR + Duration::from_secs(6);
    assert!(lingered.contains(&world.elapsed()), "{:?}", world.elapsed());
}

/// Records of ten bytes, each byte of which it takes as it comes. It says whether
/// one is open, or not. A record that begins with a `p` pauses the connection for
/// a minute.
struct Records {
    says_so: bool,
    calls: Vec<usize>,
}

impl StreamHandler for Records {
    type Session = usize;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<usize, BoxError> {
        Ok(0)
    }

    fn data(&mut self, io: &mut Io<'_>, taken: &mut usize, input: &mut BytesMut) -> Result<(), BoxError> {
        self.calls.push(input.len());
        if input.first() == Some(&b'p') {
            io.pause(io.id());
            io.after(Duration::from_secs(60))?;
        }
        let all = *taken + input.len();
        *taken = all % 10;
        input.clear();
        if self.says_so && all >= 10 {
            io.end_frame(io.id());
        }
        if self.says_so && *taken > 0 {
            io.begin_frame(io.id());
        }
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, _: &mut usize, _: TimerId) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

#[test]
fn a_frame_that_is_taken_as_it_comes_has_its_time_if_the_handler_says_that_it_is_open() {
    let drip = |script: Script, _| script.after(Duration::from_secs(20)).send("x");
    for (says_so, first, later) in
        [(true, "TimedOut(FirstFrame)", "TimedOut(Frame)"), (false, "TimedOut(Idle)", "TimedOut(Idle)")]
    {
        let mut world = calm(Records { says_so, calls: Vec::new() }, talkative());
        let from_the_start = world.play((0..8).fold(Script::new(), drip));
        let after_a_record = world.play((0..8).fold(Script::new().send("a record: "), drip));
        // What completes one begins the next.
        let in_between = world.play((0..8).fold(Script::new().send("a record: and").send("s"), drip));
        run(&mut world);
        assert_eq!(why(&world, from_the_start), first);
        assert_eq!(why(&world, after_a_record), later);
        assert_eq!(why(&world, in_between), later);
        if says_so {
            assert_eq!(fin(&world, from_the_start).as_secs(), 30);
            assert_eq!(fin(&world, after_a_record).as_secs(), 20 + 60);
            assert_eq!(fin(&world, in_between).as_secs(), 60);
        }
    }
}

#[test]
fn an_open_frame_waits_with_a_pause_and_is_asked_for_after_it() {
    let mut world = calm(Records { says_so: true, calls: Vec::new() }, Limits::default());
    let client = world.play(Script::new().send("a record: ").after(Duration::from_secs(1)).send("p"));
    world.run_for(Duration::from_secs(62)).expect("it keeps its promises");
    assert_eq!(world.handler().calls, [10, 1, 0], "once more when it is resumed, with nothing new");
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Frame)");
    assert_eq!(fin(&world, client).as_secs(), 121, "the deadline runs from there");
}

// docs/guarantees.md, 17.
#[test]
fn who_takes_a_little_at_a_time_has_not_stalled() {
    // A third of what the system holds for it takes five minutes.
    let mut world = calm(Echo::new(), Limits { idle: None, ..Echo::limits() });
    let sent = noise(150 << 10);
    let pace = Pace::Slowly { bytes: 70, every: Duration::from_secs(1) };
    let client = world.play(Script::new().read(pace).send(sent.clone()).finish());
    run(&mut world);
    assert_eq!(why(&world, client), "Finished");
    assert_eq!(world.client(client).received(), sent);
    assert!(world.reactor().stats().stalls_checked > 0, "no event could have told of room");
}

// docs/guarantees.md, 61 and 63.
#[test]
fn what_came_before_a_deadline_is_looked_at_before_it_is_carried_out() {
    for seed in 0..40 {
        let limits = Limits { idle: Some(Duration::from_secs(50)), ..patient() };
        let mut world =
            World::<_, true>::new(seed, Conditions::calm(), Echo::new(), limits).expect("good limits");
        let clients: Vec<_> = (0..40)
            .map(|_| world.play(Script::new().send("a").after(Duration::from_secs(20)).send("b").finish()))
            .collect();
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        // For longer than the deadline; and a wait tells of some of them only.
        *world.net_mut().conditions_mut() =
            Conditions { partial: Odds::one_in(1), interrupted: Odds::one_in(3), ..Conditions::calm() };
        world.net_mut().hold_up(Duration::from_secs(1000));
        run(&mut world);
        for client in clients {
            assert_eq!(why(&world, client), "Finished", "seed {seed}");
            assert_eq!(world.client(client).received(), b"ab", "seed {seed}");
        }
    }
}

#[test]
fn a_request_that_came_in_time_is_handled_though_the_process_was_stopped() {
    for seed in 0..100 {
        let stopped =
            Conditions { stopped: Odds::one_in(2), interrupted: Odds::one_in(4), ..Conditions::calm() };
        let mut reactor =
            Reactor::with_driver(SimDriver::<true>::new(seed, Conditions::calm()), Config::default())
                .expect("a good configuration");
        let once = reactor.add(Once::new("yes"), patient()).expect("good limits");
        let at: Endpoint = "127.0.0.1:7".parse().expect("an endpoint");
        reactor.listen(&once, &at).expect("it is free");
        *reactor.driver_mut().net_mut().conditions_mut() = stopped;
        let script = Script::new().starting_after(Duration::from_secs(1)).send("please\n").finish();
        reactor.driver_mut().net_mut().play(&at, script);
        let handled = reactor.handle_request(Some(Duration::from_secs(2))).expect("the loop turns");
        assert_eq!(handled, Handled::Served, "seed {seed}");
    }
}

/// In the turn in which half of a line is read the process is stopped for longer
/// than a line may take. The other half comes half a minute later.
#[test]
fn the_time_of_a_frame_runs_from_the_end_of_the_turn_that_it_began_in() {
    let frame = Duration::from_secs(60);
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let limits = Limits { frame: Some(frame), ..patient() };
        // The warning of a slow callback reads the clock within the turn.
        let config = Config { slow_callback: None, ..Config::default() };
        let mut world =
            World::<_, true>::with_config(seed, Conditions::calm(), Scripted::lines(), limits, config)
                .expect("good limits");
        let client = world.play(Script::new().send("one\n").after(Duration::from_secs(1)).send("tw"));
        world.run_for(Duration::from_millis(500)).expect("the first line is answered");
        world.net_mut().conditions_mut().stopped = Odds::one_in(1);
        let given = |world: &World<_, true>| world.life(client).expect("it is open").input().len();
        let mut turn = Duration::ZERO;
        while given(&world) < "one\ntw".len() {
            let before = world.elapsed();
            world.turn(None).expect("it keeps its promises");
            turn = world.elapsed() - before;
        }
        longest = longest.max(turn);
        *world.net_mut().conditions_mut() = Conditions::calm();
        world.net_mut().later(frame / 2, client, Act::Send("o\n".into()));
        world.net_mut().later(frame, client, Act::Finish);
        run(&mut world);
        assert_eq!(why(&world, client), "Finished", "seed {seed}");
        assert_eq!(world.client(client).received(), b"one\ntwo\n", "seed {seed}");
    }
    assert!(longest > 3 * frame, "{longest:?}");
}

#[test]
fn who_is_not_busy_any_more_is_idle_from_then_on() {
    let busy = Scripted::new(|io, call| {
        match call {
            Call::Open => {
                io.set_busy(io.id(), true);
                io.after(Duration::from_secs(1000))?;
            }
            Call::Timer(_) => io.set_busy(io.id(), false),
            _ => {}
        }
        Ok(())
    });
    let mut world = calm(busy, Limits { idle: Some(Duration::from_secs(300)), ..patient() });
    let client = world.play(Script::new());
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
    assert_eq!(fin(&world, client).as_secs(), 1300);
}

/// The reset of a connection is noted, and before it is read, another one
/// pauses it: no event comes any more.
#[test]
fn a_reset_is_seen_of_a_connection_that_is_paused_before_it_is_read() {
    let mut ids = Vec::new();
    let pauses = Scripted::new(move |io, call| {
        match call {
            Call::Open => ids.push(io.id()),
            Call::Line(_) => ids.iter().for_each(|id| io.pause(*id)),
            _ => {}
        }
        Ok(())
    });
    let mut world = calm(pauses, patient());
    let resets_at = Duration::from_secs(2);
    let pauser = world.play(Script::new().after(resets_at / 2).send("pause it\n").after(resets_at).reset());
    let client = world.play(Script::new().after(resets_at / 2).reset());
    world.run_for(resets_at / 4).expect("both are open");
    // Both things are there when the loop looks, in this order.
    world.net_mut().hold_up(resets_at);
    run(&mut world);
    for client in [pauser, client] {
        assert!(why(&world, client).starts_with("Io("), "{}", why(&world, client));
    }
}
