//! `Io::offload`: work for the threads of a pool, and its end as a callback (feature
//! `workers`).

use std::any::{Any, type_name};

use crate::contain::discard;
use crate::core::{Done, NO_CONNECTION};
use crate::error::{BoxError, Result};
use crate::handler::StreamHandler;
use crate::id::ConnId;
use crate::io::{ConnectOptions, Io};
use crate::layer::ContainedLayer;
use crate::workers::{JobDone, JobError, Outcome, Work};

/// The end of a job with the session, which is `None` once the connection has ended.
type SessionDone<H, S> =
    Box<dyn FnOnce(&mut H, &mut Io<'_>, Option<&mut S>, Outcome) -> Result<(), BoxError>>;

/// The end of a job of a service.
type ServiceDone<H> = Box<dyn FnOnce(&mut H, &mut Io<'_>, Outcome) -> Result<(), BoxError>>;

impl JobDone {
    /// Calls the `done` of the job with this handler and this session.
    ///
    /// # Errors
    ///
    /// That of `done`.
    ///
    /// # Panics
    ///
    /// If the `done` that was given to [`Io::offload`] is for a handler or a session of
    /// another type.
    pub fn run<H: 'static, S: 'static>(
        self,
        handler: &mut H,
        io: &mut Io<'_>,
        session: Option<&mut S>,
    ) -> Result<(), BoxError> {
        let Self { done, outcome } = self;
        let done = match done.downcast::<SessionDone<H, S>>() {
            Ok(done) => return done(handler, io, session, outcome),
            Err(done) => done,
        };
        match done.downcast::<ServiceDone<H>>() {
            Ok(done) => done(handler, io, outcome),
            Err(_) => panic!(
                "the end of a job is for another handler than {}: type the first parameter of `done` as \
                 `this: &mut Self`; a handler that wraps another one passes `job_done` on",
                type_name::<H>(),
            ),
        }
    }
}

/// # Work off the loop
impl Io<'_> {
    /// Runs `work` on a thread of the reactor's
    /// [`Workers`](crate::Workers), and calls `done` on the loop when its result is there:
    /// for work that would block the loop, such as a password hash, a large
    /// computation, or calls of a library that waits.
    ///
    /// `S` is the handler itself, so the first parameter of `done` has to be typed, as
    /// `this: &mut Self`. `done` gets the handler, an `Io`, the session of the connection
    /// whose callback this is, and the result. The session is `None` if the connection
    /// has ended, is closing, or was never opened; [`Io::id`] then names no connection.
    /// Neither `done` nor the session has to be `Send`.
    ///
    /// `done` comes **exactly once**, with a [`JobError`] if there is no result, except if
    /// this method returns an error: then it is dropped. It may come before or after the
    /// ends of other jobs. An error of `done` ends the connection, as one of
    /// [`data`](StreamHandler::data) does; without a connection the reactor logs it.
    ///
    /// While the job is under way the connection counts as [busy](Io::set_busy):
    /// [`Limits::idle`](crate::Limits::idle) does not end it, and a shutdown waits for it, up
    /// to its deadline. Its input still comes; [`pause`](Io::pause) holds it back. When
    /// the connection ends before a thread has begun with `work`, the work does not run
    /// ([`JobError::Cancelled`]). At the end of a shutdown the reactor waits for no job
    /// ([`JobError::Over`]).
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use serve_forever::{BoxError, Io, Origin, StreamHandler};
    ///
    /// struct Factors;
    ///
    /// impl StreamHandler for Factors {
    ///     type Session = ();
    /// #   fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> { Ok(()) }
    ///
    ///     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    ///         let number: u64 = std::str::from_utf8(&input.split())?.trim().parse()?;
    ///         let work = move || (2..=number).find(|factor| number % factor == 0);
    ///         io.offload(work, |_: &mut Self, io, _, factor| {
    ///             io.reply(format!("{:?}\n", factor?).as_bytes());
    ///             Ok(())
    ///         })?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoWorkers`](crate::Error::NoWorkers) without
    /// [`Reactor::set_workers`](crate::Reactor::set_workers);
    /// [`Error::Full`](crate::Error::Full) at
    /// [`Config::max_jobs`](crate::Config::max_jobs), and when
    /// [`WorkerOptions::max_waiting`](crate::WorkerOptions::max_waiting) jobs wait in the pool;
    /// [`Error::Over`](crate::Error::Over) at the end of a shutdown.
    ///
    /// # Panics
    ///
    /// None here. A `done` for another type than that of the handler is a panic when its time comes.
    /// A handler that wraps another one passes
    /// [`job_done`](StreamHandler::job_done) on.
    pub fn offload<S: StreamHandler, T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(
            &mut S,
            &mut Io<'_>,
            Option<&mut S::Session>,
            Result<T, JobError>,
        ) -> Result<(), BoxError>
        + 'static,
    ) -> Result<()> {
        self.offload_as(work, done)
    }

    /// [`offload`](Self::offload) for a handler `H` with sessions `S` that are not those of a
    /// [`StreamHandler`]: one of frames, or one in a wrapper. The third parameter of
    /// `done` has to be typed as well, as `session: Option<&mut MySession>`.
    ///
    /// # Errors
    ///
    /// As [`offload`](Self::offload).
    pub fn offload_as<H: 'static, S: 'static, T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut H, &mut Io<'_>, Option<&mut S>, Result<T, JobError>) -> Result<(), BoxError>
        + 'static,
    ) -> Result<()> {
        let done: SessionDone<H, S> =
            Box::new(move |handler, io, session, outcome| done(handler, io, session, typed(outcome)));
        let id = self.id();
        self.submit(id, work, Done::Callback(Box::new(done)))
    }

    /// Runs `work` as [`offload`](Self::offload) does, for the service and no connection:
    /// `done` gets the handler alone, the job makes no connection busy, and no end of a
    /// connection cancels it. A shutdown waits for it, up to its deadline. This is also
    /// the form for a [`DatagramHandler`](crate::DatagramHandler).
    ///
    /// # Errors
    ///
    /// As [`offload`](Self::offload).
    ///
    /// A `done` for another type than that of the handler is a panic when its time comes.
    /// A handler that wraps another one passes
    /// [`job_done`](StreamHandler::job_done) on.
    pub fn offload_tick<S: 'static, T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut S, &mut Io<'_>, Result<T, JobError>) -> Result<(), BoxError> + 'static,
    ) -> Result<()> {
        let done: ServiceDone<S> = Box::new(move |handler, io, outcome| done(handler, io, typed(outcome)));
        self.submit(NO_CONNECTION, work, Done::Callback(Box::new(done)))
    }

    /// Connects to a host by name, `HOST:PORT`, as [`connect`](Self::connect) does to an
    /// address: answered once, by `open` or by `connect_failed`, and what is sent to the id
    /// meanwhile is queued. An endpoint that needs no lookup (an address, `unix:PATH`) is
    /// connected to at once, and needs no workers.
    ///
    /// A worker looks the name up as the system does (getaddrinfo(3)): /etc/hosts,
    /// nsswitch.conf(5) and search domains hold. The addresses are tried as RFC 8305 says:
    /// the families take turns, each further address is tried 250 ms after the one before
    /// it, or as soon as that has failed; the first connection that is established is kept,
    /// and the others are closed. At most 32 addresses are tried.
    /// [`Limits::connect`](crate::Limits::connect) is for all of it. The error of
    /// `connect_failed` says which addresses were tried and what each has answered.
    ///
    /// Not promised: the result of a lookup is not kept for the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`](crate::Error::Endpoint) if `name` is neither an endpoint nor
    /// `HOST:PORT`; as [`connect`](Self::connect) and [`offload`](Self::offload).
    pub fn connect_name(&mut self, name: &str, tag: u64) -> Result<ConnId> {
        self.connect_name_with(name, tag, ConnectOptions::default())
    }

    /// [`connect_name`](Self::connect_name) with options. The handshake of a layer comes
    /// when the first connection is established.
    ///
    /// # Errors
    ///
    /// As [`connect_name`](Self::connect_name).
    pub fn connect_name_with(&mut self, name: &str, tag: u64, options: ConnectOptions) -> Result<ConnId> {
        let service = self.service();
        self.core().connect_name(service, name, tag, options.layer.map(ContainedLayer::new))
    }

    fn submit<T: Send + 'static>(
        &mut self,
        conn: ConnId,
        work: impl FnOnce() -> T + Send + 'static,
        done: Done,
    ) -> Result<()> {
        let service = self.service();
        let work = Work::Run(Box::new(move || Box::new(work()) as Box<dyn Any + Send>));
        self.core().offload(service, conn, work, done)
    }
}

/// The outcome with its type again.
fn typed<T: 'static>(outcome: Outcome) -> Result<T, JobError> {
    outcome.map(|value| match value.downcast() {
        Ok(value) => *value,
        Err(other) => {
            discard("the result of a job", other);
            unreachable!("the work of a job returns the type that its end expects")
        }
    })
}
