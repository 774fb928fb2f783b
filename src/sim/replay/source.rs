//! `Source`: the entries of a recording, one after the other, and where a replay has left
//! them.

use std::cell::{Cell, OnceCell};
use std::io;
use std::time::Duration;

use super::outcome::Divergence;
use crate::driver::{Moment, Notice};
use crate::record::{Call, Cursor, Dump, Entry, Outcome};

/// Reads a recording on behalf of a driver. The clock is read through a shared reference,
/// so the place is in a cell.
#[derive(Debug)]
pub(super) struct Source {
    dump: Dump,
    at: Cell<Cursor>,
    now: Cell<Moment>,
    turn: Cell<u64>,
    calls: Cell<u64>,
    lost_calls: Cell<usize>,
    divergence: OnceCell<Divergence>,
    has_ended: Cell<bool>,
}

impl Source {
    pub(super) fn new(dump: Dump) -> Self {
        Self {
            at: Cell::new(dump.start()),
            dump,
            now: Cell::new(Moment::ZERO),
            turn: Cell::new(0),
            calls: Cell::new(0),
            lost_calls: Cell::new(0),
            divergence: OnceCell::new(),
            has_ended: Cell::new(false),
        }
    }

    pub(super) const fn dump(&self) -> &Dump {
        &self.dump
    }

    pub(super) const fn turn(&self) -> u64 {
        self.turn.get()
    }

    pub(super) const fn calls(&self) -> u64 {
        self.calls.get()
    }

    pub(super) const fn lost_calls(&self) -> usize {
        self.lost_calls.get()
    }

    pub(super) fn divergence(&self) -> Option<&Divergence> {
        self.divergence.get()
    }

    /// Whether the recording is at its end, or was left.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended.get() || self.divergence.get().is_some()
    }

    /// Whether the replay has come to the end of the recording.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// The time: the next one in the recording.
    pub(super) fn now(&self) -> Moment {
        if let Some(Outcome::Time(now)) = self.take(&Call::Now) {
            self.now.set(now);
        }
        self.now.get()
    }

    /// The outcome of this call in the recording. `None` at the end of it, and after a
    /// divergence, of which this may be the first.
    pub(super) fn take(&self, call: &Call<'_>) -> Option<Outcome<'_>> {
        if self.is_over() {
            return None;
        }
        let Some(entry) = self.entry_for(call) else {
            self.has_ended.set(true);
            return None;
        };
        if matches!(call, Call::Wait { .. }) {
            self.turn.set(self.turn.get() + 1);
        }
        if entry.call != *call {
            self.diverge(&entry, call.to_string());
            return None;
        }
        self.calls.set(self.calls.get() + 1);
        Some(entry.outcome)
    }

    /// The next entry that a replay can be held against. What other threads have left for
    /// the loop is none if nobody has left it again.
    fn entry_for(&self, call: &Call<'_>) -> Option<Entry<'_>> {
        let mut at = self.at.get();
        let mut entry = self.dump.next(&mut at)?;
        while let Call::Notice(Notice::Calls { count, shutdown }) = entry.call
            && !matches!(call, Call::Notice(Notice::Calls { .. }))
        {
            self.lose(count, shutdown);
            entry = self.dump.next(&mut at)?;
        }
        self.at.set(at);
        Some(entry)
    }

    /// Notes that the replay does something else than the recording.
    pub(super) fn diverge(&self, entry: &Entry<'_>, replayed: String) {
        let divergence = Divergence {
            turn: self.turn.get(),
            at: Duration::from_nanos(self.now.get().as_nanos()),
            recorded: entry.to_string(),
            replayed,
            lost_calls: self.lost_calls.get(),
        };
        // The first one stands.
        let _ = self.divergence.set(divergence);
    }

    /// What other threads leave for the loop between the wait that comes next and the one
    /// behind it.
    pub(super) fn calls_ahead(&self) -> Option<(usize, Option<Duration>)> {
        let mut at = self.at.get();
        let mut waits = 0;
        while waits < 2 {
            match self.dump.next(&mut at)?.call {
                Call::Notice(Notice::Calls { count, shutdown }) => return Some((count, shutdown)),
                Call::Wait { .. } => waits += 1,
                _ => {}
            }
        }
        None
    }

    /// Goes on to the next thing that the program did after a turn, which stays the next
    /// entry. Calls of other threads that are still there belong to the turn, and a
    /// program may ask the clock how long it may sleep.
    pub(super) fn end_turn(&self) -> Option<Entry<'_>> {
        let mut at = self.at.get();
        loop {
            let before = at;
            let entry = self.dump.next(&mut at)?;
            match entry.call {
                Call::Now => {}
                Call::Notice(Notice::Calls { count, shutdown }) => self.lose(count, shutdown),
                _ => {
                    self.at.set(before);
                    return Some(entry);
                }
            }
        }
    }

    /// Counts calls of other threads that nobody has made again.
    fn lose(&self, count: usize, shutdown: Option<Duration>) {
        self.lost_calls.set(self.lost_calls.get() + count + usize::from(shutdown.is_some()));
    }

    /// Notes that the recording is at its end.
    pub(super) fn end(&self) {
        self.has_ended.set(true);
    }

    /// The error of a wait that has no entry.
    pub(super) fn over(&self) -> io::Error {
        match self.divergence.get() {
            Some(divergence) => io::Error::other(divergence.clone()),
            None => io::Error::other("the recording is at its end"),
        }
    }
}
