//! Datagrams over the simulated network: lost, doubled, overtaken.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serve_forever::driver::sim::{Conditions, Odds, Rng, SimDriver};
use serve_forever::services::{Echo, Upper};
use serve_forever::{
    BoxError, Config, DatagramHandler, Endpoint, Io, Limits, Peer, Reactor, SocketError, SocketId,
};

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("a good endpoint")
}

fn sender(number: u16) -> Peer {
    Peer::inet(([10, 0, 0, 1], number).into())
}

/// Every reply is that of a datagram that was sent, to who sent it, and comes
/// at most as often as losses and doublings explain; with nothing lost, all
/// of them come.
fn answers(seed: u64, conditions: Conditions) {
    const SENDERS: u16 = 5;
    const EACH: usize = 20;
    let kind = conditions.clone();
    let driver = SimDriver::<false>::new(seed, conditions);
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let at = endpoint(["udp://127.0.0.1:53", "unixgram:/upper", "udp://0.0.0.0:53"][seed as usize % 3]);
    // Each sender has an address of a wildcard for itself.
    let asked = |number: u16| match &at {
        Endpoint::Udp(at) if at.ip().is_unspecified() => {
            Endpoint::Udp(([10, 0, 1, number as u8], at.port()).into())
        }
        at => at.clone(),
    };
    let mut attempts = 0;
    while let Err(error) = reactor.bind(&upper, &at) {
        attempts += 1;
        assert!(attempts < 1000, "seed {seed}: {error}");
    }
    for round in 0..EACH {
        for number in 1..=SENDERS {
            let text = format!("round {round} of {number}");
            reactor.driver_mut().net_mut().send_datagram(&sender(number), &asked(number), text);
        }
    }
    loop {
        let turn =
            reactor.turn(Some(Duration::from_secs(1))).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        reactor.check_invariants().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        if reactor.driver().net().is_quiet() && !turn.more {
            break;
        }
    }
    let net = reactor.driver().net();
    let faults = net.faults();
    let mut answered = 0;
    for number in 1..=SENDERS {
        let peer = sender(number);
        let mut times: BTreeMap<String, u64> = BTreeMap::new();
        let server = asked(number);
        assert_eq!(
            net.datagrams_to(&peer).count(),
            net.datagrams_from(&server, &peer).count(),
            "seed {seed}: an answer came from where nobody had asked"
        );
        for reply in net.datagrams_from(&server, &peer) {
            *times.entry(String::from_utf8(reply.to_vec()).expect("UTF-8")).or_default() += 1;
        }
        for (reply, times) in &times {
            let round = (0..EACH).find(|round| *reply == format!("ROUND {round} OF {number}"));
            assert!(round.is_some(), "seed {seed}: nobody asked for {reply:?}");
            // Twice on the way there, and each of the two on the way back.
            assert!(*times <= 4, "seed {seed}: {reply:?} came {times} times");
            assert!(*times == 1 || faults.doubled > 0, "seed {seed}: {reply:?} came {times} times");
        }
        answered += times.len();
    }
    // After a stop, what the system does not take when asked once more is lost.
    if faults.lost == 0 && reactor.stats().datagrams_unsent == 0 {
        assert_eq!(answered, EACH * usize::from(SENDERS), "seed {seed}, {kind:?}");
    }
}

#[test]
fn every_datagram_is_answered_in_calm_weather() {
    for seed in 0..20 {
        answers(seed, Conditions::calm());
    }
}

#[test]
fn losses_doublings_and_interruptions_do_nothing_worse() {
    for seed in 0..500 {
        answers(seed, Conditions::seeded(&mut Rng::new(seed)));
    }
}

/// Sends ten for each that comes, notes when, and when it is told that one could
/// not leave for too long.
#[derive(Default)]
struct Talker {
    began: Option<Instant>,
    given_up: Vec<Instant>,
}

impl DatagramHandler for Talker {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        self.began = Some(io.now());
        for _ in 0..10 {
            let _ = io.send_to(on, from, data);
        }
        Ok(())
    }

    fn error(&mut self, io: &mut Io<'_>, _: SocketId, error: &SocketError<'_>) {
        if let SocketError::Send { error, .. } = error
            && error.kind() == io::ErrorKind::TimedOut
        {
            self.given_up.push(io.now());
        }
    }
}

