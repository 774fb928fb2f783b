//! `Console`: clients write to one operator, who answers them.

mod order;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::order::{Order, Target};
use super::framing::{Framing, LineTooLong, TOO_LONG, TYPING};
use super::http_guard::HttpGuard;
use super::text::{clean, one_line};
use crate::{
    Address, AfterEof, BoxError, CloseReason, ConnId, GroupId, Io, Limits, LogRate, Origin, Overflow, Peer,
    SHUTDOWN_DEADLINE, Sent, StreamHandler,
};

/// The time that a client which is being closed may leave its output unread.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer to `/who`, in bytes, without its last line.
const WHO: usize = 256 << 10;

/// A chat of many with one: clients write to an operator, who answers them.
///
/// The operator uses the connections that the program itself gives to the
/// reactor: its standard output
/// ([`Reactor::adopt_output`](crate::Reactor::adopt_output)) and input
/// ([`Reactor::adopt_input`](crate::Reactor::adopt_input)), or a socket, which
/// is both ([`Reactor::adopt`](crate::Reactor::adopt)). All other connections
/// of the service are clients, whichever listener they came by.
///
/// The operator gets `#ID PEER | TEXT` for each request of a client, and `* #ID
/// PEER joined` and `left`; IDs count from 1 and are not reused. A request
/// `exit` ends the client's connection and is not shown. A first request that
/// looks like the first line of an HTTP request ends the connection too, with a
/// warning in the log, for any web page can make a browser send one. The
/// operator writes lines: `#ID TEXT` goes to that client, `@all TEXT` to all
/// clients, and any other text to the client who spoke last; `/who` and `/kick
/// ID` are commands, and so is `/quit`, which shuts the reactor down
/// ([`Io::shutdown`]). A mistake is answered with `! ` and its description.
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use serve_forever::{Config, Reactor, services::{Console, Framing}};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let console = reactor.add(Console::new(Framing::Lines), Console::limits())?;
/// reactor.listen(&console, &"127.0.0.1:0".parse()?)?;
/// let (operator, ours) = UnixStream::pair()?;
/// reactor.adopt(&console, ours)?;
/// std::io::Write::write_all(&mut &operator, b"/quit\n")?;
/// reactor.serve_forever()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Limits
///
/// - The console cleans what clients send before it reaches the operator's
///   terminal: it replaces invalid UTF-8, drops control characters and
///   characters that change the order of others (U+202E and similar), replaces
///   line ends by spaces, and keeps 16 of consecutive spaces, so that no client
///   pushes words to the next line, where they look like another's. A text that
///   fills a line with visible characters still can. The operator's text is
///   sent unchanged.
/// - An operator who does not read pauses all clients, at the high mark of the
///   [`Limits`]. A client that resets its TCP connection meanwhile is removed
///   at once, and its last text is lost. A client that has ended in order, or
///   was on a Unix socket, is kept until its end can be shown. Without an
///   operator, the console drops what clients send.
/// - The end of the operator's input changes nothing. Of several operator
///   connections the console writes to the one adopted last, and when that is
///   gone to the one before.
/// - A client that does not read loses what would pass the hard mark, which the
///   operator is shown. A client whose connection is being closed loses it if
///   it reads nothing for 60 s.
/// - A line has at most [`Framing::MAX_LINE`] bytes, of a client and of the
///   operator. A longer one is answered with `! line too long`, and ends a
///   client's connection.
/// - An answer to `/who` ends after 256 KiB with `* … and N more`.
#[derive(Debug)]
pub struct Console {
    framing: Framing,
    clients: BTreeMap<u64, Client>,
    last_number: u64,
    /// The number of the client who spoke last.
    speaker: Option<u64>,
    /// The operator's connections, in the order in which they were adopted.
    operators: Vec<ConnId>,
    /// The operator's connection whose reader all clients wait for.
    awaited: Option<ConnId>,
    /// The group of all connections, so that a shutdown keeps the operator
    /// until every client's input is shown.
    everybody: GroupId,
    turned_away: LogRate,
}

#[derive(Debug)]
struct Client {
    id: ConnId,
    peer: String,
}

/// One connection to a [`Console`].
#[derive(Debug)]
pub struct ConsoleSession(Side);

#[derive(Debug)]
enum Side {
    Operator {
        /// True while input is the rest of a line that is too long.
        skips: bool,
    },
    Client {
        number: u64,
        guard: HttpGuard,
    },
}

