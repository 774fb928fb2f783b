//! Groups in the core: what connections that are there may join and leave.

use super::Core;
use crate::error::{Error, Result};
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
        if !self.is_live(id) || !self.groups.exists(group) {
            return Ok(false);
        }
        let mut count = 0;
        for other in self.groups.of(id) {
            if other == group {
                return Ok(true);
            }
            count += 1;
        }
        if count >= limit {
            return Err(Error::Full {
                what: "groups of one connection",
                field: Some("Config::max_groups_per_connection"),
                limit,
            });
        }
        self.groups.join(group, id);
        Ok(true)
    }

    pub(crate) fn leave(&mut self, group: GroupId, id: ConnId) -> bool {
        self.conns.contains(id.0) && self.groups.leave(group, id)
    }

    /// Takes a connection that is there out of all of its groups.
    pub(crate) fn leave_all(&mut self, id: ConnId) {
        if self.conns.contains(id.0) {
            self.groups.leave_all(id);
        }
    }
}
