//! Facts of the system: its CPUs, the use of a process, the limit of open files.

pub(crate) mod cpus;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod slow_disk;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open besides connections, with room.
const OTHERS: u64 = 64;

/// Raises the soft limit on open files to the hard one; returns how many
/// connections fit.
pub(crate) fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where raising is forbidden, the soft limit counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}
