//! The service that runs commands, byte for byte.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use serve_forever::services::{Command, Framing, Reply};
use serve_forever::{Config, Endpoint, Limits, Peer, StreamHandler};

use crate::util::{Client, PATIENCE, SOON, Server, eventually, have, listen_anywhere, noise};

const GREETING: &str = "欢迎登录";

fn greeting(command: Command) -> Server<Command> {
    start(command.greeting(GREETING))
}

fn start(command: Command) -> Server<Command> {
    let limits = command.limits();
    Server::start(command, limits)
}

fn on_unix(command: Command, directory: &Path) -> Server<Command> {
    let limits = command.limits();
    let at = [listen_anywhere(), Endpoint::Unix(directory.join("socket"))];
    Server::start_with(Config::default(), command, limits, &at)
}

/// The payload and status of the next framed reply.
#[track_caller]
fn reply(client: &Client) -> (Vec<u8>, String) {
    let line = client.line();
    let mut parts = line.trim_end().splitn(3, '|');
    assert_eq!(parts.next(), Some("info"), "{line:?}");
    let length: usize = parts.next().and_then(|length| length.parse().ok()).expect("a length");
    let status = parts.next().expect("a status").to_owned();
    (client.take(length), status)
}

#[track_caller]
fn expect_reply(client: &Client, payload: &str, status: &str) {
    let (got, told) = reply(client);
    assert_eq!((String::from_utf8_lossy(&got).as_ref(), told.as_str()), (payload, status));
}

/// No process of this group is left, but for one that waits to be reaped.
fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}

/// Waits until a file has this line, and returns it.
fn line_of(path: &Path) -> String {
    let mut text = String::new();
    eventually("the command has written its file", || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    });
    text.trim().to_owned()
}

#[test]
fn greets_runs_a_command_and_tells_its_length_and_status() {
    let server = greeting(Command::allow(["echo", "false"]));
    let client = server.connect();
    client.expect(GREETING.to_owned() + "\n");
    client.send("echo hello 'a  b'\n");
    client.expect("info|11|0\nhello a  b\n");
    client.send("false\r\n");
    client.expect("info|0|1\n");
    client.finish();
    client.expect_eof();
}

#[test]
fn the_greeting_is_none_unless_it_is_set() {
    let server = start(Command::shell().greeting("welcome"));
    let client = server.connect();
    client.expect("welcome\n");
    let server = start(Command::shell());
    let client = server.connect();
    client.send("echo 1\n");
    client.expect("info|2|0\n1\n");
}

#[test]
fn output_and_errors_come_as_they_came_through_one_pipe() {
    let server = start(Command::shell());
    let client = server.connect();
    client.send("echo 1; echo 2 >&2; printf '3\\000\\377'; exit 7\n");
    let (payload, status) = reply(&client);
    assert_eq!((payload.as_slice(), status.as_str()), (&b"1\n2\n3\0\xFF"[..], "7"));
}

#[test]
fn any_output_limit_has_its_limits() {
    for reply in [Reply::Framed, Reply::Raw, Reply::Stream] {
        let server = start(Command::shell().output(usize::MAX).reply(reply));
        let client = server.connect();
        client.send("echo 1\n");
        client.finish();
        assert!(client.rest().windows(2).any(|bytes| bytes == b"1\n"));
    }
}

// docs/guarantees.md, 35.
#[test]
fn each_end_has_its_status() {
    let server = start(Command::shell().timeout(SOON).output(10));
    let client = server.connect();
    client.send("exit 126\nkill -9 $$\nno-such-program 2>/dev/null\nsleep 1000\nprintf 0123456789\n");
    for status in ["126", "signal:9", "127", "timeout"] {
        expect_reply(&client, "", status);
    }
    expect_reply(&client, "0123456789", "0");
    client.send("yes\n");
    expect_reply(&client, "y\ny\ny\ny\ny\n", "truncated");

    let server = start(Command::allow(["no-such-program", "true"]));
    let client = server.connect();
    client.send("no-such-program\ntrue 'x\nrm -rf /\n\"\"\ntrue\n");
    let (payload, status) = reply(&client);
    assert!(String::from_utf8_lossy(&payload).contains("No such file"), "{payload:?}");
    assert_eq!(status, "failed");
    expect_reply(&client, "a quote is not closed, or nothing follows a backslash", "failed");
    expect_reply(&client, "`rm` is not allowed", "refused");
    expect_reply(&client, "`` is not allowed", "refused");
    expect_reply(&client, "", "0");
}

