//! The pipes of simulated children, and the bytes in them.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Grandchild, Pace, Program};
use serve_forever::process::{Command, Pipe};

use super::jobs::*;

#[test]
fn output_in_pieces_arrives_whole_and_before_the_exit() {
    for (seed, mut shop) in shops(0..60) {
        let program = Program::new()
            .write("one ")
            .after(SECOND)
            .write_error("bad")
            .write(noise(3000))
            .after(Duration::from_millis(1))
            .write(" end")
            .exit(3);
        shop.net_mut().install("job", program);
        let exit = run(&mut shop, Command::new("job"));
        assert_eq!(how(exit), exited(3), "seed {seed}");
        let run = &shop.handler().runs[&0];
        assert_eq!(run.out, [b"one ", &noise(3000)[..], b" end"].concat(), "seed {seed}");
        assert_eq!(run.err, b"bad");
        assert!(run.ends.iter().all(|(_, why)| why == "both sides finished"), "{:?}", run.ends);
    }
}

#[test]
fn output_and_errors_may_be_one_pipe() {
    for (seed, mut shop) in shops(0..30) {
        let program = Program::new().write("1").write_error("2").close(Pipe::Stdout).write_error("3");
        shop.net_mut().install("job", program);
        assert_eq!(how(run(&mut shop, Command::new("job").stderr_to_stdout())), exited(0));
        assert_eq!(shop.handler().runs[&0].out, b"123", "seed {seed}");
        assert_eq!(shop.handler().runs[&0].ends.len(), 1);
    }
}

#[test]
fn a_child_without_pipes_is_told_of_too() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("job", Program::new().write("nobody sees it").write_for_ever("or this"));
    let command = Command::new("job").null_stdout().null_stderr().timeout(SECOND);
    assert_eq!(how(run(&mut shop, command)).1, Some(15));
}

#[test]
fn the_arguments_reach_the_program() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("echo", Program::new().write_arguments());
    run(&mut shop, Command::new("echo").args(["a", "b c"]));
    assert_eq!(shop.handler().runs[&0].out, b"a b c");
    assert_eq!(process(&shop, 0).name(), "echo");
}

#[test]
fn what_a_child_is_given_comes_back_through_cat() {
    for (seed, mut shop) in shops(0..60) {
        shop.net_mut().install("cat", Program::cat());
        shop.handler().input.insert(0, noise(5000));
        assert_eq!(how(run(&mut shop, Command::new("cat").piped_stdin())), exited(0), "seed {seed}");
        assert_eq!(shop.handler().runs[&0].out, noise(5000), "seed {seed}");
    }
}

#[test]
fn without_a_pipe_its_input_is_empty() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("cat", Program::cat());
    assert_eq!(how(run(&mut shop, Command::new("cat"))), exited(0));
    assert!(told_at(&shop) < SECOND);
}

#[test]
fn a_child_that_reads_slowly_gets_everything() {
    let mut shop = shop(Conditions { buffer: 100, ..Conditions::calm() });
    let pace = Pace::Slowly { bytes: 100, every: SECOND };
    shop.net_mut().install("slow", Program::new().read(pace).exit(2));
    shop.handler().input.insert(0, noise(10_000));
    assert_eq!(how(run(&mut shop, Command::new("slow").piped_stdin())), exited(2));
    assert!(told_at(&shop) >= 99 * SECOND);
    let stdin = process(&shop, 0).pipe(Pipe::Stdin).expect("it is piped");
    assert_eq!(shop.client(stdin).received(), noise(10_000));
}

#[test]
fn a_child_that_never_reads_holds_nobody_up_but_itself() {
    let mut shop = shop(Conditions { buffer: 100, ..Conditions::calm() });
    shop.net_mut().install("deaf", Program::new().after(DAY));
    shop.handler().input.insert(0, noise(10_000));
    assert_eq!(how(run(&mut shop, Command::new("deaf").piped_stdin())), exited(0));
    let ends = &shop.handler().runs[&0].ends;
    assert!(ends.iter().any(|(pipe, why)| *pipe == Pipe::Stdin && why.starts_with("broken")), "{ends:?}");
    assert!(told_at(&shop) >= DAY);
}

