//! A node on a bus, whose link to a simulated Redis is cut at every byte.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serve_forever::bus::{
    Bus, BusEvent, BusHandler, BusLimits, BusOptions, EnterError, Gap, Message, OnBus, Resume,
};
use serve_forever::driver::sim::{Act, Conditions, Cut, Script};
use serve_forever::sim::World;
use serve_forever::sim::redis::{Fault, Redis, Survives};
use serve_forever::{BoxError, CloseReason, Io, Limits, Origin, StreamHandler, TimerId};

const SECOND: Duration = Duration::from_secs(1);

/// The shortest and the longest time that what is sent is on its way.
const LATENCY: Duration = Duration::from_micros(50);

/// The bytes of a long message.
const LONG: usize = 20_000;

struct Lobby(Bus);

impl StreamHandler for Lobby {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.0.join(io, "lobby", io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        if &input[..] == b"stop" {
            io.shutdown(SECOND);
        }
        for word in input.split().split_inclusive(|byte| *byte == b' ') {
            self.0.publish(io, "lobby", word.to_vec())?;
        }
        Ok(())
    }
}

impl BusHandler for Lobby {
    fn bus(&mut self) -> &mut Bus {
        &mut self.0
    }

    fn message(&mut self, io: &mut Io<'_>, message: Message) {
        self.0.broadcast(io, &message.room, &message.payload);
    }

    fn gap(&mut self, io: &mut Io<'_>, gap: Gap) {
        self.0.broadcast(io, &gap.room, &Bytes::from(format!("<{:?}>", gap.why)));
    }
}

fn world(redis: &Redis) -> World<OnBus<Lobby>, true> {
    world_with(redis, BusLimits::default())
}

fn world_with(redis: &Redis, limits: BusLimits) -> World<OnBus<Lobby>, true> {
    let options = BusOptions { seed: Some(1), limits, ..BusOptions::default() };
    let bus = Bus::new("redis://192.0.2.1".parse().expect("a URL"), options).expect("good options");
    let lobby = OnBus::new(Lobby(bus));
    let mut world = World::new(1, Conditions::calm(), lobby, Limits::default()).expect("good limits");
    redis.host(world.net_mut(), &"192.0.2.1:6379".parse().expect("an endpoint"));
    world
}

