//! `command_client`: what it shows, and how it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use crate::util::noise;
use crate::util::program::{Ended, Program, Serve, Signal, command, is_gone, run, wait_until};

/// A server of commands, for any line, with these options.
fn commands(options: &[&str]) -> Serve {
    Serve::start(&[options, &["--shell", "command=127.0.0.1:0"]].concat())
}

/// Has these commands run.
#[track_caller]
fn ask(serve: &Serve, arguments: &[&str]) -> Ended {
    let at = serve.at(0).to_string();
    let options = arguments.iter().take_while(|argument| argument.starts_with("--")).count();
    let (options, commands) = arguments.split_at(options);
    run(&mut command("command_client", &[options, &[at.as_str()], commands].concat()))
}

#[track_caller]
fn assert_ended(ended: &Ended, status: i32, stdout: &str, stderr: &str) {
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (status, stdout, stderr));
}

const GREETING: &str = "欢迎登录\n";

#[test]
fn it_shows_the_output_of_each_command_in_order() {
    for reply in ["framed", "stream"] {
        let serve = commands(&["--reply", reply]);
        let ended = ask(&serve, &["echo 1", "true", "printf 2", "echo 3; echo"]);
        assert_ended(&ended, 0, "1\n23\n\n", GREETING);
        serve.stop();
    }
    let serve = commands(&["--reply=stream", "--greeting=welcome"]);
    let ended = ask(&serve, &["echo out; echo err >&2"]);
    assert_ended(&ended, 0, "out\n", "welcome\nerr\n");
    serve.stop();
}

#[test]
fn its_exit_status_is_that_of_the_last_command() {
    for reply in ["framed", "stream"] {
        let serve =
            commands(&["--reply", reply, "--greeting=", "--command-timeout=0.25", "--command-output=9"]);
        for (commands, status) in [
            (&["exit 3"][..], 3),
            (&["exit 3", "true"], 0),
            (&["true", "exit 255"], 255),
            (&["exec sleep 10000"], 124),
            (&["kill -9 $$"], 137),
            (&["kill -15 $$"], 143),
            (&["echo 1234567890"], 125),
        ] {
            let ended = ask(&serve, commands);
            assert_eq!(ended.status, status, "{commands:?} {reply}");
            let says = match status {
                124 => "command_client: the command was over its time",
                125 => "command_client: the output is cut off",
                _ => "",
            };
            assert!(ended.stderr.starts_with(says), "{commands:?} {reply}: {}", ended.stderr);
            assert_eq!(ended.stderr.is_empty(), says.is_empty(), "{commands:?} {reply}: {}", ended.stderr);
        }
        serve.stop();
        let serve = Serve::start(&["--reply", reply, "--greeting=", "--allow=echo", "command=127.0.0.1:0"]);
        for (line, says) in [("rm -r /", "`rm` is not allowed"), ("echo '", "quote")] {
            let ended = ask(&serve, &[line]);
            assert_eq!(ended.status, 125);
            assert!([ended.stdout, ended.stderr].concat().contains(says));
        }
        serve.stop();
    }
}

#[test]
fn a_busy_server_is_125() {
    let at = answering(|mut socket| {
        socket.write_all(b"info|4|busy\nbusy").expect("it listens");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    assert_ended(&run(&mut command("command_client", &[&at, "x"])), 125, "busy", "");
}

#[test]
fn a_connection_that_is_lost_is_125() {
    for (sends, shows) in [
        (&b""[..], ""),
        (b"info|10|0\n12345", "12345"),
        (b"out|3\n123out|3\n1", "1231"),
        (b"out|3\n123", "123"),
    ] {
        let at = answering(move |mut socket| {
            let mut line = [0; 2];
            socket.read_exact(&mut line).expect("it asks");
            socket.write_all(sends).expect("it listens");
        });
        let ended = run(&mut command("command_client", &[&at, "x"]));
        assert_eq!((ended.status, ended.stdout.as_str()), (125, shows));
        assert!(ended.stderr.contains("closed the connection"), "{}", ended.stderr);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let ended = run(&mut command("command_client", &[&nobody.expect("a free port").to_string(), "x"]));
    assert_eq!(ended.status, 125);
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);
}

#[test]
fn what_is_no_reply_is_told_and_does_no_harm() {
    for answer in [
        &b"info|x|0\n"[..],
        b"info|-1|0\n",
        b"info|99999999999999999999999|0\n",
        b"info|1\n",
        b"nonsense\n",
        b"\x1b[2J\n",
        &[b'x'; 100_000],
    ] {
        let at = answering(move |mut socket| {
            // It may be gone before it has taken all of it.
            let _ = socket.write_all(&[b"hello\ninfo|2|0\n1\n", answer].concat());
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let ended = run(&mut command("command_client", &[&at, "x", "y"]));
        assert_eq!((ended.status, ended.stdout.as_str()), (125, "1\n"));
        assert!(
            ended.stderr.starts_with("hello\n") && ended.stderr.contains("no reply: "),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.len() < 1000 && !ended.stderr.contains('\x1b'), "{}", ended.stderr);
    }
}

#[test]
fn commands_come_from_stdin_a_line_each() {
    let serve = commands(&["--greeting="]);
    let at = serve.at(0).to_string();
    let mut client = Program::start(&mut command("command_client", &[&at]));
    client.type_in("echo 1\n");
    client.expect_line("1");
    client.type_in("\n   \necho 2\r\necho 3; exit 9");
    assert_ended(&client.wait(), 9, "2\n3\n", ""); // and no prompt
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "echo 1\n\necho 2\nfalse").expect("a file");
    let mut client = command("command_client", &[&at]);
    client.stdin(fs::File::open(file.path()).expect("it is there"));
    assert_ended(&run(&mut client), 1, "1\n2\n", "");
    assert_ended(&run(&mut command("command_client", &[&at])), 0, "", ""); // nothing to do
    serve.stop();
}

#[test]
fn the_token_is_sent_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (right, wrong) = (path("right", "open sesame\n"), path("wrong", "open\n"));
    for framing in ["lines", "chunk"] {
        let serve = commands(&["--framing", framing, "--token-file", &right, "-q"]);
        let framing = format!("--framing={framing}");
        let ended = ask(&serve, &[&framing, &format!("--token-file={right}"), "echo 1", "echo 2"]);
        assert_ended(&ended, 0, "1\n2\n", GREETING);
        let ended = ask(&serve, &[&framing, &format!("--token-file={wrong}"), "echo 1"]);
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""));
        let ended = ask(&serve, &[&framing, "--token-file=/nonexistent/token", "echo 1"]);
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
        assert!(ended.stderr.contains("/nonexistent/token"), "{}", ended.stderr);
        serve.stop();
    }
}

