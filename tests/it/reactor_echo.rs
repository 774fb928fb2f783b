//! Runs `reactor-echo` for real: against itself, and against servers which do
//! what a server must not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far beyond what any of these runs takes: it turns a hang into a failure.
const BOUND: Duration = Duration::from_secs(120);

/// Runs the program to its end.
fn run<S: AsRef<str>>(args: &[S]) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_reactor-echo"))
        .args(args.iter().map(AsRef::as_ref))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = Pid::from_child(&child);
    let (done, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let output = child.wait_with_output();
        // The receiver is gone only after a timeout, which has its own words.
        let _ = done.send(());
        output
    });
    if ended.recv_timeout(BOUND).is_err() {
        let _ = kill_process(pid, Signal::KILL);
        panic!("the program hangs");
    }
    waiter.join().expect("waiting does not panic").expect("the program can be waited for")
}

/// `bench` on `endpoint`, with further arguments as on a command line.
fn bench(endpoint: &str, args: &str) -> Output {
    let line = format!("bench --connect {endpoint} --warmup 0 {args}");
    run(&line.split_whitespace().collect::<Vec<_>>())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}

/// The run failed, and said so with these words.
#[track_caller]
fn assert_failed(output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

/// A server whose every connection is handled by `handle`, on its own thread;
/// it lives as long as the test.
fn server(handle: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            // How a connection ends is for the client to tell.
            thread::spawn(move || drop(handle(stream)));
        }
    });
    address.to_string()
}

/// Echoes, blocking: while its peer does not read, neither does it.
fn echo(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    io::copy(&mut from, &mut to).map(drop)
}

fn echo_server() -> String {
    server(|stream| echo(&stream, &stream))
}

