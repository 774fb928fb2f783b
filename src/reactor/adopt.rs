//! What the program hands over: sockets that are connected, descriptors of one
//! direction, and listening sockets.

use std::os::fd::OwnedFd;

use super::{Reactor, Service};
use crate::driver::MioDriver;
use crate::error::{Error, Result};
use crate::handler::StreamHandler;
use crate::id::{ConnId, ListenerId};
use crate::origin::{Origin, Peer, Side};

impl Reactor<MioDriver> {
    /// Takes over a connected stream socket that the program made (TCP or
    /// Unix), as a connection of `service`; [`StreamHandler::open`] is called
    /// before this returns. It becomes non-blocking. The socket is closed if
    /// this fails; if `open` does, the connection's end is told by its absence.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if it is no
    /// connected stream socket, [`Error::ForeignService`].
    pub fn adopt<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        let index = self.index_of(service)?;
        self.takes_connections(index).map_err(Error::system("adopting a socket"))?;
        self.core.room_for(index)?;
        let (stream, peer) = self.driver.adopt(socket).map_err(Error::system("adopting a socket"))?;
        // The last turn may be long ago.
        self.read_clock();
        self.admit(index, stream, &Origin::Adopted { peer, side: Side::Both })
            .map_err(Error::system("registering a socket"))
    }

    /// Takes over something to read, such as the program's standard input:
    /// a pipe, a terminal, a socket or a file, as a connection of `service`
    /// that has input and takes no output ([`Side::Input`]). No deadline holds
    /// for it. [`StreamHandler::open`] is called before this returns.
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
    /// **Whoever shares it** may notice: that a descriptor does not block is a
    /// property of its open file description (open(2)), which the shell that
    /// started the program has too, or a child that it starts. So on Linux an
    /// anonymous pipe and a terminal (a virtual console, or the end of a
    /// pseudoterminal that programs run on) are opened a second time, and stay
    /// as they were for all others; where the system does not let us (it is
    /// another user's), and with everything else, for which opening it again
    /// may give something else (a FIFO, the other end of a pseudoterminal, a
    /// socket, a device), what was given is used, and becomes non-blocking for
    /// all who share it. It stays so: somebody else may count on it by then.
    ///
    /// **A file** (and `/dev/null`) cannot be polled: it is read in turns, by
    /// its share of each, and blocks the loop for as long as its disk takes.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if it can be
    /// neither polled nor read as a file, goes the other way (the end of a
    /// pipe that is written to), or is a socket for messages or for listening;
    /// [`Error::ForeignService`].
    pub fn adopt_input<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        source: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        self.adopt_one_way(service, source.into(), Side::Input)
    }

    /// Takes over something to write, such as the program's standard output:
    /// the counterpart of [`adopt_input`](Self::adopt_input), a connection
    /// that takes output and has no input ([`Side::Output`]). What is written
    /// waits in its queue, under the marks of [`Limits`](crate::Limits), for as
    /// long as nobody reads.
    ///
    /// Writing to a pipe that nobody will read raises SIGPIPE, which Rust's
    /// runtime ignores; a program without that runtime has to (signal(7)).
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
        // The last turn may be long ago.
        self.read_clock();
        let id = self.core.admit_one_way(index, side);
        if let Err(error) = self.register(id, stream) {
            self.core.free(id);
            return Err(Error::system(WHAT)(error));
        }
        self.open_one_way(id, &Origin::Adopted { peer: Peer::pipe(), side });
        Ok(id)
    }

    /// Takes over a listening socket that somebody else made (TCP or Unix
    /// stream): one that a supervisor passed on, or that was bound before
    /// privileges were dropped. It becomes non-blocking; its options stay as
    /// they are, and so does its file, if it has one, when it closes. It cannot
    /// be made again when it fails.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if it is no stream socket that listens;
    /// [`Error::Full`] at [`Config::max_listeners`](crate::Config::max_listeners);
    /// [`Error::ForeignService`].
    pub fn adopt_listener<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ListenerId> {
        let index = self.index_of(service)?;
        let limit = self.core.config.max_listeners;
        let make = |token| self.driver.adopt_listener(socket, token);
        self.listeners.open(limit, index, None, &"a socket that was passed on", make)
    }
}
