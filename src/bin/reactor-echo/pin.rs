//! CPU affinity: keeps the server and the load on different CPUs.
//!
//! A server and a load that move between CPUs, or share one, make every run
//! measure the scheduler. Pinning is optional: a container may forbid it, a
//! machine may have one CPU.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A CPU by the system's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu(usize);

/// Two different CPUs this process may run on, or none where it has only one or
/// may not ask.
///
/// The first and the last of those allowed: however a machine numbers the
/// hardware threads of a core, side by side or half the range apart, these two
/// are of different cores when it has more than one.
pub(crate) fn pair() -> Option<(Cpu, Cpu)> {
    let allowed = sched_getaffinity(None)
        .inspect_err(|error| log::debug!("the allowed CPUs are unknown: {error}"))
        .ok()?;
    let pair = ends((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)));
    if pair.is_none() {
        log::info!("one CPU for the server and the load: expect lower and less steady figures");
    }
    pair
}

fn ends(mut cpus: impl DoubleEndedIterator<Item = usize>) -> Option<(Cpu, Cpu)> {
    let first = cpus.next()?;
    let last = cpus.next_back()?;
    Some((Cpu(first), Cpu(last)))
}

/// Keeps the calling thread on `cpu`, where the system allows.
pub(crate) fn current_thread(cpu: Cpu, role: &str) {
    let mut set = CpuSet::new();
    set.set(cpu.0);
    match sched_setaffinity(None, &set).map_err(io::Error::from) {
        Ok(()) => log::debug!("the {role} runs on CPU {}", cpu.0),
        Err(error) => log::info!("the {role} is not pinned to CPU {}: {error}", cpu.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_and_the_last() {
        assert_eq!(ends([2, 3, 5].into_iter()), Some((Cpu(2), Cpu(5))));
        assert_eq!(ends([0, 1].into_iter()), Some((Cpu(0), Cpu(1))));
        assert_eq!(ends([4].into_iter()), None);
        assert_eq!(ends([].into_iter()), None);
    }

    #[test]
    fn pins_a_thread_or_goes_on() {
        let Some((_, last)) = pair() else { return };
        std::thread::spawn(move || current_thread(last, "test")).join().expect("pinning does not panic");
    }
}
