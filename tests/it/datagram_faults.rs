//! Errors of the system about datagrams (docs/guarantees.md, 50), returned on demand
//! by a driver that otherwise passes every call to the real one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serve_forever::driver::{
    Closing, Driver, Event, MioChild, MioDriver, MioListener, MioSocket, MioStream, Moment, Spawned, Token,
};
use serve_forever::process::{Command, Fate, Signal};
use serve_forever::services::Echo;
use serve_forever::{
    BindOptions, Config, Endpoint, Limits, ListenOptions, Peer, Reactor, Sent, Service, SocketId, SystemCalls,
};

use crate::util::{DatagramClient, Heard, PATIENCE, Watcher, bind_anywhere};

/// The real driver, but for its next answers on datagrams, and a clock that
/// can be put forward.
struct Faulty {
    inner: MioDriver,
    /// What the next receives say, before the system is asked again.
    receives: VecDeque<Errno>,
    /// What the next sends say; `None`: what the system says.
    sends: VecDeque<Option<Errno>>,
    /// Events of the next wait, before those of the system.
    events: Vec<Event>,
    token: Option<Token>,
    ahead: Duration,
}

impl Faulty {
    fn new() -> Self {
        Self {
            inner: MioDriver::new(64).expect("a descriptor is free"),
            receives: VecDeque::new(),
            sends: VecDeque::new(),
            events: Vec::new(),
            token: None,
            ahead: Duration::ZERO,
        }
    }

    /// An event of the socket that was bound last.
    fn report(&mut self, readable: bool, writable: bool) {
        let token = self.token.expect("a socket is bound");
        self.events.push(Event { token, readable, writable, hangup: false });
    }
}

impl Driver for Faulty {
    type Listener = MioListener;
    type Stream = MioStream;
    type Socket = MioSocket;
    type Child = MioChild;

    const SHORT_MEANS_BLOCKED: bool = MioDriver::SHORT_MEANS_BLOCKED;

    fn epoch(&self) -> Instant {
        self.inner.epoch()
    }

    fn now(&self) -> Moment {
        self.inner.now().plus(self.ahead)
    }

    fn waker(&mut self) -> io::Result<Waker> {
        self.inner.waker()
    }

    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        let timeout = if self.events.is_empty() { timeout } else { Some(Duration::ZERO) };
        let own = self.events.len();
        self.events.drain(..).for_each(&mut report);
        // When there is room is for the test to say.
        Ok(own + self.inner.wait(timeout, |event| report(Event { writable: false, ..event }))?)
    }

    fn reported_all(&self) -> bool {
        self.inner.reported_all()
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        self.inner.listen(at, options, token)
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(MioStream, Peer)> {
        self.inner.accept(listener)
    }

    fn connect(&mut self, _: &Endpoint) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connected(&mut self, _: &mut Self::Stream) -> io::Result<Option<Peer>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn close_listener(&mut self, listener: MioListener) {
        self.inner.close_listener(listener);
    }

    fn register(&mut self, stream: &mut MioStream, token: Token) -> io::Result<()> {
        self.inner.register(stream, token)
    }

    fn read(&mut self, stream: &mut MioStream, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(stream, into)
    }

    fn write(&mut self, stream: &mut MioStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.write(stream, pieces)
    }

    fn is_hung_up(&mut self, stream: &mut MioStream) -> io::Result<bool> {
        self.inner.is_hung_up(stream)
    }

    fn shutdown(&mut self, stream: &mut MioStream) -> io::Result<()> {
        self.inner.shutdown(stream)
    }

    fn close(&mut self, stream: MioStream, how: Closing) {
        self.inner.close(stream, how);
    }

    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(MioSocket, Endpoint)> {
        self.token = Some(token);
        self.inner.bind(at, options, token)
    }

    fn receive(&mut self, socket: &mut MioSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        match self.receives.pop_front() {
            Some(errno) => Err(errno.into()),
            None => self.inner.receive(socket, into, from),
        }
    }

    fn is_own(&mut self, peer: &Peer) -> bool {
        self.inner.is_own(peer)
    }

    fn send_to(&mut self, socket: &mut MioSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        match self.sends.pop_front().flatten() {
            Some(errno) => Err(errno.into()),
            None => self.inner.send_to(socket, to, data),
        }
    }

    fn close_socket(&mut self, socket: MioSocket) {
        self.inner.close_socket(socket);
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<MioChild, MioStream>> {
        self.inner.spawn(command, token)
    }

    fn fate(&mut self, child: &mut MioChild) -> io::Result<Fate> {
        self.inner.fate(child)
    }

    fn signal(&mut self, child: &mut MioChild, signal: Signal) -> io::Result<()> {
        self.inner.signal(child, signal)
    }

    fn reap(&mut self, child: MioChild, within: Duration) -> Option<ExitStatus> {
        self.inner.reap(child, within)
    }

    fn max_streams(&self) -> Option<usize> {
        self.inner.max_streams()
    }

    fn calls(&self) -> SystemCalls {
        self.inner.calls()
    }
}

struct Stand {
    reactor: Reactor<Faulty>,
    service: Service<Watcher>,
    socket: SocketId,
    told: std::sync::mpsc::Receiver<Heard>,
    client: DatagramClient,
}

impl Stand {
    fn new(limits: Limits) -> Self {
        let (watcher, told) = Watcher::echo();
        let mut reactor = Reactor::with_driver(Faulty::new(), Config::default()).expect("a good one");
        let service = reactor.add_datagram(watcher, limits).expect("good limits");
        let socket = reactor.bind(&service, &bind_anywhere()).expect("a free port");
        let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
        Self { reactor, service, socket, told, client }
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    }

    /// Has the service send so many datagrams of ten bytes to the client.
    fn send(&mut self, count: usize) -> Vec<Sent> {
        let to = Peer::inet(self.client.0.local_addr().expect("it is bound").as_socket().expect("UDP"));
        let (tell, answers) = std::sync::mpsc::channel();
        let on = self.socket;
        let send = move |_: &mut Watcher, io: &mut serve_forever::Io<'_>| {
            for number in 0..count {
                let text = format!("number {number:03}");
                tell.send(io.send_to(on, &to, text.as_bytes())).expect("the test waits");
            }
        };
        self.reactor.handle(&self.service).call(send).expect("there is room");
        self.turn();
        answers.try_iter().collect()
    }

    #[track_caller]
    fn expect_numbers(&self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            self.client.expect(format!("number {number:03}"));
        }
    }

    fn heard(&self) -> Vec<Heard> {
        self.told.try_iter().collect()
    }

    fn driver(&mut self) -> &mut Faulty {
        self.reactor.driver_mut()
    }
}

