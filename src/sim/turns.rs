//! `Turns`: what happened in each turn of a run, so that two runs can be compared.

use std::fmt;
use std::str::FromStr;

/// One turn of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRecord {
    /// Its number, counted from 1.
    pub turn: u64,
    /// The hash of all events until its end, with the bytes that were moved.
    pub hash: u64,
    /// Its events, as the [trace](crate::driver::sim::Trace) shows them.
    pub events: Vec<String>,
}

impl fmt::Display for TurnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "turn {} {:016x}", self.turn, self.hash)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// The turns of a run, as [`World::record_turns`](super::World::record_turns) and
/// [`run_recorded`](super::run_recorded) keep them. As a text they can be written to
/// a file and read again, so that a run of one build is compared with that of
/// another.
///
/// ```
/// use serve_forever::sim::{Plan, Turns, run_recorded, subject::Echo};
///
/// let plan = Plan::new(42);
/// let (once, _) = run_recorded(&Echo, &plan);
/// let (again, _) = run_recorded(&Echo, &plan);
/// assert_eq!(once.first_difference(&again), None);
///
/// let mut other = plan.clone();
/// other.read_buffer = 1;
/// let (other, _) = run_recorded(&Echo, &other);
/// let kept: Turns = other.to_string().parse()?; // from a file, say
/// println!("{}", once.first_difference(&kept).expect("it reads less at once"));
/// # Ok::<(), serve_forever::sim::BadTurns>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns(
    /// In order.
    pub Vec<TurnRecord>,
);

impl Turns {
    /// The first turn in which two runs differ; `None` if they are the same.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<TurnDifference> {
        let most = self.0.len().max(other.0.len());
        let place = (0..most).find(|place| self.0.get(*place) != other.0.get(*place))?;
        let (these, those) = (self.0.get(place), other.0.get(place));
        Some(TurnDifference {
            turn: these.or(those)?.turn,
            before: place.checked_sub(1).map(|before| self.0[before].clone()),
            these: these.cloned(),
            those: those.cloned(),
        })
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|record| record.fmt(f))
    }
}

/// A text that is no record of turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTurns {
    line: usize,
}

impl fmt::Display for BadTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: this is no turn; a record begins with a line `turn NUMBER HASH`", self.line)
    }
}

impl std::error::Error for BadTurns {}

impl FromStr for Turns {
    type Err = BadTurns;

    /// Reads what `Display` has written.
    fn from_str(text: &str) -> Result<Self, BadTurns> {
        let mut turns: Vec<TurnRecord> = Vec::new();
        for (place, line) in text.lines().enumerate() {
            let bad = BadTurns { line: place + 1 };
            if let Some(head) = line.strip_prefix("turn ") {
                let (turn, hash) = head.split_once(' ').ok_or_else(|| bad.clone())?;
                let turn = turn.parse().map_err(|_| bad.clone())?;
                let hash = u64::from_str_radix(hash, 16).map_err(|_| bad)?;
                turns.push(TurnRecord { turn, hash, events: Vec::new() });
            } else {
                turns.last_mut().ok_or(bad)?.events.push(line.to_owned());
            }
        }
        Ok(Self(turns))
    }
}

/// The first turn in which two runs differ. `Display` shows both sides, the first
/// event that differs marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnDifference {
    /// Its number.
    pub turn: u64,
    /// The turn before it, which is the same in both.
    pub before: Option<TurnRecord>,
    /// It in the first run; `None`: that had ended.
    pub these: Option<TurnRecord>,
    /// It in the second run; `None`: that had ended.
    pub those: Option<TurnRecord>,
}

impl fmt::Display for TurnDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the runs differ in turn {}", self.turn)?;
        if let Some(before) = &self.before {
            write!(f, "the turn before, in both:\n{before}")?;
        }
        let events = |side: &Option<TurnRecord>| side.as_ref().map(|record| record.events.clone());
        let (these, those) =
            (events(&self.these).unwrap_or_default(), events(&self.those).unwrap_or_default());
        let common = these.iter().zip(&those).take_while(|(this, that)| this == that).count();
        for (name, side) in [("the first run", &self.these), ("the second run", &self.those)] {
            let Some(record) = side else {
                writeln!(f, "{name} had ended")?;
                continue;
            };
            writeln!(f, "{name}: turn {} {:016x}", record.turn, record.hash)?;
            for (place, event) in record.events.iter().enumerate() {
                let mark = if place == common { "->" } else { "  " };
                writeln!(f, "{mark}{event}")?;
            }
            if record.events.len() == common && these.len() == those.len() {
                writeln!(f, "  the same events, with other bytes")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(turn: u64, hash: u64, events: &[&str]) -> TurnRecord {
        TurnRecord { turn, hash, events: events.iter().map(|event| (*event).into()).collect() }
    }

    #[test]
    fn a_text_is_read_again() {
        let turns = Turns(vec![turn(1, 7, &["a 1", "b 2"]), turn(2, u64::MAX, &[])]);
        assert_eq!(turns.to_string().parse(), Ok(turns));
        assert_eq!("".parse(), Ok(Turns::default()));
        for (text, line) in [("a", 1), ("turn 1", 1), ("turn 1 x", 1), ("turn 1 0\na\nturn y 0", 3)] {
            assert_eq!(text.parse::<Turns>(), Err(BadTurns { line }), "{text}");
        }
    }

    #[test]
    fn the_first_difference_names_the_turn_and_both_sides() {
        let once = Turns(vec![turn(1, 1, &["a"]), turn(2, 2, &["b", "c"])]);
        assert_eq!(once.first_difference(&once), None);
        let again = Turns(vec![turn(1, 1, &["a"]), turn(2, 3, &["b", "d", "e"])]);
        let difference = once.first_difference(&again).expect("the second turn");
        assert_eq!(difference.turn, 2);
        let text = difference.to_string();
        assert!(text.contains("turn before, in both:\nturn 1 "), "{text}");
        assert!(text.contains("  b\n->c\nthe second run"), "{text}");
        assert!(text.contains("  b\n->d\n  e\n"), "{text}");
    }

    #[test]
    fn a_run_that_ends_early_and_one_with_other_bytes_differ() {
        let (long, short) = (Turns(vec![turn(1, 1, &["a"])]), Turns::default());
        let difference = long.first_difference(&short).expect("the first turn").to_string();
        assert!(difference.ends_with("the second run had ended\n"), "{difference}");
        let other = Turns(vec![turn(1, 2, &["a"])]);
        let difference = long.first_difference(&other).expect("another hash").to_string();
        assert_eq!(difference.matches("other bytes").count(), 2, "{difference}");
    }
}
