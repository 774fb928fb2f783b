//! Outbound connections by name (`Io::connect_name`), over the simulated network and
//! to the names of the real system.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Odds, Rng, Script, SimDriver};
use serve_forever::{
    BoxError, CloseReason, Config, ConnId, Endpoint, Error, Io, Limits, Origin, Reactor, Service,
    StreamHandler, WorkerOptions, Workers,
};

/// Notes the answer to each `connect_name`, and what a connection brings.
#[derive(Debug, Default)]
struct Caller {
    answers: Vec<Result<String, String>>,
    received: Vec<u8>,
}

impl StreamHandler for Caller {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let Origin::Connected { tag: 7, peer } = origin else { panic!("{origin:?}") };
        self.answers.push(Ok(peer.to_string()));
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.received.extend_from_slice(&input.split());
        Ok(())
    }

    fn connect_failed(&mut self, _: &mut Io<'_>, tag: u64, error: &std::io::Error) {
        assert_eq!(tag, 7);
        self.answers.push(Err(error.to_string()));
    }
}

struct Net {
    reactor: Reactor<SimDriver<true>>,
    service: Service<Caller>,
}

impl Net {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let driver = SimDriver::new(seed, conditions);
        let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
        let workers = reactor.driver().net().workers();
        reactor.set_workers(&workers);
        let limits = Limits { connect: Some(Duration::from_secs(10)), ..Limits::default() };
        let service = reactor.add(Caller::default(), limits).expect("good limits");
        Self { reactor, service }
    }

    fn calm() -> Self {
        Self::new(1, Conditions::calm())
    }

    fn name(&mut self, host: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        self.reactor.driver_mut().net_mut().name(host, &addresses, Duration::from_millis(5));
    }

    fn host(&mut self, at: &str) {
        let script = Script::new().send(format!("this is {at}")).after(Duration::from_secs(1)).finish();
        self.reactor.driver_mut().net_mut().host(&endpoint(at), script);
    }

    fn silent(&mut self, at: &str) {
        self.reactor.driver_mut().net_mut().silent_host(&endpoint(at));
    }

    fn connect(&mut self, name: &str) -> ConnId {
        self.reactor.connect_name(&self.service, name, 7).expect("it begins")
    }

    /// Turns until there is an answer; how long that took in simulated time.
    fn answer(&mut self) -> (Result<String, String>, Duration) {
        let from = self.reactor.driver().net().now();
        while self.caller().answers.is_empty() {
            self.reactor.turn(None).expect("a turn");
            self.reactor.check_invariants().expect("sound");
        }
        let took = self.reactor.driver().net().now().since(from);
        (self.caller().answers[0].clone(), took)
    }

    fn caller(&self) -> &Caller {
        self.reactor.get(&self.service)
    }

    fn open_sockets(&self) -> usize {
        self.reactor.driver().net().open_sockets()
    }
}

fn endpoint(at: &str) -> Endpoint {
    at.parse().expect("an endpoint")
}

const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn a_name_is_looked_up_and_connected_to() {
    let mut net = Net::calm();
    net.name("db.internal", &["10.0.0.1"]);
    net.host("10.0.0.1:5432");
    let id = net.connect("db.internal:5432");
    let (answer, took) = net.answer();
    assert!(answer.is_ok() && took < MOMENT, "{answer:?} in {took:?}");
    while net.reactor.connections() > 0 {
        net.reactor.turn(None).expect("a turn");
    }
    assert_eq!(net.caller().received, b"this is 10.0.0.1:5432");
    assert_eq!(net.caller().answers.len(), 1, "{id} is answered once");
}

#[test]
fn an_endpoint_needs_neither_a_lookup_nor_workers() {
    let driver = SimDriver::<true>::new(1, Conditions::calm());
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let service = reactor.add(Caller::default(), Limits::default()).expect("good limits");
    reactor.driver_mut().net_mut().host(&endpoint("[::1]:9"), Script::new());
    reactor.connect_name(&service, "[::1]:9", 7).expect("it begins");
    while reactor.get(&service).answers.is_empty() {
        reactor.turn(None).expect("a turn");
    }
    assert!(reactor.get(&service).answers[0].is_ok());
    let refused = reactor.connect_name(&service, "localhost:9", 7);
    assert!(matches!(refused, Err(Error::NoWorkers)), "{refused:?}");
    assert_eq!(reactor.connections(), 1, "what is refused is not counted");
    let refused = reactor.connect_name(&service, "local host", 7);
    assert!(matches!(refused, Err(Error::Endpoint { .. })), "{refused:?}");
}

// docs/guarantees.md, 84.
#[test]
fn an_address_that_does_not_answer_holds_the_next_up_for_a_quarter_of_a_second() {
    let mut net = Net::calm();
    net.name("db", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    net.silent("10.0.0.1:5432");
    net.host("10.0.0.2:5432");
    net.host("10.0.0.3:5432");
    net.connect("db:5432");
    let (answer, took) = net.answer();
    assert!(answer.is_ok());
    assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(250) + MOMENT, "{took:?}");
    assert_eq!(net.open_sockets(), 1, "the attempt that did not answer is closed");
    while net.reactor.connections() > 0 {
        net.reactor.turn(None).expect("a turn");
    }
    assert_eq!(net.caller().received, b"this is 10.0.0.2:5432");
}

