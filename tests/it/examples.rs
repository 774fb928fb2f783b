//! Runs each example as its user would, and talks to it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running example, killed when dropped.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn run<const N: usize>(name: &str, arguments: [impl AsRef<OsStr>; N]) -> Self {
        Self::run_with(name, arguments, Stdio::null())
    }

    fn run_with<const N: usize>(name: &str, arguments: [impl AsRef<OsStr>; N], stdin: Stdio) -> Self {
        let mut child = Command::new(binary(name))
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example can be started");
        let stdout = child.stdout.take().expect("it is piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the example has not ended").expect("its output is UTF-8")
    }

    /// Connects to the address of the next line, `listening on tcp://…`.
    fn connect(&mut self) -> TcpStream {
        let line = self.line();
        let address = line.strip_prefix("listening on tcp://").expect("an address");
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        socket
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo puts examples beside the directory of this test's own binary, and
/// builds them for a `cargo test` that is not narrowed to one target.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = profile.join("examples").join(name);
    assert!(binary.exists(), "{} is not built: run `cargo build --examples`", binary.display());
    binary
}

/// Connects as soon as somebody listens there.
fn connect_when_there(path: &Path) -> UnixStream {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return socket,
            Err(error) => assert!(began.elapsed() < PATIENCE, "nobody listens: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn echo_gives_every_byte_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("echo.sock");
    let _echo = Example::run("echo", [&format!("unix:{}", path.display())]);
    let mut socket = connect_when_there(&path);
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    socket.write_all(b"hello\0\xff").expect("it reads");
    socket.shutdown(Shutdown::Write).expect("a half-close");
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).expect("it answers");
    assert_eq!(reply, b"hello\0\xff");
}

#[test]
fn own_service_numbers_lines_of_one_and_of_all() {
    let mut own_service = Example::run("own_service", ["127.0.0.1:0"]);
    let mut socket = own_service.connect();
    socket.write_all(b"a\nb\nno end").expect("it reads");
    socket.shutdown(Shutdown::Write).expect("a half-close");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("it answers");
    assert_eq!(reply, "line 1 of yours, line 1 of all: a\nline 2 of yours, line 2 of all: b\n");
    let local = socket.local_addr().expect("it is connected");
    assert_eq!(own_service.line(), format!("{local} sent 2 lines; both sides finished"));
}

#[cfg(feature = "codec")]
#[test]
fn framed_stores_values_behind_their_lengths() {
    let mut framed = Example::run("framed", ["127.0.0.1:0"]);
    let mut socket = framed.connect();
    let address = socket.peer_addr().expect("it is connected");
    let requests: [&[u8]; 6] = [b"a", b"a=one\0\n", b"a", b"a=two=2", b"a", b""];
    let replies: [&[u8]; 6] = [b"", b"", b"one\0\n", b"one\0\n", b"two=2", b""];
    let frames = |frames: [&[u8]; 6]| {
        frames.map(|frame| [&(frame.len() as u32).to_be_bytes(), frame].concat()).concat()
    };
    socket.write_all(&frames(requests)).expect("it reads");
    socket.shutdown(Shutdown::Write).expect("a half-close");
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).expect("it answers");
    assert_eq!(reply, frames(replies));
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    socket.write_all(&u32::MAX.to_be_bytes()).expect("it reads");
    assert_eq!(socket.read(&mut [0]).expect("it ends in order"), 0, "such a length is refused");
}

