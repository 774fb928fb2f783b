//! `Command`: what a bus asks of Redis.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::event::{BusToken, NodeId};
use super::limits::{BusLimits, MEMBERS_BYTES};
use super::position::{Epoch, Position};
use super::scripts::Script;
use super::url::Login;
use super::wire::push_command;

/// A room as commands name it: an answer for one that was left and subscribed to again
/// meanwhile is not for the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoomRef {
    pub(super) name: Arc<str>,
    pub(super) serial: u64,
}

/// A member on its way to the list of a room. The serial is of the call that has entered
/// it: the answer is for that call alone.
#[derive(Clone, Debug)]
pub(super) struct Entering {
    pub(super) room: RoomRef,
    pub(super) member: Arc<str>,
    pub(super) value: Bytes,
    pub(super) serial: u64,
}

/// Whether a member that exits is the last one of this node in its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remaining {
    None,
    Some,
}

/// A command, from being asked for until its answer.
#[derive(Debug)]
pub(super) enum Command {
    Hello,
    Info,
    Load(Script),
    Ping,
    Subscribe(RoomRef),
    Unsubscribe(RoomRef),
    /// The messages of a room behind a position; with none, where it stands.
    Read(RoomRef, Option<Position>),
    Members(RoomRef),
    /// The same as `Read`, for a client.
    Resume(BusToken, Arc<str>, Position),
    Publish(Batch),
    Enter(Entering),
    Exit(RoomRef, Arc<str>, Remaining),
    Beat,
    Depart,
}

/// What commands are made with.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) prefix: String,
    pub(super) node: NodeId,
    pub(super) login: Option<Login>,
    /// The process of Redis that the link goes to.
    pub(super) run: Bytes,
    /// The hashes of the scripts, in their order.
    pub(super) hashes: [Bytes; Script::ALL.len()],
}

impl Names {
    pub(super) fn channel(&self, room: &str) -> String {
        format!("{}:room:{room}", self.prefix)
    }

    /// The room that a channel is for.
    pub(super) fn room_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(self.prefix.as_str())?.strip_prefix(":room:")
    }
}

impl Command {
    /// Appends the command. `fresh` is the epoch of a room that needs a new one.
    pub(super) fn encode(&self, names: &Names, limits: &BusLimits, fresh: Epoch, out: &mut BytesMut) {
        let prefix = &names.prefix;
        let node = names.node.to_string();
        let key = |kind: &str, name: &str| format!("{prefix}:{kind}:{name}");
        let script = |out: &mut BytesMut, script: Script, keys: &[String], arguments: &[&[u8]]| {
            let count = keys.len().to_string();
            let mut words: Vec<&[u8]> = vec![b"EVALSHA", &names.hashes[script as usize], count.as_bytes()];
            words.extend(keys.iter().map(String::as_bytes));
            words.extend(arguments);
            push_command(out, &words);
        };
        match self {
            Self::Hello => match &names.login {
                None => push_command(out, &[b"HELLO", b"3"]),
                Some(login) => {
                    let user = if login.user.is_empty() { "default" } else { &login.user };
                    push_command(out, &[b"HELLO", b"3", b"AUTH", user.as_bytes(), login.password.as_bytes()]);
                }
            },
            Self::Info => push_command(out, &[b"INFO", b"server"]),
            Self::Load(script) => push_command(out, &[b"SCRIPT", b"LOAD", script.source().as_bytes()]),
            Self::Ping => push_command(out, &[b"PING"]),
            Self::Subscribe(room) => push_command(out, &[b"SUBSCRIBE", names.channel(&room.name).as_bytes()]),
            Self::Unsubscribe(room) => {
                push_command(out, &[b"UNSUBSCRIBE", names.channel(&room.name).as_bytes()]);
            }
            Self::Read(RoomRef { name, .. }, from) => read(out, names, limits, fresh, name, *from, &script),
            Self::Resume(_, name, from) => read(out, names, limits, fresh, name, Some(*from), &script),
            Self::Members(room) => {
                let (most, bytes) = (limits.max_members.to_string(), MEMBERS_BYTES.to_string());
                script(
                    out,
                    Script::Members,
                    &[key("members", &room.name)],
                    &[most.as_bytes(), bytes.as_bytes()],
                );
            }
            Self::Publish(batch) => {
                let (room, number) = (&batch.room, batch.number.unwrap_or_default().to_string());
                let [remembered, history_time] =
                    [limits.remembered(), limits.history_time].map(|time| time.as_millis().to_string());
                let (fresh, history, channel) =
                    (fresh.to_string(), limits.history.to_string(), names.channel(room));
                let mut arguments: Vec<&[u8]> = vec![
                    &names.run,
                    fresh.as_bytes(),
                    remembered.as_bytes(),
                    history.as_bytes(),
                    history_time.as_bytes(),
                    channel.as_bytes(),
                    node.as_bytes(),
                    number.as_bytes(),
                ];
                arguments.extend(batch.payloads().map(|payload| &payload[..]));
                let once = key("once", &format!("{node}:{number}"));
                script(out, Script::Publish, &[key("room", room), key("log", room), once], &arguments);
            }
            Self::Enter(Entering { room, member, value, .. }) => script(
                out,
                Script::Enter,
                &[key("members", &room.name), format!("{prefix}:nodes"), key("node", &node)],
                &[
                    node.as_bytes(),
                    room.name.as_bytes(),
                    member.as_bytes(),
                    value,
                    names.channel(&room.name).as_bytes(),
                    limits.max_members.to_string().as_bytes(),
                ],
            ),
            Self::Exit(room, member, remaining) => script(
                out,
                Script::Exit,
                &[key("members", &room.name), key("node", &node)],
                &[
                    node.as_bytes(),
                    room.name.as_bytes(),
                    member.as_bytes(),
                    names.channel(&room.name).as_bytes(),
                    if *remaining == Remaining::None { b"last" } else { b"more" },
                ],
            ),
            Self::Beat => script(
                out,
                Script::Beat,
                &[format!("{prefix}:nodes"), format!("{prefix}:beat")],
                &[node.as_bytes(), limits.lifetime().as_millis().to_string().as_bytes(), prefix.as_bytes()],
            ),
            Self::Depart => script(out, Script::Depart, &[], &[node.as_bytes(), prefix.as_bytes()]),
        }
    }
}

fn read(
    out: &mut BytesMut,
    names: &Names,
    limits: &BusLimits,
    fresh: Epoch,
    room: &str,
    from: Option<Position>,
    script: &impl Fn(&mut BytesMut, Script, &[String], &[&[u8]]),
) {
    let (epoch, offset) = from.map_or_else(Default::default, |from| (from.epoch.to_string(), from.offset));
    script(
        out,
        Script::Read,
        &[format!("{}:room:{room}", names.prefix), format!("{}:log:{room}", names.prefix)],
        &[
            &names.run,
            fresh.to_string().as_bytes(),
            limits.history_time.as_millis().to_string().as_bytes(),
            epoch.as_bytes(),
            offset.to_string().as_bytes(),
            limits.page.to_string().as_bytes(),
            limits.page_bytes.to_string().as_bytes(),
            limits.max_payload.to_string().as_bytes(),
        ],
    );
}
