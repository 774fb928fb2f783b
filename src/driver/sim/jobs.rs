//! Jobs of a simulation: each runs after a time that the seed draws, and names have
//! the addresses that a test has given them.

use std::net::IpAddr;
use std::time::Duration;

use super::network::{Due, Network, nanos};
use super::trace::What;
use super::workers::Name;
use crate::workers::Workers;

impl Network {
    /// A pool without threads, for [`Reactor::set_workers`](crate::Reactor::set_workers).
    /// The network runs its jobs, each after a time within
    /// [`Conditions::job`](super::Conditions::job); a job may be lost or panic, as the
    /// conditions say. At most 1,024 jobs wait.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.jobs.workers.clone()
    }

    /// Gives a host name its addresses, none included, and the time that a lookup takes;
    /// the last call for a name counts. A name that was never given is not known.
    pub fn name(&mut self, host: &str, addresses: &[IpAddr], takes: Duration) {
        self.jobs.names.push(Name { host: host.into(), addresses: addresses.into(), takes });
    }

    /// Takes the jobs that the server has queued since the last call.
    pub(super) fn begin_jobs(&mut self) {
        while let Some(job) = self.jobs.workers.take() {
            let scripted = job.look_up().and_then(|look_up| self.jobs.name(look_up)).map(|name| name.takes);
            let takes = scripted.unwrap_or_else(|| {
                let (least, most) = self.conditions.job;
                Duration::from_nanos(self.rng.between(nanos(least), nanos(most)))
            });
            let place = self.jobs.under_way.len();
            self.trace.note(self.now, None, What::JobBegins, place as u64);
            self.jobs.under_way.push(Some(job));
            self.after(takes, Due::Job(place));
        }
    }

    /// Ends a job in the way that chance decides.
    pub(super) fn end_job(&mut self, place: usize) {
        let Some(job) = self.jobs.under_way[place].take() else { return };
        if self.rng.chance(self.conditions.job_lost) {
            self.faults.jobs_lost += 1;
            self.trace.note(self.now, None, What::JobIsLost, place as u64);
            return drop(job);
        }
        if self.rng.chance(self.conditions.job_panics) {
            self.faults.jobs_panicked += 1;
            self.trace.note(self.now, None, What::JobPanics, place as u64);
            return job.panic("a panic of the simulation");
        }
        self.trace.note(self.now, None, What::JobEnds, place as u64);
        let resolved = job.look_up().map(|look_up| self.jobs.resolve(look_up));
        match resolved {
            Some(resolved) => job.answer(resolved),
            None => job.run(),
        }
    }
}