#[test]
fn the_default_run_measures_the_embedded_server() {
    let output = run(&["-n", "2000", "-c", "7", "-p", "3", "--warmup", "0.01"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    // A machine that lets a callback wait for its turn is told of, and may.
    let complaints: Vec<_> = output.stderr.split(|byte| *byte == b'\n').collect();
    let is_of_the_machine = |line: &&[u8]| line.ends_with(b"; everybody else waited");
    let quiet = complaints.iter().all(|line| line.is_empty() || is_of_the_machine(line));
    assert!(quiet, "stderr is not quiet without a terminal: {}", stderr(&output));
    for part in [
        "7 connections × 64 B, closed loop, 3 outstanding each, 2,000 messages",
        "messages/s",
        "MB/s",
        "latency p99.9",
        "latency max",
        "server CPU/message",
        "server calls/message",
        "client CPU/message",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let errors = text.lines().find(|line| line.contains("errors"));
    assert!(errors.is_some_and(|line| line.ends_with("none")), "{text}");
}

#[test]
fn json_holds_the_numbers() {
    let output = run(&["-n", "500", "-c", "2", "--warmup", "0", "--output", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let json = json(&output);
    assert_eq!(json["messages"], 500);
    assert_eq!(json["messages_lost"], 0);
    assert_eq!(json["errors"], 0);
    assert_eq!(json["size_bytes"], 64);
    let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{key}: {json}"));
    assert!(number("messages_per_second") > 0.0);
    assert!(number("server_calls_per_message") > 0.0);
    assert!(number("server_cpu_us_per_message") > 0.0);
    assert!(number("latency_min_us") <= number("latency_p50_us"));
    assert!(number("latency_p50_us") <= number("latency_max_us"));
}

#[test]
fn csv_is_a_header_and_a_row() {
    let output = bench(&echo_server(), "-n 100 -c 1 --output csv");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].len(), lines[1].len());
    let at = lines[0].iter().position(|&key| key == "messages");
    assert_eq!(lines[1][at.expect("the column")], "100");
}

#[test]
fn svg_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("latency.svg");
    let path = path.to_str().expect("UTF-8");
    let output = run(&["-n", "300", "--warmup", "0", "--svg", path]);
    assert!(output.status.success(), "{}", stderr(&output));
    let svg = std::fs::read_to_string(path).expect("the chart");
    assert!(svg.starts_with("<svg") && svg.contains("99 %"));

    let output = run(&["-n", "1", "--warmup", "0", "--svg", "/nonexistent/x.svg"]);
    assert_failed(&output, &["/nonexistent/x.svg"]);
}

#[test]
fn a_time_is_a_window_too() {
    let server = echo_server();
    let began = Instant::now();
    loop {
        let output = bench(&server, "-d 0.05 -c 3 --output json");
        let json = json(&output);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(json["elapsed_s"].as_f64().is_some_and(|time| time >= 0.05));
        // On a machine that is busy enough none comes back within it.
        if json["messages"].as_u64().is_some_and(|count| count > 0) {
            break;
        }
        assert!(began.elapsed() < BOUND, "no message is counted");
    }
}

#[test]
fn an_open_loop_sends_its_count() {
    let output = bench(&echo_server(), "--rate 2000 -n 200 -c 3 --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    let json = json(&output);
    assert_eq!(json["loop"], "open");
    assert_eq!(json["messages"], 200);
    // The schedule is 100 ms long, and no machine makes it shorter.
    assert!(json["elapsed_s"].as_f64().is_some_and(|time| time >= 0.1));
}

#[test]
fn latency_counts_from_the_intended_time() {
    // The server takes the first message only with the last: whatever the
    // machine, the first is as late as the schedule is long.
    let endpoint = server(|mut stream| {
        let mut all = [0; 64 * 40];
        stream.read_exact(&mut all)?;
        stream.write_all(&all)?;
        echo(&stream, &stream)
    });
    let output = bench(&endpoint, "--rate 200 -n 40 -c 1 --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    let max = json(&output)["latency_max_us"].as_f64();
    assert!(max.is_some_and(|max| max >= 190_000.0), "{max:?}");
}

#[test]
fn large_messages_pass_a_server_which_blocks() {
    // Far more outstanding than the sockets hold: a client which writes before
    // it reads would wait for the server, and the server for it.
    let output = bench(&echo_server(), "-n 40 -c 2 -p 10 -s 1M --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["messages"], 40);
}

#[test]
fn deep_pipelines_of_single_bytes_pass() {
    let output = bench(&echo_server(), "-n 20000 -c 2 -p 5000 -s 1 --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["messages"], 20_000);
}

#[test]
fn idle_connections_stand_by() {
    let output = bench(&echo_server(), "-n 100 -c 2 --idle 30 --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["idle_connections"], 30);
}

#[test]
fn unix_sockets_are_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("echo.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(&stream, &stream));
        }
    });
    let endpoint = format!("unix:{}", path.display());
    // More than its backlog at once would hold, were they not made in batches.
    let output = bench(&endpoint, "-n 3000 -c 300 -s 1000 --output json");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["messages"], 3000);
}

#[test]
fn a_changed_byte_is_a_mismatch() {
    let endpoint = server(|mut stream| {
        let mut bytes = [0; 1000];
        stream.read_exact(&mut bytes)?;
        bytes[777] ^= 0x20;
        stream.write_all(&bytes)?;
        echo(&stream, &stream)
    });
    let output = bench(&endpoint, "-n 50 -c 1 -p 10 -s 100 --output json");
    assert_failed(&output, &["data mismatch", "byte 777 ", "byte 77 of message 7"]);
    let json = json(&output);
    assert_eq!(json["errors_mismatch"], 1);
    assert_eq!(json["errors"], 1);
}

#[test]
fn a_missing_byte_is_a_mismatch() {
    let endpoint = server(|mut stream| {
        stream.read_exact(&mut [0])?;
        echo(&stream, &stream)
    });
    let output = bench(&endpoint, "-n 50 -c 1 -s 100");
    assert_failed(&output, &["data mismatch", "byte 0 "]);
}

#[test]
fn a_repeated_answer_is_a_mismatch() {
    let endpoint = server(|mut stream| {
        let mut bytes = [0; 100];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&[bytes, bytes].concat())?;
        echo(&stream, &stream)
    });
    let output = bench(&endpoint, "-n 50 -c 1 -s 100");
    assert_failed(&output, &["data mismatch"]);
}

#[test]
fn answers_of_two_connections_exchanged_are_a_mismatch() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || -> io::Result<()> {
        let (mut first, _) = listener.accept()?;
        let (mut second, _) = listener.accept()?;
        // Both are read before either is answered: the client ends the first
        // connection that answers wrong, and what it sent there with it.
        let (mut to_second, mut to_first) = ([0; 64], [0; 64]);
        first.read_exact(&mut to_second)?;
        second.read_exact(&mut to_first)?;
        first.write_all(&to_first)?;
        second.write_all(&to_second)?;
        io::copy(&mut first, &mut io::sink())?;
        io::copy(&mut second, &mut io::sink()).map(drop)
    });
    let output = bench(&endpoint, "-n 2 -c 2 --output json");
    assert_failed(&output, &["data mismatch, 2 times"]);
    assert_eq!(json(&output)["messages"], 0);
}

#[test]
fn a_greeting_is_a_mismatch() {
    let endpoint = server(|mut stream| {
        stream.write_all(b"220 ready\r\n")?;
        echo(&stream, &stream)
    });
    let output = bench(&endpoint, "-n 100 -c 1");
    assert_failed(&output, &["data mismatch"]);
}

