//! Limits of simulated children: those that cannot be started, and how many can.

use std::io::ErrorKind;

use rustix::io::Errno;
use serve_forever::Config;
use serve_forever::driver::sim::{Conditions, Grandchild, Odds, Program, Rng};
use serve_forever::process::{Command, Pipe};

use super::jobs::*;

#[test]
fn what_cannot_be_started_is_told_with_the_systems_reason() {
    for (error, kind) in [
        (Errno::NOENT, ErrorKind::NotFound),
        (Errno::ACCESS, ErrorKind::PermissionDenied),
        (Errno::AGAIN, ErrorKind::WouldBlock),
        (Errno::NOMEM, ErrorKind::OutOfMemory),
        (Errno::TOOBIG, ErrorKind::ArgumentListTooLong),
    ] {
        for (seed, mut shop) in shops(0..10) {
            shop.net_mut().install("job", Program::that_fails(error));
            spawn(&mut shop, Command::new("job").piped_stdin(), 7);
            settle(&mut shop);
            assert_eq!((only(&shop).outcome(), only(&shop).tag()), (Err(kind), 7), "seed {seed}");
            assert!(shop.handler().runs.is_empty() && shop.lives().is_empty());
            assert_eq!(shop.reactor().stats().children_failed, 1);
        }
    }
}

#[test]
fn without_descriptors_a_child_fails_and_later_ones_do_not() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("job", Program::new().after(SECOND));
        shop.net_mut().limit_descriptors(Some(3));
        for tag in 0..3 {
            spawn(&mut shop, Command::new("job"), tag);
        }
        settle(&mut shop);
        let failed: Vec<u64> = shop
            .recording()
            .told()
            .iter()
            .filter(|told| told.outcome().is_err())
            .map(|told| told.tag())
            .collect();
        assert_eq!(failed, [1, 2]);
        spawn(&mut shop, Command::new("job"), 3);
        settle(&mut shop);
        assert!(shop.recording().told()[3].outcome().is_ok());
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut shop = shop(Conditions::calm());
    spawn(&mut shop, Command::new("missing"), 0);
    settle(&mut shop);
    assert_eq!(only(&shop).outcome(), Err(ErrorKind::NotFound));
}

#[test]
fn a_child_that_is_ended_before_it_began_is_never_started() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("job", Program::new());
        ask(&mut shop, |_, io| {
            for tag in 0..2 {
                let child = io.spawn(Command::new("job"), tag).expect("there is room");
                assert!(if tag == 0 { io.terminate(child) } else { io.kill(child) });
            }
        });
        settle(&mut shop);
        let told = shop.recording().told();
        assert!(
            told.len() == 2 && told.iter().all(|told| told.outcome() == Err(ErrorKind::ConnectionAborted))
        );
        assert!(shop.net().processes().is_empty());
    }
}

#[test]
fn a_pipe_that_is_ended_before_it_began_is_never_opened() {
    for (seed, mut shop) in shops(0..20) {
        shop.net_mut().install("yes", Program::new().write_for_ever("y"));
        ask(&mut shop, |_, io| {
            let child = io.spawn(Command::new("yes").piped_stdin(), 0).expect("there is room");
            for pipe in [Pipe::Stdin, Pipe::Stdout, Pipe::Stderr] {
                io.close(io.pipe(child, pipe).expect("it is there"));
            }
        });
        assert_eq!(how(finish(&mut shop)).1, Some(13), "seed {seed}");
        assert!(shop.lives().is_empty());
    }
}

#[test]
fn children_are_limited_until_they_are_reaped() {
    let config = Config { max_children: 2, ..Config::default() };
    let mut shop = shop_with(1, Conditions::calm(), config);
    shop.net_mut().install("job", Program::new().after(SECOND).leaving(Grandchild::for_ever()));
    let mut held = |tag| try_spawn(&mut shop, Command::new("job").pipe_grace(3 * SECOND), tag).is_ok();
    assert_eq!([held(0), held(1), held(2)], [true, true, false]);
    shop.run_for(2 * SECOND).expect("it keeps its promises");
    let refusal = try_spawn(&mut shop, Command::new("job"), 3).expect_err("both are still read from");
    assert_eq!(refusal.to_string(), "too many child processes: Config::max_children is 2");
    settle(&mut shop);
    assert!(try_spawn(&mut shop, Command::new("job"), 4).is_ok());
    settle(&mut shop);
    assert_eq!(shop.recording().told().len(), 3, "those that were refused have no other answer");
}

