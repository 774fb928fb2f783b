//! The rows of the comparison.

use clap::ValueEnum;
use serde::Serialize;

use crate::load::Load;
use crate::load::benchmark::{self, Benchmark};
use crate::load::beside::{Beside, Job, Other, Through};
use crate::load::broadcast::Broadcast;
use crate::load::chat::Chat;
use crate::load::churn::Churn;
use crate::load::deliveries::Deliveries;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::load::tls::{Sessions, Tls};
use crate::load::upload::Upload;
use crate::load::web::{Web, What};
use crate::peers::{Peer, bun, jobs, socket_io};

/// Who serves an echo, in the order of the tables.
const ECHOES: &[Peer] = &[Peer::BareEcho, Peer::OursEcho, Peer::TokioEcho, Peer::MessageIoEcho];

/// Who serves a chat.
const CHATS: &[Peer] = &[Peer::BareChat, Peer::OursChat, Peer::TokioChat, Peer::TokioChatPerLine];

/// Who answers as soon as it can.
const LATENCIES: &[Peer] = &[Peer::BareEcho, Peer::OursEchoBusyPoll, Peer::OursEcho, Peer::TokioEcho];

/// Who receives files.
const UPLOADS: &[Peer] = &[Peer::BareUpload, Peer::OursUpload, Peer::SpliceUpload];

/// Who speaks TLS.
const TLS: &[Peer] = &[Peer::OursTls, Peer::TokioTls];

/// Who does jobs on threads beside an echo, and who does if libuv is installed.
const JOBS: &[Peer] = &[Peer::OursJobs, Peer::TokioJobs];
const JOBS_WITH_LIBUV: &[Peer] = &[Peer::OursJobs, Peer::TokioJobs, Peer::UvJobs];

/// Who writes files on a thread beside an echo.
const FILES: &[Peer] = &[Peer::OursFiles];

/// Who serves a chat beside an echo.
const ROOMS: &[Peer] = &[Peer::OursRoom, Peer::TokioRoom];

/// Who runs commands.
const COMMANDS: &[Peer] = &[Peer::BareCommand, Peer::OursCommand];

/// Who serves HTTP.
const HTTP: &[Peer] = &[Peer::OursWeb, Peer::Hyper];

/// The same on one connection: tiny_http, which gives each connection a thread, may
/// leave one of many waiting for as long as the others are kept.
const HTTP_ALONE: &[Peer] = &[Peer::OursWeb, Peer::Hyper, Peer::TinyHttp];

/// Who serves WebSockets, and who does if Bun is installed.
const SOCKETS: &[Peer] = &[Peer::OursWeb, Peer::Tungstenite];
const SOCKETS_WITH_BUN: &[Peer] = &[Peer::OursWeb, Peer::Tungstenite, Peer::Bun];

/// Who publishes to other nodes, and who does if socket.io is installed.
const NODES: &[Peer] = &[Peer::BareNode, Peer::OursNode];
const NODES_WITH_SOCKET_IO: &[Peer] = &[Peer::BareNode, Peer::OursNode, Peer::SocketIoNode];

/// Who serves a chat by a bus, and without.
const BUS_CHATS: &[Peer] = &[Peer::OursChatAlone, Peer::OursBusChat];

/// Who serves strings.
const STORES: &[Peer] = &[Peer::RedisServer, Peer::OursKv, Peer::OursKvBusyPoll];

/// Rows that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Messages there and back
    Echo,
    /// Busy connections beside silent ones
    Idle,
    /// Lines to everybody
    Chat,
    /// Connect, one echo, close
    Churn,
    /// One message, there and back
    Latency,
    /// A large file
    Upload,
    /// Programs that clients have run
    Commands,
    /// Messages through TLS, and handshakes
    Tls,
    /// One message in a hundred takes longer, beside jobs, handshakes, files and a chat
    Beside,
    /// Answers over HTTP
    Http,
    /// Messages over WebSocket, there and back, and to everybody
    Socket,
    /// Messages from node to node; needs redis-server
    Bus,
    /// Strings, by redis-benchmark; needs redis-server
    Kv,
    /// Resident memory of silent connections
    Memory,
    /// Resident memory of silent connections with TLS
    TlsMemory,
    /// Resident memory of a line to members who do not read
    Broadcast,
    /// System calls; needs strace
    Calls,
    /// User-space instructions; needs valgrind
    Instructions,
}

