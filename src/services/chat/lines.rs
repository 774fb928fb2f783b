//! `Lines`: lines of a bus that wait for the floor.

use std::collections::VecDeque;

use super::audience::{Standing, Wire};
use crate::ConnId;

/// The most bytes that wait. Further lines are sent at once: whoever reads gets them, and
/// nobody is waited for any longer.
const MOST: usize = 4 << 20;

/// What a waiting line counts beside its bytes.
const OVERHEAD: usize = 64;

/// Something that comes to the members in its turn.
#[derive(Debug)]
pub(super) enum Item {
    Line(Line),
    Newcomer(Newcomer),
}

/// A line, with its end, and who hears it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) to: Hearers,
    pub(super) at: Standing,
}

/// Who hears a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hearers {
    All,
    AllBut(ConnId),
    One(ConnId),
}

/// A connection that hears all lines behind this.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) id: ConnId,
    pub(super) wire: Wire,
}

impl Line {
    /// A line that stands nowhere in the order of the room.
    pub(super) fn aside(text: String) -> Self {
        Self { text, to: Hearers::All, at: Standing::default() }
    }
}

impl Item {
    /// The bytes that it counts for.
    const fn cost(&self) -> usize {
        match self {
            Self::Line(line) => line.text.len() + OVERHEAD,
            Self::Newcomer(_) => OVERHEAD,
        }
    }
}

/// The lines, in order, and the newcomers between them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queue: VecDeque<Item>,
    bytes: usize,
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn are_too_many(&self) -> bool {
        self.bytes > MOST
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.cost();
        self.queue.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.bytes -= item.cost();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_with_what_they_cost() {
        let mut lines = Lines::default();
        let mut count = 0;
        while !lines.are_too_many() {
            lines.push(Item::Line(Line::aside(format!("{count}\n"))));
            count += 1;
        }
        assert!(count < MOST / OVERHEAD, "short lines cost more than their bytes");
        for number in 0..count {
            let Some(Item::Line(line)) = lines.pop() else { panic!("it was pushed") };
            assert_eq!(line.text, format!("{number}\n"));
        }
        assert!(lines.is_empty() && lines.bytes == 0);
    }
}