#[test]
fn chunks_are_understood_with_a_gap_and_with_an_acknowledgement() {
    for options in [&["--gap=500"][..], &["--ack"], &["--reply=stream"]] {
        for greeting in [GREETING, ""] {
            let greet = format!("--greeting={}", greeting.trim_end());
            let serve = commands(&[&["--framing=chunk", greet.as_str()], options].concat());
            let big = "head -c 300000 /dev/zero | tr '\\0' x";
            let ended = ask(&serve, &["--framing=chunk", "echo 1", "printf 2", big, "echo 3", "true"]);
            let expected = format!("1\n2{}3\n", "x".repeat(300_000));
            assert!(ended.stdout == expected, "{options:?}: {} bytes", ended.stdout.len());
            assert_eq!((ended.status, ended.stderr.as_str()), (0, greeting), "{options:?}");
            serve.stop();
        }
    }
}

#[test]
fn output_of_any_size_comes_byte_for_byte() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, came) = (directory.path().join("file"), directory.path().join("came"));
    let bytes = noise(20_000_000);
    fs::write(&file, &bytes).expect("a file");
    let line = format!("cat {}", file.display());
    for options in [&["--reply=stream"][..], &["--reply=framed", "--command-output=20000000"]] {
        let serve = commands(options);
        let at = serve.at(0).to_string();
        let mut client = command("command_client", &[&at, &line]);
        let output = client.stdout(fs::File::create(&came).expect("a file")).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        assert!(fs::read(&came).expect("it is there") == bytes);
        serve.stop();
    }
}

// Back-pressure all the way: the command waits for whoever does not read.
#[test]
fn a_client_that_nobody_reads_slows_the_command() {
    const WHOLE: u64 = 64 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let done = directory.path().join("done");
    let serve = commands(&["--reply=stream", "--greeting="]);
    let resident = || {
        let statm = fs::read_to_string(format!("/proc/{}/statm", serve.program.pid())).expect("it runs");
        4096 * statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number")
    };
    let before = resident();
    let line = format!("head -c {WHOLE} /dev/zero; touch {}", done.display());
    let at = serve.at(0).to_string();
    let mut client = command("command_client", &[&at, &line]);
    let mut client = client.stdout(Stdio::piped()).spawn().expect("it can be started");
    let mut stdout = client.stdout.take().expect("it is piped");
    stdout.read_exact(&mut [0; 1000]).expect("it has begun");
    let mut most = 0;
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        let mut count = 1000;
        while let some @ 1.. = stdout.read(&mut buffer).expect("it goes on") {
            // As it reads no faster than the test looks, the command cannot
            // be done long before it.
            if count < WHOLE / 2 {
                assert!(!done.exists(), "at {count}");
            }
            count += some as u64;
        }
        count
    });
    wait_until("all of it has come", || {
        most = most.max(resident());
        reading.is_finished()
    });
    assert_eq!(reading.join().expect("it was slow"), WHOLE);
    assert!(client.wait().expect("it ends").success());
    assert!(most - before < 16 << 20, "{} KiB more", (most - before) >> 10);
    serve.stop();
}

// Over TCP its FIN would only end its requests: what it has asked for is done.
#[test]
fn over_a_unix_socket_its_end_ends_the_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let pid = directory.path().join("pid");
    let at = format!("unix:{}", directory.path().join("socket").display());
    let serve = Serve::start(&["--shell", "--command-timeout=10000", &format!("command={at}")]);
    let line = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 10000", pid.display());
    let client = Program::start(&mut command("command_client", &[&at, &line]));
    wait_until("the command runs", || pid.exists());
    let pid = fs::read_to_string(&pid).expect("it was just there").trim().parse().expect("a number");
    assert_eq!(client.end_by(Signal::INT).status, 130);
    wait_until("the command is gone", || is_gone(pid));
    serve.stop();
}

/// A server that does this with its only connection.
fn answering(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || serve(listener.accept().expect("the client connects").0));
    at
}