#[test]
fn what_the_system_refuses_is_lost_and_told_and_the_next_one_leaves() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().sends =
        [None, Some(Errno::NOBUFS), None, Some(Errno::NETUNREACH), Some(Errno::PERM)].into();
    stand.send(6);
    stand.expect_numbers([0, 2, 5]);
    let reasons: Vec<_> = stand
        .heard()
        .into_iter()
        .map(|heard| match heard {
            Heard::Send(_, 10, reason) => reason.expect("the system's"),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [Errno::NOBUFS, Errno::NETUNREACH, Errno::PERM];
    assert_eq!(reasons, expected.map(Errno::raw_os_error));
    let stats = stand.reactor.stats();
    assert_eq!((stats.datagrams_out, stats.datagrams_unsent), (3, 3));
}

#[test]
fn without_room_they_wait_for_the_edge_and_only_for_it() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().sends = [None, Some(Errno::AGAIN)].into();
    stand.send(4);
    stand.expect_numbers([0]);
    for _ in 0..3 {
        stand.turn();
    }
    stand.client.assert_silent();
    assert!(stand.reactor.next_timeout().is_none_or(|timeout| timeout > Duration::from_secs(1)));
    stand.driver().report(false, true);
    stand.turn();
    stand.expect_numbers([1, 2, 3]);
    assert_eq!(stand.reactor.next_timeout(), None, "nothing is watched any more");
    assert_eq!(stand.heard(), []);
}

#[test]
fn an_interrupted_send_or_receive_is_made_again() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().sends = [Some(Errno::INTR)].into();
    stand.send(1);
    stand.turn();
    stand.expect_numbers([0]);
    stand.driver().receives = [Errno::INTR].into();
    stand.client.send("x");
    stand.turn();
    stand.turn();
    stand.client.expect("x");
}

#[test]
fn the_queue_has_an_end_and_says_when_it_is_low_again() {
    let limits = Limits { max_datagrams: 8, ..Limits::default() };
    let mut stand = Stand::new(limits);
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    let answers = stand.send(10);
    assert_eq!(answers[..4], [Sent::Queued; 4]);
    assert_eq!(answers[4..8], [Sent::Full; 4]);
    assert_eq!(answers[8..], [Sent::Dropped; 2]);
    assert_eq!(stand.reactor.stats().dropped, 2);
    stand.driver().report(false, true);
    stand.turn();
    stand.expect_numbers(0..8);
    assert_eq!(stand.heard(), [Heard::Drained]);

    let limits = Limits { low_mark: 10, high_mark: 20, hard_mark: 30, ..Limits::default() };
    let mut stand = Stand::new(limits);
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    assert_eq!(stand.send(4), [Sent::Queued, Sent::Queued, Sent::Full, Sent::Dropped]);
}

