//! Datagrams over the simulated network: lost, doubled, overtaken.
#![cfg(feature = "sim")]

use std::collections::BTreeMap;
use std::time::Duration;

use serve_forever::driver::sim::{Rng, SimDriver, Weather};
use serve_forever::services::Upper;
use serve_forever::{Config, Endpoint, Peer, Reactor};

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("a good endpoint")
}

fn sender(number: u16) -> Peer {
    Peer::inet(([10, 0, 0, 1], number).into())
}

/// Every reply is that of a datagram that was sent, to who sent it, and comes
/// at most as often as losses and doublings explain; with nothing lost, all
/// of them come.
fn answers(seed: u64, weather: Weather) {
    const SENDERS: u16 = 5;
    const EACH: usize = 20;
    let kind = weather.clone();
    let driver = SimDriver::<false>::new(seed, weather);
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
    let at = endpoint(if seed.is_multiple_of(2) { "udp://127.0.0.1:53" } else { "unixgram:/upper" });
    let mut attempts = 0;
    while let Err(error) = reactor.bind(&upper, &at) {
        attempts += 1;
        assert!(attempts < 1000, "seed {seed}: {error}");
    }
    for round in 0..EACH {
        for number in 1..=SENDERS {
            let text = format!("round {round} of {number}");
            reactor.driver_mut().net_mut().send_datagram(&sender(number), &at, text);
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
        for reply in net.datagrams_to(&peer) {
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
    if faults.lost == 0 {
        assert_eq!(answered, EACH * usize::from(SENDERS), "seed {seed}, {kind:?}");
    }
}

#[test]
fn every_datagram_is_answered_in_calm_weather() {
    for seed in 0..20 {
        answers(seed, Weather::calm());
    }
}

#[test]
fn losses_doublings_and_interruptions_do_nothing_worse() {
    for seed in 0..500 {
        answers(seed, Weather::seeded(&mut Rng::new(seed)));
    }
}
