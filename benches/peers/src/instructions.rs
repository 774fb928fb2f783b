//! User-space instructions, by valgrind's callgrind: the difference of two
//! runs, so that neither the start nor the end counts. Nobody else's programs
//! change them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::load::{Effort, Load};
use crate::peers::{Given, Peer};
use crate::server::Server;
use crate::system::cpus::Cpus;

/// Whether valgrind is there.
///
/// # Errors
///
/// It is not; the reason.
pub(crate) fn available() -> std::result::Result<(), String> {
    match Command::new("valgrind").arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("valgrind --version ended with {status}")),
        Err(error) => Err(format!("valgrind: {error}")),
    }
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    pub(crate) peer: Peer,
    pub(crate) load: Load,
    pub(crate) cpus: Cpus,
    pub(crate) effort: &'a Effort,
    /// Where the profile goes, if it is wanted.
    pub(crate) out: Option<PathBuf>,
}

impl Counter<'_> {
    /// Instructions for each message, line or connection between `few` of them
    /// and `many`.
    ///
    /// # Errors
    ///
    /// The server fails, or valgrind does not say how many there were.
    pub(crate) fn each(&self, few: u64, many: u64) -> Result<f64> {
        let (few, least) = self.count(few)?;
        let (many, most) = self.count(many)?;
        if many <= few {
            return Err(format!("both runs did {few}, so there is no difference to look at").into());
        }
        Ok((most as f64 - least as f64) / (many - few) as f64)
    }

    /// How much was done, and with how many instructions.
    fn count(&self, count: u64) -> Result<(u64, u64)> {
        let out = self.out.as_deref().unwrap_or_else(|| Path::new("/dev/null"));
        let out = format!("--callgrind-out-file={}", out.display());
        // A string instruction counts as one for each byte, so large copies
        // must do without (glibc(7), tunables).
        let wrapper = ["env", TUNABLES, "valgrind", "--tool=callgrind", &out];
        let server =
            Server::start_under(&wrapper, self.peer, &Given::default(), self.cpus.server, Stdio::piped())?;
        let done = self.load.count(count, &server.target(), self.effort)?;
        let text = server.terminate()?;
        let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        Ok((done, count.ok_or("valgrind did not say how many instructions there were")?))
    }
}

const TUNABLES: &str = "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824";
