//! Time-outs, SIGTERM, SIGKILL, and what they reach.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Grandchild, Odds, Program};
use serve_forever::process::{Command, ExitCause, Pipe, Signal};

use super::jobs::*;

/// The signals that a process got, in seconds since the start.
fn signals(shop: &Shop) -> Vec<(u64, Signal)> {
    process(shop, 0).signals().map(|(at, signal)| (at.as_nanos() / 1_000_000_000, signal)).collect()
}

#[test]
fn a_child_may_run_for_a_day() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("backup", Program::new().after(DAY));
        assert_eq!(how(run(&mut shop, Command::new("backup").timeout(2 * DAY))), exited(0));
        assert!(told_at(&shop) >= DAY && told_at(&shop) < DAY + SECOND);
    }
}

#[test]
fn a_child_over_its_time_is_terminated() {
    for (seed, mut shop) in shops(0..30) {
        shop.net_mut().install("backup", Program::new().after(DAY));
        let exit = run(&mut shop, Command::new("backup").timeout(3600 * SECOND));
        assert_eq!(how(exit), (None, Some(15), ExitCause::TimedOut), "seed {seed}");
        // The group gets its SIGKILL even so.
        assert_eq!(signals(&shop), [(3600, Signal::Terminate), (3601, Signal::Kill)]);
    }
}

#[test]
fn one_that_ignores_that_is_killed_in_its_time() {
    for (seed, mut shop) in shops(0..30) {
        shop.net_mut().install("stubborn", Program::new().stay().ignoring_terminate());
        let command = Command::new("stubborn").timeout(100 * SECOND).kill_after(5 * SECOND);
        let exit = run(&mut shop, command);
        assert_eq!(how(exit), (None, Some(9), ExitCause::TimedOut), "seed {seed}");
        assert_eq!(signals(&shop), [(100, Signal::Terminate), (105, Signal::Kill)]);
    }
}

#[test]
fn one_that_cleans_up_at_a_sigterm_is_given_the_time() {
    for (seed, mut shop) in shops(0..20) {
        shop.net_mut().install("tidy", Program::new().stay().cleaning_up(3 * SECOND, 42));
        let child = spawn(&mut shop, Command::new("tidy").kill_after(60 * SECOND), 0);
        assert!(ask(&mut shop, move |_, io| io.terminate(child) && io.terminate(child)));
        let exit = finish(&mut shop);
        assert_eq!(how(exit), (Some(42), None, ExitCause::Killed), "seed {seed}");
        assert!(told_at(&shop) < 5 * SECOND);
        assert_eq!(process(&shop, 0).signals().len(), 2);
    }
}

#[test]
fn one_that_even_a_sigkill_does_not_end_soon_is_waited_for() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("disk", Program::new().stay().ignoring_terminate().slow_to_die(3600 * SECOND));
        let child = spawn(&mut shop, Command::new("disk"), 0);
        assert!(ask(&mut shop, move |_, io| io.kill(child)));
        assert_eq!(how(finish(&mut shop)), (None, Some(9), ExitCause::Killed));
        assert!(told_at(&shop) >= 3600 * SECOND);
    }
}

#[test]
fn a_killed_one_takes_what_it_started_with_it() {
    for (seed, mut shop) in shops(0..20) {
        let program = Program::new().stay().leaving(Grandchild::for_ever().ignoring_terminate());
        shop.net_mut().install("job", program);
        let grace = 600 * SECOND;
        let child = spawn(&mut shop, Command::new("job").pipe_grace(grace), 0);
        assert!(ask(&mut shop, move |_, io| io.terminate(child)));
        assert_eq!(how(finish(&mut shop)), (None, Some(15), ExitCause::Killed), "seed {seed}");
        // SIGKILL after a second let go of the pipes.
        assert!(told_at(&shop) < 10 * SECOND && !process(&shop, 0).has_grandchild());
    }
}

#[test]
fn one_that_has_left_the_group_is_not_reached_and_not_waited_for() {
    for (seed, mut shop) in shops(0..20) {
        let daemon = Grandchild::for_ever().in_its_own_group();
        shop.net_mut().install("job", Program::new().stay().leaving(daemon));
        let child = spawn(&mut shop, Command::new("job"), 0);
        assert!(ask(&mut shop, move |_, io| io.kill(child)));
        assert_eq!(how(finish(&mut shop)), (None, Some(9), ExitCause::Killed), "seed {seed}");
        assert!(told_at(&shop) < 5 * SECOND && process(&shop, 0).has_grandchild());
    }
}

