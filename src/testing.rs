//! `TestServer`: a handler on a real socket, for the time of a test.
//!
//! ```
//! use std::io::{Read, Write};
//! use serve_forever::services::Upper;
//! use serve_forever::testing::TestServer;
//!
//! let server = TestServer::start(Upper::new(), Upper::limits())?;
//! let mut client = server.connect()?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"HELLO");
//! assert_eq!(server.ask(|_upper, io| io.connections()), 1);
//! assert_eq!(server.stop().bytes_in, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The simulated network of the feature `sim` tests a handler more thoroughly, and
//! in virtual time; this is for what needs a socket of the system: a client of
//! another library, a child process, a file.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::{BoxError, Config, Endpoint, Handle, Io, Limits, Reactor, Service, Stats, StreamHandler};

/// The time after which the calls of a test server give up: longer than anything
/// takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reactor on a thread of its own, with a service that listens on a free TCP port
/// of the loopback interface. It stops when it is dropped.
pub struct TestServer<S: StreamHandler> {
    handle: Handle<S>,
    endpoint: Endpoint,
    log: Arc<Lines>,
    thread: Option<JoinHandle<Result<Stats, BoxError>>>,
}

impl<S: StreamHandler> TestServer<S> {
    /// Serves a handler.
    ///
    /// # Errors
    ///
    /// The error of [`Reactor::add`] or of [`Reactor::listen`], as text.
    pub fn start(handler: S, limits: Limits) -> io::Result<Self>
    where
        S: Send,
    {
        Self::prepare(Config::default(), move |reactor| Ok(reactor.add(handler, limits)?))
    }

    /// Serves the service that `prepare` returns, which runs on the thread of the
    /// reactor: for handlers that are not `Send`, several services, and whatever
    /// else a test needs.
    ///
    /// # Errors
    ///
    /// The error of [`Reactor::new`], of `prepare` or of [`Reactor::listen`], as
    /// text.
    pub fn prepare(
        config: Config,
        prepare: impl FnOnce(&mut Reactor) -> Result<Service<S>, BoxError> + Send + 'static,
    ) -> io::Result<Self> {
        let log = Arc::new(Lines::default());
        let lines = Arc::clone(&log);
        let (tell, told) = mpsc::sync_channel(1);
        let serve = move || {
            let _captured = Captured::begin(lines);
            let mut reactor = Reactor::new(config)?;
            let service = prepare(&mut reactor)?;
            let listener = reactor.listen(&service, &"127.0.0.1:0".parse()?)?;
            let endpoint = reactor.local(listener).ok_or("the listener is closed")?.clone();
            // The test waits for it.
            let _ = tell.send((reactor.handle(&service), endpoint));
            reactor.serve_forever()?;
            Ok(reactor.stats())
        };
        let thread = thread::Builder::new().name("test server".into()).spawn(serve)?;
        match told.recv() {
            Ok((handle, endpoint)) => Ok(Self { handle, endpoint, log, thread: Some(thread) }),
            Err(_) => Err(io::Error::other(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(_)) => "the reactor ended at once".into(),
                Err(_) => "the preparation panicked".into(),
            })),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it listens, for other libraries.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self.endpoint {
            Endpoint::Tcp(address) => address,
            _ => unreachable!("it listens on TCP"),
        }
    }

    /// Connects a client, whose reads and writes fail after a minute.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let client = TcpStream::connect(self.address())?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        Ok(client)
    }

    /// A handle to the service.
    #[must_use]
    pub const fn handle(&self) -> &Handle<S> {
        &self.handle
    }

    /// Runs `f` on the reactor's thread and returns its value, as [`Handle::ask`].
    ///
    /// # Panics
    ///
    /// If there is no value within a minute.
    #[track_caller]
    pub fn ask<R: Send + 'static>(&self, f: impl FnOnce(&mut S, &mut Io<'_>) -> R + Send + 'static) -> R {
        match self.handle.ask(PATIENCE, f) {
            Ok(value) => value,
            Err(error) => panic!("the test server does not answer: {error}"),
        }
    }

    /// Waits until `f` returns true on the reactor's thread.
    ///
    /// # Panics
    ///
    /// If it does not within a minute.
    #[track_caller]
    pub fn until(&self, f: impl Fn(&mut S, &mut Io<'_>) -> bool + Send + Sync + 'static) {
        let f = Arc::new(f);
        for _ in 0..PATIENCE.as_millis() {
            let f = Arc::clone(&f);
            if self.ask(move |handler, io| f(handler, io)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the test server does not come to what is waited for");
    }

    /// The lines that were logged on the reactor's thread so far: `WARN text`.
    /// Empty where the process had a logger before its first test server.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the server, drops what is under way, and returns what it counted.
    ///
    /// # Panics
    ///
    /// If the loop has failed or panicked.
    #[track_caller]
    pub fn stop(mut self) -> Stats {
        self.handle.shutdown(Duration::ZERO);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(stats))) => stats,
            Some(Ok(Err(error))) => panic!("the test server failed: {error}"),
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            None => Stats::default(),
        }
    }
}

impl<S: StreamHandler> fmt::Debug for TestServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<S: StreamHandler> Drop for TestServer<S> {
    /// Stops the server. A failure of its loop is not told: [`stop`](TestServer::stop)
    /// tells it.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.shutdown(Duration::ZERO);
            let _ = thread.join();
        }
    }
}

/// The lines of one thread.
#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

/// The lines of each thread that is captured. The logger of a process is one for all
/// threads, so this is the one thing that all test servers share.
#[derive(Debug, Default)]
struct Capture(Mutex<HashMap<ThreadId, Arc<Lines>>>);

impl Capture {
    /// The capture of this process, which is its logger unless it has another one.
    fn get() -> &'static Self {
        static CAPTURE: OnceLock<Capture> = OnceLock::new();
        static LOGGER: OnceLock<()> = OnceLock::new();
        let capture = CAPTURE.get_or_init(Self::default);
        LOGGER.get_or_init(|| {
            if log::set_logger(capture).is_ok() {
                log::set_max_level(LevelFilter::Debug);
            }
        });
        capture
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Lines>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        let lines = self.threads().get(&thread::current().id()).cloned();
        if let Some(lines) = lines {
            let line = format!("{} {}", record.level(), record.args());
            lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

/// The capture of the current thread, until this is dropped.
struct Captured(&'static Capture);

impl Captured {
    fn begin(lines: Arc<Lines>) -> Self {
        let capture = Capture::get();
        capture.threads().insert(thread::current().id(), lines);
        Self(capture)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.threads().remove(&thread::current().id());
    }
}