impl Kind {
    pub(crate) const ALL: [Self; 18] = [
        Self::Echo,
        Self::Idle,
        Self::Chat,
        Self::Churn,
        Self::Latency,
        Self::Upload,
        Self::Commands,
        Self::Tls,
        Self::Beside,
        Self::Http,
        Self::Socket,
        Self::Bus,
        Self::Kv,
        Self::Memory,
        Self::TlsMemory,
        Self::Broadcast,
        Self::Calls,
        Self::Instructions,
    ];
}

/// What a row does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// As much as it can in the time.
    Work(Load),
    /// One message at a time.
    Latency,
    /// The tail of that, beside something else.
    Beside(Beside),
    /// The tail of busy HTTP connections, beside so many that send a byte at a time.
    Loris(usize),
    /// The time within which so many of 100 messages come to another node.
    Within(usize, Deliveries),
    /// As many messages to other nodes as can be in the time.
    Deliver(Deliveries),
    /// So many silent connections.
    Memory(usize),
    /// So many with TLS.
    TlsMemory(usize),
    /// So many silent connections, after one answer or message.
    WebMemory(What, usize),
    /// A line to members who do not read.
    Broadcast(Broadcast),
    /// The difference of two runs of about so much.
    Calls { load: Load, few: u64, many: u64 },
    /// The difference of two runs of about so much.
    Instructions { load: Load, few: u64, many: u64 },
}

impl Task {
    const fn is_chat(&self) -> bool {
        let load = match self {
            Self::Work(load) | Self::Calls { load, .. } | Self::Instructions { load, .. } => load,
            Self::Broadcast(_) => return true,
            Self::Latency | Self::Beside(_) | Self::Loris(_) => return false,
            Self::Within(..) | Self::Deliver(_) => return false,
            Self::Memory(_) | Self::TlsMemory(_) | Self::WebMemory(..) => return false,
        };
        matches!(load, Load::Chat(_))
    }

    /// Whether it has members at two nodes.
    pub(crate) const fn is_from_afar(&self) -> bool {
        matches!(self, Self::Work(Load::Chat(Chat { from_afar: true, .. })))
    }
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) task: Task,
    pub(crate) peers: &'static [Peer],
    pub(crate) rounds: Rounds,
    /// Its rate decides it, whoever is the limit. Its server has children, or one
    /// client and nothing to do between; or its load is another program, which reports
    /// rates.
    pub(crate) by_pace: bool,
    /// MiB of memory that the server holds.
    pub(crate) ballast: usize,
    /// What it would be without the silent connections, by name.
    pub(crate) without_idle: Option<String>,
}

/// How many rounds a row needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rounds {
    /// As many as were asked for.
    AsAsked,
    /// Nine for each five: the disk is noisy.
    More,
    /// It is the same each time, and so many are enough.
    AtMost(usize),
}

impl Rounds {
    pub(crate) fn of(self, asked: usize) -> usize {
        match self {
            Self::AsAsked => asked,
            Self::More => asked * 9 / 5,
            Self::AtMost(most) => asked.min(most),
        }
    }
}

impl Row {
    fn new(kind: Kind, name: String, task: Task) -> Self {
        let peers = match kind {
            Kind::Latency => LATENCIES,
            Kind::Upload => UPLOADS,
            Kind::Commands => COMMANDS,
            Kind::Tls | Kind::TlsMemory => TLS,
            Kind::Http => HTTP,
            Kind::Socket if bun::is_installed() => SOCKETS_WITH_BUN,
            Kind::Socket => SOCKETS,
            Kind::Bus if task.is_chat() => BUS_CHATS,
            Kind::Bus if socket_io::is_installed() => NODES_WITH_SOCKET_IO,
            Kind::Bus => NODES,
            Kind::Kv => STORES,
            _ if task.is_chat() => CHATS,
            _ => ECHOES,
        };
        let rounds = Rounds::AsAsked;
        Self { kind, name, task, peers, rounds, by_pace: false, ballast: 0, without_idle: None }
    }

