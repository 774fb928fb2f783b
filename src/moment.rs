//! Time as a number.

use std::time::Duration;

/// A moment, in nanoseconds since its driver's epoch: half the size of an
/// `Instant`, and cheap to compare. It saturates (after 584 years), so that
/// `Duration::MAX` from now is simply [`NEVER`](Self::NEVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(crate) u64);

impl Moment {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);
    /// Later than every other moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment so many nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment a period later.
    #[must_use]
    pub fn plus(self, period: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long from `earlier` until this; `None` for never.
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
