//! Calls between services of one reactor (`Io::call`).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::driver::sim::{ClientId, Conditions, Script, SimDriver};
use serve_forever::{
    BoxError, CloseReason, Config, Endpoint, Error, GroupId, Io, Limits, Origin, Reactor, Service,
    StreamHandler,
};

type Log = Rc<RefCell<Vec<String>>>;

/// Sends to its group whatever other services ask it to.
#[derive(Default)]
struct Radio {
    listeners: Option<GroupId>,
    /// A handler that no other thread could have.
    log: Log,
}

impl StreamHandler for Radio {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        let group = match self.listeners {
            Some(group) => group,
            None => *self.listeners.insert(io.group()?),
        };
        io.join(group, io.id())?;
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }
}

impl Radio {
    fn say(&mut self, io: &mut Io<'_>, text: &[u8]) {
        self.log.borrow_mut().push(String::from_utf8_lossy(text).into_owned());
        if let Some(group) = self.listeners {
            io.broadcast(group, &Bytes::copy_from_slice(text), None);
        }
    }
}

/// Passes its input on to a `Radio`, as its script says.
struct Studio<F> {
    radio: Service<Radio>,
    script: F,
}

impl<F> StreamHandler for Studio<F>
where
    F: FnMut(&Service<Radio>, &mut Io<'_>, Step<'_>) -> Result<(), BoxError> + 'static,
{
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let text = input.split();
        (self.script)(&self.radio, io, Step::Says(&text))
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        (self.script)(&self.radio, io, Step::Leaves).expect("leaving works");
    }
}

enum Step<'a> {
    Says(&'a [u8]),
    Leaves,
}

struct Station {
    reactor: Reactor<SimDriver<true>>,
    radio: Service<Radio>,
    log: Log,
    listener: ClientId,
}

/// A reactor with a `Radio`, one client that listens to it, and a `Studio` in which
/// one client says "on air".
fn station<F>(config: Config, script: F) -> Station
where
    F: FnMut(&Service<Radio>, &mut Io<'_>, Step<'_>) -> Result<(), BoxError> + 'static,
{
    let driver = SimDriver::new(1, Conditions::calm());
    let mut reactor = Reactor::with_driver(driver, config).expect("a good configuration");
    let log = Log::default();
    let limits = Limits { idle: None, ..Limits::default() };
    let handler = Radio { listeners: None, log: Rc::clone(&log) };
    let radio = reactor.add(handler, limits.clone()).expect("good limits");
    let studio = reactor.add(Studio { radio: radio.clone(), script }, limits).expect("good limits");
    let [antenna, door]: [Endpoint; 2] =
        ["127.0.0.1:7001", "127.0.0.1:7002"].map(|at| at.parse().expect("an endpoint"));
    reactor.listen(&radio, &antenna).expect("it listens");
    reactor.listen(&studio, &door).expect("it listens");
    let net = reactor.driver_mut().net_mut();
    let listener = net.play(&antenna, Script::new().after(Duration::from_secs(3600)).finish());
    net.play(&door, Script::new().after(Duration::from_secs(1)).send("on air").finish());
    Station { reactor, radio, log, listener }
}

impl Station {
    fn run(&mut self) {
        while !self.reactor.driver().net().client(self.listener).has_ended() {
            self.reactor.turn(None).expect("a turn");
        }
    }

    fn heard(&self) -> &[u8] {
        self.reactor.driver().net().client(self.listener).received()
    }
}

#[test]
fn a_service_calls_another_in_the_same_turn() {
    let asked_at = Rc::new(RefCell::new(None));
    let ran_at = Rc::clone(&asked_at);
    let mut station = station(Config::default(), move |radio, io, step| {
        let Step::Says(text) = step else { return Ok(()) };
        let (text, asked_at) = (text.to_vec(), Rc::clone(&asked_at));
        let now = io.now();
        io.call(radio, move |radio, io| {
            *asked_at.borrow_mut() = Some((now, io.now()));
            radio.say(io, &text);
            assert_eq!(io.connections(), 1, "`io` is that of the service that is called");
        })?;
        Ok(())
    });
    station.run();
    assert_eq!(station.heard(), b"on air");
    let (asked, ran) = ran_at.borrow().expect("the call ran");
    assert_eq!(asked, ran, "the same turn has the same time");
    assert_eq!(station.reactor.stats().local_calls, 1);
}

