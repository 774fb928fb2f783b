//! Teaches: state that others reach, groups, and limits of one connection. A store
//! of lines, and subscribers who learn of each change.
//!
//! ```text
//! cargo run --example line_store -- 127.0.0.1:7000
//! printf 'set color green\nget color\n' | nc -N 127.0.0.1 7000
//! ```
//!
//! `set KEY VALUE`, `get KEY`, `watch KEY`, `unwatch KEY`, `who KEY`. A client that
//! watches is told `changed KEY VALUE`.
//!
//! The handler holds the state that connections share, by the id of each: a stale id
//! finds nothing. A session holds the state that its own client alone needs.

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use bytes::{Bytes, BytesMut};
use serve_forever::{
    BoxError, CloseReason, Config, ConnId, GroupId, Io, Limits, Origin, Reactor, StreamHandler, Tally,
};

#[derive(Default)]
pub(crate) struct LineStore {
    entries: BTreeMap<String, Entry>,
    /// What each client watches: others ask for it by its id (`who`).
    clients: BTreeMap<ConnId, Client>,
}

#[derive(Default)]
struct Entry {
    value: String,
    /// Everybody who watches it.
    watchers: GroupId,
}

struct Client {
    name: String,
    watches: BTreeSet<String>,
}

impl LineStore {
    /// A client that only watches needs no deadline, and is sent no more than this
    /// beyond what it takes.
    const WAITS_FOR_A_WATCHER: usize = 64 << 10;

    fn entry(&mut self, io: &mut Io<'_>, key: &str) -> Result<&mut Entry, BoxError> {
        if !self.entries.contains_key(key) {
            let watchers = io.group()?;
            self.entries.insert(key.to_owned(), Entry { value: String::new(), watchers });
        }
        Ok(self.entries.get_mut(key).expect("it was just inserted"))
    }

    fn set(&mut self, io: &mut Io<'_>, key: &str, value: &str) -> Result<Tally, BoxError> {
        let entry = self.entry(io, key)?;
        entry.value = value.to_owned();
        let told = Bytes::from(format!("changed {key} {value}\n"));
        // One copy for all of them. A watcher that does not read is dropped.
        Ok(io.broadcast(entry.watchers, &told, None))
    }

    fn watch(&mut self, io: &mut Io<'_>, key: &str) -> Result<(), BoxError> {
        let id = io.id();
        let watchers = self.entry(io, key)?.watchers;
        io.join(watchers, id)?;
        let hard_mark = Self::WAITS_FOR_A_WATCHER;
        let marks = Limits { low_mark: 0, high_mark: hard_mark, hard_mark, ..io.limits().clone() };
        io.set_limits(id, Limits { idle: None, ..marks })?;
        self.clients.get_mut(&id).ok_or("it is there")?.watches.insert(key.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, io: &mut Io<'_>, key: &str) {
        let id = io.id();
        if let (Some(entry), Some(client)) = (self.entries.get(key), self.clients.get_mut(&id)) {
            io.leave(entry.watchers, id);
            client.watches.remove(key);
        }
    }

    /// The names of those who watch a key: the state of other connections, by id.
    fn who(&self, io: &Io<'_>, key: &str) -> String {
        let members = self.entries.get(key).map_or(&[][..], |entry| io.members(entry.watchers));
        let client = |id| self.clients.get(id).map(|client| client.name.as_str());
        let mut names: Vec<_> = members.iter().filter_map(client).collect();
        names.sort_unstable();
        names.join(" ")
    }
}

impl StreamHandler for LineStore {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let name = origin.peer().to_string();
        self.clients.insert(io.id(), Client { name, watches: BTreeSet::new() });
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let reply = match verb {
                "set" => {
                    let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    format!("ok {}", self.set(io, key, value)?.queued)
                }
                "get" => self.entries.get(rest).map_or(String::new(), |entry| entry.value.clone()),
                "watch" => {
                    self.watch(io, rest)?;
                    "ok".into()
                }
                "unwatch" => {
                    self.unwatch(io, rest);
                    "ok".into()
                }
                "who" => self.who(io, rest),
                _ => format!("! unknown {verb:?}"),
            };
            io.reply((reply + "\n").as_bytes());
            if io.is_paused(io.id()) {
                break; // it does not read its answers: the rest comes again when it has
            }
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        // It has left its groups: where it was the last, nobody watches any more.
        let watched = self.clients.remove(&io.id()).map(|client| client.watches).unwrap_or_default();
        for key in watched {
            let is_unused = |entry: &&Entry| entry.value.is_empty() && io.members(entry.watchers).is_empty();
            if let Some(unused) = self.entries.get(&key).filter(is_unused) {
                io.dissolve(unused.watchers);
                self.entries.remove(&key);
            }
        }
    }
}

fn main() -> Result<(), BoxError> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".into());
    let mut reactor = Reactor::new(Config::default())?;
    let store = reactor.add(LineStore::default(), Limits::default())?;
    let listener = reactor.listen(&store, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
