//! `Web`: files, a health check, metrics and a chat in the browser, on one port.

mod page;
#[cfg(feature = "bus")]
mod shared;
mod site;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;

#[cfg(feature = "bus")]
pub use self::shared::SharedWeb;
use self::site::Site;
use super::chat::{Chat, ChatSession, Local, Reach};
use crate::http::{Files, Http, HttpSession, WallClock};
use crate::process::Exit;
use crate::ws::Origins;
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, Io, Limits, ListenerId, Origin, Overflow, Peer, StreamHandler,
    TimerId,
};

/// A web server for what a service wants to show (features `http` and `ws`).
///
/// | path | what it is |
/// | --- | --- |
/// | `GET /healthz` | 200 and `ok`; 503 during a shutdown |
/// | `GET /metrics` | the [counters](crate::http::metrics_text) of the reactor and of each service, in Prometheus' text format |
/// | `GET /chat` | the page of the chat |
/// | `/chat/ws` | its WebSocket: a text message is a line without its end |
/// | `/echo/ws` | a WebSocket that sends each message back, up to 16 MiB |
/// | all else | the [`files`](Self::files) of a directory, if there is one |
///
/// Whoever comes over the WebSocket is a member of the same room as those who come
/// over the listeners that are [`chat_on`](Self::chat_on).
///
/// # Coming back
///
/// A client that opens `/chat/ws?from=` is told the positions of a chat on a bus
/// (`Chat::on_bus`): a line that stands in the order of the room is a binary message,
/// `EPOCH:OFFSET LINE`, and a position alone stands for a line of its own. What is for this
/// client or this node alone is a text message as ever. The client names the last position
/// when it opens its next WebSocket, `/chat/ws?from=EPOCH:OFFSET`, on whichever node: behind
/// `* you are NAME` it gets the lines and notices that it has missed, each once and in
/// order, and then all that follows; its own lines are taken behind that. `* N lines were
/// missed` stands for those that the log in Redis has not any more, `* lines may have been
/// missed` for a number that nobody knows. Private lines are not given again. What cannot
/// be read as a position counts as none. A client that reads slowly is given the rest as it
/// reads. The page does all of this. A chat on no bus has no positions.
///
/// # Trust
///
/// Everybody who can connect may read the files and the metrics, and talk; on a bus also
/// what the log has of the room, private lines excepted. A page
/// of another origin opens no WebSocket, unless it is listed in
/// [`origins`](Self::origins), so that no page talks as somebody who only looks at
/// it. The page has a content security policy that allows its own script and style
/// alone, and shows what others say as text.
///
/// ```
/// use serve_forever::services::{Chat, Web};
/// use serve_forever::{Config, Reactor};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let web = reactor.add(Web::new(Chat::new()), Web::limits())?;
/// reactor.listen(&web, &"127.0.0.1:0".parse()?)?; // http://…/chat
/// let lines = reactor.listen(&web, &"127.0.0.1:0".parse()?)?; // for nc
/// reactor.get_mut(&web).chat_on(lines);
/// # reactor.handle(&web).shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Debug)]
pub struct Web<R: Reach = Local> {
    http: Http<Site<R>>,
    /// The listeners whose clients are members of the chat, in lines.
    lines: BTreeSet<ListenerId>,
    /// Their idle deadline.
    lines_idle: Option<Duration>,
}

/// The state of one connection to a [`Web`].
#[derive(Debug)]
pub struct WebSession(Client);

#[derive(Debug)]
enum Client {
    Http(HttpSession),
    /// A member of the chat, in lines.
    Chat(ChatSession),
}

impl Web {
    /// The proposed limits: those of HTTP, and for slow members those of the chat.
    #[must_use]
    pub fn limits() -> Limits {
        Limits {
            hard_mark: Chat::limits().hard_mark,
            overflow: Overflow::Close,
            ..Http::<Site<Local>>::limits()
        }
    }
}

