//! `Command`: runs commands for its clients, and sends back their output.

mod client;
mod policy;
mod reply;
mod requests;
mod rest;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use self::client::{Client, Doing};
use self::policy::{Policy, Token};
pub use self::reply::{Reply, Status};
use self::rest::Rests;
use super::framing::{FIRST_REQUEST, Framing, Stream};
use crate::process::{Exit, Pipe};
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, ConnId, Endpoint, Io, Limits, LogRate, Origin, Peer,
    StreamHandler, TimerId,
};

/// The text that follows the output of a command whose status is lost.
const LOST: &[u8] = b"it is not known how it ended: SIGCHLD is ignored here, or something else waits for it";

/// A service that runs commands for its clients, without blocking the loop:
/// each request is a command, its output the reply.
///
/// **Every client that can connect may run what is allowed, with the rights of
/// this process.** So the program has to name what is allowed, the service
/// refuses clients from other machines unless it has a [`token`](Self::token) or
/// demands certificates of them ([`certified_clients`](Self::certified_clients),
/// feature `tls`), and it logs each command and reports it to an
/// [`audit`](Self::audit). Without TLS the token and all other data travel as
/// plain text.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::services::{Command, Reply};
///
/// let some = Command::allow(["uptime", "df"]).timeout(Duration::from_secs(5));
/// let all = Command::shell().reply(Reply::Stream).token("correct horse battery staple")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// - **Order:** the service answers the requests of one client in order, one
///   command at a time; 4 more wait, and then it pauses the client. 32 commands
///   run at once, of all clients; the next is that of the client which has
///   waited longest since its last one. 256 may wait so, and then the answer is
///   `busy`. Empty requests are ignored.
/// - **A command** has no input, leads a process group of its own, and inherits
///   descriptors 0, 1 and 2. It may run for 30 s and write 1 MiB; with
///   [`Reply::Stream`], which buffers nothing, any amount.
/// - **A web page** can make a browser connect to any port of its own machine.
///   A first request that looks like the first line of an HTTP request, or like
///   a handshake of TLS, ends the connection, with a warning in the log. In
///   chunks, where the page decides how such a line is cut, the part before the
///   cut may be taken for a command: its first word is the page's choice, a
///   token without a slash (`GET`), and all behind it is one word.
/// - **A client's end of file** ends its requests: the service answers those
///   that have come, and closes the connection. **When a client is gone** (a
///   reset, a closed Unix socket, a failed write), the service terminates its
///   command: SIGTERM, and SIGKILL a second later, to the whole group.
/// - **At a shutdown** the service answers the requests that have come, within
///   the deadline.
pub struct Command {
    policy: Policy,
    token: Option<Token>,
    /// Whether a certificate lets in a client of another machine.
    takes_certificates: bool,
    framing: Framing,
    reply: Reply,
    greeting: String,
    timeout: Duration,
    /// `None`: the default of the kind of reply.
    output: Option<usize>,
    gap: Duration,
    awaits_ack: bool,
    max_children: usize,
    max_held: usize,
    audit: Option<Auditor>,
    clients: BTreeMap<ConnId, Client>,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    /// Clients whose next command waits for another one to end.
    waiting: VecDeque<ConnId>,
    /// Replies whose second part comes later.
    rests: Rests,
    wrong_tokens: LogRate,
    turned_away: LogRate,
    /// The number of refused clients from other machines.
    refused: u64,
}

type Auditor = Box<dyn FnMut(&Audit<'_>) + Send>;

/// One answered request, for [`Command::audit`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Audit<'a> {
    /// The client. The client chooses the bytes of its path and of its request:
    /// escape them before they reach a terminal or a log.
    pub peer: &'a Peer,
    /// The request.
    pub request: &'a [u8],
    /// Its outcome.
    pub status: Status,
    /// The bytes of its output.
    pub bytes: u64,
    /// The time that it ran.
    pub time: Duration,
}

