//! A loop that looks for events for a while before it sleeps
//! (`Config::busy_poll`): over the simulated network, whose waits are counted
//! and whose time is exact, and over the system.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Script};
use serve_forever::services::Echo;
use serve_forever::sim::World;
use serve_forever::{BoxError, Config, Io, Limits, Origin, Reactor, StreamHandler, TimerId};

use crate::util::{PATIENCE, SOON, Server, listen_anywhere};

const MS: Duration = Duration::from_millis(1);

/// What each call into the simulated system takes: so much is one look.
const LOOK: Duration = Duration::from_micros(1);

/// Nothing goes wrong, and a loop looks for `busy` before it sleeps.
fn world<H: StreamHandler>(busy: Option<Duration>, handler: H) -> World<H, true> {
    let config = Config { busy_poll: busy, ..Config::default() };
    let conditions = Conditions { call: (LOOK, LOOK), ..Conditions::calm() };
    let limits =
        Limits { idle: None, first_frame: None, frame: None, write_stall: None, ..Limits::default() };
    let mut world = World::with_config(1, conditions, handler, limits, config).expect("a good configuration");
    // What listening had to tell is told.
    world.turn(Some(Duration::ZERO)).expect("it keeps its promises");
    world
}

/// Waits of one turn, and the simulated time that it took.
fn turn<H: StreamHandler>(world: &mut World<H, true>, max_wait: Option<Duration>) -> (u64, Duration) {
    let (waits, began) = (world.reactor().stats().system.wait, world.elapsed());
    world.turn(max_wait).expect("it keeps its promises");
    (world.reactor().stats().system.wait - waits, world.elapsed() - began)
}

#[test]
fn it_looks_for_that_long_and_then_sleeps() {
    let mut plain = world(None, Echo::new());
    assert_eq!(turn(&mut plain, Some(100 * MS)).0, 1, "it sleeps at once");

    let mut busy = world(Some(50 * LOOK), Echo::new());
    for _ in 0..3 {
        let (waits, took) = turn(&mut busy, Some(100 * MS));
        // Each look takes its time, and one more wait is the sleep.
        assert_eq!(waits, 51);
        assert!((100 * MS..101 * MS).contains(&took), "{took:?}");
    }
    let mut never = world(Some(Duration::ZERO), Echo::new());
    assert_eq!(turn(&mut never, Some(100 * MS)).0, 1, "zero is off");
}

#[test]
fn what_comes_while_it_looks_is_served_without_a_sleep() {
    let mut world = world(Some(MS), Echo::new());
    let client = world.play(Script::new().send("one").after(MS / 2).send("two").after(MS / 2).finish());
    let waits = world.reactor().stats().system.wait;
    while world.client(client).received() != b"onetwo" {
        world.turn(None).expect("it keeps its promises");
    }
    // Each look takes its time, and of the half a millisecond between the two
    // all was spent in looking: asleep it takes one or two waits.
    let waits = world.reactor().stats().system.wait - waits;
    assert!(waits > 400, "{waits} waits");
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
}

#[test]
fn a_turn_waits_no_longer_than_it_is_told_to() {
    // Sooner than the loop would sleep, later, and not at all.
    for busy in [10 * MS, Duration::MAX] {
        let mut world = world(Some(busy), Echo::new());
        let (waits, took) = turn(&mut world, Some(5 * MS));
        assert!(waits > 1000, "{waits}");
        assert!((5 * MS..6 * MS).contains(&took), "{took:?}");
        assert_eq!(turn(&mut world, Some(Duration::ZERO)).0, 1, "one look");
    }
    let mut world = world(Some(MS), Echo::new());
    let (_, took) = turn(&mut world, Some(5 * MS));
    assert!((5 * MS..6 * MS).contains(&took), "{took:?}");
}

/// Sets timers when it is opened, and notes how late each of them fires.
struct Late {
    after: &'static [Duration],
    worst: Rc<Cell<Duration>>,
    fired: Rc<Cell<usize>>,
}

impl StreamHandler for Late {
    type Session = Vec<(TimerId, std::time::Instant)>;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Self::Session, BoxError> {
        let set = |after: &Duration| Ok((io.after(*after)?, io.now() + *after));
        self.after.iter().map(set).collect()
    }

    fn data(&mut self, _: &mut Io<'_>, _: &mut Self::Session, _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, due: &mut Self::Session, timer: TimerId) -> Result<(), BoxError> {
        let (_, due) = due.iter().find(|(set, _)| *set == timer).expect("one of ours");
        let late = io.now().checked_duration_since(*due).expect("never early");
        self.worst.set(self.worst.get().max(late));
        self.fired.set(self.fired.get() + 1);
        Ok(())
    }
}

#[test]
fn timers_are_as_punctual_as_without() {
    const AFTER: [Duration; 4] = [Duration::ZERO, LOOK.saturating_mul(7), MS, Duration::from_secs(3600)];
    for busy in [None, Some(10 * LOOK), Some(5 * MS)] {
        let (worst, fired) = (Rc::default(), Rc::default());
        let late = Late { after: &AFTER, worst: Rc::clone(&worst), fired: Rc::clone(&fired) };
        let mut world = world(busy, late);
        world.play(Script::new().after(Duration::from_secs(7200)).finish());
        world.run().expect("it keeps its promises");
        assert_eq!(fired.get(), AFTER.len());
        // Some calls into the system, each of which takes its time.
        assert!(worst.get() < 20 * LOOK, "{:?} late with {busy:?}", worst.get());
    }
}

#[test]
fn the_next_timeout_is_the_same_as_without() {
    let mut world = world(Some(MS), Echo::new());
    assert_eq!(world.reactor().next_timeout(), None);
    let service = world.service().clone();
    let handle = world.reactor().handle(&service);
    handle.call(|_, io| drop(io.after(3 * MS))).expect("there is room");
    assert_eq!(world.reactor().next_timeout(), Some(Duration::ZERO), "a call waits");
    let (waits, took) = turn(&mut world, None);
    assert!(waits <= 2 && took < MS, "a call that is left is no reason to wait: {waits} waits, {took:?}");
    let left = world.reactor().next_timeout().expect("a timer is set");
    assert!((2 * MS..=3 * MS).contains(&left), "{left:?}");
}

// From here on over the system. A loop that never sleeps is reached by what
// would wake one that does.

fn never_asleep() -> Server<Echo> {
    let config = Config { busy_poll: Some(Duration::MAX), ..Config::default() };
    Server::start_with(config, Echo::new(), Echo::limits(), &[listen_anywhere()])
}

#[test]
fn a_loop_that_never_sleeps_serves_clients_calls_and_timers() {
    let server = never_asleep();
    let client = server.connect();
    for _ in 0..10 {
        client.send("hello");
        client.expect("hello");
        server.ask(|_, io| drop(io.after(SOON)));
    }
    while server.ask(|_, io| io.stats().timers_fired) < 10 {}
    // Dropping it asks for a shutdown, and waits until the loop has ended.
}

#[test]
fn a_call_that_is_left_before_a_turn_or_within_it_is_run_by_it() {
    let config = Config { busy_poll: Some(Duration::MAX), ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let service = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let handle = reactor.handle(&service);
    handle.call(|_, _| ()).expect("there is room");
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert_eq!(reactor.stats().calls, 1);

    let later = std::thread::spawn(move || handle.call(|_, _| ()));
    while reactor.stats().calls < 2 {
        reactor.turn(None).expect("the loop turns");
    }
    later.join().expect("it runs").expect("there is room");
}
