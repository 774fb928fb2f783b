//! `DateField`: the value of `Date`, made once a second.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

/// The length of a date (RFC 9110, 5.6.7), as in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) const LENGTH: usize = 29;

/// The clock on the wall, which a program may replace.
pub type WallClock = fn() -> SystemTime;

/// The value of `Date`, and until when it holds.
#[derive(Clone)]
pub(super) struct DateField {
    /// `None`: answers have no date.
    clock: Option<WallClock>,
    text: [u8; LENGTH],
    until: Option<Instant>,
}

impl fmt::Debug for DateField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DateField")
            .field("text", &self.text.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

impl DateField {
    pub(super) const fn new(clock: Option<WallClock>) -> Self {
        Self { clock, text: [0; LENGTH], until: None }
    }

    /// The system's clock.
    pub(super) const fn of_the_system() -> Self {
        Self::new(Some(SystemTime::now))
    }

    /// The date, as of the current turn of the loop.
    pub(super) fn text(&mut self, now: Instant) -> Option<&[u8; LENGTH]> {
        let clock = self.clock?;
        if self.until.is_none_or(|until| now >= until) {
            let time = clock();
            let in_second =
                time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            self.until = now.checked_add(Duration::from_nanos(1_000_000_000 - u64::from(in_second)));
            // A date that does not fit its form (the year 10000) is left as it was.
            let _ = write!(self.text.as_mut_slice(), "{}", httpdate::HttpDate::from(time));
        }
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_made_once_a_second() {
        let start = Instant::now();
        let mut date =
            DateField::new(Some(|| SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250)));
        assert_eq!(date.text(start), Some(b"Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date.until, Some(start + Duration::from_millis(750)));
        date.clock = Some(|| SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_778));
        assert_eq!(date.text(start + Duration::from_millis(749)), Some(b"Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date.text(start + Duration::from_millis(750)), Some(b"Sun, 06 Nov 1994 08:49:38 GMT"));
    }

    #[test]
    fn without_a_clock_there_is_no_date() {
        assert_eq!(DateField::new(None).text(Instant::now()), None);
    }
}
