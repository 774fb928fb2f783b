//! Actors: simulated peers that answer, as clients, as hosts and with datagrams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{
    Act, Actor, ActorIo, ClientId, Conditions, Cut, DatagramActor, DatagramActorIo, End, Odds, Pace, Rng,
    Script, SimDriver,
};
use serve_forever::services::{Echo, Upper};
use serve_forever::sim::{Toy, World};
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Endpoint, Io, Limits, ListenOptions, Origin, Peer,
    Reactor, StreamHandler,
};

use super::handlers::{Call, Scripted, calm, noise, patient, run, why};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Notes what it is told, and does what it is asked to when it begins.
#[derive(Default)]
struct Noting {
    acts: Vec<Act>,
    news: Vec<String>,
}

impl Actor for Noting {
    fn begin(&mut self, io: &mut ActorIo<'_>) {
        self.news.push("begin".into());
        for act in self.acts.drain(..) {
            io.act(act);
        }
    }

    fn connected(&mut self, _: &mut ActorIo<'_>) {
        self.news.push("connected".into());
    }

    fn data(&mut self, _: &mut ActorIo<'_>, bytes: &[u8]) {
        self.news.push(format!("data {}", bytes.escape_ascii()));
    }

    fn timer(&mut self, _: &mut ActorIo<'_>, tag: u64) {
        self.news.push(format!("timer {tag}"));
    }

    fn end(&mut self, _: &mut ActorIo<'_>, end: End) {
        self.news.push(format!("end {end:?}"));
    }
}

fn news<H: StreamHandler>(world: &World<H, true>, client: ClientId) -> Vec<String> {
    world.net().actor::<Noting>(client).expect("it plays this client").news.clone()
}

#[test]
fn an_actor_is_told_of_its_connection_from_beginning_to_end() {
    let mut world = calm(Scripted::lines(), patient());
    let client =
        world.play(Noting { acts: vec![Act::Send("hello\n".into()), Act::Finish], ..Noting::default() });
    run(&mut world);
    assert_eq!(news(&world, client), ["begin", "connected", "data hello\\n", "end Fin"]);
    assert!(world.net().actor::<Script>(client).is_none(), "it is of another type");
}

#[test]
fn an_actor_is_told_of_a_reset_once_and_of_nothing_behind_it() {
    struct Resets;
    impl StreamHandler for Resets {
        type Session = ();
        fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
            let _ = io.write(b"hello");
            Ok(())
        }
        fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
            input.clear();
            io.abort(io.id());
            Ok(())
        }
    }
    /// Sets timers before and behind the reset.
    #[derive(Default)]
    struct Timed(Noting);
    impl Actor for Timed {
        fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
            self.0.data(io, bytes);
            io.set_timer(Duration::from_micros(10), 1);
            io.set_timer(SECOND, 2);
            io.send("please");
        }
        fn timer(&mut self, io: &mut ActorIo<'_>, tag: u64) {
            self.0.timer(io, tag);
        }
        fn end(&mut self, io: &mut ActorIo<'_>, end: End) {
            self.0.end(io, end);
        }
    }
    let mut world = calm(Resets, patient());
    let client = world.play(Timed::default());
    run(&mut world);
    let told = &world.net().actor::<Timed>(client).expect("it plays this client").0.news;
    assert_eq!(*told, ["data hello", "timer 1", "end Reset"]);
}

#[test]
fn an_actor_without_a_listener_is_refused() {
    let mut world = calm(Echo::new(), Echo::limits());
    let nowhere: Endpoint = "127.0.0.1:9".parse().expect("an endpoint");
    let client = world.net_mut().play(&nowhere, Noting::default());
    run(&mut world);
    assert_eq!(news(&world, client), ["begin", "end Refused"]);
}

