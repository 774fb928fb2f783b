//! Broadcasts: one message to all members of a group, copied once.

use bytes::Bytes;

use super::{Core, NO_CONNECTION};
use crate::buffer::SHARE_FROM;
use crate::close::Tally;
use crate::id::{ConnId, GroupId};

impl Core {
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
