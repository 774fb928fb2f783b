//! Counters over the simulated network: by service, and of callbacks and turns.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Script};
use serve_forever::sim::World;
use serve_forever::{Config, Limits};

use super::handlers::{Call, Scripted, calm, run};

#[test]
fn every_callback_and_every_turn_is_counted_once() {
    for slow_callback in [None, Some(Duration::from_secs(1))] {
        let calls = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = calls.clone();
        let handler = Scripted::new(move |io, call| {
            counted.set(counted.get() + 1);
            if let Call::Line(line) = call {
                let _ = io.write(line);
            }
            Ok(())
        });
        let config = Config { slow_callback, ..Config::default() };
        let mut world: World<_, true> =
            World::with_config(7, Conditions::calm(), handler, Limits::default(), config)
                .expect("good limits");
        for _ in 0..20 {
            world.play(Script::new().send("hello\n").await_answer("hello\n").finish());
        }
        run(&mut world);
        let stats = world.reactor().stats();
        assert_eq!(stats.turn_times.count(), stats.turns);
        // And `started`, and for each client `verify` and `eof`, of which the script
        // is not told.
        let callbacks = calls.get() + 1 + 2 * 20;
        let expected = if slow_callback.is_some() { callbacks } else { 0 };
        assert_eq!(stats.callback_times.count(), expected, "{slow_callback:?}");
        let of_services: Vec<_> = world.reactor().service_stats().cloned().collect();
        assert_eq!(of_services.len(), 1);
        assert_eq!(of_services[0].name, "Recording<Scripted>");
        assert_eq!((of_services[0].accepted, of_services[0].closed.finished), (20, 20));
    }
}

#[test]
fn a_deadline_that_passes_is_a_reason_of_its_own() {
    let limits = Limits { idle: Some(Duration::from_secs(5)), ..Limits::default() };
    let mut world = calm(Scripted::lines(), limits);
    world.play(Script::new().send("hello\n").await_answer("hello\n"));
    run(&mut world);
    let closed = world.reactor().service_stats().next().expect("a service").closed;
    assert_eq!((closed.timed_out, closed.total()), (1, 1), "{closed:?}");
}
