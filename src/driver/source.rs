//! `Source`: a registered descriptor, which re-arms its events where the system
//! reports each only once.
//!
//! epoll and kqueue report every change. Over poll(2), or the event ports of
//! Solaris, mio stops watching the interest that an event has reported, and
//! stops watching altogether after a hang-up or an error. mio's own sockets
//! re-arm once a call has returned `WouldBlock` (`try_io`). [`Source`] does the
//! same for any descriptor, in the one direction of the call: the other would
//! be reported again at once.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// True where an event ends the watch of what it reports.
pub(super) const IS_USED_UP: bool = cfg!(any(
    mio_unsupported_force_poll_poll,
    target_os = "aix",
    target_os = "cygwin",
    target_os = "haiku",
    target_os = "hurd",
    target_os = "nto",
    target_os = "solaris",
));

/// A descriptor and its registration.
#[derive(Debug)]
pub(super) struct Source {
    /// Dropped before the descriptor: poll(2) reports closed descriptors
    /// (`POLLNVAL`).
    watch: <Events<IS_USED_UP> as Watched>::Watch,
    descriptor: OwnedFd,
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Source {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { watch: Default::default(), descriptor }
    }

    /// Registers the descriptor, so that its events are reported.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.watch.register(self.descriptor.as_raw_fd(), registry, token, interest)
    }

    /// Runs a call that takes input, and re-arms after `WouldBlock`.
    #[inline(always)]
    pub(super) fn input<R>(&mut self, call: impl FnOnce(&OwnedFd) -> io::Result<R>) -> io::Result<R> {
        let outcome = call(&self.descriptor);
        self.watch.after(&outcome, Interest::READABLE)?;
        outcome
    }

    /// Runs a call that gives output, and re-arms after `WouldBlock`.
    #[inline(always)]
    pub(super) fn output<R>(&mut self, call: impl FnOnce(&OwnedFd) -> io::Result<R>) -> io::Result<R> {
        let outcome = call(&self.descriptor);
        self.watch.after(&outcome, Interest::WRITABLE)?;
        outcome
    }
}

/// The way a descriptor is watched.
trait Watch: Default + fmt::Debug {
    fn register(
        &mut self,
        fd: RawFd,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// Notes the outcome of a call in one direction.
    fn after<R>(&mut self, outcome: &io::Result<R>, direction: Interest) -> io::Result<()>;
}

/// Selects a [`Watch`] by whether an event ends the watch of what it reports.
#[derive(Debug)]
struct Events<const ARE_USED_UP: bool>;

trait Watched {
    type Watch: Watch;
}

impl Watched for Events<false> {
    type Watch = ForGood;
}

impl Watched for Events<true> {
    type Watch = UntilReported;
}

/// A watch by the system, which lasts until the descriptor is closed.
#[derive(Debug, Default)]
struct ForGood;

impl Watch for ForGood {
    fn register(
        &mut self,
        fd: RawFd,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(&mut SourceFd(&fd), token, interest)
    }

    #[inline(always)]
    fn after<R>(&mut self, _: &io::Result<R>, _: Interest) -> io::Result<()> {
        Ok(())
    }
}

/// A watch by mio, which lasts until an event has come.
#[derive(Debug, Default)]
struct UntilReported(Option<Box<Registration>>);

#[derive(Debug)]
struct Registration {
    registry: Registry,
    fd: RawFd,
    token: Token,
    interest: Interest,
    /// The interests that an event will report: no call has succeeded since.
    awaited: Option<Interest>,
}

impl Watch for UntilReported {
    fn register(
        &mut self,
        fd: RawFd,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let own = registry.try_clone()?;
        registry.register(&mut SourceFd(&fd), token, interest)?;
        let awaited = Some(interest);
        self.0 = Some(Box::new(Registration { registry: own, fd, token, interest, awaited }));
        Ok(())
    }

    fn after<R>(&mut self, outcome: &io::Result<R>, direction: Interest) -> io::Result<()> {
        // A file is not registered.
        let Some(registration) = &mut self.0 else { return Ok(()) };
        match outcome {
            Ok(_) => {
                registration.awaited = registration.awaited.and_then(|awaited| awaited.remove(direction));
                Ok(())
            }
            // After any error of a read, input may still arrive and be
            // reported.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || direction.is_readable() => {
                registration.await_again(direction)
            }
            Err(_) => Ok(()),
        }
    }
}

impl Registration {
    fn await_again(&mut self, direction: Interest) -> io::Result<()> {
        // The interest in urgent data belongs to the input.
        let input = direction.is_readable().then(|| self.interest.remove(Interest::WRITABLE)).flatten();
        let again = input.unwrap_or(direction);
        let interest = self.awaited.map_or(again, |awaited| awaited.add(again));
        self.awaited = Some(interest);
        let mut source = SourceFd(&self.fd);
        match self.registry.reregister(&mut source, self.token, interest) {
            // mio has dropped the descriptor after a hang-up or an error, but
            // more may follow: a named pipe can be opened again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.registry.register(&mut source, self.token, interest)
            }
            outcome => outcome,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // mio may have dropped it already.
        let _ = self.registry.deregister(&mut SourceFd(&self.fd));
    }
}
