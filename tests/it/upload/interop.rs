//! Clients that others have written, where the machine has them.

use serve_forever::Endpoint;
use serve_forever::services::Framing;

use super::place::{Place, post};
use crate::util::{have, noise, run_client};

/// Runs a client with this input; the text that it prints.
fn run(program: &str, args: &[&str], input: &[u8]) -> String {
    String::from_utf8(run_client(program, args, input)).expect("UTF-8")
}

fn port(place: &Place) -> String {
    let Endpoint::Tcp(address) = place.at() else { panic!("{} is not TCP", place.at()) };
    address.port().to_string()
}

#[test]
fn netcat_sends_files() {
    if !have("nc") {
        return;
    }
    let place = Place::new();
    let content = noise(1 << 20);
    let stream = [post("one", &content), post("two", b"2")].concat();
    let answers = run("nc", &["-N", "127.0.0.1", &port(&place)], &stream);
    assert_eq!(answers, "ok|1048576|one\nok|1|two\n");
    place.assert_file("one", content);
    place.assert_file("two", "2");
    let answer = run("nc", &["-N", "127.0.0.1", &port(&place)], b"post|1|one\nx");
    assert_eq!(answer, "err|exists\n");
}

#[test]
fn python_sends_header_and_data_in_one_segment_in_two_and_byte_by_byte() {
    if !have("python3") {
        return;
    }
    let place = Place::new();
    let script = "
import os, socket, sys
def connect():
    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s
def answer(s):
    got = b''
    while not got.endswith(b'\\n'):
        got += s.recv(1024)
    return got
data = bytes(range(256)) * 4
with connect() as s:
    s.sendall(b'post|%d|one segment\\n' % len(data) + data)
    assert answer(s) == b'ok|1024|one segment\\n'
    s.sendall(b'post|%d|two segments\\n' % len(data))
    s.sendall(data)
    assert answer(s) == b'ok|1024|two segments\\n'
    for byte in b'post|%d|byte by byte\\n' % len(data) + data:
        s.sendall(bytes([byte]))
    assert answer(s) == b'ok|1024|byte by byte\\n'
    s.sendall(b'post|1|one segment\\n')
    assert answer(s) == b'err|exists\\n'
    assert s.recv(1024) == b''
print('well')
";
    assert_eq!(run("python3", &["-c", script, &port(&place)], b""), "well\n");
    let data: Vec<u8> = (0..=u8::MAX).collect::<Vec<_>>().repeat(4);
    for name in ["one segment", "two segments", "byte by byte"] {
        place.assert_file(name, &data);
    }
    place.assert_names(["byte by byte", "one segment", "two segments"]);
}

// As they are written in tutorials: header, a nap, the file, and no question
// of what has become of it.
#[test]
fn a_classic_python_client_sends_chunks_and_never_listens() {
    if !have("python3") {
        return;
    }
    let place = Place::with(|upload| upload.framing(Framing::Chunk));
    let script = "
import socket, sys, time
data = bytes(range(256)) * 1000
s = socket.socket()
s.connect(('127.0.0.1', int(sys.argv[1])))
for name in ('one', 'two'):
    s.sendall(bytes('post|%s|%s' % (len(data), name), encoding='utf8'))
    time.sleep(0.5)
    sent = 0
    while sent < len(data):
        s.sendall(data[sent:sent + 1024])
        sent += 1024
    time.sleep(0.5)
s.close()
";
    assert_eq!(run("python3", &["-c", script, &port(&place)], b""), "");
    place.server().until_connections(0);
    let data: Vec<u8> = (0..=u8::MAX).collect::<Vec<_>>().repeat(1000);
    place.assert_file("one", &data);
    place.assert_file("two", &data);
    place.assert_names(["one", "two"]);
}
