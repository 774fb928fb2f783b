//! `SimWorkers`: the simulated pool of workers, and the host names that a test has
//! given addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::names::{LookUp, Resolved};
use crate::workers::{Job, Workers};

/// The most jobs that wait at once.
const MAX_WAITING: usize = 1024;

/// The simulated pool, and the names that it knows.
#[derive(Debug)]
pub(super) struct SimWorkers {
    pub(super) workers: Workers,
    /// Jobs on their way; `None` once a job has ended.
    pub(super) under_way: Vec<Option<Job>>,
    pub(super) names: Vec<Name>,
}

/// A host name, its addresses, and the time that a lookup takes.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) host: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) takes: Duration,
}

impl SimWorkers {
    pub(super) fn new() -> Self {
        let workers = Workers::without_threads(MAX_WAITING);
        Self { workers, under_way: Vec::new(), names: Vec::new() }
    }

    pub(super) fn name(&self, look_up: &LookUp) -> Option<&Name> {
        self.names.iter().rfind(|name| name.host == look_up.host)
    }

    pub(super) fn resolve(&self, look_up: &LookUp) -> Resolved {
        match self.name(look_up) {
            Some(name) => Ok(name.addresses.iter().map(|ip| SocketAddr::new(*ip, look_up.port)).collect()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "Name or service not known")),
        }
    }
}
