//! Errors of the system about child processes, returned on demand by a driver that
//! otherwise passes every call to the simulated one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::io::Errno;
use serve_forever::driver::sim::{
    Conditions, Process, Program, SimChild, SimDriver, SimListener, SimSocket, SimStream,
};
use serve_forever::driver::{Closing, Driver, Event, Moment, Spawned, Token};
use serve_forever::process::{Command, Exit, Fate, Signal};
use serve_forever::{
    BindOptions, BoxError, ChildId, Config, Endpoint, Io, Limits, ListenOptions, Origin, Peer, Reactor,
    Service, StreamHandler, SystemCalls,
};

/// The simulated driver, but for its next answers on children.
struct Faulty {
    inner: SimDriver,
    /// What the next registrations say; `None`: what the system says.
    registrations: VecDeque<Option<Errno>>,
    fates: VecDeque<Errno>,
    /// What every signal says, if anything.
    signals: Option<Errno>,
}

impl Driver for Faulty {
    type Listener = SimListener;
    type Stream = SimStream;
    type Socket = SimSocket;
    type Child = SimChild;

    const SHORT_MEANS_BLOCKED: bool = SimDriver::<false>::SHORT_MEANS_BLOCKED;

    fn epoch(&self) -> Instant {
        self.inner.epoch()
    }

    fn now(&self) -> Moment {
        self.inner.now()
    }

    fn waker(&mut self) -> io::Result<Waker> {
        self.inner.waker()
    }

    fn wait(&mut self, timeout: Option<Duration>, report: impl FnMut(Event)) -> io::Result<usize> {
        self.inner.wait(timeout, report)
    }