#[test]
fn an_early_close_is_a_short_count() {
    let endpoint = server(|mut stream| {
        let mut bytes = [0; 250];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
        // Closing with nothing unread is an orderly end, not a reset.
        stream.shutdown(std::net::Shutdown::Write)?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    });
    let output = bench(&endpoint, "-n 3 -p 3 -c 1 -s 100 --output json");
    assert_failed(&output, &["2 of 3 messages", "short count", "250 of the 300"]);
    let json = json(&output);
    assert_eq!(json["messages"], 2);
    assert_eq!(json["errors_closed_early"], 1);
}

#[test]
fn serve_answers_streams_and_datagrams_until_a_signal_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let unixgram = format!("unixgram:{}", path.display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_reactor-echo"))
        .args(["serve", "--service", "upper", "127.0.0.1:0", "udp://127.0.0.1:0", &unixgram])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut told = |scheme: &str| {
        let line = lines.next().expect("it has not ended").expect("UTF-8");
        line.strip_prefix(&format!("listening upper {scheme}")).expect("in this order").to_owned()
    };
    let mut stream = TcpStream::connect(told("tcp://")).expect("it listens");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    udp.connect(told("udp://")).expect("an address of the same kind");
    assert_eq!(told("unixgram:"), path.display().to_string());
    let unix = UnixDatagram::bind(directory.path().join("client")).expect("a free path");
    unix.connect(&path).expect("it is bound");

    let mut answer = [0; 8];
    stream.write_all(b"stream").expect("it reads");
    stream.read_exact(&mut answer[..6]).expect("it answers");
    assert_eq!(&answer[..6], b"STREAM");
    udp.set_read_timeout(Some(BOUND)).expect("an option");
    udp.send(b"udp").expect("it is there");
    assert_eq!(udp.recv(&mut answer).expect("it answers"), 3);
    assert_eq!(&answer[..3], b"UDP");
    unix.set_read_timeout(Some(BOUND)).expect("an option");
    unix.send(b"unix").expect("it is there");
    assert_eq!(unix.recv(&mut answer).expect("it answers"), 4);
    assert_eq!(&answer[..4], b"UNIX");

    kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
    assert!(child.wait().expect("it is ours").success());
    assert!(!path.exists(), "its socket file is gone");
}

#[test]
fn a_silent_server_is_a_stall() {
    let endpoint = server(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop));
    let output = bench(&endpoint, "-d 0.1 -c 3 --timeout 0.2 --output json");
    assert_failed(&output, &["stalled, 3 times", "no byte moved for 0.2 s"]);
    assert_eq!(json(&output)["messages_lost"], 3);
}

#[test]
fn a_port_nobody_listens_on_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let output = bench(&endpoint, "-n 10 -c 5 --output json");
    assert_failed(&output, &["refused, 5 times", "0 of 10 messages"]);
    assert_eq!(json(&output)["errors_refused"], 5);

    let output = bench(&endpoint, "--rate 1000 -d 5 -c 2");
    assert_failed(&output, &["refused, 2 times", "0 of 5000 messages"]);

    let output = bench("unix:/nonexistent/echo.sock", "-n 10 -c 1");
    assert_failed(&output, &["No such file"]);
}

#[test]
fn each_address_of_a_name_is_tried_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let output = bench(&format!("localhost:{port}"), "-n 10 -c 2");
    for address in ("localhost", port).to_socket_addrs().expect("every system knows it") {
        assert_failed(&output, &[&format!("{address}"), "Connection refused"]);
    }
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let load = ["-c", "1", "-n", "1", "--warmup", "0", "--quiet"];
    for output in ["text", "json", "csv"] {
        let full = File::options().write(true).open("/dev/full").expect("it is there");
        let mut command = Command::new(env!("CARGO_BIN_EXE_reactor-echo"));
        command.args(load).args(["--output", output]).stdin(Stdio::null()).stdout(full);
        assert_failed(&command.output().expect("the program starts"), &["standard output: No space left"]);
    }
    let output = run(&[&load[..], &["--svg", "/dev/full"]].concat());
    assert_failed(&output, &["/dev/full: No space left"]);
}

#[test]
fn more_connections_than_descriptors_are_refused_by_the_limit_s_name() {
    // Where there is no limit, or a huge one, there is nothing to see.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let Some(limit) = limit.filter(|&limit| limit < 1_000_000) else {
        return;
    };
    let output = bench("127.0.0.1:1", &format!("-n 1 -c {limit}"));
    assert_failed(&output, &["file descriptors", &limit.to_string(), "ulimit"]);
}