impl<R: Reach> Web<R> {
    /// Makes a web server with this chat.
    #[must_use]
    pub fn new(chat: Chat<R>) -> Self {
        Self { http: Http::new(Site::new(chat)), lines: BTreeSet::new(), lines_idle: Chat::limits().idle }
    }

    /// Serves the files of a directory where no other path is meant.
    ///
    /// # Errors
    ///
    /// As [`Files::of`].
    pub fn files(mut self, directory: impl AsRef<Path>) -> io::Result<Self> {
        self.http.handler_mut().set_files(Files::of(directory)?);
        Ok(self)
    }

    /// Sets which pages may open WebSockets. Default: those of the same host.
    #[must_use]
    pub fn origins(mut self, origins: &Origins) -> Self {
        self.http.handler_mut().set_origins(origins);
        self
    }

    /// Sets the clock of `Date`, as [`Http::clock`].
    #[must_use]
    pub fn clock(mut self, clock: Option<WallClock>) -> Self {
        self.http = self.http.clock(clock);
        self
    }

    /// Sets after how much silence a member in lines is closed. Default: never, as
    /// members may only listen.
    #[must_use]
    pub const fn lines_idle(mut self, idle: Option<Duration>) -> Self {
        self.lines_idle = idle;
        self
    }

    /// Has the clients of a listener of this service be members of the chat, in
    /// lines ([`Chat`]). Call it before the loop runs, or the first clients may
    /// be taken for browsers.
    pub fn chat_on(&mut self, listener: ListenerId) {
        self.lines.insert(listener);
    }

    /// The chat.
    #[must_use]
    pub const fn chat(&self) -> &Chat<R> {
        self.http.handler().chat()
    }

    /// The chat, to announce something between turns or in a call from a
    /// [`Handle`](crate::Handle).
    pub const fn chat_mut(&mut self) -> &mut Chat<R> {
        self.http.handler_mut().chat_mut()
    }

    /// The chat, for a callback of a member in lines.
    const fn room(&mut self) -> &mut Chat<R> {
        self.http.handler_mut().chat_mut()
    }
}

impl<R: Reach> StreamHandler for Web<R> {
    type Session = WebSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.room().started(io)?;
        self.http.started(io)
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.http.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<WebSession, BoxError> {
        let client = match origin {
            Origin::Accepted { listener, .. } if self.lines.contains(listener) => {
                io.set_idle(io.id(), self.lines_idle);
                Client::Chat(self.room().open(io, origin)?)
            }
            _ => Client::Http(self.http.open(io, origin)?),
        };
        Ok(WebSession(client))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut WebSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        match &mut session.0 {
            Client::Http(session) => self.http.data(io, session, input),
            Client::Chat(session) => self.room().data(io, session, input),
        }
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut WebSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        match &mut session.0 {
            Client::Http(session) => self.http.eof(io, session, rest),
            Client::Chat(session) => self.room().eof(io, session, rest),
        }
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut WebSession) -> Result<(), BoxError> {
        match &mut session.0 {
            Client::Http(session) => self.http.drained(io, session),
            Client::Chat(session) => self.room().drained(io, session),
        }
    }

    fn timer(&mut self, io: &mut Io<'_>, session: &mut WebSession, timer: TimerId) -> Result<(), BoxError> {
        match &mut session.0 {
            Client::Http(session) => self.http.timer(io, session, timer),
            Client::Chat(session) => self.room().timer(io, session, timer),
        }
    }

    fn last_word(&mut self, io: &mut Io<'_>, session: &mut WebSession, why: &CloseReason) {
        match &mut session.0 {
            Client::Http(session) => self.http.last_word(io, session, why),
            Client::Chat(session) => self.room().last_word(io, session, why),
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: WebSession, why: &CloseReason) {
        match session.0 {
            Client::Http(session) => self.http.close(io, session, why),
            Client::Chat(session) => self.room().close(io, session, why),
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.http.connect_failed(io, tag, error);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.http.child_exited(io, child, tag, exit);
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.http.spawn_failed(io, child, tag, error);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.http.tick(io, timer);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.http.shutting_down(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.http.listener_failed(io, listener, error);
    }
}
