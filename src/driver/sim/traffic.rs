//! Traffic of the network: establishes connections, and delivers bytes, FINs
//! and resets.

use std::time::Duration;

use rustix::io::Errno;

use super::act::{Act, Cut};
use super::actor::{End, News, Players};
use super::half_pipe::Arrival;
use super::network::{Due, Listening, Network, Source, Way};
use super::rng::Odds;
use super::trace::What;
use super::wire::{Client, Kind, Stage, Wire};
use crate::endpoint::Endpoint;

/// A client whose listener has a full backlog tries again after this
/// (a SYN's first retransmission, RFC 6298).
const CONNECT_RETRY: Duration = Duration::from_secs(1);

impl Network {
    // Connecting

    /// The place of the listener at an endpoint; none if no listener is there.
    pub(super) fn listener_at(&self, at: &Endpoint) -> usize {
        let is_there = |listener: &Listening| listener.token.is_some() && listener.at == *at;
        self.listeners.iter().position(is_there).unwrap_or(usize::MAX)
    }

    /// The listener that is now at the endpoint of an earlier one.
    fn listener_now(&self, listener: usize) -> usize {
        let Some(then) = self.listeners.get(listener).filter(|then| then.token.is_none()) else {
            return listener;
        };
        let is_there = |now: &Listening| now.token.is_some() && now.at == then.at;
        self.listeners.iter().position(is_there).unwrap_or(listener)
    }

    /// Whether the backlog of a Unix socket is full.
    pub(super) fn is_crowded(&mut self, to: &Endpoint) -> bool {
        let now = self.now;
        matches!(to, Endpoint::Unix(_))
            && (self.crowded.iter().any(|(at, until)| at == to && *until > now) || self.blocks_anyway())
    }

    /// Begins an outbound connection of the server to a host.
    pub(super) fn dial(&mut self, to: &Endpoint) -> usize {
        let place = self.wires.len();
        let kind = if matches!(to, Endpoint::Unix(_)) { Kind::Unix } else { Kind::Tcp };
        let mut wire = Wire::new(kind, usize::MAX, self.conditions.buffer);
        wire.socket.open = true;
        wire.client.is_host = true;
        let host = self.hosts.iter_mut().rfind(|host| host.at == *to);
        let is_silent = host.as_ref().is_some_and(|host| host.players.is_none());
        wire.client.actor = host.and_then(|host| host.players.as_mut()).map(Players::make);
        let start = wire.client.actor.as_ref().map_or(Duration::ZERO, |player| player.0.starts_after());
        self.wires.push(wire);
        self.open += 1;
        self.note(place, What::Dial, 0);
        if !is_silent {
            let latency = self.latency();
            self.after(start.saturating_add(latency), Due::Answer(place));
        }
        place
    }

    pub(super) fn answer_server(&mut self, place: usize) {
        if !self.wires[place].socket.open {
            return; // it has given up
        }
        if self.wires[place].client.actor.is_none() {
            self.note(place, What::ServerIsRefused, 0);
            self.wires[place].stage = Stage::Refused;
            return self.break_socket(place, Errno::CONNREFUSED);
        }
        self.note(place, What::Answer, 0);
        self.wires[place].stage = Stage::Accepted;
        self.write_edge(place);
        self.tell(place, &News::Begin);
        self.tell(place, &News::Connected);
    }

    pub(super) fn arrive_at_listener(&mut self, place: usize) {
        let listener = self.listener_now(self.wires[place].listener);
        self.wires[place].listener = listener;
        let open = self.listeners.get(listener).filter(|listener| listener.token.is_some());
        match open {
            Some(open) if open.waiting.len() < open.backlog.max(1) => {
                self.note(place, What::Backlog, listener as u64);
                self.wires[place].stage = Stage::Backlog;
                self.listeners[listener].waiting.push_back(place);
                self.change_of_listener(listener);
                self.pump(place);
                self.tell(place, &News::Connected);
            }
            Some(_) if self.wires[place].kind == Kind::Tcp => self.after(CONNECT_RETRY, Due::Connect(place)),
            _ => {
                self.note(place, What::Refused, 0);
                self.wires[place].stage = Stage::Refused;
                self.wires[place].client.refused = true;
                self.tell(place, &News::End(End::Refused));
            }
        }
    }