// docs/guarantees.md, 34.
#[test]
fn a_command_has_no_input() {
    let server = start(Command::shell());
    let client = server.connect();
    client.send("cat; wc -c\n");
    expect_reply(&client, "0\n", "0");
}

#[test]
fn many_requests_at_once_are_answered_in_order_and_empty_ones_ignored() {
    let server = start(Command::shell());
    let client = server.connect();
    let requests: Vec<String> = (0..30).map(|number| format!("echo {number}\n\n")).collect();
    client.send(requests.concat());
    client.send("echo last");
    client.finish();
    for number in 0..30 {
        expect_reply(&client, &format!("{number}\n"), "0");
    }
    expect_reply(&client, "last\n", "0");
    client.expect_eof();
}

#[test]
fn four_requests_wait_behind_the_one_that_runs_and_then_it_is_not_read_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let server = start(Command::shell());
    let client = server.connect();
    client.send(format!("while [ ! -e {} ]; do sleep 0.01; done\n", gate.display()));
    let big = format!("echo {} | wc -c\n", "x".repeat(60_000));
    let sent = client.fill(big.repeat(400).as_bytes());
    assert!(sent < big.len() * 400, "{sent} bytes were taken");
    fs::write(&gate, "open").expect("a file");
    expect_reply(&client, "", "0");
    for _ in 0..sent / big.len() {
        expect_reply(&client, "60001\n", "0");
    }
}

// docs/guarantees.md, 32.
#[test]
fn the_command_of_a_client_that_is_gone_is_ended_with_its_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = on_unix(Command::shell(), directory.path());
    let leave: [(usize, fn(Client)); 3] =
        [(0, Client::reset), (1, |client| client.finish()), (1, Client::reset)];
    for (number, (at, leave)) in leave.into_iter().enumerate() {
        let note = directory.path().join(format!("note{number}"));
        let client = Client::connect(&server.locals()[at]);
        // It ignores SIGTERM, and so does what it started.
        client.send(format!(
            "trap '' TERM; sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; while :; do sleep 0.05; done\n",
            note.display()
        ));
        // Four more wait, so that the server does not even read.
        client.send("echo\n".repeat(10));
        let grandchild = line_of(&note);
        // Dropping it closes it.
        leave(client);
        eventually("its group is gone", || is_gone(&grandchild));
        eventually("it is reaped", || server.ask(|_, io| io.children()) == 0);
    }
}

// The client is there, and has only said all that it has to say.
#[test]
fn an_end_of_file_ends_the_requests_and_no_command() {
    let server = start(Command::shell());
    let client = server.connect();
    client.send("sleep 0.2; echo done");
    client.finish();
    expect_reply(&client, "done\n", "0");
    client.expect_eof();
}

// docs/guarantees.md, 31.
#[test]
fn too_much_output_is_cut_off_and_its_writer_killed() {
    let server = start(Command::shell());
    let client = server.connect();
    client.send("trap '' TERM PIPE; yes\n");
    let (payload, status) = reply(&client);
    assert_eq!((payload.len(), status.as_str()), (1 << 20, "truncated"));
    eventually("it is reaped", || server.ask(|_, io| io.children()) == 0);
}

