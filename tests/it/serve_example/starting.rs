//! The start of `serve`: the lines it prints, and its state behind them.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serve_forever::Endpoint;

use super::options::threads_of;
use crate::util::program::{Program, Serve, Signal, command, example, listening, wait_until};
use crate::util::{Client, DatagramClient, have};

/// All services, each at an endpoint of its kinds in this directory.
fn everything(directory: &str) -> Vec<String> {
    let mut arguments = vec!["--shell".into(), "--greeting=".into(), format!("--dir={directory}")];
    for service in ["echo", "upper", "once"] {
        arguments.push(format!("{service}=127.0.0.1:0"));
        arguments.push(format!("{service}=udp://127.0.0.1:0"));
        arguments.push(format!("{service}=unix:{directory}/{service}"));
        arguments.push(format!("{service}=unixgram:{directory}/{service}-datagrams"));
    }
    for service in ["chat", "command", "upload", "console"] {
        arguments.push(format!("{service}=tcp://127.0.0.1:0"));
        arguments.push(format!("{service}=unix:{directory}/{service}"));
    }
    arguments
}

#[test]
fn each_listener_has_its_line_with_its_scheme_and_its_real_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = everything(directory.path().to_str().expect("UTF-8"));
    let serve = Serve::start(&arguments);
    let wanted = arguments.iter().filter(|text| !text.starts_with('-'));
    for ((service, at), wanted) in serve.listening.iter().zip(wanted) {
        let (kind, place) = wanted.split_once('=').expect("it was made so");
        assert_eq!(service, kind);
        match at {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => {
                assert_ne!(address.port(), 0, "{at}");
                let place = place.strip_suffix(":0").expect("it was made so");
                assert!(at.to_string().contains(place), "{at}");
                assert!(at.to_string().starts_with("tcp://") || at.to_string().starts_with("udp://"), "{at}");
            }
            at => assert_eq!(at.to_string(), place),
        }
    }

    // They are what they say, all in one thread.
    for place in [0, 2, 4, 6] {
        let client = serve.connect(place);
        client.send("one\n");
        client.expect(if serve.listening[place].0 == "echo" { "one\n" } else { "ONE\n" });
    }
    for place in [8, 10] {
        let client = serve.connect(place);
        client.send("one\n");
        client.expect("goodbye\n");
        client.expect_eof();
    }
    for (place, answer) in
        [(1, "one\n"), (3, "one\n"), (5, "ONE\n"), (7, "ONE\n"), (9, "goodbye\n"), (11, "goodbye\n")]
    {
        let name = directory.path().join(format!("client-{place}"));
        let name = matches!(serve.at(place), Endpoint::UnixDatagram(_)).then_some(name);
        let client = DatagramClient::connect(serve.at(place), name.as_deref());
        client.send("one\n");
        client.expect(answer);
    }
    serve.connect(12).expect("* you are guest1\n");
    let client = serve.connect(14);
    client.send("echo one\n");
    client.expect("info|4|0\none\n");
    let client = serve.connect(16);
    client.send("post|3|name\none");
    client.expect("ok|3|name\n");
    let client = serve.connect(18);
    client.send("one\n");
    assert!(serve.program.line().starts_with("* #1 127.0.0.1:"));
    assert!(serve.program.line().ends_with(" | one"));
    // Beside it are the workers that write uploads.
    let threads = threads_of(serve.program.pid());
    assert_eq!(threads.iter().filter(|name| !name.starts_with("worker")).count(), 1, "{threads:?}");
    drop(client);
    assert!(serve.program.line().ends_with(" left"));
    serve.stop();
}

#[test]
fn signals_are_watched_before_the_first_line() {
    for signal in [Signal::INT, Signal::TERM].repeat(10) {
        let program = Program::start(&mut command("serve", &["echo=127.0.0.1:0", "chat=127.0.0.1:0"]));
        program.line();
        let ended = program.end_by(signal);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    }
}

#[test]
fn all_endpoints_of_one_service_share_one_instance() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    let serve = Serve::start(&[
        "chat=127.0.0.1:0".to_owned(),
        "echo=[::1]:0".into(),
        format!("chat=unix:{path}/chat"),
        "chat=[::1]:0".into(),
    ]);
    let members = [0, 2, 3].map(|place| {
        let member = serve.connect(place);
        assert!(member.line().starts_with("* you are guest"));
        member
    });
    members[0].expect("* guest2 joined\n* guest3 joined\n");
    members[1].expect("* guest3 joined\n");
    members[2].send("hello\n");
    members[0].expect("<guest3> hello\n");
    members[1].expect("<guest3> hello\n");
    serve.stop();
}

