//! Teaches: a client that asks, and waits for one answer after the other. It
//! has commands run by a `services::Command`, and shows their output: what they
//! write to standard output on this one, and errors on standard error.
//!
//! ```text
//! cargo run --features cli --example command_client -- 127.0.0.1:7010 uptime 'df -h'
//! ```

#[path = "../common/address.rs"]
mod address;
mod reply;
#[path = "../../src/bin/reactor-echo/streams.rs"]
mod streams;
#[path = "../../src/bin/reactor-echo/tls.rs"]
mod tls;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Io, Limits, Origin, Reactor, Sent, Side, StreamHandler,
    TimerId,
};

use self::address::Address;
use self::reply::{Part, Reader, Stream};

/// How long a server in chunks that has no greeting is waited for, and given
/// to take the token for itself.
const GREETING: Duration = Duration::from_secs(1);

/// How long what is sent in chunks stays apart from what was sent before.
const APART: Duration = Duration::from_millis(50);

/// Something was wrong with the connection, or with what came.
const BROKEN: u8 = 125;

/// Has commands run by a server, in order, and shows their output.
///
/// Without a COMMAND they are read from standard input, a line each, with a
/// prompt if that is a terminal. Exit status: that of the last command; 124 if
/// it was over its time, 128 + N if signal N ended it, 125 if it could not run
/// or was cut off, or the connection failed; 2 when the arguments make no
/// sense.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where a request ends, as the server has it
    #[arg(long, value_enum, default_value = "lines")]
    framing: Framing,
    /// A file with the token that the server asks for first
    #[arg(long = "token-file", value_name = "FILE", value_parser = token)]
    token: Option<Bytes>,
    /// HOST:PORT, tcp://HOST:PORT or unix:PATH, or tls://HOST:PORT; every address of a
    /// name is tried
    #[arg(value_parser = address::parse)]
    endpoint: Address,
    #[command(flatten)]
    tls: tls::TlsArguments,
    /// What to run; each argument is one command
    #[arg(value_name = "COMMAND", value_parser = command)]
    commands: Vec<String>,
}

/// One request: a server gives no answer to an empty one.
fn command(text: &str) -> Result<String, String> {
    let text = text.trim_end();
    if text.trim().is_empty() || text.contains('\n') {
        return Err("a command is one line that is not empty".into());
    }
    Ok(text.to_owned())
}

/// The text of a file without its line end.
fn token(path: &str) -> Result<Bytes, String> {
    let mut token = std::fs::read(path).map_err(|error| error.to_string())?;
    while token.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        token.pop();
    }
    Ok(token.into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// A request ends with its line
    Lines,
    /// A request is what one read returns; a framed reply then tells no status,
    /// and counts as 0
    Chunk,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Server,
    /// Standard input.
    Commands,
    Output,
    Errors,
}

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The time in which a greeting may come, or what was sent to be taken.
    Silence,
    /// The next command.
    Command,
    Reply,
    Nothing,
}

struct Client {
    to: Address,
    framing: Framing,
    token: Option<Bytes>,
    commands: VecDeque<Bytes>,
    /// More commands may be read from standard input.
    reads_commands: bool,
    prompts: bool,
    waits: Waits,
    /// When it has been silent for long enough.
    silence: Option<TimerId>,
    reader: Reader,
    outcome: Outcome,
    server: Option<ConnId>,
    input: Option<ConnId>,
    output: Option<ConnId>,
    errors: Option<ConnId>,
}

/// How it went.
#[derive(Default)]
struct Outcome {
    /// The exit status.
    status: u8,
    failure: Option<String>,
}

impl Client {
    /// Sends to the server, as one request.
    fn request(&mut self, io: &mut Io<'_>, text: &[u8]) {
        let end: &[u8] = if self.framing == Framing::Lines { b"\n" } else { b"" };
        if let Some(server) = self.server
            && io.send(server, [text, end].concat()) == Sent::Dropped
        {
            let most = io.limits().hard_mark;
            self.fail(io, format!("a command of {} bytes is too long to send: at most {most}", text.len()));
        }
    }