// docs/guarantees.md, 33.
#[test]
fn a_grandchild_that_keeps_the_output_open_holds_up_no_reply() {
    let directory = tempfile::tempdir().expect("a directory");
    let note = directory.path().join("note");
    let server = start(Command::shell().timeout(PATIENCE));
    let client = server.connect();
    client.send(format!("sleep 1000 & echo $! > {}; echo hello\n", note.display()));
    expect_reply(&client, "hello\n", "0");
    let grandchild = line_of(&note);
    std::process::Command::new("kill").arg(grandchild).status().expect("there is such a program");
}

// docs/guarantees.md, 39.
#[test]
fn a_hundred_commands_at_once_wait_for_their_turn() {
    let server = start(Command::shell().max_children(3));
    let clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(format!("echo {number}; exit {}\n", number % 50));
        assert!(server.ask(|_, io| io.children()) <= 3 + 1, "one may wait to be reaped");
    }
    for (number, client) in clients.iter().enumerate() {
        expect_reply(client, &format!("{number}\n"), &(number % 50).to_string());
    }
}

#[test]
fn too_many_that_wait_are_told_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let server = start(Command::shell().max_children(1));
    let line = format!("while [ ! -e {} ]; do sleep 0.01; done\n", gate.display());
    let running = server.connect();
    running.send(&line);
    eventually("it runs", || server.ask(|_, io| io.children()) == 1);
    let waiting: Vec<Client> = (0..256).map(|_| server.connect()).collect();
    waiting.iter().for_each(|client| client.send("true\n"));
    eventually("all wait", || server.ask(|command, _| format!("{command:?}").contains("waiting: 256")));
    let refused = server.connect();
    refused.send("true\n");
    expect_reply(&refused, "256 requests are waiting already", "busy");
    // One that leaves makes room.
    let mut waiting = waiting.into_iter();
    waiting.next().expect("there are many").reset();
    eventually("one has left", || server.ask(|command, _| format!("{command:?}").contains("waiting: 255")));
    refused.send("echo 1\n");
    fs::write(&gate, "open").expect("a file");
    expect_reply(&running, "", "0");
    waiting.for_each(|client| expect_reply(&client, "", "0"));
    expect_reply(&refused, "1\n", "0");
}

#[test]
fn a_line_that_is_too_long_is_told_after_what_was_asked_before() {
    let server = start(Command::shell());
    let client = server.connect();
    client.send("echo 1\n");
    client.send("x".repeat(Framing::MAX_LINE + 2));
    expect_reply(&client, "1\n", "0");
    assert_eq!(client.rest(), b"! line too long\n");
}

#[test]
fn a_streamed_reply_comes_as_it_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let server = start(Command::shell().reply(Reply::Stream));
    let client = server.connect();
    let line =
        format!("echo 1; while [ ! -e {} ]; do sleep 0.01; done; echo 22 >&2; exit 3\n", gate.display());
    client.send(line);
    client.expect("out|2\n1\n");
    fs::write(&gate, "open").expect("a file");
    client.expect("err|3\n22\nexit|3\n");
    client.send("true\nkill -9 $$\n");
    client.expect("exit|0\nexit|signal:9\n");

    let server = start(Command::allow(["true"]).reply(Reply::Stream));
    let client = server.connect();
    client.send("rm\n");
    client.expect("err|19\n`rm` is not allowedexit|refused\n");
}

/// All pieces of the next streamed reply, by their mark, and its status.
fn stream(client: &Client) -> (Vec<u8>, Vec<u8>, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let line = client.line();
        let (mark, rest) = line.trim_end().split_once('|').expect("a mark");
        let take = || client.take(rest.parse().expect("a length"));
        match mark {
            "out" => out.extend(take()),
            "err" => err.extend(take()),
            "exit" => return (out, err, rest.to_owned()),
            _ => panic!("{line:?}"),
        }
    }
}