/// A running command.
struct Job {
    child: ChildId,
    /// The client, which is kept for the audit even when it is gone.
    client: ConnId,
    is_awaited: bool,
    peer: Peer,
    request: Bytes,
    began: Instant,
    /// Output that is buffered until the end.
    held: Vec<u8>,
    bytes: usize,
    truncated: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub struct CommandSession(Whose);

#[derive(Debug)]
enum Whose {
    /// A client; its state is kept by its id.
    Client,
    /// A pipe of the child that runs this job, and the mark of its pieces in a
    /// stream.
    Output(u64, &'static str),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("policy", &self.policy)
            .field("reply", &self.reply)
            .field("clients", &self.clients.len())
            .field("running", &self.jobs.len())
            .field("waiting", &self.waiting.len())
            .field("held", &self.rests.bytes())
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Makes a service that runs lines whose first word is exactly one of these
    /// programs, without a shell: it splits words as a shell does, and expands
    /// nothing. A program without a slash in its name is searched in `PATH`.
    /// The service does not check arguments: with them `env` or `find` run any
    /// program.
    #[must_use]
    pub fn allow(programs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let programs = programs.into_iter().map(|program| program.as_ref().to_vec());
        Self::new(Policy::Allow(programs.collect()))
    }

    /// Makes a service that runs any line, by `/bin/sh -c`.
    #[must_use]
    pub fn shell() -> Self {
        Self::new(Policy::Shell)
    }

    fn new(policy: Policy) -> Self {
        Self {
            policy,
            token: None,
            takes_certificates: false,
            framing: Framing::default(),
            reply: Reply::default(),
            greeting: String::new(),
            timeout: Duration::from_secs(30),
            output: None,
            gap: Duration::from_millis(10),
            awaits_ack: false,
            max_children: 32,
            max_held: 32 << 20,
            audit: None,
            clients: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            waiting: VecDeque::new(),
            rests: Rests::default(),
            wrong_tokens: LogRate::new(),
            turned_away: LogRate::new(),
            refused: 0,
        }
    }

    /// Requires that the first request of each client equals this token. The
    /// service closes any other client without an answer, and a client that
    /// sends none within [`Limits::first_frame`]. It compares in constant time.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the token is empty.
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> io::Result<Self> {
        let empty = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the token is empty, and anybody could know it; give one of a byte or more",
            )
        };
        self.token = Some(Token::new(token.into()).ok_or_else(empty)?);
        Ok(self)
    }

    /// Lets in clients of other machines that have presented a certificate, as a
    /// [`tls::Server`](crate::tls::Server) with
    /// [`ClientCertificates`](crate::tls::ClientCertificates) has verified it. Any
    /// other client of another machine is closed without an answer, one whose
    /// connection has no TLS too. A [`token`](Self::token) that is set is required
    /// beside it. Without this method a certificate counts for nothing.
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn certified_clients(mut self) -> Self {
        self.takes_certificates = true;
        self
    }

    /// Sets the framing of requests. Default: lines.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Sets the form of replies. Default: [`Reply::Framed`].
    #[must_use]
    pub const fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    /// What is said to a client when it has come in, behind its token if there is
    /// one. An empty greeting is not sent. Default: empty.
    #[must_use]
    pub fn greeting(mut self, greeting: impl Into<String>) -> Self {
        self.greeting = greeting.into();
        self
    }

    /// Sets the time that a command may run. Default 30 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes a command may write before it is killed and its
    /// reply `truncated`. Default 1 MiB, all of which may be buffered for each
    /// running command; for [`Reply::Stream`] no limit.
    #[must_use]
    pub const fn output(mut self, bytes: usize) -> Self {
        self.output = Some(bytes);
        self
    }

    /// Sets the gap between the length and the payload of framed replies in
    /// chunks, so that a client which reads once for each gets each by itself.
    /// Default 10 ms.
    #[must_use]
    pub const fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }

    /// Makes the payload of framed replies in chunks wait for one chunk from
    /// the client, of any content, in place of the gap. The service closes a
    /// client that sends none within [`Limits::frame`], or [`Limits::idle`] if
    /// that is less, and a client that ends its side instead. Default off.
    #[must_use]
    pub const fn await_ack(mut self, awaits_ack: bool) -> Self {
        self.awaits_ack = awaits_ack;
        self
    }

    /// Sets how many bytes of payloads may wait for their gap or for their
    /// client's chunk, of all clients; a single payload may be larger. Above
    /// that number the longest waiting payload makes room: its gap ends, or its
    /// client is closed. Default 32 MiB.
    #[must_use]
    pub const fn max_held(mut self, bytes: usize) -> Self {
        self.max_held = bytes;
        self
    }

    /// Sets how many commands run at once, of all clients, at least 1. Default
    /// 32; [`Config::max_children`](crate::Config::max_children) applies beside
    /// it.
    #[must_use]
    pub const fn max_children(mut self, count: usize) -> Self {
        self.max_children = if count == 0 { 1 } else { count };
        self
    }

    /// Sets a function to call for each answered request, refused ones
    /// included, and for each command whose client has gone meanwhile. The
    /// service logs them as well.
    #[must_use]
    pub fn audit(mut self, audit: impl FnMut(&Audit<'_>) + Send + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// The proposed limits: 30 s for the first request, or the token, and room
    /// for one whole reply above the marks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limits = Limits { first_frame: Some(FIRST_REQUEST), ..Limits::default() };
        let header = 64;
        let reply = if self.reply == Reply::Stream { 0 } else { self.output_limit().saturating_add(header) };
        Limits { hard_mark: limits.hard_mark.max(limits.high_mark.saturating_add(reply)), ..limits }
    }

    /// Whether the service, as configured now, accepts clients at this
    /// endpoint without a certificate: without a token it refuses those of other
    /// machines.
    #[must_use]
    pub fn serves(&self, at: &Endpoint) -> bool {
        self.token.is_some() || policy::is_local_endpoint(at)
    }

    /// Logs the first ten clients that are refused, and then each that doubles the
    /// number: `verify` has no clock.
    fn log_refusal(&mut self, peer: &Peer, why: &str) {
        self.refused += 1;
        let count = self.refused;
        if count <= 10 || count.is_power_of_two() {
            log::warn!("{peer} is refused: it is on another machine, and {why} ({count} so far)");
        }
    }

    /// Refuses a client of another machine that has presented no certificate, where
    /// one is what lets it in.
    #[cfg(feature = "tls")]
    fn check_certificate(&mut self, io: &Io<'_>, peer: &Peer) -> Result<(), BoxError> {
        let tls = io.layer::<crate::tls::Tls>(io.id());
        let is_certified = tls.is_some_and(|tls| tls.peer_certificates().is_some());
        if !self.takes_certificates || is_certified || policy::is_local(peer) {
            return Ok(());
        }
        self.log_refusal(peer, "it has presented no certificate");
        Err("a client of another machine has presented no certificate".into())
    }

    fn output_limit(&self) -> usize {
        self.output.unwrap_or(if self.reply == Reply::Stream { usize::MAX } else { 1 << 20 })
    }
}

