//! Inherited signal state: undoes what a program inherits and its children must not.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

/// What nohup(1) and shells ignore for what they start.
const IGNORED: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// Has children start with every signal as it is by default: none is blocked
/// any more, and what is ignored is from now on caught for nothing, which
/// execve(2) resets. To be called once `Signals` has seen what is ignored.
pub(crate) fn keep_from_children() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    for signal in IGNORED.into_iter().filter(|signal| ignored & 1 << (signal - 1) != 0) {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}
