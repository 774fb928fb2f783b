//! `Listing`: the members of a room, of all nodes, as this node knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::event::{NodeId, Presence, PresenceChange};
use super::wire::{Frame, items, text};

/// A member of a room, as [`Bus::members`](super::Bus::members) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node that it is on.
    pub node: NodeId,
    /// The value that it was entered with.
    pub value: Bytes,
}

/// The members of a room. Changes count from the first whole list of a link on: what
/// comes before it is in it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    members: BTreeMap<Arc<str>, Member>,
    is_known: bool,
}

/// The list of members as Redis has answered it.
pub(super) type Snapshot = BTreeMap<Arc<str>, Member>;

impl Listing {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (&**name, member))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// True from the first whole list of a link on.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// The link is gone: changes are missed from now on.
    pub(super) const fn link_lost(&mut self) {
        self.is_known = false;
    }

    /// Takes a whole list, and tells what is different from before.
    pub(super) fn replace(&mut self, room: &Arc<str>, snapshot: Snapshot) -> Vec<Presence> {
        let mut changes = Vec::new();
        for (name, old) in &self.members {
            let stays = snapshot.get(name).is_some_and(|new| new.node == old.node);
            if !stays {
                changes.push(change(room, name, old, PresenceChange::Unlisted));
            }
        }
        for (name, new) in &snapshot {
            if self.members.get(name) != Some(new) {
                changes.push(change(room, name, new, PresenceChange::Joined));
            }
        }
        self.members = snapshot;
        self.is_known = true;
        changes
    }

    /// Takes a change that was told; `None` if it is none.
    pub(super) fn apply(&mut self, room: &Arc<str>, told: &Told, most: usize) -> Option<Presence> {
        if !self.is_known {
            return None;
        }
        let Told { node, ref member, .. } = *told;
        match told.change {
            PresenceChange::Joined => {
                let new = Member { node, value: told.value.clone() };
                if self.members.get(member) == Some(&new)
                    || (self.members.len() >= most && !self.members.contains_key(member))
                {
                    return None;
                }
                let presence = change(room, member, &new, PresenceChange::Joined);
                self.members.insert(Arc::clone(member), new);
                Some(presence)
            }
            gone => {
                self.members.get(member).filter(|old| old.node == node)?;
                let old = self.members.remove(member)?;
                Some(change(room, member, &old, gone))
            }
        }
    }
}

fn change(room: &Arc<str>, name: &Arc<str>, member: &Member, change: PresenceChange) -> Presence {
    Presence {
        room: Arc::clone(room),
        member: Arc::clone(name),
        value: member.value.clone(),
        node: member.node,
        change,
    }
}

/// A change as it is told on a channel: a mark, the node, the length of the name, the
/// name, the value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) change: PresenceChange,
    pub(super) node: NodeId,
    pub(super) member: Arc<str>,
    pub(super) value: Bytes,
}

impl Told {
    /// Reads a change; `None` if it is none.
    pub(super) fn parse(payload: &Bytes) -> Option<Self> {
        let change = match payload.first()? {
            b'+' => PresenceChange::Joined,
            b'-' => PresenceChange::Left,
            b'!' => PresenceChange::Unlisted,
            _ => return None,
        };
        let (node, rest) = owner(&payload.slice(1..))?;
        let colon = rest.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let end = (colon + 1).checked_add(length).filter(|end| *end <= rest.len())?;
        let member = std::str::from_utf8(&rest[colon + 1..end]).ok()?.into();
        Some(Self { change, node, member, value: rest.slice(end..) })
    }
}

/// The node that bytes begin with, and what stands behind it.
fn owner(bytes: &Bytes) -> Option<(NodeId, Bytes)> {
    let node = std::str::from_utf8(bytes.get(..16)?).ok()?;
    Some((NodeId(u64::from_str_radix(node, 16).ok()?), bytes.slice(16..)))
}

/// Reads a list of members.
pub(super) fn snapshot(frame: &Frame) -> Option<Snapshot> {
    let (_, pairs) = items(frame)?.split_first()?;
    let member = |pair: &[Frame]| {
        let [name, entry] = pair else { return None };
        let name = std::str::from_utf8(text(name)?).ok()?.into();
        let (node, value) = owner(text(entry)?)?;
        // A copy: it stays, and the answer that it is a part of need not.
        Some((name, Member { node, value: Bytes::copy_from_slice(&value) }))
    };
    pairs.chunks(2).map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &'static str) -> Told {
        Told::parse(&Bytes::from_static(text.as_bytes())).expect(text)
    }

    #[test]
    fn changes_are_told_once_and_by_the_node_that_has_the_member() {
        let room: Arc<str> = "lobby".into();
        let mut listing = Listing::default();
        let joined = told("+000000000000000a3:annthe value");
        assert_eq!(listing.apply(&room, &joined, 9), None, "the list is not known yet");
        assert!(listing.replace(&room, Snapshot::new()).is_empty());
        let presence = listing.apply(&room, &joined, 9).expect("it is new");
        assert_eq!((&*presence.member, &presence.value[..]), ("ann", &b"the value"[..]));
        assert_eq!(listing.apply(&room, &joined, 9), None, "it is there already");
        assert_eq!(listing.apply(&room, &told("-000000000000000b3:ann"), 9), None, "another node's");
        let left = listing.apply(&room, &told("!000000000000000a3:ann"), 9).expect("it was there");
        assert_eq!(left.change, PresenceChange::Unlisted);
        assert_eq!(listing.iter().count(), 0);
    }

    #[test]
    fn a_list_tells_what_was_missed() {
        let room: Arc<str> = "lobby".into();
        let mut listing = Listing::default();
        let member = |node| Member { node: NodeId(node), value: Bytes::new() };
        let list = |pairs: &[(&str, u64)]| -> Snapshot {
            pairs.iter().map(|(name, node)| ((*name).into(), member(*node))).collect()
        };
        assert_eq!(listing.replace(&room, list(&[("a", 1), ("b", 1), ("c", 1)])).len(), 3);
        listing.link_lost();
        let changes = listing.replace(&room, list(&[("b", 1), ("c", 2), ("d", 2)]));
        let changes: Vec<_> =
            changes.iter().map(|presence| (&*presence.member, presence.node.0, presence.change)).collect();
        let (gone, new) = (PresenceChange::Unlisted, PresenceChange::Joined);
        assert_eq!(changes, [("a", 1, gone), ("c", 1, gone), ("c", 2, new), ("d", 2, new)]);
    }

    #[test]
    fn what_is_no_change_is_none() {
        for text in
            ["", "+", "+00", "+000000000000000a", "+000000000000000a9:ann", "+000000000000000ax:ann", "?"]
        {
            assert_eq!(Told::parse(&Bytes::from_static(text.as_bytes())), None, "{text}");
        }
    }
}
