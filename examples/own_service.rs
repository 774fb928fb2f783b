//! Teaches: a handler of your own, with state that all connections share and
//! sessions of one. It numbers the lines of each and of all. It says where it
//! listens; then `printf 'a\nb\n' | nc -N 127.0.0.1 PORT` talks to it.

use std::env;

use bytes::BytesMut;
use serve_forever::{BoxError, CloseReason, Config, Io, Limits, Origin, Reactor, StreamHandler};

/// What all connections share.
#[derive(Default)]
struct LineCounter {
    lines: u64,
}

/// What belongs to one.
struct Client {
    lines: u64,
    name: String,
}

impl StreamHandler for LineCounter {
    type Session = Client;

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<Client, BoxError> {
        Ok(Client { lines: 0, name: origin.peer().to_string() })
    }

    fn data(&mut self, io: &mut Io<'_>, client: &mut Client, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            self.lines += 1;
            client.lines += 1;
            let head = format!("line {} of yours, line {} of all: ", client.lines, self.lines);
            io.reply(head.as_bytes());
            io.reply(&line);
            if io.is_paused(io.id()) {
                break; // it does not read: its further lines wait until it has read
            }
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, client: Client, why: &CloseReason) {
        println!("{} sent {} lines; {why}", client.name, client.lines);
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".into());
    let mut reactor = Reactor::new(Config::default())?;
    let service = reactor.add(LineCounter::default(), Limits::default())?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    reactor.serve_forever()
}
