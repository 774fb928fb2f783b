//! System calls, as strace(1) sees them at the kernel's door, so that nobody
//! counts its own: the difference of two runs, so that neither the start nor
//! the connections count. Under it every call takes so much longer that no
//! load keeps up: the server is saturated, and its batches are full.

use std::process::{Command, Stdio};

use crate::Result;
use crate::load::{Effort, Load};
use crate::peers::{Given, Peer};
use crate::server::Server;
use crate::system::cpus::Cpus;

/// Whether strace is there, and may trace.
///
/// # Errors
///
/// It is not, or may not; the reason.
pub(crate) fn available() -> std::result::Result<(), String> {
    let strace = Command::new("strace")
        .args(["-c", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match strace {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("strace -c true ended with {status}")),
        Err(error) => Err(format!("strace: {error}")),
    }
}

/// Calls for each message between `few` of them and `many`.
///
/// # Errors
///
/// The server fails, or strace does not say how many there were.
pub(crate) fn each(peer: Peer, load: Load, cpus: Cpus, effort: &Effort, few: u64, many: u64) -> Result<f64> {
    let count = |count| -> Result<(u64, u64)> {
        let wrapper = ["strace", "-f", "-c"];
        let server = Server::start_under(&wrapper, peer, &Given::default(), cpus.server, Stdio::piped())?;
        let done = load.count(count, &server.target(), effort)?;
        Ok((done, total(&server.terminate()?).ok_or("strace did not say how many calls there were")?))
    };
    let ((few, least), (many, most)) = (count(few)?, count(many)?);
    if many <= few {
        return Err(format!("both runs did {few}, so there is no difference to look at").into());
    }
    Ok((most as f64 - least as f64) / (many - few) as f64)
}

/// From the last line of the table: `100.00 SECONDS USECS CALLS [ERRORS] total`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_the_table() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    90.00    0.009000           4      2000        12 recvfrom\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.010000           4      2345        12 total\n";
        assert_eq!(total(text), Some(2345));
        assert_eq!(total(""), None);
    }
}
