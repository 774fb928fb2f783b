//! `reactor-echo serve`, as its user runs it: what it says, how it ends.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything here takes, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn reactor_echo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactor-echo"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server, killed when dropped.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = reactor_echo().arg("serve").args(arguments).spawn().expect("it can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    /// Where it says that it listens next, and for what.
    fn listening(&mut self, service: &str) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("its output is UTF-8");
        let address = line.trim_end().strip_prefix(&format!("listening {service} "));
        address.unwrap_or_else(|| panic!("not what was expected: {line:?}")).to_owned()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("an id");
        kill_process(id, signal).expect("it is there");
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it is ours to wait for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let address = address.strip_prefix("tcp://").expect("a TCP address");
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    socket
}

/// Sends all that there is room for on the way and back, and reads none of it.
fn clog(socket: &mut TcpStream) {
    socket.set_nonblocking(true).expect("an option of sockets");
    let piece = vec![b'x'; 1 << 20];
    let began = std::time::Instant::now();
    let mut blocked_since = began;
    // Nothing tells when there is no more room for good: it is when none has
    // come for a while. Were that too soon, the server would still be clogged
    // by what is on its way to it.
    while blocked_since.elapsed() < Duration::from_millis(200) {
        match socket.write(&piece) {
            Ok(_) => blocked_since = std::time::Instant::now(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(began.elapsed() < PATIENCE, "there is no end of room");
    }
    socket.set_nonblocking(false).expect("an option of sockets");
}

/// Sends more than the way back has room for, and reads none of it: the server
/// cannot be done with it.
fn overfill(socket: &mut UnixStream) {
    // Theirs is of the same size; one more write may begin below it (unix(7)).
    let room = socket2::SockRef::from(&*socket).send_buffer_size().expect("an option of sockets");
    socket.set_nonblocking(true).expect("an option of sockets");
    let began = std::time::Instant::now();
    let mut sent = 0;
    while sent <= room + room / 2 {
        match socket.write(&[b'x'; 4096]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(began.elapsed() < PATIENCE, "it does not read");
        std::thread::yield_now();
    }
}

#[test]
fn serves_every_endpoint_on_one_thread_and_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("upper.sock");
        let unix = format!("unix:{}", path.to_str().expect("a UTF-8 path"));
        let mut server = Server::start(&["--service", "upper", "127.0.0.1:0", "[::1]:0", &unix]);
        for _ in 0..2 {
            let mut client = connect(&server.listening("upper"));
            client.write_all(b"hello").expect("it reads");
            client.shutdown(Shutdown::Write).expect("it is connected");
            let mut got = String::new();
            client.read_to_string(&mut got).expect("it answers, and ends in order");
            assert_eq!(got, "HELLO");
        }
        assert_eq!(server.listening("upper"), unix);
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.write_all(b"hello").expect("it reads");
        let mut got = [0; 5];
        client.read_exact(&mut got).expect("it answers");
        assert_eq!(&got, b"HELLO");
        let threads = fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("it runs").count();
        assert_eq!(threads, 1);
        // A client that has nothing under way does not hold it up.
        server.signal(signal);
        assert_eq!(server.end().code(), Some(0));
        assert!(!path.exists(), "the socket's file is gone");
    }
}

#[test]
fn a_reply_under_way_is_finished_before_the_end() {
    let mut server = Server::start(&["127.0.0.1:0", "--grace", "60"]);
    let mut client = connect(&server.listening("echo"));
    clog(&mut client);
    server.signal(Signal::TERM);
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("everything comes, then the end");
    assert!(got.len() > 1 << 20 && got.iter().all(|byte| *byte == b'x'), "{} bytes", got.len());
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("echo.sock");
    let unix = format!("unix:{}", path.to_str().expect("a UTF-8 path"));
    let mut server = Server::start(&[&unix, "--grace", "600"]);
    server.listening("echo");
    let mut client = UnixStream::connect(&path).expect("it listens");
    overfill(&mut client);
    server.signal(Signal::TERM);
    // Once listeners are closed, the first one has arrived.
    while path.exists() {
        std::thread::yield_now();
    }
    // Within a second it is the first one, doubled.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.child.try_wait().expect("it is ours"), None, "it waits for the slow reader");
    server.signal(Signal::INT);
    assert_eq!(server.end().code(), Some(128 + 2));
}

#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        reactor_echo().arg("serve").args(arguments).output().expect("it can be started");
    assert_eq!(status.code(), Some(2), "{arguments:?}");
    assert!(!String::from_utf8_lossy(&stdout).contains("listening echo unix"), "{arguments:?}");
    String::from_utf8(stderr).expect("it writes UTF-8")
}

#[test]
fn what_cannot_be_served_is_said_and_leaves_nothing_behind() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("it is bound").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    fs::write(&path, "precious").expect("a file");
    let file = format!("unix:{}", path.to_str().expect("a UTF-8 path"));
    assert!(fails(&[&taken]).contains("in use"));
    assert!(fails(&[&file]).contains("no socket"));
    assert!(fails(&["nonsense"]).contains("HOST:PORT"));
    assert!(fails(&["127.0.0.1:0", "--max-connections", "0"]).contains("--max-connections"));
    assert_eq!(fs::read(&path).expect("it is still there"), b"precious");
}

#[test]
fn one_connection_too_many_is_closed_at_once() {
    let mut server = Server::start(&["127.0.0.1:0", "--max-connections", "1"]);
    let address = server.listening("echo");
    let mut first = connect(&address);
    first.write_all(b"1").expect("it reads");
    let mut got = [0];
    first.read_exact(&mut got).expect("it answers");
    let mut second = connect(&address);
    assert_eq!(second.read(&mut got).expect("it is closed in order"), 0);
}

#[test]
fn an_idle_connection_is_closed_after_the_time_that_was_given() {
    let mut server = Server::start(&["127.0.0.1:0", "--idle", "0.1"]);
    let mut client = connect(&server.listening("echo"));
    assert_eq!(client.read(&mut [0]).expect("it is closed in order"), 0);
}