// docs/guarantees.md, 38.
#[test]
fn a_slow_client_slows_the_command_and_loses_no_byte() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    let data = noise(8_000_000);
    fs::write(&path, &data).expect("there is room");
    let server = start(Command::shell().reply(Reply::Stream));
    let client = server.connect();
    client.send(format!("cat {0} & cat {0} >&2; wait\n", path.display()));
    // Nothing is read yet: all stops, with no more than the marks in memory.
    let mut before = 0;
    eventually("it stops", || {
        let bytes = server.ask(|_, io| io.stats().bytes_in);
        std::mem::replace(&mut before, bytes) == bytes && bytes > 100_000
    });
    let limits = Limits::default();
    // Headers of pieces go out beside them.
    let queued = server.ask(|_, io| io.stats().bytes_in.saturating_sub(io.stats().bytes_out));
    assert!(queued <= (limits.high_mark + 4 * limits.read_budget) as u64, "{queued} bytes wait");
    let (out, err, status) = stream(&client);
    assert_eq!(status, "0");
    assert!(out == data && err == data, "{} and {} bytes", out.len(), err.len());
}

#[test]
fn a_streamed_reply_is_cut_off_at_its_limit_if_it_has_one() {
    let server = start(Command::shell().reply(Reply::Stream).output(100_000));
    let client = server.connect();
    client.send("head -c 100000 /dev/zero\n");
    let (out, _, status) = stream(&client);
    assert_eq!((out.len(), status.as_str()), (100_000, "0"));
    client.send("yes\n");
    let (out, _, status) = stream(&client);
    assert_eq!((out.len(), status.as_str()), (100_000, "truncated"));
}

#[test]
fn a_raw_reply_is_the_output_alone() {
    let server = start(Command::allow(["echo", "true"]).reply(Reply::Raw));
    let client = server.connect();
    client.send("echo 1\ntrue\nrm x\n");
    client.expect("1\nno output!refused: `rm` is not allowed");
    let server = start(Command::shell().reply(Reply::Raw).timeout(SOON));
    let client = server.connect();
    client.send("echo 1; sleep 1000\n");
    client.expect("1\ntimeout");
}

#[test]
fn in_chunks_the_payload_comes_apart_from_its_length() {
    let gap = 4 * SOON;
    let server = greeting(Command::shell().framing(Framing::Chunk).gap(gap));
    let client = server.connect();
    client.expect(GREETING);
    client.send("echo hello; echo 2\n");
    let began = std::time::Instant::now();
    client.expect("info|8");
    client.expect("hello\n2\n");
    assert!(began.elapsed() >= gap);
    // White space alone asks for nothing, and one line is as good as another.
    client.send(" \n");
    client.send("true");
    client.expect("info|0");
    client.send("echo a\necho b");
    client.expect("info|4");
    client.expect("a\nb\n");
}

#[test]
fn in_chunks_a_client_may_have_to_ask_for_the_payload() {
    let server = start(Command::shell().framing(Framing::Chunk).await_ack(true));
    let client = server.connect();
    client.send("echo hello");
    client.expect("info|6");
    client.assert_silent();
    client.send("ok");
    client.expect("hello\n");
    client.send("true");
    client.expect("info|0");
    client.send("\n");
    // Or it would be of one chunk with what follows.
    eventually("it is taken", || server.ask(|_, io| io.stats().bytes_in) == 23);
    client.send("echo 2");
    client.expect("info|2");
    client.send("ok");
    client.expect("2\n");
    client.send("echo 3");
    client.expect("info|2");
    client.finish();
    client.expect_eof();
}

// docs/guarantees.md, 40.
#[test]
fn without_the_token_nobody_gets_a_word() {
    let server = greeting(Command::shell().token("let me in").expect("it is not empty"));
    for wrong in ["no\n", "let me i\n", "let me in \n", "\n", "let me in"] {
        let client = server.connect();
        client.send(wrong);
        if wrong != "let me in" {
            client.send("echo 1\n");
        } else {
            continue;
        }
        assert_eq!(client.rest(), b"", "{wrong:?}");
    }
    let client = server.connect();
    client.finish();
    assert_eq!(client.rest(), b"");
    let client = server.connect();
    client.send("let me in\necho 1\n");
    client.expect(GREETING.to_owned() + "\n");
    expect_reply(&client, "1\n", "0");
    assert!(Command::shell().token("").is_err());
    let long = server.connect();
    long.send("x".repeat(Framing::MAX_LINE + 2));
    assert_eq!(long.rest(), b"");
}

