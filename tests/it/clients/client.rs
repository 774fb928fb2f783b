//! `client`: standard input to a server, the server to standard output.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use crate::util::program::{Program, Serve, Signal, command, run};
use crate::util::{have, noise};

#[test]
fn a_large_file_comes_back_from_an_echo_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let (sent, came) = (directory.path().join("sent"), directory.path().join("came"));
    let bytes = noise(50_000_000);
    fs::write(&sent, &bytes).expect("a file");
    let unix = format!("upper=unix:{}", directory.path().join("upper").display());
    let serve = Serve::start(&["echo=127.0.0.1:0", unix.as_str()]);
    for (place, expected) in [(0, bytes.clone()), (1, bytes.to_ascii_uppercase())] {
        let at = serve.at(place).to_string();
        // From a file into a file.
        let mut client = command("client", &[&at]);
        client.stdin(File::open(&sent).expect("it is there"));
        let ended = client.stdout(File::create(&came).expect("a file")).output().expect("it can be started");
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(fs::read(&came).expect("it is there") == expected);
        // From a pipe into a pipe.
        let mut client = command("client", &[&at]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = client.spawn().expect("it can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        let bytes = bytes.clone();
        let writing = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().expect("it ends");
        writing.join().expect("the writer lives").expect("the client reads");
        assert!(output.status.success() && output.stdout == expected);
    }
    serve.stop();
}

#[test]
fn three_clients_chat() {
    let serve = Serve::start(&["chat=127.0.0.1:0"]);
    let at = serve.at(0).to_string();
    let mut clients: Vec<Program> = Vec::new();
    for number in 1..=3 {
        let client = Program::start(&mut command("client", &[&at]));
        client.expect_line(&format!("* you are guest{number}"));
        for other in &clients {
            other.expect_line(&format!("* guest{number} joined"));
        }
        clients.push(client);
    }
    clients[0].type_in("/nick Zoë\nhello\n");
    for client in &clients {
        client.expect_line("* guest1 is now Zoë");
    }
    clients[1].expect_line("<Zoë> hello");
    clients[2].expect_line("<Zoë> hello");
    clients[2].type_in("/quit too late for me");
    drop(clients[2].stdin.take());
    let ended = clients.pop().expect("it is there").wait();
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    clients[0].expect_line("* guest3 left: too late for me");
    clients[1].type_in("last words, without an end");
    let ended = clients.pop().expect("it is there").wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    clients[0].expect_line("<guest2> last words, without an end");
    clients[0].expect_line("* guest2 left");
    // The server ends first, and the client with it, whatever is still typed.
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
    let ended = clients[0].wait_alone();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_client_talks_to_the_operator_of_a_console() {
    let mut serve = Serve::start(&["console=127.0.0.1:0"]);
    let mut client = Program::start(&mut command("client", &[&serve.at(0).to_string()]));
    let who = serve.program.line();
    let who = who.strip_prefix("* ").and_then(|who| who.strip_suffix(" joined")).expect("it says who");
    client.type_in("hello\n");
    serve.program.expect_line(&format!("{who} | hello"));
    serve.program.type_in("hello yourself\n");
    client.expect_line("hello yourself");
    client.type_in("exit\n");
    serve.program.expect_line(&format!("* {who} left"));
    // It is told by the server's end, though its stdin stays open.
    let ended = client.wait_alone();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    serve.stop();
}

#[test]
fn it_talks_to_a_netcat_that_listens() {
    if !have("nc") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut nc = std::process::Command::new("nc");
    nc.args(["-l", "-U"]).arg(&path);
    let mut nc = Program::start(&mut nc);
    // Its file is there before it listens, which is a flag in proc(5).
    let listens = |line: &str| line.ends_with(&path.display().to_string()) && line.contains(" 00010000 ");
    crate::util::program::wait_until("it listens", || {
        fs::read_to_string("/proc/net/unix").expect("a Linux with /proc").lines().any(listens)
    });
    let at = format!("unix:{}", path.display());
    let mut client = Program::start(&mut command("client", &[&at]));
    client.type_in("from the client\n");
    nc.expect_line("from the client");
    nc.type_in("from the server\n");
    client.expect_line("from the server");
    client.type_in("last, without an end");
    drop(client.stdin.take());
    nc.expect_line("last, without an end");
    drop(nc.stdin.take());
    // Some of its kind end with one side of a connection, and some with both.
    nc.signal(Signal::TERM);
    let ended = client.wait();
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
}

#[test]
fn a_server_that_ends_first_ends_it_with_what_came() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let mut client = Program::start(&mut command("client", &[&at]));
    let (mut socket, _) = listener.accept().expect("it connects");
    socket.write_all(b"one\nlast, without an end").expect("it listens");
    drop(socket);
    client.expect_line("one");
    let ended = client.wait_alone(); // its stdin stays open
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "last, without an end", ""));
}

#[test]
fn a_connection_that_breaks_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let mut client = Program::start(&mut command("client", &[&at]));
    let (mut socket, _) = listener.accept().expect("it connects");
    socket.write_all(b"one\n").expect("it listens");
    client.expect_line("one");
    client.type_in("two\n");
    socket.read_exact(&mut [0; 4]).expect("it sends");
    socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    drop(socket);
    let ended = client.wait_alone();
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains("reset"), "{}", ended.stderr);
}

#[test]
fn it_says_so_if_nobody_listens() {
    let at =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    for at in [at.to_string(), "unix:/nonexistent/socket".into()] {
        let ended = run(&mut command("client", &[&at]));
        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""));
        assert!(ended.stderr.starts_with("client: ") && ended.stderr.contains(&at), "{}", ended.stderr);
    }
}