/// A system that is slow to take datagrams: what waits behind one that it took
/// is given the whole time, and no more than that.
#[test]
fn who_waits_is_given_up_when_none_was_taken_for_so_long_and_not_before() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let (mut given_up, mut taken) = (0, 0);
    for seed in 0..200 {
        let conditions = Conditions { would_block: Odds::one_in(2), ..Conditions::calm() };
        let mut reactor = Reactor::with_driver(SimDriver::<false>::new(seed, conditions), Config::default())
            .expect("a good configuration");
        let limits = Limits { write_stall: Some(PATIENCE), ..Limits::default() };
        let talker = reactor.add_datagram(Talker::default(), limits).expect("good limits");
        let at = endpoint("udp://127.0.0.1:53");
        reactor.bind(&talker, &at).expect("it is free");
        reactor.driver_mut().net_mut().send_datagram(&sender(1), &at, "go on");
        let mut taken_at = Duration::ZERO;
        for _ in 0..200 {
            let turn = reactor.turn(Some(Duration::from_secs(5))).expect("the loop turns");
            reactor.check_invariants().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            // Once it has come, an edge takes half of the patience, or more.
            reactor.driver_mut().net_mut().conditions_mut().latency =
                (Duration::from_secs(25), Duration::from_secs(45));
            let start = reactor.driver().start();
            let began = reactor.get_mut(&talker).began.map_or(Duration::ZERO, |began| began - start);
            for at in std::mem::take(&mut reactor.get_mut(&talker).given_up) {
                let waited = at.duration_since(start).saturating_sub(taken_at.max(began));
                // A turn has one time, and the calls in it take some.
                assert!(
                    waited + Duration::from_millis(1) >= PATIENCE,
                    "seed {seed}: given up {waited:?} after the last was taken"
                );
                assert!(waited <= PATIENCE * 2, "seed {seed}: given up {waited:?} after the last was taken");
                given_up += 1;
            }
            let net = reactor.driver().net();
            taken_at = net.last_taken(&at).map_or(taken_at, |at| Duration::from_nanos(at.as_nanos()));
            if net.is_quiet() && !turn.more {
                break;
            }
        }
        taken += reactor.stats().datagrams_out;
    }
    assert!(given_up > 100 && taken > 100, "{given_up} were given up, {taken} taken");
}

/// Echoes that are told they ask each other: nobody answers, in any conditions.
#[test]
fn what_claims_to_come_from_one_of_our_own_sockets_is_dropped() {
    for seed in 0..300 {
        let conditions = if seed < 20 { Conditions::calm() } else { Conditions::seeded(&mut Rng::new(seed)) };
        let mut reactor = Reactor::with_driver(SimDriver::<true>::new(seed, conditions), Config::default())
            .expect("a good configuration");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
        let (one, other) = (endpoint("udp://0.0.0.0:7"), endpoint("udp://127.0.0.1:9"));
        let path = endpoint("unixgram:/upper");
        let mut bind = |at: &Endpoint, is_echo: bool| {
            while if is_echo { reactor.bind(&echo, at) } else { reactor.bind(&upper, at) }.is_err() {}
        };
        bind(&one, true);
        bind(&other, false);
        bind(&path, false);
        let mut rng = Rng::new(seed);
        let net = reactor.driver_mut().net_mut();
        let asked = endpoint("udp://10.0.1.1:7");
        net.send_datagram(&sender(1), &asked, "somebody else");
        let claims = [
            (Peer::inet(([127, 0, 0, 1], 7).into()), &asked),
            (Peer::inet(([10, 0, 1, 1], 7).into()), &asked),
            (Peer::inet(([127, 0, 0, 1], 9).into()), &asked),
            (Peer::inet(([127, 0, 0, 1], 9).into()), &other),
            (Peer::inet(([127, 0, 0, 5], 7).into()), &other),
            (Peer::unix(Some("/upper".into()), None), &path),
        ];
        for _ in 0..20 {
            let (claimed, to) = &claims[rng.size(0, claims.len() - 1)];
            net.send_datagram(claimed, to, "for ever");
        }
        let mut turns = 0;
        loop {
            let turn = reactor.turn(Some(Duration::from_secs(1))).expect("the loop turns");
            reactor.check_invariants().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            if reactor.driver().net().is_quiet() && !turn.more {
                break;
            }
            turns += 1;
            assert!(turns < 20_000, "seed {seed}: they talk to each other");
        }
        let (stats, faults) = (reactor.stats(), reactor.driver().net().faults());
        assert!(stats.datagrams_in <= 1 + faults.doubled, "seed {seed}: {stats:?}");
        if faults.lost + faults.doubled == 0 {
            assert_eq!((stats.datagrams_from_own, stats.datagrams_out), (20, 1), "seed {seed}");
        }
    }
}
