//! A room in which every line goes to everybody else.

mod command;
mod event;
mod names;
mod pace;
mod room;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::command::{Command, HELP, USAGE_OF_MSG};
pub use self::event::ChatEvent;
use self::pace::Pace;
use self::room::{NoName, Room};
use super::framing::{Framing, LineTooLong, TOO_LONG};
use super::text::clean;
use crate::{
    AfterEof, BoxError, Close, ConnId, GroupId, Io, Limits, Link, Overflow, Sent, StreamHandler, Tally,
    TimerId,
};

/// A chat room in lines of UTF-8, for `nc` and `telnet`. All connections of
/// one such service are in one room, whichever listener they came by.
///
/// Who comes is told `* you are guest1`, and the others `* guest1 joined`; the
/// name is the smallest guest that is free. A line goes to every other member
/// as `<guest1> line`. `/nick NEW`, `/who`, `/msg NAME TEXT`, `/quit [TEXT]`
/// and `/help` are commands. Who goes, for whatever reason, is told of to the
/// others, once. What is not UTF-8 is replaced, and control characters are
/// dropped, before anything else is looked at.
///
/// ```
/// use std::num::NonZeroU32;
/// use serve_forever::{Config, Reactor, services::Chat};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let chat = Chat::new()
///     .lines_per_second(NonZeroU32::new(5).expect("not zero"))
///     .with_observer(|event| println!("{event:?}"));
/// let chat = reactor.add(chat, Chat::limits())?;
/// reactor.listen(&chat, &"127.0.0.1:0".parse()?)?;
/// let handle = reactor.handle(&chat);
/// handle.call(|chat, io| _ = chat.announce(io, "the server goes down at ten")).expect("there is room");
/// # handle.shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
///
/// # Limits
///
/// - A line has at most [`Framing::MAX_LINE`] bytes. Who sends a longer one is
///   told `! line too long`, and is out.
/// - A name has at most 32 characters.
/// - Nobody waits for a member who does not read: it is dropped, with a reset,
///   once more than [`Limits::hard_mark`] would wait for it.
/// - A member whose own answers wait unread is not read from either.
/// - What one member says in one turn of the loop is about 64 KiB at most, or
///   100,000 messages; the rest of it waits for the next turn, so that a burst
///   pushes nobody over the hard mark who reads.
/// - An answer to `/who` ends at 256 KiB with `, … and N more`.
/// - [`lines_per_second`](Self::lines_per_second): no limit unless set. Without
///   it, a flood drops whoever cannot read as fast as that.
///
/// A shutdown delivers what has arrived, without that limit.
pub struct Chat {
    lines_per_second: Option<NonZeroU32>,
    observer: Option<Observer>,
    room: Room,
    /// Everybody in the room, from the first on.
    everybody: Option<GroupId>,
    /// A shutdown has begun: what has arrived is delivered at once.
    draining: bool,
}