/// What a client gets that says three things, of two messages each.
fn heard(redis: &Redis) -> String {
    let mut world = world(redis);
    let said = ["one two ", "three four ", "five six"];
    let script = said.into_iter().fold(Script::new(), |script, word| script.send(word).after(SECOND));
    let client = world.play(script);
    world.run_for(60 * SECOND).expect("it keeps its promises");
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

#[test]
fn nothing_is_lost_or_doubled_wherever_the_link_is_cut() {
    // What Redis says until all is said has fewer bytes.
    for byte in 0..1600 {
        for act in [Act::Reset, Act::Finish] {
            let redis = Redis::new();
            redis.will_cut(byte, Cut::Act(act.clone()));
            assert_eq!(heard(&redis), "one two three four five six", "{act:?} at byte {byte}");
        }
    }
}

#[test]
fn a_redis_that_hangs_where_it_likes_is_found() {
    for byte in (0..1600).step_by(7) {
        let redis = Redis::new();
        redis.will_cut(byte, Cut::Pause(3600 * SECOND));
        assert_eq!(heard(&redis), "one two three four five six", "it stops at byte {byte}");
    }
}

#[test]
fn a_restart_is_a_gap_and_what_is_said_then_is_delivered() {
    for (survives, gap) in [(Survives::Everything, "<Restarted>"), (Survives::Nothing, "<Forgotten>")] {
        let redis = Redis::new();
        redis.will(1500 * SECOND / 1000, Fault::Restart(survives, SECOND / 10));
        assert_eq!(heard(&redis), format!("one two three four {gap}five six"), "{survives:?}");
    }
}

/// Two nodes, for a client that says `0+` to enter a member on the first of them, `1-` to
/// take it off the list on the second, `0.` to publish a message of one byte on the first,
/// `1#` to publish a long one on the second, `0,` to publish one to another room, `0r` to
/// catch up on the first, and so on. The second is subscribed to the
/// room whoever is in it.
struct Two {
    nodes: [Bus; 2],
    entered: [Vec<Result<(), EnterError>>; 2],
    /// When the second was told of which message.
    told: Vec<(Instant, u8)>,
    /// For each that has caught up: whether the room was still there.
    caught_up: Vec<bool>,
    started: Option<Instant>,
    /// How many timers have fired that neither waits for.
    strange_timers: usize,
}

impl Two {
    fn new() -> Self {
        Self::with(BusLimits::default())
    }

    fn with(limits: BusLimits) -> Self {
        let node = |seed| {
            let options = BusOptions { seed: Some(seed), limits: limits.clone(), ..BusOptions::default() };
            Bus::new("redis://192.0.2.1".parse().expect("a URL"), options).expect("good options")
        };
        Self {
            nodes: [node(1), node(2)],
            entered: [const { Vec::new() }; 2],
            told: Vec::new(),
            caught_up: Vec::new(),
            started: None,
            strange_timers: 0,
        }
    }

    fn link(&mut self, io: &Io<'_>) -> Option<&mut Bus> {
        self.nodes.iter_mut().find(|node| node.is_link(io.id()))
    }

    fn hear(&mut self, io: &mut Io<'_>) {
        for (node, entered) in self.nodes.iter_mut().zip(&mut self.entered) {
            while let Some(event) = node.next_event(io) {
                match event {
                    BusEvent::Entered { outcome, .. } => entered.push(outcome),
                    BusEvent::Resume { step: Resume::Done(_), .. } => {
                        self.caught_up.push(node.group("lobby").is_some());
                    }
                    BusEvent::Message(message) => self.told.push((io.now(), message.payload[0])),
                    _ => {}
                }
            }
        }
    }
}

impl StreamHandler for Two {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.started = Some(io.now());
        for node in &mut self.nodes {
            node.start(io)?;
        }
        self.nodes[1].subscribe(io, "lobby")?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        if let Some(node) = self.link(io) {
            node.opened(io);
        }
        self.hear(io);
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        if let Some(node) = self.link(io) {
            node.data(io, input);
        } else {
            for order in input.split().chunks(2) {
                let node = &mut self.nodes[usize::from(order[0] - b'0')];
                match order[1] {
                    b'+' => node.enter(io, "lobby", "ann", "")?,
                    b'.' => _ = node.publish(io, "lobby", order.to_vec())?,
                    b'r' => _ = node.resume(io, "lobby", "0000000000000000:0".parse()?)?,
                    b',' => _ = node.publish(io, "attic", order.to_vec())?,
                    b'#' => _ = node.publish(io, "lobby", order.repeat(LONG / 2))?,
                    _ => _ = node.exit(io, "lobby", "ann"),
                }
            }
        }
        self.hear(io);
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), why: &CloseReason) {
        if let Some(node) = self.link(io) {
            node.closed(io, why);
        }
        self.hear(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &std::io::Error) {
        if let Some(node) = self.link(io) {
            node.connect_failed(io, error);
        }
        self.hear(io);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let is_known = self.nodes.iter_mut().any(|node| node.tick(io, timer));
        self.strange_timers += usize::from(!is_known);
        self.hear(io);
    }
}

fn two(redis: &Redis) -> World<Two, true> {
    world_of(redis, Two::new(), Conditions::calm())
}

fn world_of(redis: &Redis, two: Two, conditions: Conditions) -> World<Two, true> {
    let mut world = World::new(1, conditions, two, Limits::default()).expect("good limits");
    redis.host(world.net_mut(), &"192.0.2.1:6379".parse().expect("an endpoint"));
    world
}

#[test]
fn the_answer_for_a_member_that_has_left_is_not_for_the_one_that_follows() {
    // Wherever Redis pauses on its way to the second node: so the answer that the name is
    // taken comes when the node has taken the member off the list, and entered it again.
    for byte in (0..2500).step_by(7) {
        let redis = Redis::new();
        redis.will_cut(usize::MAX, Cut::Act(Act::Reset)); // the first node's link, never
        redis.will_cut(byte, Cut::Pause(8 * SECOND));
        let mut world = two(&redis);
        let orders = ["0+", "1+", "0-", "1-1+"];
        world.play(orders.into_iter().fold(Script::new(), |script, order| script.after(SECOND).send(order)));
        world.run_for(60 * SECOND).expect("it keeps its promises");
        let two = world.handler();
        let owner = two.nodes[1].member("lobby", "ann").map(|member| member.node);
        assert_eq!(owner, Some(two.nodes[1].node()), "it pauses at byte {byte}");
        assert_eq!(two.entered[1].last(), Some(&Ok(())), "it pauses at byte {byte}");
    }
}

#[test]
fn a_member_that_leaves_while_redis_is_away_is_taken_off_the_list_however_long_that_is() {
    for away in [SECOND, 15 * SECOND, 300 * SECOND] {
        let redis = Redis::new();
        redis.will(2 * SECOND, Fault::Restart(Survives::Everything, away));
        let mut world = two(&redis);
        world.play(Script::new().after(SECOND).send("0+").after(3 * SECOND / 2).send("0-"));
        world.run_for(2 * SECOND).expect("it keeps its promises");
        assert!(world.handler().nodes[1].member("lobby", "ann").is_some());
        world.run_for(away + 30 * SECOND).expect("it keeps its promises");
        let [first, second] = &world.handler().nodes;
        assert_eq!(second.members("lobby").next(), None, "it was away for {away:?}");
        assert_eq!(first.group("lobby"), None, "nobody is in the room, and Redis knows");
    }
}