#[test]
fn an_address_that_refuses_is_followed_at_once_and_families_take_turns() {
    let mut net = Net::calm();
    net.name("db", &["::1", "::2", "10.0.0.1"]);
    net.host("10.0.0.1:5432");
    net.silent("[::2]:5432");
    net.connect("db:5432");
    let (answer, took) = net.answer();
    assert!(answer.is_ok() && took < MOMENT, "{answer:?} in {took:?}");
    assert_eq!(net.open_sockets(), 1);
}

#[test]
fn the_error_says_what_each_address_has_answered() {
    let mut net = Net::calm();
    net.name("db", &["10.0.0.1", "10.0.0.2"]);
    net.connect("db:5432");
    let error = net.answer().0.expect_err("nobody is there");
    assert!(
        error.starts_with("db:5432: tcp://10.0.0.1:5432: ") && error.contains("; tcp://10.0.0.2:5432: "),
        "{error}"
    );
    let mut net = Net::calm();
    net.name("db", &["10.0.0.1", "10.0.0.2"]);
    net.silent("10.0.0.2:5432");
    net.connect("db:5432");
    let (answer, took) = net.answer();
    let error = answer.expect_err("nobody answers");
    assert!(error.contains("10.0.0.1:5432: ") && error.contains("10.0.0.2:5432: no answer yet"), "{error}");
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(10) + MOMENT, "{took:?}");
    assert_eq!(net.open_sockets(), 0);
}

#[test]
fn a_name_without_an_address_and_a_lookup_that_fails_are_told() {
    let mut net = Net::calm();
    net.name("empty", &[]);
    net.connect("empty:1");
    assert_eq!(net.answer().0, Err("cannot look up empty: the name has no address".into()));
    let mut net = Net::calm();
    net.connect("unknown:1");
    assert_eq!(net.answer().0, Err("cannot look up unknown: Name or service not known".into()));
    let mut net = Net::new(1, Conditions { job_lost: Odds::ALWAYS, ..Conditions::calm() });
    net.connect("unknown:1");
    let lost = "cannot look up unknown: the job did not run: its workers were dropped";
    assert_eq!(net.answer().0, Err(lost.into()));
}

#[test]
fn a_lookup_that_never_ends_meets_the_deadline_and_its_result_comes_to_nobody() {
    let mut net = Net::calm();
    let address = "10.0.0.1".parse().expect("an address");
    net.reactor.driver_mut().net_mut().name("slow", &[address], Duration::from_secs(3600));
    net.host("10.0.0.1:1");
    net.connect("slow:1");
    let (answer, took) = net.answer();
    assert!(answer.is_err() && took >= Duration::from_secs(10), "{answer:?} in {took:?}");
    assert_eq!(net.reactor.connections(), 0);
    net.reactor.turn(Some(Duration::from_secs(4000))).expect("a turn");
    net.reactor.turn(Some(Duration::from_secs(4000))).expect("a turn");
    assert_eq!((net.caller().answers.len(), net.open_sockets()), (1, 0));
}

#[test]
fn every_name_is_answered_once_and_no_socket_is_left() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let conditions = Conditions { job_lost: Odds::one_in(9), ..Conditions::seeded(&mut rng) };
        let mut net = Net::new(seed, conditions);
        let all = ["10.0.0.1", "10.0.0.2", "::1", "::2", "10.0.0.3"];
        let addresses = &all[..rng.size(0, all.len())];
        net.name("db", addresses);
        for address in addresses {
            let at = SocketAddr::new(address.parse().expect("an address"), 5432).to_string();
            match rng.below(3) {
                0 => net.host(&at),
                1 => net.silent(&at),
                _ => {}
            }
        }
        const CALLS: usize = 3;
        for _ in 0..CALLS {
            net.connect("db:5432");
        }
        let mut turns = 0;
        while net.reactor.connections() > 0 {
            net.reactor
                .turn(Some(Duration::from_secs(1)))
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            net.reactor.check_invariants().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            turns += 1;
            assert!(turns < 1_000_000, "seed {seed}: no end");
        }
        assert_eq!(net.caller().answers.len(), CALLS, "seed {seed}: {:?}", net.caller().answers);
        assert_eq!(net.open_sockets(), 0, "seed {seed}");
    }
}

/// A handler that says what it is sent, and ends.
#[derive(Debug, Default)]
struct Greeter;

impl StreamHandler for Greeter {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.reply(b"hello");
        io.close(io.id());
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), _: &CloseReason) {}
}

#[test]
fn localhost_reaches_a_server_on_the_loopback_of_one_family() {
    let workers = Workers::new(WorkerOptions { threads: 1, ..WorkerOptions::default() }).expect("a thread");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    reactor.set_workers(&workers);
    let greeter = reactor.add(Greeter, Limits::default()).expect("good limits");
    let caller = reactor.add(Caller::default(), Limits::default()).expect("good limits");
    let listener = reactor.listen(&greeter, &endpoint("127.0.0.1:0")).expect("it listens");
    let Some(Endpoint::Tcp(at)) = reactor.local(listener) else { panic!("it listens on TCP") };
    let name = format!("localhost:{}", at.port());
    reactor.connect_name(&caller, &name, 7).expect("it begins");
    while reactor.get(&caller).received.is_empty() {
        reactor.turn(None).expect("a turn");
        let answers = &reactor.get(&caller).answers;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!(reactor.get(&caller).received, b"hello");
}
