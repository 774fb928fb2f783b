//! The server's CPU and the load's.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the two run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Cpus {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cpus {
    /// The first CPU that this process may run on for the server and the
    /// second for the load; one for both where there is no other.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        let server = cpus.next().ok_or_else(|| io::Error::other("there is no CPU to run on"))?;
        Ok(Self { server, load: cpus.next().unwrap_or(server) })
    }

    /// Whether the load has a CPU to itself, and may spin on it.
    pub(crate) const fn are_two(self) -> bool {
        self.server != self.load
    }
}

/// Lets this thread, and those that it starts, run on both.
pub(crate) fn roam(cpus: Cpus) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpus.server);
    set.set(cpus.load);
    Ok(sched_setaffinity(None, &set)?)
}

/// Keeps this thread, and those that it starts, on one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
