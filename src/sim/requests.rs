//! `Requests`: a subject that answers HTTP requests, at once, later or in parts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::log::Life;
use super::subject::Subject;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::http::{Body, Http, HttpHandler, HttpIo, Request, StatusCode, Ticket};
use crate::{BoxError, Limits, Sent, TimerId};

/// A service whose clients send HTTP requests ahead, the last of which may be malformed
/// or cut off. Each answer must be the right one, byte by byte and in order, and a
/// refusal must be explained by what the client sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests;

/// The ways in which a request is answered, by its path.
const AT_ONCE: &str = "/now";
const LATER: &str = "/later";
const STREAMED: &str = "/stream";
const ECHOED: &str = "/echo";
const IN_PIECES: &str = "/pieces";

/// A piece of a stream.
const PIECE: &str = "0123456789abcdef0123456789abcdef";

/// The pieces of the stream with this number.
const fn pieces(number: u64) -> u64 {
    number % 20
}

impl Subject for Requests {
    type Handler = Http<Answering>;

    fn handler(&self) -> Self::Handler {
        Http::new(Answering::default()).clock(None)
    }

    fn limits(&self) -> Limits {
        Http::<Answering>::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut text = String::new();
        while text.len() < len {
            push_request(rng, &mut text);
        }
        let last = match rng.below(6) {
            0 => "GET /now?1 HTTP/1.1\r\n\r\n",
            1 => "POST /pieces?1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nx",
            2 => "POST /echo?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234",
            3 => "GET /now?1 HTTP/1.1\r\nHo",
            _ => "",
        };
        text.push_str(last);
        text.into_bytes()
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        let taken = life.map_or(&[][..], Life::input);
        let why = life.and_then(|life| life.last_word().or_else(|| life.closed())).unwrap_or("never opened");
        let end = End {
            whole,
            is_too_long: why.starts_with("InputTooLong"),
            // With needless `WouldBlock`s, a loop that was stopped cannot know what came
            // meanwhile; and buffers that do not hold a request stop its client too.
            may_be_late: net.faults().stopped > 0
                && (!net.conditions().would_block.is_never() || net.conditions().buffer < taken.len()),
        };
        check_answers(taken, net.client(client).received(), end)
            .map_err(|what| format!("client {client}, closed as {why}: {what}"))
    }

    fn check_handler(&self, handler: &Self::Handler, _: &[Life]) -> Result<(), String> {
        let Answering { later, streams, bodies } = handler.handler();
        let left = (later.len(), streams.len(), bodies.len());
        if left == (0, 0, 0) {
            Ok(())
        } else {
            Err(format!("the handler was not told of the end of {left:?}"))
        }
    }

    fn headroom(&self) -> usize {
        // Answers that wait for an earlier one, and the head of each.
        64 << 10
    }
}

/// Appends a request of any kind.
fn push_request(rng: &mut Rng, text: &mut String) {
    let number = rng.below(1000);
    let mut push = |line: std::fmt::Arguments<'_>| _ = text.write_fmt(line);
    match rng.below(6) {
        0 => push(format_args!("GET {AT_ONCE}?{number} HTTP/1.1\r\nHost: a\r\n\r\n")),
        1 => push(format_args!("HEAD {AT_ONCE}?{number} HTTP/1.1\r\nhost:a\r\nX: y\r\n\r\n")),
        2 => push(format_args!("GET {LATER}?{number} HTTP/1.1\r\nHost: a\r\n\r\n")),
        3 => push(format_args!("GET {STREAMED}?{number} HTTP/1.1\r\nHost: a\r\n\r\n")),
        kind => {
            let path = if kind == 4 { ECHOED } else { IN_PIECES };
            push(format_args!("POST {path}?{number} HTTP/1.1\r\nHost: a\r\n"));
            let body = PIECE.repeat(rng.size(0, 6));
            if rng.below(2) == 0 {
                push(format_args!("Content-Length: {}\r\n\r\n{body}", body.len()));
            } else {
                push(format_args!("Transfer-Encoding: chunked\r\n\r\n"));
                for chunk in body.as_bytes().chunks(rng.size(1, 40)) {
                    push(format_args!("{:X}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
                }
                push(format_args!("0\r\n\r\n"));
            }
        }
    }
}

/// A request that a client has sent, with its body.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    number: u64,
    body: Vec<u8>,
}

impl Asked<'_> {
    /// The right answer, with these fields of the connection.
    fn answer(&self, connection: &str) -> Vec<u8> {
        let text = |body: &[u8]| {
            let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n";
            let head = format!("{begin}{connection}content-length: {}\r\n\r\n", body.len());
            let body = if self.method == "HEAD" { &[] } else { body };
            [head.as_bytes(), body].concat()
        };
        match self.path {
            STREAMED => {
                let head = format!("HTTP/1.1 200 OK\r\n{connection}transfer-encoding: chunked\r\n\r\n");
                let chunk = format!("{:x}\r\n{PIECE}\r\n", PIECE.len());
                let chunks = chunk.repeat(usize::try_from(pieces(self.number)).unwrap_or(0));
                format!("{head}{chunks}0\r\n\r\n").into_bytes()
            }
            ECHOED | IN_PIECES => text(&self.body),
            _ => text(format!("{}\n", self.number).as_bytes()),
        }
    }
}

