//! `Kv`: the handler, and what each command does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serve_forever::bytes::{Buf, Bytes, BytesMut};
use serve_forever::{BoxError, CloseReason, Io, Origin, StreamHandler, TimerId};

use super::channels::{Channels, Subscriptions};
use super::options::{self, SetOptions, SetWhen};
use super::reply::{Reply, Version};
use super::request::{Arguments, Request};
use super::store::{Expiry, OutOfMemory, Store, Value};
use super::table::{self, COMMANDS};

/// Answers are written once so many bytes of them are together, or all input is used.
const TOGETHER: usize = 32 << 10;
/// Longer than the name of any command.
const LONGEST_NAME: usize = 32;
/// The time between two looks for keys that have expired.
const PERIOD: Duration = Duration::from_millis(100);

/// A store of strings, and channels.
pub(crate) struct Kv {
    store: Store,
    channels: Channels,
    clock: Clock,
    clients: u64,
    connected: u64,
    /// A timer is set for the next look for keys that have expired.
    is_looking: bool,
    /// Answers of the callback that runs.
    out: BytesMut,
    request: Request,
}

/// A client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    id: u64,
    name: Bytes,
    version: Version,
    subscriptions: Subscriptions,
}

/// Milliseconds since 1970, as the clock of the reactor goes: it never jumps.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    millis: u64,
}

impl Clock {
    fn now(self, io: &Io<'_>) -> u64 {
        let passed = io.now().saturating_duration_since(self.started);
        self.millis.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Whether a command has written its answer, or the text of its error.
type Outcome = Result<(), String>;

impl Kv {
    pub(crate) fn new(max_memory: usize) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            store: Store::new(max_memory),
            channels: Channels::default(),
            clock: Clock {
                started: Instant::now(),
                millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            },
            clients: 0,
            connected: 0,
            is_looking: false,
            out: BytesMut::new(),
            request: Request::default(),
        }
    }

    /// Writes the answers that are together.
    fn flush(&mut self, io: &mut Io<'_>) {
        if !self.out.is_empty() {
            io.reply_buf(&mut self.out);
        }
    }

    fn answer(&mut self, client: &Client, reply: &Reply<'_>) {
        reply.encode(client.version, &mut self.out);
    }

    /// Sees to it that keys that expire are removed, if there are some.
    fn look_later(&mut self, io: &mut Io<'_>) -> serve_forever::Result<()> {
        if !self.is_looking && self.store.expiring() > 0 {
            io.tick_after(PERIOD)?;
            self.is_looking = true;
        }
        Ok(())
    }

    /// Carries out a command.
    fn execute(&mut self, io: &mut Io<'_>, client: &mut Client, arguments: Arguments<'_>) {
        if arguments.len() == 0 {
            return;
        }
        let mut name = [0; LONGEST_NAME];
        let given = arguments.at(0);
        let outcome = match name.get_mut(..given.len()) {
            None => Err(unknown(arguments)),
            Some(name) => {
                name.copy_from_slice(given);
                name.make_ascii_uppercase();
                self.carry_out(io, client, name, arguments)
            }
        };
        if let Err(error) = outcome {
            self.answer(client, &Reply::Error(&error));
        }
    }

