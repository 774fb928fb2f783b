//! The link of a bus: connecting, greeting, its deadlines, its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::command::Command;
use super::component::{Asks, Bus, Leaves, Link, Scripts, Status, subscription};
use super::error::{BusError, PublishError};
use super::event::{BusEvent, Resume};
use super::room::{Follows, Room};
use super::scripts::Script;
use super::url::Place;
use super::wire::take_frame;
use crate::CloseReason;
use crate::Result;
use crate::{ConnId, TimerId};
use crate::{ConnectOptions, Io};
use crate::{Limits, Overflow};

/// A link that was up for so long has not failed in a row.
const STEADY: Duration = Duration::from_secs(5);

/// The tag of the connection.
const TAG: u64 = 0;

/// # The connection
///
/// For a handler that is not in an [`OnBus`](super::OnBus): it passes on the callbacks of
/// the connection that [`is_link`](Self::is_link) names, all of its timers, and what a
/// shutdown is about.
impl Bus {
    /// Connects. [`OnBus`](super::OnBus) calls this from `started`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at `Config::max_timers`. Everything else is
    /// told as an event.
    pub fn start(&mut self, io: &mut Io<'_>) -> Result<()> {
        if self.link == Link::New {
            self.timing.pulse = Some(io.tick_every(self.limits().pulse())?);
            self.timing.pulsed = Some(io.now());
            self.connect(io);
        }
        Ok(())
    }

    /// True for the connection to Redis.
    #[must_use]
    pub fn is_link(&self, id: ConnId) -> bool {
        self.link.id() == Some(id)
    }

    fn connect(&mut self, io: &mut Io<'_>) {
        self.timing.retry_at = None;
        self.timing.since = Some(io.now());
        match self.dial(io) {
            Ok(id) => {
                // A shutdown asks the bus, which leaves when the others have.
                io.set_background(id, true);
                self.link = Link::Connecting(id);
            }
            Err(error) => self.link_lost(io, BusError::Connect(error.to_string())),
        }
    }

    fn dial(&self, io: &mut Io<'_>) -> Result<ConnId> {
        #[cfg(feature = "tls")]
        let layer = match &self.options.tls {
            Some(tls) if self.url.security == super::url::Security::Tls => {
                Some(tls.layer(&self.url.server())?)
            }
            _ => None,
        };
        #[cfg(not(feature = "tls"))]
        let layer = None;
        let options = ConnectOptions { layer };
        match &self.url.place {
            Place::Address(endpoint) => io.connect_with(endpoint, TAG, options),
            #[cfg(feature = "workers")]
            Place::Name(name) => io.connect_name_with(name, TAG, options),
            #[cfg(not(feature = "workers"))]
            Place::Name(_) => unreachable!("a URL with a name is not read without the feature `workers`"),
        }
    }

    /// The connection is there: `open` for [`is_link`](Self::is_link).
    pub fn opened(&mut self, io: &mut Io<'_>) {
        let Link::Connecting(id) = self.link else { return };
        let limits = self.limits();
        let hard_mark = 2 * (limits.max_in_flight_bytes + limits.max_payload) + (1 << 20);
        let own = Limits {
            max_input: limits.longest_frame() + (64 << 10),
            idle: None,
            first_frame: None,
            frame: None,
            write_stall: None,
            low_mark: hard_mark / 4,
            high_mark: hard_mark,
            hard_mark,
            overflow: Overflow::Close,
            ..io.limits().clone()
        };
        if let Err(error) = io.set_limits(id, own) {
            log::warn!("the link of the bus keeps the limits of its service: {error}");
        }
        self.link = Link::Greeting(id);
        self.timing.heard = Some(io.now());
        self.send(io, Command::Hello);
    }

    /// The connection was not established: `connect_failed` for
    /// [`is_link`](Self::is_link).
    pub fn connect_failed(&mut self, io: &mut Io<'_>, error: &io::Error) {
        let reason = self.health.reason.take();
        self.link_lost(io, reason.unwrap_or_else(|| BusError::Connect(error.to_string())));
    }

    /// Bytes of Redis: `data` for [`is_link`](Self::is_link).
    pub fn data(&mut self, io: &mut Io<'_>, input: &mut BytesMut) {
        self.timing.heard = Some(io.now());
        let (most, before) = (self.limits().longest_frame(), input.len());
        while matches!(self.link, Link::Greeting(_) | Link::Ready(_)) {
            match take_frame(input, most) {
                Ok(Some(frame)) => self.take(io, &frame),
                Ok(None) => break,
                Err(what) => self.fail(io, BusError::Protocol(what)),
            }
        }
        if matches!(self.link, Link::Failing(_) | Link::Ended) {
            input.clear();
        }
        self.gathering.count(before - input.len());
        self.pump(io);
        self.leave_if_all_is_said(io);
    }

    /// The connection has ended: `close` for [`is_link`](Self::is_link).
    pub fn closed(&mut self, io: &mut Io<'_>, why: &CloseReason) {
        let reason = self.health.reason.take();
        self.link_lost(io, reason.unwrap_or_else(|| BusError::Closed(why.to_string())));
    }

