//! `State`: what a simulated Redis is and does, whoever speaks to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::data::{Call, Data, Script, Told};
use super::reply::{Reply, take_command};
use crate::driver::Moment;
use crate::driver::sim::{Act, ActorIo, ClientId, Cut, Rng};

/// How long after a hang what was said in it may wait, in milliseconds: the kernel has it,
/// and Redis takes from each connection in turn.
const LATE: u64 = 1000;

/// What happens to a simulated [`Redis`](super::Redis).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is killed, and takes connections again after this time.
    Restart(Survives, Duration),
    /// It resets every connection.
    ResetAll,
    /// It answers nothing for this time, and then everything.
    Hang(Duration),
    /// It refuses to write for this time: `OOM`.
    OutOfMemory(Duration),
    /// It refuses to write for this time: `READONLY`.
    ReadOnly(Duration),
    /// It refuses scripts for this time: `LOADING`.
    Loading(Duration),
    /// It forgets the scripts.
    ForgetScripts,
    /// Its logs keep no more than so many messages.
    Trim(usize),
    /// It forgets everything, and stays.
    Flush,
}

/// The data that a restart leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// All of it.
    Everything,
    /// What there was at the last whole second.
    WhatWasSaved,
    /// None.
    Nothing,
}

/// What a connection had said that ended while Redis hung: it is carried out all the same,
/// and late.
#[derive(Debug)]
struct LeftBehind {
    input: Vec<u8>,
    /// So many commands are carried out before it.
    behind: u64,
    /// Or it is this late.
    latest: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    data: Data,
    saved: Data,
    saved_at: u64,
    run: u64,
    down_until: u64,
    hangs_until: u64,
    out_of_memory_until: u64,
    read_only_until: u64,
    loading_until: u64,
    scripts: BTreeSet<u8>,
    links: BTreeMap<ClientId, BTreeSet<Vec<u8>>>,
    /// What will happen, by the time in milliseconds.
    pub(super) faults: BTreeMap<u64, Vec<Fault>>,
    pub(super) struck: u64,
    /// Where the next connections are cut.
    pub(super) cuts: VecDeque<(usize, Cut)>,
    /// Whether an answer comes before what its command tells the same connection.
    pub(super) answers_first: bool,
    /// Where the bytes of a connection are cut, if they are.
    pub(super) chance: Option<Rng>,
    left_behind: Vec<LeftBehind>,
    /// Commands that were carried out.
    carried_out: u64,
}

/// The state, as all connections share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn millis(now: Moment) -> u64 {
    now.as_nanos() / 1_000_000
}

impl State {
    /// Everything that has become due.
    pub(super) fn pass(&mut self, io: &mut ActorIo<'_>) {
        let now = millis(io.now());
        while let Some(entry) = self.faults.first_entry()
            && *entry.key() <= now
        {
            let (at, faults) = entry.remove_entry();
            faults.into_iter().for_each(|fault| self.strike(io, at, fault));
        }
        if now / 1000 > self.saved_at {
            self.saved_at = now / 1000;
            self.saved = self.data.clone();
        }
    }

    fn strike(&mut self, io: &mut ActorIo<'_>, at: u64, fault: Fault) {
        self.struck += 1;
        let until = |period: Duration| at + u64::try_from(period.as_millis()).unwrap_or(u64::MAX / 2);
        match fault {
            Fault::Restart(survives, period) => {
                match survives {
                    Survives::Everything => {}
                    Survives::WhatWasSaved => self.data = self.saved.clone(),
                    Survives::Nothing => self.data = Data::default(),
                }
                self.run += 1;
                self.scripts.clear();
                self.down_until = until(period);
                self.hangs_until = 0;
                self.left_behind.clear();
                self.reset_all(io);
            }
            Fault::ResetAll => self.reset_all(io),
            Fault::Hang(period) => self.hangs_until = until(period),
            Fault::OutOfMemory(period) => self.out_of_memory_until = until(period),
            Fault::ReadOnly(period) => self.read_only_until = until(period),
            Fault::Loading(period) => self.loading_until = until(period),
            Fault::ForgetScripts => self.scripts.clear(),
            Fault::Trim(most) => self.data.trim(most),
            Fault::Flush => self.data = Data::default(),
        }
    }

    fn reset_all(&mut self, io: &mut ActorIo<'_>) {
        for id in std::mem::take(&mut self.links).into_keys() {
            io.act_as(id, Act::Reset);
        }
    }

    /// Takes a connection, unless it is down.
    pub(super) fn connect(&mut self, io: &mut ActorIo<'_>) {
        let now = millis(io.now());
        if now < self.down_until {
            return io.reset();
        }
        self.links.insert(io.id(), BTreeSet::new());
        for at in self.faults.keys() {
            io.set_timer(Duration::from_millis(at.saturating_sub(now)), 0);
        }
        if let Some((byte, cut)) = self.cuts.pop_front() {
            io.cut(byte, cut);
        }
        if let Some(chance) = &mut self.chance
            && !self.faults.is_empty()
        {
            let byte = chance.size(0, 4000);
            let cut = match chance.below(3) {
                0 => Cut::Act(Act::Reset),
                1 => Cut::Act(Act::Finish),
                _ => Cut::Pause(Duration::from_millis(chance.between(0, 3000))),
            };
            io.cut(byte, cut);
        }
    }

