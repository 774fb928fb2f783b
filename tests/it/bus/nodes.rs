//! Nodes for the tests: each is a reactor on a thread of its own, whose handler notes
//! everything that its bus tells it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serve_forever::bus::{
    Bus, BusError, BusHandler, BusOptions, BusToken, BusUrl, EnterError, Gap, GapReason, Message, OnBus,
    Position, Presence, PublishError, Resume,
};
use serve_forever::bytes::BytesMut;
use serve_forever::testing::TestServer;
use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};

use super::ROOM;
use super::redis::Redis;

pub(super) type Node = TestServer<OnBus<Noting>>;

/// What a node was told of its room, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Message(Position, String),
    Gap(Gap),
}

/// A handler that notes.
pub(super) struct Noting {
    pub(super) bus: Bus,
    pub(super) told: Vec<Told>,
    count: usize,
    /// What came from this node to itself alone.
    pub(super) own: Vec<String>,
    pub(super) tokens: BTreeMap<BusToken, String>,
    pub(super) published: Vec<(String, Position)>,
    pub(super) failed: Vec<(String, PublishError)>,
    pub(super) ups: usize,
    pub(super) downs: usize,
    pub(super) why: Vec<BusError>,
    pub(super) entered: Vec<(String, Result<(), EnterError>)>,
    pub(super) presence: Vec<Presence>,
    pub(super) resumes: Vec<BusToken>,
    pub(super) replayed: Vec<(Position, String)>,
    /// How many messages the node had had when the client had caught up.
    pub(super) resumed: Option<usize>,
}

impl Noting {
    pub(super) fn new(bus: Bus) -> Self {
        Self {
            bus,
            told: Vec::new(),
            count: 0,
            own: Vec::new(),
            tokens: BTreeMap::new(),
            published: Vec::new(),
            failed: Vec::new(),
            ups: 0,
            downs: 0,
            why: Vec::new(),
            entered: Vec::new(),
            presence: Vec::new(),
            resumes: Vec::new(),
            replayed: Vec::new(),
            resumed: None,
        }
    }

    pub(super) const fn messages(&self) -> usize {
        self.count
    }

    /// How many publications were answered.
    pub(super) fn answers(&self) -> usize {
        self.published.len() + self.failed.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Position, String)> {
        self.told.iter().filter_map(|told| match told {
            Told::Message(position, text) => Some((*position, text.clone())),
            Told::Gap(_) => None,
        })
    }

    pub(super) fn has(&self, from: usize, number: usize) -> bool {
        let text = format!("{from}:{number}");
        self.told.iter().rev().any(|told| matches!(told, Told::Message(_, said) if *said == text))
    }

    pub(super) fn has_gap(&self, why: GapReason) -> bool {
        self.told.iter().any(|told| matches!(told, Told::Gap(gap) if gap.why == why))
    }

    pub(super) fn position_of(&self, from: usize, number: usize) -> Position {
        let text = format!("{from}:{number}");
        self.all().find(|(_, said)| *said == text).expect("it was told").0
    }

    /// What came after the client had caught up.
    pub(super) fn behind_resume(&self) -> Vec<(Position, String)> {
        self.all().skip(self.resumed.expect("it has caught up")).collect()
    }
}

impl StreamHandler for Noting {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        Ok(self.bus.subscribe(io, ROOM)?)
    }

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }
}

impl BusHandler for Noting {
    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn message(&mut self, _: &mut Io<'_>, message: Message) {
        assert_eq!(&*message.room, ROOM);
        let text = String::from_utf8(message.payload.to_vec()).expect("text");
        self.count += 1;
        match message.position {
            Some(position) => self.told.push(Told::Message(position, text)),
            None => self.own.push(text),
        }
    }

    fn gap(&mut self, _: &mut Io<'_>, gap: Gap) {
        self.told.push(Told::Gap(gap));
    }

    fn published(&mut self, _: &mut Io<'_>, token: BusToken, outcome: Result<Position, PublishError>) {
        let text = self.tokens.remove(&token).expect("it is answered once");
        match outcome {
            Ok(position) => self.published.push((text, position)),
            Err(error) => self.failed.push((text, error)),
        }
    }

    fn resumed(&mut self, _: &mut Io<'_>, _: &str, token: BusToken, step: Resume) {
        assert!(self.resumes.contains(&token));
        match step {
            Resume::Message(message) => {
                let text = String::from_utf8(message.payload.to_vec()).expect("text");
                self.replayed.push((message.position.expect("it came by Redis"), text));
            }
            Resume::Gap(gap) => panic!("{gap:?}"),
            Resume::Done(_) => self.resumed = Some(self.count),
            Resume::Failed => panic!("the bus has ended"),
        }
    }

    fn entered(&mut self, _: &mut Io<'_>, _: &str, member: &str, outcome: Result<(), EnterError>) {
        self.entered.push((member.into(), outcome));
    }

    fn presence(&mut self, _: &mut Io<'_>, presence: Presence) {
        self.presence.push(presence);
    }

    fn bus_up(&mut self, _: &mut Io<'_>) {
        self.ups += 1;
    }

    fn bus_down(&mut self, _: &mut Io<'_>, why: BusError) {
        self.downs += 1;
        self.why.push(why);
    }
}

/// A node of this Redis.
pub(super) fn start(redis: &Redis, options: BusOptions) -> Node {
    start_at(redis.url(), options)
}

pub(super) fn start_at(url: BusUrl, options: BusOptions) -> Node {
    let bus = Bus::new(url, options).expect("good options");
    TestServer::start(OnBus::new(Noting::new(bus)), Limits::default()).expect("it starts")
}

/// Waits until a node gets the messages of its room.
pub(super) fn until_live(node: &Node) {
    node.until(|node, _| node.handler().bus.position(ROOM).is_some());
}

/// Publishes these messages.
pub(super) fn publish(node: &Node, from: usize, numbers: Range<usize>) {
    node.ask(move |node, io| {
        node.run(io, |node, io| {
            for number in numbers {
                let text = format!("{from}:{number}");
                let token = node.bus.publish(io, ROOM, text.clone()).expect("there is room");
                node.tokens.insert(token, text);
            }
        });
    });
}

/// Waits until this is so.
pub(super) fn wait(mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "it does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