    fn carry_out(&mut self, io: &mut Io<'_>, client: &mut Client, name: &[u8], a: Arguments<'_>) -> Outcome {
        let is_subscriber = client.version == Version::Two && client.subscriptions.count() > 0;
        // The two that come by the million.
        match (name, a.len()) {
            (b"GET", 2) if !is_subscriber => {
                let value = self.store.get(a.at(1), self.clock.now(io));
                write_value(io, &mut self.out, client.version, value);
                return Ok(());
            }
            (b"SET", 3) if !is_subscriber => return self.set(io, client, a, SetOptions::default()),
            _ => {}
        }
        let Some(command) = table::find(name) else { return Err(unknown(a)) };
        if !command.takes(a.len()) {
            return Err(wrong_number(command.name));
        }
        if is_subscriber && !command.is_for_subscribers {
            let name = command.name;
            return Err(format!(
                "ERR Can't execute '{name}': only SUBSCRIBE / UNSUBSCRIBE / PING / QUIT are allowed in this context"
            ));
        }
        match name {
            b"SET" => {
                let options = SetOptions::parse(a, self.clock.now(io))?;
                return self.set(io, client, a, options);
            }
            b"SUBSCRIBE" => return self.subscribe(io, client, a),
            b"UNSUBSCRIBE" => return self.unsubscribe(io, client, a),
            b"HELLO" => return self.hello(io, client, a),
            b"QUIT" => {
                self.answer(client, &Reply::Simple("OK"));
                self.flush(io);
                io.close(io.id());
                return Ok(());
            }
            b"PUBLISH" => {
                self.flush(io); // the messages stand behind the answers before
                let count = self.channels.publish(io, a.at(1), a.at(2));
                self.answer(client, &integer(count));
                return Ok(());
            }
            b"CLIENT" => return self.client(client, a),
            b"INFO" => {
                let text = self.info(io);
                self.answer(client, &Reply::Bulk(text.as_bytes()));
                return Ok(());
            }
            b"CONFIG" => return self.config(client, a),
            b"COMMAND" => return self.command(client, a),
            _ => {}
        }
        let now = self.clock.now(io);
        let reply = match name {
            b"PING" if is_subscriber && a.len() <= 2 => {
                Reply::Array(vec![Reply::Bulk(b"pong"), Reply::Bulk(a.at(1))])
            }
            b"PING" if a.len() > 2 => return Err(wrong_number("ping")),
            b"PING" if a.len() == 2 => Reply::Bulk(a.at(1)),
            b"PING" => Reply::Simple("PONG"),
            b"ECHO" => Reply::Bulk(a.at(1)),
            b"SELECT" if options::integer(a.at(1))? == 0 => Reply::Simple("OK"),
            b"SELECT" => return Err("ERR DB index is out of range".into()),
            b"DEL" | b"UNLINK" => integer(a.from(1).filter(|key| self.store.delete(key, now)).count()),
            b"EXISTS" => integer(a.from(1).filter(|key| self.store.get(key, now).is_some()).count()),
            b"STRLEN" => integer(self.store.get(a.at(1), now).map_or(0, |value| value.bytes().len())),
            b"INCR" => self.add(a.at(1), 1, now)?,
            b"DECR" => self.add(a.at(1), -1, now)?,
            b"INCRBY" => self.add(a.at(1), options::integer(a.at(2))?, now)?,
            b"DECRBY" => {
                let by = options::integer(a.at(2))?.checked_neg().ok_or("ERR decrement would overflow")?;
                self.add(a.at(1), by, now)?
            }
            b"INCRBYFLOAT" => return self.add_float(client, a, now),
            b"EXPIRE" | b"PEXPIRE" | b"EXPIREAT" | b"PEXPIREAT" => {
                let current = self.store.expiry(a.at(1), now);
                match options::expire(name, command.name, a, current, now)? {
                    Some(at) => integer(usize::from(self.store.expire_at(a.at(1), at, now))),
                    None => Reply::Integer(0),
                }
            }
            b"PERSIST" => {
                let is_there = self.store.get(a.at(1), now).is_some();
                integer(usize::from(is_there && self.store.persist(a.at(1))))
            }
            b"TTL" | b"PTTL" | b"EXPIRETIME" | b"PEXPIRETIME" => {
                Reply::Integer(options::time_left(name, self.store.expiry(a.at(1), now), now))
            }
            b"DBSIZE" => integer(self.store.len()),
            b"FLUSHALL" | b"FLUSHDB" => {
                options::flush(a)?;
                self.store.clear();
                Reply::Simple("OK")
            }
            _ => return Err(unknown(a)),
        };
        self.answer(client, &reply);
        Ok(())
    }