/// Sends this, and looks whether what stands behind it is run.
#[track_caller]
fn expect_nothing_is_run(server: &Server<Command>, pieces: &[&str]) {
    let client = server.connect();
    for piece in pieces {
        let before = server.ask(|_, io| io.stats().bytes_in);
        client.send(piece);
        // It comes by itself; but where the connection has ended, not at all.
        let length = piece.len() as u64;
        eventually("it is taken", || {
            let (now, clients) = server.ask(|command, io| (io.stats().bytes_in, format!("{command:?}")));
            now >= before + length || clients.contains("clients: 0")
        });
    }
    assert_eq!(client.rest(), b"", "{pieces:?}");
}

#[test]
fn what_a_web_page_makes_a_browser_send_runs_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let owned = directory.path().join("owned");
    let body = format!("\r\nHost: x\r\n\r\ntouch {}\r\n", owned.display());
    let request = |line: &str| format!("{line}{body}");
    let server = start(Command::shell());
    let lines =
        ["POST / HTTP/1.1", "GET /a HTTP/1.0", "touch /x HTTP/1.1", "\r\n\nput * HTTP/7", "PRI * HTTP/2.0"];
    for line in lines {
        expect_nothing_is_run(&server, &[&request(line)]);
    }
    expect_nothing_is_run(&server, &["POST / HT", &request("TP/1.1")]);
    expect_nothing_is_run(&server, &["\x16\x03\x01", "x\r\n", &body]);
    let chunks = start(Command::shell().framing(Framing::Chunk));
    for line in lines {
        expect_nothing_is_run(&chunks, &[&request(line)]);
    }
    // Behind the token too; and as the token it is none.
    let server = start(Command::shell().token("secret").expect("it is not empty"));
    expect_nothing_is_run(&server, &[&request("POST / HTTP/1.1")]);
    expect_nothing_is_run(&server, &[&request("secret\n\nPOST / HTTP/1.1")]);
    assert!(!owned.exists());
}

// The page decides how long the line is, and so where it is cut. What looks
// like a command until then is run as one; nothing behind it is.
#[test]
fn a_first_line_of_http_that_comes_in_several_chunks_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let owned = directory.path().join("owned");
    let server = start(Command::shell().framing(Framing::Chunk).reply(Reply::Raw));
    let client = server.connect();
    client.send("false /a ");
    client.expect("no output!");
    client.send(format!("HTTP/1.1\r\n\r\ntouch {}\r\n", owned.display()));
    assert_eq!(client.rest(), b"");
    assert!(!owned.exists());
}

#[test]
fn http_is_a_text_like_any_other_behind_the_first_request() {
    let server = start(Command::allow(["echo"]));
    let client = server.connect();
    client.send("\necho GET / HTTP/1.1\necho / HTTP/1.1\n");
    expect_reply(&client, "GET / HTTP/1.1\n", "0");
    expect_reply(&client, "/ HTTP/1.1\n", "0");
}

#[test]
fn a_token_that_does_not_come_in_time_closes_without_a_word() {
    let command = Command::shell().token("secret").expect("it is not empty");
    let limits = Limits { first_frame: Some(SOON), ..command.limits() };
    let server = Server::start(command, limits);
    let client = server.connect();
    client.send("secre");
    assert_eq!(client.rest(), b"");
}

#[test]
fn other_machines_are_served_with_a_token_alone() {
    let here = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];
    let there = ["192.0.2.1:1", "[2001:db8::1]:1", "0.0.0.0:1", "[::]:1"];
    let mut open = Command::shell();
    let mut shut = Command::shell().token("secret").expect("it is not empty");
    for (addresses, welcome) in [(here, true), (there, false)] {
        for address in addresses {
            let peer = Peer::inet(address.parse().expect("an address"));
            assert_eq!(open.verify(&peer), welcome, "{address}");
            assert!(shut.verify(&peer));
            let at: Endpoint = address.parse().expect("an endpoint");
            assert_eq!(open.serves(&at), welcome, "{address}");
            assert!(shut.serves(&at));
        }
    }
    assert!(open.verify(&Peer::unix(None, None)));
    assert!(open.serves(&"unix:/tmp/socket".parse().expect("an endpoint")));
}