#[test]
fn what_cannot_leave_for_too_long_is_lost_and_told_and_the_socket_goes_on() {
    let limits = Limits { write_stall: Some(Duration::from_secs(60)), ..Limits::default() };
    let mut stand = Stand::new(limits);
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(2);
    stand.driver().ahead = Duration::from_secs(59);
    stand.turn();
    assert_eq!(stand.heard(), []);
    stand.beyond(61, Errno::AGAIN);
    let heard = stand.heard();
    assert!(matches!(heard[..], [Heard::Send(_, 10, None), Heard::Send(_, 10, None)]), "{heard:?}");
    assert_eq!(stand.reactor.stats().datagrams_unsent, 2);
    // No edge has come, and yet it is tried.
    stand.send(1);
    stand.expect_numbers([0]);
}

/// Sixty seconds of patience, which the clock of the test can be put beyond.
fn patient() -> Stand {
    Stand::new(Limits { write_stall: Some(Duration::from_secs(60)), ..Limits::default() })
}

impl Stand {
    /// So long after the start, with this to say to the next sends once there
    /// is an edge.
    fn at(&mut self, seconds: u64, sends: impl Into<VecDeque<Option<Errno>>>) {
        let driver = self.driver();
        driver.ahead = Duration::from_secs(seconds);
        driver.sends = sends.into();
        driver.report(false, true);
        self.turn();
    }

    /// So long after the start, with no edge, and this to say when what waits is
    /// offered once more.
    fn beyond(&mut self, seconds: u64, send: impl Into<Option<Errno>>) {
        let driver = self.driver();
        driver.ahead = Duration::from_secs(seconds);
        driver.sends = [send.into()].into();
        self.turn();
    }
}

#[test]
fn what_has_waited_too_long_is_offered_once_more_before_it_is_lost() {
    let mut stand = patient();
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(2);
    stand.beyond(61, None);
    stand.expect_numbers([0, 1]);
    assert_eq!((stand.heard().len(), stand.reactor.stats().datagrams_unsent), (0, 0));
}

#[test]
fn who_waits_behind_one_that_was_taken_has_its_time_anew() {
    let mut stand = patient();
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(3);
    stand.at(40, [None, Some(Errno::AGAIN)]);
    stand.expect_numbers([0]);
    stand.driver().ahead = Duration::from_secs(90);
    stand.turn();
    assert_eq!(stand.heard(), [], "the last left 50 s ago");
    stand.beyond(101, Errno::AGAIN);
    assert!(matches!(stand.heard()[..], [Heard::Send(_, 10, None), Heard::Send(_, 10, None)]));
}

#[test]
fn an_edge_after_which_none_is_taken_gives_no_more_time() {
    for lost in [Errno::AGAIN, Errno::INTR] {
        let mut stand = patient();
        stand.driver().sends = [Some(Errno::AGAIN)].into();
        stand.send(2);
        stand.at(40, [Some(lost), Some(Errno::AGAIN)]);
        stand.turn();
        stand.beyond(61, Errno::AGAIN);
        assert!(matches!(stand.heard()[..], [Heard::Send(_, 10, None), Heard::Send(_, 10, None)]));
    }
}

#[test]
fn a_queue_that_was_empty_or_given_up_has_its_whole_time_again() {
    let mut stand = patient();
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(1);
    stand.at(40, []);
    stand.expect_numbers([0]);
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(1);
    stand.driver().ahead = Duration::from_secs(99);
    stand.turn();
    assert_eq!(stand.heard(), [], "it has waited for 59 s");
    stand.beyond(101, Errno::AGAIN);
    assert_eq!(stand.heard().len(), 1);
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(1);
    stand.driver().ahead = Duration::from_secs(160);
    stand.turn();
    assert_eq!(stand.heard(), [], "it has waited for 59 s");
    stand.beyond(162, Errno::AGAIN);
    assert_eq!(stand.heard().len(), 1);
}

#[test]
fn a_socket_that_closes_offers_all_that_waits_once_more() {
    let mut stand = Stand::new(Limits { datagrams_per_turn: 4, ..Limits::default() });
    stand.send(20);
    stand.driver().sends =
        [None, Some(Errno::INTR), Some(Errno::INTR), Some(Errno::PERM), None, Some(Errno::NOBUFS)].into();
    assert!(stand.reactor.close_socket(stand.socket));
    // The share of the turn, and of the rest all but what is refused for good.
    stand.expect_numbers((0..5).chain([6]).chain(8..20));
    let stats = stand.reactor.stats();
    assert_eq!((stats.datagrams_out, stats.datagrams_unsent), (18, 2));

    // It had no room before; how that is now only another try can tell.
    let mut stand = Stand::new(Limits::default());
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.send(4);
    stand.driver().sends = [None, None, Some(Errno::AGAIN)].into();
    assert!(stand.reactor.close_socket(stand.socket));
    stand.expect_numbers([0, 1]);
    let stats = stand.reactor.stats();
    assert_eq!((stats.datagrams_out, stats.datagrams_unsent), (2, 2));
    assert_eq!(stand.heard(), []);
}