#[test]
fn input_that_the_child_closes_ends_that_connection_alone() {
    for (seed, mut shop) in shops(0..30) {
        let program = Program::new().close(Pipe::Stdin).after(SECOND).write("still here");
        shop.net_mut().install("job", program);
        shop.handler().input.insert(0, noise(200_000));
        assert_eq!(how(run(&mut shop, Command::new("job").piped_stdin())), exited(0), "seed {seed}");
        assert_eq!(shop.handler().runs[&0].out, b"still here");
    }
}

#[test]
fn a_child_waits_while_its_output_is_paused_and_loses_nothing() {
    for (seed, mut shop) in shops(0..30) {
        let buffer = shop.net_mut().conditions_mut().buffer;
        shop.net_mut().install("job", Program::new().write(noise(100_000)));
        shop.handler().paused.push(0);
        let child = spawn(&mut shop, Command::new("job"), 0);
        shop.run_for(60 * SECOND).expect("it keeps its promises");
        let out = process(&shop, 0).pipe(Pipe::Stdout).expect("it is piped");
        assert_eq!(shop.client(out).handed_over(), buffer.min(100_000), "seed {seed}");
        assert!(!shop.handler().runs.contains_key(&0));
        let out = pipe(&mut shop, child, Pipe::Stdout);
        let err = pipe(&mut shop, child, Pipe::Stderr);
        ask(&mut shop, move |_, io| [out, err].map(|pipe| io.resume(pipe)));
        assert_eq!(how(finish(&mut shop)), exited(0));
        assert_eq!(shop.handler().runs[&0].out, noise(100_000), "seed {seed}");
    }
}

#[test]
fn what_is_in_a_paused_pipe_outlives_the_child() {
    for grace in [Duration::ZERO, SECOND] {
        for (seed, mut shop) in shops(0..30) {
            let last_words = noise(shop.net_mut().conditions_mut().buffer.min(1000));
            shop.net_mut().install("job", Program::new().write(last_words.clone()).exit(9));
            shop.handler().paused.push(0);
            let child = spawn(&mut shop, Command::new("job").pipe_grace(grace), 0);
            shop.run_for(DAY).expect("it keeps its promises");
            assert!(process(&shop, 0).ended().is_some() && shop.recording().told().is_empty());
            ask(&mut shop, move |_, io| {
                [Pipe::Stdout, Pipe::Stderr].map(|pipe| io.pipe(child, pipe).map(|pipe| io.resume(pipe)))
            });
            assert_eq!(how(finish(&mut shop)), exited(9));
            assert_eq!(shop.handler().runs[&0].out, last_words, "seed {seed}");
        }
    }
}

#[test]
fn a_pipe_that_the_handler_closes_ends_its_writer_by_sigpipe() {
    for (program, ends) in [
        (Program::new().write_for_ever("y\n"), (None, Some(13))),
        (Program::new().write_for_ever("y\n").exit(4).ignoring_broken_pipes(), (Some(4), None)),
    ] {
        for (seed, mut shop) in shops(0..20) {
            shop.net_mut().install("yes", program.clone());
            let child = spawn(&mut shop, Command::new("yes"), 0);
            shop.run_for(SECOND).expect("it keeps its promises");
            assert!(!shop.handler().runs[&0].out.is_empty(), "seed {seed}");
            ask(&mut shop, move |_, io| io.pipe(child, Pipe::Stdout).map(|out| io.close(out)));
            let (code, signal, _) = how(finish(&mut shop));
            assert_eq!((code, signal), ends, "seed {seed}");
        }
    }
}

#[test]
fn pipes_that_end_long_before_the_child_are_closed_then() {
    for (seed, mut shop) in shops(0..20) {
        let program = Program::new().write("x").close(Pipe::Stdout).close(Pipe::Stderr).after(DAY).exit(1);
        shop.net_mut().install("daemon", program);
        spawn(&mut shop, Command::new("daemon"), 0);
        shop.run_for(60 * SECOND).expect("it keeps its promises");
        assert_eq!(shop.handler().runs[&0].ends.len(), 2, "seed {seed}");
        assert_eq!(how(finish(&mut shop)), exited(1));
        assert!(told_at(&shop) >= DAY);
    }
}