#[test]
fn one_that_leaves_its_group_is_found_by_every_signal_and_alone() {
    for (seed, mut shop) in shops(0..20) {
        let program = Program::new().stay().leaving_its_group().leaving(Grandchild::for_ever());
        shop.net_mut().install("job", program);
        let exit = run(&mut shop, Command::new("job").timeout(100 * SECOND));
        assert_eq!(how(exit), (None, Some(15), ExitCause::TimedOut), "seed {seed}");
        assert!(process(&shop, 0).has_grandchild() && told_at(&shop) < 103 * SECOND);
    }
}

#[test]
fn no_signal_is_lost_to_another_one_that_interrupts_it() {
    for seed in 0..50 {
        let conditions = Conditions { interrupted: Odds::one_in(2), ..Conditions::calm() };
        let mut shop = shop_with(seed, conditions, Default::default());
        shop.net_mut().install("stubborn", Program::new().stay().ignoring_terminate());
        let exit = run(&mut shop, Command::new("stubborn").timeout(SECOND));
        assert_eq!(how(exit), (None, Some(9), ExitCause::TimedOut), "seed {seed}");
        assert_eq!(process(&shop, 0).signals().len(), 2);
    }
}

#[test]
fn a_child_that_is_killed_as_its_last_pipe_closes_is_reaped() {
    for (_, mut shop) in shops(0..20) {
        shop.net_mut().install("job", Program::new().write("x"));
        shop.handler().when_pipe_closes = Some(Box::new(|io, child| assert!(io.kill(child))));
        run(&mut shop, Command::new("job"));
    }
}

#[test]
fn a_child_that_is_killed_as_it_is_told_of_is_reaped() {
    for terminate in [false, true] {
        for (_, mut shop) in shops(0..20) {
            shop.net_mut().install("job", Program::new().write("x"));
            shop.handler().when_told = Some(Box::new(move |io, child| {
                assert!(if terminate { io.terminate(child) } else { io.kill(child) });
            }));
            run(&mut shop, Command::new("job"));
        }
    }
}

#[test]
fn a_child_that_is_killed_after_a_sigterm_is_not_kept_for_a_second_sigkill() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("stubborn", Program::new().stay().ignoring_terminate());
    let child = spawn(&mut shop, Command::new("stubborn").kill_after(DAY), 0);
    assert!(ask(&mut shop, move |_, io| io.terminate(child) && io.kill(child)));
    finish(&mut shop);
    assert!(shop.elapsed() < SECOND, "{:?}", shop.elapsed());
    assert_eq!(process(&shop, 0).signals().len(), 2);
}

#[test]
fn a_time_out_goes_on_while_the_output_is_paused() {
    let mut shop = shop(Conditions { buffer: 16, ..Conditions::calm() });
    shop.net_mut().install("yes", Program::new().write_for_ever("y\n"));
    shop.handler().paused.push(0);
    let child = spawn(&mut shop, Command::new("yes").timeout(SECOND), 0);
    shop.run_for(60 * SECOND).expect("it keeps its promises");
    assert_eq!(
        process(&shop, 0).status().and_then(|it| std::os::unix::process::ExitStatusExt::signal(&it)),
        Some(15)
    );
    assert!(shop.recording().told().is_empty(), "what it wrote is not handed over yet");
    let (out, err) = (pipe(&mut shop, child, Pipe::Stdout), pipe(&mut shop, child, Pipe::Stderr));
    ask(&mut shop, move |_, io| [out, err].map(|pipe| io.resume(pipe)));
    assert_eq!(how(finish(&mut shop)).2, ExitCause::TimedOut);
    assert_eq!(shop.handler().runs[&0].out, b"y\ny\ny\ny\ny\ny\ny\ny\n");
}

#[test]
fn the_longest_times_are_never() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("job", Program::new().after(DAY).leaving(Grandchild::living(DAY)));
    let command =
        Command::new("job").timeout(Duration::MAX).kill_after(Duration::MAX).pipe_grace(Duration::MAX);
    assert_eq!(how(run(&mut shop, command)), exited(0));
    assert!(told_at(&shop) >= 2 * DAY);
}
