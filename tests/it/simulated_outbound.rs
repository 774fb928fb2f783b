//! Connections that the reactor makes itself, over the simulated network.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Odds, Rng, Script, SimDriver};
use serve_forever::{
    BoxError, CloseReason, Config, Endpoint, Io, Limits, Origin, Reactor, Sent, Service, StreamHandler,
};

/// Sends something to each connection that it made, and keeps what comes back.
#[derive(Default)]
struct Dialler {
    opened: Vec<u64>,
    failed: Vec<(u64, io::ErrorKind)>,
    received: Vec<u8>,
    closed: usize,
}

impl StreamHandler for Dialler {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let Origin::Connected { tag, .. } = origin else { return Err("nobody else is expected".into()) };
        self.opened.push(*tag);
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.received.extend_from_slice(&input.split());
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {
        self.closed += 1;
    }

    fn connect_failed(&mut self, _: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.failed.push((tag, error.kind()));
    }
}

type World<const SHORT: bool> = (Reactor<SimDriver<SHORT>>, Service<Dialler>);

fn world<const SHORT: bool>(seed: u64, conditions: Conditions) -> World<SHORT> {
    let driver = SimDriver::new(seed, conditions);
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let service = reactor.add(Dialler::default(), Limits::default()).expect("good limits");
    (reactor, service)
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("a good endpoint")
}

