//! What is measured: every row of the comparison.

use clap::ValueEnum;
use serde::Serialize;

use crate::load::Load;
use crate::load::chat::Chat;
use crate::load::churn::Churn;
use crate::load::echo::Echo;
use crate::peers::Peer;

/// Who serves an echo, in the order of the tables.
const ECHOES: &[Peer] = &[Peer::BareEcho, Peer::OursEcho, Peer::TokioEcho, Peer::MessageIoEcho];

/// Who serves a chat.
const CHATS: &[Peer] = &[Peer::BareChat, Peer::OursChat, Peer::TokioChat, Peer::TokioChatPerLine];

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
    /// Resident memory of silent connections
    Memory,
    /// User-space instructions; needs valgrind
    Instructions,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Echo, Self::Idle, Self::Chat, Self::Churn, Self::Memory, Self::Instructions];
}

/// What a row does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// As much as it can in the time.
    Work(Load),
    /// So many silent connections.
    Memory(usize),
    /// The difference of two runs of about so much.
    Instructions { load: Load, few: u64, many: u64 },
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) task: Task,
    pub(crate) peers: &'static [Peer],
    /// It is the same each time, so that so many rounds are enough.
    pub(crate) max_rounds: usize,
    /// What it would be without the silent connections, by name.
    pub(crate) without_idle: Option<String>,
}

impl Row {
    fn new(kind: Kind, name: String, task: Task) -> Self {
        let is_chat =
            matches!(task, Task::Work(Load::Chat(_)) | Task::Instructions { load: Load::Chat(_), .. });
        let peers = if is_chat { CHATS } else { ECHOES };
        Self { kind, name, task, peers, max_rounds: usize::MAX, without_idle: None }
    }

    /// What is counted.
    pub(crate) const fn unit(&self) -> &'static str {
        match self.task {
            Task::Work(Load::Echo(_)) => "messages/s",
            Task::Work(Load::Chat(_)) => "lines/s",
            Task::Work(Load::Churn(_)) => "connections/s",
            Task::Memory(_) => "bytes",
            Task::Instructions { .. } => "instructions",
        }
    }
}

/// Every row of these kinds; as small as can be for a smoke test. No more than
/// `max_connections` fit into a process.
pub(crate) fn rows(kinds: &[Kind], smoke: bool, max_connections: usize) -> Vec<Row> {
    let small = |count: usize| if smoke && count > 50 { 50 + count / 25 } else { count };
    let mut rows = Vec::new();
    for (connections, size, pipeline) in
        [(1, 64, 1), (50, 64, 1), (1000, 64, 1), (1, 64, 16), (50, 64, 16), (1000, 64, 16), (50, 16 << 10, 1)]
    {
        let echo = Echo { connections: small(connections), size, pipeline, idle: 0 };
        rows.push(Row::new(Kind::Echo, echo_name(&echo), Task::Work(Load::Echo(echo))));
    }
    rows.extend(idle_rows(smoke, max_connections));
    for (members, senders, lines) in [(100, 10, 16), (1000, 10, 16), (100, 1, 1), (1000, 1, 1)] {
        let chat = Chat { members: small(members), senders, lines };
        rows.push(Row::new(Kind::Chat, chat_name(&chat), Task::Work(Load::Chat(chat))));
    }
    for at_once in [1, 50] {
        let churn = Churn { at_once };
        rows.push(Row::new(Kind::Churn, churn_name(&churn), Task::Work(Load::Churn(churn))));
    }
    let connections = small(10_000).min(max_connections);
    let memory = Row::new(Kind::Memory, format!("{connections} connections"), Task::Memory(connections));
    rows.push(Row { max_rounds: 3, ..memory });
    rows.extend(instruction_rows(smoke));

    rows.retain(|row| kinds.contains(&row.kind));
    rows
}

fn idle_rows(smoke: bool, max_connections: usize) -> Vec<Row> {
    const BUSY: usize = 50;
    let mut counts: Vec<_> = if smoke { [0, 200].into() } else { [0, 1_000, 10_000, 19_000].into() };
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
        let chat = Chat { members, senders, lines };
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
        Row { max_rounds: 1, ..row }
    };
    rows.into_iter().map(row).collect()
}

fn chat_name(chat: &Chat) -> String {
    let Chat { members, senders, lines } = *chat;
    format!("{members} members, {senders} × {lines} lines of 64 B")
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
    fn rows_keep_to_what_fits_into_a_process() {
        let rows = rows(&[Kind::Idle, Kind::Memory], false, 5_000);
        for row in rows {
            match row.task {
                Task::Work(Load::Echo(echo)) => assert!(echo.idle + echo.connections <= 5_000),
                Task::Memory(connections) => assert!(connections <= 5_000),
                _ => panic!("not of these kinds"),
            }
        }
    }
}
