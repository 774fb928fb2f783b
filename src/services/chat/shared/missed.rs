//! `Missed`: what a member that comes back has still to be given; and how a gap is told.

use crate::bus::{BusToken, Gap, GapReason, Position};
use crate::services::chat::audience::Wire;

/// The notice that lines are missing, of which nobody knows the number.
pub(super) const MISSED: &str = "* lines may have been missed\n";

/// What a member that comes back has still to be given.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) wire: Wire,
    /// The last that it was given, or where it came from.
    pub(super) at: Position,
    /// The request to the bus for the rest. With none the member reads first.
    pub(super) asked: Option<BusToken>,
}

/// The notice of a gap.
pub(super) fn of_gap(gap: &Gap) -> Option<String> {
    match gap.missing() {
        // The members know that the room is offline.
        _ if gap.why == GapReason::OrderLost => None,
        Some(0) => None,
        Some(count) => Some(format!("* {count} lines were missed\n")),
        None => Some(MISSED.into()),
    }
}
