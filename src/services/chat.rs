//! `Chat`: a room that sends every member's line to all other members.

mod audience;
mod command;
mod event;
mod floor;
mod hall;
#[cfg(feature = "bus")]
mod hear;
mod laggards;
#[cfg(feature = "bus")]
mod lines;
mod local;
mod names;
mod pace;
mod reach;
mod room;
mod session;
#[cfg(feature = "bus")]
mod shared;
mod turns;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::BytesMut;

pub(super) use self::audience::Wire;
use self::command::{Command, HELP, USAGE_OF_MSG};
pub use self::event::ChatEvent;
use self::floor::Waiting;
use self::hall::Hall;
pub use self::local::Local;
pub use self::reach::Reach;
pub use self::session::ChatSession;
#[cfg(feature = "bus")]
pub use self::shared::{Shared, SharedChat};
use super::framing::{Framing, LineTooLong, TOO_LONG, TYPING};
use super::text::clean;
use crate::{
    AfterEof, BoxError, CloseReason, ConnId, Io, Limits, LogRate, Origin, Overflow, Peer, StreamHandler,
    Tally, TimerId,
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
#[derive(Debug)]
pub struct Chat<R = Local> {
    lines_per_second: Option<NonZeroU32>,
    reach: R,
    hall: Hall,
    turned_away: LogRate,
    /// True once a shutdown has begun: what has arrived is delivered at once.
    shutting_down: bool,
}

impl Default for Chat {
    fn default() -> Self {
        Self::new()
    }
}

impl Chat {
    /// Makes an empty room.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines_per_second: None,
            reach: Local::new(),
            hall: Hall::new(Self::BYTES_PER_TURN),
            turned_away: LogRate::new(),
            shutting_down: false,
        }
    }

    /// The default of [`bytes_per_turn`](Self::bytes_per_turn): it fits many
    /// times beneath the hard mark of [`limits`](Self::limits).
    pub const BYTES_PER_TURN: usize = 64 << 10;

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

    /// Sends `* TEXT` to all members, cleaned as their own lines are. To remove
    /// a member, [`Io::close`] or [`Io::abort`] its connection.
    pub fn announce(&mut self, io: &mut Io<'_>, text: &str) -> Tally {
        let text = clean(text.as_bytes());
        self.hall.say_to_all(io, format!("* {text}\n"), None)
    }
}

impl<R: Reach> Chat<R> {
    /// The same chat with another reach.
    #[cfg(feature = "bus")]
    fn reaching<S>(self, reach: S) -> Chat<S> {
        let Self { lines_per_second, hall, turned_away, shutting_down, .. } = self;
        Chat { lines_per_second, reach, hall, turned_away, shutting_down }
    }

    /// Sets how many bytes all members together may send in one turn of the
    /// loop; the line that passes this number is the last of the turn. This
    /// number plus [`Framing::MAX_LINE`] should fit between the high mark and
    /// the hard mark of the [`Limits`], or a member that reads may be dropped.
    /// Default: [`BYTES_PER_TURN`](Chat::BYTES_PER_TURN), 64 KiB.
    #[must_use]
    pub const fn bytes_per_turn(mut self, bytes: NonZeroUsize) -> Self {
        self.hall.floor.set_share(bytes.get());
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
        self.hall.observer = Some(Box::new(observer));
        self
    }

