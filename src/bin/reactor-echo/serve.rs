//! `serve`: the library's echo or upper, until a signal comes.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::{Echo, Upper};
use serve_forever::{
    Bound, BoxError, Config, DatagramHandler, Io, Limits, Link, Reactor, Service, StreamHandler,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{ServeArgs, Served};

/// What was asked for cannot be done: a bad address, one in use.
const USAGE: u8 = 2;

/// Serves until a signal comes, and gives the exit status.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let served = match args.service {
        Served::Echo => serve(args, "echo", Echo::new()),
        Served::Upper => serve(args, "upper", Upper::new()),
    };
    match served {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(status)) => ExitCode::from(status),
        Err(error) => {
            eprintln!("reactor-echo: {error}");
            ExitCode::from(USAGE)
        }
    }
}

/// Serves one handler on every endpoint. `Some` exit status if a second
/// signal cut the end short.
fn serve<S>(args: &ServeArgs, name: &str, handler: S) -> Result<Option<u8>, BoxError>
where
    S: StreamHandler + DatagramHandler,
{
    let most = args.max_connections.map(|most| most as usize);
    // Beside them, one for each signal.
    let config = Config { max_connections: most.map(|most| most + SIGNALS.len()), ..Config::default() };
    let mut reactor = Reactor::new(config)?;
    let signals = watch_signals(&mut reactor, args.drain)?;

    let mut limits = Limits::without_frames();
    limits.max_connections = most.unwrap_or(limits.max_connections);
    limits.idle = args.idle.or(limits.idle).filter(|idle| !idle.is_zero());
    let service = reactor.add(handler, limits)?;
    for endpoint in &args.endpoints {
        let bound: Bound = if endpoint.is_datagram() {
            reactor.bind(&service, endpoint)?.into()
        } else {
            reactor.listen(&service, endpoint)?.into()
        };
        let local = reactor.local(bound).expect("it was just opened");
        writeln!(io::stdout(), "listening {name} {local}")?;
    }
    reactor.serve_forever()?;
    Ok(reactor.get_mut(&signals).forced)
}

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Has the signals arrive as bytes, each on a connection of its own, in the
/// one loop that there is.
fn watch_signals(reactor: &mut Reactor, drain: Duration) -> Result<Service<Signals>, BoxError> {
    let signals = Signals { drain, watched: 0, seen: false, forced: None };
    // They may stay away for as long as they like.
    let limits = Limits { idle: None, ..Limits::without_frames() };
    let service = reactor.add(signals, limits)?;
    for signal in SIGNALS {
        let (arrives, sent) = UnixStream::pair()?;
        // A handler must not block when nobody reads.
        sent.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, sent)?;
        reactor.get_mut(&service).watched = signal;
        reactor.adopt(&service, arrives)?;
    }
    Ok(service)
}

/// The first signal asks for a shutdown, the second for the end.
struct Signals {
    /// How long the shutdown may take.
    drain: Duration,
    /// Whose connection is being opened.
    watched: i32,
    /// The first one has come.
    seen: bool,
    /// The exit status that the second one asks for.
    forced: Option<u8>,
}

impl StreamHandler for Signals {
    /// The signal's number.
    type Session = i32;

    fn open(&mut self, io: &mut Io<'_>, _: &Link) -> Result<i32, BoxError> {
        io.set_background(io.id(), true);
        Ok(self.watched)
    }

    fn data(&mut self, io: &mut Io<'_>, signal: &mut i32, input: &mut BytesMut) -> Result<(), BoxError> {
        for _ in input.split() {
            if self.seen {
                log::warn!("signal {signal} again: no more waiting");
                self.forced = Some(128 + u8::try_from(*signal)?);
                io.stop();
            } else {
                log::info!("signal {signal}: finishing what is under way");
                self.seen = true;
                io.drain(self.drain);
            }
        }
        Ok(())
    }
}
