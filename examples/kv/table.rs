//! `COMMANDS`: the names of all commands, how many arguments each takes, and where its
//! keys are.

use super::reply::Reply;

/// A command, as COMMAND describes it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// The number of its arguments, its name among them; if negative, the least.
    arity: i64,
    flags: &'static [&'static str],
    /// The first key, the last (from the end if negative) and the step between keys.
    keys: (i64, i64, i64),
    /// Whether a subscriber may give it in RESP2.
    pub(crate) is_for_subscribers: bool,
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const DELETE: &[&str] = &["write"];
const OTHER: &[&str] = &["fast"];
const CHANNEL: &[&str] = &["pubsub"];
const NO_KEYS: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);
const ALL_KEYS: (i64, i64, i64) = (1, -1, 1);

const fn command(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: (i64, i64, i64),
) -> Command {
    Command { name, arity, flags, keys, is_for_subscribers: false }
}

const fn for_subscribers(command: Command) -> Command {
    Command { is_for_subscribers: true, ..command }
}

/// All commands.
pub(crate) const COMMANDS: &[Command] = &[
    command("client", -2, OTHER, NO_KEYS),
    command("command", -1, OTHER, NO_KEYS),
    command("config", -2, OTHER, NO_KEYS),
    command("dbsize", 1, READ, NO_KEYS),
    command("decr", 2, WRITE, ONE_KEY),
    command("decrby", 3, WRITE, ONE_KEY),
    command("del", -2, DELETE, ALL_KEYS),
    command("echo", 2, OTHER, NO_KEYS),
    command("exists", -2, READ, ALL_KEYS),
    command("expire", -3, DELETE, ONE_KEY),
    command("expireat", -3, DELETE, ONE_KEY),
    command("expiretime", 2, READ, ONE_KEY),
    command("flushall", -1, DELETE, NO_KEYS),
    command("flushdb", -1, DELETE, NO_KEYS),
    command("get", 2, READ, ONE_KEY),
    command("hello", -1, OTHER, NO_KEYS),
    command("incr", 2, WRITE, ONE_KEY),
    command("incrby", 3, WRITE, ONE_KEY),
    command("incrbyfloat", 3, WRITE, ONE_KEY),
    command("info", -1, OTHER, NO_KEYS),
    command("persist", 2, DELETE, ONE_KEY),
    command("pexpire", -3, DELETE, ONE_KEY),
    command("pexpireat", -3, DELETE, ONE_KEY),
    command("pexpiretime", 2, READ, ONE_KEY),
    for_subscribers(command("ping", -1, OTHER, NO_KEYS)),
    command("pttl", 2, READ, ONE_KEY),
    command("publish", 3, CHANNEL, NO_KEYS),
    for_subscribers(command("quit", -1, OTHER, NO_KEYS)),
    command("select", 2, OTHER, NO_KEYS),
    command("set", -3, WRITE, ONE_KEY),
    command("strlen", 2, READ, ONE_KEY),
    for_subscribers(command("subscribe", -2, CHANNEL, NO_KEYS)),
    command("ttl", 2, READ, ONE_KEY),
    command("unlink", -2, DELETE, ALL_KEYS),
    for_subscribers(command("unsubscribe", -1, CHANNEL, NO_KEYS)),
];

/// The command of this name, in capitals.
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Command {
    /// Whether it takes so many arguments, its name among them.
    pub(crate) fn takes(&self, count: usize) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.arity < 0 { count >= -self.arity } else { count == self.arity }
    }

    /// Its line in the answer to COMMAND.
    pub(crate) fn reply(&self) -> Reply<'static> {
        let (first, last, step) = self.keys;
        Reply::Array(vec![
            Reply::Bulk(self.name.as_bytes()),
            Reply::Integer(self.arity),
            Reply::Array(self.flags.iter().map(|flag| Reply::Simple(flag)).collect()),
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Integer(step),
        ])
    }
}

/// What a client has sent, for an error: short, on one line, printable.
pub(crate) fn shown(text: &[u8]) -> String {
    text[..text.len().min(128)].escape_ascii().to_string()
}
