//! Arguments that `serve` refuses: exit status 2, and nothing left behind.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use crate::util::program::{Serve, command, run};

/// Run with these arguments, it says this on stderr and is not up for a
/// moment.
#[track_caller]
fn assert_refused(arguments: &[&str], says: &str) {
    let ended = run(&mut command("serve", arguments));
    assert!(ended.stderr.contains(says), "{arguments:?}: {says:?} is not in {:?}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{arguments:?}: {}", ended.stderr);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{arguments:?}");
}

const ECHO: &str = "echo=127.0.0.1:0";
const COMMAND: &str = "command=127.0.0.1:0";

#[test]
fn arguments_that_make_no_sense_are_told() {
    for (arguments, says) in [
        (&[][..], "SERVICE=ENDPOINT"),
        (&["echo"], "write SERVICE=ENDPOINT"),
        (&["shout=127.0.0.1:0"], "there is no service \"shout\""),
        (&["echo=nowhere"], "HOST:PORT"),
        (&["echo=999.0.0.1:1"], "999.0.0.1:1"),
        (&["echo=unix:"], "the path is empty"),
        (&["echo=http://127.0.0.1:0"], "http"),
        (&["--loud", ECHO], "--loud"),
        (&["--framing", "words", ECHO], "lines or chunk"),
        (&["--reply", "none", "--shell", COMMAND], "framed, raw or stream"),
        (&["--max-connections", "0", ECHO], "from 1 on"),
        (&["--max-connections", "00", ECHO], "from 1 on"),
        (&["--max-connections", "many", ECHO], "no whole number"),
        (&["--max-connections=+5", ECHO], "no whole number"),
        (&["--max-connections=99999999999999999999", ECHO], "smaller number"),
        (&["--idle=1e30", ECHO], "too long"),
        (&["echo=udp:127.0.0.1:9"], "write udp://127.0.0.1:9"),
        (&["echo=[::1]"], "the port is missing; write [::1]:PORT"),
        (&["echo=localhost:+17303"], "+17303 is no port"),
        (&["echo=[fe80::1%nosuch0]:0"], "nosuch0 is no interface"),
        (&["echo=192.0.2.1:0"], "choose an address of this machine"),
        (&["echo=unix:/nonexistent/socket"], "make its directory first"),
        (&["--idle", "soon", ECHO], "a number of seconds"),
        (&["--idle=-1", ECHO], "from 0 on"),
        (&["--idle", "nan", ECHO], "from 0 on"),
        (&["--grace", "soon", ECHO], "a number of seconds"),
        (&["--lines-per-second", "0", "chat=127.0.0.1:0"], "from 1 on"),
        (&["--gap", "-", "--shell", COMMAND], "no whole number"),
        (&["--command-timeout", "0", "--shell", COMMAND], "more than 0"),
        (&["--command-output", "1k", "--shell", COMMAND], "digits alone"),
        (&["--max-upload=-1", "upload=127.0.0.1:0"], "digits alone"),
    ] {
        assert_refused(arguments, says);
    }
}

#[test]
fn a_service_for_streams_is_none_for_datagrams() {
    for service in ["chat", "command", "upload", "console"] {
        for at in ["udp://127.0.0.1:0", "unixgram:/nonexistent/socket"] {
            let served = format!("{service}={at}");
            assert_refused(&["--shell", "--dir", "/", &served], &format!("not {at}"));
        }
    }
}

#[test]
fn commands_need_to_be_told_what_may_be_run_and_by_whom() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (token, empty, blank) = (file("token", "secret\n"), file("empty", ""), file("blank", "\r\n"));
    assert_refused(&[COMMAND], "--allow PROGRAM, or --shell");
    assert_refused(&["--token-file", &token, COMMAND], "--allow PROGRAM, or --shell");
    assert_refused(&["--allow", "ls", "--shell", COMMAND], "cannot be used with");
    assert_refused(&["--shell", "--token-file", &empty, COMMAND], "the token is empty");
    assert_refused(&["--shell", "--token-file", &blank, COMMAND], "the token is empty");
    assert_refused(&["--shell", "--token-file", "/nonexistent/token", COMMAND], "/nonexistent/token");
    for at in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let served = format!("command={at}");
        assert_refused(&["--shell", COMMAND, &served], "give a --token-file");
    }
    for at in ["0.0.0.0:0", "127.0.0.2:0", "[::1]:0"] {
        let arguments = ["--shell", "--token-file", &token, &format!("command={at}")];
        Serve::start(&arguments).stop();
    }
}

// No client could send it: the mistake would be found when nobody gets in.
#[test]
fn a_token_that_no_request_can_be_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |text: &str| {
        let path = directory.path().join("token");
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    for text in ["two\nlines\n", &"x".repeat(65_537)] {
        assert_refused(&["--shell", "--token-file", &file(text), COMMAND], "is no single request");
    }
    let spaced = file("a space \n");
    let arguments = ["--shell", "--token-file", &spaced, COMMAND];
    Serve::start(&arguments).stop();
    assert_refused(&[&["--framing", "chunk"], &arguments[..]].concat(), "is no single request");
}

#[test]
fn uploads_need_a_directory_that_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    assert_refused(&["upload=127.0.0.1:0"], "--dir DIR");
    assert_refused(&["--dir", "/nonexistent", "upload=127.0.0.1:0"], "/nonexistent");
    assert_refused(&["--dir", file.to_str().expect("UTF-8"), "upload=127.0.0.1:0"], "not a directory");
}

#[test]
fn an_address_in_use_is_told_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let _stream = UnixListener::bind(path("stream")).expect("it is free");
    let _datagrams = UnixDatagram::bind(path("datagrams")).expect("it is free");
    fs::write(path("file"), "precious").expect("a file");
    let first =
        [format!("chat=unix:{}", path("a").display()), format!("upper=unixgram:{}", path("b").display())];
    for (taken, says) in [
        (tcp.local_addr().expect("it is bound").to_string(), "Address already in use"),
        (format!("udp://{}", udp.local_addr().expect("it is bound")), "Address already in use"),
        (
            format!("unix:{}", path("stream").display()),
            "it is in use, by another process or by another endpoint",
        ),
        (format!("unixgram:{}", path("datagrams").display()), "it is in use"),
        (format!("unix:{}", path("file").display()), "no socket"),
        (format!("unixgram:{}", path("file").display()), "no socket"),
        (format!("unix:{}", path("no/such").display()), "No such file"),
    ] {
        assert_refused(&[&first[0], &first[1], &format!("echo={taken}")], says);
        let mut left: Vec<_> = fs::read_dir(directory.path()).expect("it is there").flatten().collect();
        left.sort_by_key(fs::DirEntry::path);
        let left: Vec<_> = left.into_iter().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["datagrams", "file", "stream"]);
    }
    assert_eq!(fs::read(path("file")).expect("it is there"), b"precious");
    let own = path("own");
    let twice = format!("echo=unix:{}", own.display());
    assert_refused(&[&twice, &twice], "by another endpoint of this one");
    assert!(!own.exists());
}

// Nobody would know where it listens.
#[test]
fn lines_that_cannot_be_printed_are_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = directory.path().join("own");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let mut command = command("serve", &[format!("echo=unix:{}", own.display())]);
    let output = command.stdout(full).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output: No space left"), "{output:?}");
    assert!(!own.exists());
}
