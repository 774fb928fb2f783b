//! `Chat`: a room that sends every member's line to all other members.

mod audience;
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

use self::audience::Audience;
pub(super) use self::audience::Wire;
use self::command::{Command, HELP, USAGE_OF_MSG};
pub use self::event::ChatEvent;
use self::floor::{Floor, Said, Waiting};
use self::laggards::Laggards;
use self::pace::Pace;
use self::room::{NoName, Room};
use super::framing::{Framing, LineTooLong, TOO_LONG, TYPING};
use super::http_guard::HttpGuard;
use super::text::clean;
use crate::{
    AfterEof, BoxError, CloseReason, ConnId, Io, Limits, LogRate, Origin, Overflow, Peer, Sent,
    StreamHandler, Tally, TimerId,
};

/// A chat room in lines of UTF-8, for `nc` and `telnet`. All connections of one
/// service are in one room, whichever listener accepted them.
///
/// A new member gets `* you are guest1`, and the others get `* guest1 joined`;
/// the name is the smallest free guest number. A line goes to every other
/// member as `<guest1> line`. `/nick NEW`, `/who`, `/msg NAME TEXT`, `/quit
/// [TEXT]` and `/help` are commands. The room announces each leaving once,
/// whatever its reason. The room cleans every line first: it replaces invalid
/// UTF-8, drops control characters and characters that change the order of
/// others (U+202E and similar), and keeps 16 of consecutive spaces, so that no
/// member pushes words to the next line of a terminal, where they look like
/// another's. A text that fills a line with visible characters still can.
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
/// - A line has at most [`Framing::MAX_LINE`] bytes. A longer one is answered
///   with `! line too long`, and ends the connection.
/// - A name has 1 to 32 visible letters, digits, `_` and `-`. Names that differ
///   in case alone (full case folding: `STRASSE`, `straße`) are equal, and with
///   the feature `unicode` so are compatible names (NFKC: `ｇｕｅｓｔ１`, `guest1`).
///   Letters of two scripts that look alike differ: Cyrillic `а` and Latin `a`.
/// - In one turn of the loop the whole room sends
///   [`bytes_per_turn`](Self::bytes_per_turn) and one line at most, and 100,000
///   messages. A member with more lines waits for the next turn, first come,
///   first served. Answers and private messages count too. Notices of joining
///   are sent at once: up to 64 for each listener, of 20 bytes to each member.
/// - While a member's unread output is above [`Limits::high_mark`], the room
///   pauses, as long as that member reads 16 KiB in each second, or a sixteenth
///   of what waits. So no burst, of any number of members, drops a member that
///   reads at that rate, while all do.
/// - The room waits one second of running time for a member that does not read,
///   or reads more slowly, and then for no further member for ten seconds. Such
///   a member is dropped, with a reset, once more than [`Limits::hard_mark`]
///   would wait for it.
/// - The room does not read from a member that leaves its own answers unread.
/// - An answer to `/who` ends at 256 KiB with `, … and N more`.
/// - [`lines_per_second`](Self::lines_per_second): no limit unless set.
///
/// A shutdown delivers what has arrived, without the limit of lines per second.
pub struct Chat {
    lines_per_second: Option<NonZeroU32>,
    observer: Option<Observer>,
    room: Room,
    audience: Audience,
    turned_away: LogRate,
    floor: Floor,
    laggards: Laggards,
    /// True once a shutdown has begun: what has arrived is delivered at once.
    shutting_down: bool,
}

