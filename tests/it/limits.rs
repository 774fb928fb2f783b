//! Every table is bounded, and back to empty when all is over.

use std::time::Duration;

use serve_forever::services::Echo;
use serve_forever::{BindOptions, Config, Endpoint, Error, KeepAlive, Limits, ListenOptions, Reactor};

use crate::util::{
    Call, Client, DatagramClient, PATIENCE, Recorder, Server, alone, bind_anywhere, captured_logs,
    eventually, listen_anywhere, open_files, set_file_limit,
};

// docs/guarantees.md, 11.
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

// docs/guarantees.md, 12.
#[test]
fn after_ten_thousand_connections_all_is_as_it_was() {
    alone("limits::after_ten_thousand_connections_all_is_as_it_was", || {
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
        let count = |wanted: fn(&Call) -> bool| told.iter().filter(|call| wanted(call)).count();
        assert_eq!(count(|call| matches!(call, Call::Open)), 10_000);
        assert_eq!(count(|call| matches!(call, Call::Close(_))), 10_000);
        assert!(open_files() < baseline, "the reactor's own are gone too");
    });
}

// docs/guarantees.md, 14.
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
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    let flood: Vec<_> = (0..95).map(|_| Client::connect(&at)).collect();
    first.send("beside the flood");
    let mut turns = 0;
    while reactor.connections() <= flood.len() {
        let before = reactor.stats().accepted;
        let turn = reactor.turn(Some(PATIENCE)).expect("the loop turns");
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

// docs/guarantees.md, 9.
#[test]
fn out_of_descriptors_accepting_pauses_and_resumes_by_itself() {
    alone("limits::out_of_descriptors_accepting_pauses_and_resumes_by_itself", || {
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
    alone("limits::out_of_descriptors_accepting_is_tried_again_after_a_while", || {
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
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
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
        Config { max_handshakes: 0, ..Config::default() },
        Config { handshakes_per_turn: 0, ..Config::default() },
        Config { layer_buffer: 0, ..Config::default() },
        Config { max_calls: 0, ..Config::default() },
        Config { accept_retry: Duration::ZERO, ..Config::default() },
    ];
    for config in bad {
        assert!(matches!(Reactor::new(config.clone()), Err(Error::Limits { .. })), "{config:?}");
    }
}

/// A way to set one field.
type Field<T, V> = (&'static str, fn(&mut T, V));

const COUNTS_OF_LIMITS: [Field<Limits, usize>; 12] = [
    ("max_connections", |limits, value| limits.max_connections = value),
    ("read_budget", |limits, value| limits.read_budget = value),
    ("max_input", |limits, value| limits.max_input = value),
    ("low_mark", |limits, value| limits.low_mark = value),
    ("high_mark", |limits, value| limits.high_mark = value),
    ("hard_mark", |limits, value| limits.hard_mark = value),
    ("max_files", |limits, value| limits.max_files = value),
    ("file_budget", |limits, value| limits.file_budget = value),
    ("last_word", |limits, value| limits.last_word = value),
    ("max_datagram", |limits, value| limits.max_datagram = value),
    ("datagrams_per_turn", |limits, value| limits.datagrams_per_turn = value),
    ("max_datagrams", |limits, value| limits.max_datagrams = value),
];

const TIMES_OF_LIMITS: [Field<Limits, Duration>; 7] = [
    ("connect", |limits, value| limits.connect = Some(value)),
    ("handshake", |limits, value| limits.handshake = Some(value)),
    ("idle", |limits, value| limits.idle = Some(value)),
    ("first_frame", |limits, value| limits.first_frame = Some(value)),
    ("frame", |limits, value| limits.frame = Some(value)),
    ("write_stall", |limits, value| limits.write_stall = Some(value)),
    ("linger", |limits, value| limits.linger = value),
];

const COUNTS_OF_CONFIG: [Field<Config, usize>; 19] = [
    ("max_connections", |config, value| config.max_connections = Some(value)),
    ("max_listeners", |config, value| config.max_listeners = value),
    ("max_sockets", |config, value| config.max_sockets = value),
    ("accepts_per_turn", |config, value| config.accepts_per_turn = value),
    ("max_handshakes", |config, value| config.max_handshakes = value),
    ("handshakes_per_turn", |config, value| config.handshakes_per_turn = value),
    ("layer_buffer", |config, value| config.layer_buffer = value),
    ("events_per_turn", |config, value| config.events_per_turn = value),
    ("gather_from", |config, value| config.gather_from = value),
    ("flushes_per_turn", |config, value| config.flushes_per_turn = value),
    ("read_buffer", |config, value| config.read_buffer = value),
    ("spare_output", |config, value| config.spare_output = value),
    ("max_calls", |config, value| config.max_calls = value),
    ("max_jobs", |config, value| config.max_jobs = value),
    ("max_timers", |config, value| config.max_timers = value),
    ("max_groups", |config, value| config.max_groups = value),
    ("max_children", |config, value| config.max_children = value),
    ("spawns_per_turn", |config, value| config.spawns_per_turn = value),
    ("max_groups_per_connection", |config, value| config.max_groups_per_connection = value),
];

const TIMES_OF_CONFIG: [Field<Config, Duration>; 4] = [
    ("accept_retry", |config, value| config.accept_retry = value),
    ("busy_poll", |config, value| config.busy_poll = Some(value)),
    ("reap_within", |config, value| config.reap_within = value),
    ("slow_callback", |config, value| config.slow_callback = Some(value)),
];

const LARGE: [usize; 3] = [usize::MAX, usize::MAX / 2, isize::MAX as usize];
const LONG: [Duration; 3] = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)];

/// Takes the limits and serves with them, a stream and a datagram, or says
/// what is wrong with them. True if both were answered.
#[track_caller]
fn serves(what: &str, config: Config, limits: Limits) -> bool {
    let check = |error: Error| match error {
        Error::Limits { reason } => assert!(!reason.is_empty(), "{what}"),
        Error::Full { .. } => {}
        other => panic!("{what}: {other}"),
    };
    let mut reactor = match Reactor::new(config) {
        Ok(reactor) => reactor,
        Err(error) => {
            check(error);
            return false;
        }
    };
    let echo = match reactor.add(Echo::new(), limits) {
        Ok(echo) => echo,
        Err(error) => {
            check(error);
            return false;
        }
    };
    let listener = reactor.listen(&echo, &listen_anywhere()).map_err(check).ok();
    let socket = reactor.bind(&echo, &bind_anywhere()).map_err(check).ok();
    let stream = listener.map(|listener| Client::connect(reactor.local(listener).expect("it is open")));
    let other =
        socket.map(|socket| DatagramClient::connect(reactor.local(socket).expect("it is open"), None));
    if let Some(stream) = &stream {
        stream.send("stream");
    }
    if let Some(other) = &other {
        other.send("datagram");
    }
    let mut turns = 0;
    while reactor.stats().bytes_out < 14 && turns < 200 {
        turns += 1;
        reactor.turn(Some(Duration::from_millis(1))).expect("the loop turns");
    }
    reactor.stats().bytes_out == 14
}

#[test]
fn every_number_at_its_edges_works_or_is_refused() {
    for (name, set) in COUNTS_OF_LIMITS {
        for value in [0, 1].into_iter().chain(LARGE) {
            let mut limits = Limits::default();
            set(&mut limits, value);
            // The marks have to rise, and a large one has to be reached.
            if value > 1 && name.ends_with("_mark") {
                limits.hard_mark = value;
                limits.high_mark = if name == "hard_mark" { limits.high_mark } else { value };
            }
            let what = format!("Limits::{name} = {value}");
            let served = serves(&what, Config::default(), limits);
            assert!(value <= 1 || served != (name == "max_datagram"), "{what}");
        }
    }
    for (name, set) in COUNTS_OF_CONFIG {
        for value in [0, 1].into_iter().chain(LARGE) {
            let mut config = Config::default();
            set(&mut config, value);
            let what = format!("Config::{name} = {value}");
            let served = serves(&what, config, Limits::default());
            let is_bounded = matches!(name, "events_per_turn" | "read_buffer" | "layer_buffer");
            assert!(value <= 1 || served != is_bounded, "{what}");
        }
    }
}

#[test]
fn every_time_at_its_edges_works_or_is_refused() {
    for time in [Duration::ZERO, Duration::from_nanos(1)].into_iter().chain(LONG) {
        for (name, set) in TIMES_OF_LIMITS {
            let mut limits = Limits::default();
            set(&mut limits, time);
            let what = format!("Limits::{name} = {time:?}");
            let served = serves(&what, Config::default(), limits);
            assert!(served || time < LONG[2], "{what}");
        }
        for (name, set) in TIMES_OF_CONFIG {
            let mut config = Config::default();
            set(&mut config, time);
            let what = format!("Config::{name} = {time:?}");
            let served = serves(&what, config, Limits::default());
            assert!(served || name == "accept_retry" && time.is_zero(), "{what}");
        }
    }
}

/// What the system is told may be refused by it, as any endpoint may be.
#[test]
fn every_option_at_its_edges_works_or_is_refused() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    let keep_alive = |idle, interval, probes| Some(KeepAlive { idle, interval, probes });
    for number in [0, 1, u32::MAX / 2, u32::MAX] {
        let time = Duration::from_secs(number.into());
        let time = if number == u32::MAX { Duration::MAX } else { time };
        let second = Duration::from_secs(1);
        let options: [fn(u32, &mut ListenOptions); 2] =
            [|number, options| options.backlog = number, |number, options| options.mode = Some(number)];
        for set in options {
            let mut options = ListenOptions::default();
            set(number, &mut options);
            let _ = reactor.listen_with(&echo, &listen_anywhere(), &options);
        }
        for keep_alive in
            [keep_alive(time, second, 1), keep_alive(second, time, 1), keep_alive(second, second, number)]
        {
            let options = ListenOptions { keep_alive, ..ListenOptions::default() };
            let _ = reactor.listen_with(&echo, &listen_anywhere(), &options);
        }
        let options = ListenOptions { user_timeout: Some(time), ..ListenOptions::default() };
        let _ = reactor.listen_with(&echo, &listen_anywhere(), &options);
        let options: [fn(u32, &mut BindOptions); 4] = [
            |number, options| options.hops = Some(number),
            |number, options| options.multicast_hops = Some(number),
            |number, options| options.multicast_interface_v6 = Some(number),
            |number, options| options.mode = Some(number),
        ];
        for set in options {
            for at in ["udp://127.0.0.1:0", "udp://[::1]:0"] {
                let mut options = BindOptions::default();
                set(number, &mut options);
                let _ = reactor.bind_with(&echo, &at.parse().expect("a good endpoint"), &options);
            }
        }
    }
    for size in [0, 1].into_iter().chain(LARGE) {
        let both =
            ListenOptions { send_buffer: Some(size), receive_buffer: Some(size), ..ListenOptions::default() };
        reactor.listen_with(&echo, &listen_anywhere(), &both).expect("the system caps it");
        let both =
            BindOptions { send_buffer: Some(size), receive_buffer: Some(size), ..BindOptions::default() };
        reactor.bind_with(&echo, &bind_anywhere(), &both).expect("the system caps it");
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
        assert!(matches!(io.after(never), Err(Error::Full { what: "timers", limit: 2, .. })));
        assert!(io.cancel(timer));
        io.after(never).expect("room again");

        let (first, second) = (io.group().expect("room for two"), io.group().expect("room for two"));
        assert!(matches!(io.group(), Err(Error::Full { what: "groups", limit: 2, .. })));
        assert!(io.join(first, id).expect("room for one"));
        assert!(matches!(io.join(second, id), Err(Error::Full { limit: 1, .. })));
        io.dissolve(first);
        assert!(io.join(second, id).expect("room again"));
        io.group().expect("room again");
    });
}

#[test]
fn the_default_limit_of_connections_is_half_of_the_descriptors() {
    alone("limits::the_default_limit_of_connections_is_half_of_the_descriptors", || {
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
