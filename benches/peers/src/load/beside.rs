//! The tail of an echo beside something else that its server does: jobs of its workers,
//! handshakes, a large file for a slow disk, lines to a large room.
//!
//! One thread does both. An echo goes out at a time that nothing else decides, and while
//! it is under way nothing else is done here, so that its latency is the server's. Both
//! sides sleep when there is nothing to do, and run on every CPU that there is, for what
//! is done beside the echo needs more than one. Beside a chat each has one of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use super::chat::{self, Chat};
use super::connect::Connector;
use super::patience::{LIMIT, Patience};
use super::pattern::{Pattern, Place};
use super::tls::{self, Sessions, Tls};
use super::{Effort, Target, unless_blocked};
use crate::Result;
use crate::peers::jobs::{COMPUTES, SLEEPS, WORK};

/// Bytes in a message.
const SIZE: u64 = 64;

/// The mean time from one echo to the next; each is drawn from none to twice that.
const GAP: Duration = Duration::from_millis(1);

/// The longest that a run may take.
const MOST: Duration = Duration::from_secs(300);

/// An echo, and what is done beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) through: Through,
    pub(crate) other: Other,
}

impl Beside {
    /// Whether server and load run on both CPUs: workers, and the handshakes of the load,
    /// need one beside the loop.
    pub(crate) const fn needs_every_cpu(self) -> bool {
        !matches!(self.through, Through::UnixSocket)
    }
}

/// What the echo goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// TCP alone.
    Nothing,
    Tls,
    /// The Unix socket of the server's folder. Its address is the chat's.
    UnixSocket,
}

/// What is done beside the echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    Nothing,
    /// 200 jobs a second, of 5 ms each.
    Jobs(Job),
    /// 100 full handshakes a second.
    Handshakes,
    /// A file of so many MiB, for as long as it takes.
    Upload(u64),
    /// 20 lines a second to a room of so many members.
    Chat(usize),
}

/// What a job does for its 5 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// It waits, as for a disk.
    Sleeps,
    /// It needs a CPU, as a hash of a password does.
    Computes,
}

/// The 99th percentile of all echoes within the window, in nanoseconds, after the
/// warm-up.
///
/// # Errors
///
/// The server falls silent, closes, sends other bytes than it must, or does not do all
/// that is asked of it beside the echo.
pub(crate) fn run(beside: Beside, target: &Target, effort: &Effort) -> Result<f64> {
    let pattern = Pattern::new();
    let mut echo = Echo::new(beside.through, target)?;
    let mut other = Business::new(beside.other, target)?;
    let mut patience = Patience::new();
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let mut times = Vec::new();
    let mut next = Instant::now();
    let mut sent = None;
    let began = next;
    loop {
        let now = Instant::now();
        let spent = now.duration_since(began);
        if sent.is_none() && other.is_over(spent, effort) {
            break;
        }
        patience.check(echo.count, now)?;
        if spent > MOST {
            return Err(format!("it is not done after {MOST:?}").into());
        }
        match sent {
            None if now >= next => {
                echo.begin(&pattern)?;
                sent = Some(now);
            }
            None => other.step(now, &pattern)?,
            Some(at) => {
                if echo.advance(&pattern)? {
                    let now = Instant::now();
                    if spent >= effort.warmup() {
                        times.push(now.duration_since(at).as_nanos() as f64);
                    }
                    next = now + chance.gap();
                    sent = None;
                }
            }
        }
        match sent {
            Some(_) => wait(echo.socket(), PollFlags::IN, now + LIMIT)?,
            None => other.wait(next)?,
        }
    }
    other.end()?;
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().ok_or_else(|| "there was no echo in the time given".into())
}

