//! Recording a reactor, so that an incident becomes a test (feature `record`).
//!
//! The [`Driver`](crate::driver::Driver) is the only door between the loop and the
//! world. A [`Recorder`] stands in it and keeps the outcome of each call, in a ring of
//! bounded size: when something goes wrong, what led to it is there. A [`Dump`] of it
//! can be read as lines, and `sim::Replay` (features `sim` and `record`) runs it into the
//! same handler again.
//!
//! docs/incident.md leads from an incident to a test, docs/recording.md has the format,
//! what a dump contains, and what can be replayed.
//!
//! A reactor that is not recorded has another type, and pays nothing.

mod decode;
mod digest;
mod display;
mod dump;
mod encode;
mod entry;
mod history;
mod options;
mod primitive;
mod readings;
mod recorder;
mod ring;
mod saver;
mod short;
#[cfg(test)]
mod tests;

pub use self::digest::{Digest, Payloads};
pub use self::dump::{Cursor, Damage, Dump};
pub use self::entry::{Call, Entry, Failure, Number, Outcome, Payload};
pub use self::history::{Conversation, InputEnd, Piece};
pub use self::options::{DumpRequest, Incidents, RecordOptions};
pub use self::recorder::{Recorded, Recorder};
