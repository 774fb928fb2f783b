//! Runs commands for its clients.

mod client;
mod policy;
mod reply;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use self::client::{Client, Doing, Request};
use self::policy::{Denial, Policy, Token};
pub use self::reply::{Reply, Status};
use super::framing::{Framing, TOO_LONG};
use crate::process::{Exit, Pipe};
use crate::{
    AfterEof, BoxError, ChildId, Close, ConnId, Endpoint, Io, Limits, Link, Peer, Sent, StreamHandler,
    TimerId,
};

/// What is said to a client when it has come in, unless that is changed.
const GREETING: &str = "欢迎登录";

/// Requests of all clients that may wait for a child.
const WAITING: usize = 256;

/// Runs commands for its clients, without ever blocking the loop: each request
/// is a command, its output the reply.
///
/// **Whoever may connect, may run what is allowed, with the rights of this
/// process.** So nothing is allowed unless it is said what, clients from other
/// machines are refused unless there is a [`token`](Self::token), and each
/// command is logged and told to an [`audit`](Self::audit). The token and all
/// else travel as plain text.
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
/// - **Order:** the requests of one client are answered in their order, one
///   command at a time; 4 more wait, and then it is not read on. 32 commands
///   run at once, of all clients; 256 requests more may wait for that, and then
///   the answer is `busy`. Empty requests are ignored.
/// - **A command** has no input, leads a process group of its own, and inherits
///   descriptors 0, 1 and 2. It has 30 s and may write 1 MiB; with
///   [`Reply::Stream`], which holds nothing back, any amount.
/// - **A client's end of file** ends its requests: what it has asked for is
///   answered, then the connection closed. **A client that is gone** (a reset,
///   a closed Unix socket, a failed write) has its command terminated: SIGTERM,
///   SIGKILL a second later, to the whole group.
/// - **At a shutdown** what was asked for is answered within the drain.
pub struct Command {
    policy: Policy,
    token: Option<Token>,
    framing: Framing,
    reply: Reply,
    greeting: String,
    timeout: Duration,
    /// `None`: as the kind of reply has it.
    output: Option<usize>,
    gap: Duration,
    awaits_ack: bool,
    max_children: usize,
    audit: Option<Auditor>,
    clients: BTreeMap<ConnId, Client>,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    /// Those whose next command waits for another one to end.
    waiting: VecDeque<ConnId>,
    /// Replies whose second part comes later.
    gaps: BTreeMap<TimerId, ConnId>,
}

type Auditor = Box<dyn FnMut(&Audit<'_>) + Send>;

/// What became of one request, for [`Command::audit`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Audit<'a> {
    /// Who asked. Its bytes, and those of the request, are the client's: escape
    /// them before they reach a terminal or a log.
    pub peer: &'a Peer,
    /// What for.
    pub request: &'a [u8],
    /// How it ended.
    pub status: Status,
    /// How much it wrote.
    pub bytes: u64,
    /// How long it ran.
    pub time: Duration,
}

/// A command that runs.
struct Job {
    child: ChildId,
    /// Who waits for it, and stays known for the audit.
    client: ConnId,
    is_awaited: bool,
    peer: Peer,
    request: Bytes,
    began: Instant,
    /// Output that is held until the end.
    held: Vec<u8>,
    bytes: usize,
    truncated: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub struct CommandSession(Whose);

#[derive(Debug)]
enum Whose {
    /// A client's: all else is kept by its id.
    Client,
    /// A pipe of the child that runs this job; in a stream its pieces are
    /// marked with this.
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
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Runs a line whose first word is exactly one of these programs, without a
    /// shell: words are split as a shell splits them, and nothing is expanded.
    /// A program with no slash in its name is looked for in `PATH`. What its
    /// arguments make it do is up to it: `env` or `find` run anything.
    #[must_use]
    pub fn allow(programs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let programs = programs.into_iter().map(|program| program.as_ref().to_vec());
        Self::new(Policy::Allow(programs.collect()))
    }

    /// Runs any line, by `/bin/sh -c`.
    #[must_use]
    pub fn shell() -> Self {
        Self::new(Policy::Shell)
    }

    fn new(policy: Policy) -> Self {
        Self {
            policy,
            token: None,
            framing: Framing::default(),
            reply: Reply::default(),
            greeting: GREETING.into(),
            timeout: Duration::from_secs(30),
            output: None,
            gap: Duration::from_millis(10),
            awaits_ack: false,
            max_children: 32,
            audit: None,
            clients: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            waiting: VecDeque::new(),
            gaps: BTreeMap::new(),
        }
    }

