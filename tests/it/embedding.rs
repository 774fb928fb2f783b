//! A reactor inside the loop of another program.

use std::time::{Duration, Instant};

use serve_forever::services::Echo;
use serve_forever::{Config, Limits, Reactor, Service, Turn};

use crate::util::{Call, Client, PATIENCE, Recorder, SOON, Server, noise};

fn turn(reactor: &mut Reactor) -> Turn {
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns")
}

fn echo() -> (Reactor, Service<Echo>, Client) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let limits = Limits { idle: None, write_stall: None, ..Echo::limits() };
    let echo = reactor.add(Echo::new(), limits).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&echo, socket).expect("a connected socket");
    // The socket's first event says that it can be written to.
    while turn(&mut reactor).events > 0 || reactor.next_timeout() == Some(Duration::ZERO) {}
    (reactor, echo, client)
}

#[test]
fn a_turn_of_no_time_does_not_wait() {
    let (mut reactor, _echo, _client) = echo();
    let waits = reactor.stats().system.wait;
    let turn = turn(&mut reactor);
    assert_eq!((turn.events, turn.more, turn.finished), (0, false, false));
    assert_eq!(reactor.stats().system.wait, waits + 1);
}

#[test]
fn next_timeout_says_how_long_the_outer_loop_may_sleep() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits::default()).expect("good limits");
    assert_eq!(reactor.next_timeout(), None, "nothing is ever due");

    let handle = reactor.handle(&service);
    handle.call(|_, io| assert!(io.after(SOON).is_ok())).expect("there is room");
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "a call waits");
    let set = Instant::now();
    turn(&mut reactor);
    let sleep = reactor.next_timeout().expect("a timer is set");
    // Zero once it is due, which it may be already where this thread had to wait.
    assert!(sleep <= SOON && (sleep > Duration::ZERO || set.elapsed() >= SOON), "{sleep:?}");
    std::thread::sleep(sleep);
    assert!(set.elapsed() >= SOON);
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "it is due");
    turn(&mut reactor);
    assert!(matches!(events.next().call, Call::Tick(_)));
    assert_eq!(reactor.next_timeout(), None);
}

#[test]
fn a_deadline_of_a_connection_is_something_due() {
    let (recorder, _events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let limits = Limits { first_frame: Some(SOON), ..Limits::default() };
    let service = reactor.add(recorder, limits).expect("good limits");
    let (_client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    assert!(reactor.next_timeout().is_some_and(|sleep| sleep <= SOON));
}

// Edge-triggered events, flags that stay and timers that are moved: each could
// keep the loop from sleeping. Nothing of this can be done anything about.
#[test]
fn the_loop_sleeps_while_nothing_can_be_done() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(word) if word == b"pause" => io.pause(io.id()),
            Call::Data(word) if word == b"close" => io.close(io.id()),
            Call::Data(word) if word == b"flood" => assert!(io.write(&noise(16 << 20)).is_queued()),
            _ => {}
        }
        Ok(())
    });
    let marks = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..Limits::default() };
    let server = Server::start(recorder.staying(), marks);
    let clients: Vec<_> = ["idle", "pause", "flood", "finish", "close"]
        .into_iter()
        .map(|word| {
            let client = Client::connect_small(server.at());
            client.send(word);
            events.expect_open();
            events.expect(&Call::data(word));
            client
        })
        .collect();
    clients[1].send("input for one that is paused");
    clients[3].finish();
    clients[4].expect_eof();
    server.settle();
    let before = server.ask(|_, io| {
        io.after(SOON).expect("there is room");
        io.stats().turns
    });
    while !matches!(events.next().call, Call::Tick(_)) {}
    let turns = server.stats().turns - before;
    // One for the timer, one for this question, and some for what may have
    // been on its way. One that spins takes thousands.
    assert!(turns < 20, "{turns} turns");
}

/// What takes the reactor's descriptor, which it has not over poll(2).
#[cfg(not(mio_unsupported_force_poll_poll))]
mod by_descriptor {
    use std::os::fd::AsFd;

    use crate::util::listen_anywhere;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(reactor: &Reactor, wait: Duration) -> bool {
        let timeout = Timespec::try_from(wait).expect("not that long");
        poll(&mut [PollFd::new(&reactor.as_fd(), PollFlags::IN)], Some(&timeout)).expect("poll(2)") == 1
    }

