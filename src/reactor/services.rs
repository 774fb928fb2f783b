//! Services: adds them, listens for them, and gives access to their handlers.

use std::marker::PhantomData;
use std::sync::Arc;
use std::{fmt, io};

use super::Reactor;
use super::listeners::Maker;
use crate::core::Core;
use crate::core::NO_CONNECTION;
use crate::driver::{Driver, ListenOptions};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::handler::StreamHandler;
use crate::id::{Bound, ListenerId};
use crate::limits::Limits;
use crate::service::{ErasedHandler, Streams};

/// The key of a service that was added to a reactor, for [`Reactor::listen`],
/// [`Reactor::handle`] and [`Reactor::get_mut`]. It is valid in that reactor
/// alone.
pub struct Service<S> {
    index: u16,
    /// The identity of its reactor: [`Core::identity`](crate::core::Core).
    home: Arc<()>,
    handler: PhantomData<fn(&mut S)>,
}

impl<S> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self { index: self.index, home: Arc::clone(&self.home), handler: PhantomData }
    }
}

impl<S> Service<S> {
    /// The index of the service in this core.
    pub(super) fn index_in(&self, core: &Core) -> Result<u16> {
        if Arc::ptr_eq(&self.home, &core.identity) { Ok(self.index) } else { Err(Error::ForeignService) }
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<D: Driver> Reactor<D> {
    /// Adds a service: a handler, and the limits for its connections. If the
    /// handler is a [`DatagramHandler`](crate::DatagramHandler) too, the service
    /// can [`bind`](Self::bind) as well as listen.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the limits contradict each other, [`Error::Full`]
    /// if the reactor has 65,535 services, [`Error::NotStarted`] if
    /// [`StreamHandler::started`] fails.
    pub fn add<S: StreamHandler>(&mut self, handler: S, limits: Limits) -> Result<Service<S>> {
        self.add_service(Box::new(Streams::new(handler)), limits)
    }

    pub(super) fn add_service<S>(
        &mut self,
        service: Box<dyn ErasedHandler>,
        limits: Limits,
    ) -> Result<Service<S>> {
        limits.check()?;
        let index = self.callbacks.add(&mut self.core, service, limits)?;
        // The last turn, and its reading of the clock, may be long ago.
        self.read_clock();
        let outcome =
            self.callbacks.run(&mut self.core, index, NO_CONNECTION, |handler, io| handler.started(io));
        self.after_callback(index, NO_CONNECTION, "started");
        outcome.map_err(|why| Error::NotStarted {
            handler: self.callbacks.type_name(index),
            source: why.into_error(),
        })?;
        Ok(Service { index, home: Arc::clone(&self.core.identity), handler: PhantomData })
    }

    /// Listens on an endpoint for a service, with [`ListenOptions::default`].
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn listen<S: StreamHandler>(&mut self, service: &Service<S>, at: &Endpoint) -> Result<ListenerId> {
        self.listen_with(service, at, &ListenOptions::default())
    }

    /// Listens on an endpoint for a service. A service may listen on any
    /// number of endpoints, and a reactor have any number of services.
    ///
    /// The driver replaces a stale Unix socket (a file that no process listens
    /// on) at the path, and refuses a live one and any other kind of file.
    /// Closing the listener removes the file, if it is still the one that was
    /// made.
    ///
    /// The reactor makes a failed listener again at the same endpoint, with the
    /// same options and under the same id: see
    /// [`Config::listen_again`](crate::Config::listen_again).
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] with the system's reason: the address is in use, not
    /// permitted, not of this machine, or a datagram endpoint (which is for
    /// [`bind`](Self::bind)). [`Error::Full`] at
    /// [`Config::max_listeners`](crate::Config::max_listeners).
    /// [`Error::ForeignService`].
    pub fn listen_with<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        at: &Endpoint,
        options: &ListenOptions,
    ) -> Result<ListenerId> {
        let index = self.index_of(service)?;
        if let Err(source) = self.takes_connections(index) {
            return Err(Error::Listen { endpoint: at.to_string(), source });
        }
        let limit = self.core.config.max_listeners;
        let make = |token| self.driver.listen(at, options, token);
        self.listeners.open(limit, index, (Maker::Reactor, options), at, make)
    }

    /// Whether a listener has a listening socket: `false` if the listener is
    /// closed, and while it has failed and waits to be made again
    /// ([`Config::listen_again`](crate::Config::listen_again)).
    #[must_use]
    pub fn is_listening(&self, listener: ListenerId) -> bool {
        self.listeners.table.get(listener.0).is_some_and(|listener| listener.socket.is_some())
    }

    /// The endpoint of a listener or a datagram socket, with its actual port;
    /// `None` if it is closed.
    #[must_use]
    pub fn local(&self, of: impl Into<Bound>) -> Option<&Endpoint> {
        match of.into() {
            Bound::Listener(listener) => self.listeners.local(listener),
            Bound::Socket(socket) => {
                self.core.datagrams.table.get(socket.0)?;
                self.datagram_sockets.get(socket).map(|port| &port.local)
            }
        }
    }

    /// Closes a listener; the connections that it accepted live on. `false` if
    /// the listener was closed already.
    pub fn close_listener(&mut self, listener: ListenerId) -> bool {
        self.listeners.close(&mut self.driver, listener)
    }

    /// Makes a handle to a service, for any thread.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    #[must_use]
    pub fn handle<S: 'static>(&self, service: &Service<S>) -> Handle<S> {
        let index = self.index_of(service).expect("a service of this reactor");
        Handle::new(Arc::clone(&self.inbox), index)
    }

    /// The handler of a service, to read between turns.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    #[must_use]
    pub fn get<S: StreamHandler>(&self, service: &Service<S>) -> &S {
        let index = self.index_of(service).expect("a service of this reactor");
        self.callbacks.handler_ref(index).downcast_ref().expect("its index was given out with its type")
    }

    /// The handler of a service, to change between turns.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    pub fn get_mut<S: 'static>(&mut self, service: &Service<S>) -> &mut S {
        let index = self.index_of(service).expect("a service of this reactor");
        self.callbacks.handler(index).downcast_mut().expect("its index was given out with its type")
    }

    /// Gives a service a name, for logs and [`ServiceStats::name`](crate::ServiceStats::name);
    /// without it, that of the handler's type is used.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignService`] if the service belongs to another reactor.
    pub fn set_name<S>(&mut self, service: &Service<S>, name: impl Into<String>) -> Result<()> {
        let index = self.index_of(service)?;
        self.core.services[index as usize].stats.name = name.into();
        Ok(())
    }

    /// Checks that a service can have connections; the error names the remedy.
    pub(super) fn takes_connections(&self, service: u16) -> io::Result<()> {
        if self.callbacks.takes_connections(service) {
            return Ok(());
        }
        let message = "the service was added by add_datagram, for datagrams alone; add it by Reactor::add";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    pub(super) fn index_of<S>(&self, service: &Service<S>) -> Result<u16> {
        service.index_in(&self.core)
    }
}
