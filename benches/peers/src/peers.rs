//! The servers that are compared. Each does its work on one thread of its
//! process and prints where it listens.

pub(crate) mod bun;
mod bus_room;
#[path = "../../floor/mod.rs"]
mod floor;
mod hyper;
pub(crate) mod jobs;
#[path = "../../../examples/kv/main.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod kv;
mod message_io;
pub(crate) mod node;
mod ours;
mod ours_web;
pub(crate) mod redis;
#[path = "../../common/room.rs"]
mod room;
pub(crate) mod socket_io;
mod tiny_http;
mod tls;
mod tokio_chat;
mod tokio_coalescing;
mod tokio_echo;
mod tungstenite;

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use crate::Result;

/// Connections that the system holds until they are accepted, for every peer.
const BACKLOG: i32 = 1024;

/// What a server is given besides its work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// Where files go.
    pub(crate) folder: Option<PathBuf>,
    /// MiB of memory that it holds, every page of it touched.
    pub(crate) ballast: usize,
    /// The Redis of a node.
    pub(crate) redis: Option<SocketAddr>,
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// Echo: a bare mio loop, the floor
    BareEcho,
    /// Echo: serve_forever::services::Echo
    OursEcho,
    /// Echo: tokio, current thread, a task for each connection
    TokioEcho,
    /// Echo: message-io
    MessageIoEcho,
    /// Echo: serve-forever, looking for events for a while before it sleeps
    OursEchoBusyPoll,
    /// TLS: serve-forever
    OursTls,
    /// TLS: tokio-rustls, current thread
    TokioTls,
    /// Jobs beside an echo: serve-forever's workers
    OursJobs,
    /// Jobs beside an echo: tokio's spawn_blocking
    TokioJobs,
    /// Jobs beside an echo: libuv's uv_queue_work, if it is installed
    UvJobs,
    /// Files beside an echo: serve_forever::services::Upload on a worker
    OursFiles,
    /// Chat beside an echo: serve-forever
    OursRoom,
    /// Chat beside an echo: tokio
    TokioRoom,
    /// Chat: a bare mio loop that writes once per recipient per tick, the floor
    BareChat,
    /// Chat: serve-forever, a group and a broadcast for each line
    OursChat,
    /// Chat: tokio, current thread, a writer task that coalesces
    TokioChat,
    /// Chat: tokio, current thread, a write for each line, as its example does
    TokioChatPerLine,
    /// Files: blocking reads of 64 KiB and writes, the floor
    BareUpload,
    /// Files: serve_forever::services::Upload
    OursUpload,
    /// Files: by splice(2)
    SpliceUpload,
    /// Commands: posix_spawn, read, wait, the floor
    BareCommand,
    /// Commands: serve_forever::services::Command
    OursCommand,
    /// HTTP and WebSocket: serve_forever::http
    OursWeb,
    /// HTTP: hyper, on tokio's current thread
    Hyper,
    /// HTTP: tiny_http, with threads of its own
    TinyHttp,
    /// WebSocket: tokio-tungstenite, current thread, a writer task that coalesces
    Tungstenite,
    /// WebSocket: Bun, if it is installed
    Bun,
    /// A node: PUBLISH and SUBSCRIBE by blocking calls, the floor
    BareNode,
    /// A node: serve_forever::bus
    OursNode,
    /// A node: socket.io with its Redis adapter, if it is installed
    SocketIoNode,
    /// Chat: serve-forever without a bus, the floor of the one on it
    OursChatAlone,
    /// Chat: serve-forever, each line by the bus
    OursBusChat,
    /// Strings: redis-server
    RedisServer,
    /// Strings: serve-forever's examples/kv
    OursKv,
    /// Strings: the same, which looks for requests for a while before it sleeps
    OursKvBusyPoll,
}

/// The answer to `GET /plaintext`.
const PLAINTEXT: &str = "Hello, World!";

/// The answer to `GET /json`, of 1 KiB.
const JSON: &str = include_str!("peers/answer.json");

/// The size of the large file.
const FILE_SIZE: u64 = 100_000_000;

/// Makes the large file, without a name.
fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    for number in 0..FILE_SIZE / 1000 {
        file.write_all(&[number as u8; 1000])?;
    }
    Ok(file)
}

