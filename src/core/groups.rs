//! Groups in the core: memberships of connections, and broadcasts to all
//! members.

use bytes::Bytes;

use super::{Core, NO_CONNECTION};
use crate::buffer::SHARE_FROM;
use crate::close::Tally;
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

    pub(crate) fn broadcast(&mut self, group: GroupId, data: &Bytes, except: Option<ConnId>) -> Tally {
        let mut tally = Tally::default();
        // A broadcast changes no membership: a connection that it ends remains
        // a member until phase 7.
        let members = self.groups.lend(group);
        let except = except.unwrap_or(NO_CONNECTION).to_bits();
        let piece = if data.len() < SHARE_FROM { self.shared.add(data) } else { None };
        // One copy for all members, so that no larger buffer is kept alive.
        let copied =
            (SHARE_FROM..self.refer_from).contains(&data.len()).then(|| Bytes::copy_from_slice(data));
        let data = copied.as_ref().unwrap_or(data);
        for member in members.iter().copied().filter(|member| member.to_bits() != except) {
            if piece.is_some_and(|piece| self.adds_piece(member, piece)) {
                tally.queued += 1;
            } else {
                tally.count(self.send_piece(member, data, piece, SHARE_FROM));
            }
        }
        self.shared.clear_unless_needed();
        self.groups.give_back(group, members);
        tally
    }
}
