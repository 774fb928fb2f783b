//! Work on the threads of a pool (`Io::offload`), over the simulated network and with
//! real threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{ClientId, Conditions, Odds, Rng, Script, SimDriver};
use serve_forever::{
    BoxError, Config, Endpoint, Error, Io, JobError, Limits, Origin, Reactor, Service, StreamHandler,
};

/// The job that a line asks for.
type Ask = fn(&mut Squares, &mut Io<'_>, &mut Client, u64) -> Result<(), BoxError>;

/// Squares each number of a line on a worker.
struct Squares {
    ask: Ask,
    /// The ends of jobs that came without a session.
    without_session: Vec<Result<u64, JobError>>,
    ends: Rc<RefCell<Ends>>,
}

/// How often each job was given, and how often its end came.
#[derive(Default)]
struct Ends {
    given: u64,
    told: BTreeMap<u64, u64>,
    errors: Vec<JobError>,
}

/// A session that is not `Send`.
#[derive(Default)]
struct Client {
    sum: Rc<RefCell<u64>>,
}

impl StreamHandler for Squares {
    type Session = Client;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Client, BoxError> {
        Ok(Client::default())
    }

    fn data(&mut self, io: &mut Io<'_>, session: &mut Client, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            (self.ask)(self, io, session, std::str::from_utf8(&line)?.trim().parse()?)?;
        }
        Ok(())
    }
}

/// Answers with the square, and keeps the sum of all squares in the session.
fn square(this: &mut Squares, io: &mut Io<'_>, _: &mut Client, number: u64) -> Result<(), BoxError> {
    let job = this.ends.borrow().given;
    this.ends.borrow_mut().given += 1;
    io.offload(
        move || number * number,
        move |this: &mut Squares, io, session, result| {
            *this.ends.borrow_mut().told.entry(job).or_default() += 1;
            if let Err(error) = &result {
                this.ends.borrow_mut().errors.push(error.clone());
            }
            match session {
                Some(session) => {
                    let square = result?;
                    *session.sum.borrow_mut() += square;
                    io.reply(format!("{square} {}\n", session.sum.borrow()).as_bytes());
                }
                None => this.without_session.push(result),
            }
            Ok(())
        },
    )?;
    Ok(())
}

struct Bench {
    reactor: Reactor<SimDriver<true>>,
    service: Service<Squares>,
    at: Endpoint,
    ends: Rc<RefCell<Ends>>,
}

impl Bench {
    fn new(seed: u64, conditions: Conditions, config: Config, limits: Limits, ask: Ask) -> Self {
        let driver = SimDriver::new(seed, Conditions::calm());
        let mut reactor = Reactor::with_driver(driver, config).expect("a good configuration");
        let workers = reactor.driver().net().workers();
        reactor.set_workers(&workers);
        let ends = Rc::<RefCell<Ends>>::default();
        let handler = Squares { ask, without_session: Vec::new(), ends: Rc::clone(&ends) };
        let service = reactor.add(handler, limits).expect("good limits");
        let at: Endpoint = "127.0.0.1:7000".parse().expect("an endpoint");
        reactor.listen(&service, &at).expect("it listens");
        *reactor.driver_mut().net_mut().conditions_mut() = conditions;
        Self { reactor, service, at, ends }
    }

    fn calm(ask: Ask) -> Self {
        Self::new(1, Conditions::calm(), Config::default(), Limits::default(), ask)
    }

    fn jobs_take(&mut self, time: Duration) {
        self.reactor.driver_mut().net_mut().conditions_mut().job = (time, time);
    }

    fn play(&mut self, script: Script) -> ClientId {
        let at = self.at.clone();
        self.reactor.driver_mut().net_mut().play(&at, script)
    }

    fn run_until_ended(&mut self, client: ClientId) {
        while !self.reactor.driver().net().client(client).has_ended() {
            self.reactor.turn(None).expect("a turn");
            self.reactor.check_invariants().expect("sound");
        }
    }

    fn received(&self, client: ClientId) -> String {
        String::from_utf8(self.reactor.driver().net().client(client).received().to_vec()).expect("text")
    }
}