    /// What is counted.
    pub(crate) const fn unit(&self) -> &'static str {
        match self.task {
            Task::Work(Load::Echo(_) | Load::Tls(Tls::Echo { .. })) => "messages/s",
            Task::Work(Load::Chat(_)) => "lines/s",
            Task::Work(Load::Churn(_) | Load::Tls(Tls::Handshakes(_))) => "connections/s",
            Task::Work(Load::Command) => "commands/s",
            Task::Work(Load::Upload(_)) => "MiB/s",
            Task::Work(Load::Web(Web { what: What::Message(_), .. }) | Load::Fanout(_)) => "messages/s",
            Task::Work(Load::Web(_)) => "answers/s",
            Task::Work(Load::Benchmark(_)) => "requests/s",
            Task::Deliver(_) => "deliveries/s",
            Task::Latency | Task::Beside(_) | Task::Within(..) | Task::Loris(_) => "ns",
            Task::Memory(_) | Task::TlsMemory(_) | Task::WebMemory(..) | Task::Broadcast(_) => "bytes",
            Task::Calls { .. } => "system calls",
            Task::Instructions { .. } => "instructions",
        }
    }
}

/// Every row of these kinds; as small as can be for a smoke test. No more than
/// `max_connections` fit into a process.
pub(crate) fn rows(kinds: &[Kind], smoke: bool, max_connections: usize) -> Vec<Row> {
    let small = |count: usize| if smoke && count > 50 { 50 + count / 25 } else { count };
    let mut rows = Vec::new();
    let mut echoes = Vec::new();
    for connections in [1, 10, 50, 100, 1_000, 10_000, 19_000] {
        echoes.push((connections, 64, 1));
    }
    echoes.extend([(1, 64, 16), (50, 64, 16), (1_000, 64, 16), (50, 16 << 10, 1)]);
    for (connections, size, pipeline) in echoes {
        let connections = small(connections).min(max_connections);
        let echo = Echo { connections, size, pipeline, idle: 0 };
        rows.push(Row::new(Kind::Echo, echo_name(&echo), Task::Work(Load::Echo(echo))));
    }
    rows.extend(idle_rows(smoke, max_connections));
    for (members, senders, lines) in [(100, 10, 16), (1000, 10, 16), (100, 1, 1), (1000, 1, 1)] {
        let chat = Chat { members: small(members), senders, lines, from_afar: false };
        rows.push(Row::new(Kind::Chat, chat_name(&chat), Task::Work(Load::Chat(chat))));
    }
    for at_once in [1, 50] {
        let churn = Churn { at_once };
        rows.push(Row::new(Kind::Churn, churn_name(&churn), Task::Work(Load::Churn(churn))));
    }
    rows.extend(paced_rows(smoke));
    rows.extend(tls_rows(smoke));
    rows.extend(beside_rows(smoke));
    rows.extend(web_rows(&small, max_connections));
    rows.extend(bus_rows(&small));
    rows.extend(kv_rows());
    let connections = small(10_000).min(max_connections);
    let memory = Row::new(Kind::Memory, format!("{connections} connections"), Task::Memory(connections));
    rows.push(Row { rounds: Rounds::AtMost(3), ..memory });
    let connections = small(5_000).min(max_connections);
    let memory = Task::TlsMemory(connections);
    let memory = Row::new(Kind::TlsMemory, format!("{connections} connections with TLS"), memory);
    rows.push(Row { rounds: Rounds::AtMost(3), ..memory });
    let broadcast = Broadcast { members: small(1_000), size: 256 << 10 };
    let name = format!("{} members who do not read, a line of 256 KiB", broadcast.members);
    let broadcast = Row::new(Kind::Broadcast, name, Task::Broadcast(broadcast));
    rows.push(Row { rounds: Rounds::AtMost(3), ..broadcast });
    rows.extend(call_rows(smoke));
    rows.extend(instruction_rows(smoke));

    rows.retain(|row| kinds.contains(&row.kind));
    // With few descriptors the largest of them come to the same.
    rows.dedup_by(|next, row| next.kind == row.kind && next.name == row.name);
    rows
}