impl Console {
    /// Makes a console whose clients send requests of this framing. Texts to
    /// clients end with a line end in `Lines`, and with nothing in `Chunk`.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            clients: BTreeMap::new(),
            last_number: 0,
            speaker: None,
            operators: Vec::new(),
            awaited: None,
            everybody: GroupId::default(),
            turned_away: LogRate::new(),
        }
    }

    /// The proposed limits: both sides may be silent for ever, as both may only
    /// listen, and unread output waits, as an operator may be away from the
    /// keyboard; what would pass 1 MiB of it is dropped. A line that a client
    /// has begun has five minutes to its end.
    #[must_use]
    pub fn limits() -> Limits {
        Limits {
            idle: None,
            frame: Some(TYPING),
            write_stall: None,
            hard_mark: 1 << 20,
            overflow: Overflow::DropNewest,
            ..Limits::default()
        }
    }

    /// The clients, in order of joining: ID, connection, and peer as the
    /// operator sees it.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = (u64, ConnId, &str)> {
        self.clients.iter().map(|(number, client)| (*number, client.id, client.peer.as_str()))
    }

    /// Shows a line to the operator, if there is one.
    fn show(&mut self, io: &mut Io<'_>, line: String) {
        let line = Bytes::from(line);
        for operator in self.operators.iter().rev().copied() {
            match io.send(operator, line.clone()) {
                Sent::Gone => {}
                Sent::Queued => return,
                Sent::Full | Sent::Dropped => return self.wait_for(io, operator),
            }
        }
    }

    fn wait_for(&mut self, io: &mut Io<'_>, operator: ConnId) {
        self.awaited = Some(operator);
        for client in self.clients.values() {
            io.pause(client.id);
        }
    }

    /// Resumes the clients: the operator has read, or is gone.
    fn go_on(&mut self, io: &mut Io<'_>) {
        self.awaited = None;
        for client in self.clients.values() {
            io.resume(client.id);
        }
    }

    // Clients

    fn join(&mut self, io: &mut Io<'_>, peer: &Peer) -> u64 {
        self.last_number += 1;
        let peer_address = &peer.address;
        let peer = match peer_address {
            Address::Inet(address) => address.to_string(),
            // The client chooses its path, so the operator does not see it.
            _ => "unix".into(),
        };
        if matches!(peer_address, Address::Inet(_)) {
            // A reset ends a connection even while its input waits for the
            // operator. TCP only: on a Unix socket a close would end it too,
            // before its input is shown.
            io.end_on_hangup(io.id(), true);
        }
        let joined = format!("* #{} {peer} joined\n", self.last_number);
        self.clients.insert(self.last_number, Client { id: io.id(), peer });
        if self.awaited.is_some() {
            io.pause(io.id());
        }
        self.show(io, joined);
        self.last_number
    }

    /// Removes a client and shows that to the operator; a second call does
    /// nothing.
    fn leave(&mut self, io: &mut Io<'_>, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            // The only deadline of a client that does not read.
            io.set_idle(client.id, Some(PATIENCE));
            self.show(io, format!("* #{number} {} left\n", client.peer));
        }
    }

    fn request(&mut self, io: &mut Io<'_>, number: u64, request: &[u8]) {
        let text = one_line(request);
        if text.trim_matches(' ') == "exit" {
            self.leave(io, number);
            io.close(io.id());
        } else if let Some(client) = self.clients.get(&number) {
            let line = format!("#{number} {} | {text}\n", client.peer);
            self.speaker = Some(number);
            self.show(io, line);
        }
    }

    fn too_long(&mut self, io: &mut Io<'_>, number: u64) {
        self.leave(io, number);
        io.reply(TOO_LONG);
        io.close(io.id());
    }

    fn is_http(&self, guard: &mut HttpGuard, request: &[u8]) -> bool {
        self.framing == Framing::Lines && guard.is_http_line(request)
    }

    /// Closes a client whose first request looks like HTTP: a web page can make
    /// a browser send one.
    fn turn_away(&mut self, io: &mut Io<'_>, number: u64) {
        if let Some(client) = self.clients.get(&number)
            && let Some(more) = self.turned_away.allows(io.now())
        {
            let peer = &client.peer;
            log::warn!("console: {peer} sends HTTP, of a web page perhaps: nothing of it is shown{more}");
        }
        self.leave(io, number);
        io.close(io.id());
    }

    /// Takes a client's requests, for as long as the operator reads.
    fn listen(&mut self, io: &mut Io<'_>, number: u64, guard: &mut HttpGuard, input: &mut BytesMut) {
        while self.clients.contains_key(&number) {
            if self.awaited.is_some() {
                return; // it is paused
            }
            let is_http = self.framing == Framing::Chunk && guard.is_http_chunk(input);
            match self.framing.next(input) {
                Ok(Some(request)) if is_http || self.is_http(guard, &request) => self.turn_away(io, number),
                Ok(Some(request)) => self.request(io, number, &request),
                Ok(None) => return,
                Err(LineTooLong) => self.too_long(io, number),
            }
        }
        input.clear();
    }

    // The operator

    fn order(&mut self, io: &mut Io<'_>, line: &[u8]) {
        match Order::parse(line) {
            Order::Nothing => {}
            Order::Tell(target, text) => self.tell(io, target, text),
            Order::TellAll(text) => self.tell_all(io, text),
            Order::Answer(text) => {
                match self.speaker.and_then(|number| self.clients.get_key_value(&number)) {
                    Some((number, client)) => {
                        let (number, id) = (*number, client.id);
                        self.deliver(io, number, id, text);
                    }
                    None => self.show(io, "! nobody to answer\n".into()),
                }
            }
            Order::Who => self.show(io, self.who()),
            Order::Kick(target) => match self.find(target) {
                Some((number, id)) => {
                    self.leave(io, number);
                    io.close(id);
                }
                None => self.no_such(io, target),
            },
            Order::Quit => io.shutdown(SHUTDOWN_DEADLINE),
            Order::Unknown(word) => self.show(io, format!("! unknown command {}\n", clean(word))),
            Order::Incomplete(usage) => self.show(io, format!("! usage: {usage}\n")),
        }
    }

    fn find(&self, target: Target<'_>) -> Option<(u64, ConnId)> {
        let number = target.number()?;
        Some((number, self.clients.get(&number)?.id))
    }

    fn no_such(&mut self, io: &mut Io<'_>, target: Target<'_>) {
        self.show(io, format!("! no such client #{}\n", clean(target.0)));
    }

    fn tell(&mut self, io: &mut Io<'_>, target: Target<'_>, text: &[u8]) {
        match self.find(target) {
            Some((number, id)) => self.deliver(io, number, id, text),
            None => self.no_such(io, target),
        }
    }

    fn deliver(&mut self, io: &mut Io<'_>, number: u64, id: ConnId, text: &[u8]) {
        match io.send(id, self.framed(text)) {
            Sent::Queued | Sent::Full => {}
            Sent::Dropped => self.show(io, format!("! #{number} does not read, and has lost that\n")),
            Sent::Gone => self.show(io, format!("! no such client #{number}\n")),
        }
    }

    fn tell_all(&mut self, io: &mut Io<'_>, text: &[u8]) {
        if self.clients.is_empty() {
            return self.show(io, "! nobody is there\n".into());
        }
        let text = self.framed(text);
        let sent = self.clients.values().map(|client| io.send(client.id, text.clone()));
        let lost = sent.filter(|sent| *sent == Sent::Dropped).count();
        if lost > 0 {
            self.show(io, format!("! {lost} do not read, and have lost that\n"));
        }
    }

    /// A text with the end that clients expect.
    fn framed(&self, text: &[u8]) -> Bytes {
        [text, self.framing.end().as_bytes()].concat().into()
    }

    fn who(&self) -> String {
        let mut answer = String::new();
        for (place, (number, client)) in self.clients.iter().enumerate() {
            if answer.len() > WHO {
                answer.push_str(&format!("* … and {} more\n", self.clients.len() - place));
                break;
            }
            answer.push_str(&format!("* #{number} {}\n", client.peer));
        }
        answer
    }

    /// Takes the operator's lines, and skips the rest of one that is too long.
    fn obey(&mut self, io: &mut Io<'_>, skips: &mut bool, input: &mut BytesMut) {
        loop {
            if *skips {
                let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return input.clear() };
                drop(input.split_to(end + 1));
                *skips = false;
            }
            match Framing::Lines.next(input) {
                Ok(Some(line)) => self.order(io, &line),
                Ok(None) => return,
                Err(LineTooLong) => {
                    *skips = true;
                    self.show(io, "! line too long\n".into());
                }
            }
        }
    }
}