type Observer = Box<dyn FnMut(&ChatEvent<'_>) + Send>;

/// One connection to a [`Chat`].
#[derive(Debug)]
pub struct ChatSession {
    /// The number of the member, until it leaves.
    number: Option<u64>,
    pace: Pace,
    /// True while the member has sent too many lines: paused until a timer is
    /// due.
    waits: bool,
    /// True while the member's output is above its high mark: paused until it
    /// drains.
    full: bool,
    guard: HttpGuard,
    /// The member's place in the queue for the floor: paused until it is woken.
    place: Option<u64>,
    /// The turn in which the member was woken and had the floor, and what it
    /// has sent in it.
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
    /// Makes an empty room.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines_per_second: None,
            observer: None,
            room: Room::new(),
            audience: Audience::default(),
            turned_away: LogRate::new(),
            floor: Floor::new(Self::BYTES_PER_TURN),
            laggards: Laggards::default(),
            shutting_down: false,
        }
    }

    /// The default of [`bytes_per_turn`](Self::bytes_per_turn): it fits many
    /// times beneath the hard mark of [`limits`](Self::limits).
    pub const BYTES_PER_TURN: usize = 64 << 10;

    /// Sets how many bytes all members together may send in one turn of the
    /// loop; the line that passes this number is the last of the turn. This
    /// number plus [`Framing::MAX_LINE`] should fit between the high mark and
    /// the hard mark of the [`Limits`], or a member that reads may be dropped.
    /// Default: [`BYTES_PER_TURN`](Self::BYTES_PER_TURN), 64 KiB.
    #[must_use]
    pub const fn bytes_per_turn(mut self, bytes: NonZeroUsize) -> Self {
        self.floor.set_share(bytes.get());
        self
    }

    /// Sets how many lines of each member the room takes in a second, empty
    /// lines and commands included. A member that sends more gets `! slow
    /// down`, once, and is paused until the second is over; no line is lost. A
    /// last line without its end is taken in any case. Default: no limit.
    #[must_use]
    pub const fn lines_per_second(mut self, lines: NonZeroU32) -> Self {
        self.lines_per_second = Some(lines);
        self
    }

    /// Calls `observer` with every public event of the room; private messages
    /// are not reported. The observer runs on the reactor's thread, where it
    /// blocks the loop, and has no access to the chat; it may hold a
    /// [`Handle`](crate::Handle) to act through.
    ///
    /// If the observer panics, the connection of the event ends, and the room
    /// remains consistent.
    #[must_use]
    pub fn with_observer(mut self, observer: impl FnMut(&ChatEvent<'_>) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The proposed limits: members may only listen, and so may be silent for
    /// ever. A line that is begun has five minutes to its end, unread output the
    /// default deadline, and a member is dropped at 1 MiB of it.
    #[must_use]
    pub fn limits() -> Limits {
        Limits {
            idle: None,
            frame: Some(TYPING),
            hard_mark: 1 << 20,
            overflow: Overflow::Close,
            ..Limits::default()
        }
    }

    /// The members, in order of joining: connection and name. Of members that
    /// leave in a burst some are listed until their leaving is announced.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.room.members().map(|member| (member.id, member.name.as_str()))
    }

    /// Sends `* TEXT` to all members, cleaned as their own lines are. To remove
    /// a member, [`Io::close`] or [`Io::abort`] its connection.
    pub fn announce(&mut self, io: &mut Io<'_>, text: &str) -> Tally {
        let text = clean(text.as_bytes());
        self.say_to_all(io, format!("* {text}\n"), None)
    }

    fn say_to_all(&mut self, io: &mut Io<'_>, message: String, except: Option<ConnId>) -> Tally {
        let length = message.len();
        let tally = self.audience.say(io, message, except);
        self.floor.count(io.now(), length, tally.queued);
        if self.laggards.are_fewer_than(tally.full, except) {
            self.laggards.find(io, self.room.members().map(|member| member.id));
        }
        tally
    }

    /// Sends a text to one member. True if the member should be paused until it
    /// has read.
    fn answer(&mut self, io: &mut Io<'_>, id: ConnId, text: impl Into<Bytes>) -> bool {
        let text = text.into();
        self.floor.count(io.now(), text.len(), 1);
        matches!(self.audience.tell(io, id, text), Sent::Full | Sent::Dropped)
    }

    fn observe(&mut self, event: &ChatEvent<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }

    /// Lets the connection of this callback in.
    pub(super) fn enter(
        &mut self,
        io: &mut Io<'_>,
        peer: &Peer,
        wire: Wire,
    ) -> Result<ChatSession, BoxError> {
        let id = io.id();
        self.audience.join(io, id, wire)?;
        let name = self.room.guest();
        // The observer runs before the member exists: after a panic here no
        // `close` would remove the member.
        self.observe(&ChatEvent::Joined { id, name: &name, peer });
        self.audience.remember(id, wire);
        let joined = format!("* {name} joined\n");
        let full = self.answer(io, id, format!("* you are {name}\n"));
        let number = Some(self.room.enter(id, name));
        self.say_to_all(io, joined, Some(id));
        // No page can make a browser send HTTP over a WebSocket.
        let guard = if wire == Wire::Lines { HttpGuard::Start } else { HttpGuard::Other };
        let pace = Pace::default();
        let said = Said::default();
        Ok(ChatSession { number, pace, waits: false, full, guard, place: None, turn: None, said })
    }

    /// Takes the session of a member back, whose connection has ended.
    pub(super) fn exit(&mut self, io: &mut Io<'_>, session: &ChatSession) {
        self.audience.forget(io.id()); // nothing more is sent to it
        let has_read = self.laggards.forget(io.id());
        let waits = session.place.and_then(|place| self.floor.at(place));
        // A queued last line is still sent, and announces the leaving
        // afterwards.
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

    /// Carries out one line of a member. True if the member should be paused
    /// until it has read its answers.
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
                self.audience.close(io, id);
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
                match self.audience.tell(io, to, message.into()) {
                    // A member that is about to leave gets nothing.
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

    /// Removes a member, and announces that; a second call does nothing.
    fn leave(&mut self, io: &mut Io<'_>, number: u64, text: Option<&str>) {
        let Some(member) = self.room.exit(number) else { return };
        if self.room.is_empty() {
            self.shutting_down = false; // the service may run again
        }
        let name = &member.name;
        let message = match text {
            Some(text) => format!("* {name} left: {text}\n"),
            None => format!("* {name} left\n"),
        };
        self.audience.leave(io, member.id);
        self.say_to_all(io, message, None);
        self.observe(&ChatEvent::Left { id: member.id, name, text });
    }

    /// Removes a member whose input has ended: at once, if the room may
    /// announce it in this turn.
    fn depart(&mut self, io: &mut Io<'_>, id: ConnId, number: u64) {
        if self.room.member(number).is_none() {
            return;
        }
        self.audience.leave(io, id);
        let at_once = self.shutting_down || (self.is_free(io) && self.floor.nobody_waits());
        if at_once || self.floor.queue(io, Waiting::Leaving(number)).is_err() {
            self.leave(io, number, None);
        }
    }

    /// Closes a member whose first line looks like HTTP: a web page can make a
    /// browser send one.
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
        self.audience.close(io, io.id());
    }

    fn too_long(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        if let Some(number) = session.number.take() {
            self.depart(io, io.id(), number);
        }
        self.answer(io, io.id(), TOO_LONG);
        self.audience.close(io, io.id());
    }

    /// The time before the member's next line, if it has to wait, and whether
    /// to send it `! slow down`.
    fn is_too_soon(&self, io: &Io<'_>, session: &mut ChatSession) -> Option<TooSoon> {
        let limit = self.lines_per_second.filter(|_| !self.shutting_down)?;
        let wait = session.pace.too_soon(io.now(), limit)?;
        Some(TooSoon { wait, is_news: session.pace.is_news() })
    }
}

/// A line that came before its time.
struct TooSoon {
    wait: Duration,
    /// The member is not told yet.
    is_news: bool,
}

impl ChatSession {
    /// Resumes the member, if nothing pauses it any more.
    fn go_on(&self, io: &mut Io<'_>) {
        if !self.waits && !self.full && self.place.is_none() {
            io.resume(io.id());
        }
    }
}

impl StreamHandler for Chat {
    type Session = ChatSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.audience.begin(io)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ChatSession, BoxError> {
        self.enter(io, origin.peer(), Wire::Lines)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ChatSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        while let Some(number) = session.number {
            // A shutdown also resumes members that have unread answers.
            if session.full {
                io.pause(io.id());
                return Ok(());
            }
            // A member waits only if it has one more line.
            let has_line = || input.contains(&b'\n') || input.len() > Framing::MAX_LINE;
            if let Some(too_soon) = has_line().then(|| self.is_too_soon(io, session)).flatten() {
                if let Some(place) = session.place.take() {
                    self.floor.take(place);
                }
                if too_soon.is_news {
                    session.full |= self.answer(io, io.id(), "! slow down\n");
                }
                io.after(too_soon.wait)?;
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
        self.exit(io, &session);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.shutting_down = !self.room.is_empty();
        for member in self.room.members() {
            io.resume(member.id);
        }
    }
}