fn tls_rows(smoke: bool) -> Vec<Row> {
    let many = if smoke { 5 } else { 50 };
    let echo = |connections, size| {
        let echo = Echo { connections, size, pipeline: 1, idle: 0 };
        (echo_name(&echo), Tls::Echo { connections, size })
    };
    let rows = [
        echo(1, 64),
        echo(many, 64),
        echo(many, 16 << 10),
        ("a handshake and an echo".into(), Tls::Handshakes(Sessions::New)),
        ("a resumed handshake and an echo".into(), Tls::Handshakes(Sessions::Resumed)),
    ];
    rows.into_iter().map(|(name, tls)| Row::new(Kind::Tls, name, Task::Work(Load::Tls(tls)))).collect()
}

/// The tail of an echo beside what workers, handshakes, a slow disk and a room do; each behind the
/// same alone, which it is compared with.
fn beside_rows(smoke: bool) -> Vec<Row> {
    let members = if smoke { 50 } else { 1000 };
    let mib = if smoke { 4 } else { 1024 };
    let jobs = if jobs::has_libuv() { JOBS_WITH_LIBUV } else { JOBS };
    let of = |peers, through, what: &str, others: &[(Other, &str)]| {
        let alone = format!("1 × 64 B{what}, 99 % within");
        let row = |other, name, base| {
            let task = Task::Beside(Beside { through, other });
            Row { peers, without_idle: base, ..Row::new(Kind::Beside, name, task) }
        };
        let mut rows = vec![row(Other::Nothing, alone.clone(), None)];
        for (other, beside) in others {
            rows.push(row(*other, format!("{alone}, beside {beside}"), Some(alone.clone())));
        }
        rows
    };
    let of_jobs = [
        (Other::Jobs(Job::Sleeps), "200 jobs a second that wait for 5 ms"),
        (Other::Jobs(Job::Computes), "200 jobs a second that compute for 5 ms"),
    ];
    let of_files = [(Other::Upload(mib), &*format!("an upload of {mib} MiB to a slow disk"))];
    let handshakes = [(Other::Handshakes, "100 handshakes a second")];
    let lines = [(Other::Chat(members), &*format!("20 lines a second to {members} members"))];
    [
        of(jobs, Through::Nothing, "", &of_jobs),
        of(FILES, Through::Nothing, " of a server of files", &of_files),
        of(TLS, Through::Tls, " through TLS", &handshakes),
        of(ROOMS, Through::UnixSocket, " by a Unix socket", &lines),
    ]
    .concat()
}

/// A latency, a file, and commands with and without memory in the server.
fn paced_rows(smoke: bool) -> Vec<Row> {
    let latency = Row::new(Kind::Latency, "1 × 64 B, half of all within".into(), Task::Latency);
    let mib = if smoke { 4 } else { 1024 };
    let upload = Load::Upload(Upload { mib });
    let upload = Row::new(Kind::Upload, format!("a file of {mib} MiB"), Task::Work(upload));
    let mut rows = vec![latency, Row { rounds: Rounds::More, ..upload }];
    for ballast in [0, 64] {
        let with = if ballast == 0 { String::new() } else { format!(", the server holds {ballast} MiB") };
        let row = Row::new(Kind::Commands, format!("sh -c 'echo hi'{with}"), Task::Work(Load::Command));
        rows.push(Row { by_pace: true, ballast, ..row });
    }
    rows
}