    fn reported_all(&self) -> bool {
        self.inner.reported_all()
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(SimListener, Endpoint)> {
        self.inner.listen(at, options, token)
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Peer)> {
        self.inner.accept(listener)
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<SimStream> {
        self.inner.connect(to)
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<Option<Peer>> {
        self.inner.connected(stream)
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.inner.close_listener(listener);
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        match self.registrations.pop_front().flatten() {
            Some(errno) => Err(errno.into()),
            None => self.inner.register(stream, token),
        }
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(stream, into)
    }

    fn write(&mut self, stream: &mut SimStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.write(stream, pieces)
    }

    fn is_hung_up(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.inner.is_hung_up(stream)
    }

    fn shutdown(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.inner.shutdown(stream)
    }

    fn close(&mut self, stream: SimStream, how: Closing) {
        self.inner.close(stream, how);
    }

    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(SimSocket, Endpoint)> {
        self.inner.bind(at, options, token)
    }

    fn receive(&mut self, socket: &mut SimSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.inner.receive(socket, into, from)
    }

    fn send_to(&mut self, socket: &mut SimSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.inner.send_to(socket, to, data)
    }

    fn close_socket(&mut self, socket: SimSocket) {
        self.inner.close_socket(socket);
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<SimChild, SimStream>> {
        self.inner.spawn(command, token)
    }

    fn fate(&mut self, child: &mut SimChild) -> io::Result<Fate> {
        match self.fates.pop_front() {
            Some(errno) => Err(errno.into()),
            None => self.inner.fate(child),
        }
    }

    fn unread(&mut self, pipe: &mut SimStream) -> io::Result<usize> {
        self.inner.unread(pipe)
    }

    fn signal(&mut self, child: &mut SimChild, signal: Signal) -> io::Result<()> {
        match self.signals {
            Some(errno) => Err(errno.into()),
            None => self.inner.signal(child, signal),
        }
    }

    fn reap(&mut self, child: SimChild, within: Duration) -> Option<ExitStatus> {
        self.inner.reap(child, within)
    }

    fn max_streams(&self) -> Option<usize> {
        self.inner.max_streams()
    }

    fn calls(&self) -> SystemCalls {
        self.inner.calls()
    }
}

/// Notes how its child ended.
#[derive(Default)]
struct Runner {
    opened: usize,
    closed: usize,
    told: Vec<Result<Exit, ErrorKind>>,
}

impl StreamHandler for Runner {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.opened += 1;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &serve_forever::CloseReason) {
        self.closed += 1;
    }

    fn child_exited(&mut self, _: &mut Io<'_>, _: ChildId, _: u64, exit: &Exit) {
        self.told.push(Ok(*exit));
    }

    fn spawn_failed(&mut self, _: &mut Io<'_>, _: ChildId, _: u64, error: &io::Error) {
        self.told.push(Err(error.kind()));
    }
}

struct Stand {
    reactor: Reactor<Faulty>,
    service: Service<Runner>,
}

impl Stand {
    fn new() -> Self {
        let faulty = Faulty {
            inner: SimDriver::new(1, Conditions::calm()),
            registrations: VecDeque::new(),
            fates: VecDeque::new(),
            signals: None,
        };
        let mut reactor = Reactor::with_driver(faulty, Config::default()).expect("a good configuration");
        let service = reactor.add(Runner::default(), Limits::default()).expect("good limits");
        Self { reactor, service }
    }

    fn install(&mut self, program: Program) {
        self.reactor.driver_mut().inner.net_mut().install("job", program);
    }

    fn spawn(&mut self) {
        let spawn = |_: &mut Runner, io: &mut Io<'_>| {
            io.spawn(Command::new("job").piped_stdin(), 0).expect("there is room");
        };
        self.reactor.handle(&self.service).call(spawn).expect("there is room");
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::from_millis(5))).expect("the loop runs");
        self.reactor.check_invariants().expect("it keeps its promises");
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    fn process(&self) -> &Process {
        &self.reactor.driver().inner.net().processes()[0]
    }

    fn runner(&mut self) -> &mut Runner {
        self.reactor.get_mut(&self.service)
    }
}

/// Without its events, what it writes would be lost without a word.
#[test]
fn a_child_whose_pipe_cannot_be_watched_is_ended_and_told_as_not_started() {
    for good in 0..3 {
        let mut stand = Stand::new();
        stand.install(Program::new().stay());
        stand.reactor.driver_mut().registrations.extend(vec![None; good]);
        stand.reactor.driver_mut().registrations.push_back(Some(Errno::NOSPC));
        stand.spawn();
        stand.turns(5);
        assert_eq!(stand.runner().told, [Err(ErrorKind::StorageFull)]);
        assert_eq!((stand.runner().opened, stand.runner().closed), (0, 0));
        assert!(stand.process().is_reaped());
        let left = (stand.reactor.children(), stand.reactor.connections());
        assert_eq!((left, stand.reactor.driver().inner.net().open_sockets()), ((0, 0), 0));
    }
}

#[test]
fn a_child_that_could_not_be_looked_at_is_looked_at_again() {
    let mut stand = Stand::new();
    stand.install(Program::new());
    stand.reactor.driver_mut().fates.push_back(Errno::IO);
    stand.spawn();
    stand.turns(20);
    assert!(matches!(stand.runner().told[..], [Ok(_)]));
    assert!(stand.process().is_reaped());
}

/// As with one that has become another user's.
#[test]
fn a_shutdown_does_not_wait_for_a_child_that_it_may_not_end() {
    let mut stand = Stand::new();
    stand.install(Program::new().stay());
    stand.spawn();
    stand.turns(5);
    stand.reactor.driver_mut().signals = Some(Errno::PERM);
    stand.reactor.shutdown(Duration::from_secs(1));
    let finished = (0..1000).any(|_| stand.reactor.turn(None).expect("the loop runs").finished);
    assert!(finished && stand.process().ended().is_none());
    assert!(matches!(stand.runner().told[..], [Ok(Exit { status: None, .. })]));
    assert_eq!((stand.runner().opened, stand.runner().closed), (3, 3));
}

/// It would wait for a child that goes on for ever.
#[test]
fn dropping_the_reactor_does_not_wait_for_a_child_that_it_may_not_end() {
    let mut stand = Stand::new();
    stand.install(Program::new().stay());
    stand.spawn();
    stand.turns(5);
    stand.reactor.driver_mut().signals = Some(Errno::PERM);
    drop(stand);
}