impl StreamHandler for Command {
    type Session = CommandSession;

    fn verify(&mut self, peer: &Peer) -> bool {
        // A certificate is shown later: `open` looks for it.
        let is_welcome = self.takes_certificates || self.token.is_some() || policy::is_local(peer);
        if !is_welcome {
            self.log_refusal(peer, "there is no token");
        }
        is_welcome
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<CommandSession, BoxError> {
        if let Origin::Pipe { tag, pipe, .. } = origin {
            let mark = if *pipe == Pipe::Stderr { "err" } else { "out" };
            return Ok(CommandSession(Whose::Output(*tag, mark)));
        }
        #[cfg(feature = "tls")]
        self.check_certificate(io, origin.peer())?;
        let client = Client::new(origin.peer().clone(), self.token.is_none());
        let is_admitted = client.is_admitted;
        self.clients.insert(io.id(), client);
        io.end_on_hangup(io.id(), true);
        if is_admitted {
            self.greet(io, io.id());
        }
        Ok(CommandSession(Whose::Client))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut CommandSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        match session.0 {
            Whose::Output(job, mark) => self.output_of(io, job, mark, input),
            Whose::Client => {
                let id = io.id();
                if self.clients.get(&id).is_some_and(|client| client.ends) {
                    input.clear();
                }
                // A command that is answered at once makes room for another.
                while self.clients.get(&id).is_some_and(Client::wants_requests) {
                    let before = input.len();
                    self.take(io, id, input, Stream::Open);
                    self.advance(io, id);
                    if input.len() == before {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut CommandSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        if matches!(session.0, Whose::Output(..)) {
            return Ok(AfterEof::Finish);
        }
        let id = io.id();
        if self.clients.get(&id).is_some_and(|client| matches!(client.doing, Doing::AwaitsAck(_))) {
            self.let_go(io, id);
            return Ok(AfterEof::Stay);
        }
        self.take(io, id, rest, Stream::Ended);
        if let Some(client) = self.clients.get_mut(&id) {
            client.ends = true;
            self.advance(io, id);
        }
        Ok(AfterEof::Stay)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut CommandSession) -> Result<(), BoxError> {
        if let Whose::Client = session.0
            && let Some(client) = self.clients.get_mut(&io.id())
        {
            client.is_full = false;
            if let Doing::Runs(job) = client.doing
                && let Some(job) = self.jobs.get(&job)
            {
                Self::each_output(io, job.child, |io, pipe| io.resume(pipe));
            }
            self.advance(io, io.id());
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        if let Some(id) = self.rests.of(timer) {
            self.end_wait(io, id);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: CommandSession, _: &CloseReason) {
        let Whose::Client = session.0 else { return };
        let id = io.id();
        let Some(client) = self.clients.remove(&id) else { return };
        match client.doing {
            Doing::Runs(job) => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.is_awaited = false;
                    job.held = Vec::new();
                    io.terminate(job.child);
                    // Unread output would keep the child from its end.
                    Self::each_output(io, job.child, |io, pipe| io.resume(pipe));
                }
            }
            Doing::Waits(_) => self.waiting.retain(|waiting| *waiting != id),
            Doing::AwaitsGap(rest) | Doing::AwaitsAck(rest) => drop(self.rests.take(io, rest)),
            Doing::Nothing => {}
        }
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, exit: &Exit) {
        if let Some(mut job) = self.jobs.remove(&tag) {
            let status = if job.truncated { Status::Truncated } else { Status::of(exit) };
            let mut held = std::mem::take(&mut job.held);
            if status == Status::Failed {
                if !held.is_empty() && !held.ends_with(b"\n") {
                    held.push(b'\n');
                }
                held.extend_from_slice(LOST);
            }
            self.end(io, job, status, held);
        }
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, error: &io::Error) {
        if let Some(job) = self.jobs.remove(&tag) {
            self.end(io, job, Status::Failed, format!("it cannot be started: {error}").into());
        }
    }
}