#[test]
fn senseless_arguments_end_with_status_2() {
    for (args, word) in [
        ("-c 0", "1..="),
        ("-s 0", "a size is"),
        ("-d 1 -n 1", "cannot be used with"),
        ("--rate 0", "a rate is"),
        ("bench --connect somewhere", "write HOST:PORT"),
        ("bench --connect udp://127.0.0.1:7", "UDP"),
        ("bench", "--connect"),
    ] {
        let output = run(&args.split_whitespace().collect::<Vec<_>>());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args}: {message}");
        assert!(message.contains(word), "{args}: {message}");
        assert_eq!(stdout(&output), "", "{args}");
    }
}

#[test]
fn help_has_examples_and_the_fields() {
    for args in [&["--help"][..], &["bench", "--help"]] {
        let output = run(args);
        let text = stdout(&output);
        assert!(output.status.success());
        assert!(text.contains("Examples:") && text.contains("latency_p99_9_us"));
    }
}

#[test]
fn a_chart_that_cannot_be_written_is_said_before_the_run() {
    let output = run(&["--svg", "/nonexistent/chart.svg", "-d", "80000"]);
    assert_failed(&output, &["/nonexistent/chart.svg", "No such file"]);
}

/// `serve` with these arguments, and the endpoint of its only line.
fn serve(args: &[&str]) -> (Ended, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reactor-echo"))
        .arg("serve")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = lines.next().expect("it has not ended").expect("UTF-8");
    let at = line.strip_prefix("listening echo ").expect("an endpoint").to_owned();
    (Ended(child), at)
}

/// A program that is ended when the test is.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn messages_go_through_tls_and_each_byte_of_them_is_checked() {
    use crate::util::certificates::CERTIFICATES;

    let files = CERTIFICATES.files();
    let (chain, key, ca) = (files.path("server.pem"), files.path("server.key"), files.path("ca.pem"));
    let (_server, at) = serve(&["--tls-cert", &chain, "--tls-key", &key, "tls://127.0.0.1:0"]);
    let at = at.replace("tls://127.0.0.1:", "tls://localhost:");
    for load in ["-n 3000 -c 20 -s 100 -p 4", "-n 40 -c 4 -s 300k", "--rate 500 -n 200 -c 3 --idle 20"] {
        let output = bench(&at, &format!("{load} --tls-ca {ca} --output json"));
        assert_eq!(output.status.code(), Some(0), "{load}: {}", stderr(&output));
        let json = json(&output);
        assert_eq!(json["endpoint"], at.as_str());
        assert_eq!(json["messages"].as_u64().map(|count| count >= 40), Some(true), "{json}");
    }
    // A certificate that it does not believe, a name that it is not for, no TLS at all.
    assert_failed(&bench(&at, "-n 1 -c 1"), &["certificate"]);
    let (chain, key) = (files.path("other.pem"), files.path("other.key"));
    let (_other, other) = serve(&["--tls-cert", &chain, "--tls-key", &key, "tls://127.0.0.1:0"]);
    assert_failed(&bench(&other, &format!("-n 1 -c 1 --tls-ca {ca}")), &["certificate"]);
    let plain = echo_server();
    let plain = format!("tls://localhost:{}", plain.rsplit_once(':').expect("an address").1);
    assert_failed(&bench(&plain, &format!("-n 1 -c 1 --tls-ca {ca}")), &["handshake"]);
    let output = bench(&at, "-n 100 -c 2 --tls-insecure");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: --tls-insecure"), "{}", stderr(&output));
}

#[test]
fn an_end_without_one_of_tls_is_told() {
    use serve_forever::tls::rustls::{ServerConnection, StreamOwned};

    use crate::util::certificates::CERTIFICATES;

    let config = CERTIFICATES.rustls_server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = format!("tls://localhost:{}", listener.local_addr().expect("an address").port());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(config.clone()).expect("good options");
            let mut tls = StreamOwned::new(connection, stream);
            let mut buffer = [0; 100];
            // It gives half of a message back, and falls silent for good.
            let _ = tls.read_exact(&mut buffer).and_then(|()| tls.write_all(&buffer[..50]));
            let _ = tls.sock.shutdown(std::net::Shutdown::Both);
        }
    });
    let output = bench(&at, "-n 1 -c 1 -s 100 --tls-insecure");
    assert_failed(&output, &["without an end of TLS", "50 of the 100 bytes"]);
}

#[test]
fn tls_and_its_certificate_belong_together() {
    for (args, word) in [
        ("serve tls://127.0.0.1:0", "give --tls-cert FILE and --tls-key FILE"),
        ("serve --tls-cert x --tls-key x 127.0.0.1:0", "nothing speaks TLS"),
        ("serve --tls-cert x tls://127.0.0.1:0", "--tls-key"),
        ("serve tls://unix:/tmp/x", "tls:// is for HOST:PORT"),
    ] {
        let output = run(&args.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(stderr(&output).contains(word), "{args}: {}", stderr(&output));
    }
}