#[test]
fn udp_echo_gives_datagrams_back_and_counts_them() {
    let mut udp_echo = Example::run("udp_echo", ["udp://127.0.0.1:0"]);
    let line = udp_echo.line();
    let address = line.strip_prefix("bound to udp://").expect("an address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(address).expect("an address of the same kind");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    let local = socket.local_addr().expect("it is bound");
    for (number, message) in [b"hello".as_slice(), b"", b"\0\xff"].into_iter().enumerate() {
        socket.send(message).expect("it is there");
        let mut reply = [0; 16];
        let count = socket.recv(&mut reply).expect("it answers");
        assert_eq!(&reply[..count], message);
        let expected = format!("{count} bytes from {local}, datagram {} of 127.0.0.1", number + 1);
        assert_eq!(udp_echo.line(), expected);
    }
}

#[test]
fn unix_echo_is_for_one_user_and_says_who_that_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("echo.sock");
    let endpoint = format!("unix:{}", path.display());
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut unix_echo = Example::run("unix_echo", [&endpoint]);
    assert_eq!(unix_echo.line(), format!("listening on {endpoint}"));
    let mut socket = connect_when_there(&path);
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    socket.write_all(b"hello\0\xff").expect("it reads");
    socket.shutdown(Shutdown::Write).expect("a half-close");
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).expect("it answers");
    assert_eq!(reply, b"hello\0\xff");
    let this = std::process::id();
    assert_eq!(unix_echo.line(), format!("user {user}, group {group}, process {this}"));
    drop(unix_echo);

    // For somebody else, it is as if there were nobody.
    let mut unix_echo = Example::run("unix_echo", [endpoint.clone(), (user + 1).to_string()]);
    assert_eq!(unix_echo.line(), format!("listening on {endpoint}"));
    let mut socket = connect_when_there(&path);
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    assert_eq!(socket.read(&mut [0]).expect("an end in order"), 0);
}

#[test]
fn embed_runs_inside_of_another_loop_and_ends() {
    let mut embed = Example::run("embed", ["127.0.0.1:0"]);
    let output: Vec<String> = embed.lines.by_ref().map(|line| line.expect("UTF-8")).collect();
    assert!(output[0].starts_with("listening on tcp://127.0.0.1:"), "{output:?}");
    assert!(output.iter().any(|line| line == "0 connections, says a thread"), "{output:?}");
    assert!(output.iter().any(|line| line == "round 1 of the program's own loop"), "{output:?}");
    assert!(embed.child.wait().expect("it is ours").success());
}

// Of 64 connections, all are for the same one of two threads once in 2^63 times.
#[cfg(feature = "signals")]
#[test]
fn multicore_serves_from_more_than_one_thread_and_ends_with_all_of_them() {
    use rustix::process::{Pid, Signal, kill_process};
    const CLIENTS: usize = 64;
    let mut multicore = Example::run("multicore", ["127.0.0.1:0", "2"]);
    let line = multicore.line();
    let address =
        line.strip_prefix("listening on tcp://").and_then(|line| line.strip_suffix(" with 2 threads"));
    let address = address.expect("an address");
    for client in 0..CLIENTS {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        let message = format!("this is {client}");
        socket.write_all(message.as_bytes()).expect("it reads");
        socket.shutdown(Shutdown::Write).expect("a half-close");
        let mut reply = String::new();
        socket.read_to_string(&mut reply).expect("it answers");
        assert_eq!(reply, message);
    }
    kill_process(Pid::from_child(&multicore.child), Signal::TERM).expect("it is ours");
    let served = [0, 1].map(|thread| {
        let line = multicore.line();
        let rest = line.strip_prefix(&format!("thread {thread} has served "));
        let count = rest.and_then(|rest| rest.strip_suffix(" connections"));
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    });
    assert_eq!(served.iter().sum::<usize>(), CLIENTS);
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    assert!(multicore.child.wait().expect("it is ours").success());
}

// A signal would leave its socket's file, and what it runs, behind.
#[cfg(all(feature = "signals", feature = "workers"))]
#[test]
fn a_signal_ends_in_order_what_has_something_to_clean_up() {
    use rustix::process::{Pid, Signal, kill_process};
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let at = format!("unix:{}", path.display());
    for (name, rest) in
        [("proxy", vec!["127.0.0.1:1"]), ("unix_echo", vec![]), ("run_program", vec!["sleep", "100000"])]
    {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            // At its end of input it would end as well.
            let (keep, stdin) = std::io::pipe().expect("two descriptors");
            let mut child = Command::new(binary(name))
                .arg(&at)
                .args(&rest)
                .stdin(keep)
                .stdout(Stdio::null())
                .spawn()
                .expect("the example can be started");
            connect_when_there(&path);
            kill_process(Pid::from_child(&child), signal).expect("it is ours");
            assert!(child.wait().expect("it is ours").success(), "{name} {signal:?}");
            assert!(!path.exists(), "{name} {signal:?}");
            drop(stdin);
        }
    }
}