/// What the network does to scripts, it does to actors.
#[test]
fn cuts_delays_and_buffers_apply_to_actors() {
    /// Sends a number of lines, each when the one before has come back.
    struct Talker {
        left: usize,
        heard: usize,
    }
    impl Actor for Talker {
        fn starts_after(&self) -> Duration {
            MILLISECOND
        }
        fn begin(&mut self, io: &mut ActorIo<'_>) {
            io.cut(3, Cut::Pause(SECOND));
            io.cut(22, Cut::Pause(SECOND));
        }
        fn connected(&mut self, io: &mut ActorIo<'_>) {
            io.send("twenty bytes a line\n");
        }
        fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
            self.heard += bytes.len();
            if self.heard == 20 {
                self.heard = 0;
                self.left -= 1;
                if self.left == 0 { io.finish() } else { io.send("twenty bytes a line\n") }
            }
        }
    }
    for seed in 0..200 {
        let conditions =
            Conditions { reset_destroys: Odds::NEVER, ..Conditions::seeded(&mut Rng::new(seed)) };
        let mut world = World::<_>::new(seed, conditions, Scripted::lines(), patient()).expect("good limits");
        let client = world.play(Talker { left: 5, heard: 0 });
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let seen = world.client(client);
        if !seen.was_lost() && !seen.has_reset() && seen.saw_reset().is_none() {
            assert_eq!(seen.received(), "twenty bytes a line\n".repeat(5).as_bytes(), "seed {seed}");
            assert!(world.elapsed() >= 2 * SECOND, "seed {seed}: it was cut twice");
        }
    }
}

#[test]
fn at_a_cut_an_actor_finishes_resets_or_goes_on() {
    for (act, received, closed) in [
        (Act::Finish, &b"hello"[..], "Finished"),
        (Act::CutOff, b"hello", "Finished"),
        (Act::Close, b"", "Finished"),
        (Act::Send(" too\n".into()), b"hello world, and more too\n", "Finished"),
        (Act::Reset, b"", "Io"),
        (Act::Vanish, b"", "Io"),
    ] {
        let mut world = calm(Echo::new(), Echo::limits());
        let acts = vec![Act::Send("hello world, and more".into())];
        let client = world.play(Noting { acts, ..Noting::default() });
        world.net_mut().cut(client, 5, Cut::Act(act.clone()));
        if matches!(act, Act::Send(_)) {
            world.net_mut().later(SECOND, client, Act::Finish);
        }
        run(&mut world);
        assert!(world.client(client).received().starts_with(received), "{act:?}: {:?}", news(&world, client));
        assert!(why(&world, client).starts_with(closed), "{act:?}: {}", why(&world, client));
        let life = world.life(client).expect("it was opened");
        let most = if matches!(act, Act::Send(_)) { 26 } else { 5 };
        assert!(life.input().len() <= most, "{act:?}: what follows is dropped");
    }
}

/// A FIN within what a layer has for the wire is no end of the layer.
#[test]
fn a_fin_at_a_cut_is_none_of_its_layer() {
    let options = ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() };
    // 26 bytes are its hello and two records.
    for cut in 0..26 {
        let mut world = World::<_, true>::listening(
            1,
            Conditions::calm(),
            Echo::new(),
            Limits { linger: SECOND, ..patient() },
            Config::default(),
            &options,
        )
        .expect("good limits");
        let script = Script::new().through(Toy::clients()).send("hello").after(SECOND).send("again");
        let client = world.play(script.cut(cut, Cut::Act(Act::Finish)));
        run(&mut world);
        assert!(!world.client(client).saw_layer_end(), "cut {cut}");
        let closed = world.life(client).and_then(|life| life.closed());
        assert!(closed.is_none_or(|why| why.starts_with("Io")), "cut {cut}: {closed:?}");
        assert!(b"helloagain".starts_with(world.client(client).received()), "cut {cut}");
    }
}

#[test]
fn two_actors_share_what_they_know_and_one_speaks_for_the_other() {
    /// Passes on what it hears, by the mouth of the other.
    struct Whisper {
        other: Rc<RefCell<Option<ClientId>>>,
    }
    impl Actor for Whisper {
        fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
            let other = self.other.borrow().expect("it is known by now");
            io.act_as(other, Act::Send(bytes.to_vec().into()));
            io.act_as(other, Act::Finish);
            io.finish();
        }
    }
    let mut world = calm(Upper::new(), Upper::limits());
    let other = Rc::default();
    let first = world.play(Whisper { other: Rc::clone(&other) });
    let second = world.play(Script::new().then(Act::StayAfterFin));
    *other.borrow_mut() = Some(second);
    world.net_mut().act(first, Act::Send("a secret".into()));
    run(&mut world);
    assert_eq!(world.client(second).received(), b"A SECRET");
}

