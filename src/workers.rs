//! `Workers`: a pool of threads for work that would block a loop, and the jobs that
//! they run (feature `workers`).

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::contain::{caught, discard, message};
use crate::error::{Error, Result};
use crate::id::Key;
use crate::names::LookUp;
#[cfg(feature = "sim")]
use crate::names::Resolved;

/// The options of [`Workers`].
///
/// Always end with `..WorkerOptions::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The name of the threads; a number follows it. Linux shows 15 bytes of a name
    /// (pthread_setname_np(3)). Default `"worker"`.
    pub name: String,
    /// The number of threads, and so of jobs that run at once. Default: as many as
    /// [`std::thread::available_parallelism`] says, at most 8.
    pub threads: usize,
    /// Jobs that may wait for a thread. With more,
    /// [`Io::offload`](crate::Io::offload) is refused. Default 1,024.
    pub max_waiting: usize,
    /// The nice value of the threads (sched(7)), 0 to 19: how far they stand behind
    /// whatever else wants the processor, the loop above all. Jobs that compute, on as
    /// many processors as there are loops and threads together, or fewer, keep the loop
    /// from its processor for milliseconds; with 10 they hardly do. It is added to the
    /// nice value of the process. Linux has one for each thread (setpriority(2));
    /// elsewhere this is ignored. Default 0.
    pub nice: u8,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        Self { name: "worker".into(), threads, max_waiting: 1024, nice: 0 }
    }
}

/// A pool of threads that run jobs for reactors: password hashes, reads of files,
/// lookups of names. The program makes the pool and gives it to one reactor or to
/// several ([`Reactor::set_workers`](crate::Reactor::set_workers)); the library itself
/// starts no thread. A handler gives it work by [`Io::offload`](crate::Io::offload).
///
/// A `Workers` is a handle: its clones, and the reactors, share one pool. The last
/// handle ends the pool as it drops: jobs that have not begun are dropped
/// ([`JobError::Dropped`]), those that run are waited for, and the threads are joined.
/// So that drop blocks for as long as the longest running job, unless a job itself
/// holds the last handle: then its own thread is not joined.
///
/// A panic of a job ends that job alone ([`JobError::Panicked`]).
///
/// ```
/// use serve_forever::{Config, Reactor, WorkerOptions, Workers};
///
/// let workers = Workers::new(WorkerOptions { threads: 2, ..WorkerOptions::default() })?;
/// let mut reactor = Reactor::new(Config::default())?;
/// reactor.set_workers(&workers);
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone)]
pub struct Workers {
    pool: Arc<Pool>,
}

/// The largest nice value (setpriority(2)).
const MOST_NICE: u8 = 19;

/// Adds to the nice value of the calling thread. A higher one needs no privilege.
fn stand_behind(nice: u8) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if nice > 0 {
        use rustix::process::{getpriority_process, setpriority_process};

        // Without a process, both mean the calling thread there.
        let before = getpriority_process(None).unwrap_or(0);
        let after = (before + i32::from(nice)).min(i32::from(MOST_NICE));
        if let Err(error) = setpriority_process(None, after) {
            log::warn!("the nice value {after} of a worker: {error}");
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = nice;
}

/// The error of a job that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// The job panicked; with the text of the panic.
    Panicked(String),
    /// The connection that the job was for had ended before the job began, so it did
    /// not run.
    Cancelled,
    /// The pool was dropped before the job began, so it did not run.
    Dropped,
    /// The reactor has come to the end of its shutdown, or is being dropped, and waits
    /// no longer. The job may have run, or may run still.
    Over,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "the job panicked: {text}"),
            Self::Cancelled => f.write_str("the job did not run: its connection had ended"),
            Self::Dropped => f.write_str("the job did not run: its workers were dropped"),
            Self::Over => f.write_str("the reactor ended before the job did"),
        }
    }
}

impl std::error::Error for JobError {}

/// The result of a job, its type erased.
pub(crate) type Outcome = std::result::Result<Box<dyn Any + Send>, JobError>;

/// The end of a job on its way to the handler that gave it: see
/// [`StreamHandler::job_done`](crate::StreamHandler::job_done).
#[derive(Debug)]
pub struct JobDone {
    pub(crate) done: Box<dyn Any>,
    pub(crate) outcome: Outcome,
}