#[test]
fn a_thousand_children_sixteen_at_a_time_are_all_told_of_once() {
    for seed in [1, 2] {
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        let config = Config { max_children: 16, ..Config::default() };
        let mut shop = shop_with(seed, conditions, config);
        let millisecond = SECOND / 1000;
        shop.net_mut().install("0", Program::new().write_arguments());
        shop.net_mut().install("1", Program::new().after(5 * millisecond).write_arguments().exit(1));
        shop.net_mut().install("2", Program::cat());
        shop.net_mut().install("3", Program::new().stay().ignoring_terminate());
        shop.net_mut().install("4", Program::new().write("x").leaving(Grandchild::for_ever()));
        for tag in 0..1000_u64 {
            let program = (tag % 5).to_string();
            let mut command = Command::new(program).arg(tag.to_string());
            if tag % 5 == 2 {
                command = command.piped_stdin();
                shop.handler().input.insert(tag, tag.to_string().into());
            }
            let command = command.timeout(SECOND / 2).kill_after(10 * millisecond).pipe_grace(millisecond);
            shop.handler().waiting.push_back((command, tag));
        }
        ask(&mut shop, |jobs, io| (0..16).for_each(|_| jobs.start_waiting(io)));
        settle(&mut shop);
        let mut tags: Vec<u64> = shop.recording().told().iter().map(|told| told.tag()).collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..1000).collect::<Vec<u64>>(), "seed {seed}");
        assert_eq!(shop.handler().most, 16);
        let runs = std::mem::take(&mut shop.handler().runs);
        for told in shop.recording().told() {
            if told.outcome().is_ok_and(|exit| exit.cause == serve_forever::process::ExitCause::Itself)
                && told.tag() % 5 < 3
            {
                assert_eq!(runs[&told.tag()].out, told.tag().to_string().as_bytes(), "seed {seed}");
            }
        }
    }
}

#[test]
fn faults_of_starting_hit_some_and_leave_nothing_behind() {
    let conditions =
        Conditions { spawn_fails: Odds::one_in(3), interrupted: Odds::one_in(3), ..Conditions::calm() };
    let mut shop = shop_with(5, conditions, Config::default());
    shop.net_mut().install("job", Program::new().write("x"));
    for tag in 0..100 {
        spawn(&mut shop, Command::new("job"), tag);
    }
    settle(&mut shop);
    let told = shop.recording().told();
    let failed = told.iter().filter(|told| told.outcome().is_err()).count();
    assert_eq!((told.len(), failed as u64), (100, shop.net().faults().spawns_failed));
    assert!((10..60).contains(&failed), "{failed}");
}

#[test]
fn as_one_is_told_of_there_is_room_for_the_next() {
    let mut shop = shop_with(1, Conditions::calm(), Config { max_children: 1, ..Config::default() });
    shop.net_mut().install("job", Program::new().stay());
    // Each group waits a day for its SIGKILL.
    let command = Command::new("job").timeout(SECOND).kill_after(DAY);
    shop.handler().waiting.extend((1..4).map(|tag| (command.clone(), tag)));
    spawn(&mut shop, command, 0);
    shop.run_for(60 * SECOND).expect("it keeps its promises");
    assert_eq!(shop.recording().told().len(), 4);
    // One of them still waits; the others did not get their time.
    assert_eq!(shop.reactor().children(), 1);
    settle(&mut shop);
    assert!(shop.net().processes().iter().all(|process| process.signals().len() == 2));
}

#[test]
fn a_turn_starts_its_share_of_programs_in_their_order() {
    for (seed, mut shop) in shops(0..10) {
        shop.net_mut().install("job", Program::new().write_arguments());
        ask(&mut shop, |_, io| {
            for tag in 0..20 {
                let child = io.spawn(Command::new("job").arg(tag.to_string()), tag).expect("there is room");
                assert!(tag != 10 || io.kill(child));
            }
        });
        let share = Config::default().spawns_per_turn;
        assert_eq!(shop.net().processes().len(), share, "seed {seed}");
        assert_eq!(only(&shop).tag(), 10, "that takes no time");
        shop.turn(Some(SECOND)).expect("it keeps its promises");
        assert!(shop.net().processes().len() == 2 * share, "the next turn did not wait");
        settle(&mut shop);
        let mut ids: Vec<_> = shop.net().processes().iter().map(|process| process.child()).collect();
        ids.dedup();
        assert!(ids.len() == 19 && ids.is_sorted(), "{ids:?}");
    }
}