/// An actor that stops reading and goes on later holds the server up.
#[test]
fn an_actor_reads_at_its_pace() {
    struct Slow;
    impl Actor for Slow {
        fn begin(&mut self, io: &mut ActorIo<'_>) {
            io.read(Pace::Never);
            io.send(noise(1 << 20));
            io.set_timer(10 * SECOND, 0);
        }
        fn timer(&mut self, io: &mut ActorIo<'_>, _: u64) {
            io.read(Pace::AtOnce);
            io.finish();
        }
        fn data(&mut self, io: &mut ActorIo<'_>, _: &[u8]) {
            assert!(io.now().as_nanos() >= 10_000_000_000);
        }
    }
    let mut world = calm(Echo::new(), Echo::limits());
    let client = world.play(Slow);
    world.run_for(9 * SECOND).expect("it keeps its promises");
    assert!(world.net().moved().0 < 1 << 20, "not all of it is read");
    run(&mut world);
    assert!(world.client(client).received() == noise(1 << 20));
}

// A host that answers

/// What all connections of a store share.
type Values = Rc<RefCell<BTreeMap<String, String>>>;

/// A small store that speaks RESP, as Redis does: `SET`, `GET`, and `-ERR` for the
/// rest.
struct Store {
    values: Values,
    input: Vec<u8>,
}

impl Store {
    /// Takes a whole command off the input: an array of bulk strings.
    fn command(&mut self) -> Option<Vec<String>> {
        let mut lines = self.input.split_inclusive(|byte| *byte == b'\n');
        let count: usize = std::str::from_utf8(lines.next()?.strip_suffix(b"\r\n")?)
            .ok()?
            .strip_prefix('*')?
            .parse()
            .ok()?;
        let mut words = Vec::new();
        for _ in 0..count {
            lines.next()?.strip_suffix(b"\r\n")?;
            words.push(String::from_utf8(lines.next()?.strip_suffix(b"\r\n")?.to_vec()).ok()?);
        }
        let rest: usize = lines.map(<[u8]>::len).sum();
        self.input.drain(..self.input.len() - rest);
        Some(words)
    }
}

impl Actor for Store {
    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(words) = self.command() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[..] {
                ["SET", key, value] => {
                    self.values.borrow_mut().insert(key.into(), value.into());
                    io.send("+OK\r\n");
                }
                ["GET", key] => match self.values.borrow().get(key) {
                    Some(value) => io.send(format!("${}\r\n{value}\r\n", value.len())),
                    None => io.send("$-1\r\n"),
                },
                _ => io.send("-ERR unknown command\r\n"),
            }
        }
    }
}

/// Asks the store for its clients: each line is a command in words. A client whose
/// store cannot be reached is told so.
struct Front(Endpoint);

fn resp(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), parts.collect::<String>())
}

impl StreamHandler for Front {
    type Session = ConnId;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
        match origin {
            Origin::Connected { tag, .. } => Ok(ConnId::from_bits(*tag)),
            _ => Ok(io.connect(&self.0, io.id().to_bits())?),
        }
    }

    fn data(&mut self, io: &mut Io<'_>, other: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            let from_client = !line.ends_with(b"\r\n");
            let text = std::str::from_utf8(&line)?;
            let _ = io.send(*other, if from_client { resp(text) } else { text.replace('\r', "") });
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, other: &mut ConnId, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        io.finish(*other);
        Ok(AfterEof::Stay)
    }

    fn close(&mut self, io: &mut Io<'_>, other: ConnId, _: &CloseReason) {
        io.finish(other);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, _: &std::io::Error) {
        let client = ConnId::from_bits(tag);
        let _ = io.send(client, "away\n");
        io.close(client);
    }
}

fn front<const SHORT: bool>(seed: u64, conditions: Conditions) -> (World<Front, SHORT>, Endpoint, Values) {
    let at: Endpoint = "192.0.2.7:6379".parse().expect("an endpoint");
    let mut world = World::new(seed, conditions, Front(at.clone()), patient()).expect("good limits");
    let values = Values::default();
    let shared = Rc::clone(&values);
    world.net_mut().host_with(&at, move || Store { values: Rc::clone(&shared), input: Vec::new() });
    (world, at, values)
}

#[test]
fn a_host_keeps_what_its_connections_share() {
    let (mut world, ..) = front::<true>(1, Conditions::calm());
    let writer = world.play(Script::new().send("SET a 1\nGET a\nDEL a\n").await_answer("-ERR").finish());
    run(&mut world);
    assert_eq!(world.client(writer).received(), b"+OK\n$1\n1\n-ERR unknown command\n");
    let reader = world.play(Script::new().send("GET a\nGET b\n").await_answer("$-1").finish());
    run(&mut world);
    assert_eq!(world.client(reader).received(), b"$1\n1\n$-1\n");
    assert_eq!(world.net().clients().filter(|(_, client)| client.is_host()).count(), 2);
}

