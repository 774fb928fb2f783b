//! A room in which every line goes to everybody else.

mod command;
mod event;
mod floor;
mod laggards;
mod names;
mod pace;
mod room;
mod turns;

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use self::command::{Command, HELP, USAGE_OF_MSG};
pub use self::event::ChatEvent;
use self::floor::{Floor, Said, Waiting};
use self::laggards::Laggards;
use self::pace::Pace;
use self::room::{NoName, Room};
use super::framing::{Framing, LineTooLong, TOO_LONG};
use super::http_guard::HttpGuard;
use super::text::clean;
use crate::{
    AfterEof, BoxError, CloseReason, ConnId, GroupId, Io, Limits, LogRate, Origin, Overflow, Sent,
    StreamHandler, Tally, TimerId,
};

/// A chat room in lines of UTF-8, for `nc` and `telnet`. All connections of
/// one such service are in one room, whichever listener they came by.
///
/// Who comes is told `* you are guest1`, and the others `* guest1 joined`; the
/// name is the smallest guest that is free. A line goes to every other member
/// as `<guest1> line`. `/nick NEW`, `/who`, `/msg NAME TEXT`, `/quit [TEXT]`
/// and `/help` are commands. Who goes, for whatever reason, is told of to the
/// others, once. Before anything else is looked at, what is not UTF-8 is
/// replaced, control characters are dropped and such as turn the order of
/// others (U+202E and its like), and of spaces in a row 16 stay, so that nobody
/// pushes words to the next line of a terminal, where they look like another's.
/// A text that fills a line with something to be seen still can.
///
/// ```
/// use std::num::{NonZeroU32, NonZeroUsize};
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
/// - A name has 1 to 32 letters, digits, `_` and `-` that can be seen. Two that
///   differ in case alone (full case folding: `STRASSE`, `straße`) are one, and
///   with the feature `unicode` such as are compatible (NFKC: `ｇｕｅｓｔ１`,
///   `guest1`). Letters of two scripts that look alike are not: `а` is no `a`.
/// - What the whole room says in one turn of the loop is
///   [`bytes_per_turn`](Self::bytes_per_turn) and one line at most, and 100,000
///   messages. Who has more to say waits for the next turn, first come, first
///   served. Answers and private messages count too, and notices of who comes
///   are said at once: 64 for each listener, of which 20 bytes go to each member.
/// - Above [`Limits::high_mark`] of a member's unread output the room says
///   nothing more until it has read, for as long as it takes 16 KiB in each
///   second, or a sixteenth of what waits. So no burst, of however many members,
///   drops one who reads like that, while all do.
/// - A member who does not read, or more slowly, is waited for one second in
///   which the loop runs, and then nobody more for ten: it is dropped, with a
///   reset, once more than [`Limits::hard_mark`] would wait for it.
/// - A member whose own answers wait unread is not read from either.
/// - An answer to `/who` ends at 256 KiB with `, … and N more`.
/// - [`lines_per_second`](Self::lines_per_second): no limit unless set.
///
/// A shutdown delivers what has arrived, without that limit.
pub struct Chat {
    lines_per_second: Option<NonZeroU32>,
    observer: Option<Observer>,
    room: Room,
    /// Everybody in the room, from the first on.
    everybody: Option<GroupId>,
    turned_away: LogRate,
    floor: Floor,
    laggards: Laggards,
    /// A shutdown has begun: what has arrived is delivered at once.
    shutting_down: bool,
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
    guard: HttpGuard,
    /// Its place among those who wait for the floor: not read until it is woken.
    place: Option<u64>,
    /// The turn in which it was woken and had the floor, and what it said.
    turn: Option<Instant>,
    said: Said,
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
        Self {
            lines_per_second: None,
            observer: None,
            room: Room::new(),
            everybody: None,
            turned_away: LogRate::new(),
            floor: Floor::new(Self::BYTES_PER_TURN),
            laggards: Laggards::default(),
            shutting_down: false,
        }
    }

    /// The default of [`bytes_per_turn`](Self::bytes_per_turn): it fits many
    /// times beneath the hard mark of [`limits`](Self::limits).
    pub const BYTES_PER_TURN: usize = 64 << 10;

    /// Lets all members together say so many bytes in one turn of the loop; the
    /// line that passes it is the last of the turn. It and
    /// [`Framing::MAX_LINE`] should fit between the high mark and the hard mark
    /// of the [`Limits`], or a member may be dropped that reads. Default:
    /// [`BYTES_PER_TURN`](Self::BYTES_PER_TURN), 64 KiB.
    #[must_use]
    pub const fn bytes_per_turn(mut self, bytes: NonZeroUsize) -> Self {
        self.floor.set_share(bytes.get());
        self
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

    /// Who is in the room, in order of joining: connection and name. Of those
    /// who leave in a burst some are there until the others are told of it.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.room.members().map(|member| (member.id, member.name.as_str()))
    }

    /// Says `* TEXT` to everybody, cleaned as their own lines are. To put
    /// somebody out, [`Io::close`] or [`Io::abort`] its connection.
    pub fn announce(&mut self, io: &mut Io<'_>, text: &str) -> Tally {
        let text = clean(text.as_bytes());
        self.say_to_all(io, format!("* {text}\n"), None)
    }

    fn say_to_all(&mut self, io: &mut Io<'_>, message: String, except: Option<ConnId>) -> Tally {
        let message = Bytes::from(message);
        let Some(everybody) = self.everybody else { return Tally::default() };
        let tally = io.broadcast(everybody, &message, except);
        self.floor.count(io.now(), message.len(), tally.queued);
        if self.laggards.are_fewer_than(tally.full, except) {
            self.laggards.find(io, self.room.members().map(|member| member.id));
        }
        tally
    }

    /// Says something to one member, and whether it should be asked for
    /// nothing more until it has read.
    fn answer(&mut self, io: &mut Io<'_>, id: ConnId, text: impl Into<Bytes>) -> bool {
        let text = text.into();
        self.floor.count(io.now(), text.len(), 1);
        matches!(io.send(id, text), Sent::Full | Sent::Dropped)
    }

    fn observe(&mut self, event: &ChatEvent<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }

    /// Carries out one line of a member. True if what it was answered is more
    /// than it reads.
    fn line(&mut self, io: &mut Io<'_>, number: u64, line: &[u8]) -> bool {
        let line = clean(line);
        let Some(id) = self.room.member(number).map(|member| member.id) else { return false };
        match Command::parse(&line) {
            Command::Nothing => {}
            Command::Say(text) => self.say(io, number, text),
            Command::Nick(name) => return self.rename(io, id, number, name),
            Command::Who => return self.answer(io, id, self.room.who()),
            Command::Msg { to, text } => return self.whisper(io, number, to, text),
            Command::BadMsg => return self.answer(io, id, USAGE_OF_MSG),
            Command::Quit(text) => {
                self.leave(io, number, text);
                io.close(id);
            }
            Command::Help => return self.answer(io, id, HELP),
            Command::Unknown(word) => return self.answer(io, id, format!("! unknown command {word}\n")),
        }
        false
    }

    fn say(&mut self, io: &mut Io<'_>, number: u64, text: &str) {
        let Some(member) = self.room.member(number) else { return };
        let (id, message) = (member.id, format!("<{}> {text}\n", member.name));
        self.say_to_all(io, message, Some(id));
        if let (Some(observer), Some(member)) = (&mut self.observer, self.room.member(number)) {
            observer(&ChatEvent::Said { id, name: &member.name, text });
        }
    }

    fn rename(&mut self, io: &mut Io<'_>, id: ConnId, number: u64, name: &str) -> bool {
        let old = match self.room.rename(number, name) {
            Ok(None) => return false,
            Ok(Some(old)) => old,
            Err(NoName::Bad) => return self.answer(io, id, "! bad name\n"),
            Err(NoName::Taken) => return self.answer(io, id, "! name taken\n"),
        };
        self.say_to_all(io, format!("* {old} is now {name}\n"), None);
        self.observe(&ChatEvent::Renamed { id, from: &old, to: name });
        false
    }

    fn whisper(&mut self, io: &mut Io<'_>, number: u64, to: &str, text: &str) -> bool {
        let Some(member) = self.room.member(number) else { return false };
        let (id, message) = (member.id, format!("[{}] {text}\n", member.name));
        match self.room.find(to).map(|to| to.id) {
            Some(to) if to == id => return self.answer(io, id, message),
            Some(to) => {
                self.floor.count(io.now(), message.len(), 1);
                match io.send(to, message) {
                    // One who is about to leave is not there any more.
                    Sent::Gone => {}
                    sent => {
                        if sent == Sent::Full {
                            self.laggards.find(io, std::iter::once(to));
                        }
                        return false;
                    }
                }
            }
            None => {}
        }
        self.answer(io, id, format!("! no such name {to}\n"))
    }

    /// Takes a member out of the room, and tells the others; the second time,
    /// nothing happens.
    fn leave(&mut self, io: &mut Io<'_>, number: u64, text: Option<&str>) {
        let Some(member) = self.room.exit(number) else { return };
        if self.room.is_empty() {
            self.shutting_down = false; // should there be a next time
        }
        let name = &member.name;
        let message = match text {
            Some(text) => format!("* {name} left: {text}\n"),
            None => format!("* {name} left\n"),
        };
        if let Some(everybody) = self.everybody {
            io.leave(everybody, member.id);
        }
        self.say_to_all(io, message, None);
        self.observe(&ChatEvent::Left { id: member.id, name, text });
    }

    /// Takes a member out of the room that has nothing more to say: at once,
    /// if the others can be told.
    fn depart(&mut self, io: &mut Io<'_>, id: ConnId, number: u64) {
        if self.room.member(number).is_none() {
            return;
        }
        if let Some(everybody) = self.everybody {
            io.leave(everybody, id);
        }
        let at_once = self.shutting_down || (self.is_free(io) && self.floor.nobody_waits());
        if at_once || self.floor.queue(io, Waiting::Leaving(number)).is_err() {
            self.leave(io, number, None);
        }
    }

    /// A web page can have its reader's browser say lines here.
    fn turn_away(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        if let Some(number) = session.number.take() {
            if let Some(member) = self.room.member(number)
                && let Some(more) = self.turned_away.allows(io.now())
            {
                let name = &member.name;
                log::warn!("chat: {name} sends HTTP, of a web page perhaps: it is out{more}");
            }
            self.depart(io, io.id(), number);
        }
        io.close(io.id());
    }

    fn too_long(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        if let Some(number) = session.number.take() {
            self.depart(io, io.id(), number);
        }
        self.answer(io, io.id(), TOO_LONG);
        io.close(io.id());
    }

    /// Time that a member has to wait before its next line, if any, and whether
    /// to tell it of that.
    fn is_too_soon(&self, io: &Io<'_>, session: &mut ChatSession) -> Option<(Duration, bool)> {
        let limit = self.lines_per_second.filter(|_| !self.shutting_down)?;
        let wait = session.pace.too_soon(io.now(), limit)?;
        Some((wait, session.pace.is_news()))
    }
}

