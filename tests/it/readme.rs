//! Holds README.md and docs/ against the code, and against the tests of what
//! they claim. (The README's example is compiled as a doctest of the library.)

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serve_forever::{Config, Limits, Overflow, SHUTDOWN_DEADLINE};

/// A document of the project, by its path from the root.
#[track_caller]
fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder of the root whose name ends with `.rs`.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let len = document("README.md").len();
    assert!(len <= 9000, "README.md has {len} bytes: docs/ is the place for more");
}

#[test]
fn each_name_in_the_architecture_is_in_the_code() {
    let folders = ["src", "tests", "examples", "benches"];
    let code: String = folders
        .into_iter()
        .flat_map(sources)
        .map(|file| fs::read_to_string(file).expect("a file of Rust"))
        .collect();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let words: BTreeSet<&str> = code.split(|letter| !is_part(letter)).collect();
    let text = document("ARCHITECTURE.md");
    let prose = text.split("```").step_by(2);
    let spans = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
    for span in spans.filter(|span| !span.contains(['/', '.', '{', '*', ' ', '#'])) {
        for name in span.split(|letter| !is_part(letter)).filter(|name| !name.is_empty()) {
            let is_foreign = ["close_notify", "ECONNRESET"].contains(&name);
            assert!(
                is_foreign || words.contains(name),
                "ARCHITECTURE.md names `{span}`, which is not in the code"
            );
        }
    }
}

#[test]
fn each_example_says_what_it_teaches_and_has_its_place_in_the_readme() {
    let readme = document("README.md");
    let table = readme.split_once("| what it teaches |").expect("a table of examples").1;
    let is_program = |path: &PathBuf| {
        path.ends_with("main.rs") || path.parent().is_some_and(|at| at.ends_with("examples"))
    };
    for path in sources("examples").iter().filter(|path| is_program(path)) {
        let text = fs::read_to_string(path).expect("a file of Rust");
        assert!(text.starts_with("//! Teaches: "), "{} does not say what it teaches", path.display());
        let folder = path.parent().filter(|_| path.ends_with("main.rs"));
        let name = folder.unwrap_or(path).file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(table.contains(&format!("`{name}`")), "the table in README.md has no {name}");
    }
}

