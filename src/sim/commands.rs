//! `Commands`: a subject that runs a scripted program for each line, and sends
//! back its output.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::log::Life;
use super::subject::Subject;
use crate::driver::sim::{ClientId, Grandchild, Network, Pace, Program, Rng};
use crate::process::{Command, Exit, ExitCause, Pipe};
use crate::{BoxError, ChildId, CloseReason, ConnId, Io, Limits, Origin, Sent, StreamHandler};

/// A service that runs a scripted program for each line, one at a time for each
/// client; the first letter of the line selects the program. The reply is the
/// program's output, which is the line itself, and a capital letter for how it
/// ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commands;

/// A program that gets the line as its input.
const CAT: u8 = b'c';
/// A program that gets the line, does not read it, and whose input remains
/// open.
const DEAF: u8 = b'b';
/// A program that does not exist.
const MISSING: u8 = b'm';
/// A program whose grandchild writes these bytes for ever.
const NOISY: u8 = b'n';
const NOISE: u8 = b'~';
/// Programs that a signal ends.
const STAYING: [u8; 5] = [b's', b't', b'u', b'v', b'w'];
/// A program that writes to its standard error too, and whose grandchild holds
/// both pipes for ever.
const COMPLAINING: u8 = b'x';

const MILLISECOND: Duration = Duration::from_millis(1);

/// All programs, by the letter that is their name.
fn programs() -> [(u8, Program); 16] {
    let echo = || Program::new().write_arguments();
    [
        (b'a', echo()),
        (DEAF, Program::new().after(3 * MILLISECOND).write_arguments().after(MILLISECOND).exit(3)),
        (CAT, Program::cat()),
        (b'd', Program::new().write_arguments().close(Pipe::Stdout).after(5 * MILLISECOND)),
        (b'e', echo().stolen()),
        (b'f', echo().after(MILLISECOND).without_events()),
        (b'g', echo().leaving(Grandchild::living(2 * MILLISECOND))),
        (b'h', echo().leaving(Grandchild::for_ever())),
        (NOISY, echo().leaving(Grandchild::for_ever().writing("~~", 50 * MILLISECOND / 1000))),
        (b'p', Program::new().read(Pace::AtOnce).write_arguments().die(11)),
        (STAYING[0], echo().stay()),
        (STAYING[1], echo().stay().ignoring_terminate().slow_to_die(MILLISECOND)),
        (
            STAYING[2],
            echo().stay().cleaning_up(MILLISECOND, 1).leaving(Grandchild::for_ever().in_its_own_group()),
        ),
        (STAYING[3], echo().stay().leaving_its_group().leaving(Grandchild::living(2 * MILLISECOND))),
        // Longer than a reactor waits at its end.
        (STAYING[4], echo().stay().ignoring_terminate().slow_to_die(3000 * MILLISECOND)),
        (COMPLAINING, echo().write_error("!".repeat(600)).leaving(Grandchild::for_ever())),
    ]
}

impl Subject for Commands {
    type Handler = CommandsHandler;

    fn handler(&self) -> CommandsHandler {
        CommandsHandler { clients: BTreeMap::new() }
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn prepare(&self, net: &mut Network) {
        for (letter, program) in programs() {
            net.install(char::from(letter).to_string(), program);
        }
    }

    /// Lines of lower-case letters, and perhaps one without an end.
    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut names: Vec<u8> = programs().iter().map(|(letter, _)| *letter).collect();
        names.push(MISSING);
        let mut bytes = Vec::new();
        // A program costs more time than a line.
        while bytes.len() < len.min(400) {
            bytes.push(names[rng.size(0, names.len() - 1)]);
            let rest = rng.size(0, 40);
            bytes.extend((0..rest).map(|place| b'a' + u8::try_from(place % 26).unwrap_or(0)));
            bytes.push(b'\n');
        }
        if rng.below(4) == 0 {
            bytes.pop();
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let ends = |byte: &u8| *byte == b'\n';
        let mut lines = seen.sent().split_inclusive(ends).filter(|line| line.ends_with(b"\n"));
        let mut rest = seen.received();
        while let Some(end) = rest.iter().position(u8::is_ascii_uppercase) {
            let line =
                lines.next().ok_or_else(|| format!("client {client} got more replies than it sent lines"))?;
            check_reply(&line[..line.len() - 1], &rest[..end], rest[end])
                .map_err(|what| format!("client {client}: {what}"))?;
            rest = &rest[end + 1..];
        }
        if whole && (lines.next().is_some() || !rest.is_empty()) {
            return Err(format!("client {client} got no reply to one of its lines"));
        }
        Ok(())
    }
}

/// Checks a reply against its line.
fn check_reply(line: &[u8], reply: &[u8], how: u8) -> Result<(), String> {
    let shown =
        || format!("{} was answered with {}{}", line.escape_ascii(), reply.escape_ascii(), char::from(how));
    let own = match reply.iter().position(|byte| *byte == NOISE) {
        Some(noise) if line.first() == Some(&NOISY) && reply[noise..].iter().all(|byte| *byte == NOISE) => {
            &reply[..noise]
        }
        _ => reply,
    };
    let name = line.first().copied().unwrap_or(0);
    let right = match how {
        // The program ended by itself: the reply is whole.
        b'E' => own == line && !STAYING.contains(&name) && name != MISSING,
        // The program was ended: the reply is what it had written until then.
        b'T' => line.starts_with(own),
        b'F' => own.is_empty(),
        _ => false,
    };
    if right { Ok(()) } else { Err(shown()) }
}

/// The handler of [`Commands`].
#[derive(Debug)]
pub struct CommandsHandler {
    clients: BTreeMap<ConnId, Client>,
}

#[derive(Debug, Default)]
struct Client {
    /// The running program of the client.
    child: Option<ChildId>,
    /// True while its output is above the high mark.
    is_full: bool,
}

/// A session of [`Commands`]: a client, or the pipe of a program.
#[derive(Debug)]
pub enum Party {
    /// A client.
    Client,
    /// The standard output of a program that runs for this client.
    Output(ConnId),
    /// Another pipe.
    Other,
}

impl CommandsHandler {
    /// Sends to a client, and pauses the program's pipe if the client is full.
    fn send(&mut self, io: &mut Io<'_>, to: ConnId, data: Bytes) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        if io.send(to, data) == Sent::Full {
            client.is_full = true;
            if let Some(out) = client.child.and_then(|child| io.pipe(child, Pipe::Stdout)) {
                io.pause(out);
            }
        }
    }