    /// The first request of each client has to be this, or it is closed without
    /// a word; so it is if that has not come within
    /// [`Limits::first_frame`]. It is compared in constant time.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is empty.
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> io::Result<Self> {
        let empty =
            || io::Error::new(io::ErrorKind::InvalidInput, "the token is empty: anybody could know it");
        self.token = Some(Token::new(token.into()).ok_or_else(empty)?);
        Ok(self)
    }

    /// Where a request ends. Default: lines.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// What is sent of the output, and when. Default: [`Reply::Framed`].
    #[must_use]
    pub const fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    /// What is said to a client when it has come in. Default: `欢迎登录`; an
    /// empty one is not sent.
    #[must_use]
    pub fn greeting(mut self, greeting: impl Into<String>) -> Self {
        self.greeting = greeting.into();
        self
    }

    /// How long a command may run. Default 30 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes a command may write, before it is killed and its reply
    /// `truncated`. Default 1 MiB, all of which may be held for each command
    /// that runs; for [`Reply::Stream`] no limit.
    #[must_use]
    pub const fn output(mut self, bytes: usize) -> Self {
        self.output = Some(bytes);
        self
    }

    /// Of framed replies to chunks: how much later than its length the payload
    /// comes, so that a client which reads once for each gets each by itself.
    /// Default 10 ms.
    #[must_use]
    pub const fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }

    /// Of framed replies to chunks: the payload waits for one chunk from the
    /// client, whatever it says, in place of the gap. Default off.
    #[must_use]
    pub const fn await_ack(mut self, awaits_ack: bool) -> Self {
        self.awaits_ack = awaits_ack;
        self
    }

    /// How many commands run at once, of all clients. Default 32;
    /// [`Config::max_children`](crate::Config::max_children) holds beside it.
    #[must_use]
    pub const fn max_children(mut self, count: usize) -> Self {
        self.max_children = count;
        self
    }

    /// Called for each request that was answered, the refused ones too, and for
    /// each command whose client has gone meanwhile. They are logged besides.
    #[must_use]
    pub fn audit(mut self, audit: impl FnMut(&Audit<'_>) + Send + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// The limits proposed for it: room for one whole reply above the marks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limits = Limits::default();
        let header = 64;
        let reply = if self.reply == Reply::Stream { 0 } else { self.output_limit().saturating_add(header) };
        Limits { hard_mark: limits.hard_mark.max(limits.high_mark.saturating_add(reply)), ..limits }
    }

    /// Whether clients at this endpoint are accepted as it is configured now:
    /// those of other machines are not without a token.
    #[must_use]
    pub fn serves(&self, at: &Endpoint) -> bool {
        self.token.is_some() || policy::is_local_endpoint(at)
    }

    fn output_limit(&self) -> usize {
        self.output.unwrap_or(if self.reply == Reply::Stream { usize::MAX } else { 1 << 20 })
    }

    /// Says something to a client, and notes if it has to stop at that.
    fn say(&mut self, io: &mut Io<'_>, id: ConnId, what: Bytes) {
        if io.send(id, what) == Sent::Full
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.is_full = true;
        }
    }

    fn greet(&mut self, io: &mut Io<'_>, id: ConnId) {
        if !self.greeting.is_empty() {
            let greeting = format!("{}{}", self.greeting, self.framing.end());
            self.say(io, id, greeting.into());
        }
    }

    /// Takes what requests there are, and as many of them as may wait.
    fn take(&mut self, io: &mut Io<'_>, id: ConnId, input: &mut BytesMut, at_end: bool) {
        loop {
            let Some(client) = self.clients.get_mut(&id).filter(|client| client.wants_requests()) else {
                return;
            };
            let request = if at_end { self.framing.last(input) } else { self.framing.next(input) };
            match request {
                Ok(None) => return,
                Ok(Some(text)) => self.receive(io, id, text.freeze()),
                Err(_) if client.is_admitted => {
                    client.queue.push_back(Request::TooLong);
                    client.ends = true;
                    input.clear();
                }
                Err(_) => return io.close(id),
            }
        }
    }

