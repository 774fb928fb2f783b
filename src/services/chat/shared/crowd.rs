//! `Crowd`: who has been announced as here, so that each leaving is announced once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::bus::{NodeId, PresenceChange};
use crate::{Io, TimerId};

/// A member: its node, and its number there.
pub(super) type Who = (NodeId, u64);

/// Everybody in the room, on all nodes, as its members were told.
///
/// A member that leaves is announced by a message of its node. One whose node has died is
/// missing from the list of members, and is announced when it is still missing after a
/// while: a Redis that has lost its data lists nobody until the nodes have come back. A
/// name that is listed and that nobody was told of (it was asked for, and not taken) is
/// nobody's.
#[derive(Debug)]
pub(super) struct Crowd {
    people: BTreeMap<Who, Known>,
    /// When it counts that somebody is not listed any more.
    missing: BTreeMap<Who, Instant>,
    /// The names of those that were announced as gone because they were missing.
    lost: BTreeMap<Who, String>,
    timer: Option<TimerId>,
    patience: Duration,
    most: usize,
}

/// Somebody in the room.
#[derive(Debug)]
struct Known {
    name: String,
    word: Heard,
}

/// Whether a node has said of its member that it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Said,
    /// It is listed: it was here before, or will be said to come.
    NotYet,
}

impl Crowd {
    pub(super) const fn new(patience: Duration, most: usize) -> Self {
        Self {
            people: BTreeMap::new(),
            missing: BTreeMap::new(),
            lost: BTreeMap::new(),
            timer: None,
            patience,
            most,
        }
    }

    /// Somebody is here, under a name, by the word of its node.
    pub(super) fn came(&mut self, who: Who, name: &str) {
        self.missing.remove(&who);
        self.lost.remove(&who);
        self.know(who, Known { name: name.to_owned(), word: Heard::Said });
    }

    fn know(&mut self, who: Who, known: Known) {
        if self.people.len() < self.most || self.people.contains_key(&who) {
            self.people.insert(who, known);
        }
    }

    /// Somebody is listed, under this name too. True if it was announced as gone under it.
    pub(super) fn is_listed(&mut self, who: Who, name: &str) -> bool {
        self.missing.remove(&who);
        if !self.people.contains_key(&who) {
            self.know(who, Known { name: name.to_owned(), word: Heard::NotYet });
        }
        // A new name has a word of its own.
        let was_lost = self.lost.get(&who).is_some_and(|lost| lost == name);
        if was_lost {
            self.lost.remove(&who);
        }
        was_lost
    }

    /// Somebody has left, by its own word. True if that is news.
    pub(super) fn left(&mut self, who: Who) -> bool {
        self.missing.remove(&who);
        self.people.remove(&who).is_some()
    }

    /// A name of somebody is not listed any more.
    pub(super) fn is_missed(&mut self, io: &mut Io<'_>, who: Who, change: PresenceChange) {
        let Some(known) = self.people.get(&who) else { return };
        if change == PresenceChange::Left && known.word == Heard::NotYet {
            // It has not come, and does not.
            self.left(who);
            return;
        }
        self.missing.insert(who, io.now() + self.patience);
        if self.timer.is_none() {
            self.look_again(io, self.patience);
        }
    }

    /// Whether this is the crowd's timer, which then is no longer set.
    pub(super) fn is_tick(&mut self, timer: TimerId) -> bool {
        self.timer.take_if(|own| *own == timer).is_some()
    }

    /// Takes the names of those that have been missing for long enough, but not of `here`,
    /// who are listed under other names.
    pub(super) fn take_lost(&mut self, io: &mut Io<'_>, here: &BTreeSet<Who>) -> Vec<String> {
        let now = io.now();
        let mut lost = Vec::new();
        self.missing.retain(|who, due| {
            let is_due = *due <= now;
            if is_due
                && !here.contains(who)
                && let Some(known) = self.people.remove(who)
            {
                if self.lost.len() < self.most {
                    self.lost.insert(*who, known.name.clone());
                }
                lost.push(known.name);
            }
            !is_due
        });
        if let Some(next) = self.missing.values().min() {
            self.look_again(io, next.saturating_duration_since(now));
        }
        lost
    }

    /// Waits on: nobody can be listed meanwhile.
    pub(super) fn wait(&mut self, io: &mut Io<'_>) {
        let due = io.now() + self.patience;
        self.missing.values_mut().for_each(|missing| *missing = due);
        self.look_again(io, self.patience);
    }

    fn look_again(&mut self, io: &mut Io<'_>, after: Duration) {
        // Without a timer the next one that is missed sees to it.
        self.timer = io.tick_after(after).ok();
    }
}
