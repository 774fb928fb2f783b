//! `RequestDeadline`: the time that a request has to come.

use std::time::{Duration, Instant};

use crate::{Error, Io, TimerId};

/// A timer that is this late was held up with all else: the process was stopped,
/// or a callback blocked.
const LATE: Duration = Duration::from_millis(100);

/// The time for what had arrived meanwhile to be read.
const GRACE: Duration = Duration::from_secs(1);

/// The time that a request has to come. The timer may outlive its request, and
/// serves the next one too: a client whose requests come whole sets none.
#[derive(Debug, Default)]
pub(super) struct RequestDeadline {
    /// When the current request began, or its last piece came.
    pub(super) since: Option<Instant>,
    timer: Option<(TimerId, Instant)>,
}

impl RequestDeadline {
    /// Begins the time of a request that has begun and waits for more, and ends
    /// that of any other.
    pub(super) fn watch(
        &mut self,
        io: &mut Io<'_>,
        waits: bool,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let Some(limit) = limit.filter(|_| waits) else {
            self.since = None;
            return Ok(());
        };
        let since = *self.since.get_or_insert_with(|| io.now());
        if self.timer.is_none() {
            self.set(io, since, limit)?;
        }
        Ok(())
    }

    fn set(&mut self, io: &mut Io<'_>, since: Instant, limit: Duration) -> Result<(), Error> {
        let Some(due) = since.checked_add(limit) else { return Ok(()) };
        let timer = io.after(due.saturating_duration_since(io.now()))?;
        self.timer = Some((timer, due));
        Ok(())
    }

    pub(super) fn is_timer(&self, timer: TimerId) -> bool {
        self.timer.is_some_and(|(own, _)| own == timer)
    }

    /// Whether the time is over, when the timer is due. If not, the timer is set
    /// again.
    pub(super) fn has_passed(&mut self, io: &mut Io<'_>, limit: Option<Duration>) -> Result<bool, Error> {
        let now = io.now();
        let due = self.timer.take().map(|(_, due)| due);
        let (Some(limit), Some(since), Some(due)) = (limit, self.since, due) else { return Ok(false) };
        let passed = now.saturating_duration_since(since);
        if passed < limit {
            self.set(io, since, limit)?;
            return Ok(false);
        }
        if now.saturating_duration_since(due) > LATE {
            let due = now + GRACE;
            self.timer = Some((io.after(GRACE)?, due));
            return Ok(false);
        }
        Ok(true)
    }
}
