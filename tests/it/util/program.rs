//! The examples as programs, as their users run them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use serve_forever::Endpoint;

pub(crate) use rustix::process::Signal;

use super::Client;

/// How long a program is waited for; longer than it takes to drain.
const LONG: Duration = Duration::from_secs(120);

/// Cargo puts examples beside the directory of this test's own binary, and
/// builds them for a `cargo test` that is not narrowed to one target.
#[track_caller]
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let binary = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples").join(name);
    assert!(binary.exists(), "{} is not built: run `cargo build --examples`", binary.display());
    binary
}

/// What is not of interest: on a machine that is busy anything may be slow.
const SLOW_CALLBACKS: &str = "serve_forever::reactor::dispatch=off";

/// A command line that runs an example, with nothing on its standard input.
#[track_caller]
pub(crate) fn command(name: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(example(name));
    command.args(arguments).env("RUST_LOG", SLOW_CALLBACKS).stdin(Stdio::null());
    command
}

/// Something that can be looked at again and again, for a long time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// No such process, but for one that waits to be reaped by somebody else.
pub(crate) fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}

/// The children that a process has now.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("a Linux with /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

/// A running program: stdin and stdout are pipes unless the command says
/// otherwise, stderr is kept. It is killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: File,
}

/// How a program ended, and what it said that nobody had read.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As a shell has it: 128 + N if signal N ended it.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts it with pipes.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let errors = tempfile::tempfile().expect("a file");
        command.stderr(errors.try_clone().expect("a descriptor is free"));
        Self::with_stderr(command.stdin(Stdio::piped()).stdout(Stdio::piped()), errors)
    }

    /// Starts it with what the command has; `errors` is read for its stderr.
    #[track_caller]
    pub(crate) fn with_stderr(command: &mut Command, errors: File) -> Self {
        let mut child = command.spawn().expect("it can be started");
        let (tell, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while let Ok(1..) = stdout.read_until(b'\n', &mut line) {
                    // The test may have seen enough and be gone.
                    let _ = tell.send(String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned());
                }
            });
        }
        Self { stdin: child.stdin.take(), child, lines, errors }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line on stdout, without its end.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => line.trim_end_matches('\n').to_owned(),
            Err(why) => panic!("no more of it: {why}; it says {:?}", self.stderr()),
        }
    }

    /// The next line on stdout is this.
    #[track_caller]
    pub(crate) fn expect_line(&self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Types something.
    #[track_caller]
    pub(crate) fn type_in(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("it has one");
        stdin.write_all(text.as_ref()).expect("it reads");
    }

    /// What it has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.errors.read_at(&mut buffer, text.len() as u64) {
            text.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }

    /// Waits for its end, with its stdin at an end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        drop(self.stdin.take());
        self.wait_alone()
    }

    /// Waits for its end, and leaves its stdin open until then.
    #[track_caller]
    pub(crate) fn wait_alone(&mut self) -> Ended {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        let status = status.expect("it was just waited for");
        let stdout: Vec<String> = self.lines.iter().collect();
        let status = status.code().or_else(|| status.signal().map(|number| 128 + number)).expect("it ended");
        Ended { status, stdout: stdout.concat(), stderr: self.stderr() }
    }

    /// Sends a signal, and waits for what it leads to.
    #[track_caller]
    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, which does not take long.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    let errors = tempfile::tempfile().expect("a file");
    command.stdout(Stdio::piped()).stderr(errors.try_clone().expect("a descriptor is free"));
    Program::with_stderr(command, errors).wait()
}

/// The example `serve`, which is up.
pub(crate) struct Serve {
    pub(crate) program: Program,
    /// The service and the endpoint of each listener.
    pub(crate) listening: Vec<(String, Endpoint)>,
}

impl Serve {
    /// Runs it, and waits until it listens at every endpoint.
    #[track_caller]
    pub(crate) fn start(arguments: &[impl AsRef<str>]) -> Self {
        Self::listen(Program::start(&mut command("serve", &texts(arguments))), arguments)
    }

    /// Waits for the lines of a program that runs with these arguments.
    #[track_caller]
    pub(crate) fn listen(program: Program, arguments: &[impl AsRef<str>]) -> Self {
        let count =
            texts(arguments).iter().filter(|text| text.contains('=') && !text.starts_with('-')).count();
        let listening = (0..count).map(|_| listening(&program.line())).collect();
        Self { program, listening }
    }

    /// Where its listener of this place is.
    pub(crate) fn at(&self, place: usize) -> &Endpoint {
        &self.listening[place].1
    }

    #[track_caller]
    pub(crate) fn connect(&self, place: usize) -> Client {
        Client::connect(self.at(place))
    }

    /// It ends as it should, having said nothing more, and none of its
    /// children is left.
    #[track_caller]
    pub(crate) fn stop(self) {
        let children = children_of(self.program.pid());
        let ended = self.program.end_by(Signal::TERM);
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
        assert!(children.iter().all(|child| is_gone(*child)), "of {children:?} some are left");
    }
}

/// A line `listening SERVICE ENDPOINT`.
#[track_caller]
pub(crate) fn listening(line: &str) -> (String, Endpoint) {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let ["listening", service, endpoint] = words[..] else { panic!("{line:?} is no such line") };
    (service.to_owned(), endpoint.parse().expect("an endpoint"))
}

fn texts(arguments: &[impl AsRef<str>]) -> Vec<&str> {
    arguments.iter().map(AsRef::as_ref).collect()
}

/// A terminal: its near end, and the far end for programs.
pub(crate) struct Terminal {
    near: File,
    far: File,
    /// What has come and was not asked for yet.
    seen: String,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&near).expect("it is ours");
        unlockpt(&near).expect("it is ours");
        let name = ptsname(&near, Vec::new()).expect("it has a name").into_string().expect("of ASCII");
        let far = rustix::fs::open(
            name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
        .expect("it is unlocked");
        Self { near: near.into(), far: far.into(), seen: String::new() }
    }

    /// The far end, for a program.
    pub(crate) fn far(&self) -> Stdio {
        self.far.try_clone().expect("a descriptor is free").into()
    }

    /// Its settings, and whether the far end blocks as it did.
    pub(crate) fn state(&self) -> String {
        let stty = Command::new("stty").arg("-g").stdin(self.far()).output().expect("every system has it");
        let flags = rustix::fs::fcntl_getfl(&self.far).expect("it is open");
        format!("{} {flags:?}", String::from_utf8_lossy(&stty.stdout))
    }

    #[track_caller]
    pub(crate) fn type_in(&mut self, text: &str) {
        self.near.write_all(text.as_bytes()).expect("there is room");
    }

    /// Waits until this is to be seen; returns what came up to there.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            self.look(text);
        }
    }

    #[track_caller]
    fn look(&mut self, text: &str) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 120, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.near, PollFlags::IN)], Some(&patience));
        assert_eq!(ready, Ok(1), "waited in vain for {text:?} behind {:?}", self.seen);
        let mut buffer = [0; 4096];
        let count = (&self.near).read(&mut buffer).expect("somebody has it open");
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }

    /// All that has come and nobody asked for. Only once it cannot grow.
    pub(crate) fn rest(mut self) -> String {
        self.type_in("that is all\n"); // it is echoed, behind everything else
        let rest = self.expect("that is all\r\n");
        rest.trim_end_matches("that is all\r\n").to_owned()
    }
}