/// Waits for an event of a socket, no longer than until then.
fn wait(socket: BorrowedFd<'_>, what: PollFlags, until: Instant) -> Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(socket, what)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sleeps until then, with nothing to wait for.
fn pause(until: Instant) -> Result<()> {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    Ok(())
}

/// Numbers without a pattern (xorshift64).
struct Chance(u64);

impl Chance {
    /// The time to the next echo.
    fn gap(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % (2 * GAP.as_nanos() as u64))
    }
}

/// The connection with the echo.
struct Echo {
    line: Line,
    /// Messages begun.
    count: u64,
}

enum Line {
    Plain { stream: Socket, sent: Place, received: Place, missing: usize },
    Tls(Box<tls::Session>),
}

impl Echo {
    fn new(through: Through, target: &Target) -> Result<Self> {
        let plain = |stream: Socket| -> Result<Line> {
            stream.set_nonblocking(true)?;
            let place = Place::of_connection(0);
            Ok(Line::Plain { stream, sent: place, received: place, missing: 0 })
        };
        let line = match through {
            Through::Nothing => plain(Connector::new(target.address).connect()?.into())?,
            Through::UnixSocket => plain(connect_to_folder(target)?.into())?,
            Through::Tls => {
                let session = tls::Load::new(Tls::Handshakes(Sessions::New), target)?.visit()?;
                session.stream.set_nonblocking(true)?;
                Line::Tls(Box::new(session))
            }
        };
        Ok(Self { line, count: 0 })
    }

    fn begin(&mut self, pattern: &Pattern) -> Result<()> {
        self.count += 1;
        match &mut self.line {
            Line::Plain { stream, sent, missing, .. } => {
                let message = pattern.piece(*sent, SIZE);
                if stream.write(message)? < message.len() {
                    return Err("a message could not be sent at once".into());
                }
                sent.advance(message.len());
                *missing = message.len();
                Ok(())
            }
            Line::Tls(session) => session.begin(pattern, SIZE),
        }
    }

    /// Reads what is there; whether the message is back.
    fn advance(&mut self, pattern: &Pattern) -> Result<bool> {
        match &mut self.line {
            Line::Plain { stream, received, missing, .. } => {
                let mut bytes = [0; SIZE as usize];
                match unless_blocked(stream.read(&mut bytes[..*missing]))? {
                    None => return Ok(false),
                    Some(0) => return Err("the server closed the connection".into()),
                    Some(count) => {
                        pattern
                            .check(*received, &bytes[..count])
                            .map_err(|mismatch| format!("it got other bytes than it sent: {mismatch:?}"))?;
                        received.advance(count);
                        *missing -= count;
                    }
                }
                Ok(*missing == 0)
            }
            Line::Tls(session) => session.advance(pattern, SIZE),
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match &self.line {
            Line::Plain { stream, .. } => stream.as_fd(),
            Line::Tls(session) => session.stream.as_fd(),
        }
    }
}

/// What is under way beside the echo.
enum Business {
    Nothing,
    Jobs(Jobs),
    Handshakes(Box<Handshakes>),
    Upload(Box<File>),
    Chat(Box<Talk>),
}

impl Business {
    fn new(other: Other, target: &Target) -> Result<Self> {
        Ok(match other {
            Other::Nothing => Self::Nothing,
            Other::Jobs(job) => Self::Jobs(Jobs::new(job, target)?),
            Other::Handshakes => Self::Handshakes(Box::new(Handshakes::new(target)?)),
            Other::Upload(mib) => Self::Upload(Box::new(File::new(mib, target)?)),
            Other::Chat(members) => Self::Chat(Box::new(Talk::new(members, target)?)),
        })
    }

