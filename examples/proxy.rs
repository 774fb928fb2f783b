//! Teaches: connections to other servers, and back-pressure between two. Every
//! client is connected to a target, TCP by address or by name, or Unix, and bytes go
//! both ways at the pace of the slower side.
//!
//! ```text
//! cargo run --features workers --example proxy -- 127.0.0.1:7000 db.internal:5432
//! ```

use std::{env, io};

use bytes::BytesMut;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Io, Limits, Origin, Reactor, Sent, StreamHandler,
    WorkerOptions, Workers,
};

pub(crate) struct Proxy {
    /// An endpoint, or a host by name with its port.
    pub(crate) target: String,
}

impl StreamHandler for Proxy {
    /// The other side.
    type Session = ConnId;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
        match origin {
            // Our side of the target: the tag says which client it is for.
            Origin::Connected { tag, .. } => Ok(ConnId::from_bits(*tag)),
            // What the client sends meanwhile waits for the connection.
            _ => Ok(io.connect_name(&self.target, io.id().to_bits())?),
        }
    }

    fn data(&mut self, io: &mut Io<'_>, other: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
        if io.send(*other, input.split()) == Sent::Full {
            io.pause(io.id());
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, other: &mut ConnId) -> Result<(), BoxError> {
        io.resume(*other);
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, other: &mut ConnId, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        io.finish(*other);
        Ok(AfterEof::Stay)
    }

    fn close(&mut self, io: &mut Io<'_>, other: ConnId, why: &CloseReason) {
        match why {
            CloseReason::Finished => io.finish(other),
            _ => io.abort(other),
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        eprintln!("{}: {error}", self.target);
        io.abort(ConnId::from_bits(tag));
    }
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let (Some(at), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: proxy ENDPOINT TARGET".into());
    };
    let mut reactor = Reactor::new(Config::default())?;
    // For lookups, which may take as long as a name server does.
    reactor.set_workers(&Workers::new(WorkerOptions { threads: 2, ..WorkerOptions::default() })?);
    #[cfg(feature = "signals")] // without it, a signal leaves no time to clean up
    serve_forever::Signals::watch(&mut reactor, serve_forever::SHUTDOWN_DEADLINE)?;
    let proxy = reactor.add(Proxy { target }, Limits::default())?;
    let listener = reactor.listen(&proxy, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
