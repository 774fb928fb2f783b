//! Every table is bounded, and back to empty when all is over.

mod util;

use std::time::Duration;

use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint, Error, Limits, Reactor};
use util::{
    Client, Recorder, Server, alone, captured_logs, eventually, listen_anywhere, open_files, set_file_limit,
};

// Survival 11.
#[test]
fn a_connection_too_many_is_closed_at_once_and_counted() {
    let config = Config { max_connections: Some(2), ..Config::default() };
    let by_reactor = Server::start_with(config, Echo::new(), Echo::limits(), &[listen_anywhere()]);
    let by_service = Server::start(Echo::new(), Limits { max_connections: 2, ..Echo::limits() });
    for server in [by_reactor, by_service] {
        let (first, second) = (server.connect(), server.connect());
        server.until_connections(2);
        server.connect().assert_closed();
        server.connect().assert_closed();
        for client in [&first, &second] {
            client.send("served");
            client.expect("served");
        }
        drop(first);
        server.until_connections(1);
        let third = server.connect();
        third.send("there is room again");
        third.expect("there is room again");
        let stats = server.stop();
        assert_eq!((stats.accepted, stats.refused_full), (3, 2));
    }
}

// Survival 12.
#[test]
fn after_ten_thousand_connections_all_is_as_it_was() {
    alone("after_ten_thousand_connections_all_is_as_it_was", || {
        let directory = tempfile::tempdir().expect("a directory");
        let at = [listen_anywhere(), Endpoint::Unix(directory.path().join("socket"))];
        let (recorder, events) = Recorder::passive();
        let server = Server::start_with(Config::default(), recorder, Limits::default(), &at);
        let baseline = open_files();
        for number in 0..10_000 {
            let client = Client::connect(&server.locals()[number % 2]);
            match number % 5 {
                0 => client.send("said and gone"),
                1 => client.finish(),
                2 => client.reset(),
                _ => {}
            }
        }
        eventually("all have come", || server.stats().accepted == 10_000);
        server.until_connections(0);
        assert_eq!(open_files(), baseline);
        let stats = server.stop();
        assert_eq!((stats.closed, stats.panicked), (10_000, 0));
        let told = events.so_far();
        let count = |wanted: fn(&util::Call) -> bool| told.iter().filter(|call| wanted(call)).count();
        assert_eq!(count(|call| matches!(call, util::Call::Open)), 10_000);
        assert_eq!(count(|call| matches!(call, util::Call::Close(_))), 10_000);
        assert!(open_files() < baseline, "the reactor's own are gone too");
    });
}

// Survival 14.
#[test]
fn a_flood_of_connections_is_accepted_a_share_at_a_time() {
    let config = Config { accepts_per_turn: 10, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    // Who has connected to a Unix socket is there to be accepted.
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    reactor.listen(&echo, &at).expect("the path is free");
    let first = Client::connect(&at);
    while reactor.connections() == 0 {
        reactor.turn(Some(util::PATIENCE)).expect("the loop turns");
    }
    let flood: Vec<_> = (0..95).map(|_| Client::connect(&at)).collect();
    first.send("beside the flood");
    let mut turns = 0;
    while reactor.connections() <= flood.len() {
        let before = reactor.stats().accepted;
        let turn = reactor.turn(Some(util::PATIENCE)).expect("the loop turns");
        let accepted = reactor.stats().accepted - before;
        assert!(accepted <= 10, "{accepted} in one turn");
        assert!(turn.more || reactor.connections() > flood.len(), "the rest is not forgotten");
        turns += 1;
        if turns == 1 {
            first.expect("beside the flood");
        }
    }
    assert!(turns >= 10);
}

// Survival 9.
#[test]
fn out_of_descriptors_accepting_pauses_and_resumes_by_itself() {
    alone("out_of_descriptors_accepting_pauses_and_resumes_by_itself", || {
        let config = Config {
            accept_retry: Duration::from_secs(600),
            max_connections: Some(1000),
            ..Config::default()
        };
        let server = Server::start_with(config, Echo::new(), Echo::limits(), &[listen_anywhere()]);
        let (leaver, stayer) = (server.connect(), server.connect());
        server.until_connections(2);
        let sockets: Vec<_> = (0..3).map(|_| unconnected()).collect();
        // Not one descriptor more than there are.
        let before = set_file_limit(highest_descriptor() + 1);
        let waiting: Vec<_> = sockets.into_iter().map(|socket| connect(socket, server.at())).collect();
        eventually("accepting pauses", || server.stats().accept_pauses > 0);
        assert_eq!(server.connections(), 2);
        // Who is connected is served.
        stayer.send("served");
        stayer.expect("served");
        // One goes, and without any new traffic, or time, another comes in.
        std::fs::File::open("/dev/null").expect_err("there really is none left");
        leaver.finish();
        leaver.expect_eof();
        eventually("one more is accepted", || server.stats().accepted == 3);
        set_file_limit(before);
        stayer.finish();
        stayer.expect_eof();
        for client in &waiting {
            client.send("served at last");
            client.expect("served at last");
        }
    });
}

#[test]
fn out_of_descriptors_accepting_is_tried_again_after_a_while() {
    alone("out_of_descriptors_accepting_is_tried_again_after_a_while", || {
        captured_logs();
        let config = Config { max_connections: Some(1000), ..Config::default() };
        let server = Server::start_with(config, Echo::new(), Echo::limits(), &[listen_anywhere()]);
        server.settle();
        let socket = unconnected();
        let before = set_file_limit(highest_descriptor() + 1);
        let client = connect(socket, server.at());
        eventually("accepting pauses, and pauses again", || server.stats().accept_pauses >= 3);
        // It is said when it begins, not ten times a second.
        let errors = captured_logs().into_iter().filter(|(level, _)| *level == log::Level::Error);
        assert_eq!(errors.count(), 1);
        // The loop sleeps meanwhile. These few turns are the questions' own.
        set_file_limit(before);
        client.send("served at last");
        client.expect("served at last");
        let stats = server.stop();
        assert_eq!((stats.accepted, stats.accept_errors), (1, 0));
    });
}

fn unconnected() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket")
}

