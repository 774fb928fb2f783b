//! Teaches: a connection to a host by name, with every address tried. Sends a request
//! line and prints what comes back.
//!
//! ```text
//! cargo run --features workers --example connect_by_name -- localhost:7000 'hello'
//! ```

use std::io::Write as _;
use std::time::Duration;
use std::{env, io, process};

use bytes::BytesMut;
use serve_forever::{
    BoxError, CloseReason, Config, Io, Limits, Origin, Reactor, StreamHandler, WorkerOptions, Workers,
};

pub(crate) struct Ask {
    pub(crate) request: String,
    pub(crate) failure: Option<String>,
}

impl StreamHandler for Ask {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        eprintln!("connected: {origin:?}");
        io.reply(self.request.as_bytes());
        io.finish(io.id());
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        Ok(io::stdout().write_all(&input.split())?)
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        io.shutdown(Duration::ZERO);
    }

    /// The error names each address that was tried, and its answer.
    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &io::Error) {
        self.failure = Some(error.to_string());
        io.shutdown(Duration::ZERO);
    }
}

fn main() -> Result<(), BoxError> {
    let mut arguments = env::args().skip(1);
    let (Some(name), Some(request)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: connect_by_name HOST:PORT REQUEST");
        process::exit(2);
    };
    // One thread: a lookup may wait for a name server, and the loop does not.
    let workers = Workers::new(WorkerOptions { threads: 1, ..WorkerOptions::default() })?;
    let mut reactor = Reactor::new(Config::default())?;
    reactor.set_workers(&workers);
    let ask = reactor.add(Ask { request: format!("{request}\n"), failure: None }, Limits::default())?;
    reactor.connect_name(&ask, &name, 0)?;
    reactor.serve_forever()?;
    if let Some(failure) = &reactor.get(&ask).failure {
        eprintln!("connect_by_name: {failure}");
        process::exit(1);
    }
    Ok(())
}
