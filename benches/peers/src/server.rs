//! A server as a child process: this program with `serve PEER`.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::Result;
use crate::load::Target;
use crate::peers::{Given, Peer};
use crate::system::process::Process;
use crate::system::{cpus, raise_file_limit};

/// How a child is told its CPU.
const CPU: &str = "PEERS_SERVER_CPU";

/// How long a server may take to listen; under valgrind it takes a while.
const START: Duration = Duration::from_secs(60);

/// Is one of the servers, until it is killed or its runner ends.
///
/// # Errors
///
/// It cannot listen, or cannot go on.
pub(crate) fn serve(peer: Peer, given: &Given) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    raise_file_limit();
    if let Some(cpu) = env::var_os(CPU).and_then(|cpu| cpu.to_str()?.parse().ok()) {
        cpus::pin(cpu)?;
    }
    // For as long as it lives.
    let ballast = vec![1_u8; given.ballast << 20].leak();
    std::hint::black_box(ballast);
    peer.serve(given)
}

/// A server that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    given: Given,
}

impl Server {
    /// Starts a server on a CPU, or where this thread may run, and waits until it
    /// listens.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) fn start(peer: Peer, given: &Given, cpu: impl Into<Option<usize>>) -> Result<Self> {
        Self::start_under(&[] as &[&OsStr], peer, given, cpu, Stdio::inherit())
    }

    /// Starts a server on the CPU of the load, which it does not interrupt: a process of
    /// the policy `SCHED_BATCH` (sched(7)) that wakes waits until the other sleeps. So
    /// what a load says at once is said at once, as if the server had a CPU of its own.
    /// Needs the program `chrt`; the server is started without it where there is none.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(crate) fn start_behind(peer: Peer, given: &Given, cpu: usize) -> Result<Self> {
        let has_chrt = Command::new("chrt").arg("--version").stdout(Stdio::null()).status().is_ok();
        let wrapper: &[&OsStr] = if has_chrt { &["chrt", "--batch", "0"].map(OsStr::new) } else { &[] };
        Self::start_under(wrapper, peer, given, cpu, Stdio::inherit())
    }

    /// Starts a server under another program, such as valgrind.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(crate) fn start_under(
        wrapper: &[impl AsRef<OsStr>],
        peer: Peer,
        given: &Given,
        cpu: impl Into<Option<usize>>,
        stderr: Stdio,
    ) -> Result<Self> {
        let program = env::current_exe()?;
        let mut command = match wrapper {
            [] => Command::new(program),
            [wrapper, arguments @ ..] => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(program);
                command
            }
        };
        command.args(["serve", &peer.name(), "--ballast", &given.ballast.to_string()]);
        if let Some(folder) = &given.folder {
            command.arg("--folder").arg(folder);
        }
        if let Some(redis) = given.redis {
            command.arg("--redis").arg(redis.to_string());
        }
        if let Some(cpu) = cpu.into() {
            command.env(CPU, cpu.to_string());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = child.stdout.take();
        // From here on it is killed whatever happens.
        let mut server = Self { child, address: SocketAddr::from(([0; 4], 0)), given: given.clone() };
        match address(stdout.ok_or("the server has no stdout")?) {
            Ok(address) => server.address = address,
            Err(error) => return Err(format!("{error}; {}", server.terminate()?.trim_end()).into()),
        }
        Ok(server)
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.address,
            process: Process::new(self.child.id()),
            folder: self.given.folder.clone(),
            other: None,
        }
    }

    /// That it is still there: one that ends under load has failed.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the server ended with {status}").into()),
        }
    }

    /// Ends it by SIGTERM and waits for it; returns what it wrote to stderr.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(crate) fn terminate(mut self) -> Result<String> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        }
        let mut text = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut { stderr }, &mut text)?;
        }
        self.child.wait()?;
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which was an error before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it says that it listens.
fn address(stdout: ChildStdout) -> Result<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let outcome = BufReader::new(stdout).read_line(&mut line).map(|_| line);
        let _ = tell.send(outcome);
    });
    let line = told.recv_timeout(START).map_err(|_| "the server did not listen in time")??;
    let address = line.trim_end().strip_prefix("listening ").ok_or("the server ended before it listened")?;
    Ok(address.parse()?)
}
