//! Groups in the core: memberships of connections.

use super::Core;
use crate::error::{Error, Result};
use crate::groups::Membership;
use crate::id::{ConnId, GroupId};

impl Core {
    pub(crate) fn create_group(&mut self) -> Result<GroupId> {
        let limit = self.config.max_groups;
        if self.groups.len() >= limit {
            return Err(Error::Full { what: "groups", field: Some("Config::max_groups"), limit });
        }
        Ok(self.groups.create())
    }

    pub(crate) fn join(&mut self, group: GroupId, id: ConnId) -> Result<bool> {
        let limit = self.config.max_groups_per_connection;
        let Some(conn) = self.conns.get_mut(id.0) else { return Ok(false) };
        if !conn.is_live() || !self.groups.exists(group) {
            return Ok(false);
        }
        let memberships = &mut conn.extras().groups;
        if memberships.iter().any(|membership| membership.group == group) {
            return Ok(true);
        }
        if memberships.len() >= limit {
            return Err(Error::Full {
                what: "groups of one connection",
                field: Some("Config::max_groups_per_connection"),
                limit,
            });
        }
        memberships.extend(self.groups.join(group, id));
        Ok(true)
    }

    pub(crate) fn leave(&mut self, group: GroupId, id: ConnId) -> bool {
        let Some(memberships) = self.memberships(id) else { return false };
        let Some(place) = memberships.iter().position(|membership| membership.group == group) else {
            return false;
        };
        let membership = memberships.swap_remove(place);
        if let Some((moved, membership)) = self.groups.leave(membership)
            && let Some(memberships) = self.memberships(moved)
            && let Some(held) = memberships.iter_mut().find(|held| held.group == group)
        {
            *held = membership;
        }
        true
    }

    /// Takes a connection out of all of its groups.
    pub(crate) fn leave_all(&mut self, id: ConnId) {
        while let Some(membership) = self.memberships(id).and_then(|memberships| memberships.last().copied())
        {
            self.leave(membership.group, id);
        }
    }

    pub(crate) fn dissolve(&mut self, group: GroupId) {
        for id in self.groups.dissolve(group) {
            if let Some(memberships) = self.memberships(id) {
                memberships.retain(|membership| membership.group != group);
            }
        }
    }

    pub(super) fn memberships(&mut self, id: ConnId) -> Option<&mut Vec<Membership>> {
        self.conns.get_mut(id.0)?.extras.as_deref_mut().map(|extras| &mut extras.groups)
    }
}
