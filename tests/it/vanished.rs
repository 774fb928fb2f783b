//! A peer that vanishes without a word (docs/guarantees.md, 13): in a network of its own,
//! whose loopback interface is taken down under the connection.

use std::process::Command;
use std::time::Duration;

use serve_forever::{Config, KeepAlive, Limits, ListenOptions, Reactor};

use crate::util::{Call, Client, PATIENCE, Recorder, have, listen_anywhere, noise, role, run_self};

fn loopback(state: &str) {
    let status = Command::new("ip").args(["link", "set", "lo", state]).status().expect("ip runs");
    assert!(status.success());
}

/// Runs `body` in a network of its own, if this machine lets us have one.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce()) {
    if role().as_deref() == Some(test) {
        loopback("up");
        return body();
    }
    if !have("unshare") || !have("ip") {
        return;
    }
    let unshare = ["unshare", "--map-root-user", "--net", "--"];
    let may = Command::new(unshare[0]).args(&unshare[1..]).args(["ip", "link", "set", "lo", "up"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no network namespace can be had here");
    }
    let output = run_self(test, test, &unshare).output().expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{complaints}");
}

/// One connection, whose peer vanishes; then `act`; and how it ended.
fn end_of_vanished(options: &ListenOptions, reply: bool) -> Vec<Call> {
    let (recorder, events) = Recorder::new(move |io, call| {
        if matches!(call, Call::Tick(_)) {
            // It is gone, and we know only one thing of it: who it was.
            loopback("down");
        }
        if let Call::Data(_) = call {
            io.tick_after(Duration::ZERO)?;
            if reply {
                io.after(Duration::from_millis(1))?;
            }
        }
        if matches!(call, Call::Timer(_)) {
            assert!(io.write(&noise(1000)).is_queued());
        }
        Ok(())
    });
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let limits =
        Limits { idle: None, first_frame: None, frame: None, write_stall: None, ..Limits::default() };
    let service = reactor.add(recorder, limits).expect("good limits");
    let listener = reactor.listen_with(&service, &listen_anywhere(), options).expect("a free port");
    let client = Client::connect(reactor.local(listener).expect("it was just made"));
    client.send("hello");
    while reactor.stats().closed == 0 {
        let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert!(turn.events > 0 || turn.more || reactor.stats().timers_fired > 0);
    }
    assert_eq!((reactor.stats().broken, reactor.connections()), (1, 0));
    events.so_far()
}

#[track_caller]
fn assert_timed_out(calls: &[Call]) {
    let Some(Call::Close(why)) = calls.last() else { panic!("{calls:?}") };
    let lost = ["TimedOut", "HostUnreachable", "NetworkUnreachable"];
    assert!(why.starts_with("Io(") && lost.iter().any(|kind| why.contains(kind)), "{why}");
}

#[test]
fn keep_alive_notices_a_peer_that_vanished_while_idle() {
    in_a_network_of_its_own("vanished::keep_alive_notices_a_peer_that_vanished_while_idle", || {
        let second = Duration::from_secs(1);
        let keep_alive = KeepAlive { idle: second, interval: second, probes: 1 };
        let options = ListenOptions { keep_alive: Some(keep_alive), ..ListenOptions::default() };
        assert_timed_out(&end_of_vanished(&options, false));
    });
}

#[test]
fn the_user_timeout_notices_a_peer_that_vanished_with_a_reply_on_its_way() {
    in_a_network_of_its_own(
        "vanished::the_user_timeout_notices_a_peer_that_vanished_with_a_reply_on_its_way",
        || {
            let options = ListenOptions {
                keep_alive: None,
                user_timeout: Some(Duration::from_millis(300)),
                ..ListenOptions::default()
            };
            assert_timed_out(&end_of_vanished(&options, true));
        },
    );
}