    fn set(&mut self, io: &mut Io<'_>, client: &Client, a: Arguments<'_>, options: SetOptions) -> Outcome {
        let now = self.clock.now(io);
        let (key, data) = (a.at(1), a.at(2));
        let sets = match options.when {
            SetWhen::Always => true,
            SetWhen::Absent => self.store.get(key, now).is_none(),
            SetWhen::Present => self.store.get(key, now).is_some(),
        };
        let old = options.returns_old.then(|| self.store.get(key, now).cloned());
        if sets {
            self.store.set(key, data, options.expiry, now)?;
        }
        match old {
            Some(old) => write_value(io, &mut self.out, client.version, old.as_ref()),
            None => self.answer(client, &if sets { Reply::Simple("OK") } else { Reply::Null }),
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], by: i64, now: u64) -> Result<Reply<'static>, String> {
        let old = self.store.get(key, now).map_or(Ok(0), |value| options::integer(value.bytes()))?;
        let new = old.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
        self.store.set(key, new.to_string().as_bytes(), Expiry::Keep, now)?;
        Ok(Reply::Integer(new))
    }

    fn add_float(&mut self, client: &Client, a: Arguments<'_>, now: u64) -> Outcome {
        let old = self.store.get(a.at(1), now).map_or(Ok(0.0), |value| options::float(value.bytes()))?;
        let new = old + options::float(a.at(2))?;
        if !new.is_finite() {
            return Err("ERR increment would produce NaN or Infinity".into());
        }
        let text = new.to_string();
        self.store.set(a.at(1), text.as_bytes(), Expiry::Keep, now)?;
        self.answer(client, &Reply::Bulk(text.as_bytes()));
        Ok(())
    }

    fn subscribe(&mut self, io: &mut Io<'_>, client: &mut Client, a: Arguments<'_>) -> Outcome {
        for name in a.from(1) {
            self.channels.subscribe(io, &mut client.subscriptions, name, client.version)?;
            self.answer_subscription(client, b"subscribe", Reply::Bulk(name));
        }
        Ok(())
    }

    fn unsubscribe(&mut self, io: &mut Io<'_>, client: &mut Client, a: Arguments<'_>) -> Outcome {
        let all: Vec<Bytes> = if a.len() == 1 {
            client.subscriptions.names().cloned().collect()
        } else {
            a.from(1).map(Bytes::copy_from_slice).collect()
        };
        if all.is_empty() {
            self.answer_subscription(client, b"unsubscribe", Reply::Null);
        }
        for name in all {
            self.channels.unsubscribe(io, &mut client.subscriptions, &name);
            self.answer_subscription(client, b"unsubscribe", Reply::Bulk(&name));
        }
        Ok(())
    }

    fn answer_subscription(&mut self, client: &Client, what: &'static [u8], name: Reply<'_>) {
        let count = integer(client.subscriptions.count());
        self.answer(client, &Reply::Push(vec![Reply::Bulk(what), name, count]));
    }

    fn hello(&mut self, io: &mut Io<'_>, client: &mut Client, a: Arguments<'_>) -> Outcome {
        let hello = options::Hello::parse(a)?;
        let version = hello.version.unwrap_or(client.version);
        if version != client.version {
            self.channels.change_version(io, &client.subscriptions, version);
            client.version = version;
        }
        if let Some(name) = hello.name {
            client.name = Bytes::copy_from_slice(name);
        }
        let proto = if client.version == Version::Two { 2 } else { 3 };
        let id = i64::try_from(client.id).unwrap_or(i64::MAX);
        let text = |text: &'static str| Reply::Bulk(text.as_bytes());
        let pairs = vec![
            (text("server"), text("serve-forever-kv")),
            (text("version"), text(env!("CARGO_PKG_VERSION"))),
            (text("proto"), Reply::Integer(proto)),
            (text("id"), Reply::Integer(id)),
            (text("mode"), text("standalone")),
            (text("role"), text("master")),
            (text("modules"), Reply::Array(Vec::new())),
        ];
        self.answer(client, &Reply::Map(pairs));
        Ok(())
    }

    fn client(&mut self, client: &mut Client, a: Arguments<'_>) -> Outcome {
        let id = i64::try_from(client.id).unwrap_or(i64::MAX);
        let name = client.name.clone();
        let reply = match (&a.at(1).to_ascii_uppercase()[..], a.len()) {
            (b"ID", 2) => Reply::Integer(id),
            (b"GETNAME", 2) if name.is_empty() => Reply::Null,
            (b"GETNAME", 2) => Reply::Bulk(&name),
            (b"SETNAME", 3) => {
                client.name = Bytes::copy_from_slice(options::client_name(a.at(2))?);
                Reply::Simple("OK")
            }
            // Libraries tell their own name and version; nobody asks for them here.
            (b"SETINFO", 4) => Reply::Simple("OK"),
            (b"SETNAME" | b"SETINFO" | b"ID" | b"GETNAME", _) => {
                return Err(wrong_number("client"));
            }
            _ => return Err(format!("ERR unknown subcommand '{}' of 'client'", table::shown(a.at(1)))),
        };
        self.answer(client, &reply);
        Ok(())
    }

    fn config(&mut self, client: &Client, a: Arguments<'_>) -> Outcome {
        if !a.at(1).eq_ignore_ascii_case(b"GET") {
            return Err(format!("ERR unknown subcommand '{}' of 'config'", table::shown(a.at(1))));
        }
        if a.len() == 2 {
            return Err(wrong_number("config|get"));
        }
        let max_memory = self.store.max_memory().to_string();
        let all =
            [("maxmemory", max_memory.as_str()), ("save", ""), ("appendonly", "no"), ("databases", "1")];
        let is_asked = |name: &str| {
            a.from(2).any(|pattern| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes()))
        };
        let pairs = all.iter().filter(|(name, _)| is_asked(name));
        let pairs = pairs.map(|(name, value)| (Reply::Bulk(name.as_bytes()), Reply::Bulk(value.as_bytes())));
        let pairs = pairs.collect();
        self.answer(client, &Reply::Map(pairs));
        Ok(())
    }

    fn command(&mut self, client: &Client, a: Arguments<'_>) -> Outcome {
        let reply = match &a.at(1).to_ascii_uppercase()[..] {
            b"" => Reply::Array(COMMANDS.iter().map(table::Command::reply).collect()),
            b"COUNT" if a.len() > 2 => return Err(wrong_number("command|count")),
            b"COUNT" => integer(COMMANDS.len()),
            b"DOCS" => Reply::Map(Vec::new()),
            b"INFO" => {
                let one = |name: &[u8]| table::find(&name.to_ascii_uppercase()).map(table::Command::reply);
                Reply::Array(a.from(2).map(|name| one(name).unwrap_or(Reply::Null)).collect())
            }
            _ => return Err(format!("ERR unknown subcommand '{}' of 'command'", table::shown(a.at(1)))),
        };
        self.answer(client, &reply);
        Ok(())
    }

    fn info(&self, io: &Io<'_>) -> String {
        let stats = io.stats();
        format!(
            "# Server\r\nserver:serve-forever-kv\r\nversion:{}\r\nuptime_in_seconds:{}\r\n\r\n\
             # Clients\r\nconnected_clients:{}\r\n\r\n\
             # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\r\n\
             # Stats\r\ntotal_connections_received:{}\r\ntotal_net_input_bytes:{}\r\n\
             total_net_output_bytes:{}\r\n\r\n\
             # Keyspace\r\ndb0:keys={},expires={}\r\n",
            env!("CARGO_PKG_VERSION"),
            io.now().saturating_duration_since(self.clock.started).as_secs(),
            self.connected,
            self.store.used(),
            self.store.max_memory(),
            stats.accepted,
            stats.bytes_in,
            stats.bytes_out,
            self.store.len(),
            self.store.expiring(),
        )
    }
}

