//! The end of `serve`: in order at the first signal, at once at the second.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::util::program::{Program, Serve, Signal, example, is_gone, wait_until};
use crate::util::{Client, DatagramClient, noise};

/// Does something while the program stands still: all of it has arrived when
/// the program sees the first of it.
#[track_caller]
fn while_it_stands_still<T>(serve: &Serve, act: impl FnOnce() -> T) -> T {
    serve.program.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", serve.program.pid());
    wait_until("it stands still", || {
        let stat = fs::read_to_string(&stat).expect("it is there");
        stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('T'))
    });
    let outcome = act();
    serve.program.signal(Signal::CONT);
    outcome
}

/// A directory with a pipe in it, and a command that tells its process, one of
/// another in its group, and then waits for somebody who opens the pipe.
struct Waiting {
    directory: TempDir,
}

impl Waiting {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let made = std::process::Command::new("mkfifo").arg(directory.path().join("pipe")).status();
        assert!(made.expect("every system has it").success());
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn line(&self) -> String {
        let (pipe, pids) = (self.path("pipe"), self.path("pids"));
        format!(
            "sleep 10000 >/dev/null 2>&1 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; cat {pipe}; kill $!\n"
        )
    }

    /// The processes, once they are there.
    fn pids(&self) -> Vec<u32> {
        let path = self.path("pids");
        wait_until("the command runs", || Path::new(&path).exists());
        let text = fs::read_to_string(path).expect("it was just there");
        text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
    }

    /// Has the command end.
    fn go_on(&self) {
        use rustix::fs::{Mode, OFlags, open};
        // It fails as long as nobody reads (fifo(7)), and if nobody does at all.
        let mut pipe = None;
        wait_until("the command reads", || {
            pipe = open(self.path("pipe"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
            pipe.is_some()
        });
        let mut pipe = pipe.map(fs::File::from).expect("it was just opened");
        pipe.write_all(b"went on\n").expect("somebody reads");
    }
}

#[test]
fn what_has_arrived_is_answered_and_nothing_remains() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        let arguments = [
            format!("echo=unix:{path}/echo"),
            "echo=127.0.0.1:0".into(),
            format!("upper=unixgram:{path}/upper"),
            "chat=127.0.0.1:0".into(),
            "command=127.0.0.1:0".into(),
            "upload=127.0.0.1:0".into(),
            "once=127.0.0.1:0".into(),
            "--allow=echo".into(),
            "--greeting=".into(),
            format!("--dir={path}"),
        ];
        let serve = Serve::start(&arguments);
        let silent = serve.connect(1);
        silent.send("x");
        silent.expect("x");
        let (one, two) = (serve.connect(3), serve.connect(3));
        one.expect("* you are guest1\n* guest2 joined\n");
        two.expect("* you are guest2\n");
        let big = noise(100_000);
        let name = directory.path().join("client");
        let (accepted, waiting, datagrams, command, upload, once) = while_it_stands_still(&serve, || {
            silent.send("last words");
            one.send("a\nb\n");
            let waiting = serve.connect(0);
            waiting.send(&big);
            let datagrams = DatagramClient::connect(serve.at(2), Some(&name));
            datagrams.send("datagram");
            let command = serve.connect(4);
            command.send("echo 1\necho 2\n");
            let upload = serve.connect(5);
            upload.send("post|4|file\n1234");
            let once = serve.connect(6);
            once.send("who cares\n");
            serve.program.signal(signal);
            (silent, waiting, datagrams, command, upload, once)
        });
        accepted.expect("last words");
        accepted.expect_eof();
        waiting.expect(&big);
        waiting.expect_eof();
        datagrams.expect("DATAGRAM");
        command.expect("info|2|0\n1\ninfo|2|0\n2\n");
        command.expect_eof();
        upload.expect("ok|4|file\n");
        upload.expect_eof();
        once.expect("goodbye\n");
        once.expect_eof();
        two.expect("<guest1> a\n<guest1> b\n");
        // It would wait for the ends of these, for a while.
        drop((one, two, accepted, waiting, command, upload, once));
        let ended = serve.program.wait();
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
        assert_eq!(fs::read(directory.path().join("file")).expect("it came"), b"1234");
        fs::remove_file(&name).expect("the client's own");
        let left = fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 1, "no socket file and no temporary one, but what was sent");
    }
}