#[test]
fn a_host_that_is_cut_anywhere_answers_the_same() {
    for buffer in 1..40 {
        let conditions = Conditions { buffer, segment: (1, 3), ..Conditions::calm() };
        let (mut world, ..) = front::<false>(buffer as u64, conditions);
        let script = Script::new().send("SET key value\nGET key\nGET none\n").await_answer("$-1\n");
        let client = world.play(script.finish());
        run(&mut world);
        assert_eq!(world.client(client).received(), b"+OK\n$5\nvalue\n$-1\n", "buffer {buffer}");
    }
}

#[test]
fn a_host_under_seeds_of_bad_weather_answers_right_or_not_at_all() {
    let mut whole = 0;
    for seed in 0..300 {
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        let (mut world, _, values) = front::<false>(seed, conditions);
        let clients: Vec<_> = (0..3)
            .map(|n| {
                world.play(Script::new().send(format!("SET {n} x\nGET {n}\n")).await_answer("x\n").finish())
            })
            .collect();
        world.run_for(3600 * SECOND).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        for client in clients {
            let received = world.client(client).received();
            assert!(
                b"+OK\n$1\nx\n".starts_with(received) || b"away\n".starts_with(received),
                "seed {seed}: {}",
                received.escape_ascii()
            );
            whole += usize::from(received.len() == 9);
        }
        assert!(values.borrow().len() <= 3);
    }
    assert!(whole > 500, "{whole} of them were answered");
}

#[test]
fn a_host_goes_away_and_comes_back() {
    let (mut world, at, values) = front::<true>(1, Conditions::calm());
    world.net_mut().remove_host(&at);
    let early = world.play(Script::new().send("GET a\n"));
    run(&mut world);
    assert_eq!(world.client(early).received(), b"away\n");
    values.borrow_mut().insert("a".into(), "1".into());
    world.net_mut().host_with(&at, move || Store { values: Rc::clone(&values), input: Vec::new() });
    let late = world.play(Script::new().send("GET a\n").await_answer("1\n").finish());
    run(&mut world);
    assert_eq!(world.client(late).received(), b"$1\n1\n");
}

/// A host may take its time until it answers.
#[test]
fn a_host_answers_after_its_time() {
    let at: Endpoint = "192.0.2.7:25".parse().expect("an endpoint");
    let mut world = World::<_, true>::new(1, Conditions::calm(), Front(at.clone()), patient()).expect("good");
    let greeting = Script::new().starting_after(5 * SECOND).send("220 hello\r\n").finish();
    world.net_mut().host(&at, greeting);
    let client = world.play(Script::new());
    run(&mut world);
    assert_eq!(world.client(client).received(), b"220 hello\n");
    assert!(world.elapsed() > 5 * SECOND && world.elapsed() < 6 * SECOND, "{:?}", world.elapsed());
}

// Datagrams

/// Sends numbers, each again until it is answered.
struct Sender {
    server: Endpoint,
    next: u64,
    count: u64,
    wrong: u64,
}

impl Sender {
    fn text(&self) -> String {
        format!("number {}", self.next)
    }

    fn ask(&self, io: &mut DatagramActorIo<'_>) {
        io.send(&self.server, self.text());
        io.set_timer(SECOND, self.next);
    }
}

impl DatagramActor for Sender {
    fn begin(&mut self, io: &mut DatagramActorIo<'_>) {
        self.ask(io);
    }

    fn datagram(&mut self, io: &mut DatagramActorIo<'_>, from: &Endpoint, data: &[u8]) {
        assert_eq!(*from, self.server);
        if data == self.text().to_uppercase().as_bytes() {
            self.next += 1;
            if self.next < self.count {
                self.ask(io);
            }
        } else {
            self.wrong += 1; // an earlier one, doubled or late
        }
    }

    fn timer(&mut self, io: &mut DatagramActorIo<'_>, tag: u64) {
        if tag == self.next && self.next < self.count {
            self.ask(io);
        }
    }
}