    fn step(&mut self, now: Instant, pattern: &Pattern) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Jobs(jobs) => jobs.step(now),
            Self::Handshakes(handshakes) => handshakes.step(now, pattern),
            Self::Upload(file) => file.step(pattern),
            Self::Chat(talk) => talk.step(now),
        }
    }

    /// Whether enough was measured.
    fn is_over(&self, spent: Duration, effort: &Effort) -> bool {
        match self {
            Self::Upload(file) => file.is_there,
            _ => spent >= effort.warmup() + effort.window,
        }
    }

    /// Waits until there is something to do for it, no longer than until then.
    fn wait(&self, until: Instant) -> Result<()> {
        let both = PollFlags::IN | PollFlags::OUT;
        match self {
            Self::Jobs(jobs) => wait(jobs.stream.as_fd(), PollFlags::IN, until.min(jobs.next)),
            Self::Handshakes(handshakes) => match &handshakes.under_way {
                Some(visit) => wait(visit.session.stream.as_fd(), PollFlags::IN, until),
                None => pause(until.min(handshakes.next)),
            },
            Self::Upload(file) => {
                let what = if file.left > 0 { both } else { PollFlags::IN };
                wait(file.stream.as_fd(), what, until)
            }
            Self::Chat(talk) if talk.load.is_heard() => pause(until.min(talk.next)),
            // It listens on, a few members at a time, until the echo is due.
            Self::Chat(_) => {
                std::thread::yield_now();
                Ok(())
            }
            Self::Nothing => pause(until),
        }
    }

    /// Waits for what is still under way: each job is answered and each line heard, and
    /// once.
    fn end(&mut self) -> Result<()> {
        let jobs = match self {
            Self::Jobs(jobs) => jobs,
            Self::Chat(talk) => return talk.end(),
            _ => return Ok(()),
        };
        let mut patience = Patience::new();
        while jobs.answered < jobs.asked {
            jobs.take_answers()?;
            patience.check(jobs.answered, Instant::now())?;
            std::thread::sleep(WORK / 5);
        }
        std::thread::sleep(2 * WORK);
        jobs.take_answers()
    }
}

/// 200 jobs a second.
struct Jobs {
    stream: TcpStream,
    kind: u8,
    next: Instant,
    asked: u64,
    answered: u64,
}

/// The time from one job to the next.
const EVERY: Duration = Duration::from_millis(5);

impl Jobs {
    fn new(job: Job, target: &Target) -> Result<Self> {
        let stream = Connector::new(target.address).connect()?;
        stream.set_nonblocking(true)?;
        let kind = if job == Job::Sleeps { SLEEPS } else { COMPUTES };
        Ok(Self { stream, kind, next: Instant::now(), asked: 0, answered: 0 })
    }

