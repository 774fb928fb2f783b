//! The handler: sends files, and listens to what becomes of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::{AfterEof, BoxError, CloseReason, Io, Origin, Sent, StreamHandler, TimerId};

use crate::Framing;
use crate::address::Address;
use crate::file::{Reading, Source};
use crate::report::Report;

/// How much of a file is in hand at once.
const PIECE: usize = 64 << 10;

/// In chunks: how long there is silence before a header and after it, at least.
const PAUSE: Duration = Duration::from_millis(50);

/// And at most, where the way is so long that a refusal could come behind the
/// next header.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Sends files, over a connection for as long as the server keeps it: having
/// refused a file it closes, and the rest is sent over a new one.
pub(crate) struct Sender {
    to: Address,
    framing: Framing,
    /// In chunks: how long the end of a server that has it all is waited for.
    linger: Duration,
    /// When the connection was asked for, if it was.
    began: Option<Instant>,
    sources: Vec<Source>,
    report: Report,
    buffer: Vec<u8>,
}

/// One connection to the server.
pub(crate) struct Connection {
    /// Where to look for the next file.
    next: usize,
    /// What is being sent, and its place.
    current: Option<(usize, Reading)>,
    /// What was sent, whole or in part, and not answered: place and size.
    unanswered: VecDeque<(usize, u64)>,
    /// In chunks: when there has been silence for long enough.
    pause: Option<TimerId>,
    /// How long that is.
    silence: Duration,
    /// It was, and the next header may go.
    may_begin: bool,
    /// In chunks: when the server's end is waited for no longer.
    end: Option<TimerId>,
    /// Bytes of files, of those before this connection as well.
    sent: u64,
    /// Nothing more is to be sent over it.
    is_over: bool,
    /// Everything is known that it can tell: its end is no surprise.
    is_done: bool,
}

impl Connection {
    /// Nothing more is to be sent: our side ends behind what waits.
    fn end(&mut self, io: &mut Io<'_>) {
        self.is_over = true;
        self.current = None;
        io.finish(io.id());
    }
}

impl Sender {
    pub(crate) fn new(
        to: Address,
        framing: Framing,
        linger: Duration,
        sources: Vec<Source>,
        report: Report,
    ) -> Self {
        Self { to, framing, linger, began: Some(Instant::now()), sources, report, buffer: vec![0; PIECE] }
    }

    pub(crate) const fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// Sends until the connection is full, or pauses, or has it all.
    fn go_on(&mut self, io: &mut Io<'_>, connection: &mut Connection) -> Result<(), BoxError> {
        let mut sent = Sent::Queued;
        while sent == Sent::Queued && !connection.is_over && connection.pause.is_none() {
            sent = match &mut connection.current {
                None => self.begin(io, connection)?,
                Some((_, reading)) if reading.is_done() => {
                    connection.current = None;
                    connection.may_begin = self.framing == Framing::Lines;
                    Sent::Queued
                }
                Some((place, reading)) => match reading.piece(&mut self.buffer) {
                    Ok(piece) => {
                        connection.sent += piece.len() as u64;
                        io.write(piece)
                    }
                    Err(why) => {
                        self.report.failed(*place, &self.sources[*place], &why);
                        // Nothing remains of what is cut off; what was sent
                        // before it is still answered.
                        self.end(io, connection)?;
                        Sent::Queued
                    }
                },
            };
        }
        if let Some((place, _)) = connection.current {
            let waiting = io.queued(io.id()).unwrap_or(0) as u64;
            self.report.sent(connection.sent.saturating_sub(waiting), &self.sources[place]);
        }
        self.leave_if_done(io, connection);
        Ok(())
    }

    /// Sends the header of the next file.
    fn begin(&mut self, io: &mut Io<'_>, connection: &mut Connection) -> Result<Sent, BoxError> {
        let Some(place) = self.report.next(connection.next) else {
            match self.framing {
                Framing::Lines => connection.is_over = true, // what is left are answers
                // The server's own end is all the answer there is.
                Framing::Chunk => self.end(io, connection)?,
            }
            return Ok(Sent::Queued);
        };
        if !connection.may_begin {
            connection.pause = Some(io.after(connection.silence)?);
            return Ok(Sent::Queued);
        }
        connection.next = place + 1;
        let source = &mut self.sources[place];
        let reading = match source.open() {
            Ok(reading) => reading,
            Err(why) => {
                self.report.failed(place, source, &why);
                return Ok(Sent::Queued);
            }
        };
        if source.size != reading.size {
            source.size = reading.size;
            self.report.resize(self.sources.iter().map(|source| source.size).sum());
        }
        let source = &self.sources[place];
        let mut header = format!("post|{}|{}", reading.size, source.name);
        match self.framing {
            Framing::Lines => header.push('\n'),
            Framing::Chunk => connection.pause = Some(io.after(connection.silence)?),
        }
        connection.unanswered.push_back((place, reading.size));
        connection.current = Some((place, reading));
        Ok(io.write(header.as_bytes()))
    }

    /// Ends our side. In chunks, a server that does not end its own has it all
    /// none the less.
    fn end(&self, io: &mut Io<'_>, connection: &mut Connection) -> Result<(), BoxError> {
        connection.end(io);
        if self.framing == Framing::Chunk {
            connection.end = Some(io.after(self.linger)?);
        }
        Ok(())
    }