#[test]
fn datagram_actors_get_all_answers_in_the_end_whatever_is_lost() {
    for seed in 0..50 {
        let conditions = Conditions {
            lost: Odds::one_in(3),
            doubled: Odds::one_in(3),
            latency: (Duration::from_micros(50), 20 * MILLISECOND),
            ..Conditions::calm()
        };
        let driver = SimDriver::<true>::new(seed, conditions);
        let mut reactor = Reactor::with_driver(driver, Config::default()).expect("a good configuration");
        let upper = reactor.add(Upper::new(), Upper::limits()).expect("good limits");
        let server: Endpoint = "udp://127.0.0.1:53".parse().expect("an endpoint");
        reactor.bind(&upper, &server).expect("nobody else is there");
        let peers = [1, 2, 3].map(|port| Peer::inet(([10, 0, 0, 1], port).into()));
        for peer in &peers {
            let sender = Sender { server: server.clone(), next: 0, count: 20, wrong: 0 };
            reactor.driver_mut().net_mut().play_datagrams(peer, sender);
        }
        while !reactor.driver().net().is_quiet() {
            reactor.turn(Some(SECOND)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let net = reactor.driver().net();
        assert!(net.faults().lost > 0 && net.faults().doubled > 0, "seed {seed}");
        for peer in &peers {
            let sender: &Sender = net.datagram_actor(peer).expect("it plays this peer");
            assert_eq!(sender.next, 20, "seed {seed}");
        }
        let wrong: u64 = peers
            .iter()
            .filter_map(|peer| net.datagram_actor::<Sender>(peer))
            .map(|sender| sender.wrong)
            .sum();
        assert!(wrong > 0, "seed {seed}: some came twice");
    }
}

#[test]
fn a_later_datagram_actor_takes_the_place_of_an_earlier_one() {
    struct Counts(u64);
    impl DatagramActor for Counts {
        fn begin(&mut self, io: &mut DatagramActorIo<'_>) {
            io.set_timer(SECOND, 0);
        }
        fn datagram(&mut self, _: &mut DatagramActorIo<'_>, _: &Endpoint, _: &[u8]) {}
        fn timer(&mut self, io: &mut DatagramActorIo<'_>, _: u64) {
            self.0 += 1;
            assert_eq!((self.0, io.now().as_nanos() / 1_000_000_000), (1, 1));
        }
    }
    let mut world = calm(Echo::new(), Echo::limits());
    let peer = Peer::inet(([10, 0, 0, 1], 1).into());
    world.net_mut().play_datagrams(&peer, Counts(0));
    world.net_mut().play_datagrams(&peer, Counts(0));
    run(&mut world);
    assert_eq!(world.net().datagram_actor::<Counts>(&peer).map(|counts| counts.0), Some(1));
}

// Several services

/// Clients are addressed to the service that they mean, and each is checked.
#[test]
fn a_world_has_several_services_with_clients_of_their_own() {
    let mut world = calm(Upper::new(), Upper::limits());
    let lines = world.add(Scripted::lines(), patient()).expect("good limits");
    let options = ListenOptions::default();
    let at =
        world.listen(&lines, &"127.0.0.1:0".parse().expect("an endpoint"), &options).expect("it is free");
    let path: Endpoint = "unix:/lines".parse().expect("an endpoint");
    assert_eq!(world.listen(&lines, &path, &options).expect("it is free"), path);
    let loud = world.play(Script::new().send("one").finish());
    let by_tcp = world.net_mut().play(&at, Script::new().send("one\n").await_answer("one\n").finish());
    let by_unix = world.net_mut().play(&path, Script::new().send("two\n").finish());
    run(&mut world);
    assert_eq!(world.client(loud).received(), b"ONE");
    assert_eq!(world.client(by_tcp).received(), b"one\n");
    assert_eq!(world.client(by_unix).received(), b"two\n");
    assert_eq!((world.lives().len(), world.recording_of(&lines).lives().len()), (1, 2));
    assert_eq!(why(&world, by_unix), "Finished");
}

/// What is wrong with a second service is found as with the first.
#[test]
fn the_checks_hold_for_every_service() {
    let mut world = calm(Echo::new(), Echo::limits());
    let wakes = Scripted::new(|io: &mut Io<'_>, call| {
        if matches!(call, Call::Open) {
            io.after(Duration::ZERO)?;
        }
        if let Call::Timer(_) = call {
            io.after(Duration::ZERO)?; // for ever
        }
        Ok(())
    });
    let spinning = world.add(wakes, patient()).expect("good limits");
    let at = "127.0.0.1:0".parse().expect("an endpoint");
    let at = world.listen(&spinning, &at, &ListenOptions::default()).expect("it is free");
    world.net_mut().play(&at, Script::new());
    world.set_patience(1000);
    let violation = world.run().expect_err("it never rests");
    assert!(violation.what.contains("does not come to rest"), "{violation}");
    assert_eq!(world.check_baseline().expect_err("one is open").what.split(' ').next(), Some("1"));
}