    /// Ends the link, for this reason.
    pub(super) fn fail(&mut self, io: &mut Io<'_>, reason: BusError) {
        let Some(id) = self.link.id() else { return };
        self.health.reason.get_or_insert(reason);
        self.link = Link::Failing(id);
        io.abort(id);
    }

    /// The greeting is over: everything that waited begins.
    pub(super) fn ready(&mut self, io: &mut Io<'_>, id: ConnId) {
        self.link = Link::Ready(id);
        self.timing.since = Some(io.now());
        self.timing.beat = Some(io.now() + self.limits().beat());
        let was_said = self.health.logged.take().is_some();
        if self.health.status != Status::Up {
            self.health.status = Status::Up;
            if was_said {
                log::warn!("the bus is up again: {}", self.url);
            } else {
                log::info!("the bus is up: {}", self.url);
            }
            self.events.push_back(BusEvent::Up);
        }
        let mut commands = Vec::new();
        for room in self.rooms.values_mut() {
            room.has_lost_order = false;
            commands.extend(subscription(room));
        }
        self.outbox.push_first(commands.into_iter());
    }

    /// The link is gone: nothing that is not a message waits any longer.
    fn link_lost(&mut self, io: &mut Io<'_>, reason: BusError) {
        self.link = Link::Down;
        self.scripts = Scripts::Loaded;
        self.outbox.link_lost();
        self.rooms.values_mut().for_each(Room::link_lost);
        self.resumes.values_mut().for_each(|catching| catching.asks = Asks::Later);
        let now = io.now();
        let was_steady =
            self.timing.since.is_some_and(|since| now.saturating_duration_since(since) >= STEADY);
        if self.health.status == Status::Up && was_steady {
            self.health.failures = 0;
        }
        self.health.failures += 1;
        if self.timing.leaves != Leaves::No {
            return self.end(io);
        }
        if self.health.logged.as_ref() != Some(&reason) {
            log::warn!("the bus is down: {}: {reason}; it tries again", self.url);
            self.health.logged = Some(reason.clone());
        }
        if self.health.status != Status::Down {
            self.health.status = Status::Down;
            self.events.push_back(BusEvent::Down(reason));
        }
        let wait = self.wait();
        self.timing.retry_at = Some(now + wait);
        // Without a timer the pulse sees to it.
        self.timing.retry = io.tick_after(wait).ok();
    }

    /// The time until the next attempt: twice as long with each failure, of which a
    /// random half is left out.
    fn wait(&mut self) -> Duration {
        let (shortest, longest) = self.limits().reconnect;
        let doubled = shortest.saturating_mul(2_u32.saturating_pow(self.health.failures.min(31)));
        let half = doubled.min(longest) / 2;
        let part = self.random.draw() >> 32;
        half + half * u32::try_from(part >> 1).unwrap_or(u32::MAX) / (u32::MAX >> 1)
    }

