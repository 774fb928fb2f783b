//! Holds the tables of README.md against the code, and against the tests of
//! what they claim. (Its example is compiled as a doctest of the library.)

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serve_forever::{Config, Limits, Overflow, SHUTDOWN_DEADLINE};

const README: &str = include_str!("../README.md");

/// The table has this value for this name.
#[track_caller]
fn assert_says(name: &str, value: impl Display) {
    let cells = format!("| `{name}` | {value} |");
    assert!(README.contains(&cells), "README.md does not say {cells}");
}

fn bytes(count: usize) -> String {
    if count >= 1 << 20 { format!("{} MiB", count >> 20) } else { format!("{} KiB", count >> 10) }
}

fn count(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn time(period: impl Into<Option<Duration>>) -> String {
    let period = period.into().expect("the table has no word for never");
    if period.subsec_millis() == 0 {
        format!("{} s", period.as_secs())
    } else {
        format!("{} ms", period.as_millis())
    }
}

// Taken apart without `..`: a new field has to be told of here.

#[test]
fn the_limits_are_those_of_the_table() {
    let Limits {
        max_connections,
        read_budget,
        max_input,
        connect,
        idle,
        first_frame,
        frame,
        write_stall,
        linger,
        low_mark,
        high_mark,
        hard_mark,
        overflow,
        max_datagram,
        datagrams_per_turn,
        max_datagrams,
    } = Limits::default();
    assert_eq!(max_connections, usize::MAX);
    assert_says("Limits::max_connections", "none beneath that");
    assert_says("Limits::read_budget", bytes(read_budget));
    assert_says("Limits::max_input", bytes(max_input));
    assert_says("Limits::connect", time(connect));
    assert_says("Limits::idle", time(idle));
    assert_says("Limits::first_frame", time(first_frame));
    assert_says("Limits::frame", time(frame));
    assert_says("Limits::write_stall", time(write_stall));
    assert_says("Limits::linger", time(linger));
    assert_says("Limits::low_mark", bytes(low_mark));
    assert_says("Limits::high_mark", bytes(high_mark));
    assert_says("Limits::hard_mark", bytes(hard_mark));
    assert_eq!(overflow, Overflow::Close);
    assert_says("Limits::overflow", "the connection ends");
    assert_says("Limits::max_datagram", count(max_datagram));
    assert_says("Limits::datagrams_per_turn", count(datagrams_per_turn));
    assert_says("Limits::max_datagrams", count(max_datagrams));
    assert_says("SHUTDOWN_DEADLINE", time(SHUTDOWN_DEADLINE));
}

#[test]
fn the_configuration_is_that_of_the_table() {
    let Config {
        max_connections,
        max_listeners,
        max_sockets,
        accepts_per_turn,
        accept_retry,
        listen_again,
        events_per_turn,
        busy_poll,
        read_buffer,
        spare_output,
        max_calls,
        max_timers,
        max_groups,
        max_children,
        spawns_per_turn,
        reap_within,
        max_groups_per_connection,
        slow_callback,
        catch_panics,
    } = Config::default();
    assert_eq!(max_connections, None);
    assert_says("Config::max_connections", "10,000, or half of the fd limit");
    assert_says("Config::max_listeners", count(max_listeners));
    assert_says("Config::max_sockets", count(max_sockets));
    assert_says("Config::accepts_per_turn", count(accepts_per_turn));
    assert_says("Config::accept_retry", time(accept_retry));
    assert_says("Config::listen_again", time(listen_again));
    assert_says("Config::events_per_turn", count(events_per_turn));
    assert_eq!(busy_poll, None);
    assert_says("Config::busy_poll", "off");
    assert_says("Config::read_buffer", bytes(read_buffer));
    assert_says("Config::spare_output", bytes(spare_output));
    assert_says("Config::max_calls", count(max_calls));
    assert_says("Config::max_timers", count(max_timers));
    assert_says("Config::max_groups", count(max_groups));
    assert_says("Config::max_groups_per_connection", count(max_groups_per_connection));
    assert_says("Config::max_children", count(max_children));
    assert_says("Config::spawns_per_turn", count(spawns_per_turn));
    assert_says("Config::reap_within", time(reap_within));
    assert_says("Config::slow_callback", time(slow_callback));
    assert!(catch_panics);
    assert_says("Config::catch_panics", "on");
}

/// What stands between two marks, which are there once each.
fn between(begin: &str, end: &str) -> &'static str {
    for mark in [begin, end] {
        assert_eq!(README.matches(mark).count(), 1, "{mark}");
    }
    let (_, behind) = README.split_once(begin).expect("it is there");
    behind.split_once(end).expect("they are in order").0
}

