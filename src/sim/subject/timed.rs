//! `Timed`: an echo whose timers are watched.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Subject, check_mapped, noise};
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::{BoxError, Io, Limits, Origin, Sent, StreamHandler, TimerId, services};

/// [`services::Echo`] with timers, which must fire in time and as often as they
/// were set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timed;

impl Subject for Timed {
    type Handler = TimedHandler;

    fn handler(&self) -> TimedHandler {
        TimedHandler(())
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

/// The handler of [`Timed`].
#[derive(Debug)]
pub struct TimedHandler(());

/// The timers of a session of [`Timed`].
#[derive(Debug)]
pub struct Alarms {
    /// A timer that fires once, and its moment; `None` once it has fired.
    once: Option<(TimerId, Instant)>,
    /// A timer that was set after it for the same moment.
    twin: TimerId,
    /// A cancelled timer, which must not fire.
    cancelled: TimerId,
    /// A periodic timer, and its next moment.
    every: (TimerId, Instant),
    /// The number of firings before it is cancelled.
    left: u32,
    /// The time of the last callback.
    seen: Instant,
    /// Consecutive checks that found a due timer unfired.
    late: u32,
}

/// The most consecutive checks that may find a due timer unfired: while waits
/// are interrupted, or have no room for all events by then.
const LATE: u32 = 64;

impl Alarms {
    /// Checks that a timer due in an earlier turn has fired in it, or soon
    /// after.
    fn look(&mut self, io: &Io<'_>) -> Result<(), BoxError> {
        let earlier = std::mem::replace(&mut self.seen, io.now());
        let once = self.once.is_some_and(|(_, due)| due <= earlier);
        let every = self.left > 0 && self.every.1 <= earlier;
        self.late = if earlier < self.seen && (once || every) { self.late + 1 } else { 0 };
        if self.late > LATE { Err("a timer is late".into()) } else { Ok(()) }
    }
}

const PERIOD: Duration = Duration::from_millis(7);

impl StreamHandler for TimedHandler {
    type Session = Alarms;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Alarms, BoxError> {
        let once = (io.after(PERIOD / 2)?, io.now() + PERIOD / 2);
        let twin = io.after(PERIOD / 2)?;
        let every = (io.every(PERIOD)?, io.now() + PERIOD);
        let cancelled = io.after(PERIOD)?;
        Ok(Alarms { once: Some(once), twin, cancelled, every, left: 20, seen: io.now(), late: 0 })
    }

    fn data(&mut self, io: &mut Io<'_>, alarms: &mut Alarms, input: &mut BytesMut) -> Result<(), BoxError> {
        alarms.look(io)?;
        io.cancel(alarms.cancelled);
        // Half in two pieces, and half by copy or by reference: the order and
        // the count must hold.
        let half = input.split_to(input.len() / 2);
        let (first, second) = half.split_at(half.len() / 2);
        let _ = io.write(first);
        let _ = io.write(second);
        let rest = input.split();
        let sent = if rest.len().is_multiple_of(2) { io.write(&rest) } else { io.write_bytes(rest.freeze()) };
        if sent == Sent::Full {
            io.pause(io.id());
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, alarms: &mut Alarms) -> Result<(), BoxError> {
        io.resume(io.id());
        alarms.look(io)
    }

    fn timer(&mut self, io: &mut Io<'_>, alarms: &mut Alarms, timer: TimerId) -> Result<(), BoxError> {
        alarms.look(io)?;
        if timer == alarms.cancelled {
            // No input has come that would have cancelled it.
            if io.cancel(timer) { Err("it fires and is still set".into()) } else { Ok(()) }
        } else if timer == alarms.twin {
            if alarms.once.is_some() { Err("it was set later, and fires sooner".into()) } else { Ok(()) }
        } else if timer == alarms.every.0 {
            if alarms.left == 0 || io.now() < alarms.every.1 {
                return Err("a timer that repeats is early, or was taken back".into());
            }
            while alarms.every.1 <= io.now() {
                alarms.every.1 += PERIOD; // missed firings are skipped
            }
            alarms.left -= 1;
            if alarms.left == 0 {
                io.cancel(timer);
            }
            Ok(())
        } else {
            match alarms.once.take() {
                Some((once, due)) if once == timer && io.now() >= due => Ok(()),
                _ => Err("a timer is early, fires twice, or is nobody's".into()),
            }
        }
    }
}