    pub(super) fn change_of_listener(&mut self, place: usize) {
        let redundant = self.rng.chance(self.conditions.redundant);
        if self.listeners[place].armed || redundant {
            self.listener_edge(place);
        }
    }

    pub(super) fn listener_edge(&mut self, place: usize) {
        let listener = &mut self.listeners[place];
        listener.armed = false;
        listener.edge = true;
        if !std::mem::replace(&mut listener.listed, true) {
            self.edges.push(Source::Listener(place));
        }
    }

    // To the server

    /// Puts a client's unsent bytes in flight, as many as fit.
    pub(super) fn pump(&mut self, place: usize) {
        let wire = &self.wires[place];
        if !matches!(wire.stage, Stage::Backlog | Stage::Accepted)
            || wire.is_client_gone()
            || wire.client.fin_sent
        {
            return;
        }
        let Client { layer, sent, finishing, .. } = &mut self.wires[place].client;
        if let Some(layer) = layer {
            layer.send(sent, *finishing);
        }
        loop {
            let wire = &self.wires[place];
            let left = wire.client.outgoing().len() - wire.client.pumped;
            let count = left.min(wire.up.room()).min(wire.client.before_cut());
            if count == 0 {
                break;
            }
            let (least, most) = self.conditions.segment;
            let count = self.rng.size(least.max(1), most).min(count);
            let wished = self.arrival();
            let wire = &mut self.wires[place];
            let from = wire.client.pumped;
            wire.client.pumped += count;
            let at = wire.up.arrival(wished);
            wire.up.send(at, wire.client.outgoing()[from..from + count].to_vec());
            self.note(place, What::ClientSends, count as u64);
            self.at(at, Due::Arrive(place, Way::Up));
        }
        let client = &mut self.wires[place].client;
        if client.before_cut() == 0 {
            if !std::mem::replace(&mut client.is_cutting, true) {
                let time = match client.cuts.front() {
                    Some((_, Cut::Pause(time))) => *time,
                    _ => Duration::ZERO,
                };
                self.after(time, Due::Cut(place));
            }
            return;
        }
        // Behind the server's end, a layer whose handshake never ends is given up.
        let is_done = client.saw_fin.is_some() || client.layer.as_ref().is_none_or(|layer| layer.is_done());
        if client.finishing && is_done && client.pumped == client.outgoing().len() {
            let wished = self.arrival();
            let wire = &mut self.wires[place];
            wire.client.fin_sent = true;
            let at = wire.up.arrival(wished);
            wire.up.send_fin(at);
            self.note(place, What::ClientFinishes, 0);
            self.at(at, Due::Arrive(place, Way::Up));
        }
    }

    /// Lets a client go on behind a cut, or has it do what is to be done there.
    pub(super) fn pass_cut(&mut self, place: usize) {
        let client = &mut self.wires[place].client;
        client.is_cutting = false;
        match client.cuts.pop_front() {
            Some((_, Cut::Act(act))) => {
                if matches!(act, Act::Finish | Act::CutOff | Act::Close) {
                    client.drop_unsent();
                }
                self.perform(place, act);
            }
            Some((_, Cut::Pause(_))) | None => {}
        }
        self.pump(place);
    }

    pub(super) fn arrive_at_server(&mut self, place: usize) {
        let now = self.now;
        let wire = &mut self.wires[place];
        if wire.client.vanished || wire.client.saw_reset.is_some() || wire.socket.broken {
            return;
        }
        let Arrival { bytes: count, fin } = wire.up.arrive(now);
        if count > 0 {
            let before = wire.client.arrivals.last().map_or(0, |(_, bytes)| *bytes);
            wire.client.arrivals.push((now, before + count));
        }
        if wire.stage == Stage::Lost || (wire.stage == Stage::Accepted && !wire.socket.open) {
            wire.up.lose_unread();
            if count > 0 {
                // Data for a closed connection is answered with a reset (RFC
                // 9293, 3.5.2).
                self.send_reset(place, Way::Down);
            }
            return;
        }
        if fin && wire.kind == Kind::Unix && wire.client.closed {
            wire.socket.broken = true;
            self.write_edge(place);
        }
        if fin {
            // A reset is news, whatever was reported before.
            self.read_edge(place);
        } else if count > 0 {
            self.change_of_input(place);
        }
    }

