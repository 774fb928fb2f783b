//! A console without an operator: what its clients' ends are.

use std::time::Duration;

use serve_forever::driver::sim::{Pace, Script, Weather};
use serve_forever::services::{Console, Framing};
use serve_forever::sim::World;

use super::handlers::{run, why};

/// A world in which a reply of a few bytes does not fit into a socket.
fn tiny() -> World<Console, true> {
    let weather = Weather { buffer: 15, ..Weather::calm() };
    World::new(1, weather, Console::new(Framing::Lines), Console::limits()).expect("good limits")
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