#[test]
fn what_a_link_has_left_behind_is_set_right_when_redis_carries_it_out_late() {
    // Redis hangs until the link is given up, and carries out what came by it behind what
    // comes by the next one: more of that each time. The last word is said in between.
    for more in 0..40 {
        for (during, between) in [("+", "-"), ("-", "+")] {
            let redis = Redis::new();
            redis.will(2 * SECOND, Fault::Hang(20 * SECOND));
            let mut world = two(&redis);
            let pairs = if during == "+" { "0-0+" } else { "0+0-" };
            let orders = pairs.repeat(more + 1);
            let script = Script::new().after(SECOND).send(format!("0{between}"));
            let script = script.after(2 * SECOND).send(orders).after(14 * SECOND);
            world.play(script.send(format!("0{between}")));
            world.run_for(90 * SECOND).expect("it keeps its promises");
            let listed = world.handler().nodes[1].member("lobby", "ann").is_some();
            assert_eq!(listed, between == "+", "{more} more, 0{between} between");
        }
    }
}

/// When the second node was told of what.
fn told_at(gather: Duration, redis: &Redis, orders: &[(Duration, &'static str)]) -> Vec<(Duration, u8)> {
    // What is sent at once comes at once.
    let conditions = Conditions { buffer: 1 << 20, segment: (1 << 20, 1 << 20), ..Conditions::calm() };
    let two = Two::with(BusLimits { gather, ..BusLimits::default() });
    let mut world = world_of(redis, two, conditions);
    let script =
        orders.iter().fold(Script::new(), |script, (after, order)| script.after(*after).send(*order));
    world.play(script);
    world.run_for(60 * SECOND).expect("it keeps its promises");
    let two = world.handler();
    assert_eq!(two.strange_timers, 0);
    let started = two.started.expect("it has started");
    two.told.iter().map(|(at, what)| (at.saturating_duration_since(started), *what)).collect()
}

/// The answers for a member that comes and goes while a message waits.
fn answers(orders: &[(Duration, &'static str)]) -> Vec<Result<(), EnterError>> {
    let two = Two::with(BusLimits { gather: SECOND, ..BusLimits::default() });
    let mut world = world_of(&Redis::new(), two, Conditions::calm());
    let script =
        orders.iter().fold(Script::new(), |script, (after, order)| script.after(*after).send(*order));
    world.play(script);
    world.run_for(10 * SECOND).expect("it keeps its promises");
    world.handler().entered[1].clone()
}

#[test]
fn whether_a_member_is_listed_is_not_told_once_it_has_left() {
    let half = LATENCY / 2;
    // The answer for the member comes behind a message that waits for another.
    let enters = [(SECOND, "1."), (half, "1+"), (half, "1.")];
    assert_eq!(answers(&enters), [Ok(())]);
    let behind_the_answer = 2 * LATENCY - half / 2;
    assert_eq!(answers(&[&enters[..], &[(behind_the_answer, "1-")]].concat()), []);
    assert_eq!(answers(&[&enters[..], &[(behind_the_answer, "1-1+")]].concat()), [Ok(())]);
    assert_eq!(answers(&[&enters[..], &[(behind_the_answer, "1+")]].concat()), [Ok(())]);
    // The answer that another has the name.
    let taken = [&[(SECOND / 2, "0+")], &enters[..]].concat();
    assert_eq!(answers(&taken), [Err(EnterError::Taken)]);
    assert_eq!(answers(&[&taken[..], &[(behind_the_answer, "1-")]].concat()), []);
}

#[test]
fn a_room_is_there_for_whoever_is_told_that_it_has_caught_up() {
    // That comes behind a message, which waits for one that Redis does not answer, while the
    // bus looks for rooms that nobody is in.
    let half = LATENCY / 2;
    let orders = [(SECOND, "0r"), (3 * half, "1."), (3 * half, "0.")];
    let script =
        || orders.iter().fold(Script::new(), |script, (after, order)| script.after(*after).send(*order));
    for byte in (0..2500).step_by(20) {
        let redis = Redis::new();
        redis.will_cut(byte, Cut::Pause(5 * SECOND));
        let limits = BusLimits { gather: SECOND, grace: Duration::ZERO, ..BusLimits::default() };
        let mut world = world_of(&redis, Two::with(limits), Conditions::calm());
        world.play(script());
        world.run_for(30 * SECOND).expect("it keeps its promises");
        assert_eq!(world.handler().caught_up, [true], "it pauses at byte {byte}");
    }
}

/// What the second node was told, in a string for each moment.
fn told_together(gather: Duration, redis: &Redis, orders: &[(Duration, &'static str)]) -> Vec<String> {
    let told = told_at(gather, redis, orders);
    let moments = told.chunk_by(|(one, _), (other, _)| one == other);
    moments.map(|moment| moment.iter().map(|(_, what)| char::from(*what)).collect()).collect()
}

#[test]
fn a_message_waits_for_those_of_its_node_that_are_under_way() {
    for answering_first in [false, true] {
        let redis = || if answering_first { Redis::new().answering_first() } else { Redis::new() };
        // Each is under way for two latencies, and published one behind the one before. The
        // last two are not answered yet when the first come.
        let orders = [(SECOND, "1."), (LATENCY, "1."), (LATENCY, "0."), (LATENCY, "1.")];
        assert_eq!(told_together(Duration::ZERO, &redis(), &orders), ["1", "1", "0", "1"]);
        assert_eq!(told_together(SECOND, &redis(), &orders), ["11", "01"]);
        // Those of the other node wait for nothing.
        let orders = [(SECOND, "0."), (LATENCY, "0."), (LATENCY, "0.")];
        assert_eq!(told_together(SECOND, &redis(), &orders), ["0", "0", "0"]);
        // Nor does one for what goes to another room.
        let orders = [(SECOND, "1."), (LATENCY, "1,"), (4 * LATENCY, "1."), (LATENCY, "1,")];
        assert_eq!(told_together(SECOND, &redis(), &orders), ["1", "1"]);
        assert_eq!(told_at(SECOND, &redis(), &orders), told_at(Duration::ZERO, &redis(), &orders));
    }
}

#[test]
fn a_message_does_not_wait_for_what_will_not_come_in_time() {
    // Each comes one latency behind the one before.
    let orders = [(SECOND, "1."), (LATENCY, "1."), (LATENCY, "1."), (LATENCY, "1.")];
    let at_once = told_at(Duration::ZERO, &Redis::new(), &orders);
    let [short, long] = [9, 11].map(|tenths| told_at(LATENCY * tenths / 10, &Redis::new(), &orders));
    // Nothing is known of the time yet when the first one comes.
    assert_eq!(short[1..], at_once[1..]);
    assert_ne!(long[1..], at_once[1..]);
}

#[test]
fn a_shutdown_waits_for_nothing_and_loses_nothing_that_has_come() {
    let mut world = world_with(&Redis::new(), BusLimits { gather: SECOND, ..BusLimits::default() });
    // The second is under way when the shutdown begins.
    let script = Script::new().after(SECOND).send("one ").after(LATENCY).send("two ");
    let client = world.play(script.after(3 * LATENCY / 2).send("stop"));
    world.run_for(SECOND + 10 * LATENCY).expect("it keeps its promises");
    let received = String::from_utf8_lossy(world.client(client).received()).into_owned();
    assert!(received.starts_with("one "), "{received:?}");
}

#[test]
fn a_message_waits_for_64_kib_at_most() {
    let short = [(SECOND, "0#0#0#"), (LATENCY, "1.")];
    assert_eq!(told_together(Duration::ZERO, &Redis::new(), &short), ["000", "1"]);
    assert_eq!(told_together(SECOND, &Redis::new(), &short), ["0001"]);
    let long = [(SECOND, "0#0#0#0#"), (LATENCY, "1.")];
    assert_eq!(told_together(SECOND, &Redis::new(), &long), ["0000", "1"]);
}

#[test]
fn a_message_waits_no_longer_than_it_may_wherever_redis_pauses_or_is_cut_off() {
    const GATHER: Duration = Duration::from_millis(5);
    let orders = [(SECOND, "1."), (LATENCY, "1."), (LATENCY, "0."), (LATENCY, "1.")];
    for cut in [Cut::Pause(8 * SECOND), Cut::Act(Act::Reset)] {
        let mut longest = Duration::ZERO;
        for byte in (0..2500).step_by(5) {
            let [at_once, gathered] = [Duration::ZERO, GATHER].map(|gather| {
                let redis = Redis::new();
                redis.will_cut(usize::MAX, Cut::Act(Act::Reset)); // the first node's link, never
                redis.will_cut(byte, cut.clone());
                told_at(gather, &redis, &orders)
            });
            assert_eq!(gathered.len(), at_once.len(), "{cut:?} at byte {byte}");
            for ((earliest, what), (at, same)) in at_once.iter().zip(&gathered) {
                assert_eq!(what, same, "{cut:?} at byte {byte}");
                longest = longest.max(at.saturating_sub(*earliest));
            }
            assert!(longest < GATHER + Duration::from_millis(1), "{longest:?}, {cut:?} at byte {byte}");
        }
        // What is cut off is answered no more.
        let is_expected = if cut == Cut::Act(Act::Reset) { longest < GATHER } else { longest >= GATHER };
        assert!(is_expected, "{longest:?}, {cut:?}");
    }
}
