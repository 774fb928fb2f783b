//! Clients of the network: run their acts, and read at their pace.

use std::time::Duration;

use super::client_layer::ClientLayer;
use super::network::{Due, Network, Way};
use super::script::{Act, ClientId, Pace};
use super::trace::What;
use super::wire::Kind;

impl Network {
    /// Puts what the server has written in flight.
    pub(super) fn send_down(&mut self, place: usize, bytes: Vec<u8>) {
        let wished = self.arrival();
        let wire = &mut self.wires[place];
        let at = wire.down.arrival(wished);
        wire.down.send(at, bytes);
        self.at(at, Due::Arrive(place, Way::Down));
    }

    pub(super) fn send_fin_down(&mut self, place: usize) {
        let wished = self.arrival();
        let wire = &mut self.wires[place];
        wire.socket.fin_sent = true;
        let at = wire.down.arrival(wished);
        wire.down.send_fin(at);
        self.at(at, Due::Arrive(place, Way::Down));
    }

    pub(super) fn arrive_at_client(&mut self, place: usize) {
        let now = self.now;
        let wire = &mut self.wires[place];
        if wire.is_client_gone() {
            return; // a reset is in flight already, or the client is gone
        }
        let count = wire.down.arrive(now).bytes;
        if wire.client.closed && count > 0 {
            wire.client.has_reset = true;
            self.send_reset(place, Way::Up);
            return;
        }
        self.read_at_client(place);
    }

    /// Lets a client read, as its pace allows.
    pub(super) fn read_at_client(&mut self, place: usize) {
        let wire = &mut self.wires[place];
        match wire.client.pace {
            Pace::AtOnce => {
                let count = wire.down.unread();
                self.take(place, count);
            }
            Pace::Never => {}
            Pace::Slowly { every, .. } => {
                if (wire.down.unread() > 0 || wire.down.fin()) && !wire.client.ticking {
                    wire.client.ticking = true;
                    self.after(every.max(Duration::from_nanos(1)), Due::Tick(place));
                }
            }
        }
    }

    pub(super) fn tick(&mut self, place: usize) {
        let wire = &mut self.wires[place];
        wire.client.ticking = false;
        if wire.is_client_gone() {
            return;
        }
        if let Pace::Slowly { bytes, .. } = wire.client.pace {
            let count = bytes.min(wire.down.unread());
            self.take(place, count);
        }
        if self.wires[place].client.saw_fin.is_none() {
            self.read_at_client(place);
        }
    }

    pub(super) fn take(&mut self, place: usize, count: usize) {
        let wire = &mut self.wires[place];
        if count > 0 {
            wire.take_down(count);
            self.wires[place].client.took_at = Some(self.now);
            self.note(place, What::ClientTakes, count as u64);
            self.room_at_server(place);
            if self.wires[place].client.layer.is_some() {
                self.pump(place);
            }
            self.look_for_answer(place);
        }
        let wire = &mut self.wires[place];
        if wire.down.at_end() && wire.client.saw_fin.is_none() {
            wire.client.saw_fin = Some(self.now);
            self.note(place, What::ClientSeesFin, 0);
            let client = &mut self.wires[place].client;
            if !client.stays_after_fin && !client.finishing {
                client.finishing = true;
                self.pump(place);
            }
        }
    }

    /// Reports room for the server's output after a client has read.
    pub(super) fn room_at_server(&mut self, place: usize) {
        if !self.wires[place].down.is_roomy() {
            return;
        }
        let redundant = self.rng.chance(self.conditions.redundant);
        if self.wires[place].socket.write_armed || redundant {
            self.write_edge(place);
        }
    }

    pub(super) fn perform(&mut self, place: usize, act: Act) {
        let wire = &mut self.wires[place];
        if wire.is_client_gone() || wire.client.refused {
            return;
        }
        match act {
            Act::Send(bytes) => {
                if !wire.client.finishing {
                    wire.client.sent.extend_from_slice(&bytes);
                    self.pump(place);
                }
            }
            Act::StartLayer(factory) => {
                let client = &mut wire.client;
                client.layer = Some(Box::new(ClientLayer::new(&factory, &client.sent)));
                self.pump(place);
            }
            Act::Read(pace) => {
                wire.client.pace = pace;
                self.read_at_client(place);
            }
            Act::Finish => {
                wire.client.finishing = true;
                self.pump(place);
            }
            Act::CutOff => {
                if let Some(layer) = &mut wire.client.layer {
                    layer.cut_off();
                }
                wire.client.finishing = true;
                self.pump(place);
            }
            Act::Await(answer) => {
                wire.client.awaits = Some(answer);
                self.look_for_answer(place);
            }
            Act::StayAfterFin => wire.client.stays_after_fin = true,
            Act::Close if wire.down.unread() > 0 => self.reset_by_client(place),
            Act::Close => {
                wire.client.closed = true;
                wire.client.finishing = true;
                self.note(place, What::ClientCloses, 0);
                self.pump(place);
            }
            Act::Vanish if wire.kind == Kind::Tcp => self.vanish(place),
            Act::Vanish | Act::Reset => self.reset_by_client(place),
        }
    }

    /// Lets a client go on with its script if it has received what it waits for.
    fn look_for_answer(&mut self, place: usize) {
        let client = &mut self.wires[place].client;
        let Some(answer) = &client.awaits else { return };
        let new = &client.received[client.answered..];
        let found = new.windows(answer.len().max(1)).position(|part| part == &answer[..]);
        let end = if answer.is_empty() { Some(0) } else { found.map(|at| at + answer.len()) };
        if let Some(end) = end {
            client.answered += end;
            client.awaits = None;
            let rest = std::mem::take(&mut client.rest);
            #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
            self.follow(ClientId(place as u32), Duration::ZERO, rest);
        }
    }

    pub(super) fn reset_by_client(&mut self, place: usize) {
        self.note(place, What::ClientResets, 0);
        let wire = &mut self.wires[place];
        wire.client.has_reset = true;
        self.send_reset(place, Way::Up);
    }

    pub(super) fn vanish(&mut self, place: usize) {
        self.faults.vanished += 1;
        self.note(place, What::ClientVanishes, 0);
        let wire = &mut self.wires[place];
        wire.client.vanished = true;
        wire.up.lose_flight(0);
        let listener = self.listeners.get(wire.listener);
        let probes = listener
            .and_then(|listener| listener.keep_alive)
            .map(|keep_alive| keep_alive.idle + keep_alive.interval * keep_alive.probes);
        let user_timeout = listener.and_then(|listener| listener.user_timeout);
        if let Some(time) = probes.into_iter().chain(user_timeout).min() {
            self.after(time, Due::GiveUp(place));
        }
    }
}
