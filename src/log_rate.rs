//! Rate limits of log lines that strangers can cause.

use std::fmt;
use std::time::{Duration, Instant};

/// The number of lines of one kind that may come at once.
const AT_ONCE: u32 = 10;

/// The time after which one more line may come.
const PERIOD: Duration = Duration::from_secs(1);

/// A limit for log lines of one kind that strangers can cause, such as refused
/// logins: ten at once, then one in each second. Without it a stranger could fill
/// the disk, or hide a line that matters. The caller passes the time, usually
/// [`Io::now`](crate::Io::now); a `LogRate` reads no clock.
///
/// Each kind of the library's own warnings and errors has a `LogRate` of its own in
/// each reactor or service.
///
/// ```
/// use serve_forever::LogRate;
///
/// let mut refusals = LogRate::new();
/// let now = std::time::Instant::now(); // in a handler: io.now()
/// let lines: Vec<String> = (0..100)
///     .filter_map(|number| refusals.allows(now).map(|more| format!("{number} is refused{more}")))
///     .collect();
/// assert_eq!((lines.len(), lines[0].as_str()), (10, "0 is refused"));
/// let later = refusals.allows(now + std::time::Duration::from_secs(1)).expect("a second has passed");
/// assert_eq!(format!("100 is refused{later}"), "100 is refused (and 90 more like this before)");
/// ```
#[derive(Clone, Debug)]
pub struct LogRate {
    left: u32,
    /// The beginning of the current period; `None` before the first line.
    since: Option<Instant>,
    held_back: u64,
}

/// The number of lines held back since the last one that was written: displays as ` (and 90 more like this before)`, or as nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More(u64);

impl LogRate {
    /// A limit with all of its lines left.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: AT_ONCE, since: None, held_back: 0 }
    }

    /// `Some` if one more line may be written at this time. The caller writes the
    /// [`More`] at the end of that line.
    #[must_use]
    pub fn allows(&mut self, now: Instant) -> Option<More> {
        let since = *self.since.get_or_insert(now);
        let gone = now.saturating_duration_since(since).as_secs();
        if gone >= u64::from(AT_ONCE - self.left) {
            (self.left, self.since) = (AT_ONCE, Some(now));
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "it is less than AT_ONCE")]
            let gone = gone as u32;
            self.left += gone;
            self.since = Some(since + PERIOD * gone);
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.held_back += 1;
            return None;
        };
        self.left = left;
        Some(More(std::mem::take(&mut self.held_back)))
    }
}

impl Default for LogRate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} more like this before)"),
        }
    }
}

/// The limits of a reactor's own kinds of lines.
#[derive(Debug, Default)]
pub(crate) struct LogRates {
    pub(crate) accepts: LogRate,
    pub(crate) panics: LogRate,
    pub(crate) slow: LogRate,
    pub(crate) connects: LogRate,
    pub(crate) spawns: LogRate,
    pub(crate) children: LogRate,
    pub(crate) sockets: LogRate,
    #[cfg(feature = "workers")]
    pub(crate) jobs: LogRate,
    pub(crate) layers: LogRate,
    pub(crate) overflows: LogRate,
    pub(crate) long_inputs: LogRate,
    pub(crate) failures: LogRate,
    pub(crate) files: LogRate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_come_at_once_then_one_a_second_and_ten_again_after_a_rest() {
        let start = Instant::now();
        let mut rate = LogRate::new();
        let mut written = |from: u64, to: u64| {
            let at = |tenth| start + Duration::from_millis(100 * tenth);
            (from..to).filter(|tenth| rate.allows(at(*tenth)).is_some()).count()
        };
        assert_eq!(written(0, 10), 10);
        assert_eq!(written(10, 110), 10, "ten seconds, ten times each");
        assert_eq!(written(1000, 1100), 10 + 9);
    }

    #[test]
    fn what_is_held_back_is_counted_once() {
        let start = Instant::now();
        let mut rate = LogRate::new();
        let said: Vec<_> = (0..25).filter_map(|_| rate.allows(start)).collect();
        assert_eq!(said, [More(0); 10]);
        assert_eq!(rate.allows(start + PERIOD), Some(More(15)));
        assert_eq!(rate.allows(start + PERIOD), None);
        assert_eq!(rate.allows(start + PERIOD * 2), Some(More(1)));
        assert_eq!(rate.allows(start), None, "a time before the last changes nothing");
    }
}
