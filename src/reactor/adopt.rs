//! Adoption: takes over connected sockets, descriptors of one direction, and
//! listening sockets that the program made.

use std::os::fd::OwnedFd;

use super::listeners::Maker;
use super::{Reactor, Service};
use crate::driver::{Adopt, ListenOptions};
use crate::error::{Error, Result};
use crate::handler::StreamHandler;
use crate::id::{ConnId, ListenerId};
use crate::origin::{Origin, Peer, Side};

impl<D: Adopt> Reactor<D> {
    /// Takes over a connected stream socket that the program made (TCP or
    /// Unix), as a connection of `service`, and calls [`StreamHandler::open`]
    /// before it returns. The socket becomes non-blocking. An error closes it.
    /// An error of `open` is not returned: the connection then ends without a
    /// session, and so without `close`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if the
    /// descriptor is not a connected stream socket, [`Error::ForeignService`].
    pub fn adopt<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        let index = self.index_of(service)?;
        self.takes_connections(index).map_err(Error::system("adopting a socket"))?;
        self.core.room_for(index)?;
        let (stream, peer) = self.driver.adopt(socket.into()).map_err(Error::system("adopting a socket"))?;
        // The last turn, and its reading of the clock, may be long ago.
        self.read_clock();
        self.admit(index, stream, &Origin::Adopted { peer, side: Side::Both })
            .map_err(Error::system("registering a socket"))
    }

    /// Takes over something to read, such as the program's standard input: a
    /// pipe, a terminal, a socket or a file, as a connection of `service` that
    /// has input and takes no output ([`Side::Input`]). No deadline applies to
    /// it. Calls [`StreamHandler::open`] before it returns.
    ///
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use serve_forever::{Config, Limits, Reactor, services::Echo};
    /// # let mut reactor = Reactor::new(Config::default())?;
    /// # let service = reactor.add(Echo::new(), Limits::default())?;
    /// let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    /// let operator = reactor.adopt_input(&service, stdin)?;
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    ///
    /// **Other users of the descriptor** may notice. Whether a descriptor
    /// blocks is a property of its open file description (open(2)), which the
    /// shell that started the program shares, or a child that it starts. So on
    /// Linux the reactor opens an anonymous pipe or a terminal (a virtual
    /// console, or the end of a pseudoterminal that programs run on) a second
    /// time, and leaves it as it was for all others. Where the system does not
    /// allow that (it is another user's), and for everything else, for which
    /// opening again may give something else (a FIFO, the other end of a
    /// pseudoterminal, a socket, a device), the reactor uses the given
    /// descriptor, which becomes non-blocking for all who share it. It remains
    /// so: another process may count on it by then.
    ///
    /// **A file** (and `/dev/null`) cannot be polled: the reactor reads its
    /// share in each turn, and the loop blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if the
    /// descriptor can be neither polled nor read as a file, has the other
    /// direction (the write end of a pipe), or is a socket for messages or for
    /// listening; [`Error::ForeignService`].
    pub fn adopt_input<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        source: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        self.adopt_one_way(service, source.into(), Side::Input)
    }

    /// Takes over something to write, such as the program's standard output:
    /// the counterpart of [`adopt_input`](Self::adopt_input), a connection that
    /// takes output and has no input ([`Side::Output`]). Output waits in its
    /// queue, under the marks of [`Limits`](crate::Limits), for as long as its
    /// reader does not read.
    ///
    /// Writing to a pipe without a reader raises SIGPIPE, which Rust's runtime
    /// ignores; a program without that runtime must ignore it itself
    /// (signal(7)).
    ///
    /// # Errors
    ///
    /// As [`adopt_input`](Self::adopt_input).
    pub fn adopt_output<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        sink: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        self.adopt_one_way(service, sink.into(), Side::Output)
    }

    fn adopt_one_way<S>(&mut self, service: &Service<S>, descriptor: OwnedFd, side: Side) -> Result<ConnId> {
        const WHAT: &str = "adopting a descriptor";
        let index = self.index_of(service)?;
        self.takes_connections(index).map_err(Error::system(WHAT))?;
        self.core.room_for(index)?;
        let stream = self.driver.adopt_one_way(descriptor, side).map_err(Error::system(WHAT))?;
        // The last turn, and its reading of the clock, may be long ago.
        self.read_clock();
        let id = self.core.admit_one_way(index, side);
        if let Err(error) = self.register(id, stream) {
            self.core.free(id);
            return Err(Error::system(WHAT)(error));
        }
        self.open_one_way(id, &Origin::Adopted { peer: Peer::pipe(), side });
        Ok(id)
    }

    /// Takes over a listening socket that was made elsewhere (TCP or Unix
    /// stream): by a supervisor that passed it on, or before privileges were
    /// dropped. The socket becomes non-blocking and keeps its options. Closing
    /// it leaves its file, if it has one. The reactor cannot make it again when
    /// it fails.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the descriptor is not a listening stream socket;
    /// [`Error::Full`] at
    /// [`Config::max_listeners`](crate::Config::max_listeners);
    /// [`Error::ForeignService`].
    pub fn adopt_listener<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ListenerId> {
        self.adopt_listener_with(service, socket, &ListenOptions::default())
    }

    /// The same with options. Two of them apply:
    /// [`layer`](ListenOptions::layer), so that its connections have TLS, and
    /// [`backlog`](ListenOptions::backlog), the number that the socket was given
    /// to listen with (a shutdown accepts up to so many that wait). The others
    /// are the socket's own, and whoever made it has set them.
    ///
    /// # Errors
    ///
    /// As [`adopt_listener`](Self::adopt_listener).
    pub fn adopt_listener_with<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
        options: &ListenOptions,
    ) -> Result<ListenerId> {
        let index = self.index_of(service)?;
        let limit = self.core.config.max_listeners;
        let socket = socket.into();
        let make = |token| self.driver.adopt_listener(socket, token);
        let made = (Maker::Program, options);
        self.listeners.open(limit, index, made, &"a socket that was passed on", make)
    }
}