#[test]
fn the_performance_is_what_a_command_has_measured_and_says_where() {
    let begin = "<!-- performance: made by benches/peers with --readme, not by hand -->";
    let made = between(begin, "<!-- end of performance -->");
    for part in [
        "Measured on ",
        " cores, Linux ",
        "rustc ",
        ", commit ",
        "by `cargo run --release --manifest-path benches/peers/Cargo.toml",
        "| what | serve-forever | × floor | × tokio | ± | decided by |",
    ] {
        assert!(made.contains(part), "the table does not say {part}");
    }
    let rows: Vec<_> = made.lines().filter(|line| line.starts_with("| ") && line.contains(": ")).collect();
    assert!(rows.iter().all(|row| row.matches('|').count() == 7), "six cells each: {rows:#?}");
    for kind in [
        "echo",
        "idle",
        "chat",
        "churn",
        "latency",
        "upload",
        "commands",
        "memory",
        "broadcast",
        "calls",
        "instructions",
    ] {
        let head = format!("| {kind}: ");
        assert!(rows.iter().any(|row| row.starts_with(&head)), "the table has nothing about {kind}");
    }
}

// Coming from Python: see tests/it/socketserver.rs.

/// Every public name of Python's `socketserver`, as the table has it: classes,
/// their methods and attributes, and the parameters that stay with a server.
/// From the module's `__all__` and the `vars` of its classes in Python 3.11,
/// and the two classes that 3.12 added.
const SOCKETSERVER: &str = "
    BaseServer TCPServer UDPServer UnixStreamServer UnixDatagramServer
    ThreadingMixIn ThreadingTCPServer ThreadingUDPServer
    ThreadingUnixStreamServer ThreadingUnixDatagramServer
    ForkingMixIn ForkingTCPServer ForkingUDPServer
    ForkingUnixStreamServer ForkingUnixDatagramServer
    BaseRequestHandler StreamRequestHandler DatagramRequestHandler

    server_address RequestHandlerClass timeout serve_forever shutdown handle_request handle_timeout
    service_actions server_activate server_close verify_request process_request finish_request
    shutdown_request close_request handle_error
    bind_and_activate socket address_family socket_type request_queue_size allow_reuse_address
    allow_reuse_port server_bind fileno get_request
    max_packet_size

    daemon_threads block_on_close process_request_thread
    ForkingMixIn.timeout ForkingMixIn.block_on_close max_children active_children collect_children

    request client_address server setup handle finish
    rbufsize wbufsize StreamRequestHandler.timeout disable_nagle_algorithm connection rfile wfile
    DatagramRequestHandler.packet DatagramRequestHandler.socket DatagramRequestHandler.rfile
    DatagramRequestHandler.wfile
";

/// The calls of a socket that tutorials teach.
const CALLS: &str = "
    bind listen accept connect connect_ex setblocking settimeout recv recvfrom send sendall sendto
    getpeername getsockname setsockopt fileno shutdown close
";

/// A table of README.md that says what takes the place of a Python name.
struct Table {
    /// Each name, and whether its row claims an equivalent.
    names: Vec<(&'static str, bool)>,
}

impl Table {
    /// The table whose head begins like this.
    fn of(head: &str) -> Self {
        let lines = README.lines().skip_while(|line| !line.starts_with(head)).skip(2);
        let mut names = Vec::new();
        for line in lines.take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = line.trim_matches('|').splitn(2, '|').map(str::trim).collect();
            let [first, second] = cells[..] else { panic!("two cells: {line}") };
            // A row that claims nothing begins with one of these words.
            let claims = !second.starts_with("none needed: ") && !second.starts_with("next");
            let quoted = first.split('`').skip(1).step_by(2);
            let plain = quoted.map(|name| name.split('(').next().unwrap_or(name));
            names.extend(plain.filter(|name| !name.contains([' ', '='])).map(|name| (name, claims)));
        }
        assert!(!names.is_empty(), "README.md has no table that begins with {head}");
        Self { names }
    }

