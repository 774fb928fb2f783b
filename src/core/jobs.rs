//! Jobs that handlers have given to workers, until their end is told.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Core, NO_CONNECTION};
use crate::error::{Error, Result};
use crate::id::{ConnId, Key, Table};
use crate::layer::ContainedLayer;
use crate::life::Flags;
use crate::names::{LookUp, Target};
use crate::workers::{Completions, Job, Work, Workers};

/// The receiver of a job's outcome.
pub(crate) enum Done {
    /// A callback, typed as its handler knows it.
    Callback(Box<dyn Any>),
    /// The connection that waits for the addresses of this name.
    LookUp(LookUp),
}

/// The workers of a reactor, and the place to which they report.
pub(crate) struct Desk {
    pub(crate) workers: Workers,
    pub(crate) completions: Arc<dyn Completions>,
}

/// A job that is with the workers.
pub(crate) struct PendingJob {
    pub(crate) service: u16,
    /// The connection that the job is for, or [`NO_CONNECTION`].
    pub(crate) conn: ConnId,
    pub(crate) done: Done,
    is_cancelled: Arc<AtomicBool>,
}

/// The jobs of a reactor.
pub(crate) struct Jobs {
    pub(crate) desk: Option<Desk>,
    pub(crate) table: Table<PendingJob>,
}

impl Jobs {
    pub(crate) const fn new() -> Self {
        Self { desk: None, table: Table::new() }
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("pending", &self.table.len()).finish_non_exhaustive()
    }
}

impl Core {
    /// Gives work of a service to the workers; `conn` waits for it, if there is one.
    pub(crate) fn offload(&mut self, service: u16, conn: ConnId, work: Work, done: Done) -> Result<()> {
        let limit = self.config.max_jobs;
        if self.is_over {
            return Err(Error::Over);
        }
        let Some(desk) = &self.jobs.desk else { return Err(Error::NoWorkers) };
        if self.jobs.table.len() >= limit {
            return Err(Error::Full { what: "jobs", field: Some("Config::max_jobs"), limit });
        }
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let pending = PendingJob { service, conn, done, is_cancelled: Arc::clone(&is_cancelled) };
        let id = self.jobs.table.insert(pending);
        let job = Job::new(id, work, Arc::clone(&desk.completions), is_cancelled);
        if let Err(refused) = desk.workers.submit(job) {
            let limit = desk.workers.max_waiting();
            // Its report finds no such job.
            self.jobs.table.remove(id);
            drop(refused);
            return Err(Error::Full {
                what: "jobs that wait for a worker",
                field: Some("WorkerOptions::max_waiting"),
                limit,
            });
        }
        if let Some(conn) = self.conns.get_mut(conn.0) {
            conn.set(Flags::HAS_JOBS);
            conn.extras().jobs += 1;
        }
        Ok(())
    }

    /// Asks for a connection to a host name and port; an address needs no lookup.
    pub(crate) fn connect_name(
        &mut self,
        service: u16,
        name: &str,
        tag: u64,
        layer: Option<ContainedLayer>,
    ) -> Result<ConnId> {
        let name = match name.parse()? {
            Target::Endpoint(endpoint) => return self.connect(service, endpoint, tag, layer),
            Target::Name(name) => name,
        };
        self.room_for(service)?;
        let id = self.insert_outbound(service, tag, layer);
        if let Err(error) = self.offload(service, id, Work::LookUp(name.clone()), Done::LookUp(name)) {
            // Nobody has seen the id.
            self.free(id);
            return Err(error);
        }
        self.watch_deadlines(id);
        Ok(id)
    }

    /// Takes a job whose outcome has come; its connection no longer waits for it.
    pub(crate) fn take_job(&mut self, job: Key) -> Option<PendingJob> {
        let pending = self.jobs.table.remove(job)?;
        if let Some(conn) = self.conns.get_mut(pending.conn.0) {
            let jobs = &mut conn.extras().jobs;
            *jobs -= 1;
            if *jobs == 0 {
                conn.unset(Flags::HAS_JOBS);
                if conn.is_live() {
                    self.is_busy_no_longer(pending.conn);
                }
            }
        }
        Some(pending)
    }

    /// Cancels the jobs of a connection that ends: those that have not begun will not
    /// run. Each is told all the same when the workers have come to it.
    pub(crate) fn cancel_jobs(&mut self, id: ConnId) {
        if self.conns.get(id.0).is_some_and(|conn| conn.has(Flags::HAS_JOBS)) {
            for pending in self.jobs.table.values_mut().filter(|pending| pending.conn == id) {
                pending.is_cancelled.store(true, Ordering::Release);
                pending.conn = NO_CONNECTION;
            }
            if let Some(conn) = self.conns.get_mut(id.0) {
                conn.extras().jobs = 0;
                conn.unset(Flags::HAS_JOBS);
            }
        }
    }
}
