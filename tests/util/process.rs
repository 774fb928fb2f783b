//! What belongs to the whole process, and processes of one's own for tests
//! that change or count it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getpid, getrlimit, pidfd_getfd, pidfd_open, setrlimit,
};
use socket2::Socket;

/// Set in a process that [`alone`] or [`run_self`] started: what it is for.
const ROLE: &str = "SERVE_FOREVER_TEST_ROLE";

/// Runs `body` in a process in which no other test runs, so that it may count
/// what the process has open and lower its limits. `test` is the name of the
/// test function that calls this.
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

/// How many file descriptors the process has open. Of use where no other test
/// runs: [`alone`].
pub(crate) fn open_files() -> usize {
    // Reading the directory opens one, and is done when it is counted.
    fs::read_dir("/proc/self/fd").expect("a Linux with /proc").count() - 1
}

/// Sets the soft limit of open files; returns the one it replaces.
pub(crate) fn set_file_limit(limit: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    let after = Rlimit { current: Some(limit), maximum: before.maximum };
    setrlimit(Resource::Nofile, after).expect("not above the hard limit");
    before.current.unwrap_or(u64::MAX)
}

/// The memory of the process that is in use, in bytes.
pub(crate) fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/status").expect("a Linux with /proc");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("proc(5)");
    kilobytes << 10
}

/// The sockets of this process that are connected to `peer`: the accepted end
/// of a client's connection, got at from outside of the library.
pub(crate) fn accepted_sockets(peer: SocketAddr) -> Vec<Socket> {
    own_sockets(|socket| socket.peer_addr().is_ok_and(|address| address.as_socket() == Some(peer)))
}

/// Second descriptors of all sockets of this process that `wanted` is true of.
///
/// One search at a time: another one's second descriptors would be found too.
fn own_sockets(wanted: impl Fn(&Socket) -> bool) -> Vec<Socket> {
    static SEARCH: Mutex<()> = Mutex::new(());
    let _search = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
    let this = pidfd_open(getpid(), PidfdFlags::empty()).expect("Linux 5.3");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").expect("a Linux with /proc").flatten() {
        let is_socket =
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_string_lossy().parse();
        let (true, Ok(number)) = (is_socket, number) else { continue };
        // Another test may have closed it since.
        let Ok(socket) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
        let socket = Socket::from(socket);
        if wanted(&socket) {
            found.push(socket);
        }
    }
    found
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
    let mut found = own_sockets(|socket| {
        socket.r#type().is_ok_and(|kind| kind == socket2::Type::DGRAM)
            && socket.local_addr().is_ok_and(|address| address.as_socket() == Some(local))
    });
    assert!(!found.is_empty(), "nothing is bound to {local}");
    found.remove(0)
}
