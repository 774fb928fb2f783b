//! `Groups`: the members of each group of connections, for broadcasts, and the
//! memberships of each connection.

use slab::Slab;

use crate::id::{ConnId, GroupId, Table};

/// The end of a connection's memberships.
const NONE: u32 = u32::MAX;

/// The position of a connection in a group.
#[derive(Debug)]
struct Membership {
    group: GroupId,
    position: u32,
    /// Another membership of the connection, or [`NONE`].
    next: u32,
}

/// All groups of a reactor. A membership takes some 40 bytes, and a connection without
/// one nothing.
///
/// Invariant: `members[m.position]` of `m.group` is the connection that has the
/// membership `m`, and every member has one.
#[derive(Debug)]
pub(crate) struct Groups {
    members: Table<Vec<ConnId>>,
    memberships: Slab<Membership>,
    /// The first membership of each connection, or [`NONE`], by the connection's slot.
    /// A slot whose connection was never a member may lie behind the end.
    first: Vec<u32>,
}

impl Groups {
    pub(crate) const fn new() -> Self {
        Self { members: Table::new(), memberships: Slab::new(), first: Vec::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn create(&mut self) -> GroupId {
        GroupId(self.members.insert(Vec::new()))
    }

    pub(crate) fn exists(&self, group: GroupId) -> bool {
        self.members.contains(group.0)
    }

    /// Removes a group. Its members leave it.
    pub(crate) fn dissolve(&mut self, group: GroupId) {
        for id in self.members.remove(group.0).unwrap_or_default() {
            self.forget(group, id);
        }
    }

    pub(crate) fn members(&self, group: GroupId) -> &[ConnId] {
        self.members.get(group.0).map_or(&[], Vec::as_slice)
    }

    /// The groups of a connection that is there.
    pub(crate) fn of(&self, id: ConnId) -> impl Iterator<Item = GroupId> {
        let mut next = self.first.get(id.0.slot as usize).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let membership = self.memberships.get(next as usize)?;
            next = membership.next;
            Some(membership.group)
        })
    }

    /// Lends the members of a group to a loop that changes something else.
    /// Until [`give_back`](Self::give_back) the group is empty.
    pub(crate) fn lend(&mut self, group: GroupId) -> Vec<ConnId> {
        self.members.get_mut(group.0).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, group: GroupId, lent: Vec<ConnId>) {
        if let Some(members) = self.members.get_mut(group.0) {
            debug_assert!(members.is_empty(), "nobody joined meanwhile");
            *members = lent;
        }
    }

    /// Adds a connection, which must not be a member yet, to a group that exists.
    pub(crate) fn join(&mut self, group: GroupId, id: ConnId) {
        let Some(members) = self.members.get_mut(group.0) else { return };
        let position = small(members.len());
        members.push(id);
        let slot = id.0.slot as usize;
        if slot >= self.first.len() {
            self.first.resize(slot + 1, NONE);
        }
        let next = self.first[slot];
        self.first[slot] = small(self.memberships.insert(Membership { group, position, next }));
    }

    /// Removes a member that is there. False if it is none of this group.
    pub(crate) fn leave(&mut self, group: GroupId, id: ConnId) -> bool {
        let Some(Membership { position, .. }) = self.forget(group, id) else { return false };
        let Some(members) = self.members.get_mut(group.0) else { return false };
        members.swap_remove(position as usize);
        // The last member has moved to the freed position.
        if let Some(moved) = members.get(position as usize).copied()
            && let Some(place) = self.place_of(group, moved)
        {
            self.memberships[place as usize].position = position;
        }
        true
    }

    /// Removes a connection from all of its groups.
    pub(crate) fn leave_all(&mut self, id: ConnId) {
        loop {
            let Some(group) = self.of(id).next() else { return };
            self.leave(group, id);
        }
    }

    /// Where the membership of a connection in a group is, if it has one.
    fn place_of(&self, group: GroupId, id: ConnId) -> Option<u32> {
        let mut place = self.first.get(id.0.slot as usize).copied()?;
        loop {
            let membership = self.memberships.get(place as usize)?;
            if membership.group == group {
                return Some(place);
            }
            place = membership.next;
        }
    }

