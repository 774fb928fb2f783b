//! `Answer`: an answer on its way from its status to its body.

use std::fs::File;
use std::io::Seek;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Method, Response, StatusCode, header};

use super::core::{Answered, To};
use super::encode;
use super::io::HttpIo;
use super::pipeline::{Exchange, Ticket};
use super::source::{Delimiter, Source};
use crate::Sent;

/// The length from which a body that is not copied goes on its own.
const LONG: usize = 16 << 10;

/// An answer that is being made, by [`HttpIo::answer`] or [`HttpIo::answer_to`]:
/// fields, and then one of the methods that send it.
///
/// `Date`, `Connection`, `Content-Length` and `Transfer-Encoding` are written as
/// they have to be, and cannot be given. A body is left out where there must be
/// none: for HEAD, 204 and 304.
#[must_use = "an answer is sent by its body: call `body`, `text`, `empty`, `stream` or `file`"]
#[derive(Debug)]
pub struct Answer<'x, 'a, 'io> {
    io: &'x mut HttpIo<'a, 'io>,
    to: To,
    status: StatusCode,
    exchange: Exchange,
    /// A field could not be written.
    is_flawed: bool,
}

/// Appends so many bytes of a file. False, and nothing is appended, if it has no such
/// bytes, or cannot be read.
fn read(file: &File, first: u64, count: usize, out: &mut BytesMut) -> bool {
    let begin = out.len();
    out.resize(begin + count, 0);
    let is_read = file.read_exact_at(&mut out[begin..], first).is_ok();
    if !is_read {
        out.truncate(begin);
    }
    is_read
}

/// Fields that follow from the message itself.
fn is_ours(name: &HeaderName) -> bool {
    let ours = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE];
    ours.contains(name)
}

/// # Answers
impl<'a, 'io> HttpIo<'a, 'io> {
    /// Begins the answer to the request of this callback. It is sent by one of the
    /// last methods of [`Answer`], such as [`body`](Answer::body); an answer that
    /// is only begun is none.
    ///
    /// A request has one answer: what follows the first is
    /// [`Sent::Gone`]. One that is neither answered nor
    /// [deferred](Self::defer) is answered with 500, which is logged.
    pub fn answer(&mut self, status: StatusCode) -> Answer<'_, 'a, 'io> {
        let to = match self.current.as_ref().map(|current| current.state) {
            Some(Answered::Not) => To::Current,
            Some(Answered::Later(ticket)) => self.to(ticket),
            Some(Answered::Yes | Answered::Upgraded(_)) | None => To::Nowhere,
        };
        Answer::new(self, to, status)
    }

    /// Answers the request of this callback with a response of the crate `http`.
    /// The fields that an [`Answer`] writes itself are left out.
    pub fn respond<B: Into<Bytes>>(&mut self, response: Response<B>) -> Sent {
        self.answer(response.status()).response(response)
    }

    /// Begins the answer to a deferred request, from any callback.
    pub fn answer_to(&mut self, ticket: Ticket, status: StatusCode) -> Answer<'_, 'a, 'io> {
        let to = self.to(ticket);
        Answer::new(self, to, status)
    }
}

impl<'x, 'a, 'io> Answer<'x, 'a, 'io> {
    fn new(io: &'x mut HttpIo<'a, 'io>, to: To, status: StatusCode) -> Self {
        let exchange = match to {
            To::Current => io.current.as_ref().map(|current| current.exchange),
            To::Ticket(ticket) => io.core.pipelines.find(ticket).map(|(_, slot)| slot.exchange),
            To::Nowhere => None,
        };
        let exchange = exchange.unwrap_or(Exchange { is_head: false, is_1_1: true, keep_alive: false });
        let mut answer = Self { io, to, status, exchange, is_flawed: false };
        if answer.io.is_shutting_down() && answer.is_last() {
            answer.end_connection();
        }
        let now = answer.io.io.now();
        answer.io.core.encoder.begin(now, status);
        answer
    }

    /// Ends the connection behind this answer.
    pub fn close(mut self) -> Self {
        self.end_connection();
        self
    }