// docs/guarantees.md, 54.
#[test]
fn what_is_under_way_is_finished_and_nobody_new_comes_in() {
    let waiting = Waiting::new();
    let socket = format!("echo=unix:{}", waiting.path("socket"));
    let serve = Serve::start(&["--shell", "--greeting=", "command=127.0.0.1:0", &socket, "echo=127.0.0.1:0"]);
    let idle = serve.connect(2);
    let command = serve.connect(0);
    command.send(waiting.line());
    let pids = waiting.pids();
    serve.program.signal(Signal::TERM);
    idle.expect_eof(); // it holds nothing up
    for place in 0..3 {
        wait_until("it listens no more", || Client::try_connect(serve.at(place)).is_err());
    }
    assert!(!Path::new(&waiting.path("socket")).exists());
    waiting.go_on();
    command.expect("info|8|0\nwent on\n");
    command.expect_eof();
    drop((idle, command));
    let ended = serve.program.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    wait_until("they are gone", || pids.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_command_that_does_not_end_is_killed_with_its_group_after_the_grace() {
    let waiting = Waiting::new();
    let serve = Serve::start(&["--grace=1.5", "--shell", "--greeting=", "command=127.0.0.1:0"]);
    let command = serve.connect(0);
    // It does not mind SIGTERM, nor does its group.
    command.send(format!("trap '' TERM; {}", waiting.line()));
    let pids = waiting.pids();
    let began = std::time::Instant::now();
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
    assert!(began.elapsed() >= Duration::from_millis(1500), "it was given its time");
    command.assert_closed();
    for pid in pids {
        wait_until("the group is gone", || is_gone(pid));
    }
}

// docs/guarantees.md, 54.
#[test]
fn a_second_signal_ends_it_at_once_and_socket_files_are_gone() {
    for (first, second, status) in [
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
        (Signal::INT, Signal::INT, 130),
        (Signal::TERM, Signal::TERM, 143),
    ] {
        let waiting = Waiting::new();
        let sockets = ["stream", "datagrams"].map(|name| waiting.path(name));
        let arguments = [
            "--shell".into(),
            "--greeting=".into(),
            format!("--dir={}", waiting.directory.path().display()),
            format!("command=unix:{}", sockets[0]),
            format!("upper=unixgram:{}", sockets[1]),
            "upload=127.0.0.1:0".into(),
        ];
        let serve = Serve::start(&arguments);
        let upload = serve.connect(2);
        upload.send("post|5|half\n1234");
        let command = serve.connect(0);
        command.send(format!("trap '' TERM; {}", waiting.line()));
        let pids = waiting.pids();
        serve.program.signal(first);
        wait_until("it listens no more", || Client::try_connect(serve.at(0)).is_err());
        // Within a second it is the first one, doubled.
        std::thread::sleep(Duration::from_millis(1100));
        let ended = serve.program.end_by(second);
        assert_eq!(ended.status, status);
        assert!(ended.stderr.contains("no more waiting"), "{}", ended.stderr);
        assert!(sockets.iter().all(|socket| !Path::new(socket).exists()));
        command.assert_closed();
        upload.assert_closed();
        for pid in pids {
            wait_until("the group is gone", || is_gone(pid));
        }
        let left = fs::read_dir(waiting.directory.path()).expect("it is there").count();
        assert_eq!(left, 2, "the pipe, and the ids of the processes");
    }
}

// As timeout(1) does, which signals its child and then the group.
#[test]
fn signals_that_come_together_are_one() {
    for held in [false, true] {
        let waiting = Waiting::new();
        let serve = Serve::start(&["--shell", "--greeting=", "command=127.0.0.1:0"]);
        let command = serve.connect(0);
        command.send(waiting.line());
        let pids = waiting.pids();
        let together = || {
            serve.program.signal(Signal::INT);
            serve.program.signal(Signal::TERM);
        };
        if held {
            while_it_stands_still(&serve, || {
                together();
                // However long it is before it sees them.
                std::thread::sleep(Duration::from_millis(1200));
            });
        } else {
            together();
        }
        wait_until("it listens no more", || Client::try_connect(serve.at(0)).is_err());
        waiting.go_on();
        command.expect("info|8|0\nwent on\n");
        command.expect_eof();
        drop(command);
        let ended = serve.program.wait();
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
        wait_until("they are gone", || pids.iter().all(|pid| is_gone(*pid)));
    }
}

/// Starts `serve` by env(1), which changes what it inherits of signals.
fn serve_inheriting(options: &[&str], arguments: &[&str]) -> Serve {
    let mut command = std::process::Command::new("env");
    command.args(options).arg(example("serve")).args(arguments);
    Serve::listen(Program::start(&mut command), arguments)
}

#[test]
fn a_blocked_signal_is_heard() {
    for signal in ["INT", "TERM", "HUP"] {
        let option = format!("--block-signal={signal}");
        let serve = serve_inheriting(&[&option], &["echo=127.0.0.1:0"]);
        let number = match signal {
            "INT" => Signal::INT,
            "TERM" => Signal::TERM,
            _ => Signal::HUP,
        };
        let ended = serve.program.end_by(number);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    }
}

// As nohup(1) and a shell's `&` have it.
#[test]
fn what_is_ignored_by_inheritance_stays_ignored_but_for_sigterm() {
    let serve = serve_inheriting(&["--ignore-signal=INT,HUP,TERM"], &["echo=127.0.0.1:0"]);
    for signal in [Signal::INT, Signal::HUP] {
        serve.program.signal(signal);
        let client = serve.connect(0);
        client.send("still there");
        client.expect("still there");
    }
    let ended = serve.program.end_by(Signal::TERM);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_command_inherits_nothing_of_signals() {
    let options = ["--block-signal=USR1,TERM,HUP", "--ignore-signal=INT,QUIT,HUP"];
    let arguments = ["--allow=grep", "--greeting=", "command=127.0.0.1:0"];
    let serve = serve_inheriting(&options, &arguments);
    let command = serve.connect(0);
    command.send("grep -E Sig(Blk|Ign) /proc/self/status\n");
    command.expect("info|50|0\nSigBlk:\t0000000000000000\nSigIgn:\t");
    let ignored = u64::from_str_radix(command.line().trim_end(), 16).expect("proc(5)");
    assert_eq!(ignored & 0x7fff_ffff, 0, "of those that have a name: {ignored:x}");
    serve.stop();
}

// docs/guarantees.md, 61.
#[test]
fn what_came_while_it_was_stopped_is_served_though_every_deadline_is_over() {
    let serve = Serve::start(&["--idle", "3", "echo=127.0.0.1:0"]);
    let clients: Vec<_> = (0..50).map(|_| serve.connect(0)).collect();
    for client in &clients {
        client.send("a");
        client.expect("a");
    }
    while_it_stands_still(&serve, || {
        clients.iter().for_each(|client| client.send("b"));
        std::thread::sleep(Duration::from_secs(4)); // longer than the deadline
    });
    clients.iter().for_each(|client| client.expect("b"));
    serve.stop();
}
