//! State of the whole process, and child processes for tests that change or count
//! it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getpid, getrlimit, pidfd_getfd, pidfd_open, setrlimit,
};
use socket2::Socket;

/// Set in a process that [`alone`] or [`run_self`] started: what it is for.
const ROLE: &str = "SERVE_FOREVER_TEST_ROLE";

/// Runs `body` in a process in which no other test runs, so that it may count
/// what the process has open and lower its limits. `test` is the name of the
/// test that calls this, with its modules.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if env::var(ROLE).as_deref() == Ok(test) {
        return body();
    }
    let output = run_self(test, test, &[]).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // A name with a slip in it would run nothing and fail at nothing.
    assert!(text.contains("1 passed"), "{test} ran in a process of its own and failed");
    assert!(output.status.success());
}

/// This test program once more, to run `test` in a role of its own; `within`
/// are a program and its arguments to start it with, if any.
pub(crate) fn run_self(test: &str, role: &str, within: &[&str]) -> Command {
    let program = env::current_exe().expect("the system knows what runs");
    let mut command = match within {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

/// The role that [`run_self`] gave to this process.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Fails in a process that other tests run in as well.
#[track_caller]
pub(super) fn assert_alone() {
    assert!(role().is_some(), "this belongs to the whole process, so the test has to run `alone`");
}

/// How many file descriptors the process has open. Only [`alone`].
#[track_caller]
pub(crate) fn open_files() -> usize {
    assert_alone();
    // Reading the directory opens one, and is done when it is counted.
    fs::read_dir("/proc/self/fd").expect("a Linux with /proc").count() - 1
}

/// Sets the soft limit of open files; returns the one it replaces. Only
/// [`alone`].
#[track_caller]
pub(crate) fn set_file_limit(limit: u64) -> u64 {
    assert_alone();
    let before = getrlimit(Resource::Nofile);
    let after = Rlimit { current: Some(limit), maximum: before.maximum };
    setrlimit(Resource::Nofile, after).expect("not above the hard limit");
    before.current.unwrap_or(u64::MAX)
}

/// The memory of the process that is in use, in bytes. Only [`alone`].
#[track_caller]
pub(crate) fn resident_bytes() -> usize {
    assert_alone();
    let text = fs::read_to_string("/proc/self/status").expect("a Linux with /proc");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("proc(5)");
    kilobytes << 10
}

/// The sockets of this process that are connected to `peer`: the accepted end
/// of a client's connection, got at from outside of the library.
pub(crate) fn accepted_sockets(peer: SocketAddr) -> Vec<Socket> {
    own_sockets("/proc/self/net/tcp", |_, remote| remote == in_proc(peer))
}

/// Second descriptors of the sockets of this process that are in `table`
/// (proc(5)) with such a local and remote address.
///
/// Of no others, not even for a moment: a socket that another test closes
/// meanwhile would stay open, and its port taken.
fn own_sockets(table: &str, wanted: impl Fn(&str, &str) -> bool) -> Vec<Socket> {
    let table = fs::read_to_string(table).expect("a Linux with /proc");
    let names: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9 && wanted(fields[1], fields[2]))
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let this = pidfd_open(getpid(), PidfdFlags::empty()).expect("Linux 5.3");
    let is_wanted = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|target| names.iter().any(|name| target == Path::new(name)))
    };
    let entries = fs::read_dir("/proc/self/fd").expect("a Linux with /proc").flatten();
    let numbers = entries.filter(is_wanted).map(|entry| entry.file_name().to_string_lossy().parse());
    // All of them first: the directory would have the second descriptors too.
    let numbers: Vec<_> = numbers.filter_map(Result::ok).collect();
    let second = |number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok();
    numbers.into_iter().filter_map(second).map(Socket::from).collect()
}

/// An address as the tables of proc(5) have it.
fn in_proc(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is in another table") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// True if a program of this name can be found; if not, says that the test
/// which needs it is skipped.
pub(crate) fn have(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file());
    if !found {
        eprintln!("skipped: there is no {program} on this machine");
    }
    found
}

/// The datagram socket of this process that is bound to `local`, got at from
/// outside of the library.
#[track_caller]
pub(crate) fn bound_socket(local: SocketAddr) -> Socket {
    let mut found = own_sockets("/proc/self/net/udp", |own, _| own == in_proc(local));
    assert!(!found.is_empty(), "nothing is bound to {local}");
    found.remove(0)
}

/// Runs a client that somebody else has written, with this input; what it
/// prints.
#[track_caller]
pub(crate) fn run_client(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was found");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // Not before its output is read: both pipes would fill up.
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("the writer lives").expect("the client reads its input");
    assert!(output.status.success(), "{program} failed");
    output.stdout
}
