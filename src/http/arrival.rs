//! `ArrivalDeadline`: the time that a request, or a message of a WebSocket, has to
//! come.

use std::time::{Duration, Instant};

use crate::{Error, Io, TimerId};

/// A timer that is this late was held up with all else: the process was stopped,
/// or a callback blocked.
const LATE: Duration = Duration::from_millis(100);

/// The last second of the time, or all of a shorter one, is so many steps. The time is
/// over behind the last of so many that were not late: by then the loop has read what had
/// arrived while the process was stopped.
const STEPS: u8 = 10;
const STEPPED: Duration = Duration::from_secs(1);

/// The time that a request, or a message of a WebSocket, has to come. The timer may
/// outlive its request, and serves the next one too: a client whose requests come
/// whole sets none, and owns nothing here.
#[derive(Debug, Default)]
pub(super) struct ArrivalDeadline(Option<Box<Running>>);

/// The time of a client whose requests, or messages, come in parts.
#[derive(Debug, Default)]
struct Running {
    /// When the current request began, or its last piece came.
    since: Option<Instant>,
    timer: Option<(TimerId, Instant)>,
    /// The steps that are left.
    left: u8,
}

impl ArrivalDeadline {
    /// Ends the time of the current request, of its current piece, or of the current
    /// message.
    pub(super) fn clear(&mut self) {
        if let Some(running) = &mut self.0 {
            running.since = None;
        }
    }

    /// Begins the time of a request or message that has begun and waits for more, and
    /// ends that of any other.
    pub(super) fn watch(
        &mut self,
        io: &mut Io<'_>,
        waits: bool,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let Some(limit) = limit.filter(|_| waits) else {
            self.clear();
            return Ok(());
        };
        let running = self.0.get_or_insert_default();
        let since = *running.since.get_or_insert_with(|| io.now());
        if running.timer.is_none() {
            running.set(io, since, limit)?;
        }
        Ok(())
    }

    pub(super) fn is_timer(&self, timer: TimerId) -> bool {
        self.0.as_ref().and_then(|running| running.timer).is_some_and(|(own, _)| own == timer)
    }

    /// Whether the time is over, when the timer is due. If not, the timer is set
    /// again.
    pub(super) fn has_passed(&mut self, io: &mut Io<'_>, limit: Option<Duration>) -> Result<bool, Error> {
        let Some(running) = &mut self.0 else { return Ok(false) };
        let due = running.timer.take().map(|(_, due)| due);
        let (Some(limit), Some(since), Some(due)) = (limit, running.since, due) else {
            self.0 = None;
            return Ok(false);
        };
        let now = io.now();
        let stepped = limit.min(STEPPED);
        if now.saturating_duration_since(since) < limit - stepped {
            running.set(io, since, limit)?;
            return Ok(false);
        }
        let is_late = now.saturating_duration_since(due) > LATE;
        running.left = match running.left {
            _ if is_late => STEPS,
            0 => return Ok(true),
            left => left - 1,
        };
        running.set_for(io, if is_late { now } else { due } + stepped / STEPS.into())?;
        Ok(false)
    }
}

impl Running {
    /// Sets the timer for the first step.
    fn set(&mut self, io: &mut Io<'_>, since: Instant, limit: Duration) -> Result<(), Error> {
        let Some(due) = since.checked_add(limit - limit.min(STEPPED)) else { return Ok(()) };
        self.left = STEPS;
        self.set_for(io, due)
    }

    fn set_for(&mut self, io: &mut Io<'_>, due: Instant) -> Result<(), Error> {
        let timer = io.after(due.saturating_duration_since(io.now()))?;
        self.timer = Some((timer, due));
        Ok(())
    }
}
