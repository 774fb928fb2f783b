//! `Alarm`: wakes the poller at a time finer than its own timeout.

use std::io;

use mio::unix::pipe::Receiver;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer in the poller.
///
/// The poller's timeout counts whole milliseconds. At more than a thousand
/// messages a second that would send each late by up to its whole interval, and
/// as latency counts from the intended time, the report would show the client's
/// lateness as the server's.
#[derive(Debug)]
pub(super) struct Alarm {
    /// The timer; its expiry is never read, as setting it anew clears it. mio
    /// knows it as something to receive from, which a pipe is too.
    timer: Receiver,
    /// The time it is set to.
    armed: Option<u64>,
}

impl Alarm {
    /// A timer at rest, which wakes `registry` with `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut timer = Receiver::from(timer);
        registry.register(&mut timer, token, Interest::READABLE)?;
        Ok(Self { timer, armed: None })
    }

    /// Wakes the poller at `time`, which must lie after `now`.
    pub(super) fn set(&mut self, time: u64, now: u64) -> io::Result<()> {
        if self.armed == Some(time) {
            return Ok(());
        }
        // Zero would disarm it.
        let delay = time.saturating_sub(now).max(1);
        let value =
            Timespec { tv_sec: (delay / 1_000_000_000) as i64, tv_nsec: (delay % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.armed = Some(time);
        // Over poll(2) its last event ended the watch.
        let _ = self.timer.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        Ok(())
    }
}