/// The table has this value for this name.
#[track_caller]
fn assert_says(name: &str, value: impl Display) {
    let cells = format!("| `{name}` | {value} |");
    assert!(document("docs/limits.md").contains(&cells), "docs/limits.md does not say {cells}");
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

#[cfg(feature = "ws")]
#[test]
fn the_limits_of_http_are_those_of_the_table() {
    let serve_forever::http::HttpLimits {
        max_head,
        max_fields,
        max_line,
        max_body,
        max_chunk_extensions,
        max_pipelined,
        request,
        ping,
        message,
    } = serve_forever::http::HttpLimits::default();
    assert_says("HttpLimits::max_head", bytes(max_head));
    assert_says("HttpLimits::max_fields", count(max_fields));
    assert_says("HttpLimits::max_line", bytes(max_line));
    assert_says("HttpLimits::max_body", bytes(max_body));
    assert_says("HttpLimits::max_chunk_extensions", bytes(max_chunk_extensions));
    assert_says("HttpLimits::max_pipelined", count(max_pipelined));
    assert_says("HttpLimits::request", time(request));
    assert_says("HttpLimits::ping", time(ping));
    assert_says("HttpLimits::message", time(message));
    let serve_forever::ws::SocketLimits { max_message, max_fragments } = Default::default();
    assert_says("SocketLimits::max_message", bytes(max_message as usize));
    assert_says("SocketLimits::max_fragments", count(max_fragments as usize));
}

#[test]
fn the_limits_are_those_of_the_table() {
    let Limits {
        max_connections,
        read_budget,
        max_input,
        connect,
        handshake,
        idle,
        first_frame,
        frame,
        write_stall,
        linger,
        low_mark,
        high_mark,
        hard_mark,
        max_files,
        file_budget,
        last_word,
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
    assert_says("Limits::handshake", time(handshake));
    assert_says("Limits::idle", time(idle));
    assert_eq!(first_frame, None);
    assert_says("Limits::first_frame", "off");
    assert_says("Limits::frame", time(frame));
    assert_says("Limits::write_stall", time(write_stall));
    assert_says("Limits::linger", time(linger));
    assert_says("Limits::low_mark", bytes(low_mark));
    assert_says("Limits::high_mark", bytes(high_mark));
    assert_says("Limits::hard_mark", bytes(hard_mark));
    assert_says("Limits::max_files", count(max_files));
    assert_says("Limits::file_budget", bytes(file_budget));
    assert_says("Limits::last_word", bytes(last_word));
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
        max_handshakes,
        handshakes_per_turn,
        layer_buffer,
        accept_retry,
        listen_again,
        events_per_turn,
        busy_poll,
        gather_from,
        flushes_per_turn,
        read_buffer,
        spare_output,
        max_calls,
        max_jobs,
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
    assert_says("Config::max_handshakes", count(max_handshakes));
    assert_says("Config::handshakes_per_turn", count(handshakes_per_turn));
    assert_says("Config::layer_buffer", bytes(layer_buffer));
    assert_says("Config::accept_retry", time(accept_retry));
    assert_says("Config::listen_again", time(listen_again));
    assert_says("Config::events_per_turn", count(events_per_turn));
    assert_eq!(busy_poll, None);
    assert_says("Config::busy_poll", "off");
    assert_says("Config::gather_from", count(gather_from));
    assert_says("Config::flushes_per_turn", count(flushes_per_turn));
    assert_says("Config::read_buffer", bytes(read_buffer));
    assert_says("Config::spare_output", bytes(spare_output));
    assert_says("Config::max_calls", count(max_calls));
    assert_says("Config::max_jobs", count(max_jobs));
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

#[cfg(feature = "record")]
#[test]
fn the_options_of_a_recording_are_those_of_the_table() {
    use serve_forever::record::{Incidents, Payloads, RecordOptions};
    let RecordOptions { bytes: ring, payloads, file, max_dumps, pause, after } = RecordOptions::default();
    assert_says("RecordOptions::bytes", bytes(ring));
    assert_says("RecordOptions::max_dumps", count(max_dumps as usize));
    assert_says("RecordOptions::pause", time(pause));
    assert_eq!((payloads, file, after), (Payloads::Hashed, None, Incidents::ALL));
}

#[cfg(feature = "bus")]
#[test]
fn the_limits_of_the_bus_are_those_of_the_table() {
    use serve_forever::bus::BusLimits;
    let BusLimits {
        max_rooms,
        max_payload,
        max_waiting,
        max_waiting_bytes,
        max_batch,
        max_in_flight,
        max_in_flight_bytes,
        gather,
        publish_timeout,
        answer_timeout,
        connect_timeout,
        reconnect: (shortest, longest),
        grace,
        history,
        history_time,
        page,
        page_bytes,
        max_resumes,
        max_members,
        max_member,
        presence_ttl,
        max_publishers,
    } = BusLimits::default();
    assert_says("BusLimits::max_rooms", count(max_rooms));
    assert_says("BusLimits::max_payload", bytes(max_payload));
    assert_says("BusLimits::max_waiting", count(max_waiting));
    assert_says("BusLimits::max_waiting_bytes", bytes(max_waiting_bytes));
    assert_says("BusLimits::max_batch", count(max_batch));
    assert_says("BusLimits::max_in_flight", count(max_in_flight));
    assert_says("BusLimits::max_in_flight_bytes", bytes(max_in_flight_bytes));
    assert_says("BusLimits::gather", time(gather));
    assert_says("BusLimits::publish_timeout", time(publish_timeout));
    assert_says("BusLimits::answer_timeout", time(answer_timeout));
    assert_says("BusLimits::connect_timeout", time(connect_timeout));
    assert_says("BusLimits::reconnect", format!("{} to {}", time(shortest), time(longest)));
    assert_says("BusLimits::grace", time(grace));
    assert_says("BusLimits::history", count(history));
    assert_says("BusLimits::history_time", time(history_time));
    assert_says("BusLimits::page", count(page));
    assert_says("BusLimits::page_bytes", bytes(page_bytes));
    assert_says("BusLimits::max_resumes", count(max_resumes));
    assert_says("BusLimits::max_members", count(max_members));
    assert_says("BusLimits::max_member", count(max_member));
    assert_says("BusLimits::presence_ttl", time(presence_ttl));
    assert_says("BusLimits::max_publishers", count(max_publishers));
}

#[cfg(feature = "tls")]
#[test]
fn the_sessions_of_tls_are_those_of_the_table() {
    use serve_forever::tls::{ClientOptions, Roots, ServerOptions};
    assert_says("ServerOptions::sessions", count(ServerOptions::default().sessions));
    assert_says("ClientOptions::sessions", count(ClientOptions::new(Roots::insecure()).sessions));
}

/// The rows of a table of measurements: `| KIND: WHAT | FIGURE | …`.
fn measurements(text: &str) -> Vec<&str> {
    let measures = |line: &str| line.split('|').nth(1).is_some_and(|what| what.contains(": "));
    text.lines().filter(|line| line.starts_with("| ") && measures(line)).collect()
}

#[test]
fn the_performance_is_what_a_command_has_measured_and_says_where() {
    let text = document("docs/performance.md");
    let marks = [
        "<!-- performance: made by benches/peers with --table, not by hand -->",
        "<!-- end of performance -->",
    ];
    for mark in marks {
        assert_eq!(text.matches(mark).count(), 1, "{mark}");
    }
    let (_, behind) = text.split_once(marks[0]).expect("it is there");
    let (made, _) = behind.split_once(marks[1]).expect("they are in order");
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
    let rows = measurements(made);
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

#[test]
fn the_readme_shows_rows_of_the_measured_table() {
    let whole = document("docs/performance.md");
    let readme = document("README.md");
    let rows = measurements(&readme);
    assert!((6..=8).contains(&rows.len()), "six to eight rows: {rows:#?}");
    for row in rows {
        let cells = row.trim_end_matches('|');
        assert!(
            whole.lines().any(|line| line.starts_with(cells)),
            "docs/performance.md has other figures than {row}"
        );
    }
}

/// The numbers of all guarantees, in order.
fn guarantees() -> Vec<u32> {
    let text = document("docs/guarantees.md");
    text.lines().filter_map(|line| line.split_once(". **")?.0.parse().ok()).collect()
}

/// The numbers behind each mention of that document: `, 7`, `, 1, 2` or
/// `, 1 and 2`.
fn citations(text: &str) -> Vec<Vec<u32>> {
    let mentions = text.split("docs/guarantees.md").skip(1);
    let numbers = mentions.map(|mut rest| {
        let mut numbers = Vec::new();
        while let Some(next) = rest.strip_prefix(", ").or_else(|| rest.strip_prefix(" and ")) {
            rest = next.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let Ok(number) = next[..next.len() - rest.len()].parse() else { break };
            numbers.push(number);
        }
        numbers
    });
    numbers.collect()
}

#[test]
fn every_guarantee_that_is_cited_exists_and_every_guarantee_is_cited() {
    let guarantees = guarantees();
    let expected: Vec<u32> = (1..).take(guarantees.len()).collect();
    assert_eq!(guarantees, expected, "numbered without a gap");
    let said = format!("lists {} cases that it survives", guarantees.len());
    assert!(document("README.md").contains(&said), "README.md does not say: it {said}");
    let mut cited = BTreeSet::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in sources(folder) {
            let text = fs::read_to_string(&file).expect("a file of Rust");
            let comments =
                text.lines().filter_map(|line| line.split_once("// ").or_else(|| line.split_once("//! ")));
            for (_, comment) in comments {
                for numbers in citations(comment) {
                    assert!(!numbers.is_empty(), "{}: no number: {comment}", file.display());
                    cited.extend(numbers);
                }
            }
        }
    }
    let guarantees = BTreeSet::from_iter(guarantees);
    assert_eq!(cited, guarantees);
}

#[test]
fn a_citation_is_one_number_or_several() {
    assert_eq!(citations("docs/guarantees.md, 21."), [[21]]);
    assert_eq!(citations("docs/guarantees.md, 16. The client sends"), [[16]]);
    assert_eq!(citations("before and after (docs/guarantees.md, 57)."), [[57]]);
    assert_eq!(citations("docs/guarantees.md, 30, 31."), [[30, 31]]);
    assert_eq!(citations("docs/guarantees.md, 60 and 19: a fresh operator"), [[60, 19]]);
    assert_eq!(citations("docs/guarantees.md, 2, after a first frame."), [[2]]);
    assert_eq!(citations("docs/guarantees.md has them"), [[0; 0]]);
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

/// A table of docs/ that says what takes the place of a Python name.
struct Table {
    /// Each name, and whether its row claims an equivalent.
    names: Vec<(String, bool)>,
}

impl Table {
    /// The table of that document whose head begins like this.
    #[track_caller]
    fn of(path: &str, head: &str) -> Self {
        let text = document(path);
        let lines = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
        let mut names = Vec::new();
        for line in lines.take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = line.trim_matches('|').splitn(2, '|').map(str::trim).collect();
            let [first, second] = cells[..] else { panic!("two cells: {line}") };
            // A row that claims nothing begins with one of these words.
            let claims = !second.starts_with("none needed: ") && !second.starts_with("next");
            let quoted = first.split('`').skip(1).step_by(2);
            let plain = quoted.map(|name| name.split('(').next().unwrap_or(name));
            names.extend(
                plain.filter(|name| !name.contains([' ', '='])).map(|name| (name.to_owned(), claims)),
            );
        }
        assert!(!names.is_empty(), "{path} has no table that begins with {head}");
        Self { names }
    }

    /// The names of tests in `tests/it/PREFIX*.rs` are those of all rows that
    /// claim something, and every one of `expected` has its row.
    #[track_caller]
    fn check(&self, expected: &str, files: impl Fn(&str) -> bool) {
        let named: BTreeSet<&str> = self.names.iter().map(|(name, _)| name.as_str()).collect();
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
            self.names.iter().filter(|(name, claims)| *claims && !tested.contains(name.as_str())).collect();
        assert!(untested.is_empty(), "no test is named after {untested:?}");
    }
}

/// What a test is named after: the names that it begins with, joined by `_and_`.
fn subjects<'a>(test: &str, names: &'a [(String, bool)]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = test;
    loop {
        let longest = names
            .iter()
            .filter_map(|(name, _)| {
                let after = rest.strip_prefix(&snake_case(name))?;
                (after.is_empty() || after.starts_with('_')).then_some((name.as_str(), after))
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

/// The names of the tests in those files of `tests/` that are wanted.
fn tests_in(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut tests = Vec::new();
    for file in sources("tests") {
        if file.file_name().and_then(|name| name.to_str()).is_some_and(&wanted) {
            let text = fs::read_to_string(&file).expect("a file of Rust");
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
    Table::of("docs/coming-from-socketserver.md", "| `socketserver` |").check(SOCKETSERVER, files);
}

#[test]
fn every_call_of_a_socket_has_its_row_and_every_claim_its_test() {
    Table::of("docs/coming-from-sockets.md", "| a socket's |")
        .check(CALLS, |name| name == "socketserver_calls.rs");
}

#[test]
fn a_test_is_named_after_what_it_begins_with() {
    let names =
        ["TCPServer", "timeout", "handle_timeout", "StreamRequestHandler.timeout", "RequestHandlerClass"];
    let names = names.map(|name| (name.to_owned(), true));
    assert_eq!(subjects("tcp_server_and_timeout_are", &names), ["TCPServer", "timeout"]);
    assert_eq!(subjects("handle_timeout_and_its_timeout", &names), ["handle_timeout"]);
    assert_eq!(subjects("stream_request_handler_timeout", &names), ["StreamRequestHandler.timeout"]);
    assert_eq!(subjects("request_handler_class_is", &names), ["RequestHandlerClass"]);
    assert_eq!(subjects("timeouts_are_many", &names), [""; 0]);
}
