//! `Lines`: lines of a bus that wait for the floor.

use std::collections::VecDeque;

use crate::ConnId;

/// The most bytes that wait. Further lines are sent at once: whoever reads gets them, and
/// nobody is waited for any longer.
const MOST: usize = 4 << 20;

/// What a waiting line counts beside its bytes.
const OVERHEAD: usize = 64;

/// A line, with its end, and who hears it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) to: Hearers,
}

/// Who hears a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hearers {
    All,
    AllBut(ConnId),
    One(ConnId),
}

/// The lines, in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queue: VecDeque<Line>,
    bytes: usize,
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn are_too_many(&self) -> bool {
        self.bytes > MOST
    }

    pub(super) fn push(&mut self, line: Line) {
        self.bytes += line.text.len() + OVERHEAD;
        self.queue.push_back(line);
    }

    pub(super) fn pop(&mut self) -> Option<Line> {
        let line = self.queue.pop_front()?;
        self.bytes -= line.text.len() + OVERHEAD;
        Some(line)
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
            lines.push(Line { text: format!("{count}\n"), to: Hearers::All });
            count += 1;
        }
        assert!(count < MOST / OVERHEAD, "short lines cost more than their bytes");
        for number in 0..count {
            assert_eq!(lines.pop().expect("it was pushed").text, format!("{number}\n"));
        }
        assert!(lines.is_empty() && lines.bytes == 0);
    }
}