    /// One request of a client.
    fn receive(&mut self, io: &mut Io<'_>, id: ConnId, text: Bytes) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Doing::AwaitsAck(payload) = &mut client.doing {
            let payload = std::mem::take(payload);
            client.doing = Doing::Nothing;
            return self.say(io, id, payload);
        }
        match &self.token {
            Some(token) if !client.is_admitted => {
                if !token.is(&text) {
                    client.ends = true;
                    log::warn!("{}: a wrong token", client.peer);
                    return io.close(id);
                }
                client.is_admitted = true;
                self.greet(io, id);
            }
            _ if text.is_empty() => {}
            _ => client.queue.push_back(Request::Line(text)),
        }
    }

    /// Does for a client what can be done next.
    fn advance(&mut self, io: &mut Io<'_>, id: ConnId) {
        while let Some(client) = self.clients.get_mut(&id)
            && client.is_free()
            && let Some(request) = client.queue.pop_front()
        {
            match request {
                Request::Line(line) => self.begin(io, id, line),
                Request::TooLong => {
                    self.say(io, id, Bytes::from_static(TOO_LONG));
                    return io.close(id);
                }
            }
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.ends && client.is_done() {
            return io.close(id);
        }
        io.set_busy(id, !client.is_done());
        let wants = client.wants_requests();
        if std::mem::replace(&mut client.is_paused, !wants) == wants {
            if wants { io.resume(id) } else { io.pause(id) }
        }
    }

    fn begin(&mut self, io: &mut Io<'_>, id: ConnId, line: Bytes) {
        match self.policy.program(&line) {
            Ok(_) if self.jobs.len() < self.max_children => self.run(io, id, line),
            Ok(_) if self.waiting.len() < WAITING => {
                self.waiting.push_back(id);
                if let Some(client) = self.clients.get_mut(&id) {
                    client.doing = Doing::Waits(line);
                }
            }
            Ok(_) => {
                let reason = format!("{WAITING} requests are waiting already");
                self.answer_at_once(io, id, &line, Status::Busy, reason);
            }
            Err(Denial::Refused(reason)) => self.answer_at_once(io, id, &line, Status::Refused, reason),
            Err(Denial::Failed(reason)) => self.answer_at_once(io, id, &line, Status::Failed, reason),
        }
    }

    fn run(&mut self, io: &mut Io<'_>, id: ConnId, line: Bytes) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let program = match self.policy.program(&line) {
            Ok(program) => program.timeout(self.timeout),
            Err(Denial::Refused(reason) | Denial::Failed(reason)) => {
                return self.answer_at_once(io, id, &line, Status::Failed, reason);
            }
        };
        let program = if self.reply == Reply::Stream { program } else { program.stderr_to_stdout() };
        let job = self.next_job;
        match io.spawn(program, job) {
            Ok(child) => {
                self.next_job += 1;
                client.doing = Doing::Runs(job);
                let job_of = Job {
                    child,
                    client: id,
                    is_awaited: true,
                    peer: client.peer.clone(),
                    request: line,
                    began: io.now(),
                    held: Vec::new(),
                    bytes: 0,
                    truncated: false,
                };
                self.jobs.insert(job, job_of);
            }
            Err(error) => self.answer_at_once(io, id, &line, Status::Failed, error.to_string()),
        }
    }

    /// Answers a request for which nothing was run.
    fn answer_at_once(&mut self, io: &mut Io<'_>, id: ConnId, line: &[u8], status: Status, reason: String) {
        if let Some(peer) = self.clients.get(&id).map(|client| client.peer.clone()) {
            self.tell(&Audit { peer: &peer, request: line, status, bytes: 0, time: Duration::ZERO });
        }
        self.answer(io, id, status, reason.into());
    }

    /// Sends a client how its command ended, and what is held of its output.
    fn answer(&mut self, io: &mut Io<'_>, id: ConnId, status: Status, payload: Vec<u8>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.doing = Doing::Nothing;
        let reply = match (self.reply, self.framing) {
            (Reply::Raw, _) => reply::raw(status, payload),
            (Reply::Stream, _) => reply::end_of_stream(status, &payload),
            (Reply::Framed, Framing::Lines) => reply::framed(status, &payload),
            (Reply::Framed, Framing::Chunk) => {
                let announcement = reply::announcement(&payload);
                self.pay_later(io, id, payload.into());
                announcement
            }
        };
        self.say(io, id, reply);
    }

    /// The second part of a reply, which must not arrive with the first.
    fn pay_later(&mut self, io: &mut Io<'_>, id: ConnId, payload: Bytes) {
        let timer = if self.awaits_ack { None } else { io.tick_after(self.gap).ok() };
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.doing = match timer {
            Some(timer) => {
                self.gaps.insert(timer, id);
                Doing::AwaitsGap(payload)
            }
            None => Doing::AwaitsAck(payload),
        };
    }

    /// A command has ended, or was not started: lets the next one that waits
    /// begin.
    fn end(&mut self, io: &mut Io<'_>, job: Job, status: Status, payload: Vec<u8>) {
        let Job { client, is_awaited, peer, request, began, bytes, .. } = job;
        let time = io.now().saturating_duration_since(began);
        self.tell(&Audit { peer: &peer, request: &request, status, bytes: bytes as u64, time });
        if is_awaited {
            self.answer(io, client, status, payload);
            self.advance(io, client);
        }
        while self.jobs.len() < self.max_children
            && let Some(next) = self.waiting.pop_front()
        {
            let waits = self.clients.get_mut(&next).map(|client| std::mem::take(&mut client.doing));
            if let Some(Doing::Waits(line)) = waits {
                self.run(io, next, line);
                self.advance(io, next);
            }
        }
    }

    fn tell(&mut self, audit: &Audit<'_>) {
        let Audit { peer, request, status, bytes, time } = audit;
        log::info!("{peer}: `{}`: {status}, {bytes} bytes, {time:?}", request.escape_ascii());
        if let Some(tell) = &mut self.audit {
            tell(audit);
        }
    }

    /// Output of a command has come.
    fn output_of(&mut self, io: &mut Io<'_>, number: u64, mark: &str, input: &mut BytesMut) {
        let limit = self.output_limit();
        let Some(job) = self.jobs.get_mut(&number) else { return input.clear() };
        let fits = input.len().min(limit - job.bytes);
        if fits < input.len() && !job.truncated {
            job.truncated = true;
            io.kill(job.child);
        }
        job.bytes += fits;
        if job.is_awaited && fits > 0 {
            if self.reply == Reply::Stream {
                let (client, child) = (job.client, job.child);
                self.say(io, client, reply::piece(mark, &input[..fits]));
                if self.clients.get(&client).is_some_and(|client| client.is_full) {
                    each_output(io, child, |io, pipe| io.pause(pipe));
                }
            } else {
                job.held.extend_from_slice(&input[..fits]);
            }
        }
        input.clear();
    }
}