    /// Whether the service has taken no request behind this one.
    fn is_last(&self) -> bool {
        match self.to {
            To::Ticket(ticket) => self.io.core.pipelines.is_last(ticket),
            To::Current | To::Nowhere => true,
        }
    }

    fn end_connection(&mut self) {
        self.exchange.keep_alive = false;
        match (self.to, self.io.current.as_deref_mut()) {
            (To::Current, Some(current)) => current.exchange.keep_alive = false,
            (To::Ticket(ticket), _) => {
                if let Some((_, slot)) = self.io.core.pipelines.find(ticket) {
                    slot.exchange.keep_alive = false;
                }
            }
            _ => {}
        }
    }

    /// Adds a field. A value that could end its line (RFC 9110, 5.5) is not
    /// written: the answer becomes 500, and that is logged. So text of a stranger
    /// can be put into a field, but not turn into two.
    ///
    /// The fields that are written anyway are left out.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if is_ours(&name) {
            return self;
        }
        if encode::is_value(value) {
            encode::field(&mut self.io.core.encoder.out, name.as_str().as_bytes(), value);
        } else {
            log::error!("the value of {name} cannot stand in a field: {}", value.escape_ascii());
            self.is_flawed = true;
        }
        self
    }

    /// Adds `Allow` with these methods, as an answer of 405 must
    /// (RFC 9110, 15.5.6).
    pub fn allow(self, methods: &[Method]) -> Self {
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        self.header(header::ALLOW, names.join(", "))
    }

    /// Sends the answer with this body.
    pub fn body(self, body: impl AsRef<[u8]>) -> Sent {
        let body = body.as_ref();
        if body.len() >= LONG {
            return self.bytes(Bytes::copy_from_slice(body));
        }
        self.send(body.len() as u64, |io| {
            io.core.encoder.out.extend_from_slice(body);
            Source::Done
        })
    }

    /// Sends the answer with this body, which is not copied if it is long (16 KiB
    /// or more). It may be longer than
    /// [`Limits::hard_mark`](crate::Limits::hard_mark): no more of it than the
    /// high mark waits in the queue.
    pub fn bytes(self, body: impl Into<Bytes>) -> Sent {
        let body = body.into();
        if body.len() < LONG {
            return self.body(body);
        }
        self.send(body.len() as u64, |_| Source::Bytes(body))
    }

    /// Sends the answer with a text as its body, as `text/plain` in UTF-8.
    pub fn text(self, text: impl AsRef<str>) -> Sent {
        self.header(header::CONTENT_TYPE, "text/plain; charset=utf-8").body(text.as_ref())
    }

    /// Sends the answer with a page as its body, as `text/html` in UTF-8.
    pub fn html(self, page: impl AsRef<str>) -> Sent {
        self.header(header::CONTENT_TYPE, "text/html; charset=utf-8").body(page.as_ref())
    }

    /// Sends the answer with this JSON, which is made already, as its body.
    pub fn json(self, json: impl AsRef<[u8]>) -> Sent {
        self.header(header::CONTENT_TYPE, "application/json").body(json)
    }

    /// Sends the answer without a body.
    pub fn empty(self) -> Sent {
        self.body("")
    }

    /// Sends so many bytes of a file, from its position on. A file that has no
    /// position, such as a pipe, is answered with 500; it can be a
    /// [stream](Self::stream).
    ///
    /// As [`file_range`](Self::file_range).
    pub fn file(self, file: File, length: u64) -> Sent {
        match (&file).stream_position() {
            Ok(first) => self.file_range(file, first..first.saturating_add(length)),
            Err(error) => {
                log::error!("the answer is a file that has no position: {error}");
                self.flawed()
            }
        }
    }

    /// Sends a part of a file. As the client takes it, it goes from the file to the
    /// socket without a copy in this process, where the system can do that
    /// ([`Io::send_file`](crate::Io::send_file)); a short one (below 16 KiB) is read
    /// at once, and leaves together with its head. Both may wait for the disk.
    ///
    /// A file that turns out shorter, or cannot be read, ends the connection with
    /// [`CloseReason::File`](crate::CloseReason::File), and a TCP peer sees a reset,
    /// so that it cannot take the part for the whole.
    pub fn file_range(self, file: impl Into<Arc<File>>, range: Range<u64>) -> Sent {
        let length = range.end.saturating_sub(range.start);
        let file = file.into();
        self.send(length, |io| match usize::try_from(length) {
            Ok(0) => Source::Done,
            Ok(short) if short < LONG && read(&file, range.start, short, &mut io.core.encoder.out) => {
                Source::Done
            }
            _ => Source::File { file, range },
        })
    }

    /// Sends the head alone: [`HttpIo::write_body`] writes the body, and
    /// [`HttpIo::end_body`] ends it. To a client of HTTP/1.0, which knows no
    /// chunks, the end of the connection ends it.
    pub fn stream(self) -> Ticket {
        let delimiter = if self.exchange.is_1_1 { Delimiter::Chunked } else { Delimiter::Close };
        self.send_head(delimiter)
    }

    /// The same, of a body whose length is known.
    pub fn stream_of(self, length: u64) -> Ticket {
        self.send_head(Delimiter::Length(length))
    }

    /// Sends the head of a stream of events (`text/event-stream`, of the HTML
    /// standard): [`HttpIo::write_body`] sends the
    /// [events](super::Event::to_bytes), one by one, or
    /// [`HttpIo::subscribe`] leaves that to a group. The end of the connection
    /// ends it. It is never idle ([`Io::set_busy`](crate::Io::set_busy)), and a
    /// shutdown ends it.
    pub fn events(self) -> Ticket {
        let answer = self.close().header(header::CONTENT_TYPE, "text/event-stream");
        answer.header(header::CACHE_CONTROL, "no-store").send_head(Delimiter::Shutdown)
    }

    /// Sends a response of the crate `http`, made elsewhere.
    fn response<B: Into<Bytes>>(mut self, response: Response<B>) -> Sent {
        for (name, value) in response.headers() {
            self = self.header(name.clone(), value);
        }
        self.bytes(response.into_body())
    }

    /// Sends a whole answer.
    fn send(mut self, length: u64, body: impl FnOnce(&mut HttpIo<'a, 'io>) -> Source) -> Sent {
        if self.is_flawed {
            return self.flawed();
        }
        let out = &mut self.io.core.encoder.out;
        encode::connection(out, self.exchange);
        if encode::has_body(self.status) {
            encode::content_length(out, length);
        }
        encode::end(out);
        let has_body = encode::has_body(self.status) && !self.exchange.is_head;
        let rest = if has_body { body(self.io) } else { Source::Done };
        self.deliver(rest).0
    }

    /// Sends the head of a stream. Where there must be no body, or there is no such
    /// request, the ticket's stream is over.
    fn send_head(mut self, delimiter: Delimiter) -> Ticket {
        let has_body = encode::has_body(self.status) && !self.exchange.is_head && !self.is_flawed;
        let nobody = Ticket { conn: self.io.id(), line: u32::MAX, number: 0 };
        if self.is_flawed {
            let _ = self.flawed();
            return nobody;
        }
        if delimiter == Delimiter::Close {
            self.end_connection();
        }
        let out = &mut self.io.core.encoder.out;
        encode::connection(out, self.exchange);
        match delimiter {
            Delimiter::Length(length) => encode::content_length(out, length),
            Delimiter::Chunked => encode::field(out, b"transfer-encoding", b"chunked"),
            Delimiter::Close | Delimiter::Shutdown => {}
        }
        encode::end(out);
        let rest = match delimiter {
            Delimiter::Length(0) => Source::Done,
            _ if has_body => Source::Handler(delimiter),
            _ => Source::Done,
        };
        self.deliver(rest).1.unwrap_or(nobody)
    }

    fn deliver(&mut self, rest: Source) -> (Sent, Option<Ticket>) {
        let HttpIo { io, core, current } = &mut *self.io;
        core.deliver(io, current.as_deref_mut(), self.to, rest)
    }

    /// Answers 500 in place of an answer that cannot be written.
    fn flawed(self) -> Sent {
        let Self { io, to, .. } = self;
        Answer::new(io, to, StatusCode::INTERNAL_SERVER_ERROR).text("the answer could not be written\n")
    }
}