#[test]
fn nobody_waits_for_a_log_that_is_not_read() {
    let (reader, writer) = std::io::pipe().expect("two descriptors");
    let arguments = ["-vv", "echo=127.0.0.1:0"];
    let mut command = command("serve", &arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
    let program = Program::with_stderr(&mut command, tempfile::tempfile().expect("a file"));
    drop(command);
    let (_, at) = listening(&program.line());
    // Each is several lines; the pipe holds 64 KiB (pipe(7)).
    for _ in 0..1500 {
        let client = Client::connect(&at);
        client.send("still there");
        client.expect("still there");
    }
    assert_eq!(program.end_by(Signal::TERM).status, 0);
    drop(reader);
}

#[test]
fn a_stdout_that_is_not_read_delays_neither_service_nor_end() {
    let (reader, mut writer) = std::io::pipe().expect("two descriptors");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe");
    let directory = tempfile::tempdir().expect("a directory");
    let at = format!("unix:{}/echo", directory.path().display());
    let mut command = command("serve", &[&format!("echo={at}")]);
    let errors = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::null()).stdout(writer).stderr(errors.try_clone().expect("a descriptor"));
    let program = Program::with_stderr(&mut command, errors);
    drop(command);
    let at = at.parse().expect("an endpoint");
    wait_until("it listens", || Client::try_connect(&at).is_ok());
    let client = Client::connect(&at);
    client.send("still there");
    client.expect("still there");
    let ended = program.end_by(Signal::TERM);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("nobody reads standard output"), "{}", ended.stderr);
    drop(reader);
}

// docs/guarantees.md, 58.
#[test]
fn nobody_who_reads_its_stderr_does_not_hurt_it() {
    let (reader, writer) = std::io::pipe().expect("two descriptors");
    let mut command = command("serve", &["-vv", "echo=127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
    let program = Program::with_stderr(&mut command, tempfile::tempfile().expect("a file"));
    drop(command); // it holds the other end, too
    let (_, at) = listening(&program.line());
    drop(reader);
    for _ in 0..10 {
        let client = Client::connect(&at);
        client.send("still there");
        client.expect("still there");
        client.reset();
    }
    assert_eq!(program.end_by(Signal::TERM).status, 0);

    // As it would be in a shell.
    let directory = tempfile::tempdir().expect("a directory");
    let lines = directory.path().join("lines");
    let script = "\"$0\" -vv echo=127.0.0.1:0 upper=127.0.0.1:0 2>&1 >\"$1\" & echo $!";
    let script = format!("( {script} ) | head -n 1");
    let mut shell = std::process::Command::new("sh");
    let shell = shell.args(["-c", &script]).arg(example("serve")).arg(&lines).stdin(Stdio::null());
    let pid = String::from_utf8(shell.output().expect("there is a shell").stdout).expect("UTF-8");
    let pid: u32 = pid.lines().find_map(|line| line.parse().ok()).expect("the shell tells");
    wait_until("it listens", || fs::read_to_string(&lines).unwrap_or_default().lines().count() == 2);
    let text = fs::read_to_string(&lines).expect("it was just there");
    for (line, answer) in text.lines().zip(["echo me", "ECHO ME"]) {
        let client = Client::connect(&listening(line).1);
        client.send("echo me");
        client.expect(answer);
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("it is small")).expect("it is not 0");
    rustix::process::kill_process(pid, Signal::TERM).expect("it is ours");
    wait_until("it ends", || rustix::process::test_kill_process(pid).is_err());
}

/// Whoever may administer the network can do that to a program (ss(8)).
#[test]
fn a_listener_whose_socket_is_destroyed_is_made_again_at_its_port() {
    if !have("ss") {
        return;
    }
    let serve = Serve::start(&["-v", "echo=127.0.0.1:0"]);
    let Endpoint::Tcp(at) = serve.at(0) else { panic!("it is of TCP") };
    let kill = ["-K", "-l", "-t", "sport", "=", &format!(":{}", at.port())];
    std::process::Command::new("ss").args(kill).output().expect("it was found");
    // It tells of what has become of nothing, where it may not.
    if std::net::TcpStream::connect(at).is_ok() && !serve.program.stderr().contains("the listener failed") {
        return eprintln!("skipped: no socket can be destroyed here");
    }
    wait_until("it listens again", || serve.program.stderr().contains("listening again"));
    let client = serve.connect(0);
    client.send("still here");
    client.expect("still here");
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
}

#[test]
fn its_logs_are_on_stderr_and_its_lines_alone_on_stdout() {
    let program = Program::start(&mut command("serve", &["-v", "--shell", "command=127.0.0.1:0"]));
    let (_, at) = listening(&program.line());
    let client = Client::connect(&at);
    client.expect("欢迎登录\n");
    client.send("exit 7\n");
    client.expect("info|0|7\n");
    let ended = program.end_by(Signal::TERM);
    assert_eq!((ended.status, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.contains("`exit 7`: 7, 0 bytes"), "{}", ended.stderr);
}
