//! `Channels`: who has subscribed to what. A message is encoded once for each version
//! of RESP, and is one write for each subscriber.

use std::collections::{BTreeMap, BTreeSet};

use serve_forever::bytes::{Bytes, BytesMut};
use serve_forever::{ConnId, GroupId, Io, Limits};

use super::reply::{Reply, Version};

/// The most channels of one client.
pub(crate) const MOST_CHANNELS: usize = 10_000;

/// So many bytes wait for a subscriber, as Redis' `client-output-buffer-limit pubsub`
/// has it; who has not read them is dropped.
const HARD_MARK: usize = 32 << 20;

/// All channels that somebody has subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    channels: BTreeMap<Bytes, Channel>,
}

/// The subscribers of one channel, by the version of RESP that they speak.
#[derive(Debug)]
struct Channel {
    two: GroupId,
    three: GroupId,
}

/// The channels of one client, and the version in which it has subscribed to each.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(BTreeSet<Bytes>);

impl Subscriptions {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }
}

impl Channels {
    /// Subscribes the client of this callback.
    ///
    /// # Errors
    ///
    /// It has too many channels already, or the reactor has too many groups.
    pub(crate) fn subscribe(
        &mut self,
        io: &mut Io<'_>,
        own: &mut Subscriptions,
        name: &[u8],
        version: Version,
    ) -> Result<(), String> {
        if own.0.contains(name) {
            return Ok(());
        }
        if own.0.len() == MOST_CHANNELS {
            return Err(format!("ERR a client has at most {MOST_CHANNELS} channels"));
        }
        if !self.channels.contains_key(name) {
            let group = |io: &mut Io<'_>| io.group().map_err(|error| format!("ERR {error}"));
            let two = group(io)?;
            let three = group(io).inspect_err(|_| io.dissolve(two))?;
            self.channels.insert(Bytes::copy_from_slice(name), Channel { two, three });
        }
        let Some((name, channel)) = self.channels.get_key_value(name) else { return Ok(()) };
        let group = if version == Version::Two { channel.two } else { channel.three };
        io.join(group, io.id()).map_err(|error| format!("ERR {error}"))?;
        if own.0.is_empty() {
            limit(io, HARD_MARK);
        }
        own.0.insert(name.clone());
        Ok(())
    }

    /// Ends the subscription of a client that is still there.
    pub(crate) fn unsubscribe(&mut self, io: &mut Io<'_>, own: &mut Subscriptions, name: &[u8]) {
        if own.0.remove(name)
            && let Some(channel) = self.channels.get(name)
        {
            io.leave(channel.two, io.id());
            io.leave(channel.three, io.id());
            self.forget_if_unused(io, name);
            if own.0.is_empty() {
                let of_others = io.limits().hard_mark;
                limit(io, of_others);
            }
        }
    }

    /// Moves the subscriptions of a client that speaks another version from now on.
    pub(crate) fn change_version(&mut self, io: &mut Io<'_>, own: &Subscriptions, to: Version) {
        for channel in own.0.iter().filter_map(|name| self.channels.get(name)) {
            let (from, to) =
                if to == Version::Two { (channel.three, channel.two) } else { (channel.two, channel.three) };
            io.leave(from, io.id());
            if let Err(error) = io.join(to, io.id()) {
                log::warn!("a subscriber joins no group: {error}");
            }
        }
    }

    /// Forgets a client that has left its groups.
    pub(crate) fn close(&mut self, io: &mut Io<'_>, own: &Subscriptions) {
        for name in &own.0 {
            self.forget_if_unused(io, name);
        }
    }

    fn forget_if_unused(&mut self, io: &mut Io<'_>, name: &[u8]) {
        let is_empty = |group: GroupId, io: &Io<'_>| io.members(group).is_empty();
        if let Some(channel) = self.channels.get(name)
            && is_empty(channel.two, io)
            && is_empty(channel.three, io)
        {
            io.dissolve(channel.two);
            io.dissolve(channel.three);
            self.channels.remove(name);
        }
    }

    /// Sends a message to all subscribers of a channel; how many there are.
    pub(crate) fn publish(&self, io: &mut Io<'_>, name: &[u8], message: &[u8]) -> usize {
        let Some(channel) = self.channels.get(name) else { return 0 };
        let push = Reply::Push(vec![Reply::Bulk(b"message"), Reply::Bulk(name), Reply::Bulk(message)]);
        let mut count = 0;
        for (group, version) in [(channel.two, Version::Two), (channel.three, Version::Three)] {
            let members = io.members(group).len();
            if members > 0 {
                let mut encoded = BytesMut::new();
                push.encode(version, &mut encoded);
                io.broadcast(group, &encoded.freeze(), None::<ConnId>);
                count += members;
            }
        }
        count
    }
}

/// Sets how much waits for the client of this callback.
fn limit(io: &mut Io<'_>, hard_mark: usize) {
    let limits = Limits { hard_mark, ..io.limits().clone() };
    if let Err(error) = io.set_limits(io.id(), limits) {
        log::warn!("a client keeps its hard mark: {error}");
    }
}
