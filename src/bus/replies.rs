//! Replies of Redis: answers to commands, and messages that it pushes.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{Command, Entering, RoomRef};
use super::component::{Bus, Leaves, Link, Scripts, state_of};
use super::error::{BusError, PublishError};
use super::event::{BusEvent, EnterError, GapReason};
use super::position::Position;
use super::presence::{self, Told as ToldChange};
use super::room::{Entry, Follows, Page, Room, Step, Told};
use super::wire::{Frame, error, items, text};
use crate::Io;

impl Bus {
    /// Takes one frame.
    pub(super) fn take(&mut self, io: &mut Io<'_>, frame: &Frame) {
        if let Frame::Push { data, .. } = frame {
            return self.pushed(io, data);
        }
        let Some(command) = self.outbox.answered(io.now()) else {
            return self.fail(io, BusError::Protocol("it answers what nobody has asked".into()));
        };
        match error(frame) {
            Some(said) => self.refused(io, command, said),
            None => {
                if self.answer(io, command, frame).is_none() {
                    self.fail(io, BusError::Protocol("an answer has not the form that it should".into()));
                }
            }
        }
    }

    /// Takes what Redis tells by itself.
    fn pushed(&mut self, io: &mut Io<'_>, data: &[Frame]) {
        let kind = data.first().and_then(text).map(|kind| &kind[..]);
        match (kind, data) {
            (Some(b"message"), [_, channel, payload]) => {
                let (Some(channel), Some(payload)) = (text(channel), text(payload)) else { return };
                let name = std::str::from_utf8(channel).ok().and_then(|channel| self.names.room_of(channel));
                if let Some(name) = name {
                    self.told(name.to_owned().as_str(), payload);
                }
            }
            (Some(b"subscribe"), _) if matches!(self.outbox.expected(), Some(Command::Subscribe(_))) => {
                self.outbox.answered(io.now());
            }
            (Some(b"unsubscribe"), _) if matches!(self.outbox.expected(), Some(Command::Unsubscribe(_))) => {
                self.outbox.answered(io.now());
            }
            (Some(b"subscribe" | b"unsubscribe"), _) => {
                self.fail(io, BusError::Protocol("it changes subscriptions unasked".into()));
            }
            _ => {}
        }
    }

    /// Takes messages, or a change of members, of a room.
    fn told(&mut self, name: &str, payload: &Bytes) {
        let limits = &self.options.limits;
        let Some(room) = self.rooms.get_mut(name) else { return };
        if let Some(change) = ToldChange::parse(payload) {
            let name = Arc::clone(&room.at.name);
            let presence = room.listing.apply(&name, &change, limits.max_members);
            self.events.extend(presence.map(BusEvent::Presence));
            // One that leaves Redis is told of its members too.
            if change.node == self.names.node
                && self.timing.leaves != Leaves::Departed
                && let Some(command) = room.correct(change)
            {
                self.outbox.push(command);
            }
            return;
        }
        let Some(entries) = Entry::parse_all(payload, limits.max_payload) else {
            // A stranger publishes on the channel.
            return;
        };
        for entry in entries {
            let (Follows::Live, Some(position)) = (room.follows, room.position) else { return };
            let at = entry.position;
            if at.epoch == position.epoch && at.offset <= position.offset {
                continue;
            }
            if at != position.next() {
                room.follows = Follows::Reading;
                let read = Command::Read(room.at.clone(), room.position);
                return self.outbox.push_first([read].into_iter());
            }
            let step = match entry.payload {
                Some(_) => Step::Message(entry),
                None => Step::Gap { from: position, to: at, why: GapReason::TooLong },
            };
            room.position = Some(at);
            self.events.extend(take_step(room, step, limits.max_publishers));
        }
    }

    /// Takes an error that answers a command.
    fn refused(&mut self, io: &mut Io<'_>, command: Command, said: String) {
        if matches!(command, Command::Hello) && is_unknown(&said) {
            return self.fail(io, BusError::TooOld(said));
        }
        if said.starts_with("NOSCRIPT") {
            self.outbox.again(command);
            if self.scripts == Scripts::Loaded {
                self.load_scripts(io);
            }
            return;
        }
        match (BusError::from_redis(&said), command) {
            // Of these messages, not of everything.
            (BusError::Refused(said), Command::Publish(batch)) => {
                let outcome = || Err(PublishError::Refused(said.clone()));
                let answer = |token| BusEvent::Published { token, outcome: outcome() };
                self.events.extend(batch.tokens().map(answer));
            }
            (reason, command) => {
                if matches!(command, Command::Publish(_)) {
                    self.outbox.again(command);
                }
                self.fail(io, reason);
            }
        }
    }