/// Takes the next whole request from the front of what a client has sent; `None` if
/// what is there is no request, or a part of one.
fn next_request<'a>(sent: &mut &'a [u8]) -> Option<Asked<'a>> {
    let end = sent.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&sent[..end]).ok()?;
    let (line, fields) = head.split_once("\r\n")?;
    let (method, rest) = line.split_once(' ')?;
    let (target, _) = rest.split_once(' ')?;
    let (path, number) = target.split_once('?')?;
    let fields = fields.to_ascii_lowercase();
    if !fields.contains("host:") {
        return None;
    }
    let mut rest = &sent[end..];
    let mut body = Vec::new();
    if fields.contains("transfer-encoding: chunked") {
        loop {
            let line_end = rest.windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).ok()?, 16).ok()?;
            let chunk = rest.get(line_end + 2..line_end + 2 + size + 2)?;
            body.extend_from_slice(&chunk[..size]);
            rest = &rest[line_end + 2 + size + 2..];
            if size == 0 {
                break;
            }
        }
    } else if let Some((_, length)) = fields.split_once("content-length: ") {
        let length = length.split("\r\n").next()?.parse().ok()?;
        body.extend_from_slice(rest.get(..length)?);
        rest = &rest[length..];
    }
    *sent = rest;
    Some(Asked { method, path, number: number.parse().ok()?, body })
}

/// What the end of a connection says about its last answer.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Nothing explains a loss.
    whole: bool,
    /// More came than the service may keep.
    is_too_long: bool,
    /// A request may count as late that had come.
    may_be_late: bool,
}

/// Checks the answers that a client has received against the requests that the service
/// has taken of it.
fn check_answers(mut taken: &[u8], mut received: &[u8], end: End) -> Result<(), String> {
    const CLOSE: &str = "connection: close\r\n";
    let mut number = 0;
    while let Some(asked) = next_request(&mut taken) {
        number += 1;
        let (kept, last) = (asked.answer(""), asked.answer(CLOSE));
        if let Some(rest) = received.strip_prefix(&kept[..]) {
            received = rest;
        } else if let Some(rest) = received.strip_prefix(&last[..]) {
            // In a shutdown the service takes no further request.
            let is_last = rest.is_empty();
            return if is_last {
                Ok(())
            } else {
                Err(format!("{} follows the last answer", rest.escape_ascii()))
            };
        } else if end.may_be_late && received.starts_with(LATE[0].as_bytes()) {
            return check_refusal(received, end.whole, LATE);
        } else if !end.whole && (kept.starts_with(received) || last.starts_with(received)) {
            return Ok(());
        } else {
            let (path, received) = (asked.path, received.escape_ascii());
            return Err(format!("request {number}, for {path}, is answered with {received}"));
        }
    }
    if taken.is_empty() {
        let is_done = received.is_empty();
        return if is_done { Ok(()) } else { Err(format!("{} answers nothing", received.escape_ascii())) };
    }
    // Of a request that is not whole the answer may say so, or nothing may have come.
    check_refusal(received, end.whole, if end.is_too_long { TOO_LONG } else { NOT_WHOLE })
}

/// How the answer begins to what is no whole request, or malformed.
const NOT_WHOLE: &[&str] = &["HTTP/1.1 400 Bad Request\r\n", LATE[0]];

