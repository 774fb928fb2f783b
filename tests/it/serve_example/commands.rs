//! Commands for many clients at once, and on a system that is in trouble.

use std::fs;
use std::process::Command;

use crate::util::program::{Program, Serve, Signal, children_of, example, wait_until};
use crate::util::{Client, noise};

/// A pipe in a directory, to hold commands up with.
struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let made = Command::new("mkfifo").arg(directory.path().join("gate")).status();
        assert!(made.expect("every system has it").success());
        Self { directory }
    }

    /// A command that waits until the gate is opened.
    fn line(&self) -> String {
        format!("cat {}; echo through\n", self.directory.path().join("gate").display())
    }

    /// Lets everybody through who waits, or comes while this is kept.
    fn open(&self) -> fs::File {
        let path = self.directory.path().join("gate");
        fs::OpenOptions::new().read(true).write(true).open(path).expect("it is there")
    }
}

/// The payload and the status of the next framed reply.
#[track_caller]
fn reply(client: &Client) -> (String, String) {
    let header = client.line();
    let parts: Vec<&str> = header.trim_end().split('|').collect();
    let ["info", length, status] = parts[..] else { panic!("{header:?} is no reply") };
    let payload = client.take(length.parse().expect("a length"));
    (String::from_utf8_lossy(&payload).into_owned(), status.to_owned())
}

// docs/guarantees.md, 39.
#[test]
fn thirty_two_commands_run_at_once_and_an_echo_beside_them_is_served() {
    let gate = Gate::new();
    let serve = Serve::start(&["--shell", "--greeting=", "command=127.0.0.1:0", "echo=127.0.0.1:0"]);
    let clients: Vec<Client> = (0..100).map(|_| serve.connect(0)).collect();
    clients.iter().for_each(|client| client.send(gate.line()));
    let running = || children_of(serve.program.pid()).len();
    wait_until("32 run", || running() == 32);
    let echo = serve.connect(1);
    let bytes = noise(100_000);
    for _ in 0..20 {
        echo.send(&bytes);
        echo.expect(&bytes);
        assert_eq!(running(), 32, "none has ended, and none may begin");
    }
    // All those who wait at the gate see it end when this is dropped; who
    // comes later waits for the next.
    let mut through = 0;
    let mut left: Vec<&Client> = clients.iter().collect();
    wait_until("all are through", || {
        drop(gate.open());
        left.retain(|client| {
            let came = client.has_something();
            through += usize::from(came);
            !came
        });
        assert!(running() <= 64, "as many again may wait to be reaped");
        left.is_empty()
    });
    assert_eq!(through, 100);
    for client in &clients {
        assert_eq!(reply(client), ("through\n".into(), "0".into()));
    }
    serve.stop();
}

// docs/guarantees.md, 37 and 34.
#[test]
fn a_command_has_three_descriptors_a_group_of_its_own_and_no_input() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    let serve = Serve::start(&[
        "--shell".to_owned(),
        "--greeting=".into(),
        "command=127.0.0.1:0".into(),
        format!("upper=unix:{path}/upper"),
        "echo=udp://127.0.0.1:0".into(),
        "chat=127.0.0.1:0".into(),
    ]);
    let _others: Vec<Client> = [0, 1, 3].repeat(10).into_iter().map(|place| serve.connect(place)).collect();
    let client = serve.connect(0);
    client.send("echo /proc/$$/fd/*\n");
    let (payload, _) = reply(&client);
    let numbers: Vec<_> = payload.split_whitespace().filter_map(|path| path.rsplit('/').next()).collect();
    // The shell opens the directory to list it.
    assert!(numbers.starts_with(&["0", "1", "2"]) && numbers.len() <= 4, "{numbers:?}");
    client.send("readlink /proc/$$/fd/0; wc -c; cut -d ' ' -f 5 /proc/$$/stat; echo $$\n");
    let (payload, status) = reply(&client);
    let lines: Vec<&str> = payload.lines().collect();
    assert_eq!((lines[0], lines[1], status.as_str()), ("/dev/null", "0", "0"));
    assert_eq!(lines[2], lines[3], "it leads its group");
    serve.stop();
}

// docs/guarantees.md, 36: with so few descriptors a command may find none.
#[test]
fn commands_that_find_no_descriptor_are_told_and_the_server_goes_on() {
    let gate = Gate::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]).arg(example("serve"));
    let arguments = ["--shell", "--greeting=welcome", "--max-connections=22", "command=127.0.0.1:0"];
    shell.args(arguments).env("RUST_LOG", "off");
    let serve = Serve::listen(Program::start(&mut shell), &arguments);
    // Whoever is greeted has its descriptor already.
    let connect = || {
        let client = serve.connect(0);
        client.expect("welcome\n");
        client
    };
    let clients: Vec<Client> = (0..20).map(|_| connect()).collect();
    let last = connect();
    clients.iter().for_each(|client| client.send(gate.line()));
    wait_until("all that can run do", || {
        let told = clients.iter().filter(|client| client.has_something()).count();
        told > 0 && told + children_of(serve.program.pid()).len() == clients.len()
    });
    last.send("echo 1\n");
    let (payload, status) = reply(&last);
    assert_eq!(status, "failed");
    assert!(payload.contains("Too many open files"), "{payload}");
    clients.into_iter().for_each(Client::reset);
    wait_until("the others are gone", || children_of(serve.program.pid()).is_empty());
    last.send("echo 1\n");
    assert_eq!(reply(&last), ("1\n".into(), "0".into()));
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
}

/// A server of any command, started by another program.
#[track_caller]
fn with_shell(command: &mut Command) -> Serve {
    let endpoint = ["command=127.0.0.1:0"];
    Serve::listen(Program::start(command.args(["--shell", "--greeting="]).args(endpoint)), &endpoint)
}

// What it is started with is not what it has to live with.
#[test]
fn the_status_of_a_command_is_known_though_sigchld_was_ignored() {
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD");
    if !command.arg("true").output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD").arg(example("serve"));
    let serve = with_shell(&mut command);
    let client = serve.connect(0);
    client.send("exit 3\ngrep -c 'SigIgn:.*1....$' /proc/self/status\n");
    assert_eq!(reply(&client), (String::new(), "3".into()));
    assert_eq!(reply(&client), ("0\n".into(), "1".into()));
}

// In a container it often is.
#[test]
fn as_the_first_process_of_its_namespace_it_reaps_what_commands_leave_behind() {
    let unshare = |command: &mut Command| {
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    };
    let mut command = Command::new("unshare");
    unshare(&mut command);
    if !command.arg("true").output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let mut command = Command::new("unshare");
    unshare(&mut command);
    command.arg(example("serve"));
    let serve = with_shell(&mut command);
    let client = serve.connect(0);
    client.send("echo $PPID\n");
    assert_eq!(reply(&client), ("1\n".into(), "0".into()));
    for _ in 0..5 {
        client.send("sleep 0.01 >/dev/null & setsid sleep 0.01 >/dev/null & exit 7\n");
        assert_eq!(reply(&client), (String::new(), "7".into()));
    }
    wait_until("nothing is left", || {
        client.send("grep -l '^Name:.sleep' /proc/[0-9]*/status | wc -l\n");
        reply(&client).0 == "0\n"
    });
}
