//! The inbox between threads, in every order that a model checker finds.
//!
//! It is compiled into this test with the checker's primitives, and so has to
//! import nothing but these ([`sync`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use inbox::{Inbox, Refused};
use loom::sync::Notify;
use loom::thread;

#[path = "../src/inbox.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library uses all of it")]
mod inbox;

/// What the library has in `src/sync.rs`.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// Every order in which no more than three times a thread is interrupted that
/// could go on; that finds what all orders find, in less time.
fn in_every_order(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

/// What the loop sleeps on: one ring wakes it, now or as soon as it sleeps.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// A loop's side: the bell, and what came out of the inbox.
struct Loop {
    bell: Arc<Bell>,
    inbox: Arc<Inbox<u32>>,
    got: VecDeque<u32>,
    shutdown: Option<Duration>,
}

impl Loop {
    fn new(max_calls: usize) -> Self {
        let bell = Arc::new(Bell(Notify::new()));
        let inbox = Arc::new(Inbox::new(Waker::from(Arc::clone(&bell)), max_calls));
        Self { bell, inbox, got: VecDeque::new(), shutdown: None }
    }

    fn call(&self, number: u32) -> thread::JoinHandle<()> {
        let inbox = Arc::clone(&self.inbox);
        thread::spawn(move || inbox.call(number).expect("there is room, and somebody"))
    }

    /// A turn, which sleeps until it is woken; the checker reports it if nobody
    /// will.
    fn turn(&mut self) {
        self.bell.0.wait();
        if self.inbox.is_waiting() {
            let mut calls = VecDeque::new();
            let wish = self.inbox.take(&mut calls);
            self.shutdown = self.shutdown.or(wish);
            self.got.append(&mut calls);
        }
    }
}

#[test]
fn a_call_that_is_left_wakes_the_loop_whatever_it_does_just_then() {
    in_every_order(|| {
        let mut here = Loop::new(8);
        let callers = [here.call(1), here.call(2)];
        while here.got.len() < 2 {
            here.turn();
        }
        callers.into_iter().for_each(|caller| caller.join().expect("it called"));
        here.got.make_contiguous().sort_unstable();
        assert_eq!(here.got, [1, 2]);
    });
}

#[test]
fn a_wish_to_shut_down_is_heard_beside_a_call() {
    in_every_order(|| {
        let mut here = Loop::new(8);
        let caller = here.call(1);
        let inbox = Arc::clone(&here.inbox);
        let ending = thread::spawn(move || inbox.shutdown(Duration::ZERO));
        while here.got.is_empty() || here.shutdown.is_none() {
            here.turn();
        }
        caller.join().expect("it called");
        ending.join().expect("it wished");
    });
}

#[test]
fn a_call_is_refused_or_dropped_by_the_end_and_never_left_behind() {
    in_every_order(|| {
        let here = Loop::new(1);
        let inbox = Arc::clone(&here.inbox);
        let caller = thread::spawn(move || inbox.call(1));
        here.inbox.close();
        let outcome = caller.join().expect("it called");
        assert!(matches!(outcome, Ok(()) | Err(Refused::Gone)), "{outcome:?}");
        let mut calls = VecDeque::new();
        here.inbox.take(&mut calls);
        assert_eq!(calls.len(), 0);
        assert_eq!(here.inbox.call(2), Err(Refused::Gone));
    });
}

#[test]
fn a_completion_has_its_place_beside_as_many_calls_as_may_wait() {
    in_every_order(|| {
        let mut here = Loop::new(1);
        let caller = here.call(1);
        let inbox = Arc::clone(&here.inbox);
        let worker = thread::spawn(move || inbox.complete(2).expect("somebody waits for it"));
        while here.got.len() < 2 {
            here.turn();
        }
        caller.join().expect("it called");
        worker.join().expect("it completed");
        here.got.make_contiguous().sort_unstable();
        assert_eq!(here.got, [1, 2]);
        here.inbox.call(3).expect("the loop has taken both");
        here.inbox.close();
        assert_eq!(here.inbox.complete(4), Err(4), "the reactor is gone");
    });
}