#[test]
fn an_address_that_is_none_is_an_error_that_says_so() {
    for name in [
        "echo",
        "own_service",
        "udp_echo",
        "unix_echo",
        "embed",
        "run_program",
        #[cfg(feature = "codec")]
        "framed",
        #[cfg(feature = "signals")]
        "multicore",
    ] {
        // What to run, for the one that runs something.
        let rest = (name == "run_program").then_some("true");
        let mut example = Command::new(binary(name));
        let output = example.arg("nowhere").args(rest).output().expect("it can be started");
        assert!(!output.status.success(), "{name}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("nowhere") && text.contains("HOST:PORT"), "{name}: {text}");
    }
}

#[cfg(feature = "workers")]
#[test]
fn proxy_passes_bytes_and_ends_both_ways() {
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("echo.sock");
    let target = format!("unix:{}", target.to_str().expect("a UTF-8 path"));
    let _echo = Example::run("echo", [&target]);
    connect_when_there(Path::new(target.trim_start_matches("unix:")));
    let mut proxy = Example::run("proxy", ["127.0.0.1:0", &target]);
    let mut client = proxy.connect();
    client.write_all(b"through and back").expect("the proxy reads");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut got = String::new();
    client.read_to_string(&mut got).expect("the end is passed on in order");
    assert_eq!(got, "through and back");
}

#[cfg(feature = "workers")]
#[test]
fn proxy_resets_a_client_whose_target_is_not_there() {
    let mut proxy = Example::run("proxy", ["127.0.0.1:0", "unix:/nonexistent/target"]);
    let mut client = proxy.connect();
    let error = client.read(&mut [0]).expect_err("there is nobody to answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

// A fast sender and a slow reader: what the proxy holds is bounded by its
// marks, and everything arrives.
#[cfg(feature = "workers")]
#[test]
fn proxy_holds_no_more_than_its_marks() {
    const WHOLE: usize = 64 << 20;
    let sink = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = sink.local_addr().expect("it is bound").to_string();
    let mut proxy = Example::run("proxy", ["127.0.0.1:0", &target]);
    let mut client = proxy.connect();
    let (mut accepted, _) = sink.accept().expect("the proxy connects");
    let resident = |proxy: &Example| -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", proxy.child.id())).expect("it runs");
        4096 * statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number")
    };
    let before = resident(&proxy);
    let sending = thread::spawn(move || {
        let piece: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        for _ in 0..WHOLE / piece.len() {
            client.write_all(&piece).expect("the proxy reads on");
        }
    });
    let mut most = before;
    let mut position = 0;
    let mut buffer = vec![0; 100_000];
    while let count @ 1.. = accepted.read(&mut buffer).expect("the proxy writes on") {
        for byte in &buffer[..count] {
            assert_eq!(usize::from(*byte), position % 256, "at {position}");
            position += 1;
        }
        most = most.max(resident(&proxy));
    }
    sending.join().expect("everything was sent");
    assert_eq!(position, WHOLE);
    assert!(most - before < 8 << 20, "{} KiB more", (most - before) >> 10);
}

/// Clients of a program that writes `tick` until it is told not to: each of
/// them has got one.
fn listeners(example: &mut Example) -> Vec<BufReader<TcpStream>> {
    let first = example.connect();
    let address = first.peer_addr().expect("it is connected");
    let second = TcpStream::connect(address).expect("it listens");
    second.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    let mut clients: Vec<_> = [first, second].into_iter().map(BufReader::new).collect();
    for client in &mut clients {
        let mut line = String::new();
        client.read_line(&mut line).expect("the program writes");
        assert_eq!(line, "tick\n");
    }
    clients
}

/// What comes after the ticks.
fn expect_at_last(clients: Vec<BufReader<TcpStream>>, expected: &str) {
    for mut client in clients {
        let mut text = String::new();
        client.read_to_string(&mut text).expect("it ends in order");
        assert_eq!(text.trim_start_matches("tick\n"), expected);
    }
}

#[test]
fn run_program_sends_every_line_to_every_client_and_a_last_word() {
    let directory = tempfile::tempdir().expect("a directory");
    let stop = directory.path().join("stop");
    let program =
        r#"until [ -e "$0" ]; do echo tick; sleep 0.01; done; echo one; printf 'two\nno end'; exit 3"#;
    let arguments = ["127.0.0.1:0", "sh", "-c", program, stop.to_str().expect("a UTF-8 path")];
    let mut example = Example::run_with("run_program", arguments, Stdio::piped());
    let clients = listeners(&mut example);
    std::fs::write(&stop, "").expect("there is room");
    expect_at_last(clients, "one\ntwo\nno endthe program has ended: exit status: 3\n");
    assert_eq!(example.line(), "the program has ended: exit status: 3");
    assert!(example.child.wait().expect("it is ours").success());
}

#[test]
fn run_program_asks_the_program_to_end_when_its_own_input_does() {
    // The signal is for the whole group; a shell may remark on what it does to `sleep`.
    let program = "exec 2>/dev/null; trap 'echo bye; exit 0' TERM; while :; do echo tick; sleep 0.01; done";
    let arguments = ["127.0.0.1:0", "sh", "-c", program];
    let mut example = Example::run_with("run_program", arguments, Stdio::piped());
    let clients = listeners(&mut example);
    drop(example.child.stdin.take());
    expect_at_last(clients, "bye\nthe program has ended: exit status: 0\n");
    assert!(example.child.wait().expect("it is ours").success());
}

#[test]
fn run_program_says_why_there_is_nothing_to_run() {
    let arguments = ["127.0.0.1:0", "/nonexistent/program"];
    let mut example = Example::run_with("run_program", arguments, Stdio::piped());
    let said = "the program was not started: No such file or directory (os error 2)";
    assert!([example.line(), example.line()].iter().any(|line| line == said));
    assert!(example.child.wait().expect("it is ours").success());
}

#[test]
fn kv_answers_whether_it_polls_or_sleeps_and_keeps_its_bound() {
    for arguments in
        [["--max-memory", "200", "127.0.0.1:0"], ["--busy-poll=100", "--max-memory=200", "[::1]:0"]]
    {
        let mut kv = Example::run("kv", arguments);
        let mut client = kv.connect();
        client.write_all(b"SET key value\r\nGET key\r\nSET other value\r\n").expect("it reads");
        let mut answers = [0; 20];
        client.read_exact(&mut answers).expect("it answers");
        assert_eq!(answers, *b"+OK\r\n$5\r\nvalue\r\n-OOM");
    }
}

#[test]
fn kv_lets_a_client_subscribe_to_thousands_of_channels() {
    const CHANNELS: usize = 2000;
    let mut kv = Example::run("kv", ["127.0.0.1:0"]);
    let mut client = kv.connect();
    let names: String = (0..CHANNELS).map(|number| format!(" {number}")).collect();
    client.write_all(format!("SUBSCRIBE{names}\r\n").as_bytes()).expect("it reads");
    let answer = |number: usize| {
        let (name, count) = (number.to_string(), number + 1);
        format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:{count}\r\n", name.len())
    };
    let expected: String = (0..CHANNELS).map(answer).collect();
    let mut answers = vec![0; expected.len()];
    client.read_exact(&mut answers).expect("it answers");
    assert!(answers == expected.as_bytes(), "{}", answers.escape_ascii());
}

#[test]
fn kv_ends_with_2_where_it_cannot_listen() {
    let mut kv = Example::run("kv", ["127.0.0.1:0"]);
    let at = kv.connect().peer_addr().expect("it is connected").to_string();
    let output = Command::new(binary("kv")).arg(&at).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.starts_with("kv: ") && said.contains(&at), "{said}");
}

#[test]
fn kv_says_what_is_wrong_with_an_argument() {
    let wrong: [(&[&str], &str); 6] = [
        (&["--max-memory"], "--max-memory takes a number of bytes"),
        (&["--busy-poll=soon"], "--busy-poll takes a number of microseconds, not \"soon\": "),
        (&["--busy"], "unknown option --busy"),
        (&["127.0.0.1:0", "127.0.0.2:0"], "the endpoint is given twice"),
        (&["nowhere"], "the endpoint nowhere: "),
        (&["--max-memory", "1", "--max-memory=2"], "--max-memory is given twice"),
    ];
    for (arguments, expected) in wrong {
        let output = Command::new(binary("kv")).args(arguments).output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("kv: {expected}")) && said.contains("\nusage: kv "), "{said}");
    }
}