/// How it begins to what did not come in time.
const LATE: &[&str] = &["HTTP/1.1 408 Request Timeout\r\n"];

/// How it begins where the service may not keep as much as a head is long.
const TOO_LONG: &[&str] = &["HTTP/1.1 431 Request Header Fields Too Large\r\n"];

/// Checks the answer to what is no whole request: a refusal, and nothing behind it.
fn check_refusal(received: &[u8], whole: bool, statuses: &[&str]) -> Result<(), String> {
    let wrong = || Err(format!("a malformed request is answered with {}", received.escape_ascii()));
    let is_begun =
        |status: &&str| received.starts_with(status.as_bytes()) || status.as_bytes().starts_with(received);
    if !statuses.iter().any(is_begun) {
        return wrong();
    }
    let text = String::from_utf8_lossy(received);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return if whole { wrong() } else { Ok(()) };
    };
    let length = head.split_once("content-length: ").and_then(|(_, length)| length.parse::<usize>().ok());
    let is_right = head.contains("\r\nconnection: close\r\n")
        && length.is_some_and(|length| if whole { body.len() == length } else { body.len() <= length });
    if is_right { Ok(()) } else { wrong() }
}

/// The handler of [`Requests`].
#[derive(Debug, Default)]
pub struct Answering {
    /// Requests that a timer answers.
    later: BTreeMap<TimerId, (Ticket, u64)>,
    /// Streams, and the pieces that each has still to write.
    streams: BTreeMap<Ticket, u64>,
    /// What has come of bodies in pieces.
    bodies: BTreeMap<Ticket, Vec<u8>>,
}

impl Answering {
    /// Writes what there is room for of a stream.
    fn pour(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) {
        while let Some(left) = self.streams.get_mut(&ticket) {
            if *left == 0 {
                self.streams.remove(&ticket);
                io.end_body(ticket);
                return;
            }
            *left -= 1;
            if io.write_body(ticket, PIECE) != Sent::Queued {
                return;
            }
        }
    }
}

impl HttpHandler for Answering {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        let number: u64 = request.query().unwrap_or_default().parse()?;
        match request.path() {
            LATER => {
                let timer = io.tick_after(Duration::from_millis(number % 100))?;
                self.later.insert(timer, (io.defer(), number));
            }
            STREAMED => {
                let ticket = io.answer(StatusCode::OK).stream();
                self.streams.insert(ticket, pieces(number));
                self.pour(io, ticket);
            }
            // One without a body has no pieces.
            ECHOED | IN_PIECES => _ = io.answer(StatusCode::OK).text(std::str::from_utf8(request.body())?),
            _ => _ = io.answer(StatusCode::OK).text(format!("{number}\n")),
        }
        Ok(())
    }

    fn body(&mut self, _: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<Body, BoxError> {
        Ok(if request.path() == IN_PIECES { Body::Pieces } else { Body::Whole })
    }

    fn begin(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, _: &Request<'_>) -> Result<(), BoxError> {
        self.bodies.insert(ticket, Vec::new());
        Ok(())
    }

    fn piece(&mut self, _: &mut HttpIo<'_, '_>, ticket: Ticket, data: &[u8]) -> Result<(), BoxError> {
        self.bodies.get_mut(&ticket).ok_or("a piece of nothing")?.extend_from_slice(data);
        Ok(())
    }

    fn body_end(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        let body = self.bodies.remove(&ticket).ok_or("the end of nothing")?;
        let _ = io.answer_to(ticket, StatusCode::OK).text(std::str::from_utf8(&body)?);
        Ok(())
    }

    fn drained(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        self.pour(io, ticket);
        Ok(())
    }

    fn gone(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) {
        self.streams.remove(&ticket);
        self.bodies.remove(&ticket);
        let timers = self.later.iter().filter(|(_, (later, _))| *later == ticket).map(|(timer, _)| *timer);
        for timer in timers.collect::<Vec<_>>() {
            self.later.remove(&timer);
            io.cancel(timer);
        }
    }

    fn tick(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) {
        if let Some((ticket, number)) = self.later.remove(&timer) {
            let _ = io.answer_to(ticket, StatusCode::OK).text(format!("{number}\n"));
        }
    }
}