    fn step(&mut self, now: Instant) -> Result<()> {
        self.take_answers()?;
        if now >= self.next {
            self.next += EVERY;
            if self.stream.write(&[self.kind])? != 1 {
                return Err("a job could not be asked for".into());
            }
            self.asked += 1;
        }
        // A second's worth of jobs: the workers do not keep up, and this is no such row.
        if self.asked - self.answered > 200 {
            return Err(
                format!("{} jobs wait: the workers do not keep up", self.asked - self.answered).into()
            );
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<()> {
        let mut bytes = [0; 256];
        if let Some(count) = unless_blocked(self.stream.read(&mut bytes))? {
            if count == 0 || bytes[..count].iter().any(|byte| *byte != self.kind) {
                return Err("the answer to a job is another one".into());
            }
            self.answered += count as u64;
        }
        if self.answered > self.asked { Err("a job was answered twice".into()) } else { Ok(()) }
    }
}

/// 100 full handshakes a second, one after the other, each with one echo.
struct Handshakes {
    load: tls::Load,
    under_way: Option<Visit>,
    next: Instant,
}

struct Visit {
    session: tls::Session,
    /// Its handshake is complete, and its echo on the way.
    has_asked: bool,
}

impl Handshakes {
    fn new(target: &Target) -> Result<Self> {
        let load = tls::Load::new(Tls::Handshakes(Sessions::New), target)?;
        Ok(Self { load, under_way: None, next: Instant::now() })
    }

    fn step(&mut self, now: Instant, pattern: &Pattern) -> Result<()> {
        match &mut self.under_way {
            Some(Visit { session, has_asked: true }) => {
                let is_back = session.advance(pattern, SIZE)?;
                if is_back {
                    self.under_way = None;
                }
            }
            Some(visit) => {
                let is_done = visit.session.shake_hands()?;
                if is_done {
                    visit.session.begin(pattern, SIZE)?;
                    visit.has_asked = true;
                }
            }
            None if now >= self.next => {
                self.next += 2 * EVERY;
                let session = self.load.begin()?;
                session.stream.set_nonblocking(true)?;
                self.under_way = Some(Visit { session, has_asked: false });
            }
            None => {}
        }
        if now > self.next + LIMIT / 10 { Err("the server does not keep up".into()) } else { Ok(()) }
    }
}

/// A room in which one member says 20 lines a second.
struct Talk {
    load: chat::Load,
    next: Instant,
}

impl Talk {
    /// Members that are listened to in one step: so few that an echo that falls due is not
    /// long delayed.
    const AT_ONCE: usize = 16;

    fn new(members: usize, target: &Target) -> Result<Self> {
        let chat = Chat { members, senders: 1, lines: 1, from_afar: false };
        let effort = Effort { window: Duration::ZERO, spins: true };
        let load = chat::Load::new(chat, target, effort, Self::AT_ONCE)?;
        Ok(Self { load, next: Instant::now() })
    }

    fn step(&mut self, now: Instant) -> Result<()> {
        if !self.load.is_heard() {
            self.load.hear()?;
        } else if now >= self.next {
            self.next += 10 * EVERY;
            self.load.say()?;
        }
        if now > self.next + LIMIT / 10 { Err("the server does not keep up".into()) } else { Ok(()) }
    }

    fn end(&mut self) -> Result<()> {
        let mut patience = Patience::new();
        while !self.load.is_heard() {
            self.load.hear()?;
            patience.check(self.load.lacking(), Instant::now())?;
        }
        std::thread::sleep(EVERY);
        self.load.check_silent()
    }
}

fn connect_to_folder(target: &Target) -> Result<UnixStream> {
    let folder = target.folder.as_deref().ok_or("it was told no folder")?;
    Ok(UnixStream::connect(folder.join("socket"))?)
}

/// A file for the service at the Unix socket of the server's folder.
struct File {
    stream: UnixStream,
    head: Vec<u8>,
    at: Place,
    left: u64,
    answer: Vec<u8>,
    is_there: bool,
}

impl File {
    fn new(mib: u64, target: &Target) -> Result<Self> {
        let stream = connect_to_folder(target)?;
        stream.set_nonblocking(true)?;
        let size = mib << 20;
        Ok(Self {
            stream,
            head: format!("post|{size}|large\n").into_bytes(),
            at: Place::of_connection(1),
            left: size,
            answer: Vec::new(),
            is_there: false,
        })
    }

    /// Writes once, and looks for the answer once everything is written.
    fn step(&mut self, pattern: &Pattern) -> Result<()> {
        if !self.head.is_empty() {
            let written = unless_blocked(self.stream.write(&self.head))?.unwrap_or(0);
            self.head.drain(..written);
        } else if self.left > 0 {
            let written = unless_blocked(self.stream.write(pattern.piece(self.at, self.left)))?.unwrap_or(0);
            self.at.advance(written);
            self.left -= written as u64;
        } else if !self.is_there {
            let mut bytes = [0; 64];
            if let Some(count) = unless_blocked(self.stream.read(&mut bytes))? {
                self.answer.extend_from_slice(&bytes[..count]);
                self.is_there = self.answer.starts_with(b"ok|") && self.answer.ends_with(b"|large\n");
                if count == 0 || self.answer.starts_with(b"err") {
                    let answer = self.answer.escape_ascii();
                    return Err(format!("the file was not taken: {answer}").into());
                }
            }
        }
        Ok(())
    }
}
