//! `Trace`: the events of a simulation in order, always as a hash, and line by
//! line if recorded.

use std::fmt;
use std::time::Duration;

use super::act::ClientId;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the words of the trace, which `Display` spells out")]
pub enum What {
    Wait,
    Event,
    ListenerEvent,
    Interrupted,
    Connect,
    Refused,
    SocketEvent,
    Receive,
    SendTo,
    Dial,
    Answer,
    ServerIsRefused,
    Backlog,
    Accept,
    AcceptFailed,
    Register,
    Read,
    ReadFailed,
    ReadEnd,
    Write,
    WriteFailed,
    Shutdown,
    Close,
    CloseWithReset,
    ClientSends,
    ClientFinishes,
    ClientTakes,
    ClientSeesFin,
    ClientSeesReset,
    ClientResets,
    ClientCloses,
    ClientVanishes,
    ServerSeesReset,
    ServerSeesTimeOut,
    Spawn,
    SpawnFailed,
    PipeOf,
    ChildEvent,
    ChildExits,
    GrandchildEnds,
    LooksAt,
    Terminate,
    Kill,
    Reap,
    LetsGo,
    Stopped,
    JobBegins,
    JobEnds,
    JobIsLost,
    JobPanics,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "waited, events",
            Self::Event => "event, readable 1 writable 2 hang-up 4",
            Self::ListenerEvent => "event of listener",
            Self::Interrupted => "call interrupted",
            Self::Connect => "connects to listener",
            Self::Refused => "is refused",
            Self::SocketEvent => "event of datagram socket",
            Self::Receive => "server receives a datagram",
            Self::SendTo => "server sends a datagram",
            Self::Dial => "is what the server connects to",
            Self::Answer => "answers the server",
            Self::ServerIsRefused => "is not there: the server is refused",
            Self::Backlog => "waits to be accepted by listener",
            Self::Accept => "is accepted by listener",
            Self::AcceptFailed => "accept failed, errno",
            Self::Register => "is registered",
            Self::Read => "server reads",
            Self::ReadFailed => "server's read failed, errno",
            Self::ReadEnd => "server reads the end",
            Self::Write => "server writes",
            Self::WriteFailed => "server's write failed, errno",
            Self::Shutdown => "server sends FIN",
            Self::Close => "server closes, unread",
            Self::CloseWithReset => "server closes with a reset, unread",
            Self::ClientSends => "sends",
            Self::ClientFinishes => "sends FIN",
            Self::ClientTakes => "receives",
            Self::ClientSeesFin => "receives FIN",
            Self::ClientSeesReset => "receives a reset",
            Self::ClientResets => "resets",
            Self::ClientCloses => "closes",
            Self::ClientVanishes => "vanishes",
            Self::ServerSeesReset => "its reset arrives",
            Self::ServerSeesTimeOut => "its keep-alive probes stay unanswered",
            Self::Spawn => "server starts child",
            Self::SpawnFailed => "starting a child failed, errno",
            Self::PipeOf => "is a pipe of child",
            Self::ChildEvent => "event of child",
            Self::ChildExits => "exit of child",
            Self::GrandchildEnds => "end of what was left behind by child",
            Self::LooksAt => "server looks at child",
            Self::Terminate => "server sends SIGTERM to child",
            Self::Kill => "server sends SIGKILL to child",
            Self::Reap => "server reaps child",
            Self::LetsGo => "server lets go of child",
            Self::Stopped => "the process is stopped, for nanoseconds",
            Self::JobBegins => "the workers take job",
            Self::JobEnds => "the workers end job",
            Self::JobIsLost => "the workers lose job",
            Self::JobPanics => "the workers panic in job",
        })
    }
}

/// One event of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The time since the start.
    pub at: Duration,
    /// The client, if the event concerns one.
    pub client: Option<ClientId>,
    /// What.
    pub what: What,
    /// A number that depends on `what`: bytes, a listener, an `errno`, ….
    pub number: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} s  ", self.at.as_secs_f64())?;
        match self.client {
            Some(client) => write!(f, "{client} ")?,
            None => f.write_str("- ")?,
        }
        write!(f, "{} {}", self.what, self.number)
    }
}

/// The events of a simulation. Two runs with the same [`hash`](Self::hash) were
/// the same, byte for byte.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    recorded: Option<Vec<Entry>>,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, recorded: None }
    }

    /// Keeps every entry from now on; by default only their hash is kept.
    pub fn record(&mut self) {
        self.recorded.get_or_insert_with(Vec::new);
    }

    /// The recorded entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.recorded.as_deref().unwrap_or_default()
    }

    /// The hash of all events so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn note(&mut self, at: u64, client: Option<ClientId>, what: What, number: u64) {
        self.mix(at);
        self.mix(client.map_or(u64::MAX, |client| u64::from(client.0)) << 8 | what as u64);
        self.mix(number);
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Entry { at: Duration::from_nanos(at), client, what, number });
        }
    }

    /// Adds bytes to the hash.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// FNV-1a over words, with a shift so that the upper bits count as well.
    const fn mix(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        self.hash = mixed ^ (mixed >> 29);
    }
}

impl fmt::Display for Trace {
    /// The recorded entries, one line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}
