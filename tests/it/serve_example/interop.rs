//! Clients that others have written, where the machine has them; and nothing
//! is left of what they did.

use std::fs;
use std::process::Command;

use serve_forever::Endpoint;
use tempfile::TempDir;

use crate::util::program::{Program, Serve};
use crate::util::{have, run_client};

/// A server, and a directory for its socket and its files.
struct Place {
    serve: Serve,
    directory: TempDir,
}

impl Place {
    /// Serves something on a TCP port and on a Unix socket.
    fn new(service: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        let own = [
            format!("--dir={path}"),
            format!("{service}=127.0.0.1:0"),
            format!("{service}=unix:{path}/socket"),
        ];
        let arguments: Vec<&str> = options.iter().copied().chain(own.iter().map(String::as_str)).collect();
        Self { serve: Serve::start(&arguments), directory }
    }

    fn port(&self) -> String {
        let Endpoint::Tcp(address) = self.serve.at(0) else { panic!("it was asked for TCP") };
        address.port().to_string()
    }

    fn socket(&self) -> String {
        self.directory.path().join("socket").to_str().expect("UTF-8").to_owned()
    }

    /// It ends in order, and leaves these files and nothing else.
    #[track_caller]
    fn stop<const N: usize>(self, files: [(&str, &[u8]); N]) {
        self.serve.stop();
        let left = fs::read_dir(self.directory.path()).expect("it is there").flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, files.map(|(name, _)| name));
        for (name, content) in files {
            assert!(fs::read(self.directory.path().join(name)).expect("it is there") == content, "{name}");
        }
    }
}

/// Runs a client with this input; what it prints.
#[track_caller]
fn run(program: &str, arguments: &[&str], input: &str) -> String {
    String::from_utf8(run_client(program, arguments, input.as_bytes())).expect("UTF-8")
}

#[test]
fn three_netcats_chat() {
    if !have("nc") {
        return;
    }
    let place = Place::new("chat", &[]);
    let mut netcats = Vec::new();
    for number in 1..=3 {
        let mut nc = Command::new("nc");
        match number {
            2 => nc.args(["-N", "-U", &place.socket()]),
            _ => nc.args(["-N", "127.0.0.1", &place.port()]),
        };
        let nc = Program::start(&mut nc);
        nc.expect_line(&format!("* you are guest{number}"));
        netcats.push(nc);
    }
    netcats[0].expect_line("* guest2 joined");
    netcats[0].expect_line("* guest3 joined");
    netcats[1].expect_line("* guest3 joined");
    netcats[0].type_in("hello\r\n/msg guest3 psst\n");
    netcats[1].expect_line("<guest1> hello");
    netcats[2].expect_line("<guest1> hello");
    netcats[2].expect_line("[guest1] psst");
    let mut second = netcats.remove(1);
    second.type_in("/nick Zoë\nlast words");
    drop(second.stdin.take()); // and so it leaves
    let told = second.wait();
    assert_eq!((told.status, told.stdout.as_str()), (0, "* guest2 is now Zoë\n"));
    for nc in &netcats {
        nc.expect_line("* guest2 is now Zoë");
        nc.expect_line("<Zoë> last words");
        nc.expect_line("* Zoë left");
    }
    drop(netcats.pop()); // killed
    netcats[0].expect_line("* guest3 left");
    let first = netcats.remove(0).wait();
    assert_eq!((first.status, first.stdout.as_str()), (0, ""));
    place.stop([]);
}

// As they are written in tutorials: one `recv` for the length, one for the
// output. What comes together they could not tell apart.
#[test]
fn python_asks_for_commands_with_one_recv_for_each_part() {
    if !have("python3") {
        return;
    }
    let script = "
import socket, sys
port, acknowledges = int(sys.argv[1]), sys.argv[2] == 'ack'
s = socket.create_connection(('127.0.0.1', port), timeout=60)
print(s.recv(1024).decode())
for command in ('echo hello', 'seq 1 20000', 'true', 'exit 3'):
    s.sendall(command.encode())
    kind, size = s.recv(1024).decode().split('|')
    assert kind == 'info', kind
    size = int(size)
    if acknowledges:
        s.sendall(b'ready')
    got = b''
    while len(got) < size:
        got += s.recv(1024)
    print(command, size, got[:5])
    if acknowledges and size == 0:
        break
s.close()
";
    let lines = [
        "欢迎登录",
        "echo hello 6 b'hello'",
        "seq 1 20000 108894 b'1\\n2\\n3'",
        "true 0 b''",
        "exit 3 0 b''",
    ];
    // On a busy machine a client may be late for its first part. And having
    // acknowledged nothing, its next word could come together with that.
    for (word, option, expected) in [("ack", "--ack", 4), ("gap", "--gap=500", 5)] {
        let place = Place::new("command", &["--shell", "--framing=chunk", option]);
        let told = run("python3", &["-c", script, &place.port(), word], "");
        assert_eq!(told.lines().collect::<Vec<_>>(), lines[..expected]);
        place.stop([]);
    }
}

