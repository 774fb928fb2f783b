//! Teaches: child processes, and broadcasts. It runs a program, and every line
//! that the program writes goes to every client. It ends when the program does,
//! or at the end of its own input (Ctrl-D): then it asks the program to end.
//!
//! ```text
//! cargo run --example run_program -- 127.0.0.1:7000 vmstat 1
//! ```

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;
use std::{env, io};

use bytes::{Bytes, BytesMut};
use serve_forever::process::{Command, Exit};
use serve_forever::{
    AfterEof, BoxError, ChildId, CloseReason, Config, ConnId, GroupId, Io, Limits, Origin, Reactor,
    StreamHandler,
};

struct Output {
    command: Command,
    program: ChildId,
    everybody: GroupId,
    clients: BTreeSet<ConnId>,
}

enum Party {
    Client,
    Program,
    Operator,
}

impl Output {
    fn say(&self, io: &mut Io<'_>, text: Bytes) {
        // A client that does not keep up is closed at its hard mark; nobody waits.
        io.broadcast(self.everybody, &text, None);
    }

    fn end(&self, io: &mut Io<'_>, last_word: String) {
        println!("{last_word}");
        self.say(io, (last_word + "\n").into());
        self.clients.iter().for_each(|client| io.set_busy(*client, false));
        io.shutdown(Duration::from_secs(10));
    }
}

impl StreamHandler for Output {
    type Session = Party;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        self.program = io.spawn(self.command.clone(), 0)?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Party, BoxError> {
        match origin {
            Origin::Pipe { .. } => Ok(Party::Program),
            Origin::Accepted { .. } => {
                io.join(self.everybody, io.id())?;
                io.set_busy(io.id(), true); // a shutdown is to wait for the last word
                self.clients.insert(io.id());
                Ok(Party::Client)
            }
            _ => Ok(Party::Operator),
        }
    }

    fn data(&mut self, io: &mut Io<'_>, party: &mut Party, input: &mut BytesMut) -> Result<(), BoxError> {
        match (party, input.iter().rposition(|byte| *byte == b'\n')) {
            (Party::Program, Some(end)) => self.say(io, input.split_to(end + 1).freeze()),
            (Party::Program, None) => {} // the rest of the line is still to come
            _ => input.clear(),
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, party: &mut Party, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        match party {
            Party::Program => self.say(io, rest.split().freeze()),
            Party::Operator => io.shutdown(Duration::from_secs(10)),
            Party::Client => {} // it says nothing more, and listens on
        }
        Ok(AfterEof::Stay)
    }

    fn close(&mut self, io: &mut Io<'_>, _: Party, _: &CloseReason) {
        self.clients.remove(&io.id());
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        io.terminate(self.program);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, _: u64, exit: &Exit) {
        let status = exit.status.map_or_else(|| "nobody knows how".into(), |status| status.to_string());
        self.end(io, format!("the program has ended: {status}"));
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, _: ChildId, _: u64, error: &io::Error) {
        self.end(io, format!("the program was not started: {error}"));
    }
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let (Some(at), Some(program)) = (args.next(), args.next()) else {
        return Err("usage: run_program ENDPOINT PROGRAM [ARGUMENT…]".into());
    };
    let command = Command::new(program).args(args).stderr_to_stdout();
    let mut reactor = Reactor::new(Config::default())?;
    #[cfg(feature = "signals")] // without it, a signal leaves no time to clean up
    serve_forever::Signals::watch(&mut reactor, serve_forever::SHUTDOWN_DEADLINE)?;
    // Clients only listen, for as long as they like.
    let limits = Limits { idle: None, ..Limits::default() };
    let output = Output {
        command,
        program: ChildId::default(),
        everybody: GroupId::default(),
        clients: BTreeSet::new(),
    };
    let service = reactor.add(output, limits)?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    reactor.adopt_input(&service, io::stdin().as_fd().try_clone_to_owned()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
