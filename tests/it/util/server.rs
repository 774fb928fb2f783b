//! A reactor on a thread of its own.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serve_forever::{Config, Endpoint, Handle, Io, Limits, Reactor, Service, Stats, StreamHandler};

use super::{Client, PATIENCE, eventually};

/// Any free port of the loopback interface.
pub(crate) fn listen_anywhere() -> Endpoint {
    "127.0.0.1:0".parse().expect("a good endpoint")
}

/// A reactor with one service, which runs until this is stopped or dropped.
pub(crate) struct Server<S: StreamHandler> {
    pub(crate) handle: Handle<S>,
    locals: Vec<Endpoint>,
    thread: Option<JoinHandle<Stats>>,
}

impl<S: StreamHandler> Server<S> {
    /// Serves on a free TCP port.
    pub(crate) fn start(handler: S, limits: Limits) -> Self
    where
        S: Send,
    {
        Self::start_with(Config::default(), handler, limits, &[listen_anywhere()])
    }

    /// Serves on all of these.
    pub(crate) fn start_with(config: Config, handler: S, limits: Limits, at: &[Endpoint]) -> Self
    where
        S: Send,
    {
        Self::start_prepared(config, handler, limits, at, |_, _| ())
    }

    /// Serves on all of these, with something else done to the reactor first.
    pub(crate) fn start_prepared(
        config: Config,
        handler: S,
        limits: Limits,
        at: &[Endpoint],
        prepare: impl FnOnce(&mut Reactor, &Service<S>) + Send + 'static,
    ) -> Self
    where
        S: Send,
    {
        let (tell, told) = mpsc::channel();
        let at = at.to_vec();
        let serve = move || {
            let mut reactor = Reactor::new(config).expect("a good configuration");
            let service = reactor.add(handler, limits).expect("good limits");
            prepare(&mut reactor, &service);
            let locals: Vec<_> = at
                .iter()
                .map(|at| {
                    let listener = reactor.listen(&service, at).expect("the endpoint is free");
                    reactor.local(listener).cloned().expect("it was just made")
                })
                .collect();
            tell.send((reactor.handle(&service), locals)).expect("the test waits for it");
            reactor.serve_forever().expect("the loop runs");
            reactor.stats().clone()
        };
        let thread = thread::Builder::new().name("reactor".into()).spawn(serve).expect("a thread");
        let (handle, locals) = told.recv_timeout(PATIENCE).expect("the server starts");
        Self { handle, locals, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> &Endpoint {
        &self.locals[0]
    }

    pub(crate) fn locals(&self) -> &[Endpoint] {
        &self.locals
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.at())
    }

    /// Asks the handler something on the reactor's thread, and waits for the
    /// answer.
    #[track_caller]
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S, &mut Io<'_>) -> R + Send + 'static,
    ) -> R {
        self.handle.ask(PATIENCE, question).expect("the loop turns")
    }

    /// Waits until the service has so many connections.
    #[track_caller]
    pub(crate) fn until_connections(&self, count: usize) {
        eventually(&format!("there are {count} connections"), || self.connections() == count);
    }

    #[track_caller]
    pub(crate) fn connections(&self) -> usize {
        self.ask(|_, io| io.connections())
    }

    #[track_caller]
    pub(crate) fn stats(&self) -> Stats {
        self.ask(|_, io| io.stats().clone())
    }

    /// Two turns of the loop have gone by: whatever had arrived before this
    /// is dealt with after it.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.ask(|_, _| ());
        self.ask(|_, _| ());
    }

    /// Ends the loop; returns what it counted.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Stats {
        self.handle.shutdown(Duration::ZERO);
        self.join()
    }

    /// Waits for the end of the loop, which somebody else asks for.
    #[track_caller]
    pub(crate) fn join(&mut self) -> Stats {
        let thread = self.thread.take().expect("it is joined once");
        eventually("the loop ends", || thread.is_finished());
        thread.join().expect("the loop does not panic")
    }
}

impl<S: StreamHandler> Drop for Server<S> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.shutdown(Duration::ZERO);
            // A test that fails already is not to hang here, or to abort.
            if !thread::panicking() {
                self.join();
            }
        }
    }
}