/// The place to which workers report the outcomes of jobs.
pub(crate) trait Completions: Send + Sync {
    fn complete(&self, job: Key, outcome: Outcome);
}

/// The work of a job.
pub(crate) enum Work {
    /// The program's own.
    Run(Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>),
    /// A lookup of a host name, which a simulation answers by itself.
    LookUp(LookUp),
}

/// A job on its way through a pool. It reports exactly one outcome: at the latest as
/// it drops.
pub(crate) struct Job {
    id: Key,
    work: Option<Work>,
    /// `None` once the outcome is reported.
    reports_to: Option<Arc<dyn Completions>>,
    is_cancelled: Arc<AtomicBool>,
}

impl Job {
    pub(crate) fn new(
        id: Key,
        work: Work,
        reports_to: Arc<dyn Completions>,
        is_cancelled: Arc<AtomicBool>,
    ) -> Self {
        Self { id, work: Some(work), reports_to: Some(reports_to), is_cancelled }
    }

    /// Runs the job on this thread, unless it was cancelled.
    pub(crate) fn run(mut self) {
        if self.is_cancelled.load(Ordering::Acquire) {
            return self.report(Err(JobError::Cancelled));
        }
        let outcome = match self.work.take() {
            Some(Work::Run(work)) => caught(work).map_err(|payload| JobError::Panicked(message(payload))),
            Some(Work::LookUp(name)) => Ok(Box::new(name.ask_system()) as Box<dyn Any + Send>),
            None => return,
        };
        self.report(outcome);
    }

    /// The host name to look up, if that is the job.
    #[cfg(feature = "sim")]
    pub(crate) fn look_up(&self) -> Option<&LookUp> {
        match &self.work {
            Some(Work::LookUp(name)) => Some(name),
            _ => None,
        }
    }

    /// Ends a lookup with these addresses.
    #[cfg(feature = "sim")]
    pub(crate) fn answer(mut self, addresses: Resolved) {
        self.work = None;
        self.report(Ok(Box::new(addresses)));
    }

    /// Ends the job as though it had panicked, without running it.
    #[cfg(feature = "sim")]
    pub(crate) fn panic(mut self, text: &str) {
        self.report(Err(JobError::Panicked(text.into())));
    }

    fn report(&mut self, outcome: Outcome) {
        if let Some(reports_to) = self.reports_to.take() {
            reports_to.complete(self.id, outcome);
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.report(Err(JobError::Dropped));
        if let Some(Work::Run(work)) = self.work.take() {
            discard("a job that was not run", work);
        }
    }
}

impl Workers {
    /// Starts the threads of a pool.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if `threads` or `max_waiting` is 0, `nice` is over 19 or the name
    /// holds a NUL, [`Error::System`] if the system starts no more threads.
    pub fn new(options: WorkerOptions) -> Result<Self> {
        let WorkerOptions { name, threads, max_waiting, nice } = options;
        let refused = |reason: &str| Err(Error::Limits { reason: reason.into() });
        if threads == 0 {
            return refused("WorkerOptions::threads is 0, and no job would ever run; give 1 or more");
        }
        if max_waiting == 0 {
            return refused(
                "WorkerOptions::max_waiting is 0, and every job would be refused; give 1 or more",
            );
        }
        if nice > MOST_NICE {
            return refused("WorkerOptions::nice is over 19, the largest nice value; give 0 to 19");
        }
        if name.contains('\0') {
            return refused("WorkerOptions::name holds a NUL; give a name without one");
        }
        let queue = Arc::new(Queue::new(max_waiting));
        // What has started ends again if the next one does not start.
        let mut pool = Pool { queue, threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let queue = Arc::clone(&pool.queue);
            let builder = thread::Builder::new().name(format!("{name}-{number}"));
            let serve = move || {
                stand_behind(nice);
                queue.serve();
            };
            pool.threads.push(builder.spawn(serve).map_err(starting)?);
        }
        Ok(Self { pool: Arc::new(pool) })
    }

    /// A pool without threads: the owner takes its jobs and runs them.
    #[cfg(feature = "sim")]
    pub(crate) fn without_threads(max_waiting: usize) -> Self {
        Self { pool: Arc::new(Pool { queue: Arc::new(Queue::new(max_waiting)), threads: Vec::new() }) }
    }

