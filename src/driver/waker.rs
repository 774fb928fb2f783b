//! The way out of a wait, from any thread.
//!
//! mio's own waker serves where the system reports every change. Over poll(2)
//! it can be lost: mio wakes itself when what it watches changes, and clears
//! the one descriptor of both, so that a wake which has come just before is
//! forgotten (<https://github.com/tokio-rs/mio/issues/1874>). There it is a
//! [`Bell`].

use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::task::{Wake, Waker};

use mio::{Interest, Registry, Token};

use super::source::Source;

/// A pipe with something in it ends a wait.
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

    /// Has it heard: only what comes from now on ends a wait.
    #[cold]
    pub(super) fn hear(&mut self) {
        let mut rings = [0; 64];
        let mut hear = || self.heard.input(|pipe| Ok(rustix::io::read(pipe, &mut rings)?));
        while hear().is_ok_and(|count| count > 0) {}
    }
}

/// The other end of it.
struct Ring(PipeWriter);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &[0])) {
            // One that is full has been rung.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => log::error!("the loop cannot be woken: {error}"),
        }
    }
}

/// mio's, on its descriptor or without one.
pub(super) fn of_the_system(registry: &Registry, token: Token) -> io::Result<Waker> {
    Ok(Arc::new(PollWaker(mio::Waker::new(registry, token)?)).into())
}

/// mio's waker as the standard library's.
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
