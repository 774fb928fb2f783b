//! `Jobs`: a subject that has workers do the work of each line, and sends back the
//! results (feature `workers`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BytesMut};

use super::log::Life;
use super::subject::Subject;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::{AfterEof, BoxError, CloseReason, ConnId, Io, JobError, Limits, Origin, Sent, StreamHandler};

/// A service that gives each line to the workers: as work of the connection, or of
/// the service, by the first letter of the line. A client has up to four jobs under
/// way, or one that it waits for before its next line. The reply is the line, a sign
/// for how its job ended, and the result.
///
/// Each job is told once, with a result if and only if it has run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jobs;

/// A job of the connection.
const FOR_CONNECTION: u8 = b'c';
/// A job of the service, which no end of a connection cancels.
const FOR_SERVICE: u8 = b's';
/// A job of the connection, which reads no further line until it has ended.
const ALONE: u8 = b'a';

/// The most jobs of one client at once.
const AT_ONCE: usize = 4;

/// Room for the replies of that many jobs.
const HEADROOM: usize = 256;

const HAS_RESULT: char = '=';
const HAS_PANICKED: char = '!';
const WAS_LOST: char = '?';

/// The result of a line's job.
fn result_of(line: &[u8]) -> u64 {
    line.iter().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte))
}

impl Subject for Jobs {
    type Handler = JobsHandler;

    fn handler(&self) -> JobsHandler {
        JobsHandler::default()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn has_workers(&self) -> bool {
        true
    }

    /// Numbered lines, and perhaps one without an end.
    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut number = 0;
        // A job costs more time than a line.
        while bytes.len() < len.min(400) {
            bytes.push([FOR_CONNECTION, FOR_SERVICE, ALONE][rng.size(0, 2)]);
            bytes.extend(format!("{number}\n").bytes());
            number += 1;
        }
        if rng.below(4) == 0 {
            bytes.pop();
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let mut asked = Asked::of(seen.sent());
        let replies = seen.received().split_inclusive(|byte| *byte == b'\n');
        for reply in replies.filter(|reply| reply.ends_with(b"\n")) {
            let sign = asked
                .answer(&reply[..reply.len() - 1])
                .map_err(|what| format!("client {client}: {}: {what}", reply.escape_ascii()))?;
            let faults = net.faults();
            let is_explained = match sign {
                HAS_PANICKED => faults.jobs_panicked > 0,
                WAS_LOST => faults.jobs_lost > 0,
                _ => true,
            };
            if !is_explained {
                return Err(format!("client {client}: {}: nothing explains it", reply.escape_ascii()));
            }
        }
        match asked.unanswered() {
            Some(line) if whole => Err(format!("client {client} got no reply to {}", line.escape_ascii())),
            _ => Ok(()),
        }
    }

    fn check_handler(&self, handler: &JobsHandler, _: &[Life]) -> Result<(), String> {
        if let Some(what) = handler.violations.first() {
            return Err(what.clone());
        }
        match handler.jobs.iter().position(|job| job.ends != 1) {
            Some(job) => Err(format!("the end of job {job} was told {} times", handler.jobs[job].ends)),
            None => Ok(()),
        }
    }

    fn headroom(&self) -> usize {
        HEADROOM
    }
}

/// The lines of a client, and which of them were answered.
struct Asked<'a> {
    lines: Vec<&'a [u8]>,
    answered: Vec<bool>,
}

impl<'a> Asked<'a> {
    fn of(sent: &'a [u8]) -> Self {
        let lines = sent.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        let lines: Vec<_> = lines.collect();
        let answered = vec![false; lines.len()];
        Self { lines, answered }
    }

    /// Takes a reply, and returns its sign.
    fn answer(&mut self, reply: &[u8]) -> Result<char, String> {
        let is_sign = |byte: &u8| [HAS_RESULT, HAS_PANICKED, WAS_LOST].contains(&char::from(*byte));
        let end = reply.iter().position(is_sign).ok_or("it says not how the job has ended")?;
        let (line, sign, result) = (&reply[..end], char::from(reply[end]), &reply[end + 1..]);
        let place = self.lines.iter().position(|asked| *asked == line).ok_or("nobody has asked that")?;
        if std::mem::replace(&mut self.answered[place], true) {
            return Err("that was answered before".into());
        }
        if line.first() == Some(&ALONE) && self.answered[place + 1..].contains(&true) {
            return Err("a later line was answered before".into());
        }
        let right = if sign == HAS_RESULT { result_of(line).to_string() } else { String::new() };
        if result == right.as_bytes() { Ok(sign) } else { Err(format!("the result is {right}")) }
    }

    fn unanswered(&self) -> Option<&'a [u8]> {
        let place = self.answered.iter().position(|answered| !answered)?;
        Some(self.lines[place])
    }
}

