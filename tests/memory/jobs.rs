//! Jobs on workers: each is told once, and nothing of it stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use serve_forever::{
    BoxError, Config, Io, JobError, Limits, Origin, Reactor, StreamHandler, WorkerOptions, Workers,
};

use crate::counting::{share, shared};
use crate::util::{PATIENCE, eventually};

/// Jobs of the test: a million where it is compiled to be fast.
const JOBS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// Jobs under way at once.
const UNDER_WAY: usize = 512;

/// Gives one job after the other, and counts how often each was told.
struct Counter {
    told: Vec<u8>,
    given: usize,
    /// How many jobs are to be given.
    until: usize,
    under_way: usize,
    has_run: Arc<AtomicU64>,
}

impl Counter {
    fn give(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        while self.under_way < UNDER_WAY && self.given < self.until {
            let (job, has_run) = (self.given, Arc::clone(&self.has_run));
            let work = move || {
                share();
                has_run.fetch_add(1, Ordering::Relaxed);
                job
            };
            io.offload_tick(work, move |this: &mut Self, io, result: Result<usize, JobError>| {
                this.told[result?] += 1;
                this.under_way -= 1;
                this.give(io)
            })?;
            self.given += 1;
            self.under_way += 1;
        }
        Ok(())
    }
}

impl StreamHandler for Counter {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn none_of_many_jobs_is_lost_or_doubled_and_none_leaks() {
    share();
    let workers = Workers::new(WorkerOptions { threads: 2, ..WorkerOptions::default() }).expect("threads");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    reactor.set_workers(&workers);
    let has_run = Arc::<AtomicU64>::default();
    let counter =
        Counter { told: vec![0; 2 * JOBS], given: 0, until: 0, under_way: 0, has_run: Arc::clone(&has_run) };
    let service = reactor.add(counter, Limits::default()).expect("good limits");
    let handle = reactor.handle(&service);
    let mut run = |until: usize| {
        let begin = move |counter: &mut Counter, io: &mut Io<'_>| {
            counter.until = until;
            counter.give(io).expect("there is room");
        };
        handle.call(begin).expect("there is room");
        while reactor.get(&service).told[..until].last() == Some(&0) || reactor.get(&service).under_way > 0 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        assert!(reactor.get(&service).told[..until].iter().all(|told| *told == 1), "each is told once");
    };
    // What is kept is there after the first of them.
    run(JOBS / 10);
    let before = shared();
    run(JOBS / 10 + JOBS);
    assert_eq!(has_run.load(Ordering::Relaxed), (JOBS / 10 + JOBS) as u64, "each has run once");
    // A worker may not have dropped its last one yet. Queues may have grown since; what
    // stays of each job would be a byte of it at least.
    let most = before + isize::try_from(JOBS / 2).expect("a small number");
    eventually("nothing of them is left", || shared() < most);
}