    pub(super) fn change_of_input(&mut self, place: usize) {
        let redundant = self.rng.chance(self.conditions.redundant);
        if self.wires[place].socket.read_armed || redundant {
            self.read_edge(place);
        }
    }

    pub(super) fn read_edge(&mut self, place: usize) {
        let socket = &mut self.wires[place].socket;
        socket.read_armed = false;
        socket.read_edge = true;
        self.list(place);
    }

    pub(super) fn write_edge(&mut self, place: usize) {
        let socket = &mut self.wires[place].socket;
        socket.write_armed = false;
        socket.write_edge = true;
        self.list(place);
    }

    pub(super) fn list(&mut self, place: usize) {
        let socket = &mut self.wires[place].socket;
        if socket.token.is_some() && !socket.listed {
            socket.listed = true;
            self.edges.push(Source::Wire(place));
        }
    }

    // Resets

    /// Sends a reset from one end; bytes in flight from that end may be lost.
    pub(super) fn send_reset(&mut self, place: usize, way: Way) {
        let cut = self.rng.chance(Odds::one_in(2));
        let wished = self.arrival();
        let wire = &mut self.wires[place];
        let is_tcp = wire.kind == Kind::Tcp;
        let half_pipe = if way == Way::Up { &mut wire.up } else { &mut wire.down };
        if cut && is_tcp {
            let keep = self.rng.size(0, half_pipe.in_flight());
            half_pipe.lose_flight(keep);
        }
        let at = half_pipe.arrival(wished);
        self.at(at, Due::Reset(place, way));
    }

    pub(super) fn reset_arrives_at_server(&mut self, place: usize) {
        self.faults.resets_in += 1;
        self.note(place, What::ServerSeesReset, 0);
        let drops_it = self.rng.chance(Odds::one_in(2));
        let wire = &mut self.wires[place];
        if wire.stage == Stage::Backlog && drops_it {
            // As on the BSDs; Linux lets accept(2) return the broken
            // connection.
            wire.lose();
            let listener = wire.listener;
            self.listeners[listener].waiting.retain(|waiting| *waiting != place);
            self.listeners[listener].aborted += 1;
            self.change_of_listener(listener);
            return;
        }
        self.break_socket(place, Errno::CONNRESET);
    }

    /// Breaks the server's socket; its next call fails with `error`.
    pub(super) fn break_socket(&mut self, place: usize, error: Errno) {
        let destroys = self.rng.chance(self.conditions.reset_destroys);
        let wire = &mut self.wires[place];
        if wire.socket.broken || (wire.stage == Stage::Accepted && !wire.socket.open) {
            return;
        }
        wire.socket.broken = true;
        wire.socket.error = Some(error.raw_os_error());
        wire.up.lose_flight(0);
        wire.down.lose_flight(0);
        if destroys && wire.kind == Kind::Tcp {
            wire.up.lose_unread();
        }
        self.write_edge(place);
        self.read_edge(place);
    }

    pub(super) fn reset_arrives_at_client(&mut self, place: usize) {
        let destroys = self.rng.chance(self.conditions.reset_destroys);
        let wire = &mut self.wires[place];
        if wire.is_client_gone() {
            return;
        }
        self.faults.resets_out += 1;
        let wire = &mut self.wires[place];
        let from = wire.client.received.len();
        if destroys && wire.kind == Kind::Tcp {
            wire.down.lose_unread();
        } else {
            wire.take_down(wire.down.unread());
        }
        wire.client.saw_reset = Some(self.now);
        wire.up.lose_flight(0);
        self.note(place, What::ClientSeesReset, 0);
        self.tell_of_input(place, from);
        self.tell(place, &News::End(End::Reset));
    }
}
