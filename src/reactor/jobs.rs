//! Ends of jobs: delivers their outcomes in phase 5, and gives a reactor its workers.

use std::sync::Arc;

use super::Reactor;
use crate::close::CloseReason;
use crate::conn::NO_SESSION;
use crate::contain::discard;
use crate::core::{Desk, Done, NO_CONNECTION, PendingJob};
use crate::driver::Driver;
use crate::id::{ConnId, Key};
use crate::printable::Printable;
use crate::workers::{Completions, JobDone, JobError, Outcome, Workers};

impl<D: Driver> Reactor<D> {
    /// Gives the reactor a pool for [`Io::offload`](crate::Io::offload) and
    /// [`Io::connect_name`](crate::Io::connect_name). Several reactors may share a pool.
    /// Another pool takes the place of the first for later jobs.
    pub fn set_workers(&mut self, workers: &Workers) {
        let completions = Arc::clone(&self.inbox) as Arc<dyn Completions>;
        self.core.jobs.desk = Some(Desk { workers: workers.clone(), completions });
    }

    /// Tells the receiver of a job its outcome. A job that is not in the table was told
    /// already, at the end of a shutdown.
    #[cold]
    pub(super) fn finish_job(&mut self, job: Key, outcome: Outcome) {
        match self.core.take_job(job) {
            Some(pending) => self.tell_job(pending, outcome),
            None => discard("the result of a job", outcome),
        }
    }

    /// Ends all jobs at the end of a shutdown, or of the reactor.
    #[cold]
    pub(super) fn abandon_jobs(&mut self) {
        for job in self.core.jobs.table.keys() {
            self.finish_job(job, Err(JobError::Over));
        }
    }

    fn tell_job(&mut self, pending: PendingJob, outcome: Outcome) {
        const WHAT: &str = "the end of a job";
        let PendingJob { service, conn, done, .. } = pending;
        self.core.stats.jobs += 1;
        match done {
            Done::Callback(done) if self.takes_callbacks(conn) => {
                let done = JobDone { done, outcome };
                self.with_session(conn, WHAT, |handler, io, session| {
                    handler.job_done(io, Some(session), done)
                });
            }
            Done::Callback(done) => {
                let done = JobDone { done, outcome };
                let told = self.callbacks.run(&mut self.core, service, NO_CONNECTION, |handler, io| {
                    handler.job_done(io, None, done)
                });
                self.warn_of_failed_job(service, told);
                self.after_callback(service, NO_CONNECTION, WHAT);
            }
            Done::LookUp(name) => self.take_addresses(conn, name, outcome),
        }
    }

    /// True when a connection is live and has a session.
    fn takes_callbacks(&self, id: ConnId) -> bool {
        self.core.conns.get(id.0).is_some_and(|conn| conn.is_live() && conn.session != NO_SESSION)
    }

    /// Logs the error of a job's end that has no connection to end. A panic is logged
    /// already.
    fn warn_of_failed_job(&mut self, service: u16, told: Result<(), CloseReason>) {
        if let Err(CloseReason::Failed(error)) = &told
            && let Some(more) = self.core.rates.jobs.allows(self.core.now())
        {
            let name = self.core.name(service);
            log::warn!("{name}: the end of a job failed: {}{more}", Printable(error));
        }
    }
}