fn connect(socket: socket2::Socket, to: &Endpoint) -> Client {
    let Endpoint::Tcp(address) = to else { panic!("{to} is not TCP") };
    socket.connect(&(*address).into()).expect("the backlog takes it");
    socket.set_read_timeout(Some(util::PATIENCE)).expect("a socket");
    Client(socket)
}

/// The highest number that a descriptor of this process has. Lower ones that
/// are free are taken first, for good: a limit is one of numbers.
fn highest_descriptor() -> u64 {
    let null = std::fs::File::open("/dev/null").expect("it is always there");
    let used = || {
        let numbers = std::fs::read_dir("/proc/self/fd").expect("a Linux with /proc");
        numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let top = used().into_iter().max().expect("there are some");
    loop {
        let copy = null.try_clone().expect("below the limit");
        let number = rustix::fd::AsRawFd::as_raw_fd(&copy) as u64;
        if number > top {
            std::mem::forget(null);
            return top;
        }
        std::mem::forget(copy);
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let bad = [
        Limits { low_mark: 2, high_mark: 1, ..Limits::default() },
        Limits { high_mark: 2 << 20, ..Limits::default() },
        Limits { max_connections: 0, ..Limits::default() },
        Limits { read_budget: 0, ..Limits::default() },
        Limits { max_input: 0, ..Limits::default() },
    ];
    for limits in bad {
        let outcome = reactor.add(Echo::new(), limits.clone());
        assert!(matches!(outcome, Err(Error::Limits { .. })), "{limits:?}");
    }
    let bad = [
        Config { max_connections: Some(0), ..Config::default() },
        Config { accepts_per_turn: 0, ..Config::default() },
        Config { events_per_turn: 0, ..Config::default() },
        Config { read_buffer: 0, ..Config::default() },
        Config { max_calls: 0, ..Config::default() },
        Config { accept_retry: Duration::ZERO, ..Config::default() },
    ];
    for config in bad {
        assert!(matches!(Reactor::new(config.clone()), Err(Error::Limits { .. })), "{config:?}");
    }
}

#[test]
fn timers_and_groups_are_limited() {
    let config = Config { max_timers: 2, max_groups: 2, max_groups_per_connection: 1, ..Config::default() };
    let (recorder, events) = Recorder::passive();
    let server = Server::start_with(config, recorder, Limits::default(), &[listen_anywhere()]);
    let _client = server.connect();
    let id = events.expect_open();
    server.ask(move |_, io| {
        let never = Duration::MAX;
        let timer = io.after(never).expect("room for two");
        io.every(never).expect("room for two");
        assert!(matches!(io.after(never), Err(Error::Full { what: "timers", limit: 2 })));
        assert!(io.cancel(timer));
        io.after(never).expect("room again");

        let (first, second) = (io.group().expect("room for two"), io.group().expect("room for two"));
        assert!(matches!(io.group(), Err(Error::Full { what: "groups", limit: 2 })));
        assert!(io.join(first, id).expect("room for one"));
        assert!(matches!(io.join(second, id), Err(Error::Full { limit: 1, .. })));
        io.dissolve(first);
        assert!(io.join(second, id).expect("room again"));
        io.group().expect("room again");
    });
}

#[test]
fn the_default_limit_of_connections_is_half_of_the_descriptors() {
    alone("the_default_limit_of_connections_is_half_of_the_descriptors", || {
        let before = set_file_limit(64);
        let server = Server::start(Echo::new(), Echo::limits());
        // The clients are in this process too, and not to run into it.
        set_file_limit(before);
        let clients: Vec<_> = (0..33).map(|_| server.connect()).collect();
        clients[32].assert_closed();
        let stats = server.stop();
        assert_eq!((stats.accepted, stats.refused_full), (32, 1));
    });
}
