//! A node on a bus, whose link to a simulated Redis is cut at every byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::bus::{Bus, BusEvent, BusHandler, BusOptions, EnterError, Gap, Message, OnBus};
use serve_forever::driver::sim::{Act, Conditions, Cut, Script};
use serve_forever::sim::World;
use serve_forever::sim::redis::{Fault, Redis, Survives};
use serve_forever::{BoxError, CloseReason, Io, Limits, Origin, StreamHandler, TimerId};

const SECOND: Duration = Duration::from_secs(1);

struct Lobby(Bus);

impl StreamHandler for Lobby {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.0.join(io, "lobby", io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
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
    let options = BusOptions { seed: Some(1), ..BusOptions::default() };
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
/// take it off the list on the second, and so on. The second is subscribed to the room
/// whoever is in it.
struct Two {
    nodes: [Bus; 2],
    entered: [Vec<Result<(), EnterError>>; 2],
}

impl Two {
    fn new() -> Self {
        let node = |seed| {
            let options = BusOptions { seed: Some(seed), ..BusOptions::default() };
            Bus::new("redis://192.0.2.1".parse().expect("a URL"), options).expect("good options")
        };
        Self { nodes: [node(1), node(2)], entered: [const { Vec::new() }; 2] }
    }

    fn link(&mut self, io: &Io<'_>) -> Option<&mut Bus> {
        self.nodes.iter_mut().find(|node| node.is_link(io.id()))
    }

    fn hear(&mut self, io: &mut Io<'_>) {
        for (node, entered) in self.nodes.iter_mut().zip(&mut self.entered) {
            while let Some(event) = node.next_event(io) {
                if let BusEvent::Entered { outcome, .. } = event {
                    entered.push(outcome);
                }
            }
        }
    }
}

impl StreamHandler for Two {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
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
        let _ = self.nodes.iter_mut().any(|node| node.tick(io, timer));
        self.hear(io);
    }
}

fn two(redis: &Redis) -> World<Two, true> {
    let mut world = World::new(1, Conditions::calm(), Two::new(), Limits::default()).expect("good limits");
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