#[test]
fn calls_run_in_order_and_a_call_of_a_call_in_the_next_turn() {
    let mut station = station(Config::default(), |radio, io, step| {
        let Step::Says(_) = step else { return Ok(()) };
        let again = radio.clone();
        io.call(radio, move |radio, io| {
            radio.say(io, b"1");
            io.call(&again, |radio, io| radio.say(io, b"3")).expect("there is room");
        })?;
        io.call(radio, |radio, io| radio.say(io, b"2"))?;
        Ok(())
    });
    station.run();
    assert_eq!(station.heard(), b"123");
}

#[test]
fn what_is_over_the_limit_or_of_another_reactor_is_refused() {
    let mut elsewhere = Reactor::new(Config::default()).expect("a good configuration");
    let foreign = elsewhere.add(Radio::default(), Limits::default()).expect("good limits");
    let mut station = station(Config { max_calls: 2, ..Config::default() }, move |radio, io, step| {
        let Step::Says(_) = step else { return Ok(()) };
        io.call(radio, |radio, io| radio.say(io, b"1"))?;
        io.call(radio, |radio, io| radio.say(io, b"2"))?;
        let refused = io.call(radio, |radio, io| radio.say(io, b"3"));
        assert!(
            matches!(refused, Err(Error::Full { field: Some("Config::max_calls"), limit: 2, .. })),
            "{refused:?}"
        );
        let refused = io.call(&foreign, |_, _| unreachable!("it is of another reactor"));
        assert!(matches!(refused, Err(Error::ForeignService)), "{refused:?}");
        Ok(())
    });
    station.run();
    assert_eq!(station.heard(), b"12");
}

#[test]
fn a_panic_of_a_call_ends_nothing() {
    let mut station = station(Config::default(), |radio, io, step| {
        let Step::Says(_) = step else { return Ok(()) };
        io.call(radio, |_, _| panic!("planted"))?;
        io.call(radio, |radio, io| radio.say(io, b"still here"))?;
        Ok(())
    });
    station.run();
    assert_eq!(station.heard(), b"still here");
    assert_eq!(station.reactor.stats().panicked, 1);
}

#[test]
fn a_call_that_queues_itself_for_ever_keeps_no_turn_from_its_end() {
    fn again(radio: &Service<Radio>, io: &mut Io<'_>) {
        let next = radio.clone();
        let _ = io.call(radio, move |_, io| again(&next, io));
    }
    let mut station = station(Config::default(), |radio, io, step| {
        if let Step::Says(_) = step {
            again(radio, io);
        }
        Ok(())
    });
    while station.reactor.stats().local_calls < 100 {
        station.reactor.turn(Some(Duration::from_secs(1))).expect("a turn");
    }
    // Nor a shutdown: its deadline ends it.
    station.reactor.shutdown(Duration::from_millis(1));
    while !station.reactor.turn(Some(Duration::from_millis(1))).expect("a turn").finished {}
}

#[test]
fn a_shutdown_waits_for_a_call_and_drops_those_of_its_end() {
    let mut station = station(Config::default(), |radio, io, step| match step {
        Step::Says(_) => {
            io.shutdown(Duration::from_secs(60));
            io.call(radio, |radio, io| radio.say(io, b"good night"))?;
            Ok(())
        }
        Step::Leaves => {
            let last = io.call(radio, |radio, io| radio.say(io, b"somebody left"));
            assert!(matches!(last, Ok(()) | Err(Error::Over)), "{last:?}");
            Ok(())
        }
    });
    while !station.reactor.turn(None).expect("a turn").finished {}
    assert_eq!(station.log.borrow()[0], "good night");
    assert!(station.heard().starts_with(b"good night"), "{:?}", station.heard());
    let radio = station.radio.clone();
    assert!(station.reactor.get(&radio).listeners.is_some(), "the services outlive a shutdown");
}
