//! The chat of `benches/common/room.rs`, each of whose lines goes through a Redis and
//! comes back by the bus.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, BytesMut};
use serve_forever::bus::{Bus, BusHandler, BusOptions, Gap, Message, OnBus};
use serve_forever::{CloseReason, Config, ConnId, Io, Limits, Origin, StreamHandler};

use super::ours;
use crate::Result;

const ROOM: &str = "lobby";

/// Each line goes to every other member.
struct BusRoom {
    bus: Bus,
    members: BTreeMap<u64, ConnId>,
    opened: u64,
}

/// Becomes it.
pub(super) fn serve(redis: SocketAddr) -> Result<()> {
    let bus = Bus::new(format!("redis://{redis}").parse()?, BusOptions::default())?;
    let room = BusRoom { bus, members: BTreeMap::new(), opened: 0 };
    ours::serve(Config::default(), OnBus::new(room), Limits::default(), None)
}

impl StreamHandler for BusRoom {
    /// The member's number, which its lines begin with on the bus.
    type Session = u64;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<u64> {
        self.bus.join(io, ROOM, io.id())?;
        self.opened += 1;
        self.members.insert(self.opened, io.id());
        Ok(self.opened)
    }

    fn data(&mut self, io: &mut Io<'_>, member: &mut u64, input: &mut BytesMut) -> Result<()> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            let mut message = BytesMut::with_capacity(size_of::<u64>() + line.len());
            message.put_u64(*member);
            message.put_slice(&line);
            self.bus.publish(io, ROOM, message)?;
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, member: u64, _: &CloseReason) {
        self.members.remove(&member);
    }
}

impl BusHandler for BusRoom {
    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn message(&mut self, io: &mut Io<'_>, mut message: Message) {
        let number = message.payload.get_u64();
        let speaker = self.members.get(&number).copied().filter(|_| message.node == self.bus.node());
        if let Some(group) = self.bus.group(ROOM) {
            io.broadcast(group, &message.payload, speaker);
        }
    }

    /// Nobody may miss a line: the load waits for it, and fails.
    fn gap(&mut self, _: &mut Io<'_>, gap: Gap) {
        eprintln!("lines are missing: {gap:?}");
    }
}