#[test]
fn every_request_is_audited() {
    let (tell, told) = mpsc::channel();
    let command = Command::allow(["echo"]).audit(move |audit| {
        let request = String::from_utf8_lossy(audit.request).into_owned();
        let (status, bytes) = (audit.status.to_string(), audit.bytes);
        tell.send((audit.peer.to_string(), request, status, bytes)).expect("the test waits for it");
    });
    let server = start(command);
    let client = server.connect();
    client.send("echo hello\nrm x\n");
    let first = told.recv_timeout(PATIENCE).expect("it was run");
    assert!(first.0.starts_with("127.0.0.1:"), "{first:?}");
    assert_eq!((first.1.as_str(), first.2.as_str(), first.3), ("echo hello", "0", 6));
    let second = told.recv_timeout(PATIENCE).expect("it was refused");
    assert_eq!((second.1.as_str(), second.2.as_str(), second.3), ("rm x", "refused", 0));
}

#[test]
fn a_shutdown_waits_for_the_reply() {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let server = start(Command::shell());
    let client = server.connect();
    client.send(format!("while [ ! -e {} ]; do sleep 0.01; done; echo done\necho 2\n", gate.display()));
    let idle = server.connect();
    eventually("it runs", || server.ask(|_, io| io.children()) == 1);
    server.handle.shutdown(PATIENCE);
    idle.expect_eof();
    fs::write(&gate, "open").expect("a file");
    expect_reply(&client, "done\n", "0");
    expect_reply(&client, "2\n", "0");
    client.expect_eof();
    drop((client, idle));
    server.stop();
}

#[test]
fn replies_larger_than_the_marks_are_answered_one_after_the_other() {
    let server = start(Command::shell().output(3_000_000));
    let client = server.connect();
    client.send("head -c 3000000 /dev/zero\n".repeat(4));
    for _ in 0..4 {
        let (payload, status) = reply(&client);
        assert_eq!((payload.len(), status.as_str()), (3_000_000, "0"));
    }
}

#[test]
fn a_command_beside_others_holds_up_nobody() {
    let server = start(Command::shell());
    let busy: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    busy.iter().for_each(|client| client.send("yes >/dev/null\n"));
    let client = server.connect();
    for _ in 0..20 {
        client.send("echo 1\n");
        expect_reply(&client, "1\n", "0");
    }
    // Its clients leave, and nothing stays.
    busy.into_iter().for_each(Client::reset);
    eventually("they are gone", || server.ask(|_, io| io.children()) == 0);
}

#[test]
fn a_classic_client_that_receives_once_for_each_is_served() {
    if !have("python3") {
        return;
    }
    // Long enough for one who is slow to read.
    let gap = Duration::from_millis(500);
    let server = greeting(Command::shell().framing(Framing::Chunk).gap(gap));
    let Endpoint::Tcp(at) = server.at() else { panic!("it is TCP") };
    let script = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(s.recv(1024).decode())
for command in ['echo hello', 'true', 'seq 1000']:
    s.sendall(command.encode())
    length = int(s.recv(1024).decode().split('|')[1])
    got = b''
    while len(got) < length:
        got += s.recv(1024)
    print(command, length, got[:6], got[-5:])
";
    let mut python = std::process::Command::new("python3");
    python.env("PYTHONIOENCODING", "utf-8");
    let output = python.arg("-c").arg(script).arg(at.port().to_string()).output().expect("it runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "欢迎登录\necho hello 6 b'hello\\n' b'ello\\n'\ntrue 0 b'' b''\nseq 1000 3893 b'1\\n2\\n3\\n' b'1000\\n'\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