impl Peer {
    /// Its name in a table.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::BareEcho | Self::BareChat => "bare mio",
            Self::BareUpload => "bare loop",
            Self::BareCommand => "bare posix_spawn",
            Self::SpliceUpload => "bare splice",
            Self::OursEcho
            | Self::OursTls
            | Self::OursJobs
            | Self::OursFiles
            | Self::OursRoom
            | Self::OursChat
            | Self::OursUpload
            | Self::OursCommand
            | Self::OursNode
            | Self::OursBusChat
            | Self::OursKv
            | Self::OursWeb => "serve-forever",
            Self::BareNode => "PUBLISH, SUBSCRIBE",
            Self::SocketIoNode => "socket.io",
            Self::OursChatAlone => "ours, without a bus",
            Self::RedisServer => "redis-server",
            Self::Hyper => "hyper",
            Self::TinyHttp => "tiny_http",
            Self::Tungstenite => "tokio-tungstenite",
            Self::Bun => "Bun",
            Self::OursEchoBusyPoll | Self::OursKvBusyPoll => "ours, busy_poll",
            Self::TokioEcho | Self::TokioChat | Self::TokioRoom => "tokio",
            Self::TokioTls => "tokio-rustls",
            Self::TokioJobs => "tokio",
            Self::UvJobs => "libuv",
            Self::MessageIoEcho => "message-io",
            Self::TokioChatPerLine => "tokio, a write a line",
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The least that anybody can do.
    pub(crate) const fn is_floor(self) -> bool {
        matches!(
            self,
            Self::BareEcho
                | Self::BareChat
                | Self::BareUpload
                | Self::BareCommand
                | Self::BareNode
                | Self::OursChatAlone
                | Self::RedisServer
        )
    }

    /// What is compared here.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::OursEcho
                | Self::OursEchoBusyPoll
                | Self::OursTls
                | Self::OursJobs
                | Self::OursFiles
                | Self::OursRoom
                | Self::OursChat
                | Self::OursUpload
                | Self::OursCommand
                | Self::OursWeb
                | Self::OursNode
                | Self::OursBusChat
                | Self::OursKv
                | Self::OursKvBusyPoll
        )
    }

    /// tokio as a careful user has it.
    pub(crate) const fn is_tokio(self) -> bool {
        matches!(
            self,
            Self::TokioEcho
                | Self::TokioTls
                | Self::TokioJobs
                | Self::TokioChat
                | Self::TokioRoom
                | Self::Hyper
                | Self::Tungstenite
        )
    }

    /// Serves until the process is killed.
    ///
    /// # Errors
    ///
    /// Whatever a server cannot go on from.
    pub(crate) fn serve(self, given: &Given) -> Result<()> {
        let folder = || given.folder.as_deref().ok_or("it was told no folder");
        let redis = || given.redis.ok_or("it was told no Redis");
        match self {
            Self::BareEcho => floor::echo::serve(listen()?),
            Self::OursEcho => ours::echo(None),
            Self::OursEchoBusyPoll => ours::echo(Some(ours::LOOK)),
            Self::TokioEcho => tokio_echo::serve(listen()?),
            Self::MessageIoEcho => message_io::serve(),
            Self::OursTls => tls::ours(),
            Self::TokioTls => tls::tokio(listen()?),
            Self::OursJobs => jobs::ours(),
            Self::TokioJobs => jobs::tokio(listen()?),
            Self::UvJobs => jobs::libuv(),
            Self::OursFiles => ours::files_on_a_worker(folder()?),
            Self::BareChat => floor::chat::serve(listen()?),
            Self::OursChat => ours::chat(),
            Self::TokioChat => tokio_coalescing::serve(listen()?, None),
            Self::OursRoom => ours::chat_beside_echo(folder()?),
            Self::TokioRoom => {
                let echoes = UnixListener::bind(folder()?.join("socket"))?;
                tokio_coalescing::serve(listen()?, Some(echoes))
            }
            Self::TokioChatPerLine => tokio_chat::serve(listen()?),
            Self::BareUpload => floor::upload::serve(listen()?, folder()?),
            Self::OursUpload => ours::upload(folder()?),
            Self::SpliceUpload => floor::splice::serve(listen()?, folder()?),
            Self::BareCommand => floor::command::serve(listen()?),
            Self::OursCommand => ours::command(),
            Self::OursWeb => ours::web(),
            Self::Hyper => hyper::serve(listen()?),
            Self::TinyHttp => tiny_http::serve(),
            Self::Tungstenite => tungstenite::serve(listen()?),
            Self::Bun => bun::serve(),
            Self::BareNode => node::bare(listen()?, redis()?),
            Self::OursNode => node::ours(redis()?),
            Self::SocketIoNode => socket_io::serve(redis()?),
            Self::OursChatAlone => ours::chat(),
            Self::OursBusChat => bus_room::serve(redis()?),
            Self::RedisServer => redis::serve(),
            Self::OursKv => ours::kv(None),
            Self::OursKvBusyPoll => ours::kv(Some(ours::LOOK)),
        }
    }
}

/// Listens on a free port. What is accepted inherits `TCP_NODELAY` from the
/// listener, as in serve-forever: nobody pays a call for it.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    announce(listener.local_addr()?);
    Ok(listener)
}

/// Tells the runner, who waits for it, where to connect.
fn announce(address: SocketAddr) {
    println!("listening {address}");
}