/// The handler of [`Jobs`].
#[derive(Debug, Default)]
pub struct JobsHandler {
    clients: BTreeMap<ConnId, Client>,
    /// Every job that was given, in order.
    jobs: Vec<Given>,
    violations: Vec<String>,
}

/// A job that was given to the workers.
#[derive(Debug, Default)]
struct Given {
    has_run: Arc<AtomicBool>,
    /// How often its end was told.
    ends: u32,
}

#[derive(Debug, Default)]
struct Client {
    under_way: usize,
    /// Those of them that are the service's.
    for_service: usize,
    /// True while it waits for one job.
    is_alone: bool,
    /// True while its replies are above the high mark.
    is_full: bool,
    /// True once it has ended its side.
    has_ended: bool,
}

impl Client {
    const fn has_room(&self) -> bool {
        self.under_way < AT_ONCE && !self.is_alone && !self.is_full
    }
}

impl JobsHandler {
    /// Gives the work of a line to the workers.
    fn give(&mut self, io: &mut Io<'_>, id: ConnId, line: &[u8]) -> Result<(), BoxError> {
        let (job, kind) = (self.jobs.len(), line.first().copied());
        let has_run = Arc::<AtomicBool>::default();
        let (ran, input, text) = (Arc::clone(&has_run), line.to_vec(), String::from_utf8(line.to_vec())?);
        let work = move || {
            ran.store(true, Ordering::Relaxed);
            result_of(&input)
        };
        if kind == Some(FOR_SERVICE) {
            io.offload_tick(work, move |this: &mut Self, io, result| {
                this.done(io, id, job, &text, result);
                Ok(())
            })?;
        } else {
            io.offload(work, move |this: &mut Self, io, session, result| {
                if session.is_some() != io.is_open(id) {
                    this.violations.push(format!("the end of job {job} has the session of another time"));
                }
                this.done(io, id, job, &text, result);
                Ok(())
            })?;
        }
        self.jobs.push(Given { has_run, ends: 0 });
        if let Some(client) = self.clients.get_mut(&id) {
            client.under_way += 1;
            client.is_alone = kind == Some(ALONE);
            client.for_service += usize::from(kind == Some(FOR_SERVICE));
            io.set_busy(id, client.for_service > 0);
        }
        Ok(())
    }

    fn done(&mut self, io: &mut Io<'_>, id: ConnId, job: usize, line: &str, result: Result<u64, JobError>) {
        let given = &mut self.jobs[job];
        given.ends += 1;
        let has_run = given.has_run.load(Ordering::Relaxed);
        let is_true = match &result {
            Ok(_) => has_run,
            Err(JobError::Over) => true,
            Err(_) => !has_run,
        };
        if !is_true {
            self.violations.push(format!("job {job} is told as {result:?}: it has run: {has_run}"));
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.under_way -= 1;
        match line.as_bytes().first() {
            Some(&ALONE) => client.is_alone = false,
            Some(&FOR_SERVICE) => client.for_service -= 1,
            _ => {}
        }
        io.set_busy(id, client.for_service > 0);
        let reply = match result {
            Ok(result) => format!("{line}{HAS_RESULT}{result}\n"),
            Err(JobError::Panicked(_)) => format!("{line}{HAS_PANICKED}\n"),
            Err(_) => format!("{line}{WAS_LOST}\n"),
        };
        client.is_full |= io.send(id, reply) == Sent::Full;
        self.go_on(io, id);
    }

    /// Reads the next line, if there is room for its reply; ends our side behind the
    /// last one.
    fn go_on(&self, io: &mut Io<'_>, id: ConnId) {
        match self.clients.get(&id) {
            Some(Client { has_ended: true, under_way: 0, .. }) => io.finish(id),
            Some(client) if client.has_room() => io.resume(id),
            _ => {}
        }
    }
}

impl StreamHandler for JobsHandler {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.clients.insert(io.id(), Client::default());
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let id = io.id();
        while self.clients.get(&id).is_some_and(Client::has_room)
            && let Some(end) = input.iter().position(|byte| *byte == b'\n')
        {
            let line = input.split_to(end);
            input.advance(1);
            self.give(io, id, &line)?;
        }
        if !self.clients.get(&id).is_some_and(Client::has_room) {
            io.pause(id);
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        let Some(client) = self.clients.get_mut(&io.id()) else { return Ok(AfterEof::Finish) };
        client.has_ended = true;
        Ok(if client.under_way == 0 { AfterEof::Finish } else { AfterEof::Stay })
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        let id = io.id();
        if let Some(client) = self.clients.get_mut(&id) {
            client.is_full = false;
        }
        self.go_on(io, id);
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        self.clients.remove(&io.id());
    }
}