#[cfg(feature = "workers")]
#[test]
fn passwords_serves_everybody_while_hashes_are_made() {
    let mut passwords = Example::run("passwords", ["127.0.0.1:0"]);
    let mut client = passwords.connect();
    client.write_all(b"hash ann secret\nhash bob secret\nhash ann secret\nstill here\n").expect("it reads");
    let mut lines = BufReader::new(client).lines().map(|line| line.expect("a line"));
    assert_eq!(lines.next().as_deref(), Some("still here"), "the echo waits for no hash");
    let mut hashes: Vec<String> = lines.take(3).collect();
    assert!(hashes.iter().zip(1..).all(|(line, count)| line.ends_with(&format!(" ({count})"))), "{hashes:?}");
    hashes.iter_mut().for_each(|line| line.truncate(32));
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 2, "ann's is the same each time, and bob's another: {hashes:?}");
}

#[cfg(feature = "workers")]
#[test]
fn connect_by_name_tries_what_localhost_stands_for_and_names_what_it_tried() {
    let mut echo = Example::run("passwords", ["127.0.0.1:0"]);
    let port = echo.connect().peer_addr().expect("it is connected").port();
    let mut ask = Example::run("connect_by_name", [format!("localhost:{port}"), "hello".into()]);
    assert_eq!(ask.line(), "hello");
    assert!(ask.child.wait().expect("it ends").success());
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a free port").port();
    let output = Command::new(binary("connect_by_name"))
        .args([format!("localhost:{port}"), "hello".into()])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("localhost:{port}: ")) && said.contains(&format!("127.0.0.1:{port}: ")),
        "{said}"
    );
}