    /// Runs the first complete line; the others wait.
    fn begin(&mut self, io: &mut Io<'_>, id: ConnId, input: &mut BytesMut) {
        while let Some(client) = self.clients.get_mut(&id).filter(|client| !client.is_full)
            && let Some(end) = input.iter().position(|byte| *byte == b'\n')
        {
            let line = input.split_to(end).freeze();
            input.advance(1);
            let (name, text) = (&line[..line.len().min(1)], String::from_utf8_lossy(&line).into_owned());
            let mut command = Command::new(String::from_utf8_lossy(name).as_ref())
                .arg(text)
                .timeout(Duration::from_secs(2))
                .kill_after(20 * MILLISECOND)
                .pipe_grace(5 * MILLISECOND);
            if name != [COMPLAINING] {
                command = command.null_stderr();
            }
            if name == [CAT] {
                command = command.piped_stdin();
            } else if name == [DEAF] {
                command = command.piped_stdin().stderr_to_stdout();
            }
            if let Ok(child) = io.spawn(command, id.to_bits()) {
                client.child = Some(child);
                if let Some(stdin) = io.pipe(child, Pipe::Stdin) {
                    // Before it has begun.
                    let reads = line.first() == Some(&CAT);
                    let _ = io.send(stdin, line);
                    if reads {
                        io.finish(stdin);
                    }
                }
                io.set_busy(id, true);
                io.pause(id);
                return;
            }
            self.send(io, id, Bytes::from_static(b"F"));
        }
        if self.clients.get(&id).is_some_and(|client| client.is_full) {
            io.pause(id);
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, tag: u64, how: &'static [u8]) {
        let id = ConnId::from_bits(tag);
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.child = None;
        io.set_busy(id, false);
        self.send(io, id, Bytes::from_static(how));
        self.go_on(io, id);
    }

    /// Runs the next line, if its reply has room.
    fn go_on(&self, io: &mut Io<'_>, id: ConnId) {
        match self.clients.get(&id) {
            Some(Client { child: Some(child), is_full: false }) => {
                if let Some(out) = io.pipe(*child, Pipe::Stdout) {
                    io.resume(out);
                }
            }
            Some(Client { child: None, is_full: false }) => io.resume(id),
            _ => {}
        }
    }
}

impl StreamHandler for CommandsHandler {
    type Session = Party;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Party, BoxError> {
        match origin {
            Origin::Pipe { tag, pipe: Pipe::Stdout, .. } => Ok(Party::Output(ConnId::from_bits(*tag))),
            Origin::Pipe { .. } => Ok(Party::Other),
            _ => {
                self.clients.insert(io.id(), Client::default());
                Ok(Party::Client)
            }
        }
    }

    fn data(&mut self, io: &mut Io<'_>, party: &mut Party, input: &mut BytesMut) -> Result<(), BoxError> {
        match party {
            Party::Client => self.begin(io, io.id(), input),
            Party::Output(to) => self.send(io, *to, input.split().freeze()),
            Party::Other => input.clear(),
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut Party) -> Result<(), BoxError> {
        let id = io.id();
        if let Some(client) = self.clients.get_mut(&id) {
            client.is_full = false;
            self.go_on(io, id);
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, party: Party, _: &CloseReason) {
        if matches!(party, Party::Client)
            && let Some(Client { child: Some(child), .. }) = self.clients.remove(&io.id())
        {
            io.terminate(child);
            // The client is gone, so its output has no reader.
            if let Some(out) = io.pipe(child, Pipe::Stdout) {
                io.resume(out);
            }
        }
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, exit: &Exit) {
        self.ended(io, tag, if exit.cause == ExitCause::Itself { b"E" } else { b"T" });
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, _: &io::Error) {
        self.ended(io, tag, b"F");
    }
}