    /// The next job of a pool without threads.
    #[cfg(feature = "sim")]
    pub(crate) fn take(&self) -> Option<Job> {
        self.pool.queue.lock().jobs.pop_front()
    }

    /// Whether jobs wait in a pool without threads.
    #[cfg(feature = "sim")]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.pool.queue.lock().jobs.is_empty()
    }

    /// Queues a job; gives it back if as many wait as may.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        self.pool.queue.push(job)
    }

    /// The number of jobs that may wait.
    pub(crate) fn max_waiting(&self) -> usize {
        self.pool.queue.max_waiting
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.pool.threads.len())
            .field("waiting", &self.pool.queue.lock().jobs.len())
            .finish_non_exhaustive()
    }
}

fn starting(source: io::Error) -> Error {
    Error::System { what: "starting a worker thread", source }
}

/// The threads of a pool and their queue.
struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Dropping a job reports it, and may run code of the program: not under the lock.
        drop(self.queue.close());
        for thread in self.threads.drain(..) {
            if thread.thread().id() != thread::current().id() {
                // A worker thread contains the panics of its jobs.
                let _ = thread.join();
            }
        }
    }
}

/// The jobs that wait for a thread.
struct Queue {
    state: Mutex<State>,
    /// Signalled for each job, and for all threads at the end.
    changed: Condvar,
    max_waiting: usize,
}

struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    const fn new(max_waiting: usize) -> Self {
        let state = State { jobs: VecDeque::new(), is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_waiting }
    }

    fn push(&self, job: Job) -> Result<(), Job> {
        {
            let mut state = self.lock();
            if state.is_closed || state.jobs.len() >= self.max_waiting {
                return Err(job);
            }
            state.jobs.push_back(job);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Runs jobs until the queue is closed: the body of each thread.
    fn serve(&self) {
        while let Some(job) = self.next() {
            job.run();
        }
    }

    fn next(&self) -> Option<Job> {
        let is_idle = |state: &mut State| state.jobs.is_empty() && !state.is_closed;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).jobs.pop_front()
    }

    /// Ends the threads; returns the jobs that have not begun.
    fn close(&self) -> VecDeque<Job> {
        let jobs = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.changed.notify_all();
        jobs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock can panic halfway, so a poisoned state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Sends the number and the outcome of each job through a channel.
    struct Reports(Mutex<mpsc::Sender<(u32, Outcome)>>);

    impl Completions for Reports {
        fn complete(&self, job: Key, outcome: Outcome) {
            let sender = self.0.lock().expect("no panic under the lock");
            sender.send((job.slot, outcome)).expect("the test waits");
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    struct Desk {
        reports: Arc<Reports>,
        outcomes: mpsc::Receiver<(u32, Outcome)>,
    }

    impl Desk {
        fn new() -> Self {
            let (sender, outcomes) = mpsc::channel();
            Self { reports: Arc::new(Reports(Mutex::new(sender))), outcomes }
        }

        fn job(&self, number: u32, work: impl FnOnce() -> u32 + Send + 'static) -> Job {
            self.cancellable(number, work, Arc::default())
        }

        fn cancellable(
            &self,
            number: u32,
            work: impl FnOnce() -> u32 + Send + 'static,
            is_cancelled: Arc<AtomicBool>,
        ) -> Job {
            let work = Work::Run(Box::new(move || Box::new(work()) as Box<dyn Any + Send>));
            let id = Key { slot: number, generation: 1 };
            Job::new(id, work, Arc::clone(&self.reports) as Arc<dyn Completions>, is_cancelled)
        }

        fn next(&self) -> (u32, Result<u32, JobError>) {
            let (number, outcome) = self.outcomes.recv_timeout(LONG).expect("an outcome");
            (number, outcome.map(|value| *value.downcast().expect("a number")))
        }
    }

    fn workers(threads: usize, max_waiting: usize) -> Workers {
        let options = WorkerOptions { threads, max_waiting, ..WorkerOptions::default() };
        Workers::new(options).expect("threads")
    }

    #[test]
    fn each_job_reports_its_result_or_its_panic_once() {
        let (desk, workers) = (Desk::new(), workers(1, 8));
        workers.submit(desk.job(1, || 10)).map_err(drop).expect("room");
        workers.submit(desk.job(2, || panic!("planted"))).map_err(drop).expect("room");
        workers.submit(desk.job(3, || 30)).map_err(drop).expect("room");
        assert_eq!(desk.next(), (1, Ok(10)));
        assert_eq!(desk.next(), (2, Err(JobError::Panicked("planted".into()))));
        assert_eq!(desk.next(), (3, Ok(30)));
        drop(workers);
        drop(desk.reports);
        assert!(desk.outcomes.recv_timeout(LONG).is_err(), "there is nothing more");
    }

    #[test]
    fn jobs_over_the_limit_come_back_and_those_that_wait_at_the_end_are_reported() {
        let (desk, workers) = (Desk::new(), workers(1, 2));
        let (begun, has_begun) = mpsc::channel();
        let (let_go, goes_on) = mpsc::channel::<()>();
        let slow = desk.job(1, move || {
            begun.send(()).expect("the test waits");
            goes_on.recv().map_or(1, |()| 2)
        });
        workers.submit(slow).map_err(drop).expect("room");
        has_begun.recv_timeout(LONG).expect("it begins");
        workers.submit(desk.job(2, || 0)).map_err(drop).expect("room");
        workers.submit(desk.job(3, || 0)).map_err(drop).expect("room");
        let refused = workers.submit(desk.job(4, || 0)).expect_err("two wait already");
        drop(refused);
        assert_eq!(desk.next(), (4, Err(JobError::Dropped)));
        // The drop waits for the job that runs.
        let ending = thread::spawn(move || drop(workers));
        assert_eq!(desk.next(), (2, Err(JobError::Dropped)));
        assert_eq!(desk.next(), (3, Err(JobError::Dropped)));
        assert!(!ending.is_finished());
        let_go.send(()).expect("it waits");
        assert_eq!(desk.next(), (1, Ok(2)));
        ending.join().expect("no panic");
    }

    #[test]
    fn a_cancelled_job_does_not_run() {
        let (desk, workers) = (Desk::new(), workers(2, 8));
        let is_cancelled = Arc::new(AtomicBool::new(true));
        let job = desk.cancellable(7, || unreachable!("it is cancelled"), is_cancelled);
        workers.submit(job).map_err(drop).expect("room");
        assert_eq!(desk.next(), (7, Err(JobError::Cancelled)));
    }

    #[test]
    fn a_job_may_hold_the_last_handle_of_its_own_pool() {
        let (desk, workers) = (Desk::new(), workers(1, 8));
        let (let_go, goes_on) = mpsc::channel::<()>();
        let last = workers.clone();
        let job = desk.job(1, move || {
            goes_on.recv().expect("the test lets it go");
            drop(last);
            1
        });
        workers.submit(job).map_err(drop).expect("room");
        drop(workers);
        let_go.send(()).expect("it waits");
        assert_eq!(desk.next(), (1, Ok(1)));
    }

    #[test]
    fn options_that_cannot_work_are_refused_with_what_would_be_right() {
        let refused = |options| Workers::new(options).expect_err("it cannot work").to_string();
        let options = WorkerOptions { threads: 0, ..WorkerOptions::default() };
        assert!(refused(options).contains("WorkerOptions::threads is 0"));
        let options = WorkerOptions { max_waiting: 0, ..WorkerOptions::default() };
        assert!(refused(options).contains("WorkerOptions::max_waiting is 0"));
        let options = WorkerOptions { name: "a\0b".into(), ..WorkerOptions::default() };
        assert!(refused(options).contains("NUL"));
        let options = WorkerOptions { nice: 20, ..WorkerOptions::default() };
        assert!(refused(options).contains("WorkerOptions::nice is over 19"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_are_as_nice_as_was_asked_and_the_program_stays_as_it_was() {
        let own = || rustix::process::getpriority_process(None).expect("a nice value");
        let before = own();
        for nice in [0, 7] {
            let options = WorkerOptions { threads: 1, nice, ..WorkerOptions::default() };
            let (desk, workers) = (Desk::new(), Workers::new(options).expect("threads"));
            let job = desk.job(1, move || u32::try_from(own() - before).expect("not less"));
            workers.submit(job).map_err(drop).expect("room");
            // A process that is nice itself may be near the largest already.
            let expected = i32::from(nice).min(19 - before);
            assert_eq!(desk.next(), (1, Ok(u32::try_from(expected).expect("not less"))));
        }
        assert_eq!(own(), before);
    }
}