    #[test]
    fn the_descriptor_is_readable_while_there_are_events() {
        let (mut reactor, echo, client) = echo();
        assert!(!is_readable(&reactor, Duration::ZERO));
        assert_eq!(turn(&mut reactor).events, 0);

        client.send("hello");
        assert!(is_readable(&reactor, PATIENCE));
        assert_eq!(turn(&mut reactor).events, 1);
        client.expect("hello");
        while is_readable(&reactor, Duration::ZERO) {
            turn(&mut reactor);
        }

        reactor.listen(&echo, &listen_anywhere()).expect("a free port");
        assert!(!is_readable(&reactor, Duration::ZERO));
        reactor.handle(&echo).call(|_, _| ()).expect("there is room");
        assert!(is_readable(&reactor, PATIENCE), "a call wakes the outer loop as well");
        turn(&mut reactor);
        assert_eq!(reactor.stats().calls, 1);
    }

    #[test]
    fn a_timer_is_no_event() {
        let (mut reactor, echo, _client) = echo();
        reactor.handle(&echo).call(|_, io| assert!(io.after(SOON).is_ok())).expect("there is room");
        turn(&mut reactor);
        assert!(!is_readable(&reactor, SOON + Duration::from_millis(1)));
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "it is due");
    }

    #[test]
    fn a_reactor_can_be_nested_in_another_poll_by_its_descriptor() {
        let (mut reactor, _echo, client) = echo();
        let mut outer = outer_epoll(&reactor);
        client.send("hello");
        assert_eq!(outer(), 1);
        turn(&mut reactor);
        client.expect("hello");
    }

    /// An epoll of the outer program's own.
    fn outer_epoll(reactor: &Reactor) -> impl FnMut() -> usize + use<> {
        use rustix::event::epoll;
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor is free");
        let data = epoll::EventData::new_u64(1);
        epoll::add(&outer, reactor, data, epoll::EventFlags::IN).expect("an epoll can hold another");
        move || {
            let mut events = Vec::with_capacity(4);
            let timeout = Timespec::try_from(PATIENCE).expect("not that long");
            epoll::wait(&outer, rustix::buffer::spare_capacity(&mut events), Some(&timeout))
                .expect("epoll_wait(2)")
        }
    }
}

/// A reactor that is told of four events at a time, and twenty clients that
/// have sent something.
fn more_than_a_wait_reports(limits: Limits) -> (Reactor, Vec<Client>) {
    let config = Config { events_per_turn: 4, ..Config::default() };
    let mut reactor = Reactor::new(config).expect("a good configuration");
    let echo = reactor.add(Echo::new(), limits).expect("good limits");
    let clients = (0..20)
        .map(|_| {
            let (client, socket) = Client::pair();
            reactor.adopt(&echo, socket).expect("a connected socket");
            client
        })
        .collect();
    (reactor, clients)
}

#[test]
fn an_outer_loop_is_told_that_more_has_happened_than_one_wait_reports() {
    let (mut reactor, clients) = more_than_a_wait_reports(Echo::limits());
    while turn(&mut reactor).more {}
    clients.iter().for_each(|client| client.send("hello"));
    // An outer loop that is edge-triggered hears of it once.
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    while turn(&mut reactor).more {}
    clients.iter().for_each(|client| client.expect("hello"));
    assert_ne!(reactor.next_timeout(), Some(Duration::ZERO));
}

// docs/guarantees.md, 62.
#[test]
fn what_came_while_the_loop_was_busy_is_served_before_deadlines_are_judged() {
    let limits = Limits { idle: Some(SOON), first_frame: None, frame: None, ..Echo::limits() };
    let (mut reactor, clients) = more_than_a_wait_reports(limits);
    clients.iter().for_each(|client| client.send("hello"));
    std::thread::sleep(2 * SOON); // as a callback that blocks
    while reactor.stats().bytes_out < 20 * 5 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
        assert_eq!(reactor.stats().timed_out, 0, "somebody is closed whose input has come");
    }
    clients.iter().for_each(|client| client.expect("hello"));
}