#[test]
fn layer_speaks_hexadecimal_digits() {
    let mut layer = Example::run("layer", ["127.0.0.1:0"]);
    let mut socket = layer.connect();
    socket.write_all(b"HEX\n68656c6c6f.").expect("it reads");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("it answers");
    assert_eq!(reply, "HEX\n48454c4c4f.\n");
}

/// Runs this program of Python with the port of the example and the certificate of an
/// authority; what it prints. `None` where there is no Python.
#[cfg(feature = "tls")]
fn python(program: &str, port: u16) -> Option<String> {
    use crate::util::certificates::CERTIFICATES;

    let files = CERTIFICATES.files();
    let mut command = Command::new("python3");
    command.args(["-c", program, &port.to_string()]).arg(files.path("ca.pem"));
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).expect("UTF-8"))
        }
        Err(error) => {
            eprintln!("SKIPPED: python3 cannot be run: {error}");
            None
        }
    }
}

/// An example that has these files for its certificate and key; and its port.
#[cfg(feature = "tls")]
fn run_with_files(name: &str, chain: &Path, key: &Path) -> (Example, u16) {
    let arguments = [OsStr::new("127.0.0.1:0"), chain.as_os_str(), key.as_os_str()];
    let mut example = Example::run_with(name, arguments, Stdio::piped());
    let line = example.line();
    let port = line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an address");
    (example, port)
}

#[cfg(feature = "tls")]
#[test]
fn tls_echo_says_what_was_agreed_on_and_reads_its_certificate_again() {
    use crate::util::certificates::CERTIFICATES;

    const ECHO: &str = r"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as raw:
    with context.wrap_socket(raw, server_hostname='server.test') as tls:
        tls.sendall(b'through')
        print(tls.recv(100), [name for _, name in tls.getpeercert()['subjectAltName']])
";
    let directory = tempfile::tempdir().expect("a directory");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
    let install = |certificate: &str, secret: &str| {
        std::fs::write(&chain, certificate).expect("it can be written");
        std::fs::write(&key, secret).expect("it can be written");
    };
    install(&CERTIFICATES.other.certificate, &CERTIFICATES.other.key);
    let (mut echo, port) = run_with_files("tls_echo", &chain, &key);
    let Some(said) = python(ECHO, port) else { return };
    assert_eq!(said, "b'through' ['other.test']\n");
    let line = echo.line();
    assert!(line.contains("TLSv1_3") && line.ends_with("asks for server.test"), "{line}");

    let mut input = echo.child.stdin.take().expect("it is piped");
    install(&CERTIFICATES.server.certificate, &CERTIFICATES.server.key);
    input.write_all(b"reload\n").expect("it reads");
    assert_eq!(echo.line(), "reload: new connections get the new certificate");
    let said = python(ECHO, port).expect("it was there");
    assert!(said.starts_with("b'through'") && said.contains("server.test"), "{said}");
    echo.line();
    std::fs::write(&chain, "nothing").expect("it can be written");
    input.write_all(b"reload\n").expect("it reads");
    let line = echo.line();
    assert!(line.starts_with("reload: the old one stays, for "), "{line}");
}