    /// Handles a timer; `false` if it is not the bus's. For `tick`.
    pub fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) -> bool {
        if self.timing.retry == Some(timer) {
            self.timing.retry = None;
            self.retry(io);
            true
        } else if self.timing.pulse == Some(timer) {
            self.pulse(io);
            true
        } else {
            self.gathering.tick(timer)
        }
    }

    fn retry(&mut self, io: &mut Io<'_>) {
        if self.link == Link::Down && self.timing.retry_at.is_some_and(|at| at <= io.now()) {
            if let Some(timer) = self.timing.retry.take() {
                io.cancel(timer);
            }
            self.connect(io);
        }
    }

    /// Looks at everything that takes time.
    fn pulse(&mut self, io: &mut Io<'_>) {
        self.retry(io);
        self.check_link(io);
        self.check_rooms(io);
        let (now, timeout) = (io.now(), self.limits().publish_timeout);
        let is_over = |batch: &Batch| now.saturating_duration_since(batch.since) >= timeout;
        for (token, error) in self.outbox.take_waiting(is_over) {
            self.events.push_back(BusEvent::Published { token, outcome: Err(error) });
        }
        self.pump(io);
        self.leave_if_all_is_said(io);
    }

    /// Finds a Redis that is silent, and lets it know that this node lives.
    fn check_link(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        // When this look was due: had the process been stopped since, Redis would not be
        // to blame for that time.
        let due = self.timing.pulsed.map_or(now, |last| (last + self.limits().pulse()).min(now));
        self.timing.pulsed = Some(now);
        let limits = self.limits();
        let (answer, connect) = (limits.answer_timeout, limits.connect_timeout);
        let since = |moment| due.saturating_duration_since(moment);
        let silence = self.timing.heard.map_or(Duration::ZERO, since);
        let in_this_state = self.timing.since.map_or(Duration::ZERO, since);
        match self.link {
            Link::Connecting(_) | Link::Greeting(_) if in_this_state >= connect => {
                self.fail(io, BusError::Silent(connect));
            }
            Link::Ready(_) => {
                let unanswered = self.outbox.oldest_sent().map(since);
                if unanswered.is_some_and(|time| time >= answer) && silence >= answer {
                    return self.fail(io, BusError::Silent(answer));
                }
                if in_this_state >= STEADY {
                    self.health.failures = 0;
                }
                // A beat behind the departure would make the node known again.
                let stays = self.timing.leaves != Leaves::Departed;
                if stays && self.timing.beat.is_none_or(|beat| beat <= now) {
                    self.timing.beat = Some(now + self.limits().beat());
                    self.outbox.push_first([Command::Beat].into_iter());
                } else if unanswered.is_none() && silence >= answer / 2 {
                    self.outbox.push(Command::Ping);
                }
            }
            _ => {}
        }
    }

    /// Leaves rooms that nobody is in, and keeps those alive that are quiet.
    fn check_rooms(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        let (grace, keep) = (self.limits().grace, self.limits().history_time / 4);
        let all_is_told = self.events.is_empty();
        let mut left = Vec::new();
        for (name, room) in &mut self.rooms {
            let is_used = room.is_held
                || !room.own.is_empty()
                || !io.members(room.group).is_empty()
                || self.resumes.values().any(|catching| catching.room == *name);
            if is_used {
                room.empty_since = None;
                if room.follows == Follows::Live && now.saturating_duration_since(room.asked) >= keep {
                    room.asked = now;
                    self.outbox.push(Command::Read(room.at.clone(), room.position));
                }
            } else if now.saturating_duration_since(*room.empty_since.get_or_insert(now)) >= grace
                // Who has left while Redis was away is still to be taken off the list.
                && room.is_accounted_for()
                // Who is told that it has caught up may join.
                && all_is_told
            {
                left.push(Arc::clone(name));
            }
        }
        for name in left {
            if let Some(room) = self.rooms.remove(&name) {
                io.dissolve(room.group);
                if room.follows != Follows::Away {
                    self.outbox.push(Command::Unsubscribe(room.at));
                }
            }
        }
    }

    /// A shutdown has begun: the bus goes on until [`leave_all`](Self::leave_all), or the
    /// deadline of the shutdown. For `shutting_down`.
    pub fn shutting_down(&mut self, io: &mut Io<'_>) {
        match self.link {
            Link::Ready(id) => {
                io.set_background(id, false);
                io.set_busy(id, true);
                self.timing.leaves = Leaves::WhenAllIsSaid;
            }
            Link::Connecting(id) | Link::Greeting(id) | Link::Failing(id) => {
                self.timing.leaves = Leaves::Now;
                io.abort(id);
            }
            Link::New | Link::Down | Link::Ended => self.end(io),
        }
        self.leave_if_all_is_said(io);
    }

    /// The handler has no connection left: after [`shutting_down`](Self::shutting_down)
    /// the bus leaves Redis as soon as all is said. Its members leave their rooms.
    pub fn leave_all(&mut self, io: &mut Io<'_>) {
        if self.timing.leaves == Leaves::WhenAllIsSaid {
            self.timing.leaves = Leaves::Now;
            self.leave_if_all_is_said(io);
        }
    }

    fn leave_if_all_is_said(&mut self, io: &mut Io<'_>) {
        if self.timing.leaves == Leaves::Now && matches!(self.link, Link::Ready(_)) && self.outbox.is_empty()
        {
            self.timing.leaves = Leaves::Departed;
            self.send(io, Command::Depart);
        }
    }

    /// The node has left: nothing follows.
    pub(super) fn departed(&mut self, io: &mut Io<'_>) {
        if let Some(id) = self.link.id() {
            io.set_busy(id, false);
            io.close(id);
        }
    }

    fn end(&mut self, io: &mut Io<'_>) {
        self.link = Link::Ended;
        for timer in [self.timing.pulse.take(), self.timing.retry.take()].into_iter().flatten() {
            io.cancel(timer);
        }
        for (token, error) in self.outbox.take_waiting(|_| true) {
            let error = if error == PublishError::TimedOut { PublishError::Ended } else { error };
            self.events.push_back(BusEvent::Published { token, outcome: Err(error) });
        }
        for (token, catching) in std::mem::take(&mut self.resumes) {
            self.events.push_back(BusEvent::Resume { room: catching.room, token, step: Resume::Failed });
        }
    }

    /// Has Redis load all scripts.
    pub(super) fn load_scripts(&mut self, io: &mut Io<'_>) {
        self.scripts = Scripts::Loading(Script::ALL.len());
        for script in Script::ALL {
            self.send(io, Command::Load(script));
        }
    }

    /// Takes the hash of a script.
    pub(super) fn loaded(&mut self, script: Script, hash: &Bytes) {
        self.names.hashes[script as usize] = Bytes::copy_from_slice(hash);
        if let Scripts::Loading(missing) = &mut self.scripts {
            *missing -= 1;
            if *missing == 0 {
                self.scripts = Scripts::Loaded;
                self.outbox.reloaded();
            }
        }
    }
}
