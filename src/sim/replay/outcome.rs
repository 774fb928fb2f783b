//! `Divergence`, `ReplayError` and `Replayed`: the ends of a replay.

use std::fmt;
use std::time::Duration;

/// The place at which a replay does something else than the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The turn, counted by the waits for events from 1 on; 0 is the set-up before.
    pub turn: u64,
    /// The time of the recording.
    pub at: Duration,
    /// The call in the recording, with its outcome.
    pub recorded: String,
    /// The call of the replay.
    pub replayed: String,
    /// The calls of other threads so far, which the recording has and the replay has not
    /// made.
    pub lost_calls: usize,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turn, at, recorded, replayed, lost_calls } = self;
        write!(f, "turn {turn}, after {at:?}: the recording has `{recorded}`, the replay `{replayed}`")?;
        if *lost_calls > 0 {
            write!(f, "; {lost_calls} calls of other threads were not replayed (see Replay::on_calls)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Divergence {}

/// The outcome of a replay that has come to the end of its recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The turns, counted by the waits for events.
    pub turns: u64,
    /// The calls of the loop that were answered from the recording.
    pub calls: u64,
    /// The calls of other threads that the recording has, and the replay has not made: the
    /// rest of the run did without them.
    pub lost_calls: usize,
}

/// The reason for which a recording cannot be replayed, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// The ring had given up its first segments for newer ones. A connection whose accept
    /// is in the dump can be [shrunk](super::Shrinking) all the same.
    NoBeginning {
        /// The number of lost segments.
        lost_segments: u64,
    },
    /// The recording has hashes of what came in, and no bytes.
    NoPayloads,
    /// The `SHORT` of the replay is not the
    /// [`SHORT_MEANS_BLOCKED`](crate::driver::Driver::SHORT_MEANS_BLOCKED) of the recorded
    /// driver.
    OtherDriver {
        /// That of the recorded driver.
        short_means_blocked: bool,
    },
    /// The handler did something else than it did then.
    Diverged(Divergence),
    /// Between two turns the program has made a call of its own: it has to make it again,
    /// and then to go on.
    Program {
        /// The turns before.
        turn: u64,
        /// The call.
        call: String,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBeginning { lost_segments } => write!(
                f,
                "the first {lost_segments} segments of the recording are lost; record with a larger \
                 RecordOptions::bytes, or shrink a connection whose accept is there"
            ),
            Self::NoPayloads => f.write_str(
                "the recording has no payloads, but their hashes; record with Payloads::Kept to replay",
            ),
            Self::OtherDriver { short_means_blocked } => {
                write!(f, "the recorded driver is another one; replay with Replay::<{short_means_blocked}>")
            }
            Self::Diverged(divergence) => divergence.fmt(f),
            Self::Program { turn, call } => write!(
                f,
                "after turn {turn} the program did this: {call}; do the same, then go on with Replay::run"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}