/// Does something with the pipes of a child that are there.
fn each_output(io: &mut Io<'_>, child: ChildId, mut act: impl FnMut(&mut Io<'_>, ConnId)) {
    for pipe in [Pipe::Stdout, Pipe::Stderr] {
        if let Some(pipe) = io.pipe(child, pipe) {
            act(io, pipe);
        }
    }
}

impl StreamHandler for Command {
    type Session = CommandSession;

    fn verify(&mut self, peer: &Peer) -> bool {
        let welcome = self.token.is_some() || policy::is_local(peer);
        if !welcome {
            log::warn!("{peer} is refused: it is on another machine, and there is no token");
        }
        welcome
    }

    fn open(&mut self, io: &mut Io<'_>, link: &Link) -> Result<CommandSession, BoxError> {
        if let Link::Pipe { tag, pipe, .. } = link {
            let mark = if *pipe == Pipe::Stderr { "err" } else { "out" };
            return Ok(CommandSession(Whose::Output(*tag, mark)));
        }
        let client = Client::new(link.peer().clone(), self.token.is_none());
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
                    self.take(io, id, input, false);
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
        let awaits_ack =
            self.clients.get(&id).is_some_and(|client| matches!(client.doing, Doing::AwaitsAck(_)));
        if !awaits_ack {
            self.take(io, id, rest, true);
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.ends = true;
            if awaits_ack {
                io.close(id);
            } else {
                self.advance(io, id);
            }
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
                each_output(io, job.child, |io, pipe| io.resume(pipe));
            }
            self.advance(io, io.id());
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let Some(id) = self.gaps.remove(&timer) else { return };
        if let Some(client) = self.clients.get_mut(&id)
            && let Doing::AwaitsGap(payload) = std::mem::take(&mut client.doing)
        {
            self.say(io, id, payload);
            self.advance(io, id);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: CommandSession, _: &Close) {
        let Whose::Client = session.0 else { return };
        let id = io.id();
        let Some(client) = self.clients.remove(&id) else { return };
        match client.doing {
            Doing::Runs(job) => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.is_awaited = false;
                    job.held = Vec::new();
                    io.terminate(job.child);
                    // What nobody reads would keep it from its end.
                    each_output(io, job.child, |io, pipe| io.resume(pipe));
                }
            }
            Doing::Waits(_) => self.waiting.retain(|waiting| *waiting != id),
            Doing::AwaitsGap(_) => {
                self.gaps.retain(|timer, of| {
                    if *of == id {
                        io.cancel(*timer);
                    }
                    *of != id
                });
            }
            Doing::Nothing | Doing::AwaitsAck(_) => {}
        }
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, exit: &Exit) {
        if let Some(mut job) = self.jobs.remove(&tag) {
            let status = Status::of(exit, job.truncated);
            let held = std::mem::take(&mut job.held);
            self.end(io, job, status, held);
        }
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, error: &io::Error) {
        if let Some(job) = self.jobs.remove(&tag) {
            self.end(io, job, Status::Failed, format!("it cannot be started: {error}").into());
        }
    }
}
