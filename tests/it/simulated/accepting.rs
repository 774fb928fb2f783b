//! Listeners under pressure.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use serve_forever::driver::sim::{Conditions, Pace, Script, SimDriver};
use serve_forever::services::Echo;
use serve_forever::sim::World;
use serve_forever::{Config, Endpoint, Error, Limits, Reactor};

use super::handlers::{Call, Scripted, calm, patient, run};

#[test]
fn out_of_descriptors_clients_are_served_and_accepting_resumes_by_itself() {
    let mut world = calm(Echo::new(), Echo::limits());
    world.net_mut().limit_descriptors(Some(2));
    let early =
        [0, 1].map(|_| world.play(Script::new().send("a").after(Duration::from_secs(10)).send("b").finish()));
    let late = world.play(Script::new().starting_after(Duration::from_secs(1)).send("c").finish());
    world.run_for(Duration::from_secs(5)).expect("it keeps its promises");
    assert!(early.iter().all(|client| world.client(*client).received() == b"a"));
    assert!(world.client(late).received().is_empty(), "it waits");
    run(&mut world);
    assert!(early.iter().all(|client| world.client(*client).received() == b"ab"));
    assert_eq!(world.client(late).received(), b"c", "with no new event of the listener");
}

// Each descriptor that is free again goes to one of them.
#[test]
fn out_of_descriptors_no_listener_takes_all_that_are_free_again() {
    // Each has it for a second.
    let mut world = calm(Echo::new(), Limits { idle: Some(Duration::from_secs(1)), ..Echo::limits() });
    world.net_mut().limit_descriptors(Some(1));
    let many: Vec<_> = (0..40).map(|_| world.play(Script::new().send("a"))).collect();
    let few: Vec<_> = (0..5).map(|_| world.play_unix(Script::new().send("a"))).collect();
    world.run_for(Duration::from_secs(13)).expect("it keeps its promises");
    let served = |clients: &[_]| clients.iter().filter(|it| world.client(**it).received() == b"a").count();
    assert!(served(&few) == 5 && served(&many) > 5, "{} and {}", served(&few), served(&many));
    run(&mut world);
}

// docs/guarantees.md, 10.
#[test]
fn no_descriptor_and_no_memory_pause_accepting_for_a_while() {
    for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        let mut world = calm(Echo::new(), Echo::limits());
        world.net_mut().exhaust(Duration::from_secs(3), error);
        let client = world.play(Script::new().send("hello").finish());
        run(&mut world);
        assert_eq!(world.client(client).received(), b"hello", "{error}");
        let fin = world.client(client).saw_fin().expect("a FIN").as_nanos();
        assert!((3_000_000_000..3_200_000_000).contains(&fin), "{error}: {fin}");
        assert!(world.reactor().stats().accept_pauses <= 31, "it does not spin on {error}");
    }
}

// docs/guarantees.md, 10.
#[test]
fn the_owner_of_a_listener_that_will_never_work_again_is_told() {
    for error in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
        let failed = Rc::new(Cell::new(0));
        let count = Rc::clone(&failed);
        let handler = Scripted::new(move |io, call| {
            match call {
                Call::ListenerFailed => count.set(count.get() + 1),
                Call::Line(line) => drop(io.write(line)),
                _ => {}
            }
            Ok(())
        });
        let config = Config { listen_again: None, ..Config::default() };
        let mut world = World::<_, true>::with_config(1, Conditions::calm(), handler, patient(), config)
            .expect("good limits");
        let before = world.play(Script::new().send("a\n").after(Duration::from_secs(2)).send("b\n").finish());
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        let at = world.tcp().clone();
        world.net_mut().break_listener(&at, error);
        let unlucky = world.play(Script::new().starting_after(Duration::from_secs(2)));
        let other = world.play_unix(Script::new().send("c\n").finish());
        run(&mut world);
        assert_eq!(failed.get(), 1, "{error}");
        assert_eq!(world.client(before).received(), b"a\nb\n", "who was there stays");
        assert!(world.client(unlucky).was_refused(), "its socket is closed");
        assert_eq!(world.client(other).received(), b"c\n", "the other listener goes on");
    }
}