impl StreamHandler for Console {
    type Session = ConsoleSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConsoleSession, BoxError> {
        io.join(self.everybody, io.id())?;
        Ok(ConsoleSession(match origin {
            Origin::Accepted { peer, .. } | Origin::Connected { peer, .. } => {
                Side::Client { number: self.join(io, peer), guard: HttpGuard::default() }
            }
            // Adopted connections are the operator's.
            Origin::Adopted { side: crate::Side::Input, .. } => Side::Operator { skips: false },
            _ => {
                self.operators.push(io.id());
                Side::Operator { skips: false }
            }
        }))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ConsoleSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        match &mut session.0 {
            Side::Operator { skips } => self.obey(io, skips, input),
            Side::Client { number, guard } => self.listen(io, *number, guard, input),
        }
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut ConsoleSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        match &mut session.0 {
            Side::Operator { skips } => {
                if !*skips {
                    match Framing::Lines.last(rest) {
                        Ok(Some(line)) => self.order(io, &line),
                        Ok(None) => {}
                        Err(LineTooLong) => self.show(io, "! line too long\n".into()),
                    }
                }
                // The operator's input has ended, but its output still shows
                // clients.
                Ok(AfterEof::Stay)
            }
            Side::Client { number, guard } => {
                let is_http = self.framing == Framing::Chunk && guard.is_http_chunk(rest);
                match self.framing.last(rest) {
                    Ok(Some(request)) if is_http || self.is_http(guard, &request) => {
                        self.turn_away(io, *number)
                    }
                    Ok(Some(request)) => self.request(io, *number, &request),
                    Ok(None) => {}
                    Err(LineTooLong) => self.too_long(io, *number),
                }
                self.leave(io, *number);
                Ok(AfterEof::Finish)
            }
        }
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut ConsoleSession) -> Result<(), BoxError> {
        if self.awaited == Some(io.id()) {
            self.go_on(io);
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, session: ConsoleSession, _: &CloseReason) {
        match session.0 {
            Side::Operator { .. } => {
                self.operators.retain(|operator| *operator != io.id());
                if self.awaited == Some(io.id()) {
                    self.go_on(io);
                }
            }
            Side::Client { number, .. } => self.leave(io, number),
        }
    }
}
