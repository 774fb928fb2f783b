//! Events of a simulated wait: edges, and noise.

use super::network::{Network, Source};
use super::rng::Odds;
use super::trace::What;
use crate::driver::Event;

/// The most events of one wait; few, so that tests see full batches.
const EVENTS: usize = 64;

impl Network {
    /// Reports pending edges, up to a wait's share, in any order, but after
    /// those that an earlier wait has left behind.
    pub(super) fn report_edges(&mut self, report: &mut impl FnMut(Event)) -> u64 {
        let net = self;
        let mut share = net.edges.len().min(EVENTS);
        if share > 1 && net.rng.chance(net.conditions.partial) {
            share = net.rng.size(1, share);
        }
        let mut reported = 0;
        for _ in 0..share {
            let among = if net.left_behind > 0 { net.left_behind } else { net.edges.len() };
            net.left_behind = net.left_behind.saturating_sub(1);
            let source = net.edges.remove(net.rng.size(0, among - 1));
            let event = match source {
                Source::Wire(place) => event_of(net, place),
                Source::Listener(place) => event_of_listener(net, place),
                Source::DatagramSocket(place) => net.socket_event(place),
                Source::Child(place) => net.child_event(place),
            };
            if let Some(event) = event {
                reported += 1;
                report(event);
            }
        }
        net.left_behind = net.edges.len();
        reported
    }

    /// Reports spurious and stale events.
    pub(super) fn report_noise(&mut self, report: &mut impl FnMut(Event)) -> u64 {
        let net = self;
        let mut reported = 0;
        let spurious = net.rng.chance(net.conditions.spurious);
        let stale = net.rng.chance(net.conditions.stale);
        if net.wires.is_empty() || !(spurious || stale) || !net.has_patience_for_noise() {
            return 0;
        }
        if !net.processes.is_empty() && net.rng.chance(Odds::one_in(4)) {
            return net.report_noise_of_children(Noise { spurious, stale }, report);
        }
        let place = net.rng.size(0, net.wires.len() - 1);
        let bits = net.rng.between(1, 7);
        let wire = &net.wires[place];
        let Some(token) = wire.socket.token else { return 0 };
        if wire.socket.open && spurious {
            net.faults.spurious += 1;
        } else if !wire.socket.open && stale {
            net.faults.stale += u64::from(!wire.client.is_host);
            net.stale_of_hosts += u64::from(wire.client.is_host);
        } else {
            return 0;
        }
        net.noises.0 += 1;
        // An actual hang-up is always reported, for hiding it could end a read
        // too early.
        let hangup = bits & 4 != 0 || wire.is_hung_up();
        net.note(place, What::Event, bits | 8);
        reported += 1;
        net.wires[place].socket.told_writable |= bits & 2 != 0;
        report(Event { token, readable: bits & 1 != 0, writable: bits & 2 != 0, hangup });
        reported
    }
}

/// Which kinds of events without news chance has chosen.
struct Noise {
    spurious: bool,
    stale: bool,
}

impl Network {
    /// Reports spurious and stale events of children.
    fn report_noise_of_children(&mut self, noise: Noise, report: &mut impl FnMut(Event)) -> u64 {
        let place = self.rng.size(0, self.processes.len() - 1);
        let process = &self.processes[place];
        if process.silent {
            return 0;
        }
        if process.reaped && noise.stale {
            self.faults.stale += 1;
        } else if !process.reaped && noise.spurious {
            self.faults.spurious += 1;
        } else {
            return 0;
        }
        self.noises.0 += 1;
        let token = process.token;
        self.trace.note(self.now, None, What::ChildEvent, place as u64 | 1 << 32);
        report(Event { token, readable: true, writable: false, hangup: false });
        1
    }
}

/// The event of a socket's edge as of now; `None` if the edge was consumed
/// meanwhile.
fn event_of(net: &mut Network, place: usize) -> Option<Event> {
    let all = net.rng.chance(net.conditions.redundant);
    let wire = &mut net.wires[place];
    wire.socket.listed = false;
    let token = wire.socket.token.filter(|_| wire.socket.open)?;
    let readable = (wire.socket.read_edge || all) && wire.is_readable();
    let writable = (wire.socket.write_edge || all) && wire.is_writable();
    wire.socket.read_edge = false;
    wire.socket.write_edge = false;
    wire.socket.told_writable |= writable;
    if !readable && !writable {
        return None;
    }
    let hangup = readable && wire.is_hung_up();
    let bits = u64::from(readable) | u64::from(writable) << 1 | u64::from(hangup) << 2;
    net.note(place, What::Event, bits);
    Some(Event { token, readable, writable, hangup })
}

fn event_of_listener(net: &mut Network, place: usize) -> Option<Event> {
    let listener = &mut net.listeners[place];
    listener.listed = false;
    let edge = std::mem::take(&mut listener.edge);
    let token = listener.token.filter(|_| edge && listener.would_accept())?;
    net.trace.note(net.now, None, What::ListenerEvent, place as u64);
    Some(Event { token, readable: true, writable: false, hangup: false })
}