/// accept(2) lists it among those to retry; it closed the listener for good.
#[test]
fn what_the_network_says_of_a_connection_closes_no_listener() {
    let errors = [Errno::OPNOTSUPP, Errno::NONET, Errno::NETDOWN, Errno::HOSTUNREACH, Errno::PERM];
    for error in errors {
        let failed = Rc::new(Cell::new(0));
        let mut world = calm(counting(&failed), patient());
        // It is said of whoever connects for a while.
        world.net_mut().exhaust(Duration::from_secs(3), error);
        let client = world.play(Script::new().send("hello\n").finish());
        run(&mut world);
        assert_eq!(world.client(client).received(), b"hello\n", "{error}");
        assert_eq!(failed.get(), 0, "{error}");
        assert!(world.reactor().stats().accept_pauses <= 31, "it does not spin on {error}");
    }
}

/// Echoes lines, and counts how often it is told of a listener.
fn counting(failed: &Rc<Cell<usize>>) -> Scripted {
    let count = Rc::clone(failed);
    Scripted::new(move |io, call| {
        match call {
            Call::ListenerFailed => count.set(count.get() + 1),
            Call::Line(line) => drop(io.write(line)),
            _ => {}
        }
        Ok(())
    })
}

/// A program whose only listener had died went on and served nobody.
#[test]
fn a_listener_that_fails_is_made_again_and_serves_as_before() {
    for error in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
        let failed = Rc::new(Cell::new(0));
        let mut world = calm(counting(&failed), patient());
        let before =
            world.play(Script::new().send("a\n").after(Duration::from_secs(20)).send("b\n").finish());
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        let at = world.tcp().clone();
        // Somebody else is there for a while.
        world.net_mut().take_endpoint(&at, Duration::from_secs(9));
        world.net_mut().break_listener(&at, error);
        let unlucky = world.play(Script::new().starting_after(Duration::from_secs(2)));
        let after = world.play(Script::new().starting_after(Duration::from_secs(16)).send("c\n").finish());
        run(&mut world);
        assert_eq!(failed.get(), 1, "{error}");
        assert_eq!(world.client(before).received(), b"a\nb\n", "who was there stays");
        assert!(world.client(unlucky).was_refused(), "nobody listens meanwhile");
        assert_eq!(world.client(after).received(), b"c\n", "{error}: it listens again");
    }
}

#[test]
fn a_listener_that_cannot_be_made_again_is_given_up_and_its_owner_told() {
    let failed = Rc::new(Cell::new(0));
    let mut world = calm(counting(&failed), patient());
    let at = world.tcp().clone();
    world.net_mut().take_endpoint(&at, Duration::from_secs(600));
    world.net_mut().break_listener(&at, Errno::INVAL);
    world.run_for(Duration::from_secs(59)).expect("it keeps its promises");
    assert_eq!(failed.get(), 1);
    let registered = world.reactor().stats().system.register;
    assert!(registered < 40, "{registered} attempts: less and less often");
    world.run_for(Duration::from_secs(2)).expect("it keeps its promises");
    assert_eq!(failed.get(), 2);
    let other = world.play_unix(Script::new().send("c\n").finish());
    run(&mut world);
    assert_eq!(world.client(other).received(), b"c\n", "the other listener goes on");
}

#[test]
fn to_serve_forever_ends_when_the_last_listener_is_given_up() {
    let driver = SimDriver::<false>::new(1, Conditions::calm());
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let at: Endpoint = "127.0.0.1:7000".parse().expect("a good endpoint");
    let listener = reactor.listen(&echo, &at).expect("nobody is there");
    let net = reactor.driver_mut().net_mut();
    let client = net.play(&at, Script::new().send("a").after(Duration::from_secs(30)).send("b"));
    reactor.turn(None).expect("the loop runs");
    while reactor.connections() == 0 {
        reactor.turn(None).expect("the loop runs");
    }
    let net = reactor.driver_mut().net_mut();
    net.take_endpoint(&at, Duration::from_secs(600));
    net.break_listener(&at, Errno::INVAL);
    let error = reactor.serve_forever().expect_err("nothing is left");
    assert!(matches!(&error, Error::Listen { endpoint, .. } if *endpoint == at.to_string()), "{error}");
    assert!(reactor.local(listener).is_none() && !reactor.is_listening(listener));
    let now = Duration::from_nanos(reactor.driver().net().now().as_nanos());
    assert!((Duration::from_secs(60)..Duration::from_secs(75)).contains(&now), "{now:?}");
    assert_eq!(reactor.driver().net().client(client).received(), b"ab", "who was there is served");
    // It can be used again.
    reactor.listen(&echo, &"127.0.0.1:7001".parse().expect("a good endpoint")).expect("nobody is there");
    reactor.shutdown(Duration::ZERO);
    reactor.serve_forever().expect("it ends as it was asked to");
}

