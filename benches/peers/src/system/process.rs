//! The resources that a process uses, from /proc (proc(5)).

use std::time::Duration;
use std::{fs, io};

use rustix::param::clock_ticks_per_second;

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The CPU time of all its threads, and of the children that it has waited
    /// for. Threads that ended are not counted; none of the servers ends one
    /// while it serves.
    ///
    /// # Errors
    ///
    /// It has ended, or the system keeps no such account.
    pub(crate) fn cpu(self) -> io::Result<CpuTime> {
        let mut total = CpuTime::default();
        for thread in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = match fs::read_to_string(thread?.path().join("schedstat")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // it has just ended
                text => text?,
            };
            let mut fields = text.split_whitespace().map(|nanos| nanos.parse().map(Duration::from_nanos));
            let (Some(Ok(used)), Some(Ok(waited))) = (fields.next(), fields.next()) else {
                return Err(unreadable("schedstat"));
            };
            total = CpuTime { used: total.used + used, waited: total.waited + waited };
        }
        total.used += self.children()?;
        Ok(total)
    }

    /// The CPU time of children that it has waited for, in steps of 10 ms.
    fn children(self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, in brackets, may hold anything; cutime and cstime are
        // fields 16 and 17, the 14th and 15th behind it.
        let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
        let mut ticks = behind.split_whitespace().skip(13).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            return Err(unreadable("stat"));
        };
        let seconds = (user + system) as f64 / clock_ticks_per_second() as f64;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Its resident memory in bytes, counted page by page: the figure of
    /// `status` may be some hundred pages behind.
    ///
    /// # Errors
    ///
    /// It has ended, or may not be looked at.
    pub(crate) fn resident(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| unreadable("smaps_rollup"))
    }
}

/// The time on a CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Spent on it.
    pub(crate) used: Duration,
    /// Spent in waiting for it, ready to go on, while others had it.
    pub(crate) waited: Duration,
}

impl CpuTime {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::other(format!("{what} of the process is not as proc(5) says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let this = Process::new(std::process::id());
        assert!(this.resident().expect("it may look at itself") > 100 << 10);
        let before = this.cpu().expect("it may look at itself");
        while this.cpu().expect("it may look at itself") == before {}
    }

    #[test]
    fn children_count_when_they_are_waited_for() {
        let this = Process::new(std::process::id());
        let before = this.children().expect("it may look at itself");
        while this.children().expect("it may look at itself") == before {
            let count = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
            let status = std::process::Command::new("sh").args(["-c", count]).status();
            assert!(status.expect("there is a shell").success());
        }
    }

    #[test]
    fn one_that_is_not_there_is_an_error() {
        let nobody = Process::new(u32::MAX);
        assert!(nobody.cpu().is_err() && nobody.resident().is_err());
    }
}
