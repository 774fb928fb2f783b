//! The state of simulated connections as text, for a test to print.

use super::network::Network;
use super::wire::Kind;

impl Network {
    /// The state of each connection, in one line: the client's end, and what is on
    /// the way.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> {
        self.wires.iter().enumerate().map(|(place, wire)| {
            let client = &wire.client;
            let states = [
                ("no layer yet", client.layer.as_ref().is_some_and(|layer| !layer.is_ready)),
                ("waits at a cut", client.is_cutting),
                ("finishing", client.finishing && !client.fin_sent),
                ("has sent FIN", client.fin_sent),
                ("has closed", client.closed),
                ("has seen FIN", client.saw_fin.is_some()),
                ("has seen a reset", client.saw_reset.is_some()),
                ("has reset", client.has_reset),
                ("has vanished", client.vanished),
                ("server's end closed", !wire.socket.open),
                ("broken", wire.socket.broken),
            ];
            let states: Vec<_> = states.into_iter().filter(|(_, is_so)| *is_so).map(|(name, _)| name).collect();
            let what = match wire.kind {
                Kind::Tcp => "TCP",
                Kind::Unix => "Unix",
                Kind::Pipe => "pipe",
            };
            format!(
                "#{place} {what} {:?}, reads {:?}: to the server {} bytes unsent, {} in flight, {} unread; to \
                 the client {} in flight, {} unread, {} received; {}",
                wire.stage,
                client.pace,
                client.outgoing().len() - client.pumped,
                wire.up.in_flight(),
                wire.up.unread(),
                wire.down.in_flight(),
                wire.down.unread(),
                client.received.len(),
                if states.is_empty() { "open".into() } else { states.join(", ") },
            )
        })
    }
}
