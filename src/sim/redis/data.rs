//! `Data`: what a simulated Redis keeps for a bus, and what the scripts of the bus do
//! with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::reply::Reply;

/// A room of a bus.
#[derive(Clone, Debug, Default)]
struct Room {
    epoch: String,
    offset: u64,
    run: String,
    before: String,
    until: u64,
}

/// A message in the log of a room: its number, its publisher, its payload.
type Entry = (u64, Vec<u8>, Vec<u8>);

/// All that it keeps, by the names of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    rooms: BTreeMap<String, Room>,
    logs: BTreeMap<String, VecDeque<Entry>>,
    /// What was answered to a message, and until when that is remembered.
    once: BTreeMap<String, (String, u64)>,
    /// Member to node and value.
    members: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    nodes: BTreeMap<String, u64>,
    rooms_of: BTreeMap<String, BTreeSet<String>>,
    last_beat: Option<u64>,
}

/// A script of the bus, told by its first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Publish,
    Read,
    Enter,
    Exit,
    Members,
    Beat,
    Depart,
}

impl Script {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Publish, "-- Numbers messages, keeps them, and tells them at once."),
        (Self::Read, "-- What a room has behind a position."),
        (Self::Enter, "-- Lists a member, if no other node has one of this name."),
        (Self::Exit, "-- Takes a member of this node off the list."),
        (Self::Members, "-- The members of a room."),
        (Self::Beat, "-- Says that a node lives, and unlists"),
        (Self::Depart, "-- Takes a node that ends off all lists."),
    ];

    /// The script that this source is.
    pub(super) fn of_source(source: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, words)| source.contains(words)).map(|(script, _)| *script)
    }

    /// The hash by which it is called.
    pub(super) fn hash(self) -> String {
        format!("{:040x}", self as u8)
    }

    pub(super) fn of_hash(hash: &[u8]) -> Option<Self> {
        Self::ALL.iter().map(|(script, _)| *script).find(|script| script.hash().as_bytes() == hash)
    }

    pub(super) const fn writes(self) -> bool {
        !matches!(self, Self::Members)
    }
}

/// A message that a script tells: its channel and its payload.
pub(super) type Told = (String, Vec<u8>);

/// The keys and the arguments of a call.
pub(super) struct Call<'a> {
    pub(super) keys: &'a [Vec<u8>],
    pub(super) arguments: &'a [Vec<u8>],
}

impl Call<'_> {
    fn key(&self, at: usize) -> String {
        String::from_utf8_lossy(self.keys.get(at).map_or(&[][..], Vec::as_slice)).into_owned()
    }

    fn text(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    fn bytes(&self, at: usize) -> &[u8] {
        self.arguments.get(at).map_or(&[][..], Vec::as_slice)
    }

    fn number(&self, at: usize) -> u64 {
        self.text(at).parse().unwrap_or_default()
    }
}

impl Data {
    /// Runs a script at this time, in milliseconds.
    pub(super) fn run(&mut self, script: Script, call: &Call<'_>, now: u64, told: &mut Vec<Told>) -> Reply {
        self.once.retain(|_, (_, until)| *until > now);
        match script {
            Script::Publish => self.publish(call, now, told),
            Script::Read => self.read(call),
            Script::Enter => self.enter(call, told),
            Script::Exit => self.exit(call, told),
            Script::Members => self.list(call),
            Script::Beat => self.beat(call, now, told),
            Script::Depart => {
                self.unlist(&call.text(1), &call.text(0), '-', told);
                Reply::bulk("all")
            }
        }
    }

    /// The log of every room has no more than these messages.
    pub(super) fn trim(&mut self, most: usize) {
        for log in self.logs.values_mut() {
            log.drain(..log.len().saturating_sub(most));
        }
    }

    fn room(&mut self, key: &str, log: &str, run: &str, fresh: &str) -> &mut Room {
        let is_known = self.rooms.contains_key(key);
        if !is_known {
            self.logs.remove(log);
        }
        let room = self.rooms.entry(key.into()).or_default();
        if !is_known || room.run != run {
            room.before = std::mem::replace(&mut room.epoch, fresh.into());
            room.until = room.offset;
            room.run = run.into();
        }
        room
    }

    fn publish(&mut self, call: &Call<'_>, now: u64, told: &mut Vec<Told>) -> Reply {
        let once = call.key(2);
        if let Some((known, _)) = self.once.get(&once) {
            return Reply::bulk(known);
        }
        let log = call.key(1);
        let room = self.room(&call.key(0), &log, &call.text(0), &call.text(1));
        let (node, number, payloads) = (call.text(6), call.number(7), call.arguments.iter().skip(8));
        let first = room.offset + 1;
        room.offset += payloads.len() as u64;
        let at = format!("{}:{first}", room.epoch);
        let mut message = format!("{at}:{node}:{number}:").into_bytes();
        let entries = self.logs.entry(log).or_default();
        for (behind, payload) in (0..).zip(payloads) {
            let publisher = format!("{node}:{}", number + behind).into_bytes();
            entries.push_back((first + behind, publisher, payload.clone()));
            message.extend(format!("{}:", payload.len()).bytes().chain(payload.iter().copied()));
        }
        let most = usize::try_from(call.number(3)).unwrap_or(usize::MAX);
        entries.drain(..entries.len().saturating_sub(most));
        self.once.insert(once, (at.clone(), now + call.number(2)));
        told.push((call.text(5), message));
        Reply::bulk(&at)
    }