    /// The members, in order of joining: connection and name. Of members that
    /// leave in a burst some are listed until their leaving is announced.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.reach.members()
    }

    /// Lets the connection of this callback in.
    pub(super) fn enter(
        &mut self,
        io: &mut Io<'_>,
        peer: &Peer,
        wire: Wire,
    ) -> Result<ChatSession, BoxError> {
        let entry = self.reach.enter(&mut self.hall, io, peer, wire)?;
        Ok(ChatSession::new(entry, wire))
    }

    /// Takes the session of a member back, whose connection has ended.
    pub(super) fn exit(&mut self, io: &mut Io<'_>, session: &ChatSession) {
        self.hall.audience.forget(io.id()); // nothing more is sent to it
        let has_read = self.hall.laggards.forget(io.id());
        let waits = session.place.and_then(|place| self.hall.floor.at(place));
        // A queued last line is still sent, and announces the leaving
        // afterwards.
        if !matches!(waits, Some(Waiting::LastLine { .. })) {
            if let Some(place) = session.place {
                self.hall.floor.take(place);
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
        let Some(id) = self.reach.connection(number) else { return false };
        let (reach, hall) = (&mut self.reach, &mut self.hall);
        match Command::parse(&line) {
            Command::Nothing => {}
            Command::Say(text) => return reach.say(hall, io, number, text),
            Command::Nick(name) => return reach.rename(hall, io, number, name),
            Command::Who => return hall.answer(io, id, reach.who()),
            Command::Msg { to, text } => return reach.whisper(hall, io, number, to, text),
            Command::BadMsg => return hall.answer(io, id, USAGE_OF_MSG),
            Command::Quit(text) => {
                self.leave(io, number, text);
                self.hall.audience.close(io, id);
            }
            Command::Help => return hall.answer(io, id, HELP),
            Command::Unknown(word) => return hall.answer(io, id, format!("! unknown command {word}\n")),
        }
        false
    }

    /// Removes a member, and announces that; a second call does nothing.
    fn leave(&mut self, io: &mut Io<'_>, number: u64, text: Option<&str>) {
        self.reach.leave(&mut self.hall, io, number, text);
        if self.reach.connections().next().is_none() {
            self.shutting_down = false; // the service may run again
        }
    }

    /// Removes a member whose input has ended: at once, if the room may
    /// announce it in this turn.
    fn depart(&mut self, io: &mut Io<'_>, id: ConnId, number: u64) {
        if self.reach.connection(number).is_none() || self.reach.has_last_line(number) {
            return;
        }
        self.hall.audience.leave(io, id);
        let at_once = self.shutting_down || (self.hall.is_free(io) && self.hall.floor.nobody_waits());
        if at_once || self.hall.floor.queue(io, Waiting::Leaving(number)).is_err() {
            self.leave(io, number, None);
        }
    }

    /// Closes a member whose first line looks like HTTP: a web page can make a
    /// browser send one.
    fn turn_away(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        if let Some(number) = session.number.take() {
            if let Some(name) = self.reach.name(number)
                && let Some(more) = self.turned_away.allows(io.now())
            {
                log::warn!("chat: {name} sends HTTP, of a web page perhaps: it is out{more}");
            }
            self.depart(io, io.id(), number);
        }
        self.hall.audience.close(io, io.id());
    }

    fn too_long(&mut self, io: &mut Io<'_>, session: &mut ChatSession) {
        if let Some(number) = session.number.take() {
            self.depart(io, io.id(), number);
        }
        self.hall.answer(io, io.id(), TOO_LONG);
        self.hall.audience.close(io, io.id());
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

impl<R: Reach> StreamHandler for Chat<R> {
    type Session = ChatSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.hall.audience.begin(io)?;
        self.reach.begin(io)
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
            if !self.reach.takes_line(io, number) && has_line() {
                if let Some(place) = session.place.take() {
                    self.hall.floor.take(place);
                }
                io.pause(io.id());
                return Ok(());
            }
            if let Some(too_soon) = has_line().then(|| self.is_too_soon(io, session)).flatten() {
                if let Some(place) = session.place.take() {
                    self.hall.floor.take(place);
                }
                if too_soon.is_news {
                    session.full |= self.hall.answer(io, io.id(), "! slow down\n");
                }
                io.after(too_soon.wait)?;
                session.waits = true;
                io.pause(io.id());
                return Ok(());
            }
            if !self.has_floor(io, session) && has_line() {
                if session.place.is_none() {
                    session.place = Some(self.hall.floor.queue(io, Waiting::Speaker(io.id()))?);
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
            Ok(Some(line)) if !self.reach.takes_line(io, number) => {
                self.reach.keep_last_line(number, line);
                io.set_busy(io.id(), true);
                return Ok(AfterEof::Stay);
            }
            Ok(Some(line)) if self.has_floor(io, session) => self.speak(io, session, number, &line),
            Ok(Some(line)) => {
                let last = Waiting::LastLine { number, id: io.id(), line };
                match session.place {
                    Some(place) => self.hall.floor.replace(place, last),
                    None => session.place = Some(self.hall.floor.queue(io, last)?),
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
        if let Some(number) = session.number {
            self.reach.drained(&mut self.hall, io, number);
        }
        if self.hall.laggards.forget(io.id()) {
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
        if self.hall.floor.is_tick(timer) {
            self.hall.laggards.look(io);
            self.go_on(io);
        } else {
            self.reach.tick(&mut self.hall, io, timer);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: ChatSession, _: &CloseReason) {
        self.exit(io, &session);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.shutting_down = self.reach.connections().next().is_some();
        self.reach.shutting_down(&mut self.hall, io);
        for id in self.reach.connections() {
            io.resume(id);
        }
    }
}