    /// Forgets a connection. What it has said while Redis hung is carried out later: behind
    /// the greeting of its successor, or behind more of what that says.
    pub(super) fn disconnect(&mut self, io: &ActorIo<'_>, input: Vec<u8>) {
        if self.links.remove(&io.id()).is_some()
            && let Some(until) = self.hangs_until(millis(io.now()))
        {
            let behind = self.carried_out + input.len() as u64 % 32;
            self.left_behind.push(LeftBehind { input, behind, latest: until + LATE });
        }
    }

    /// Carries out what ended connections have said, in a bad moment: behind what their
    /// successors say.
    pub(super) fn run_left_behind(&mut self, io: &mut ActorIo<'_>) {
        let now = millis(io.now());
        let is_due = |left: &LeftBehind| left.behind <= self.carried_out || left.latest <= now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.left_behind).into_iter().partition(is_due);
        for left in &later {
            io.set_timer(Duration::from_millis(left.latest - now), 0);
        }
        self.left_behind = later;
        for LeftBehind { mut input, .. } in due {
            while let Some(command) = take_command(&mut input) {
                if command.first().is_some_and(|word| word == b"EVALSHA") {
                    let mut told = Vec::new();
                    let _ = self.reply(io, &command, &mut told);
                    self.tell(io, told);
                }
            }
        }
    }

    pub(super) fn is_connected(&self, id: ClientId) -> bool {
        self.links.contains_key(&id)
    }

    pub(super) fn hangs_until(&self, now: u64) -> Option<u64> {
        Some(self.hangs_until).filter(|until| *until > now)
    }

    pub(super) fn execute(&mut self, io: &mut ActorIo<'_>, command: &[Vec<u8>]) {
        self.carried_out += 1;
        let mut told = Vec::new();
        let reply = self.reply(io, command, &mut told);
        let mut out = Vec::new();
        reply.encode(&mut out);
        // What others are told does not depend on it.
        if self.answers_first {
            io.send(out);
            self.tell(io, told);
        } else {
            self.tell(io, told);
            io.send(out);
        }
    }

    fn tell(&self, io: &mut ActorIo<'_>, told: Vec<Told>) {
        for (channel, payload) in told {
            let channel = channel.into_bytes();
            let mut push = Vec::new();
            let words = vec![Reply::bulk("message"), Reply::Bulk(channel.clone()), Reply::Bulk(payload)];
            Reply::Push(words).encode(&mut push);
            let subscribers = self.links.iter().filter(|(_, channels)| channels.contains(&channel));
            for (id, _) in subscribers {
                io.act_as(*id, Act::Send(push.clone().into()));
            }
        }
    }

    fn reply(&mut self, io: &ActorIo<'_>, command: &[Vec<u8>], told: &mut Vec<Told>) -> Reply {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match &words[..] {
            [b"HELLO", b"3", ..] => Reply::Map(vec![
                (Reply::bulk("server"), Reply::bulk("redis")),
                (Reply::bulk("version"), Reply::bulk("7.0.15")),
                (Reply::bulk("proto"), Reply::Integer(3)),
                (Reply::bulk("mode"), Reply::bulk("standalone")),
                (Reply::bulk("role"), Reply::bulk("master")),
                (Reply::bulk("modules"), Reply::Array(Vec::new())),
            ]),
            [b"INFO", b"server"] => {
                Reply::bulk(&format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{:040x}\r\n", self.run))
            }
            [b"PING"] => Reply::Simple("PONG"),
            [b"SUBSCRIBE" | b"UNSUBSCRIBE", channel] => {
                let channels = self.links.entry(io.id()).or_default();
                if words[0] == b"SUBSCRIBE" {
                    channels.insert(channel.to_vec());
                } else {
                    channels.remove(*channel);
                }
                let count = Reply::Integer(i64::try_from(channels.len()).unwrap_or(i64::MAX));
                let kind = words[0].to_ascii_lowercase();
                Reply::Push(vec![Reply::Bulk(kind), Reply::Bulk(channel.to_vec()), count])
            }
            [b"SCRIPT", b"LOAD", source] => match Script::of_source(&String::from_utf8_lossy(source)) {
                Some(_) if millis(io.now()) < self.loading_until => loading(),
                Some(script) => {
                    self.scripts.insert(script as u8);
                    Reply::bulk(&script.hash())
                }
                None => Reply::Error("ERR this Redis knows the scripts of the bus alone".into()),
            },
            [b"EVALSHA", hash, count, ..] => self.evaluate(io, hash, count, &command[3..], told),
            _ => Reply::Error(format!("ERR unknown command '{}'", String::from_utf8_lossy(words[0]))),
        }
    }

    fn evaluate(
        &mut self,
        io: &ActorIo<'_>,
        hash: &[u8],
        count: &[u8],
        rest: &[Vec<u8>],
        told: &mut Vec<Told>,
    ) -> Reply {
        let now = millis(io.now());
        let script = Script::of_hash(hash).filter(|script| self.scripts.contains(&(*script as u8)));
        let Some(script) = script else {
            return Reply::Error("NOSCRIPT No matching script. Please use EVAL.".into());
        };
        if now < self.loading_until {
            return loading();
        } else if now < self.out_of_memory_until && script.writes() {
            return Reply::Error("OOM command not allowed when used memory > 'maxmemory'.".into());
        } else if now < self.read_only_until && script.writes() {
            return Reply::Error("READONLY You can't write against a read only replica.".into());
        }
        let keys = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let (keys, arguments) = rest.split_at(rest.len().min(keys));
        self.data.run(script, &Call { keys, arguments }, now, told)
    }
}

fn loading() -> Reply {
    Reply::Error("LOADING Redis is loading the dataset in memory".into())
}
