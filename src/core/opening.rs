//! Beginnings of connections: whether there is room for one more, and its place in
//! the table and in the counts.

use super::Core;
use crate::conn::Conn;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::ConnId;
use crate::layer::ContainedLayer;
use crate::layers::Layered;
use crate::life::Flags;
use crate::origin::{Origin, Side};

impl Core {
    /// All connections but the pipes of children.
    pub(crate) const fn connections(&self) -> usize {
        self.conns.len() - self.pipes
    }

    /// Whether one more connection of a service is within the limits.
    pub(crate) fn room_for(&self, service: u16) -> Result<()> {
        let state = &self.services[service as usize];
        if self.is_over {
            Err(Error::Over)
        } else if self.connections() >= self.max_connections {
            // What the program has for itself is none that its user has counted.
            Err(Error::Full {
                what: "connections",
                field: Some("Config::max_connections"),
                limit: self.max_connections.saturating_sub(self.own),
            })
        } else if state.stats.connections >= state.limits.max_connections {
            Err(Error::Full {
                what: "connections of the service",
                field: Some("Limits::max_connections"),
                limit: state.limits.max_connections,
            })
        } else {
            Ok(())
        }
    }

    /// Inserts a connection that is there, to be opened.
    pub(crate) fn admit(&mut self, service: u16) -> ConnId {
        self.services[service as usize].stats.connections += 1;
        ConnId(self.conns.insert(Conn::new(service, self.moment)))
    }

    /// Inserts an accepted connection with a layer, to be opened when that is ready.
    pub(crate) fn admit_layered(&mut self, service: u16, layer: ContainedLayer, origin: Origin) -> ConnId {
        self.services[service as usize].stats.connections += 1;
        let id = ConnId(self.conns.insert(Conn::layered(service, self.moment)));
        self.layers.insert_accepted(id.0, layer, origin);
        id
    }

    /// Inserts the connection of an adopted one-way descriptor, to be opened.
    pub(crate) fn admit_one_way(&mut self, service: u16, side: Side) -> ConnId {
        self.services[service as usize].stats.connections += 1;
        self.own += 1;
        ConnId(self.conns.insert(Conn::pipe(service, self.moment, side)))
    }

    /// Inserts a connection to be made.
    pub(super) fn insert_outbound(
        &mut self,
        service: u16,
        tag: u64,
        layer: Option<ContainedLayer>,
    ) -> ConnId {
        self.services[service as usize].stats.connections += 1;
        let id = ConnId(self.conns.insert(Conn::outbound(service, self.moment, tag)));
        if let Some((layer, conn)) = layer.zip(self.conns.get_mut(id.0)) {
            conn.set(Flags::LAYERED.union(Flags::HANDSHAKING));
            self.layers.insert(id.0, Layered::new(layer, 0));
        }
        id
    }

    /// Asks for a connection; the loop makes it after the callback.
    pub(crate) fn connect(
        &mut self,
        service: u16,
        to: Endpoint,
        tag: u64,
        layer: Option<ContainedLayer>,
    ) -> Result<ConnId> {
        self.room_for(service)?;
        let id = self.insert_outbound(service, tag, layer);
        if let Some(conn) = self.conns.get_mut(id.0) {
            conn.extras().to = Some(Box::new(to));
        }
        self.to_connect.push(id, &mut self.pending);
        Ok(id)
    }
}