    /// The names of tests in `tests/it/PREFIX*.rs` are those of all rows that
    /// claim something, and every one of `expected` has its row.
    #[track_caller]
    fn check(&self, expected: &str, files: impl Fn(&str) -> bool) {
        let named: BTreeSet<&str> = self.names.iter().map(|(name, _)| *name).collect();
        assert_eq!(named.len(), self.names.len(), "a name has two rows");
        let expected: BTreeSet<&str> = expected.split_whitespace().collect();
        let missing: Vec<_> = expected.difference(&named).collect();
        assert!(missing.is_empty(), "no row has {missing:?}");
        let unknown: Vec<_> = named.difference(&expected).collect();
        assert!(unknown.is_empty(), "the list in this test has no {unknown:?}");
        let mut tested = BTreeSet::new();
        for test in tests_in(files) {
            tested.extend(subjects(&test, &self.names));
        }
        let untested: Vec<_> =
            self.names.iter().filter(|(name, claims)| *claims && !tested.contains(name)).collect();
        assert!(untested.is_empty(), "no test is named after {untested:?}");
    }
}

/// What a test is named after: the names that it begins with, joined by `_and_`.
fn subjects<'a>(test: &str, names: &[(&'a str, bool)]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = test;
    loop {
        let longest = names
            .iter()
            .filter_map(|(name, _)| {
                let after = rest.strip_prefix(&snake_case(name))?;
                (after.is_empty() || after.starts_with('_')).then_some((*name, after))
            })
            .min_by_key(|(_, after)| after.len());
        let Some((name, after)) = longest else { return found };
        found.push(name);
        let Some(next) = after.strip_prefix("_and_") else { return found };
        rest = next;
    }
}

/// `TCPServer` as `tcp_server`, `StreamRequestHandler.timeout` as
/// `stream_request_handler_timeout`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (place, letter) in letters.iter().enumerate() {
        let is_lower = |at: Option<&char>| at.is_some_and(|letter| letter.is_lowercase());
        let begins = letter.is_uppercase()
            && place > 0
            && letters[place - 1] != '.'
            && (is_lower(letters.get(place - 1)) || is_lower(letters.get(place + 1)));
        if begins {
            snake.push('_');
        }
        snake.extend(if *letter == '.' { '_' } else { letter.to_ascii_lowercase() }.to_lowercase());
    }
    snake
}

/// The names of the tests in those files of `tests/it/` that are wanted.
fn tests_in(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut tests = Vec::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in fs::read_dir(directory).expect("the tests lie in it").flatten() {
        if entry.file_name().to_str().is_some_and(&wanted) {
            let text = fs::read_to_string(entry.path()).expect("a file of Rust");
            let functions = text.split("#[test]\nfn ").skip(1);
            tests.extend(functions.filter_map(|after| after.split('(').next()).map(str::to_owned));
        }
    }
    assert!(!tests.is_empty(), "there are no such tests");
    tests
}

#[test]
fn every_name_of_socketserver_has_its_row_and_every_claim_its_test() {
    let files = |name: &str| name.starts_with("socketserver") && name != "socketserver_calls.rs";
    Table::of("| `socketserver` |").check(SOCKETSERVER, files);
}

#[test]
fn every_call_of_a_socket_has_its_row_and_every_claim_its_test() {
    Table::of("| a socket's |").check(CALLS, |name| name == "socketserver_calls.rs");
}

#[test]
fn a_test_is_named_after_what_it_begins_with() {
    let names =
        ["TCPServer", "timeout", "handle_timeout", "StreamRequestHandler.timeout", "RequestHandlerClass"];
    let names = names.map(|name| (name, true));
    assert_eq!(subjects("tcp_server_and_timeout_are", &names), ["TCPServer", "timeout"]);
    assert_eq!(subjects("handle_timeout_and_its_timeout", &names), ["handle_timeout"]);
    assert_eq!(subjects("stream_request_handler_timeout", &names), ["StreamRequestHandler.timeout"]);
    assert_eq!(subjects("request_handler_class_is", &names), ["RequestHandlerClass"]);
    assert_eq!(subjects("timeouts_are_many", &names), [""; 0]);
}
