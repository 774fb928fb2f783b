//! A node on a bus, whose link to a simulated Redis is cut at every byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::bus::{Bus, BusHandler, BusOptions, Gap, Message, OnBus};
use serve_forever::driver::sim::{Act, Conditions, Cut, Script};
use serve_forever::sim::World;
use serve_forever::sim::redis::{Fault, Redis, Survives};
use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};

const SECOND: Duration = Duration::from_secs(1);

struct Lobby(Bus);

impl StreamHandler for Lobby {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.0.join(io, "lobby", io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.0.publish(io, "lobby", input.split())?;
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

/// What a client gets that says three things.
fn heard(redis: &Redis) -> String {
    let mut world = world(redis);
    let said = ["one ", "two ", "three"];
    let script = said.into_iter().fold(Script::new(), |script, word| script.send(word).after(SECOND));
    let client = world.play(script);
    world.run_for(60 * SECOND).expect("it keeps its promises");
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

#[test]
fn nothing_is_lost_or_doubled_wherever_the_link_is_cut() {
    // What Redis says until all is said has fewer bytes.
    for byte in 0..1500 {
        for act in [Act::Reset, Act::Finish] {
            let redis = Redis::new();
            redis.will_cut(byte, Cut::Act(act.clone()));
            assert_eq!(heard(&redis), "one two three", "{act:?} at byte {byte}");
        }
    }
}

#[test]
fn a_redis_that_hangs_where_it_likes_is_found() {
    for byte in (0..1500).step_by(7) {
        let redis = Redis::new();
        redis.will_cut(byte, Cut::Pause(3600 * SECOND));
        assert_eq!(heard(&redis), "one two three", "it stops at byte {byte}");
    }
}

#[test]
fn a_restart_is_a_gap_and_what_is_said_then_is_delivered() {
    for (survives, gap) in [(Survives::Everything, "<Restarted>"), (Survives::Nothing, "<Forgotten>")] {
        let redis = Redis::new();
        redis.will(1500 * SECOND / 1000, Fault::Restart(survives, SECOND / 10));
        assert_eq!(heard(&redis), format!("one two {gap}three"), "{survives:?}");
    }
}
