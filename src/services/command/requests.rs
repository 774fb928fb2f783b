//! Requests of `Command`: queues them, runs their commands, and answers them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::client::{Client, Doing, Request};
use super::policy::Denial;
use super::reply::{self, Reply, Status};
use super::{Audit, Command, Job};
use crate::process::Pipe;
use crate::services::framing::{Framing, Stream, TOO_LONG};
use crate::services::http_guard::HttpGuard;
use crate::{ChildId, ConnId, Io, Sent};

/// The most requests of all clients that wait for a child.
const WAITING: usize = 256;

impl Command {
    /// Writes to a client, and notes if its output is full.
    pub(super) fn say(&mut self, io: &mut Io<'_>, id: ConnId, what: Bytes) {
        if io.send(id, what) == Sent::Full
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.is_full = true;
        }
    }

    pub(super) fn greet(&mut self, io: &mut Io<'_>, id: ConnId) {
        if !self.greeting.is_empty() {
            let greeting = format!("{}{}", self.greeting, self.framing.end());
            self.say(io, id, greeting.into());
        }
    }

    /// Takes requests off the input, as many as may wait.
    pub(super) fn take(&mut self, io: &mut Io<'_>, id: ConnId, input: &mut BytesMut, stream: Stream) {
        loop {
            let Some(client) = self.clients.get_mut(&id).filter(|client| client.wants_requests()) else {
                return;
            };
            // The guard needs the whole chunk, with its trailing space.
            let is_http = self.framing == Framing::Chunk && client.guard.is_http_chunk(input);
            match self.framing.take(input, stream) {
                Ok(None) => return,
                Ok(Some(text)) => {
                    if is_http || (self.framing == Framing::Lines && client.guard.is_http_line(&text)) {
                        client.ends = true;
                        if let Some(more) = self.turned_away.allows(io.now()) {
                            let peer = &client.peer;
                            log::warn!("{peer}: HTTP, of a web page perhaps: nothing is run for it{more}");
                        }
                        return io.close(id);
                    }
                    self.receive(io, id, text.freeze());
                }
                Err(_) if client.is_admitted => {
                    client.queue.push_back(Request::TooLong);
                    client.ends = true;
                    input.clear();
                }
                Err(_) => return io.close(id),
            }
        }
    }

    /// Takes one request of a client.
    pub(super) fn receive(&mut self, io: &mut Io<'_>, id: ConnId, text: Bytes) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Doing::AwaitsAck(_) = client.doing {
            return self.pay(io, id);
        }
        match &self.token {
            Some(token) if !client.is_admitted => {
                if !token.is(&text) {
                    client.ends = true;
                    if let Some(more) = self.wrong_tokens.allows(io.now()) {
                        log::warn!("{}: a wrong token{more}", client.peer);
                    }
                    return io.close(id);
                }
                client.is_admitted = true;
                // The request after the token must not look like HTTP either.
                client.guard = HttpGuard::default();
                self.greet(io, id);
            }
            _ if text.is_empty() => {}
            _ => client.queue.push_back(Request::Line(text)),
        }
    }

    /// Carries on with a client's next request, as far as possible.
    pub(super) fn advance(&mut self, io: &mut Io<'_>, id: ConnId) {
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

    pub(super) fn begin(&mut self, io: &mut Io<'_>, id: ConnId, line: Bytes) {
        match self.policy.program(&line) {
            // Clients in `waiting` come first.
            Ok(_) if self.jobs.len() < self.max_children && self.waiting.is_empty() => {
                self.run(io, id, line);
            }
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

    pub(super) fn run(&mut self, io: &mut Io<'_>, id: ConnId, line: Bytes) {
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

    /// Answers a request without a command.
    pub(super) fn answer_at_once(
        &mut self,
        io: &mut Io<'_>,
        id: ConnId,
        line: &[u8],
        status: Status,
        reason: String,
    ) {
        if let Some(peer) = self.clients.get(&id).map(|client| client.peer.clone()) {
            self.tell(&Audit { peer: &peer, request: line, status, bytes: 0, time: Duration::ZERO });
        }
        self.answer(io, id, status, reason.into());
    }

    /// Sends a client the status of its command, and its buffered output.
    pub(super) fn answer(&mut self, io: &mut Io<'_>, id: ConnId, status: Status, payload: Vec<u8>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.doing = Doing::Nothing;
        let reply = match (self.reply, self.framing) {
            (Reply::Raw, _) => reply::raw(status, payload),
            (Reply::Stream, _) => reply::end_of_stream(status, &payload),
            (Reply::Framed, Framing::Lines) => reply::framed(status, &payload),
            (Reply::Framed, Framing::Chunk) => {
                self.say(io, id, reply::announcement(&payload));
                return self.pay_later(io, id, payload);
            }
        };
        self.say(io, id, reply);
    }

    /// Sends the second part of a reply later: it must not arrive with the
    /// first.
    fn pay_later(&mut self, io: &mut Io<'_>, id: ConnId, mut payload: Vec<u8>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if self.awaits_ack && client.ends {
            return self.let_go(io, id);
        }
        // The buffer keeps no more memory than the limit counts.
        payload.shrink_to_fit();
        let limits = io.limits();
        let ack = [limits.frame, limits.idle].into_iter().flatten().min();
        let time = if self.awaits_ack { ack } else { Some(self.gap) };
        let timer = time.map(|time| io.tick_after(time)).transpose();
        let has_no_timer = timer.is_err();
        let rest = self.rests.put(id, payload.into(), timer.unwrap_or(None));
        client.doing = if self.awaits_ack { Doing::AwaitsAck(rest) } else { Doing::AwaitsGap(rest) };
        if has_no_timer {
            // Without a timer the payload would wait for ever.
            self.end_wait(io, id);
        }
        while let Some(oldest) = self.rests.too_much(self.max_held) {
            self.make_room(io, oldest);
        }
    }

    /// Ends a client's wait, to make room for others. Its next request follows
    /// in the next turn, for it may need room as well.
    fn make_room(&mut self, io: &mut Io<'_>, id: ConnId) {
        let awaits_gap = |client: &Client| matches!(client.doing, Doing::AwaitsGap(_));
        if !self.clients.get(&id).is_some_and(awaits_gap) {
            return self.end_wait(io, id);
        }
        self.pay(io, id);
        let Ok(timer) = io.tick_after(Duration::ZERO) else { return io.close(id) };
        let nothing = self.rests.put(id, Bytes::new(), Some(timer));
        if let Some(client) = self.clients.get_mut(&id) {
            client.doing = Doing::AwaitsGap(nothing);
        }
    }

    /// Sends the second part of a reply.
    fn pay(&mut self, io: &mut Io<'_>, id: ConnId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Doing::AwaitsGap(rest) | Doing::AwaitsAck(rest) = client.doing {
            client.doing = Doing::Nothing;
            if let Some(payload) = self.rests.take(io, rest) {
                self.say(io, id, payload);
            }
        }
    }

    /// Ends the wait of the second part of a reply.
    pub(super) fn end_wait(&mut self, io: &mut Io<'_>, id: ConnId) {
        let Some(client) = self.clients.get(&id) else { return };
        if let Doing::AwaitsAck(_) = client.doing {
            log::debug!("{}: it does not ask for what it was promised, and is closed", client.peer);
            self.let_go(io, id);
        } else {
            self.pay(io, id);
            self.advance(io, id);
        }
    }

    /// Closes a client that has not sent the chunk for its payload, and drops
    /// its requests.
    pub(super) fn let_go(&mut self, io: &mut Io<'_>, id: ConnId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.ends = true;
        client.queue.clear();
        if let Doing::AwaitsAck(rest) = std::mem::take(&mut client.doing) {
            self.rests.take(io, rest);
        }
        io.close(id);
    }

    /// Ends a command, and starts those that have waited longest. The next
    /// request of its own client comes behind them.
    pub(super) fn end(&mut self, io: &mut Io<'_>, job: Job, status: Status, payload: Vec<u8>) {
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

    pub(super) fn tell(&mut self, audit: &Audit<'_>) {
        let Audit { peer, request, status, bytes, time } = audit;
        log::info!("{peer}: `{}`: {status}, {bytes} bytes, {time:?}", request.escape_ascii());
        if let Some(tell) = &mut self.audit {
            tell(audit);
        }
    }

    /// Takes output of a command.
    pub(super) fn output_of(&mut self, io: &mut Io<'_>, number: u64, mark: &str, input: &mut BytesMut) {
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
                    Self::each_output(io, child, |io, pipe| io.pause(pipe));
                }
            } else {
                job.held.extend_from_slice(&input[..fits]);
            }
        }
        input.clear();
    }

    /// Calls `act` with each open output pipe of a child.
    pub(super) fn each_output(io: &mut Io<'_>, child: ChildId, mut act: impl FnMut(&mut Io<'_>, ConnId)) {
        for pipe in [Pipe::Stdout, Pipe::Stderr] {
            if let Some(pipe) = io.pipe(child, pipe) {
                act(io, pipe);
            }
        }
    }
}
