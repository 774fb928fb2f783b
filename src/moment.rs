//! Points in time as numbers of nanoseconds.

use std::time::Duration;

/// A point in time, in nanoseconds since its driver's epoch. It is half the size of
/// an `Instant` and cheap to compare. Its arithmetic saturates (after 584 years), so
/// `Duration::MAX` from now is [`NEVER`](Self::NEVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(crate) u64);

impl Moment {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every other moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `period` later, at most [`NEVER`](Self::NEVER).
    #[must_use]
    pub fn plus(self, period: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from `earlier` to this moment; `None` for [`NEVER`](Self::NEVER).
    pub(crate) const fn after(self, earlier: Self) -> Option<Duration> {
        if self.0 == u64::MAX { None } else { Some(self.since(earlier)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_is_never_and_does_not_overflow() {
        let now = Moment(5);
        assert_eq!(now.plus(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::NEVER.after(now), None);
        assert_eq!(Moment(8).after(now), Some(Duration::from_nanos(3)));
        assert_eq!(Moment(1).after(now), Some(Duration::ZERO));
    }
}