type Observer = Box<dyn FnMut(&ChatEvent<'_>) + Send>;

/// One connection to a [`Chat`].
#[derive(Debug)]
pub struct ChatSession {
    /// Which member it is, until it leaves.
    number: Option<u64>,
    pace: Pace,
    /// It has said enough: not read until a timer is due.
    waits: bool,
    /// What it was answered is above its high mark: not read until it drains.
    full: bool,
}

impl Default for Chat {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat")
            .field("lines_per_second", &self.lines_per_second)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

impl Chat {
    /// An empty room.
    #[must_use]
    pub fn new() -> Self {
        Self { lines_per_second: None, observer: None, room: Room::new(), everybody: None, draining: false }
    }

    /// Takes at most so many lines of each member in a second, empty ones and
    /// commands among them. Who sends more is told `! slow down`, once, and is
    /// not read from until the second is over; nothing is lost by that. A last
    /// line without its end is taken in any case. Default: no limit.
    #[must_use]
    pub const fn lines_per_second(mut self, lines: NonZeroU32) -> Self {
        self.lines_per_second = Some(lines);
        self
    }

    /// Tells `observer` of all that everybody in the room is told of, and not
    /// of private messages. It is called on the reactor's thread, where it
    /// keeps everybody waiting, and has no way back into the chat; what it
    /// wants done goes through a [`Handle`](crate::Handle), which it may hold.
    ///
    /// If it panics, the connection ends that it was told of, and the room
    /// stays right.
    #[must_use]
    pub fn with_observer(mut self, observer: impl FnMut(&ChatEvent<'_>) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The limits proposed for it: members may only listen, so nothing but
    /// unread output has a deadline, and are dropped at 1 MiB of it.
    #[must_use]
    pub fn limits() -> Limits {
        Limits { idle: None, hard_mark: 1 << 20, overflow: Overflow::Close, ..Limits::without_frames() }
    }

    /// Who is in the room, in order of joining: connection and name.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.room.members().map(|member| (member.id, member.name.as_str()))
    }

    /// Says `* TEXT` to everybody, cleaned as their own lines are. To put
    /// somebody out, [`Io::close`] or [`Io::abort`] its connection.
    pub fn announce(&mut self, io: &mut Io<'_>, text: &str) -> Tally {
        let text = clean(text.as_bytes());
        self.to_all(io, format!("* {text}\n"), None)
    }

    fn to_all(&self, io: &mut Io<'_>, message: String, except: Option<ConnId>) -> Tally {
        let message = Bytes::from(message);
        self.everybody.map_or_else(Tally::default, |everybody| io.broadcast(everybody, &message, except))
    }

    fn observe(&mut self, event: &ChatEvent<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }

    /// Carries out one line of a member.
    fn line(&mut self, io: &mut Io<'_>, session: &mut ChatSession, line: &[u8]) {
        let line = clean(line);
        let Some(number) = session.number else { return };
        match Command::parse(&line) {
            Command::Nothing => {}
            Command::Say(text) => self.say(io, session, number, text),
            Command::Nick(name) => self.rename(io, session, number, name),
            Command::Who => session.answer(io, self.room.who()),
            Command::Msg { to, text } => self.whisper(io, session, number, to, text),
            Command::BadMsg => session.answer(io, USAGE_OF_MSG),
            Command::Quit(text) => {
                self.leave(io, session, text);
                io.close(io.id());
            }
            Command::Help => session.answer(io, HELP),
            Command::Unknown(word) => session.answer(io, format!("! unknown command {word}\n")),
        }
    }

    fn say(&mut self, io: &mut Io<'_>, session: &mut ChatSession, number: u64, text: &str) {
        let Some(member) = self.room.member(number) else { return };
        let message = format!("<{}> {text}\n", member.name);
        let bytes = message.len();
        let tally = self.to_all(io, message, Some(member.id));
        session.pace.count_message(io.now(), bytes, tally.queued);
        if let Some(observer) = &mut self.observer {
            observer(&ChatEvent::Said { id: member.id, name: &member.name, text });
        }
    }

    fn rename(&mut self, io: &mut Io<'_>, session: &mut ChatSession, number: u64, name: &str) {
        let old = match self.room.rename(number, name) {
            Ok(None) => return,
            Ok(Some(old)) => old,
            Err(NoName::Bad) => return session.answer(io, "! bad name\n"),
            Err(NoName::Taken) => return session.answer(io, "! name taken\n"),
        };
        let message = format!("* {old} is now {name}\n");
        let bytes = message.len();
        let tally = self.to_all(io, message, None);
        session.pace.count_message(io.now(), bytes, tally.queued);
        self.observe(&ChatEvent::Renamed { id: io.id(), from: &old, to: name });
    }

    fn whisper(&self, io: &mut Io<'_>, session: &mut ChatSession, number: u64, to: &str, text: &str) {
        let Some(member) = self.room.member(number) else { return };
        let message = format!("[{}] {text}\n", member.name);
        session.pace.count_message(io.now(), message.len(), 1);
        match self.room.find(to).map(|to| to.id) {
            Some(id) if id == member.id => session.answer(io, message),
            // One who is about to leave is not there any more.
            Some(id) if io.send(id, message) != Sent::Gone => {}
            _ => session.answer(io, format!("! no such name {to}\n")),
        }
    }

    /// Takes a member out of the room, and tells the others; the second time,
    /// nothing happens.
    fn leave(&mut self, io: &mut Io<'_>, session: &mut ChatSession, text: Option<&str>) {
        let Some(member) = session.number.take().and_then(|number| self.room.exit(number)) else { return };
        if self.room.is_empty() {
            self.draining = false; // should there be a next time
        }
        let name = &member.name;
        let message = match text {
            Some(text) => format!("* {name} left: {text}\n"),
            None => format!("* {name} left\n"),
        };
        if let Some(everybody) = self.everybody {
            io.leave(everybody, member.id);
        }
        self.to_all(io, message, None);
        self.observe(&ChatEvent::Left { id: member.id, name, text });
    }

    fn too_long(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        self.leave(io, session, None);
        session.answer(io, TOO_LONG);
        io.close(io.id());
    }

    /// Whether a member has to wait before its next line, for how long, and
    /// what to tell it of that.
    fn has_to_wait(&self, io: &Io<'_>, session: &mut ChatSession, input: &[u8]) -> Option<(Duration, bool)> {
        let now = io.now();
        if session.pace.is_enough_for_now(now) {
            return Some((Duration::ZERO, false));
        }
        let limit = self.lines_per_second.filter(|_| !self.draining)?;
        let wait = session.pace.too_soon(now, limit)?;
        // It is over the limit once there is one line more.
        input.contains(&b'\n').then(|| (wait, session.pace.is_news()))
    }
}

impl ChatSession {
    /// Says something to the member itself.
    fn answer(&mut self, io: &mut Io<'_>, text: impl AsRef<[u8]>) {
        self.full |= matches!(io.write(text.as_ref()), Sent::Full | Sent::Dropped);
    }

    /// Reads the member again, if nothing is in the way any more.
    fn go_on(&self, io: &mut Io<'_>) {
        if !self.waits && !self.full {
            io.resume(io.id());
        }
    }
}

impl StreamHandler for Chat {
    type Session = ChatSession;

    fn open(&mut self, io: &mut Io<'_>, link: &Link) -> Result<ChatSession, BoxError> {
        let id = io.id();
        let everybody = match self.everybody {
            Some(everybody) => everybody,
            None => *self.everybody.insert(io.group()?),
        };
        io.join(everybody, id)?;
        let name = self.room.guest();
        // Before there is a member: should this panic, there will be no
        // `close` to take it out again.
        self.observe(&ChatEvent::Joined { id, name: &name, peer: link.peer() });
        let joined = format!("* {name} joined\n");
        let mut session = ChatSession { number: None, pace: Pace::default(), waits: false, full: false };
        session.answer(io, format!("* you are {name}\n"));
        session.number = Some(self.room.enter(id, name));
        self.to_all(io, joined, Some(id));
        Ok(session)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ChatSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        while session.number.is_some() {
            // A shutdown resumes those too who have to read first.
            if session.full {
                io.pause(io.id());
                return Ok(());
            }
            if let Some((wait, tell)) = self.has_to_wait(io, session, input) {
                if tell {
                    session.answer(io, "! slow down\n");
                }
                io.after(wait)?;
                session.waits = true;
                io.pause(io.id());
                return Ok(());
            }
            match Framing::Lines.next(input) {
                Ok(Some(line)) => {
                    session.pace.count_line();
                    self.line(io, session, &line);
                }
                Ok(None) => return Ok(()),
                Err(LineTooLong) => self.too_long(io, session),
            }
        }
        input.clear();
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ChatSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        match Framing::Lines.last(rest) {
            Ok(Some(line)) => self.line(io, session, &line),
            Ok(None) => {}
            Err(LineTooLong) => self.too_long(io, session),
        }
        self.leave(io, session, None);
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut ChatSession) -> Result<(), BoxError> {
        session.full = false;
        session.go_on(io);
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, session: &mut ChatSession, _: TimerId) -> Result<(), BoxError> {
        session.waits = false;
        session.go_on(io);
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, mut session: ChatSession, _: &Close) {
        self.leave(io, &mut session, None);
    }

    fn draining(&mut self, io: &mut Io<'_>) {
        self.draining = !self.room.is_empty();
        for member in self.room.members() {
            io.resume(member.id);
        }
    }
}
