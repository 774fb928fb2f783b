//! `Case`: one client of a recording as a script.

use std::time::Duration;

use super::shrinking::{Expected, Shrinking};
use crate::driver::sim::{Conditions, Script};
use crate::record::{Conversation, InputEnd};
use crate::sim::world::World;
use crate::{Address, StreamHandler};

/// The turns after which a run counts as endless.
const PATIENCE: u64 = 100_000;

/// The bytes of one client, in pieces that a handler is to read one by one, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) is_unix: bool,
    pub(super) pieces: Vec<Piece>,
    pub(super) pace: Pace,
    pub(super) ending: Ending,
}

/// Bytes that come at once, and the time before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) after: Duration,
    pub(super) bytes: Vec<u8>,
}

/// The time between pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// That of [`Script::cut_at`].
    Even,
    /// That of the recording.
    Recorded,
}

/// The end of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finish,
    Reset,
}

/// What a run has shown.
pub(super) struct Seen {
    pub(super) received: Vec<u8>,
    /// Why the connection was closed; or the broken check.
    pub(super) end: String,
    pub(super) is_sound: bool,
}

impl Case {
    /// The case of a conversation, at an even pace and at the recorded one; `None` if its
    /// bytes were not kept.
    pub(super) fn of(conversation: &Conversation) -> Option<(Self, Self)> {
        let mut before = conversation.accepted_at;
        let mut pieces = Vec::new();
        for piece in conversation.pieces.as_ref()? {
            pieces.push(Piece { after: piece.at.since(before), bytes: piece.bytes.clone() });
            before = piece.at;
        }
        let ending = match conversation.end {
            InputEnd::Open | InputEnd::Fin => Ending::Finish,
            InputEnd::Broken(_) => Ending::Reset,
        };
        let is_unix = !matches!(conversation.peer.address, Address::Inet(_));
        let even = Self { is_unix, pieces, pace: Pace::Even, ending };
        let recorded = Self { pace: Pace::Recorded, ..even.clone() };
        Some((even, recorded))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect()
    }

    pub(super) fn cuts(&self) -> Vec<usize> {
        let mut at = 0;
        let mut ends: Vec<_> = self
            .pieces
            .iter()
            .map(|piece| {
                at += piece.bytes.len();
                at
            })
            .collect();
        ends.pop();
        ends
    }

    /// The same bytes in one piece.
    pub(super) fn uncut(&self) -> Self {
        let after = self.pieces.first().map_or(Duration::ZERO, |first| first.after);
        let pieces = vec![Piece { after, bytes: self.bytes() }];
        Self { pieces, pace: Pace::Even, ..self.clone() }
    }

    fn script(&self) -> Script {
        let script = match self.pace {
            Pace::Even => Script::new().send(self.bytes()).cut_at(self.cuts()),
            Pace::Recorded => self
                .pieces
                .iter()
                .fold(Script::new(), |script, piece| script.after(piece.after).send(piece.bytes.clone())),
        };
        match self.ending {
            Ending::Finish => script.finish(),
            Ending::Reset => script.reset(),
        }
    }
}

impl<H: StreamHandler> Shrinking<H> {
    /// Plays a case into a new handler.
    pub(super) fn play(&self, case: &Case) -> Seen {
        let handler = (self.handler)();
        let limits = self.limits.clone();
        let mut world = match World::<H, true>::new(0, Conditions::calm(), handler, limits) {
            Ok(world) => world,
            Err(error) => return Seen { received: Vec::new(), end: error.to_string(), is_sound: false },
        };
        world.set_patience(PATIENCE);
        let script = case.script();
        let client = if case.is_unix { world.play_unix(script) } else { world.play(script) };
        let outcome = world.run();
        let received = world.client(client).received().to_vec();
        let (end, is_sound) = match (outcome, world.life(client).and_then(|life| life.closed())) {
            (Err(violation), _) => (violation.what, false),
            (Ok(()), None) => ("it was never opened, or never closed".into(), false),
            (Ok(()), Some(why)) => {
                let is_sound = !(why.starts_with("Failed") || why.starts_with("Panicked"));
                (why.to_owned(), is_sound)
            }
        };
        Seen { received, end, is_sound }
    }

    /// How a case fails; `None` if it does not.
    pub(super) fn fault(&self, case: &Case) -> Option<String> {
        if matches!(self.expected, Expected::AsUncut) && *case == case.uncut() {
            return None;
        }
        let seen = self.play(case);
        let expected = match &self.expected {
            Expected::NoFailure => return (!seen.is_sound).then_some(seen.end),
            Expected::Answer(answer) => answer(&case.bytes()),
            // A callback may fail in both: what came before is compared all the same.
            Expected::AsUncut => self.play(&case.uncut()).received,
        };
        (seen.received != expected).then(|| "another answer".into())
    }
}