    /// Shows something, at the pace of whoever reads it.
    fn show(&self, io: &mut Io<'_>, stream: Stream, what: Bytes) {
        let to = if stream == Stream::Output { self.output } else { self.errors };
        if let (Some(to), Some(server)) = (to, self.server)
            && io.send(to, what) == Sent::Full
        {
            io.pause(server);
        }
    }

    /// Sends the next command, if it is time for it and there is one.
    fn go_on(&mut self, io: &mut Io<'_>) {
        if self.waits != Waits::Command {
            return;
        }
        if let Some(command) = self.commands.pop_front() {
            self.waits = Waits::Reply;
            self.reader.expect_reply();
            self.request(io, &command);
        } else if self.reads_commands {
            if self.prompts {
                self.show(io, Stream::Errors, Bytes::from_static(b"> "));
            }
            self.input.into_iter().for_each(|input| io.resume(input));
        } else {
            self.leave(io);
        }
    }

    fn leave(&mut self, io: &mut Io<'_>) {
        self.waits = Waits::Nothing;
        // What is shown may wait for its reader for as long as that likes.
        io.shutdown(Duration::MAX);
    }

    fn fail(&mut self, io: &mut Io<'_>, why: String) {
        if self.waits != Waits::Nothing {
            self.outcome = Outcome { status: BROKEN, failure: Some(why) };
            self.leave(io);
        }
    }

    /// The next part of what the server says, if it is there.
    fn take(&mut self, io: &mut Io<'_>, input: &mut BytesMut) -> Result<bool, String> {
        let Some(part) = self.reader.next(input)? else { return Ok(false) };
        match part {
            Part::Greeting(text) => {
                self.show(io, Stream::Errors, text);
                if self.waits == Waits::Silence {
                    self.silence = None;
                    self.waits = Waits::Command;
                    self.go_on(io);
                }
            }
            Part::Announced { empty } => {
                // The server may wait for a word, or takes it for nothing.
                self.request(io, b"\n");
                if empty {
                    self.outcome.status = 0;
                    self.end_after(io, APART);
                }
            }
            Part::Output(stream, bytes) => self.show(io, stream, bytes),
            Part::End(status, cut) => {
                if let Some(why) = cut {
                    self.show(io, Stream::Errors, format!("command_client: {why}\n").into());
                }
                self.outcome.status = status;
                self.waits = Waits::Command;
                self.go_on(io);
            }
        }
        Ok(true)
    }

    fn end_after(&mut self, io: &mut Io<'_>, time: Duration) {
        self.waits = Waits::Silence;
        match io.tick_after(time) {
            Ok(timer) => self.silence = Some(timer),
            Err(error) => self.fail(io, error.to_string()),
        }
    }

    /// Lines of standard input, empty ones left out.
    fn read_commands(&mut self, input: &mut BytesMut, at_end: bool) {
        if at_end && !input.is_empty() {
            // A last line without its end counts.
            input.extend_from_slice(b"\n");
        }
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1).freeze();
            if !line.trim_ascii().is_empty() {
                self.commands.push_back(line.slice_ref(line.trim_ascii_end()));
            }
        }
    }
}

impl StreamHandler for Client {
    type Session = End;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<End, BoxError> {
        match origin {
            Origin::Adopted { side: Side::Input, .. } => {
                self.input = Some(io.id());
                io.pause(io.id());
                Ok(End::Commands)
            }
            Origin::Adopted { .. } if self.output.is_none() => {
                self.output = Some(io.id());
                Ok(End::Output)
            }
            Origin::Adopted { .. } => {
                self.errors = Some(io.id());
                Ok(End::Errors)
            }
            _ => {
                if let Some(token) = self.token.take() {
                    self.request(io, &token);
                }
                if self.framing == Framing::Chunk {
                    self.end_after(io, GREETING);
                } else {
                    self.waits = Waits::Command;
                    self.go_on(io);
                }
                Ok(End::Server)
            }
        }
    }

