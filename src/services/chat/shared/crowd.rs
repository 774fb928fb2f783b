//! `Crowd`: who has been announced as here, so that each leaving is announced once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bus::NodeId;
use crate::services::chat::names::key;
use crate::{Io, TimerId};

/// Everybody in the room, on all nodes, as its members were told.
///
/// A member that leaves is announced by a message of its node. One whose node has died is
/// missing from the list of members, and is announced when it is still missing after a
/// while: a Redis that has lost its data lists nobody until the nodes have come back.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Names by their keys.
    names: BTreeMap<String, String>,
    /// Those that are not listed any more.
    missing: BTreeMap<String, Missing>,
    /// Those that were announced as gone because they were missing.
    lost: BTreeMap<String, Who>,
    timer: Option<TimerId>,
    patience: Duration,
    most: usize,
}

/// A member: its node, and its number there.
type Who = (NodeId, u64);

/// Somebody that is not listed any more, and when that counts.
#[derive(Debug)]
struct Missing {
    who: Who,
    due: Instant,
}

impl Crowd {
    pub(super) const fn new(patience: Duration, most: usize) -> Self {
        Self {
            names: BTreeMap::new(),
            missing: BTreeMap::new(),
            lost: BTreeMap::new(),
            timer: None,
            patience,
            most,
        }
    }

    /// Somebody is here.
    pub(super) fn came(&mut self, name: &str) {
        let key = key(name);
        self.missing.remove(&key);
        self.lost.remove(&key);
        if self.names.len() < self.most {
            self.names.insert(key, name.to_owned());
        }
    }

    /// Somebody is listed. True if it was announced as gone.
    pub(super) fn is_listed(&mut self, name: &str, who: Who) -> bool {
        let was_lost = self.lost.get(&key(name)) == Some(&who);
        self.came(name);
        was_lost
    }

    /// Somebody has left, by its own word. True if that is news.
    pub(super) fn left(&mut self, name: &str) -> bool {
        let key = key(name);
        self.missing.remove(&key);
        self.names.remove(&key).is_some()
    }

    /// Somebody is not listed any more.
    pub(super) fn is_missed(&mut self, io: &mut Io<'_>, key: &str, who: Who) {
        if self.names.contains_key(key) {
            let due = io.now() + self.patience;
            self.missing.insert(key.to_owned(), Missing { who, due });
            if self.timer.is_none() {
                self.look_again(io, self.patience);
            }
        }
    }

    /// Whether this is the crowd's timer, which then is no longer set.
    pub(super) fn is_tick(&mut self, timer: TimerId) -> bool {
        self.timer.take_if(|own| *own == timer).is_some()
    }

    /// Takes those that have been missing for long enough.
    pub(super) fn take_lost(&mut self, io: &mut Io<'_>) -> Vec<String> {
        let now = io.now();
        let mut lost = Vec::new();
        self.missing.retain(|key, missing| {
            let is_due = missing.due <= now;
            if is_due {
                lost.extend(self.names.remove(key));
                if self.lost.len() < self.most {
                    self.lost.insert(key.clone(), missing.who);
                }
            }
            !is_due
        });
        if let Some(next) = self.missing.values().map(|missing| missing.due).min() {
            self.look_again(io, next.saturating_duration_since(now));
        }
        lost
    }

    /// Waits on: nobody can be listed meanwhile.
    pub(super) fn wait(&mut self, io: &mut Io<'_>) {
        let due = io.now() + self.patience;
        self.missing.values_mut().for_each(|missing| missing.due = due);
        self.look_again(io, self.patience);
    }

    fn look_again(&mut self, io: &mut Io<'_>, after: Duration) {
        // Without a timer the next one that is missed sees to it.
        self.timer = io.tick_after(after).ok();
    }
}
