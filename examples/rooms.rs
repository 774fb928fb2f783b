//! Teaches: rooms over many processes. Start it as often as you like, on as many
//! machines; whoever is in a room, on whichever of them, sees the same lines in the same
//! order.
//!
//! ```text
//! redis-server &
//! cargo run --release --features bus --example rooms -- redis://127.0.0.1/rooms 127.0.0.1:7001
//! cargo run --release --features bus --example rooms -- redis://127.0.0.1/rooms 127.0.0.1:7002
//! nc 127.0.0.1 7001        the first line is the room; with a position behind it, what
//! nc 127.0.0.1 7002        was missed since comes first:  lobby 0123456789abcdef:42
//! ```

use std::collections::BTreeMap;
use std::env;

use serve_forever::bus::{
    Bus, BusError, BusHandler, BusOptions, BusToken, Gap, Message, OnBus, Position, Resume,
};
use serve_forever::bytes::{Bytes, BytesMut};
use serve_forever::{BoxError, Config, ConnId, Io, Limits, Origin, Reactor, StreamHandler};

struct Rooms {
    bus: Bus,
    /// Clients that catch up.
    returning: BTreeMap<BusToken, ConnId>,
}

/// The room of a client, once it has named it.
type Session = Option<String>;

impl Rooms {
    fn enter(&mut self, io: &mut Io<'_>, line: &str) -> Result<Session, BoxError> {
        let mut words = line.split_whitespace();
        let room = words.next().ok_or("the first line is the name of a room")?;
        match words.next() {
            None => _ = self.bus.join(io, room, io.id())?,
            Some(position) => {
                let token = self.bus.resume(io, room, position.parse::<Position>()?)?;
                self.returning.insert(token, io.id());
            }
        }
        Ok(Some(room.into()))
    }
}

/// A message as a line; with its position, which a client may come back with.
fn line(message: &Message) -> Bytes {
    let position = message.position.map_or_else(|| "-".into(), |position| position.to_string());
    format!("{position} {}\n", String::from_utf8_lossy(&message.payload)).into()
}

fn missed(gap: &Gap) -> Bytes {
    match gap.missing() {
        Some(count) => format!("* {count} lines were missed ({:?})\n", gap.why).into(),
        None => format!("* lines may be missing ({:?})\n", gap.why).into(),
    }
}

impl StreamHandler for Rooms {
    type Session = Session;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Session, BoxError> {
        Ok(None)
    }

    fn data(&mut self, io: &mut Io<'_>, room: &mut Session, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&input.split_to(end + 1)).trim_end().to_owned();
            match room {
                None => *room = self.enter(io, &line)?,
                Some(room) => {
                    if let Err(error) = self.bus.publish(io, room, line) {
                        io.reply(format!("! not delivered: {error}\n").as_bytes());
                    }
                }
            }
        }
        Ok(())
    }
}

impl BusHandler for Rooms {
    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn message(&mut self, io: &mut Io<'_>, message: Message) {
        self.bus.broadcast(io, &message.room, &line(&message));
    }

    fn gap(&mut self, io: &mut Io<'_>, gap: Gap) {
        self.bus.broadcast(io, &gap.room, &missed(&gap));
    }

    fn resumed(&mut self, io: &mut Io<'_>, room: &str, token: BusToken, step: Resume) {
        let Some(client) = self.returning.get(&token).copied() else { return };
        match step {
            Resume::Message(message) => _ = io.send(client, line(&message)),
            Resume::Gap(gap) => _ = io.send(client, missed(&gap)),
            Resume::Done(_) | Resume::Failed => {
                self.returning.remove(&token);
                if let Err(error) = self.bus.join(io, room, client) {
                    eprintln!("a client that came back joins no room: {error}");
                    io.close(client);
                }
            }
        }
    }

    fn bus_down(&mut self, _: &mut Io<'_>, why: BusError) {
        eprintln!("the rooms are offline: {why}");
    }
}

fn main() -> Result<(), BoxError> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1/rooms".into());
    let endpoint = arguments.next().unwrap_or_else(|| "127.0.0.1:7001".into());
    let bus = Bus::new(url.parse()?, BusOptions::default())?;
    let mut reactor = Reactor::new(Config::default())?;
    let rooms = reactor.add(OnBus::new(Rooms { bus, returning: BTreeMap::new() }), Limits::default())?;
    let listener = reactor.listen(&rooms, &endpoint.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
