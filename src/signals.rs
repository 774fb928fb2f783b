//! SIGINT and SIGTERM as a shutdown (feature `signals`).

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{BoxError, Error, Io, Limits, Link, Reactor, Result, Service, StreamHandler};

/// Has SIGINT and SIGTERM end a reactor: the first of them begins a shutdown
/// ([`Io::drain`]), a second one ends it at once ([`Io::stop`]). Both arrive
/// as connections in the one loop that there is, which a shutdown neither
/// waits for nor closes before its end.
///
/// Once [`serve_forever`](Reactor::serve_forever) has returned,
/// [`forced`](Self::forced) tells of a second one, for the exit status. What
/// the signals did before, by default end the process, they do no more.
///
/// ```no_run
/// use serve_forever::{Config, DRAIN, Limits, Reactor, Signals, services::Echo};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let signals = Signals::watch(&mut reactor, DRAIN)?;
/// let echo = reactor.add(Echo::new(), Limits::default())?;
/// reactor.listen(&echo, &"127.0.0.1:7007".parse()?)?;
/// reactor.serve_forever()?;
/// if let Some(signal) = reactor.get(&signals).forced() {
///     std::process::exit(128 + signal);
/// }
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    drain: Duration,
    /// Whose connection is being opened.
    watched: i32,
    /// The first one has come.
    seen: bool,
    forced: Option<i32>,
}

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

impl Signals {
    /// How many connections it has, which count under
    /// [`Config::max_connections`](crate::Config::max_connections).
    pub const CONNECTIONS: usize = SIGNALS.len();

    /// Watches for the signals from now on; a shutdown may take `drain`.
    ///
    /// # Errors
    ///
    /// [`Error::System`] without descriptors for it; [`Error::Full`] at
    /// `max_connections`.
    pub fn watch(reactor: &mut Reactor, drain: Duration) -> Result<Service<Self>> {
        // They may stay away for as long as they like.
        let limits = Limits { idle: None, ..Limits::without_frames() };
        let service = reactor.add(Self { drain, watched: 0, seen: false, forced: None }, limits)?;
        for signal in SIGNALS {
            let (arrives, sent) = UnixStream::pair().map_err(watching)?;
            // A signal's handler must not block when nobody reads.
            sent.set_nonblocking(true).map_err(watching)?;
            signal_hook::low_level::pipe::register(signal, sent).map_err(watching)?;
            reactor.get_mut(&service).watched = signal;
            reactor.adopt(&service, arrives)?;
        }
        Ok(service)
    }

    /// The number of the second signal, if one came and cut the shutdown short.
    #[must_use]
    pub const fn forced(&self) -> Option<i32> {
        self.forced
    }
}

fn watching(source: io::Error) -> Error {
    Error::System { what: "watching for signals", source }
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
                self.forced = Some(*signal);
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