/// HTTP and WebSocket.
fn web_rows(small: &dyn Fn(usize) -> usize, max_connections: usize) -> Vec<Row> {
    let web = |kind, what, connections, pipeline| {
        let connections = small(connections).min(max_connections);
        let size = match what {
            What::Plaintext => "plaintext".into(),
            What::Json => "JSON of 1 KiB".into(),
            What::File => "a file of 100 MB".into(),
            What::Message(size) => format!("{size} B there and back"),
        };
        let ahead = if pipeline > 1 { format!(", {pipeline} under way") } else { String::new() };
        let name = format!("{connections} × {size}{ahead}");
        Row::new(kind, name, Task::Work(Load::Web(Web { what, connections, pipeline })))
    };
    let fanout = |members, senders, messages| {
        let fanout = Fanout { members: small(members), senders, messages };
        let name = format!("{} members, {senders} × {messages} messages of 64 B", fanout.members);
        Row::new(Kind::Socket, name, Task::Work(Load::Fanout(fanout)))
    };
    let memory = |kind, what, after| {
        let connections = small(10_000).min(max_connections);
        let row =
            Row::new(kind, format!("{connections} idle, after {after}"), Task::WebMemory(what, connections));
        Row { rounds: Rounds::AtMost(3), ..row }
    };
    let loris = |slow: usize| {
        let slow = small(slow).min(max_connections.saturating_sub(50));
        let alone = "50 × plaintext, 99 % within".to_owned();
        let row = |name, base| Row { without_idle: base, ..Row::new(Kind::Http, name, Task::Loris(slow)) };
        match slow {
            0 => row(alone, None),
            _ => row(format!("{alone}, beside {slow} that send a byte in 5 s"), Some(alone)),
        }
    };
    vec![
        Row { peers: HTTP_ALONE, ..web(Kind::Http, What::Plaintext, 1, 1) },
        web(Kind::Http, What::Plaintext, 50, 1),
        web(Kind::Http, What::Plaintext, 50, 16),
        web(Kind::Http, What::Plaintext, 1_000, 1),
        web(Kind::Http, What::Json, 50, 1),
        Row { peers: HTTP_ALONE, ..web(Kind::Http, What::File, 1, 1) },
        loris(0),
        loris(10_000),
        memory(Kind::Http, What::Plaintext, "an answer"),
        web(Kind::Socket, What::Message(512), 500, 1),
        fanout(100, 10, 16),
        fanout(1_000, 10, 16),
        memory(Kind::Socket, What::Message(64), "a message"),
    ]
}

/// Messages from one node to the others, and what comes by the bus to many members of one.
fn bus_rows(small: &dyn Fn(usize) -> usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for nodes in [2, 3] {
        let alone = Deliveries { nodes, under_way: 1 };
        for (percent, part) in [(50, "half of all"), (99, "99 %")] {
            let name = format!("{nodes} nodes, 64 B, published to delivered, {part} within");
            rows.push(Row::new(Kind::Bus, name, Task::Within(percent, alone)));
        }
        let many = Deliveries { nodes, under_way: 64 };
        let name = format!("{nodes} nodes, 64 B, {} under way", many.under_way);
        rows.push(Row { by_pace: true, ..Row::new(Kind::Bus, name, Task::Deliver(many)) });
    }
    for (members, senders, lines) in [(1000, 10, 16), (1000, 1, 1)] {
        for from_afar in [false, true] {
            let chat = Chat { members: small(members), senders, lines, from_afar };
            rows.push(Row::new(Kind::Bus, chat_name(&chat), Task::Work(Load::Chat(chat))));
        }
    }
    rows
}

fn kv_rows() -> Vec<Row> {
    let row = |(command, name, pipeline)| {
        let load = Load::Benchmark(Benchmark { command, pipeline });
        let name = format!("{name} -c 50 -P {pipeline}");
        Row { by_pace: true, ..Row::new(Kind::Kv, name, Task::Work(load)) }
    };
    let (set, get) = (benchmark::What::Set, benchmark::What::Get);
    [(set, "SET", 1), (get, "GET", 1), (set, "SET", 16), (get, "GET", 16)].into_iter().map(row).collect()
}

fn call_rows(smoke: bool) -> Vec<Row> {
    let rows = [(1, 1), (50, 1), (50, 16)].map(|(connections, pipeline)| {
        let echo = Echo { connections, size: 64, pipeline, idle: 0 };
        let (few, many) = if smoke { (1_000, 2_000) } else { (1_000, 11_000) };
        let name = format!("an echo, {}", echo_name(&echo));
        let row = Row::new(Kind::Calls, name, Task::Calls { load: Load::Echo(echo), few, many });
        Row { rounds: Rounds::AtMost(3), ..row }
    });
    let tls = |connections| {
        let (load, name) = tls_echo(connections, 64);
        let (few, many) = if smoke { (1_000, 2_000) } else { (1_000, 11_000) };
        let row = Row::new(Kind::Calls, name, Task::Calls { load, few, many });
        Row { rounds: Rounds::AtMost(3), peers: TLS, ..row }
    };
    rows.into_iter().chain([1, 50].map(tls)).collect()
}

