//! Wakers: end a wait of the loop, from any thread.
//!
//! mio's own waker serves where the system reports every change. Over poll(2) a
//! wake can be lost: mio wakes itself when its interests change, and clears the
//! descriptor that both kinds of wake share, so that a wake which came just
//! before is lost (<https://github.com/tokio-rs/mio/issues/1874>). A [`Bell`]
//! serves there.

use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::task::{Wake, Waker};

use mio::{Interest, Registry, Token};

use super::source::Source;

/// A pipe: a byte in it ends a wait.
#[derive(Debug)]
pub(super) struct Bell {
    heard: Source,
    waker: Waker,
}

impl Bell {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (heard, rung) = io::pipe()?;
        rustix::io::ioctl_fionbio(&heard, true)?;
        rustix::io::ioctl_fionbio(&rung, true)?;
        let mut heard = Source::new(heard.into());
        heard.register(registry, token, Interest::READABLE)?;
        Ok(Self { heard, waker: Arc::new(Ring(rung)).into() })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Empties the pipe: only a later wake ends a wait.
    #[cold]
    pub(super) fn hear(&mut self) {
        let mut rings = [0; 64];
        let mut hear = || self.heard.input(|pipe| Ok(rustix::io::read(pipe, &mut rings)?));
        while hear().is_ok_and(|count| count > 0) {}
    }
}

/// The write end of the pipe.
struct Ring(PipeWriter);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &[0])) {
            // A full pipe ends the wait already.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => log::error!("the loop cannot be woken: {error}"),
        }
    }
}

/// Makes a waker from mio's own.
pub(super) fn of_the_system(registry: &Registry, token: Token) -> io::Result<Waker> {
    Ok(Arc::new(PollWaker(mio::Waker::new(registry, token)?)).into())
}

/// mio's waker, as a waker of the standard library.
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.wake() {
            log::error!("the loop cannot be woken: {error}");
        }
    }
}
