//! The example `serve`, as a child of this program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Set in the child.
pub(crate) const ROLE: &str = "SERVE_FOREVER_BENCH_SERVES";

/// See the module. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) echo: SocketAddr,
    pub(crate) chat: SocketAddr,
    pub(crate) upload: SocketAddr,
    pub(crate) command: SocketAddr,
}

impl Server {
    /// Starts it, with a place for files of this size.
    pub(crate) fn start(directory: &Path, size: u64) -> Self {
        let services = ["echo", "chat", "upload", "command"];
        let mut command = Command::new(std::env::current_exe().expect("the system knows what runs"));
        command.env(ROLE, "").stdin(Stdio::null()).stdout(Stdio::piped());
        command.args(["--quiet", "--shell", "--greeting="]);
        command.arg(format!("--max-upload={size}")).arg("--dir").arg(directory);
        command.args(services.map(|service| format!("{service}=127.0.0.1:0")));
        let mut child = command.spawn().expect("this program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let [echo, chat, upload, command] = services.map(|service| address(&mut lines, service));
        Self { child, echo, chat, upload, command }
    }

    /// The CPU time that it has had.
    pub(crate) fn cpu(&self) -> Duration {
        // In nanoseconds, of its only thread; 0 where there is no such file.
        let path = format!("/proc/{}/schedstat", self.child.id());
        let times = fs::read_to_string(path).unwrap_or_default();
        let nanos = times.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    /// Ends it in order; how much memory it had at most, in KiB.
    pub(crate) fn stop(mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = most.and_then(|most| most.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is ours");
        assert!(self.child.wait().expect("it is ours").success(), "the server does not end in order");
        most
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended if it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it says that it serves this.
fn address(lines: &mut BufReader<ChildStdout>, service: &str) -> SocketAddr {
    let mut line = String::new();
    lines.read_line(&mut line).expect("it is a pipe");
    let address = line.trim_end().strip_prefix(&format!("listening {service} tcp://"));
    address.and_then(|address| address.parse().ok()).expect("the server says where it listens")
}
