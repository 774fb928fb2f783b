//! Clients that others have written, where the machine has them.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serve_forever::services::{Chat, Echo, Once, Upper};
use serve_forever::{BindOptions, Config, Endpoint, Limits};

use crate::util::{DatagramServer, Server, address, bind_anywhere, have, noise, run_client};

fn port(at: &Endpoint) -> String {
    let Endpoint::Tcp(address) = at else { panic!("{at} is not TCP") };
    address.port().to_string()
}

#[test]
fn netcat_gets_back_what_it_sent() {
    if !have("nc") {
        return;
    }
    let server = Server::start(Echo::new(), Echo::limits());
    let bytes = noise(1 << 20);
    assert_eq!(run_client("nc", &["-N", "127.0.0.1", &port(server.at())], &bytes), bytes);

    let server = Server::start(Once::new("come back tomorrow"), Limits::default());
    let answer = run_client("nc", &["-N", "127.0.0.1", &port(server.at())], b"hello\n");
    assert_eq!(answer, b"come back tomorrow\n");
}

#[test]
fn socat_gets_back_what_it_sent_over_tcp_and_unix() {
    if !have("socat") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let at = ["127.0.0.1:0".parse().expect("a good endpoint"), Endpoint::Unix(path.clone())];
    let server = Server::start_with(Config::default(), Upper::new(), Upper::limits(), &at);
    let bytes = noise(1 << 20);
    let expected = bytes.to_ascii_uppercase();
    // It waits half a second for the answer to its FIN unless told otherwise.
    let tcp = format!("TCP:127.0.0.1:{}", port(server.at()));
    let unix = format!("UNIX-CONNECT:{}", path.display());
    for address in [&tcp, &unix] {
        assert_eq!(run_client("socat", &["-t", "30", "-", address], &bytes), expected);
    }
}

#[test]
fn python_does_sendall_and_recv() {
    if !have("python3") {
        return;
    }
    let server = Server::start(Echo::new(), Echo::limits());
    let script = "
import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30) as s:
    for n in range(100):
        text = b'message %d' % n
        s.sendall(text)
        got = b''
        while len(got) < len(text):
            got += s.recv(1024)
        assert got == text, got
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1024) == b''
print('well')
";
    assert_eq!(run_client("python3", &["-c", script, &port(server.at())], b""), b"well\n");
}

#[test]
fn socat_gets_its_datagrams_back() {
    if !have("socat") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let at = [bind_anywhere(), Endpoint::UnixDatagram(path.clone())];
    let server = DatagramServer::start_with(Upper::new(), Limits::default(), &at, &BindOptions::default());
    let udp = format!("UDP:{}", address(server.at()));
    let client = directory.path().join("client");
    let unix = format!("UNIX-SENDTO:{},bind={}", path.display(), client.display());
    for address in [&udp, &unix] {
        let mut socat = Command::new("socat");
        let mut socat =
            socat.args(["-", address]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = socat.stdin.take().expect("it is piped");
        stdin.write_all(b"hello, socat\n").expect("it reads");
        let mut answer = [0; 13];
        socat.stdout.take().expect("it is piped").read_exact(&mut answer).expect("it prints the answer");
        assert_eq!(&answer, b"HELLO, SOCAT\n");
        // Datagrams have no end, and so neither has it.
        socat.kill().expect("it is ours");
        socat.wait().expect("it is ours");
    }
}

#[test]
fn python_does_sendto_and_recvfrom() {
    if !have("python3") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let at = [bind_anywhere(), Endpoint::UnixDatagram(path.clone())];
    let server = DatagramServer::start_with(Echo::new(), Limits::default(), &at, &BindOptions::default());
    let script = "
import os, socket, sys
def talk(s, to):
    s.settimeout(30)
    for size in (1, 0, 1024, 65507):
        message = os.urandom(size)
        s.sendto(message, to)
        answer, sender = s.recvfrom(65536)
        assert answer == message and sender == to, (len(answer), sender)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    talk(s, ('127.0.0.1', int(sys.argv[1])))
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.bind(sys.argv[2] + '.client')
    talk(s, sys.argv[2])
print('well')
";
    let port = address(server.at()).port().to_string();
    let args = ["-c", script, &port, path.to_str().expect("UTF-8")];
    assert_eq!(run_client("python3", &args, b""), b"well\n");
}

#[test]
fn netcat_chats() {
    if !have("nc") {
        return;
    }
    let server = Server::start(Chat::new(), Chat::limits());
    let listener = server.connect();
    listener.expect("* you are guest1\n");
    let told =
        run_client("nc", &["-N", "127.0.0.1", &port(server.at())], "/nick Zoë\n/who\nhello\nlast".as_bytes());
    let told = String::from_utf8(told).expect("UTF-8");
    assert_eq!(told, "* you are guest2\n* guest2 is now Zoë\n* guest1, Zoë\n");
    listener.expect("* guest2 joined\n* guest2 is now Zoë\n<Zoë> hello\n<Zoë> last\n* Zoë left\n");
}