#[test]
fn an_error_of_receiving_is_told_and_what_lies_behind_it_is_received() {
    let mut stand = Stand::new(Limits::default());
    stand.client.send("behind");
    stand.driver().receives = [Errno::CONNREFUSED, Errno::NOMEM].into();
    stand.turn();
    stand.client.expect("behind");
    let heard = stand.heard();
    assert_eq!(heard[0], Heard::Receive(io::ErrorKind::ConnectionRefused));
    assert_eq!(heard[1], Heard::Receive(io::ErrorKind::OutOfMemory));
    assert!(matches!(&heard[2], Heard::Datagram(_, data) if data == b"behind"));
    assert_eq!(stand.reactor.stats().receive_errors, 2);
}

#[test]
fn a_socket_that_only_fails_does_not_keep_the_loop_busy() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().receives = [Errno::IO; 1000].into();
    stand.client.send("x");
    for _ in 0..5 {
        stand.turn();
    }
    assert!(stand.heard().len() < 100);
    assert_eq!(stand.reactor.next_timeout(), None, "it sleeps");
    // The next event is another chance.
    stand.driver().receives.clear();
    stand.driver().report(true, false);
    stand.turn();
    stand.client.expect("x");
}

#[test]
fn an_event_of_a_socket_that_is_gone_is_nobody_s() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().report(true, true);
    let socket = stand.socket;
    stand.reactor.close_socket(socket);
    stand.reactor.bind(&stand.service.clone(), &bind_anywhere()).expect("a free port");
    stand.turn();
    assert_eq!(stand.reactor.stats().stale_events, 1);
}

#[test]
fn a_shutdown_sends_what_waits_or_gives_it_up_at_its_deadline() {
    for edge in [true, false] {
        let mut stand = Stand::new(Limits::default());
        stand.driver().sends = [Some(Errno::AGAIN)].into();
        stand.send(2);
        stand.reactor.shutdown(Duration::from_secs(10));
        for _ in 0..3 {
            stand.turn();
        }
        assert!(stand.reactor.local(stand.socket).is_some(), "something waits");
        if edge {
            stand.driver().report(false, true);
        } else {
            // Even the last try, at closing, is not taken.
            stand.driver().sends = [Some(Errno::AGAIN)].into();
            stand.driver().ahead = Duration::from_secs(11);
        }
        stand.turn();
        assert!(stand.reactor.local(stand.socket).is_none());
        let stats = stand.reactor.stats();
        assert_eq!((stats.datagrams_out, stats.datagrams_unsent), if edge { (2, 0) } else { (0, 2) });
    }
}

#[test]
fn a_request_is_not_served_until_its_answer_has_left() {
    let mut stand = Stand::new(Limits::default());
    stand.driver().sends = [Some(Errno::AGAIN)].into();
    stand.client.send("answer me");
    let handle = stand.reactor.handle(&stand.service);
    // Nothing else ends it: the shutdown comes before the answer may leave.
    handle.call(|_, io| io.stop()).expect("there is room");
    let handled = stand.reactor.handle_request(Some(PATIENCE)).expect("the loop turns");
    assert_eq!(handled, serve_forever::Handled::Shutdown);
}

#[test]
fn an_echo_without_room_loses_the_newest() {
    let mut reactor = Reactor::with_driver(Faulty::new(), Config::default()).expect("a good one");
    let limits = Limits { max_datagrams: 4, ..Limits::default() };
    let echo = reactor.add_datagram(Echo::new(), limits).expect("good limits");
    let socket = reactor.bind(&echo, &bind_anywhere()).expect("a free port");
    let client = DatagramClient::connect(reactor.local(socket).expect("it is open"), None);
    reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    reactor.driver_mut().sends = [Some(Errno::AGAIN)].into();
    for number in 0..6 {
        client.send([number]);
    }
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    assert_eq!((reactor.stats().datagrams_in, reactor.stats().dropped), (6, 2));
    reactor.driver_mut().report(false, true);
    reactor.turn(Some(PATIENCE)).expect("the loop turns");
    for number in 0..4 {
        client.expect([number]);
    }
    client.assert_silent();
}