    /// Takes the answer to a command; `None` if it is none.
    fn answer(&mut self, io: &mut Io<'_>, command: Command, frame: &Frame) -> Option<()> {
        match command {
            Command::Hello => self.greeted(io, frame)?,
            Command::Info => {
                let info = std::str::from_utf8(text(frame)?).ok()?;
                let run = info.lines().find_map(|line| line.strip_prefix("run_id:"))?;
                self.names.run = Bytes::copy_from_slice(run.as_bytes());
            }
            Command::Load(script) => {
                self.loaded(script, text(frame)?);
                if let (Link::Greeting(_), Scripts::Loaded) = (self.link, self.scripts) {
                    // The first thing that it writes: whether it can.
                    self.send(io, Command::Beat);
                }
            }
            Command::Ping | Command::Exit(..) => {}
            // These are answered by what Redis tells.
            Command::Subscribe(_) | Command::Unsubscribe(_) => return None,
            Command::Read(room, _) => self.read(&room, Page::parse(frame)?),
            Command::Resume(token, ..) => self.resumed(token, Page::parse(frame)?),
            Command::Members(room) => self.listed(&room, presence::snapshot(frame)?),
            Command::Publish(batch) => {
                let at = text(frame)?;
                let colon = at.iter().position(|byte| *byte == b':')?;
                let first = Position::from_parts(&at[..colon], &at[colon + 1..])?;
                let positions = std::iter::successors(Some(first), |at| Some(at.next()));
                let answer = |(token, at)| BusEvent::Published { token, outcome: Ok(at) };
                self.events.extend(batch.tokens().zip(positions).map(answer));
            }
            Command::Enter(entering) => self.entered(entering, text(frame)?),
            Command::Beat => self.beaten(io, frame)?,
            Command::Depart if &text(frame)?[..] == b"more" => self.send(io, Command::Depart),
            Command::Depart => self.departed(io),
        }
        Some(())
    }

    /// Redis has said hello: it is one that will do, or not.
    fn greeted(&mut self, io: &mut Io<'_>, frame: &Frame) -> Option<()> {
        let Frame::Map { data, .. } = frame else { return None };
        let value = |name: &str| {
            let is_it = |(key, _): &(&Frame, &Frame)| text(key).is_some_and(|key| key == name);
            data.iter().find(is_it).and_then(|(_, value)| text(value)).map(|value| &value[..])
        };
        match (value("role"), value("mode")) {
            (Some(b"slave" | b"replica"), _) => self.fail(io, BusError::Replica),
            (_, Some(b"cluster")) => self.fail(io, BusError::Cluster),
            _ => {
                self.send(io, Command::Info);
                self.load_scripts(io);
            }
        }
        Some(())
    }

    /// The room of a command, if it is still the one that it was about.
    fn current(&mut self, at: &RoomRef) -> Option<&mut Room> {
        self.rooms.get_mut(&at.name).filter(|room| room.at.serial == at.serial)
    }

    /// Takes what a room has behind its position.
    fn read(&mut self, at: &RoomRef, page: Page) {
        let most = self.options.limits.max_publishers;
        let Some(room) = self.rooms.get_mut(&at.name).filter(|room| room.at.serial == at.serial) else {
            return;
        };
        let (steps, position, has_more) = page.steps(room.position);
        room.position = Some(position);
        self.events.extend(steps.into_iter().filter_map(|step| take_step(room, step, most)));
        if has_more {
            room.follows = Follows::Reading;
            self.outbox.push_first([Command::Read(at.clone(), Some(position))].into_iter());
        } else {
            room.follows = Follows::Live;
            self.go_on_resuming(&at.name);
        }
    }

    /// Takes the list of the members of a room.
    fn listed(&mut self, at: &RoomRef, snapshot: presence::Snapshot) {
        let node = self.names.node;
        let Some(room) = self.current(at) else { return };
        let strays: Vec<_> = snapshot
            .iter()
            .filter(|(name, member)| member.node == node && !room.own.contains_key(*name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let remaining = room.remaining();
        let name = Arc::clone(&room.at.name);
        let changes = room.listing.replace(&name, snapshot);
        self.events.extend(changes.into_iter().map(BusEvent::Presence));
        for stray in strays {
            self.outbox.push(Command::Exit(at.clone(), stray, remaining));
        }
    }

    /// Takes the answer for a member of this node, unless another call has entered it
    /// since: that one has an answer of its own.
    fn entered(&mut self, Entering { room: at, member, serial, .. }: Entering, said: &Bytes) {
        let Some(room) = self.current(&at) else { return };
        let Some(own) = room.own.get_mut(&member).filter(|own| own.serial == serial) else { return };
        let outcome = match &said[..] {
            b"ok" if own.told == Told::Listed => return,
            b"ok" => {
                own.told = Told::Listed;
                Ok(())
            }
            b"taken" => Err(EnterError::Taken),
            b"full" => Err(EnterError::Full),
            // The node was taken for dead: it says that it lives, and enters again.
            _ => {
                self.outbox.push_first([Command::Beat].into_iter());
                return;
            }
        };
        if outcome.is_err() {
            room.own.remove(&member);
        }
        let room = Arc::clone(&room.at.name);
        self.events.push_back(BusEvent::Entered { room, member, outcome });
    }

    /// Takes the answer to a sign of life.
    fn beaten(&mut self, io: &mut Io<'_>, frame: &Frame) -> Option<()> {
        let [known, more] = items(frame)? else { return None };
        let (known, more) = (text(known)?, text(more)?);
        if let Link::Greeting(id) = self.link {
            self.ready(io, id);
        } else if &known[..] == b"new" {
            // Redis has taken the node for dead, or has forgotten everything and told nobody.
            for room in self.rooms.values() {
                for command in state_of(room) {
                    self.outbox.push(command);
                }
            }
        }
        if &more[..] == b"more" {
            self.outbox.push(Command::Beat);
        }
        Some(())
    }
}

/// The event of a step in a room.
fn take_step(room: &mut Room, step: Step, most_publishers: usize) -> Option<BusEvent> {
    match step {
        Step::Message(entry) => room.message(entry, most_publishers).map(BusEvent::Message),
        Step::Gap { from, to, why } => Some(BusEvent::Gap(room.gap(from, to, why))),
    }
}

/// True for the errors of a Redis, or something like it, that does not know `HELLO 3`.
fn is_unknown(said: &str) -> bool {
    said.starts_with("ERR unknown command") || said.starts_with("NOPROTO")
}
