//! A console without an operator: what its clients' ends are.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Pace, Rng, Script};
use serve_forever::services::{Console, Framing};
use serve_forever::sim::World;

use super::handlers::{noise, run, why};

/// A world in which a reply of a few bytes does not fit into a socket.
fn tiny() -> World<Console, true> {
    let conditions = Conditions { buffer: 15, ..Conditions::calm() };
    World::new(1, conditions, Console::new(Framing::Lines), Console::limits()).expect("good limits")
}

#[test]
fn a_client_that_is_to_go_and_does_not_read_is_let_go_in_time() {
    let mut world = tiny();
    let too_long = vec![b'x'; Framing::MAX_LINE + 2];
    let client = world.play(Script::new().read(Pace::Never).send(too_long));
    world
        .run_while(|world| world.handler().clients().len() == 1 || world.lives().is_empty())
        .expect("it is well");
    world.run_for(Duration::from_secs(59)).expect("it keeps its promises");
    assert_eq!(world.life(client).and_then(|life| life.closed()), None, "it has its time");
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Idle)");
}

#[test]
fn a_client_may_be_silent_for_days() {
    let mut world = tiny();
    let client = world.play(Script::new().after(Duration::from_secs(72 * 3600)).send("hello\nexit\n"));
    run(&mut world);
    assert_eq!(why(&world, client), "Closed");
    assert!(world.elapsed() > Duration::from_secs(72 * 3600));
}

#[test]
fn whatever_clients_send_and_however_they_leave_nobody_stays_on_the_list() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let conditions = Conditions::seeded(&mut rng);
        let framing = if rng.below(2) == 0 { Framing::Lines } else { Framing::Chunk };
        let mut world: World<Console, true> =
            World::new(seed, conditions, Console::new(framing), Console::limits()).expect("good limits");
        for _ in 0..rng.size(1, 6) {
            let mut said = noise(rng.size(0, 300));
            said.extend_from_slice(&b"hello\n\r\n\x1b[2J\nexit\nmore\n"[..rng.size(0, 23)]);
            let script = Script::new().after(Duration::from_millis(rng.below(50))).send(said);
            world.play(if rng.below(3) == 0 { script.reset() } else { script.finish() });
        }
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        assert_eq!(world.handler().clients().len(), 0, "seed {seed}");
        world.check_baseline().unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
    }
}