impl StreamHandler for Kv {
    type Session = Client;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Client, BoxError> {
        self.clients += 1;
        self.connected += 1;
        Ok(Client { id: self.clients, ..Client::default() })
    }

    fn data(&mut self, io: &mut Io<'_>, client: &mut Client, input: &mut BytesMut) -> Result<(), BoxError> {
        let mut request = std::mem::take(&mut self.request);
        let mut outcome = Ok(());
        while !input.is_empty() && io.is_open(io.id()) {
            match request.parse(input) {
                Ok(Some(length)) => {
                    self.execute(io, client, request.arguments(input));
                    input.advance(length);
                }
                Ok(None) => break,
                Err(malformed) => {
                    self.answer(client, &Reply::Error(&format!("ERR {malformed}")));
                    input.clear();
                    outcome = Err(malformed.to_string().into());
                }
            }
            if self.out.len() >= TOGETHER {
                self.flush(io);
                if io.is_paused(io.id()) {
                    break; // it does not read its answers: the rest comes again when it has
                }
            }
        }
        self.flush(io);
        self.request = request;
        self.look_later(io)?;
        outcome
    }

    fn tick(&mut self, io: &mut Io<'_>, _: TimerId) {
        self.is_looking = false;
        self.store.expire(self.clock.now(io));
        if let Err(error) = self.look_later(io) {
            log::warn!("keys stay until they are asked for: {error}");
        }
    }

    fn close(&mut self, io: &mut Io<'_>, client: Client, _: &CloseReason) {
        self.connected -= 1;
        self.channels.close(io, &client.subscriptions);
    }
}

/// Answers with a value: a long one is not copied. It looks the same in both versions.
fn write_value(io: &mut Io<'_>, out: &mut BytesMut, version: Version, value: Option<&Value>) {
    let Some(value) = value else { return Reply::Null.encode(version, out) };
    out.extend_from_slice(b"$");
    out.extend_from_slice(itoa::Buffer::new().format(value.bytes().len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    match value {
        Value::Short(data) => out.extend_from_slice(data),
        Value::Long(data) => {
            io.reply_buf(out);
            io.reply_bytes(data.clone());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn integer(value: usize) -> Reply<'static> {
    Reply::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn wrong_number(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

fn unknown(a: Arguments<'_>) -> String {
    format!("ERR unknown command '{}'", table::shown(a.at(0)))
}

impl From<OutOfMemory> for String {
    fn from(_: OutOfMemory) -> Self {
        "OOM command not allowed when used memory > 'maxmemory'.".into()
    }
}
