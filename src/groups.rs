//! `Groups`: the members of each group of connections, for broadcasts.

use crate::id::{ConnId, GroupId, Table};

/// The position of a connection in a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub(crate) group: GroupId,
    position: usize,
}

/// All groups of a reactor.
///
/// Invariant: `members[m.position]` of `m.group` is the connection that holds
/// the membership `m`, and every member holds one.
#[derive(Debug)]
pub(crate) struct Groups(Table<Vec<ConnId>>);

impl Groups {
    pub(crate) const fn new() -> Self {
        Self(Table::new())
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn create(&mut self) -> GroupId {
        GroupId(self.0.insert(Vec::new()))
    }

    pub(crate) fn exists(&self, group: GroupId) -> bool {
        self.0.contains(group.0)
    }

    /// Removes a group and returns its members; the caller removes their
    /// memberships.
    pub(crate) fn dissolve(&mut self, group: GroupId) -> Vec<ConnId> {
        self.0.remove(group.0).unwrap_or_default()
    }

    pub(crate) fn members(&self, group: GroupId) -> &[ConnId] {
        self.0.get(group.0).map_or(&[], Vec::as_slice)
    }

    /// Lends the members of a group to a loop that changes something else.
    /// Until [`give_back`](Self::give_back) the group is empty.
    pub(crate) fn lend(&mut self, group: GroupId) -> Vec<ConnId> {
        self.0.get_mut(group.0).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, group: GroupId, lent: Vec<ConnId>) {
        if let Some(members) = self.0.get_mut(group.0) {
            debug_assert!(members.is_empty(), "nobody joined meanwhile");
            *members = lent;
        }
    }

    /// Adds a connection, which must not be a member yet; `None` if the group
    /// does not exist.
    pub(crate) fn join(&mut self, group: GroupId, id: ConnId) -> Option<Membership> {
        let members = self.0.get_mut(group.0)?;
        members.push(id);
        Some(Membership { group, position: members.len() - 1 })
    }

    /// Removes a member. The last member moves to the freed position: the
    /// caller stores that member's new membership, if one is returned.
    pub(crate) fn leave(&mut self, membership: Membership) -> Option<(ConnId, Membership)> {
        let members = self.0.get_mut(membership.group.0)?;
        members.swap_remove(membership.position);
        members.get(membership.position).map(|moved| (*moved, membership))
    }

    /// True when a membership names the connection's position.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sound(&self, id: ConnId, membership: Membership) -> bool {
        self.members(membership.group).get(membership.position) == Some(&id)
    }

    /// The number of members of all groups together.
    #[cfg(feature = "sim")]
    pub(crate) fn memberships(&self) -> usize {
        self.0.iter().map(|(_, members)| members.len()).sum()
    }
}
