//! Timers of handlers, over simulated time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serve_forever::Limits;
use serve_forever::driver::sim::Script;

use super::handlers::{Call, Scripted, calm, patient, run};

#[test]
fn a_timer_of_zero_is_the_next_turn_and_the_longest_is_never() {
    let fired = Rc::new(Cell::new(0));
    let count = Rc::clone(&fired);
    let mut world = calm(
        Scripted::new(move |io, call| {
            match call {
                Call::Open => {
                    let _ = io.after(Duration::MAX)?;
                    let _ = io.every(Duration::MAX)?;
                    let _ = io.after(Duration::ZERO)?;
                }
                // Again and again: it holds up neither the turn nor others.
                Call::Timer(_) if count.get() < 100 => {
                    count.set(count.get() + 1);
                    let _ = io.after(Duration::ZERO)?;
                }
                Call::Line(line) => drop(io.write(line)),
                _ => {}
            }
            Ok(())
        }),
        patient(),
    );
    let client = world.play(Script::new().send("a line\n").after(Duration::from_secs(86400)).finish());
    run(&mut world);
    assert_eq!((fired.get(), world.client(client).received()), (100, &b"a line\n"[..]));
}

#[test]
fn a_hundred_thousand_timers_fire_once_each_and_those_taken_back_do_not() {
    let fired = Rc::new(Cell::new(0_u32));
    let count = Rc::clone(&fired);
    let mut odd = Vec::new();
    let mut world = calm(
        Scripted::new(move |io, call| {
            match call {
                Call::Open => {
                    for n in 0..100_000_u64 {
                        let timer = io.after(Duration::from_millis(n * 7919 % 100))?;
                        if n % 2 == 1 {
                            odd.push(timer);
                        }
                    }
                    let _ = io.after(Duration::ZERO)?;
                }
                Call::Timer(_) => {
                    count.set(count.get() + 1);
                    for timer in odd.drain(..) {
                        io.cancel(timer);
                    }
                }
                _ => {}
            }
            Ok(())
        }),
        patient(),
    );
    world.play(Script::new().after(Duration::from_secs(1)).finish());
    run(&mut world);
    // The first to fire takes every odd one back, itself perhaps included.
    assert!((50_001..=50_002).contains(&fired.get()), "{}", fired.get());
}

#[test]
fn what_was_missed_is_skipped_and_the_beat_is_kept() {
    let beats = Rc::new(Cell::new(Vec::new()));
    let told = Rc::clone(&beats);
    let mut world = calm(
        Scripted::new(move |io, call| {
            match call {
                Call::Open => drop(io.every(Duration::from_secs(1))?),
                Call::Timer(_) => {
                    let mut beats = told.take();
                    beats.push(io.now());
                    told.set(beats);
                }
                _ => {}
            }
            Ok(())
        }),
        patient(),
    );
    // Signals and late waits: each call takes up to 3.5 s.
    let conditions = world.net_mut().conditions_mut();
    conditions.call = (Duration::from_millis(10), Duration::from_millis(3500));
    world.play(Script::new().after(Duration::from_secs(600)).finish());
    run(&mut world);
    let beats = beats.take();
    assert!(beats.len() > 100, "{} beats", beats.len());
    assert!(beats.windows(2).all(|pair| pair[0] < pair[1]), "never two for one look");
}

#[test]
fn a_service_keeps_its_own_timers_when_connections_end() {
    let ticks = Rc::new(Cell::new(0));
    let count = Rc::clone(&ticks);
    let mut world = calm(
        Scripted::new(move |io, call| {
            match call {
                Call::Open => drop(io.tick_after(Duration::from_secs(60))?),
                Call::Tick(_) => count.set(count.get() + 1),
                _ => {}
            }
            Ok(())
        }),
        patient(),
    );
    world.play(Script::new().reset());
    world.play(Script::new().finish());
    run(&mut world);
    assert_eq!(ticks.get(), world.lives().len());
}

// The process stands still while a timer and, a second later, a deadline come due. The
// handler has set the timer so that the deadline is never reached.
#[test]
fn a_timer_that_is_due_before_a_deadline_fires_before_it() {
    let limits = Limits { idle: Some(Duration::from_secs(6)), ..patient() };
    let mut world = calm(
        Scripted::new(|io, call| {
            match call {
                Call::Open => drop(io.after(Duration::from_secs(5))?),
                Call::Timer(_) => io.set_idle(io.id(), None),
                _ => {}
            }
            Ok(())
        }),
        limits,
    );
    let client = world.play(Script::new().after(Duration::from_secs(60)).send("late\n").finish());
    world.run_for(Duration::from_secs(4)).expect("it keeps its promises");
    world.net_mut().hold_up(Duration::from_secs(6));
    run(&mut world);
    let why = world.life(client).and_then(|life| life.closed()).expect("it was closed");
    assert!(why.starts_with("Finished"), "{why}");
}