#[test]
fn a_result_comes_to_its_session() {
    let mut bench = Bench::calm(square);
    let script = Script::new().send("3\n4\n").after(Duration::from_secs(1)).send("5\n");
    let client = bench.play(script.after(Duration::from_secs(1)).finish());
    bench.run_until_ended(client);
    assert_eq!(bench.received(client), "9 9\n16 25\n25 50\n");
    assert_eq!(bench.reactor.stats().jobs, 3);
}

// docs/guarantees.md, 82.
#[test]
fn a_panic_and_a_loss_are_told_and_end_the_connection_if_the_handler_says_so() {
    for (conditions, wanted) in [
        (
            Conditions { job_panics: Odds::ALWAYS, ..Conditions::calm() },
            JobError::Panicked("a panic of the simulation".into()),
        ),
        (Conditions { job_lost: Odds::ALWAYS, ..Conditions::calm() }, JobError::Dropped),
    ] {
        let mut bench = Bench::new(1, conditions, Config::default(), Limits::default(), square);
        let client = bench.play(Script::new().send("3\n").after(Duration::from_secs(9)).finish());
        bench.run_until_ended(client);
        assert_eq!(bench.ends.borrow().errors, [wanted]);
        assert_eq!(bench.received(client), "");
        assert_eq!(bench.reactor.stats().failed, 1, "the error of `done` ended the connection");
    }
}

// docs/guarantees.md, 83.
#[test]
fn the_job_of_a_connection_that_has_ended_does_not_run_and_is_told() {
    fn must_not_run(_: &mut Squares, io: &mut Io<'_>, _: &mut Client, _: u64) -> Result<(), BoxError> {
        io.offload(
            || -> u64 { unreachable!("the client is gone") },
            |this: &mut Squares, _, session, result| {
                assert!(session.is_none());
                this.without_session.push(result);
                Ok(())
            },
        )?;
        io.abort(io.id());
        Ok(())
    }
    let mut bench = Bench::calm(must_not_run);
    let client = bench.play(Script::new().send("3\n"));
    bench.run_until_ended(client);
    while bench.reactor.stats().jobs == 0 {
        bench.reactor.turn(None).expect("a turn");
    }
    let service = bench.service.clone();
    assert_eq!(bench.reactor.get(&service).without_session, [Err(JobError::Cancelled)]);
}

#[test]
fn a_connection_that_waits_for_a_job_is_not_idle() {
    let limits = Limits { idle: Some(Duration::from_secs(10)), ..Limits::default() };
    let mut bench = Bench::new(1, Conditions::calm(), Config::default(), limits, square);
    bench.jobs_take(Duration::from_secs(3600));
    let client = bench.play(Script::new().send("3\n"));
    bench.run_until_ended(client);
    assert_eq!(bench.received(client), "9 9\n");
    let lasted = bench.reactor.driver().net().now().as_nanos();
    let expected = Duration::from_secs(3610).as_nanos();
    assert!(u128::from(lasted).abs_diff(expected) < 1_000_000_000, "idle runs from the answer: {lasted}");
}

// docs/guarantees.md, 85.
#[test]
fn a_shutdown_waits_for_a_job_until_its_deadline() {
    for (takes, deadline, wanted) in [(5, 60, "9 9\n"), (100, 10, "")] {
        let mut bench = Bench::calm(square);
        bench.jobs_take(Duration::from_secs(takes));
        let client = bench.play(Script::new().send("3\n"));
        while bench.ends.borrow().given == 0 {
            bench.reactor.turn(None).expect("a turn");
        }
        bench.reactor.shutdown(Duration::from_secs(deadline));
        while !bench.reactor.turn(None).expect("a turn").finished {}
        assert_eq!(bench.received(client), wanted);
        let over = if wanted.is_empty() { vec![JobError::Over] } else { Vec::new() };
        assert_eq!(bench.ends.borrow().errors, over);
        assert_eq!(bench.ends.borrow().told, BTreeMap::from([(0, 1)]));
        // The result that comes afterwards comes to nobody.
        bench.reactor.listen(&bench.service, &bench.at).expect("it listens again");
        for _ in 0..10 {
            bench.reactor.turn(Some(Duration::from_secs(100))).expect("a turn");
        }
        assert_eq!(bench.ends.borrow().told, BTreeMap::from([(0, 1)]));
    }
}