#[cfg(feature = "tls")]
#[test]
fn starttls_protects_a_dialogue_that_has_begun_in_the_clear() {
    use crate::util::certificates::CERTIFICATES;

    const SMTP: &str = r"
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with smtplib.SMTP('localhost', int(sys.argv[1]), timeout=60) as smtp:
    print(smtp.docmd('MAIL')[0], smtp.ehlo()[0], smtp.has_extn('starttls'))
    print(smtp.starttls(context=context)[0], smtp.ehlo()[0], smtp.has_extn('starttls'))
    print(smtp.noop()[0], smtp.docmd('MAIL')[0], smtp.quit()[0])
";
    let files = CERTIFICATES.files();
    let (chain, key) = (files.path("server.pem"), files.path("server.key"));
    let (_dialogue, port) = run_with_files("starttls", chain.as_ref(), key.as_ref());
    let Some(said) = python(SMTP, port) else { return };
    assert_eq!(said, "530 250 True\n220 250 False\n250 502 221\n");

    // Cleartext behind the command would be taken for what is protected.
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    socket.write_all(b"STARTTLS\r\nNOOP\r\n").expect("it reads");
    let mut said = Vec::new();
    // What it has not read may reset the connection.
    let _ = socket.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("250 OK"), "{said}");
}

/// One room over two processes: what is said on either comes to both, and who comes back
/// with a position gets what it missed, from the process that is left.
#[cfg(feature = "bus")]
#[test]
fn rooms_are_one_over_processes_and_a_client_comes_back() {
    use crate::bus::redis::Redis;

    struct Member {
        socket: TcpStream,
        lines: Lines<BufReader<TcpStream>>,
    }

    impl Member {
        fn on(socket: TcpStream, first: &str) -> Self {
            let lines = BufReader::new(socket.try_clone().expect("a descriptor is free")).lines();
            let member = Self { socket, lines };
            member.say(first);
            member
        }

        fn say(&self, line: &str) {
            (&self.socket).write_all(format!("{line}\n").as_bytes()).expect("it reads");
        }

        /// The position of the next line, which is this.
        fn hears(&mut self, expected: &str) -> String {
            let line = self.lines.next().expect("it is not the end").expect("it answers");
            let (position, text) = line.split_once(' ').expect("a position and a line");
            assert_eq!(text, expected);
            position.to_owned()
        }
    }

    let Some(redis) = Redis::start(&[]) else { return };
    let url = format!("redis+unix:{}?prefix=rooms", redis.path().display());
    let [mut stays, mut ends] = [(); 2].map(|()| Example::run("rooms", [url.as_str(), "127.0.0.1:0"]));
    let address = stays.line().strip_prefix("listening on tcp://").expect("an address").to_owned();
    let connect = || {
        let socket = TcpStream::connect(&address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        socket
    };
    // Who has heard itself is in the room.
    let mut first = Member::on(connect(), "lobby");
    first.say("first");
    first.hears("first");
    let mut second = Member::on(ends.connect(), "lobby");
    second.say("second");
    let mut other = Member::on(connect(), "elsewhere");
    other.say("other");
    other.hears("other");
    assert_eq!(second.hears("second"), first.hears("second"), "one order");
    first.say("hello");
    let last = second.hears("hello");
    assert_eq!(last, first.hears("hello"));

    // A process that is killed takes nothing along.
    ends.child.kill().expect("it runs");
    assert!(second.lines.next().is_none_or(|line| line.is_err()), "it is gone");
    first.say("one");
    first.say("two");
    let said = [first.hears("one"), first.hears("two")];
    let mut back = Member::on(connect(), &format!("lobby {last}"));
    assert_eq!([back.hears("one"), back.hears("two")], said);
    first.say("three");
    assert_eq!(back.hears("three"), first.hears("three"));
}
