//! A phase of a run, the warm-up or the window: the schedule of its messages, and
//! the counts and latencies of those that came back.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Pace, Window, nanos};

/// The highest latency of the histogram, one hour; a longer one counts as one hour.
const MAX_LATENCY: u64 = 3_600_000_000_000;

/// A phase and its counters; times are nanoseconds of the run's clock.
#[derive(Debug)]
pub(super) struct Phase {
    /// The current time, read after each wait and each read.
    pub(super) now: u64,
    /// The time at which it began.
    origin: u64,
    /// The time from which no message begins.
    until: u64,
    /// Messages that may still begin.
    left: u64,
    /// Messages that began.
    begun: u64,
    /// Messages that came back.
    completed: u64,
    /// Messages lost with their connection.
    lost: u64,
    /// The time at which the last message came back, or the schedule ends.
    end: u64,
    /// The time between two messages, in the open loop.
    interval: f64,
    /// Latencies in nanoseconds.
    latency: Histogram<u64>,
}

impl Phase {
    /// A phase that begins at `now`.
    pub(super) fn new(pace: Pace, window: Window, now: u64) -> Self {
        let (left, until, end, interval) = match (pace, window) {
            (Pace::Closed { .. }, Window::Messages(count)) => (count, u64::MAX, now, 0.0),
            (Pace::Closed { .. }, Window::Time(time)) => {
                (u64::MAX, now.saturating_add(nanos(time)), now, 0.0)
            }
            (Pace::Open { rate }, window) => {
                // The open loop turns a time into a number of messages, so that the
                // schedule alone decides. The schedule includes the interval after
                // its last message. Without it, one message a second for two
                // seconds would be reported as two messages in one second.
                let count = match window {
                    Window::Messages(count) => count,
                    Window::Time(time) => ((time.as_secs_f64() * rate).round() as u64).max(1),
                };
                let interval = 1e9 / rate;
                let end = now.saturating_add((count as f64 * interval) as u64);
                (count, u64::MAX, end, interval)
            }
        };
        Self {
            now,
            origin: now,
            until,
            left,
            begun: 0,
            completed: 0,
            lost: 0,
            end,
            interval,
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3)
                .expect("the bounds are constant and valid: 1 < the highest, 3 digits"),
        }
    }

    /// Begins up to `wanted` messages now and returns how many.
    pub(super) fn begin(&mut self, wanted: u64) -> u64 {
        if self.now >= self.until {
            return 0;
        }
        let granted = wanted.min(self.left);
        self.left -= granted;
        self.begun += granted;
        granted
    }

    /// Counts `count` messages that began at `start` and came back now.
    pub(super) fn complete(&mut self, start: u64, count: u64) {
        self.completed += count;
        self.end = self.end.max(self.now);
        let latency = self.now.saturating_sub(start);
        self.latency.saturating_record_n(latency, count);
    }

    /// Counts messages that were lost with their connection.
    pub(super) fn lose(&mut self, count: u64) {
        self.lost += count;
    }

    /// The time at which the open loop schedules message `number`.
    pub(super) fn scheduled(&self, number: u64) -> u64 {
        // Exact to the nanosecond for a hundred days.
        self.origin + (number as f64 * self.interval) as u64
    }

    /// In the open loop, how many messages are due and have not begun, and the
    /// number of the first.
    pub(super) fn due(&self) -> (u64, u64) {
        if self.left == 0 || self.scheduled(self.begun) > self.now {
            return (self.begun, 0);
        }
        let past = (self.now - self.origin) as f64 / self.interval;
        // At least the message just found due, also if rounding says none.
        let due = (past as u64 + 1).saturating_sub(self.begun).max(1);
        (self.begun, due.min(self.left))
    }

    /// In the open loop, the time of the next message, or the end of the schedule
    /// after the last one.
    pub(super) fn next_time(&self) -> u64 {
        if self.left > 0 { self.scheduled(self.begun) } else { self.end }
    }

    /// Whether no message is in flight and none may begin.
    pub(super) fn is_over(&self) -> bool {
        let begins = self.left > 0 && self.now < self.until;
        !begins && self.now >= self.end && self.begun == self.completed + self.lost
    }

    /// Ends the phase because no connection is left. Messages that have not begun
    /// count as lost if their number was given.
    pub(super) fn abandon(&mut self) {
        // A count and a schedule have a number of messages; a closed loop over a time
        // has none.
        if self.until == u64::MAX {
            self.lost += self.left;
            self.begun += self.left;
        }
        self.left = 0;
        self.end = self.end.min(self.now);
    }

    /// The part of the phase that is done, from 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        let fraction = if self.until == u64::MAX {
            let total = self.begun.saturating_add(self.left);
            (self.completed + self.lost) as f64 / total.max(1) as f64
        } else {
            let length = self.until.saturating_sub(self.origin).max(1);
            self.now.saturating_sub(self.origin) as f64 / length as f64
        };
        fraction.min(1.0)
    }

    /// Its length, without the wait for messages that never came back.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(self.origin))
    }

    /// Messages that may still begin.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Messages that came back.
    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// Messages that never came back.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// The latencies, in nanoseconds.
    pub(super) fn into_latency(self) -> Histogram<u64> {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Pace = Pace::Closed { pipeline: 1 };
    const THOUSAND: Pace = Pace::Open { rate: 1000.0 };
    const MS: u64 = 1_000_000;

    #[test]
    fn a_count_is_exact() {
        let mut phase = Phase::new(CLOSED, Window::Messages(5), 0);
        assert_eq!(phase.begin(3), 3);
        assert_eq!(phase.begin(3), 2);
        assert_eq!(phase.begin(3), 0);
        assert!(!phase.is_over());
        phase.now = 7;
        phase.complete(0, 4);
        assert!(!phase.is_over());
        phase.lose(1);
        assert!(phase.is_over());
        assert_eq!((phase.completed(), phase.lost()), (4, 1));
        assert_eq!(phase.elapsed(), Duration::from_nanos(7));
    }

    #[test]
    fn a_time_ends_the_beginning_and_waits_for_the_rest() {
        let mut phase = Phase::new(CLOSED, Window::Time(Duration::from_nanos(10)), 100);
        assert_eq!(phase.begin(2), 2);
        phase.now = 110;
        assert_eq!(phase.begin(1), 0);
        assert!(!phase.is_over());
        phase.now = 115;
        phase.complete(100, 2);
        assert!(phase.is_over());
        assert_eq!(phase.elapsed(), Duration::from_nanos(15));
        assert_eq!(phase.into_latency().max(), 15);
    }

    #[test]
    fn the_schedule_is_kept_however_late_the_client() {
        let mut phase = Phase::new(THOUSAND, Window::Time(Duration::from_millis(10)), 5);
        assert_eq!(phase.due(), (0, 1));
        assert_eq!(phase.begin(1), 1);
        assert_eq!(phase.due(), (1, 0));
        assert_eq!(phase.next_time(), 5 + MS);
        // Three intervals later three are due, and the first of them two late.
        phase.now = 5 + 3 * MS;
        assert_eq!(phase.due(), (1, 3));
        assert_eq!(phase.begin(3), 3);
        phase.complete(phase.scheduled(1), 1);
        assert!(phase.latency.max() >= 2 * MS);
        // Not one more than the time holds.
        phase.now = 5 + 60 * MS;
        assert_eq!(phase.due(), (4, 6));
    }

    #[test]
    fn the_schedule_includes_its_last_interval() {
        let pace = Pace::Open { rate: 1.0 };
        let mut phase = Phase::new(pace, Window::Time(Duration::from_secs(2)), 0);
        phase.now = 1_000_000_000;
        assert_eq!(phase.begin(2), 2);
        phase.complete(0, 2);
        assert!(!phase.is_over());
        assert_eq!(phase.next_time(), 2_000_000_000);
        phase.now = phase.next_time();
        assert!(phase.is_over());
        assert_eq!(phase.elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn without_connections_a_count_is_lost_and_a_time_is_not() {
        let mut phase = Phase::new(CLOSED, Window::Messages(9), 0);
        phase.abandon();
        assert!(phase.is_over());
        assert_eq!(phase.lost(), 9);
        let mut phase = Phase::new(CLOSED, Window::Time(Duration::from_secs(1)), 0);
        phase.abandon();
        assert!(phase.is_over());
        assert_eq!(phase.lost(), 0);
    }
}