    fn read(&mut self, call: &Call<'_>) -> Reply {
        let log = call.key(1);
        let room = self.room(&call.key(0), &log, &call.text(0), &call.text(1)).clone();
        let (epoch, offset) = (call.text(3), call.number(4));
        let (relation, from) = if epoch == room.epoch {
            ("same", Some(offset))
        } else if !epoch.is_empty() && epoch == room.before {
            ("before", Some(offset.min(room.until)))
        } else {
            ("unknown", (!epoch.is_empty()).then_some(room.until))
        };
        let mut entries = Vec::new();
        let mut has_more = false;
        if let Some(from) = from {
            let most = usize::try_from(call.number(5)).unwrap_or(usize::MAX);
            let mut bytes = 0;
            let behind = self.logs.get(&log).into_iter().flatten().filter(|(offset, ..)| *offset > from);
            for (count, (offset, publisher, payload)) in behind.enumerate() {
                let is_short = payload.len() as u64 <= call.number(7);
                bytes += if is_short { payload.len() as u64 } else { 0 };
                if count == most || (count > 0 && bytes > call.number(6)) {
                    has_more = true;
                    break;
                }
                entries.push(Reply::bulk(&offset.to_string()));
                entries.push(Reply::Bulk(publisher.clone()));
                entries.push(if is_short { Reply::Bulk(payload.clone()) } else { Reply::Null });
            }
        }
        let mut reply = vec![
            Reply::bulk(&room.epoch),
            Reply::bulk(&room.offset.to_string()),
            Reply::bulk(relation),
            Reply::bulk(&room.before),
            Reply::bulk(&room.until.to_string()),
            Reply::bulk(if has_more { "more" } else { "all" }),
        ];
        reply.extend(entries);
        Reply::Array(reply)
    }

    fn enter(&mut self, call: &Call<'_>, told: &mut Vec<Told>) -> Reply {
        let (node, room) = (call.text(0), call.text(1));
        if !self.nodes.contains_key(&node) {
            return Reply::bulk("unlisted");
        }
        let members = self.members.entry(call.key(0)).or_default();
        let (name, value) = (call.bytes(2), call.bytes(3));
        let entry = [node.as_bytes(), value].concat();
        match members.get(name) {
            Some(held) if !held.starts_with(node.as_bytes()) => return Reply::bulk("taken"),
            None if members.len() as u64 >= call.number(5) => return Reply::bulk("full"),
            _ => {}
        }
        self.rooms_of.entry(node.clone()).or_default().insert(room);
        if members.insert(name.to_vec(), entry.clone()) == Some(entry) {
            return Reply::bulk("ok");
        }
        told.push((call.text(4), [change('+', &node, name), value.to_vec()].concat()));
        Reply::bulk("ok")
    }

    fn exit(&mut self, call: &Call<'_>, told: &mut Vec<Told>) -> Reply {
        let (node, room, name) = (call.text(0), call.text(1), call.bytes(2));
        if call.bytes(4) == b"last"
            && let Some(rooms) = self.rooms_of.get_mut(&node)
        {
            rooms.remove(&room);
        }
        let Some(members) = self.members.get_mut(&call.key(0)) else { return Reply::Integer(0) };
        if !members.get(name).is_some_and(|held| held.starts_with(node.as_bytes())) {
            return Reply::Integer(0);
        }
        members.remove(name);
        told.push((call.text(3), change('-', &node, name)));
        Reply::Integer(1)
    }

    fn list(&self, call: &Call<'_>) -> Reply {
        let members = self.members.get(&call.key(0));
        let count = members.map_or(0, BTreeMap::len);
        let mut reply = vec![Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))];
        for (name, entry) in members.into_iter().flatten() {
            reply.extend([Reply::Bulk(name.clone()), Reply::Bulk(entry.clone())]);
        }
        Reply::Array(reply)
    }

    fn beat(&mut self, call: &Call<'_>, now: u64, told: &mut Vec<Told>) -> Reply {
        let (node, holds, prefix) = (call.text(0), call.number(1), call.text(2));
        let passed = now - self.last_beat.unwrap_or(now);
        if passed > holds / 2 {
            self.nodes.values_mut().for_each(|until| *until += passed);
        }
        self.last_beat = Some(now);
        let known = self.nodes.insert(node, now + holds);
        let dead: Vec<_> =
            self.nodes.iter().filter(|(_, until)| **until < now).map(|(node, _)| node.clone()).collect();
        for node in dead {
            self.unlist(&prefix, &node, '!', told);
        }
        let known = if known.is_some() { "known" } else { "new" };
        Reply::Array(vec![Reply::bulk(known), Reply::bulk("all")])
    }

    fn unlist(&mut self, prefix: &str, node: &str, mark: char, told: &mut Vec<Told>) {
        for room in self.rooms_of.remove(node).unwrap_or_default() {
            let Some(members) = self.members.get_mut(&format!("{prefix}:members:{room}")) else { continue };
            members.retain(|name, held| {
                let stays = !held.starts_with(node.as_bytes());
                if !stays {
                    told.push((format!("{prefix}:room:{room}"), change(mark, node, name)));
                }
                stays
            });
        }
        self.nodes.remove(node);
    }
}

/// A change of a member, as it is told.
fn change(mark: char, node: &str, name: &[u8]) -> Vec<u8> {
    [format!("{mark}{node}{}:", name.len()).as_bytes(), name].concat()
}