    /// In chunks: what becomes of the files when the server has said all that
    /// it says.
    fn conclude(&mut self, connection: &mut Connection, refusal: &[u8]) {
        let mut sent = std::mem::take(&mut connection.unanswered);
        // It refuses a header as it comes, and reads none behind it.
        let refused = if refusal.is_empty() { None } else { sent.pop_back() };
        for (place, size) in sent {
            if !self.report.is_settled(place) {
                self.report.taken(place, &self.sources[place], size);
            }
        }
        if let Some((place, _)) = refused.filter(|(place, _)| !self.report.is_settled(*place)) {
            self.report.failed(place, &self.sources[place], &reason(&String::from_utf8_lossy(refusal)));
        }
    }

    /// An answer in lines.
    fn answer(&mut self, io: &mut Io<'_>, connection: &mut Connection, line: &str) {
        let Some((place, size)) = connection.unanswered.pop_front() else { return };
        let source = &self.sources[place];
        if line.strip_prefix("ok|") == Some(&format!("{size}|{}", source.name)) {
            return self.report.taken(place, source, size);
        }
        self.report.failed(place, source, &reason(line));
        // The server takes nothing more, though some of it is on its way.
        connection.is_over = true;
        connection.is_done = true;
        io.abort(io.id());
    }

    /// True if the server owes no answer that is still of interest.
    fn owes_nothing(&self, connection: &Connection) -> bool {
        connection.unanswered.iter().all(|(place, _)| self.report.is_settled(*place))
    }

    /// Leaves a server from which nothing more is to be heard.
    fn leave_if_done(&self, io: &mut Io<'_>, connection: &mut Connection) {
        if connection.is_over && !connection.is_done && self.owes_nothing(connection) {
            connection.is_done = true;
            io.close(io.id());
        }
    }

    /// Gives the remaining files up.
    fn give_up(&mut self, io: &mut Io<'_>, why: &str) {
        self.report.give_up(why);
        io.stop();
    }
}

/// What a server's answer says of a file that it did not take.
fn reason(answer: &str) -> String {
    match answer.strip_prefix("err|") {
        Some(reason) => format!("refused: {}", reason.escape_debug()),
        None => format!("the server answered {answer:?}"),
    }
}

impl StreamHandler for Sender {
    type Session = Connection;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Connection, BoxError> {
        // It took one way there and back, and whatever the server took.
        let silence = self.began.map_or(PAUSE, |began| 2 * io.now().saturating_duration_since(began));
        let settled = self.sources.iter().enumerate().filter(|(place, _)| self.report.is_settled(*place));
        let mut connection = Connection {
            next: 0,
            current: None,
            unanswered: VecDeque::new(),
            pause: None,
            silence: silence.clamp(PAUSE, LONGEST_PAUSE),
            may_begin: self.framing == Framing::Lines,
            end: None,
            sent: settled.map(|(_, source)| source.size).sum(),
            is_over: false,
            is_done: false,
        };
        self.go_on(io, &mut connection)?;
        Ok(connection)
    }

    fn drained(&mut self, io: &mut Io<'_>, connection: &mut Connection) -> Result<(), BoxError> {
        self.go_on(io, connection)
    }

    fn timer(
        &mut self,
        io: &mut Io<'_>,
        connection: &mut Connection,
        timer: TimerId,
    ) -> Result<(), BoxError> {
        if connection.end == Some(timer) {
            if io.queued(io.id()).is_some_and(|waiting| waiting > 0) {
                connection.end = Some(io.after(self.linger)?); // it still reads
                return Ok(());
            }
            self.conclude(connection, b"");
            connection.is_done = true;
            io.close(io.id());
            return Ok(());
        }
        if connection.pause != Some(timer) {
            return Ok(());
        }
        if io.queued(io.id()).is_some_and(|waiting| waiting > 0) {
            connection.pause = Some(io.after(connection.silence)?); // it has not been silent
            return Ok(());
        }
        connection.pause = None;
        connection.may_begin |= connection.current.is_none();
        self.go_on(io, connection)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        connection: &mut Connection,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        if self.framing == Framing::Chunk {
            // A refusal, which is complete when the server has ended its side.
            if !connection.is_over {
                self.end(io, connection)?;
            }
            return Ok(());
        }
        while !connection.is_done
            && let Some(end) = input.iter().position(|byte| *byte == b'\n')
        {
            let line = input.split_to(end + 1);
            self.answer(io, connection, &String::from_utf8_lossy(&line[..end]));
        }
        self.leave_if_done(io, connection);
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        connection: &mut Connection,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        let all_has_left = connection.is_over && io.queued(io.id()).is_none_or(|waiting| waiting == 0);
        if self.framing == Framing::Chunk && (all_has_left || !rest.is_empty()) {
            self.conclude(connection, rest);
        }
        connection.is_done = self.owes_nothing(connection) && connection.is_over;
        // There is nobody to take what may still wait.
        io.abort(io.id());
        Ok(AfterEof::Finish)
    }

    fn close(&mut self, io: &mut Io<'_>, connection: Connection, why: &CloseReason) {
        if !connection.is_done {
            return match why {
                CloseReason::Aborted => self.give_up(io, "the server ended the connection"),
                why => self.give_up(io, &why.to_string()),
            };
        }
        if self.report.next(0).is_none() {
            self.report.end();
            io.stop();
        } else {
            self.began = Some(io.now());
            if let Err(error) = self.to.connect_again(io) {
                self.give_up(io, &error.to_string());
            }
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &std::io::Error) {
        self.give_up(io, &self.to.failure(error));
    }
}
