//! Clients of the network: do what their actors ask for, and read at their pace.

use std::time::Duration;

use super::act::{Act, ClientId, Pace};
use super::actor::{End, News, Order};
use super::client_layer::ClientLayer;
use super::network::{Due, Network, Way};
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
        let from = wire.client.received.len();
        if count > 0 {
            wire.take_down(count);
            self.wires[place].client.took_at = Some(self.now);
            self.note(place, What::ClientTakes, count as u64);
            self.room_at_server(place);
            if self.wires[place].client.layer.is_some() {
                self.pump(place);
            }
            self.tell_of_input(place, from);
        }
        let wire = &mut self.wires[place];
        if wire.down.at_end() && wire.client.saw_fin.is_none() {
            wire.client.saw_fin = Some(self.now);
            self.note(place, What::ClientSeesFin, 0);
            self.tell(place, &News::End(End::Fin));
            self.order(Order::FollowFin(ClientId::at(place)));
        }
    }

    /// Gives an actor what has come from this byte on. A layer may have made nothing
    /// of it yet.
    pub(super) fn tell_of_input(&mut self, place: usize, from: usize) {
        if self.wires[place].client.received.len() > from {
            self.tell(place, &News::Data(from));
        }
    }

    /// Ends a client's side behind the server's, unless it stays.
    pub(super) fn follow_fin(&mut self, place: usize) {
        let client = &mut self.wires[place].client;
        if !client.stays_after_fin && !client.finishing {
            client.finishing = true;
            self.pump(place);
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
