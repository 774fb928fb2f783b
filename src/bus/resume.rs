//! Clients that come back: they get what they have missed.

use std::sync::Arc;

use super::command::Command;
use super::component::{Asks, Bus, Catching, Link};
use super::event::{BusEvent, BusToken, Gap, Message, Resume};
use super::position::Position;
use super::room::{Follows, Page, Step};
use crate::{Error, Io, Result};

/// # Clients that come back
impl Bus {
    /// Gives a client what a room has had since `from`, which it was told on this or any
    /// other node. The answer is any number of steps of
    /// [`BusHandler::resumed`](super::BusHandler::resumed), the last of which is
    /// [`Resume::Done`](super::Resume::Done): a connection that [joins](Self::join) the
    /// room in that callback gets everything behind it, and nothing twice.
    ///
    /// The node subscribes to the room until then at least. While Redis is away the
    /// client waits.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at [`BusLimits::max_resumes`](super::BusLimits::max_resumes), and
    /// as [`join`](Self::join); [`Error::Over`] when the bus has ended.
    pub fn resume(&mut self, io: &mut Io<'_>, room: &str, from: Position) -> Result<BusToken> {
        if self.link == Link::Ended {
            return Err(Error::Over);
        }
        let limit = self.limits().max_resumes;
        if self.resumes.len() >= limit {
            let field = Some("BusLimits::max_resumes");
            return Err(Error::Full { what: "clients that catch up", field, limit });
        }
        let room = Arc::clone(&self.room(io, room)?.at.name);
        let token = self.token();
        self.resumes.insert(token, Catching { room: Arc::clone(&room), at: from, asks: Asks::Later });
        self.go_on_resuming(&room);
        self.pump(io);
        Ok(token)
    }

    /// Ends a [`resume`](Self::resume) before it is done: no further step comes, not even
    /// the last one. `false`: it is not under way. A client that reads slowly is held back
    /// with this, and goes on later from the position of the last step that came.
    pub fn cancel_resume(&mut self, token: BusToken) -> bool {
        let was_under_way = self.resumes.remove(&token).is_some();
        let steps = self.events.len();
        self.events.retain(|event| !matches!(event, BusEvent::Resume { token: own, .. } if *own == token));
        was_under_way || self.events.len() < steps
    }

    /// Asks for those that wait for this room to be live, if it is.
    pub(super) fn go_on_resuming(&mut self, room: &Arc<str>) {
        if !self.rooms.get(room).is_some_and(|room| room.follows == Follows::Live) {
            return;
        }
        for (token, catching) in &mut self.resumes {
            if catching.room == *room && catching.asks == Asks::Later {
                catching.asks = Asks::Asked;
                self.outbox.push(Command::Resume(*token, Arc::clone(room), catching.at));
            }
        }
    }

    /// Takes what a client has missed.
    pub(super) fn resumed(&mut self, token: BusToken, page: Page) {
        let Some(catching) = self.resumes.get_mut(&token) else { return };
        let name = Arc::clone(&catching.room);
        let (steps, position, has_more) = page.steps(Some(catching.at));
        catching.at = position;
        let room = &name;
        self.events.extend(steps.into_iter().filter_map(|step| {
            let step = match step {
                Step::Message(entry) => Resume::Message(Message {
                    room: Arc::clone(room),
                    position: Some(entry.position),
                    node: entry.node,
                    payload: entry.payload?,
                }),
                Step::Gap { from, to, why } => Resume::Gap(Gap { room: Arc::clone(room), from, to, why }),
            };
            Some(BusEvent::Resume { room: Arc::clone(room), token, step })
        }));
        let is_live = self
            .rooms
            .get(&name)
            .is_some_and(|room| room.follows == Follows::Live && room.position == Some(position));
        if !has_more && is_live {
            self.resumes.remove(&token);
            self.events.push_back(BusEvent::Resume { room: name, token, step: Resume::Done(position) });
        } else {
            catching.asks = Asks::Later;
            self.go_on_resuming(&name);
        }
    }
}