impl ChatSession {
    /// Reads the member again, if nothing is in the way any more.
    fn go_on(&self, io: &mut Io<'_>) {
        if !self.waits && !self.full && self.place.is_none() {
            io.resume(io.id());
        }
    }
}

impl StreamHandler for Chat {
    type Session = ChatSession;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ChatSession, BoxError> {
        let id = io.id();
        let everybody = match self.everybody {
            Some(everybody) => everybody,
            None => *self.everybody.insert(io.group()?),
        };
        io.join(everybody, id)?;
        let name = self.room.guest();
        // Before there is a member: should this panic, there will be no
        // `close` to take it out again.
        self.observe(&ChatEvent::Joined { id, name: &name, peer: origin.peer() });
        let joined = format!("* {name} joined\n");
        let full = self.answer(io, id, format!("* you are {name}\n"));
        let number = Some(self.room.enter(id, name));
        self.say_to_all(io, joined, Some(id));
        let pace = Pace::default();
        Ok(ChatSession {
            number,
            pace,
            waits: false,
            full,
            guard: HttpGuard::default(),
            place: None,
            turn: None,
            said: Said::default(),
        })
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ChatSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        while let Some(number) = session.number {
            // A shutdown resumes those too who have to read first.
            if session.full {
                io.pause(io.id());
                return Ok(());
            }
            // To wait for anything, there has to be one line more.
            let has_line = || input.contains(&b'\n') || input.len() > Framing::MAX_LINE;
            if let Some((wait, tell)) = has_line().then(|| self.is_too_soon(io, session)).flatten() {
                if let Some(place) = session.place.take() {
                    self.floor.take(place);
                }
                if tell {
                    session.full |= self.answer(io, io.id(), "! slow down\n");
                }
                io.after(wait)?;
                session.waits = true;
                io.pause(io.id());
                return Ok(());
            }
            if !self.has_floor(io, session) && has_line() {
                if session.place.is_none() {
                    session.place = Some(self.floor.queue(io, Waiting::Speaker(io.id()))?);
                }
                io.pause(io.id());
                return Ok(());
            }
            match Framing::Lines.next(input) {
                Ok(Some(line)) if session.guard.is_http_line(&line) => self.turn_away(io, session),
                Ok(Some(line)) => {
                    session.pace.count_line();
                    self.speak(io, session, number, &line);
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
        let Some(number) = session.number else { return Ok(AfterEof::Finish) };
        match Framing::Lines.last(rest) {
            Ok(Some(line)) if session.guard.is_http_line(&line) => self.turn_away(io, session),
            Ok(Some(line)) if self.has_floor(io, session) => self.speak(io, session, number, &line),
            Ok(Some(line)) => {
                let last = Waiting::LastLine { number, id: io.id(), line };
                match session.place {
                    Some(place) => self.floor.replace(place, last),
                    None => session.place = Some(self.floor.queue(io, last)?),
                }
                io.set_busy(io.id(), true);
                return Ok(AfterEof::Stay);
            }
            Ok(None) => {}
            Err(LineTooLong) => self.too_long(io, session),
        }
        if let Some(number) = session.number.take() {
            self.depart(io, io.id(), number);
        }
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut ChatSession) -> Result<(), BoxError> {
        session.full = false;
        session.go_on(io);
        if self.laggards.forget(io.id()) {
            self.go_on(io);
        }
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, session: &mut ChatSession, _: TimerId) -> Result<(), BoxError> {
        session.waits = false;
        session.go_on(io);
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        if self.floor.is_tick(timer) {
            self.laggards.look(io);
            self.go_on(io);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: ChatSession, _: &CloseReason) {
        if let Some(everybody) = self.everybody {
            io.leave(everybody, io.id()); // nobody says anything to it any more
        }
        let has_read = self.laggards.forget(io.id());
        let waits = session.place.and_then(|place| self.floor.at(place));
        // A last line is still said, and then that its member has left.
        if !matches!(waits, Some(Waiting::LastLine { .. })) {
            if let Some(place) = session.place {
                self.floor.take(place);
            }
            if let Some(number) = session.number {
                self.depart(io, io.id(), number);
            }
        }
        if has_read {
            self.go_on(io);
        }
        self.clear_out(io);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.shutting_down = !self.room.is_empty();
        for member in self.room.members() {
            io.resume(member.id);
        }
    }
}