#[test]
fn dropping_the_reactor_tells_every_job() {
    let mut bench = Bench::calm(square);
    bench.play(Script::new().send("3\n4\n"));
    while bench.ends.borrow().given < 2 {
        bench.reactor.turn(None).expect("a turn");
    }
    drop(bench.reactor);
    assert_eq!(bench.ends.borrow().errors, [JobError::Over, JobError::Over]);
}

#[test]
fn more_jobs_than_the_limit_are_refused_and_so_is_a_reactor_without_workers() {
    fn refused(_: &mut Squares, io: &mut Io<'_>, _: &mut Client, _: u64) -> Result<(), BoxError> {
        let mut give = || io.offload(|| 0, |_: &mut Squares, _, _, _: Result<u64, _>| Ok(()));
        give()?;
        give()?;
        let third = give();
        assert!(
            matches!(third, Err(Error::Full { field: Some("Config::max_jobs"), limit: 2, .. })),
            "{third:?}"
        );
        io.reply(b"refused\n");
        Ok(())
    }
    let config = Config { max_jobs: 2, ..Config::default() };
    let mut bench = Bench::new(1, Conditions::calm(), config, Limits::default(), refused);
    let client = bench.play(Script::new().send("1\n").after(Duration::from_secs(1)).finish());
    bench.run_until_ended(client);
    assert_eq!(bench.received(client), "refused\n");

    let driver = SimDriver::<true>::new(1, Conditions::calm());
    let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
    let ends = Rc::<RefCell<Ends>>::default();
    let handler = Squares { ask: square, without_session: Vec::new(), ends };
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    reactor.listen(&service, &bench.at).expect("it listens");
    let client = reactor.driver_mut().net_mut().play(&bench.at, Script::new().send("1\n"));
    while !reactor.driver().net().client(client).has_ended() {
        reactor.turn(None).expect("a turn");
    }
    assert_eq!(reactor.stats().failed, 1, "Error::NoWorkers ended the connection");
}

#[test]
fn an_end_for_another_handler_is_a_panic_with_what_would_be_right() {
    struct Other;
    impl StreamHandler for Other {
        type Session = ();
        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            Ok(())
        }
        fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
            Ok(())
        }
    }
    fn wrong(_: &mut Squares, io: &mut Io<'_>, _: &mut Client, _: u64) -> Result<(), BoxError> {
        io.offload(|| 0, |_: &mut Other, _, _, _: Result<u64, _>| Ok(()))?;
        Ok(())
    }
    let mut bench = Bench::calm(wrong);
    let client = bench.play(Script::new().send("1\n"));
    bench.run_until_ended(client);
    assert_eq!(bench.reactor.stats().panicked, 1);
}

#[test]
fn every_job_is_told_once_whatever_becomes_of_its_client_and_of_the_workers() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let conditions = Conditions {
            job_lost: Odds::one_in(7),
            job_panics: Odds::one_in(7),
            ..Conditions::seeded(&mut rng)
        };
        let mut bench = Bench::new(seed, conditions, Config::default(), Limits::default(), square);
        for _ in 0..8 {
            let mut script = Script::new();
            for _ in 0..rng.size(1, 5) {
                let pause = Duration::from_micros(rng.between(0, 50_000));
                script = script.send(format!("{}\n", rng.below(1000))).after(pause);
            }
            bench.play(match rng.below(3) {
                0 => script.finish(),
                1 => script.reset(),
                _ => script.after(Duration::from_secs(5)).finish(),
            });
        }
        let is_over = |bench: &Bench| bench.reactor.driver().net().clients().all(|(_, it)| it.has_ended());
        while !is_over(&bench) {
            bench
                .reactor
                .turn(Some(Duration::from_secs(1)))
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            bench.reactor.check_invariants().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        bench.reactor.shutdown(Duration::from_secs(3600));
        while !bench.reactor.turn(Some(Duration::from_secs(1))).expect("a turn").finished {}
        let ends = bench.ends.borrow();
        assert!(ends.given > 0, "seed {seed}");
        assert_eq!(ends.told.len() as u64, ends.given, "seed {seed}: each is told");
        assert!(ends.told.values().all(|times| *times == 1), "seed {seed}: once: {:?}", ends.told);
        assert_eq!(bench.reactor.driver().net().open_sockets(), 0, "seed {seed}");
    }
}
