//! Bugs that the simulated network found, each with the seed that did.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Odds, Script};
use serve_forever::services::{Chat, Echo, Once};
use serve_forever::sim::World;
use serve_forever::{Config, Limits, driver::sim::Pace};

fn often_interrupted() -> Conditions {
    Conditions { interrupted: Odds::one_in(2), ..Conditions::calm() }
}

/// What put a connection on the list to be read while it was being read was
/// forgotten, and it went onto that list a second time: a closing connection
/// had twice its share of every turn (once, seed 20001).
#[test]
fn a_connection_is_listed_once_however_it_ends() {
    let limits = Limits { read_budget: 16, ..Once::limits() };
    let mut world = World::<_>::new(1, Conditions::calm(), Once::new("yes"), limits).expect("good limits");
    let client = world.play(Script::new().send("a line\n").send(vec![b'x'; 1000]).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(world.client(client).received(), b"yes\n");
}

/// A signal that came while our FIN was sent was taken for the FIN: the peer
/// waited for it until the connection was closed (echo, seed 8).
#[test]
fn a_fin_that_a_signal_interrupts_is_sent_again() {
    for seed in 0..50 {
        let mut world = World::<_>::new(seed, often_interrupted(), Once::new("yes"), Once::limits())
            .expect("good limits");
        let client = world.play(Script::new().send("a line\n"));
        world.run().expect("it keeps its promises");
        let fin = world.client(client).saw_fin().expect("a FIN");
        assert!(fin.as_nanos() < Duration::from_secs(1).as_nanos() as u64, "seed {seed}: {fin:?}");
    }
}

/// A signal that came while a connection was registered lost that connection,
/// and had accepting pause (echo, seed 7).
#[test]
fn a_registration_that_a_signal_interrupts_is_made_again() {
    for seed in 0..50 {
        let mut world =
            World::<_>::new(seed, often_interrupted(), Echo::new(), Echo::limits()).expect("good limits");
        let client = world.play(Script::new().send("hello").read(Pace::AtOnce).finish());
        world.run().expect("it keeps its promises");
        assert_eq!(world.client(client).received(), b"hello", "seed {seed}");
        assert_eq!(world.reactor().stats().accept_pauses, 0, "seed {seed}");
    }
}

/// A loop that looks for events before it sleeps was told of noise at nearly
/// each look, and each look took the network a fraction of a microsecond: time
/// stood still, and a pause of seconds took millions of turns (echo, seed
/// 402314; upper, 8234 and 42 more of a million).
#[test]
fn noise_does_not_keep_a_busy_loop_from_its_sleep() {
    let noisy = Conditions { spurious: Odds::one_in(2), stale: Odds::one_in(2), ..Conditions::calm() };
    let conditions = Conditions { call: (Duration::from_nanos(100), Duration::from_nanos(300)), ..noisy };
    let config = Config { busy_poll: Some(Duration::from_micros(10)), ..Config::default() };
    for seed in 0..20 {
        let mut world =
            World::<_>::with_config(seed, conditions.clone(), Echo::new(), Echo::limits(), config.clone())
                .expect("good limits");
        let script = Script::new().send("hello").after(Duration::from_secs(4)).send(", again").finish();
        let client = world.play(script);
        world.set_patience(10_000);
        world.run().expect("it keeps its promises");
        assert_eq!(world.client(client).received(), b"hello, again", "seed {seed}");
    }
}

/// A queue fell to its low mark and rose above the high one again before its
/// handler was told of the first, which was taken for one crossing, so that
/// the second `drained` came without one (chat, seed 8021).
#[test]
fn a_queue_that_rises_again_before_it_is_told_of_drains_twice() {
    // "* you are guest1\n" leaves at once; of "* guest2 joined\n" 11 bytes do.
    let conditions = Conditions { buffer: 28, ..Conditions::calm() };
    let limits = Limits { low_mark: 3, high_mark: 8, ..Chat::limits() };
    let mut world = World::<_>::new(1, conditions, Chat::new(), limits).expect("good limits");
    let clients = [(); 2].map(|()| world.play(Script::new()));
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    assert_eq!(world.client(clients[0]).received(), b"* you are guest1\n* guest2 joined\n");
}