fn idle_rows(smoke: bool, max_connections: usize) -> Vec<Row> {
    const BUSY: usize = 50;
    let mut counts: Vec<_> =
        if smoke { [0, 200].into() } else { [0, 1, 10, 100, 1_000, 10_000, 19_000].into() };
    for count in &mut counts {
        *count = (*count).min(max_connections.saturating_sub(BUSY));
    }
    counts.dedup();
    let echo = |idle| Echo { connections: BUSY, size: 64, pipeline: 1, idle };
    let base = echo_name(&echo(0));
    let row = |idle| {
        let row = Row::new(Kind::Idle, echo_name(&echo(idle)), Task::Work(Load::Echo(echo(idle))));
        Row { without_idle: (idle > 0).then(|| base.clone()), ..row }
    };
    counts.into_iter().map(row).collect()
}

fn instruction_rows(smoke: bool) -> Vec<Row> {
    let echo = |connections, size, pipeline| {
        let echo = Echo { connections, size, pipeline, idle: 0 };
        (format!("an echo, {}", echo_name(&echo)), Load::Echo(echo), 1_000)
    };
    let chat = |members, senders, lines, unit| {
        let chat = Chat { members, senders, lines, from_afar: false };
        (format!("a line delivered, {}", chat_name(&chat)), Load::Chat(chat), unit)
    };
    let churn = Churn { at_once: 1 };
    let rows = [
        echo(1, 64, 1),
        echo(50, 64, 16),
        echo(50, 16 << 10, 1),
        chat(100, 10, 16, 32_000),
        chat(100, 1, 1, 5_000),
        (format!("a connection, {}", churn_name(&churn)), Load::Churn(churn), 500),
    ];
    let row = |(name, load, unit)| {
        let (few, many) = (unit, if smoke { 2 * unit } else { 11 * unit });
        let row = Row::new(Kind::Instructions, name, Task::Instructions { load, few, many });
        Row { rounds: Rounds::AtMost(1), ..row }
    };
    let tls = |connections, size| {
        let (load, name) = tls_echo(connections, size);
        Row { peers: TLS, ..row((name, load, 1_000)) }
    };
    rows.into_iter().map(row).chain([tls(1, 64), tls(50, 64), tls(50, 16 << 10)]).collect()
}

/// The load of a row that counts what an echo over TLS takes, and its name.
fn tls_echo(connections: usize, size: u64) -> (Load, String) {
    let echo = Echo { connections, size, pipeline: 1, idle: 0 };
    let load = Load::Tls(Tls::Echo { connections, size });
    (load, format!("an echo over TLS, {}", echo_name(&echo)))
}

fn chat_name(chat: &Chat) -> String {
    let Chat { members, senders, lines, from_afar } = *chat;
    let from_where = if from_afar { ", said at another node" } else { "" };
    format!("{members} members, {senders} × {lines} lines of 64 B{from_where}")
}

fn churn_name(churn: &Churn) -> String {
    format!("{} at once", churn.at_once)
}

fn echo_name(echo: &Echo) -> String {
    let Echo { connections, size, pipeline, idle } = *echo;
    let size = if size < 1024 { format!("{size} B") } else { format!("{} KiB", size >> 10) };
    let mut name = format!("{connections} × {size}");
    if pipeline > 1 {
        name += &format!(", {pipeline} under way");
    }
    if idle > 0 {
        name += &format!(", beside {idle} idle");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_rows_of_a_kind_apart() {
        for smoke in [false, true] {
            for kind in Kind::ALL {
                let rows = rows(&[kind], smoke, 20_000);
                let base = rows.iter().filter_map(|row| row.without_idle.as_ref());
                assert!(base.clone().all(|base| rows.iter().any(|row| row.name == *base)));
                assert!(!rows.is_empty());
                let mut names: Vec<_> = rows.iter().map(|row| &row.name).collect();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), rows.len());
            }
        }
    }

    #[test]
    fn rounds_are_as_many_as_a_row_needs() {
        assert_eq!([1, 5].map(|asked| Rounds::More.of(asked)), [1, 9]);
        assert_eq!([1, 5].map(|asked| Rounds::AtMost(3).of(asked)), [1, 3]);
    }

    #[test]
    fn rows_keep_to_what_fits_into_a_process() {
        let rows = rows(&[Kind::Echo, Kind::Idle, Kind::Memory], false, 5_000);
        for row in rows {
            match row.task {
                Task::Work(Load::Echo(echo)) => assert!(echo.idle + echo.connections <= 5_000),
                Task::Memory(connections) => assert!(connections <= 5_000),
                _ => panic!("not of these kinds"),
            }
        }
    }
}
