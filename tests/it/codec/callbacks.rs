//! All else that a handler of bytes is told, a handler of frames is told too.

use std::io;
use std::time::Duration;

use serve_forever::codec::{FrameHandler, Framed, LinesCodec};
use serve_forever::driver::sim::{ClientId, Conditions, Script, SimDriver};
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, Endpoint, Io, Limits, ListenerId, Origin, Peer, Reactor,
    Service, TimerId,
};

use super::codecs::lines;

/// Notes every callback; refuses the second peer, and the third in `open`.
#[derive(Default)]
struct Witness {
    calls: Vec<String>,
    peers: u32,
    after_eof: AfterEof,
}

impl FrameHandler for Witness {
    type Session = LinesCodec;
    type Codec = LinesCodec;

    fn verify(&mut self, _: &Peer) -> bool {
        self.peers += 1;
        self.calls.push("verify".into());
        self.peers != 2
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<LinesCodec, BoxError> {
        self.calls.push("open".into());
        if self.peers == 3 {
            let _ = io.write(b"not you");
            return Err("refused".into());
        }
        if !matches!(origin, Origin::Connected { .. }) {
            io.after(Duration::from_secs(1))?;
            io.tick_after(Duration::from_secs(2))?;
        }
        Ok(lines())
    }

    fn codec(session: &mut LinesCodec) -> &mut LinesCodec {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, _: &mut LinesCodec, line: String) -> Result<(), BoxError> {
        let _ = io.write(&vec![b'x'; line.parse()?]);
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, _: &mut LinesCodec) -> Result<AfterEof, BoxError> {
        self.calls.push("eof".into());
        Ok(self.after_eof)
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut LinesCodec) -> Result<(), BoxError> {
        self.calls.push("drained".into());
        io.close(io.id());
        Ok(())
    }

    fn timer(&mut self, _: &mut Io<'_>, _: &mut LinesCodec, _: TimerId) -> Result<(), BoxError> {
        self.calls.push("timer".into());
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, _: LinesCodec, why: &CloseReason) {
        self.calls.push(format!("close: {why:?}"));
    }

    fn connect_failed(&mut self, _: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.calls.push(format!("connect_failed {tag}: {:?}", error.kind()));
    }

    fn tick(&mut self, io: &mut Io<'_>, _: TimerId) {
        self.calls.push("tick".into());
        let nowhere = "127.0.0.1:9".parse().expect("an endpoint");
        io.connect(&nowhere, 7).expect("there is room");
    }

    fn shutting_down(&mut self, _: &mut Io<'_>) {
        self.calls.push("shutting_down".into());
    }

    fn listener_failed(&mut self, _: &mut Io<'_>, _: ListenerId, error: &io::Error) {
        self.calls.push(format!("listener_failed: {:?}", error.kind()));
    }
}

/// A service on a simulated network. (A `World` has a handler of its own
/// around it, and is told of no connection that does not come about.)
struct Run {
    reactor: Reactor<SimDriver<true>>,
    service: Service<Framed<Witness>>,
    at: Endpoint,
}

impl Run {
    fn new(witness: Witness) -> Self {
        let driver = SimDriver::new(1, Conditions::calm());
        let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
        let limits = Limits { first_frame: None, idle: None, ..Limits::default() };
        let service = reactor.add(Framed::new(witness), limits).expect("good limits");
        let at: Endpoint = "127.0.0.1:7".parse().expect("an endpoint");
        reactor.listen(&service, &at).expect("nobody listens there");
        Self { reactor, service, at }
    }

    fn play(&mut self, script: Script) -> ClientId {
        self.reactor.driver_mut().net_mut().play(&self.at, script)
    }

    fn run_for(&mut self, seconds: u64) {
        let now = |run: &Self| Duration::from_nanos(run.reactor.driver().net().now().as_nanos());
        let until = now(self) + Duration::from_secs(seconds);
        while now(self) < until {
            self.reactor.turn(Some(until - now(self))).expect("the loop turns");
            self.reactor.check_invariants().expect("they hold");
        }
    }

    /// What was called since this was asked last.
    fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.reactor.get_mut(&self.service).handler_mut().calls)
    }

    fn received(&self, client: ClientId) -> &[u8] {
        self.reactor.driver().net().client(client).received()
    }
}

#[test]
fn verify_and_open_may_refuse() {
    let mut run = Run::new(Witness::default());
    let clients = [0, 1, 2].map(|second| {
        run.play(Script::new().starting_after(Duration::from_millis(second * 100)).send("3\n"))
    });
    run.run_for(1);
    assert_eq!(clients.map(|client| run.received(client).to_vec()), [&b"xxx"[..], b"", b"not you"]);
    assert_eq!(run.calls(), ["verify", "open", "verify", "verify", "open"]);
}

#[test]
fn timers_ticks_drained_and_close_are_told() {
    let mut run = Run::new(Witness::default());
    let client = run.play(Script::new().after(Duration::from_secs(3)).send("300000\n"));
    run.run_for(10);
    assert_eq!(run.received(client).len(), 300_000);
    let expected = ["verify", "open", "timer", "tick", "connect_failed 7: ConnectionRefused"];
    let calls = run.calls();
    assert_eq!(
        (&calls[..5], &calls[5..]),
        (&expected.map(String::from)[..], &["drained", "close: Closed"].map(String::from)[..])
    );
}

#[test]
fn an_outbound_connection_is_framed_too() {
    let mut run = Run::new(Witness::default());
    let at: Endpoint = "127.0.0.1:9".parse().expect("an endpoint");
    let host = Script::new().send("4\n").after(Duration::from_secs(1)).finish();
    run.reactor.driver_mut().net_mut().host(&at, host);
    run.play(Script::new().after(Duration::from_secs(30)).finish());
    run.run_for(10);
    assert_eq!(run.calls(), ["verify", "open", "timer", "tick", "open", "eof", "close: Finished"]);
    assert_eq!(run.reactor.stats().bytes_out, 4);
}

#[test]
fn the_end_of_input_need_not_be_the_end() {
    let mut run = Run::new(Witness { after_eof: AfterEof::Stay, ..Witness::default() });
    let client = run.play(Script::new().send("2\n3").finish());
    run.run_for(10);
    assert_eq!(run.received(client), b"xxxxx");
    assert_eq!(run.calls()[..4], ["verify", "open", "eof", "timer"]);
    assert_eq!(run.reactor.connections(), 1);
}

#[test]
fn a_shutdown_and_the_end_of_a_listener_are_told() {
    let mut run = Run::new(Witness::default());
    run.play(Script::new());
    run.run_for(1);
    let at = run.at.clone();
    run.reactor.driver_mut().net_mut().break_listener(&at, rustix::io::Errno::INVAL);
    run.play(Script::new());
    run.run_for(3);
    run.reactor.shutdown(Duration::from_secs(1));
    run.run_for(3);
    let calls = run.calls();
    assert!(calls.contains(&"listener_failed: InvalidInput".into()), "{calls:?}");
    assert_eq!(calls[calls.len() - 2..], ["shutting_down", "close: Shutdown"]);
}