#[test]
fn a_grandchild_that_lets_go_within_the_grace_is_waited_for() {
    for (seed, mut shop) in shops(0..30) {
        let late = Grandchild::living(SECOND).writing("late", SECOND / 4);
        shop.net_mut().install("job", Program::new().write("early").leaving(late));
        assert_eq!(how(run(&mut shop, Command::new("job").pipe_grace(60 * SECOND))), exited(0));
        let out = &shop.handler().runs[&0].out;
        assert!(out.starts_with(b"earlylate"), "seed {seed}: {out:?}");
        let waited = told_at(&shop) - ended_at(&shop, 0);
        assert!(waited >= SECOND && waited < 10 * SECOND, "seed {seed}: {waited:?}");
    }
}

#[test]
fn a_grandchild_that_holds_the_pipes_for_ever_is_given_the_grace() {
    for writing in [false, true] {
        for (seed, mut shop) in shops(0..30) {
            let mut holder = Grandchild::for_ever();
            if writing {
                holder = holder.writing("more and more", Duration::from_micros(50));
            }
            shop.net_mut().install("job", Program::new().write("all of it").exit(6).leaving(holder));
            let grace = Duration::from_millis(200);
            assert_eq!(how(run(&mut shop, Command::new("job").pipe_grace(grace))), exited(6));
            assert!(shop.handler().runs[&0].out.starts_with(b"all of it"), "seed {seed}");
            let waited = told_at(&shop) - ended_at(&shop, 0);
            assert!(waited >= grace && waited < 2 * SECOND, "seed {seed}: {waited:?}");
        }
    }
}

/// However little of it is read at a time, and however much others write; its
/// output and its errors.
#[test]
fn what_a_child_had_written_is_handed_over_whole_though_its_pipes_do_not_end() {
    for sips in [None, Some(SECOND)] {
        for (seed, mut shop) in shops(0..30) {
            let own = noise(shop.net_mut().conditions_mut().buffer.min(300));
            let holder = Grandchild::for_ever().writing("more and more", Duration::from_micros(50));
            let program = Program::new().write(own.clone()).write_error(own.clone()).leaving(holder);
            shop.net_mut().install("job", program);
            shop.handler().sips = sips;
            assert_eq!(how(run(&mut shop, Command::new("job").pipe_grace(Duration::ZERO))), exited(0));
            assert!(shop.handler().runs[&0].out.starts_with(&own), "seed {seed}");
            assert_eq!(shop.handler().runs[&0].err, own, "seed {seed}");
        }
    }
}

#[test]
fn what_one_left_behind_writes_for_ever_ends_though_the_handler_is_slow() {
    for (seed, mut shop) in shops(0..30) {
        let holder = Grandchild::for_ever().writing(noise(1000), Duration::from_micros(50));
        shop.net_mut().install("job", Program::new().write("own").exit(2).leaving(holder));
        // At nearly every moment it has paused.
        shop.handler().sips = Some(SECOND);
        assert_eq!(how(run(&mut shop, Command::new("job"))), exited(2));
        let waited = told_at(&shop) - ended_at(&shop, 0);
        assert!(waited < 10 * SECOND, "seed {seed}: {waited:?}");
    }
}

#[test]
fn one_that_pauses_for_a_day_is_not_looked_at_all_day() {
    let mut shop = shop(Conditions::calm());
    shop.net_mut().install("job", Program::new().write("x"));
    shop.handler().sips = Some(DAY);
    let turns = shop.turns();
    run(&mut shop, Command::new("job").pipe_grace(Duration::ZERO));
    assert!(told_at(&shop) >= DAY && shop.turns() - turns < 30, "{} turns", shop.turns() - turns);
}

/// Or it would be waited for until somebody wrote to it.
#[test]
fn input_that_nobody_ends_ends_with_its_child() {
    for leaves in [false, true] {
        for (seed, mut shop) in shops(0..20) {
            let mut program = Program::new().after(SECOND).exit(1);
            if leaves {
                program = program.leaving(Grandchild::for_ever());
            }
            shop.net_mut().install("job", program);
            assert_eq!(how(run(&mut shop, Command::new("job").piped_stdin())), exited(1), "seed {seed}");
            assert!(told_at(&shop) < 3 * SECOND, "seed {seed}");
            let ends = &shop.handler().runs[&0].ends;
            assert!(ends.contains(&(Pipe::Stdin, "both sides finished".into())), "{ends:?}");
        }
    }
}
