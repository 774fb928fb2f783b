//! `Replay`: a driver that answers each call from a recording.

mod driver;
mod outcome;
mod run;
mod seeds;
mod shrink;
mod source;

pub use self::driver::Replay;
pub use self::outcome::{Divergence, ReplayError, Replayed};
pub use self::seeds::{ReplayedPlan, replay_plan};
pub use self::shrink::{Expected, RightAnswer, Shrinking, Shrunk, Unshrunk};