/// Turns until no connection is left.
fn run<const SHORT: bool>(reactor: &mut Reactor<SimDriver<SHORT>>, seed: u64) {
    for _ in 0..100_000 {
        reactor.turn(None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        reactor.check_invariants().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        if reactor.connections() == 0 {
            return;
        }
    }
    panic!("seed {seed}: it does not end");
}

fn talks_to_a_host<const SHORT: bool>(seed: u64) {
    let (mut reactor, service) = world::<SHORT>(seed, Conditions::seeded(&mut Rng::new(seed)));
    let at = endpoint(if seed.is_multiple_of(2) { "127.0.0.1:80" } else { "unix:/host" });
    let script = Script::new().send("welcome ").after(Duration::from_millis(5)).send("and goodbye").finish();
    reactor.driver_mut().net_mut().host(&at, script);
    reactor.connect(&service, &at, seed).expect("there is room");
    run(&mut reactor, seed);
    let dialler = reactor.get_mut(&service);
    assert_eq!(dialler.opened.len() + dialler.failed.len(), 1, "seed {seed}: it is answered once");
    assert_eq!(dialler.closed, dialler.opened.len(), "seed {seed}");
    if dialler.failed.is_empty() {
        assert!(b"welcome and goodbye".starts_with(&dialler.received), "seed {seed}");
    }
}

#[test]
fn an_outbound_connection_lives_like_an_accepted_one_whatever_the_weather() {
    for seed in 0..500 {
        talks_to_a_host::<false>(seed);
        talks_to_a_host::<true>(seed);
    }
}

/// A signal that came while a connection was begun was told as its failure.
#[test]
fn who_is_there_is_connected_to_however_often_a_signal_comes() {
    let at = endpoint("127.0.0.1:80");
    for seed in 0..50 {
        let conditions = Conditions { interrupted: Odds::one_in(2), ..Conditions::calm() };
        let (mut reactor, service) = world::<false>(seed, conditions);
        reactor.driver_mut().net_mut().host(&at, Script::new().send("welcome").finish());
        reactor.connect(&service, &at, seed).expect("there is room");
        run(&mut reactor, seed);
        let took = Duration::from_nanos(reactor.driver().net().now().as_nanos());
        let dialler = reactor.get_mut(&service);
        assert_eq!((&dialler.opened[..], &dialler.failed[..]), (&[seed][..], &[][..]), "seed {seed}");
        assert_eq!(dialler.received, b"welcome", "seed {seed}");
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

#[test]
fn what_is_sent_before_a_connection_is_there_leaves_when_it_is() {
    let at = endpoint("127.0.0.1:80");
    for seed in 0..50 {
        let conditions = Conditions { buffer: 4, ..Conditions::calm() };
        let (mut reactor, service) = world::<false>(seed, conditions);
        reactor.driver_mut().net_mut().host(&at, Script::new().after(Duration::from_secs(1)).finish());
        let to = at.clone();
        let call = move |_: &mut Dialler, io: &mut Io<'_>| {
            let id = io.connect(&to, seed).expect("there is room");
            assert_eq!(io.send(id, "sent before"), Sent::Queued);
        };
        reactor.handle(&service).call(call).expect("it runs");
        run(&mut reactor, seed);
        assert_eq!(reactor.get_mut(&service).opened, [seed]);
        let (_, host) = reactor.driver().net().clients().next().expect("the host");
        assert_eq!(host.received(), b"sent before", "seed {seed}");
    }
}

#[test]
fn whom_nobody_answers_gives_up_after_half_a_minute() {
    let (mut reactor, service) = world::<false>(1, Conditions::calm());
    let at = endpoint("127.0.0.1:80");
    reactor.driver_mut().net_mut().silent_host(&at);
    reactor.connect(&service, &at, 9).expect("there is room");
    run(&mut reactor, 1);
    let waited = reactor.driver().net().now().as_nanos() / 1_000_000_000;
    assert_eq!(reactor.get_mut(&service).failed, [(9, io::ErrorKind::TimedOut)]);
    assert_eq!(waited, 30);
}

/// It failed at once, where others wait.
#[test]
fn a_unix_socket_whose_backlog_is_full_is_waited_for() {
    let at = endpoint("unix:/host");
    let (mut reactor, service) = world::<false>(1, Conditions::calm());
    let net = reactor.driver_mut().net_mut();
    net.host(&at, Script::new().send("x").finish());
    net.crowd(&at, Duration::from_secs(5));
    for tag in 0..10 {
        reactor.connect(&service, &at, tag).expect("there is room");
    }
    run(&mut reactor, 1);
    let took = Duration::from_nanos(reactor.driver().net().now().as_nanos());
    assert!((Duration::from_secs(5)..Duration::from_millis(5300)).contains(&took), "{took:?}");
    let connects = reactor.stats().system.connect;
    assert!(connects < 10 * 70, "{connects} calls: less and less often");
    let dialler = reactor.get_mut(&service);
    dialler.opened.sort_unstable();
    assert_eq!(dialler.opened, Vec::from_iter(0..10));
    assert_eq!(dialler.failed, []);
}

#[test]
fn a_backlog_that_stays_full_is_waited_for_as_long_as_connecting_may_take() {
    let at = endpoint("unix:/host");
    let (mut reactor, service) = world::<false>(1, Conditions::calm());
    let net = reactor.driver_mut().net_mut();
    net.host(&at, Script::new().finish());
    net.crowd(&at, Duration::from_secs(600));
    reactor.connect(&service, &at, 9).expect("there is room");
    run(&mut reactor, 1);
    let waited = reactor.driver().net().now().as_nanos() / 1_000_000_000;
    assert_eq!(reactor.get_mut(&service).failed, [(9, io::ErrorKind::TimedOut)]);
    assert_eq!(waited, 30);
}

#[test]
fn where_nobody_listens_it_is_refused() {
    for seed in 0..100 {
        let (mut reactor, service) = world::<false>(seed, Conditions::calm());
        reactor.connect(&service, &endpoint("127.0.0.1:80"), 1).expect("there is room");
        run(&mut reactor, seed);
        let dialler = reactor.get_mut(&service);
        assert_eq!(dialler.failed, [(1, io::ErrorKind::ConnectionRefused)], "seed {seed}");
    }
}

/// Connects again whenever a connection has ended or did not come about.
struct Persistent(Endpoint);

impl Persistent {
    fn again(&self, io: &mut Io<'_>) {
        let _ = io.connect(&self.0, 0);
    }
}

impl StreamHandler for Persistent {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        self.again(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, _: &io::Error) {
        self.again(io);
    }
}

#[test]
fn a_handler_that_connects_again_and_again_does_not_hold_a_shutdown_up() {
    for there in [false, true] {
        let driver = SimDriver::<false>::new(1, Conditions::calm());
        let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
        let at = endpoint("127.0.0.1:80");
        let service = reactor.add(Persistent(at.clone()), Limits::default()).expect("good limits");
        if there {
            reactor.driver_mut().net_mut().host(&at, Script::new());
        } else {
            reactor.driver_mut().net_mut().silent_host(&at);
        }
        for round in 0..2 {
            reactor.connect(&service, &at, 0).unwrap_or_else(|error| panic!("round {round}: {error}"));
            for _ in 0..10 {
                reactor.turn(Some(Duration::from_millis(1))).expect("the loop runs");
            }
            reactor.shutdown(Duration::from_secs(1));
            let finished = (0..1_000_000).any(|_| reactor.turn(None).expect("the loop runs").finished);
            assert!(finished && reactor.connections() == 0, "round {round}");
        }
    }
}

#[test]
fn the_first_frame_of_an_outbound_connection_is_awaited_from_when_it_was_made() {
    // Twenty seconds there, and twenty back.
    let far =
        Conditions { latency: (Duration::from_secs(20), Duration::from_secs(20)), ..Conditions::calm() };
    let mut reactor = Reactor::with_driver(SimDriver::<true>::new(1, far), Config::default())
        .expect("a good configuration");
    let first_frame = Some(Duration::from_secs(30));
    let limits = Limits { connect: Some(Duration::from_secs(60)), first_frame, ..Limits::default() };
    let service = reactor.add(Dialler::default(), limits).expect("good limits");
    let at = endpoint("127.0.0.1:7000");
    reactor.driver_mut().net_mut().host(&at, Script::new().send("hello").finish());
    reactor.connect(&service, &at, 1).expect("there is room");
    run(&mut reactor, 1);
    let dialler = reactor.get(&service);
    assert_eq!((dialler.received.as_slice(), reactor.stats().timed_out), (&b"hello"[..], 0));
}

/// Connects anew whenever that has failed, and gives up at once.
#[derive(Default)]
struct Restless {
    failed: usize,
}

impl StreamHandler for Restless {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, _: &io::Error) {
        self.failed += 1;
        if let Ok(id) = io.connect(&endpoint("127.0.0.1:7000"), tag) {
            io.abort(id);
        }
    }
}

#[test]
fn a_turn_ends_though_each_failure_begins_the_next_one() {
    let mut reactor = Reactor::with_driver(SimDriver::<true>::new(1, Conditions::calm()), Config::default())
        .expect("a good configuration");
    let service = reactor.add(Restless::default(), Limits::default()).expect("good limits");
    let id = reactor.connect(&service, &endpoint("127.0.0.1:7000"), 1).expect("there is room");
    reactor.handle(&service).call(move |_, io| io.abort(id)).expect("there is room");
    for turns in 1..=10 {
        let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        assert!(turn.more, "the next one is begun");
        assert!(reactor.get(&service).failed <= turns);
    }
    drop(reactor); // which ends as well
}
