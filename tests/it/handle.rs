//! The way in from other threads.

use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{
    AskError, BoxError, CloseReason, Config, Handle, Io, Limits, Origin, Reactor, Refused, Service,
    StreamHandler, TimerId,
};

use crate::util::{PATIENCE, SOON, Server, listen_anywhere};

/// A handler that can be on no other thread than its own.
#[derive(Default)]
struct Homebody {
    numbers: Rc<std::cell::RefCell<Vec<(usize, usize)>>>,
}

impl StreamHandler for Homebody {
    type Session = Rc<()>;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Rc<()>, BoxError> {
        Ok(Rc::new(()))
    }

    fn data(&mut self, _: &mut Io<'_>, _: &mut Rc<()>, _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

fn reactor(config: Config) -> (Reactor, Service<Homebody>) {
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let service = reactor.add(Homebody::default(), Limits::default()).expect("good limits");
    (reactor, service)
}

#[test]
fn a_handle_goes_to_any_thread_though_its_handler_does_not() {
    fn goes_anywhere<T: Send + Sync + Clone + 'static>(_: &T) {}
    let (reactor, service) = reactor(Config::default());
    let handle: Handle<Homebody> = reactor.handle(&service);
    goes_anywhere(&handle);
}

#[test]
fn calls_of_one_thread_run_in_order_and_none_is_lost() {
    const THREADS: usize = 4;
    const CALLS: usize = 5000;
    let (mut reactor, service) = reactor(Config::default());
    let handle = reactor.handle(&service);
    let callers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || {
                for number in 0..CALLS {
                    // Waiting for room is the caller's own affair.
                    while let Err(refused) =
                        handle.call(move |home, _| home.numbers.borrow_mut().push((thread, number)))
                    {
                        assert_eq!(refused, Refused::Full);
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let ending = thread::spawn(move || {
        for caller in callers {
            caller.join().expect("every call was taken");
        }
        handle.shutdown(Duration::ZERO);
    });
    reactor.serve_forever().expect("the loop runs");
    ending.join().expect("it ends");
    let numbers = reactor.get_mut(&service).numbers.borrow().clone();
    assert_eq!(reactor.stats().calls, (THREADS * CALLS) as u64);
    for thread in 0..THREADS {
        let of_one = numbers.iter().filter(|(from, _)| *from == thread).map(|(_, number)| *number);
        assert!(of_one.eq(0..CALLS), "the calls of thread {thread} are all there, in order");
    }
}

#[test]
fn calls_beyond_the_limit_are_refused_until_the_loop_has_taken_them() {
    let (mut reactor, service) = reactor(Config { max_calls: 3, ..Config::default() });
    let handle = reactor.handle(&service);
    for _ in 0..3 {
        assert_eq!(handle.call(|_, _| ()), Ok(()));
    }
    // What a refused call holds is dropped at once.
    let (held, watch) = mpsc::channel::<()>();
    assert_eq!(handle.call(move |_, _| drop(held)), Err(Refused::Full));
    assert_eq!(watch.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert_eq!(handle.call(|_, _| ()), Ok(()));
    assert_eq!(reactor.stats().calls, 3);
}

#[test]
fn when_the_reactor_is_gone_so_is_the_way_in() {
    let (reactor, service) = reactor(Config::default());
    let handle = reactor.handle(&service);
    let (held, watch) = mpsc::channel::<()>();
    assert_eq!(handle.call(move |_, _| drop(held)), Ok(()));
    drop(reactor);
    assert_eq!(watch.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the call was dropped with it");
    assert_eq!(handle.call(|_, _| ()), Err(Refused::Gone));
    handle.shutdown(Duration::ZERO);
}

#[test]
fn one_wake_does_for_many_calls() {
    let (mut reactor, service) = reactor(Config::default());
    let handle = reactor.handle(&service);
    let turns = reactor.stats().turns;
    for _ in 0..1000 {
        handle.call(|_, _| ()).expect("there is room");
    }
    reactor.turn(None).expect("the loop turns");
    assert_eq!((reactor.stats().calls, reactor.stats().turns), (1000, turns + 1));
    // Nor does one of the wakes come late.
    let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert_eq!((turn.events, turn.more), (0, false));
}

#[test]
fn the_serving_thread_may_call_itself_and_the_call_waits_for_its_turn() {
    let (mut reactor, service) = reactor(Config::default());
    let handle = reactor.handle(&service);
    let again = handle.clone();
    let inner = move |home: &mut Homebody, _: &mut Io<'_>| home.numbers.borrow_mut().push((1, 0));
    handle
        .call(move |home, _| {
            again.call(inner).expect("there is room");
            home.numbers.borrow_mut().push((0, 0));
        })
        .expect("there is room");
    let turn = reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    assert!(turn.more, "the inner call is for the next turn");
    assert_eq!(*reactor.get_mut(&service).numbers.borrow(), [(0, 0)]);
    reactor.turn(None).expect("the loop turns");
    assert_eq!(*reactor.get_mut(&service).numbers.borrow(), [(0, 0), (1, 0)]);
}

#[test]
fn a_call_writes_to_connections_of_its_service() {
    let server =
        Server::start_with(Config::default(), Remembers::default(), Limits::default(), &[listen_anywhere()]);
    let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    server.until_connections(3);
    server.ask(|remembers, io| {
        for id in &remembers.0 {
            assert!(io.send(*id, "news".as_bytes()).is_queued());
        }
    });
    for client in &clients {
        client.expect("news");
    }
}

#[derive(Default)]
struct Remembers(Vec<serve_forever::ConnId>);

impl StreamHandler for Remembers {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.0.push(io.id());
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

// A wake that came between the loop's last look and its wait would be lost,
// and this would hang.
#[test]
fn no_call_is_left_behind_by_a_loop_that_goes_to_sleep() {
    let server = Server::start(Echo::new(), Echo::limits());
    let barrier = Arc::new(Barrier::new(2));
    let (handle, other) = (server.handle.clone(), Arc::clone(&barrier));
    let caller = thread::spawn(move || {
        for _ in 0..2000 {
            other.wait();
            handle.call(|_, _| ()).expect("there is room");
        }
    });
    for _ in 0..2000 {
        barrier.wait();
        server.ask(|_, _| ());
    }
    caller.join().expect("every call was taken");
    assert!(server.stop().calls >= 4000);
}

/// Lets somebody call while a connection is being closed.
struct Closing {
    begun: mpsc::Sender<()>,
    called: mpsc::Receiver<()>,
}

impl StreamHandler for Closing {
    type Session = ();

    // After a turn that a timer has begun, the loop sleeps for as long as it may.
    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.after(SOON)?;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, (): &mut (), _: TimerId) -> Result<(), BoxError> {
        io.abort(io.id());
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {
        self.begun.send(()).expect("the test waits for it");
        self.called.recv().expect("the test calls");
    }
}

// Closing a socket changes what the loop waits for: mio's own waker loses a
// wake that came just before over poll(2), and this would hang.
#[test]
fn a_call_is_heard_that_comes_while_a_connection_is_closed() {
    let (begun, closing) = mpsc::channel();
    let (call, called) = mpsc::channel();
    let server = Server::start(Closing { begun, called }, Limits::default());
    let _client = server.connect();
    closing.recv().expect("it is closed");
    let (tell, told) = mpsc::channel();
    server.handle.call(move |_, _| tell.send(()).expect("the test waits")).expect("there is room");
    call.send(()).expect("the handler waits");
    told.recv_timeout(PATIENCE).expect("the call is heard");
}

#[test]
fn an_answer_comes_back_to_the_thread_that_asked() {
    let server = Server::start(Echo::new(), Limits::default());
    let _client = server.connect();
    server.until_connections(1);
    assert_eq!(server.handle.ask(PATIENCE, |_, io| io.connections()), Ok(1));
    let handle = server.handle.clone();
    assert_eq!(
        thread::spawn(move || handle.ask(PATIENCE, |_, _| "hello")).join().expect("no panic"),
        Ok("hello")
    );
}

#[test]
fn who_asks_on_the_loops_own_thread_is_told_so_in_a_callback_and_between_turns() {
    let (mut reactor, service) = reactor(Config::default());
    let handle = reactor.handle(&service);
    assert_eq!(handle.ask(PATIENCE, |_, _| ()), Err(AskError::ServingThread));
    let (tell, told) = mpsc::channel();
    let within = handle.clone();
    handle.call(move |_, _| tell.send(within.ask(PATIENCE, |_, _| ())).expect("it is read")).expect("room");
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert_eq!(told.try_recv(), Ok(Err(AskError::ServingThread)));
}

#[test]
fn an_answer_that_does_not_come_is_an_error_that_says_why() {
    let (mut reactor, service) = reactor(Config { max_calls: 1, ..Config::default() });
    let handle = reactor.handle(&service);
    let ask = |within: Duration| {
        let handle = handle.clone();
        thread::spawn(move || handle.ask(within, |_, _| ())).join().expect("no panic")
    };
    // The loop does not turn.
    assert_eq!(ask(Duration::ZERO), Err(AskError::TimedOut));
    assert_eq!(ask(PATIENCE), Err(AskError::Refused(Refused::Full)));
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert_eq!(reactor.stats().calls, 1, "it runs though nobody waits for it");
    let asking = handle.clone();
    let panics = thread::spawn(move || asking.ask(PATIENCE, |_, _| panic!("it has no answer")));
    while reactor.stats().calls == 1 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    assert_eq!(panics.join().expect("it is contained"), Err(AskError::Unanswered));
    let asking = handle.clone();
    let late = thread::spawn(move || asking.ask(PATIENCE, |_, _| ()));
    while reactor.next_timeout().is_none() {
        thread::yield_now(); // the call is not queued yet
    }
    drop(reactor);
    assert_eq!(late.join().expect("no panic"), Err(AskError::Unanswered));
    assert_eq!(ask(PATIENCE), Err(AskError::Refused(Refused::Gone)));
}