    /// Takes a membership of a connection away, but not the member from its group.
    fn forget(&mut self, group: GroupId, id: ConnId) -> Option<Membership> {
        let place = self.place_of(group, id)?;
        let forgotten = self.memberships.try_remove(place as usize)?;
        let first = &mut self.first[id.0.slot as usize];
        if *first == place {
            *first = forgotten.next;
            return Some(forgotten);
        }
        let mut before = *first;
        while let Some(membership) = self.memberships.get_mut(before as usize) {
            if membership.next == place {
                membership.next = forgotten.next;
                break;
            }
            before = membership.next;
        }
        Some(forgotten)
    }

    /// Checks the invariant, for a connection that is there.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sound(&self, id: ConnId) -> bool {
        let is_there = |group| {
            let place = self.place_of(group, id)?;
            let position = self.memberships[place as usize].position;
            Some(self.members(group).get(position as usize) == Some(&id))
        };
        self.of(id).all(|group| is_there(group) == Some(true))
    }

    /// The number of members of all groups together, if that is the number of
    /// memberships too.
    #[cfg(feature = "sim")]
    pub(crate) fn memberships(&self) -> Option<usize> {
        let members = self.members.iter().map(|(_, members)| members.len()).sum();
        (members == self.memberships.len()).then_some(members)
    }
}

/// A place in a table or a position in a group: connections have 32 bits.
fn small(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 fit in memory")
}

#[cfg(test)]
mod properties {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::id::Key;

    /// What is done to groups, each named by a small number.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Join(usize, u32),
        Leave(usize, u32),
        LeaveAll(u32),
        Dissolve(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (group, slot) = (0..5_usize, 0..8_u32);
        prop_oneof![
            6 => (group.clone(), slot.clone()).prop_map(|(group, slot)| Step::Join(group, slot)),
            3 => (group.clone(), slot.clone()).prop_map(|(group, slot)| Step::Leave(group, slot)),
            1 => slot.prop_map(Step::LeaveAll),
            1 => group.prop_map(Step::Dissolve),
        ]
    }

    proptest! {
        #[test]
        fn members_and_memberships_are_those_of_a_map_of_sets(
            steps in prop::collection::vec(step(), 0..100),
        ) {
            let conn = |slot| ConnId(Key { slot, generation: 1 });
            let mut groups = Groups::new();
            let ids: Vec<_> = (0..5).map(|_| groups.create()).collect();
            let mut model: BTreeMap<usize, BTreeSet<u32>> = (0..5).map(|group| (group, BTreeSet::new())).collect();
            for step in steps {
                match step {
                    Step::Join(group, slot) => {
                        let is_new = model.get_mut(&group).is_some_and(|members| members.insert(slot));
                        if is_new {
                            groups.join(ids[group], conn(slot));
                        }
                    }
                    Step::Leave(group, slot) => {
                        let was = model.get_mut(&group).is_some_and(|members| members.remove(&slot));
                        prop_assert_eq!(groups.leave(ids[group], conn(slot)), was);
                    }
                    Step::LeaveAll(slot) => {
                        model.values_mut().for_each(|members| _ = members.remove(&slot));
                        groups.leave_all(conn(slot));
                    }
                    Step::Dissolve(group) => {
                        model.remove(&group);
                        groups.dissolve(ids[group]);
                    }
                }
                for (group, id) in ids.iter().enumerate() {
                    let members: BTreeSet<_> = groups.members(*id).iter().map(|id| id.0.slot).collect();
                    prop_assert_eq!(members.len(), groups.members(*id).len());
                    prop_assert_eq!(members, model.get(&group).cloned().unwrap_or_default());
                    prop_assert_eq!(groups.exists(*id), model.contains_key(&group));
                }
                for slot in 0..8 {
                    let of: BTreeSet<_> = groups.of(conn(slot)).collect();
                    let expected = model.iter().filter(|(_, members)| members.contains(&slot));
                    prop_assert_eq!(of, expected.map(|(group, _)| ids[*group]).collect());
                }
            }
        }
    }
}