    fn data(&mut self, io: &mut Io<'_>, from: &mut End, input: &mut BytesMut) -> Result<(), BoxError> {
        if *from == End::Commands {
            self.read_commands(input, false);
            if !self.commands.is_empty() {
                io.pause(io.id());
                self.go_on(io);
            }
            return Ok(());
        }
        loop {
            match self.take(io, input) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(why) => {
                    input.clear();
                    self.fail(io, why);
                    return Ok(());
                }
            }
        }
    }

    fn eof(&mut self, io: &mut Io<'_>, from: &mut End, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        match from {
            End::Commands => {
                self.read_commands(rest, true);
                self.reads_commands = false;
                self.go_on(io);
            }
            End::Server => self.fail(io, format!("{}: the server has closed the connection", self.to)),
            End::Output | End::Errors => {}
        }
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, of: &mut End) -> Result<(), BoxError> {
        if matches!(of, End::Output | End::Errors) {
            self.server.into_iter().for_each(|server| io.resume(server));
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        if self.waits == Waits::Silence && self.silence == Some(timer) {
            self.waits = Waits::Command;
            self.go_on(io);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, of: End, why: &CloseReason) {
        match of {
            End::Server => self.fail(io, format!("{}: {why}", self.to)),
            End::Commands if matches!(why, CloseReason::Io(_)) => {
                self.fail(io, format!("standard input: {why}"));
            }
            End::Output | End::Errors if matches!(why, CloseReason::Io(_)) => {
                // Also when all else went well: it is not known to have been shown.
                let stream = if of == End::Output { "standard output" } else { "standard error" };
                let failure = format!("{stream}: what came cannot be shown: {why}");
                if self.outcome.failure.is_none() {
                    self.outcome = Outcome { status: BROKEN, failure: Some(failure) };
                }
                self.waits = Waits::Nothing;
                io.stop();
            }
            _ => {}
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &io::Error) {
        self.fail(io, self.to.failure(error));
    }
}

fn run(arguments: Arguments) -> Result<Outcome, BoxError> {
    let Arguments { framing, token, mut endpoint, tls, commands } = arguments;
    endpoint.secure(&tls)?;
    let reads_commands = commands.is_empty();
    let client = Client {
        to: endpoint.clone(),
        framing,
        token,
        commands: commands.into_iter().map(Bytes::from).collect(),
        reads_commands,
        prompts: reads_commands && io::stdin().is_terminal(),
        waits: Waits::Silence,
        silence: None,
        reader: Reader::new(framing),
        outcome: Outcome::default(),
        server: None,
        input: None,
        output: None,
        errors: None,
    };
    let mut reactor = Reactor::new(Config::default())?;
    let limits = Limits { idle: None, frame: None, write_stall: None, ..Limits::default() };
    let service = reactor.add(client, limits)?;
    reactor
        .adopt_output(&service, io::stdout().as_fd().try_clone_to_owned()?)
        .map_err(|error| format!("standard output: {error}"))?;
    reactor
        .adopt_output(&service, io::stderr().as_fd().try_clone_to_owned()?)
        .map_err(|error| format!("standard error: {error}"))?;
    if reads_commands {
        reactor
            .adopt_input(&service, io::stdin().as_fd().try_clone_to_owned()?)
            .map_err(|error| format!("standard input: {error}"))?;
    }
    let server = endpoint.connect(&mut reactor, &service)?;
    reactor.get_mut(&service).server = Some(server);
    reactor.serve_forever()?;
    let mut outcome = std::mem::take(&mut reactor.get_mut(&service).outcome);
    if outcome.failure.is_none()
        && let Err(error) = streams::all_is_written()
    {
        outcome = Outcome { status: BROKEN, failure: Some(format!("standard output: {error}")) };
    }
    Ok(outcome)
}

fn main() -> ExitCode {
    match run(Arguments::try_parse().unwrap_or_else(|error| streams::leave(&error))) {
        Ok(Outcome { status, failure }) => {
            if let Some(failure) = failure {
                complain(&failure);
            }
            ExitCode::from(status)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(BROKEN)
        }
    }
}

/// Says what is wrong; whether anybody reads it changes nothing.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "command_client: {message}");
}