#[test]
fn netcat_and_socat_ask_for_commands_in_lines() {
    let place = Place::new("command", &["--allow=echo", "--allow=false"]);
    let refusal = "`rm` is not allowed";
    let requests = "echo one\r\nfalse\nrm x";
    let replies = format!("欢迎登录\ninfo|4|0\none\ninfo|0|1\ninfo|{}|refused\n{refusal}", refusal.len());
    if have("nc") {
        assert_eq!(run("nc", &["-N", "127.0.0.1", &place.port()], requests), replies);
        assert_eq!(run("nc", &["-N", "-U", &place.socket()], requests), replies);
    }
    if have("socat") {
        let unix = format!("UNIX-CONNECT:{}", place.socket());
        for address in [format!("TCP:127.0.0.1:{}", place.port()), unix] {
            assert_eq!(run("socat", &["-t", "30", "-", &address], requests), replies);
        }
    }
    place.stop([]);
}

#[test]
fn python_posts_in_one_segment_in_two_and_byte_by_byte() {
    if !have("python3") {
        return;
    }
    let place = Place::new("upload", &[]);
    let script = "
import socket, sys
data = bytes(range(256)) * 4
def post(name, pieces):
    with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=60) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            s.sendall(piece)
        answer = s.makefile('rb').readline()
        assert answer == b'ok|%d|%s\\n' % (len(data), name), answer
header = b'post|%d|%s\\n'
post(b'one', [header % (len(data), b'one') + data])
post(b'two', [header % (len(data), b'two'), data])
post(b'bytes', [bytes([byte]) for byte in header % (len(data), b'bytes') + data])
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=60) as s:
    s.sendall(header % (len(data), b'cut') + data[1:])
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1024) == b''
print('well')
";
    assert_eq!(run("python3", &["-c", script, &place.port()], ""), "well\n");
    let data: Vec<u8> = (0..=u8::MAX).collect::<Vec<_>>().repeat(4);
    place.stop([("bytes", &data), ("one", &data), ("two", &data)]);
}

#[test]
fn python_and_socat_get_their_datagrams_back() {
    if !have("python3") || !have("socat") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let serve =
        Serve::start(&["upper=udp://127.0.0.1:0".to_owned(), format!("upper=unixgram:{}", path.display())]);
    let script = "
import socket, sys
def talk(s, to):
    s.settimeout(60)
    for text in (b'hello', b'', b'x' * 65507):
        s.sendto(text, to)
        assert s.recvfrom(65536) == (text.upper(), to)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    talk(s, ('127.0.0.1', int(sys.argv[1])))
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.bind(sys.argv[2] + '.client')
    talk(s, sys.argv[2])
print('well')
";
    let Endpoint::Udp(address) = serve.at(0) else { panic!("it was asked for UDP") };
    let path = path.to_str().expect("UTF-8");
    assert_eq!(run("python3", &["-c", script, &address.port().to_string(), path], ""), "well\n");
    let client = directory.path().join("client");
    let unix = format!("UNIX-SENDTO:{path},bind={}", client.display());
    for to in [format!("UDP:{address}"), unix] {
        let mut socat = Command::new("socat");
        let mut socat = Program::start(socat.args(["-", &to]));
        socat.type_in("hello, socat\n");
        socat.expect_line("HELLO, SOCAT");
    }
    serve.stop();
    let left = fs::read_dir(directory.path()).expect("it is there").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name == "socket").collect();
    assert_eq!(left.len(), 0, "the clients' own may stay");
}
