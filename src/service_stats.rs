//! `ServiceStats`: counters of one service.

use crate::close::CloseReason;

/// The state and the counts of one service since it was added. No count is ever
/// reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The name, in logs and metrics: that of the handler's type, without the paths in
    /// it, unless [`Reactor::set_name`](crate::Reactor::set_name) has given another.
    /// Two services may have the same.
    pub name: String,
    /// Connections that are there, those that are closing included, and the pipes of
    /// its children not.
    pub connections: usize,
    /// Connections that were accepted and are within every limit.
    pub accepted: u64,
    /// Connections closed at once because `max_connections` of the reactor or of the
    /// service was reached.
    pub refused_full: u64,
    /// Connections that `verify` refused.
    pub refused_by_handler: u64,
    /// Sessions whose `close` was called, by reason.
    pub closed: CloseCounts,
    /// Callbacks that returned an error.
    pub failed: u64,
    /// Callbacks that panicked.
    pub panicked: u64,
    /// Callbacks that took longer than `Config::slow_callback`.
    pub slow: u64,
}

impl ServiceStats {
    /// Those of a new service of a type with this name.
    pub(crate) fn of(type_name: &str) -> Self {
        Self { name: without_paths(type_name), ..Self::default() }
    }
}

/// How many connections ended for which [`CloseReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseCounts {
    /// [`CloseReason::Finished`]
    pub finished: u64,
    /// [`CloseReason::Closed`]
    pub closed: u64,
    /// [`CloseReason::Aborted`]
    pub aborted: u64,
    /// [`CloseReason::TimedOut`]
    pub timed_out: u64,
    /// [`CloseReason::Overflow`]
    pub overflowed: u64,
    /// [`CloseReason::InputTooLong`]
    pub input_too_long: u64,
    /// [`CloseReason::Failed`]
    pub failed: u64,
    /// [`CloseReason::Panicked`]
    pub panicked: u64,
    /// [`CloseReason::Io`]
    pub broken: u64,
    /// [`CloseReason::File`]
    pub file: u64,
    /// [`CloseReason::Shutdown`]
    pub shutdown: u64,
}

impl CloseCounts {
    pub(crate) const fn count(&mut self, why: &CloseReason) {
        let count = match why {
            CloseReason::Finished => &mut self.finished,
            CloseReason::Closed => &mut self.closed,
            CloseReason::Aborted => &mut self.aborted,
            CloseReason::TimedOut(_) => &mut self.timed_out,
            CloseReason::Overflow { .. } => &mut self.overflowed,
            CloseReason::InputTooLong { .. } => &mut self.input_too_long,
            CloseReason::Failed(_) => &mut self.failed,
            CloseReason::Panicked(_) => &mut self.panicked,
            CloseReason::Io(_) => &mut self.broken,
            CloseReason::File(_) => &mut self.file,
            CloseReason::Shutdown => &mut self.shutdown,
        };
        *count += 1;
    }

    /// Each count with its reason, for tables.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 11] {
        [
            ("finished", self.finished),
            ("closed", self.closed),
            ("aborted", self.aborted),
            ("timed_out", self.timed_out),
            ("overflowed", self.overflowed),
            ("input_too_long", self.input_too_long),
            ("failed", self.failed),
            ("panicked", self.panicked),
            ("broken", self.broken),
            ("file", self.file),
            ("shutdown", self.shutdown),
        ]
    }

    /// The sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}

/// The name of a type without the paths in it.
fn without_paths(type_name: &str) -> String {
    let mut short = String::with_capacity(type_name.len());
    let mut segment = 0;
    for letter in type_name.chars() {
        match letter {
            ':' => short.truncate(segment),
            _ => short.push(letter),
        }
        if !letter.is_alphanumeric() && !matches!(letter, ':' | '_' | '{' | '}') {
            segment = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use std::any::type_name;

    use super::*;

    #[test]
    fn a_name_has_no_paths() {
        assert_eq!(without_paths(type_name::<Vec<Option<&std::fs::File>>>()), "Vec<Option<&File>>");
        assert_eq!(without_paths("a::{{closure}}::b_c::Chat"), "Chat");
        assert_eq!(without_paths("a::Pair<b::C, d::e::F<[g::H; 3]>>"), "Pair<C, F<[H; 3]>>");
        assert_eq!(without_paths("u8"), "u8");
    }

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let error = || std::io::Error::other("no");
        let reasons = [
            CloseReason::Finished,
            CloseReason::Closed,
            CloseReason::Aborted,
            CloseReason::TimedOut(crate::close::Deadline::Idle),
            CloseReason::Overflow { message: 1, queued: 1, hard_mark: 1 },
            CloseReason::InputTooLong { left: 2, max_input: 1 },
            CloseReason::Failed("no".into()),
            CloseReason::Panicked("no".into()),
            CloseReason::Io(error()),
            CloseReason::File(error()),
            CloseReason::Shutdown,
        ];
        let mut counts = CloseCounts::default();
        for (place, why) in reasons.iter().enumerate() {
            counts.count(why);
            let by_reason = counts.by_reason();
            assert_eq!((by_reason[place].1, counts.total()), (1, place as u64 + 1), "{why:?}");
        }
        assert_eq!(counts.by_reason().len(), reasons.len());
    }
}
