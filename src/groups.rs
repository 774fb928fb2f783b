//! Groups of connections, for broadcasts.

use crate::id::{ConnId, GroupId, Table};

/// Where a connection stands in a group that it is a member of.
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

    /// Takes the group away; returns who was in it, whose memberships the
    /// caller takes away too.
    pub(crate) fn dissolve(&mut self, group: GroupId) -> Vec<ConnId> {
        self.0.remove(group.0).unwrap_or_default()
    }

    pub(crate) fn members(&self, group: GroupId) -> &[ConnId] {
        self.0.get(group.0).map_or(&[], Vec::as_slice)
    }

    /// Lends out who is in it, for a loop that changes something else. Until
    /// [`give_back`](Self::give_back) the group is empty.
    pub(crate) fn lend(&mut self, group: GroupId) -> Vec<ConnId> {
        self.0.get_mut(group.0).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, group: GroupId, lent: Vec<ConnId>) {
        if let Some(members) = self.0.get_mut(group.0) {
            debug_assert!(members.is_empty(), "nobody joined meanwhile");
            *members = lent;
        }
    }

    /// Puts a connection that is not yet a member in; `None` if there is no
    /// such group.
    pub(crate) fn join(&mut self, group: GroupId, id: ConnId) -> Option<Membership> {
        let members = self.0.get_mut(group.0)?;
        members.push(id);
        Some(Membership { group, position: members.len() - 1 })
    }

    /// Takes a member out. The last member takes its place: the caller gives
    /// that one its new membership, if there is one.
    pub(crate) fn leave(&mut self, membership: Membership) -> Option<(ConnId, Membership)> {
        let members = self.0.get_mut(membership.group.0)?;
        members.swap_remove(membership.position);
        members.get(membership.position).map(|moved| (*moved, membership))
    }

    /// A membership of a connection says where it stands.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sound(&self, id: ConnId, membership: Membership) -> bool {
        self.members(membership.group).get(membership.position) == Some(&id)
    }

    /// How many members all groups have together.
    #[cfg(feature = "sim")]
    pub(crate) fn memberships(&self) -> usize {
        self.0.iter().map(|(_, members)| members.len()).sum()
    }
}