#[test]
fn one_more_than_max_connections_is_closed_at_once_and_counted() {
    let limits = Limits { max_connections: 3, ..Echo::limits() };
    let mut world = calm(Echo::new(), limits);
    let three = [(); 3].map(|()| world.play(Script::new().send("x").after(Duration::from_secs(9)).finish()));
    let fourth = world.play(Script::new().starting_after(Duration::from_secs(1)));
    let later = world.play(Script::new().starting_after(Duration::from_secs(20)).send("y").finish());
    run(&mut world);
    assert!(three.iter().all(|client| world.client(*client).received() == b"x"));
    assert!(world.client(fourth).saw_fin().is_some() && world.life(fourth).is_none());
    assert_eq!(world.reactor().stats().refused_full, 1);
    assert_eq!(world.client(later).received(), b"y");
}

#[test]
fn who_is_refused_is_closed_without_a_word() {
    let mut handler = Scripted::lines();
    handler.welcome = false;
    let mut world = calm(handler, patient());
    let client = world.play(Script::new());
    run(&mut world);
    assert!(world.client(client).saw_fin().is_some() && world.lives().is_empty());
    assert_eq!(world.reactor().stats().refused_by_handler, 1);
}

#[test]
fn a_reset_before_accept_keeps_nobody_else_out() {
    for seed in 0..20 {
        let mut world =
            World::<_>::new(seed, Conditions::calm(), Echo::new(), Echo::limits()).expect("good limits");
        // Nobody is accepted meanwhile, so that resets are first.
        world.net_mut().exhaust(Duration::from_secs(1), Errno::MFILE);
        for _ in 0..5 {
            world.play(Script::new().after(Duration::from_millis(10)).reset());
        }
        let client = world.play(Script::new().send("hello").finish());
        run(&mut world);
        assert_eq!(world.client(client).received(), b"hello", "seed {seed}");
    }
}

#[test]
fn a_flood_of_connects_does_not_starve_a_client() {
    let config = Config { accepts_per_turn: 4, ..Config::default() };
    let mut world = World::<_, true>::with_config(1, Conditions::calm(), Echo::new(), Echo::limits(), config)
        .expect("good limits");
    let client = world.play(Script::new());
    world.run_for(Duration::from_millis(1)).expect("it keeps its promises");
    for _ in 0..1000 {
        world.play(Script::new().read(Pace::AtOnce).finish());
    }
    world.net_mut().act(client, serve_forever::driver::sim::Act::Send("hello".into()));
    let before = world.turns();
    world.run_while(|world| world.client(client).received() != b"hello").expect("it keeps its promises");
    assert!(world.turns() - before < 10, "{} turns", world.turns() - before);
    assert!(world.reactor().stats().accepted < 50, "each turn accepts its share and no more");
    world.net_mut().act(client, serve_forever::driver::sim::Act::Finish);
    run(&mut world);
    assert_eq!(world.lives().len(), 1001);
}

#[test]
fn ten_thousand_connects_leave_nothing_behind() {
    let mut world = calm(Echo::new(), Echo::limits());
    for n in 0..10_000_u64 {
        let script = Script::new().starting_after(Duration::from_micros(n * 50));
        world.play(if n % 3 == 0 { script.reset() } else { script.finish() });
    }
    run(&mut world);
    assert_eq!(world.reactor().stats().accepted, world.lives().len() as u64);
}
