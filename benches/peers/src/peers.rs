//! The servers that are compared. Each does its work on one thread of its
//! process and prints where it listens.

mod bare;
mod bare_chat;
mod bare_echo;
mod message_io;
mod ours;
mod tokio_chat;
mod tokio_coalescing;
mod tokio_echo;

use std::io;
use std::net::{SocketAddr, TcpListener};

use clap::ValueEnum;
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use crate::Result;

/// Connections that the system holds until they are accepted, for every peer.
const BACKLOG: i32 = 1024;

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
    /// Chat: a bare mio loop that writes once per recipient per tick, the floor
    BareChat,
    /// Chat: serve-forever, a group and a broadcast for each line
    OursChat,
    /// Chat: tokio, current thread, a writer task that coalesces
    TokioChat,
    /// Chat: tokio, current thread, a write for each line, as its example does
    TokioChatPerLine,
}

impl Peer {
    /// Its name in a table.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::BareEcho | Self::BareChat => "bare mio",
            Self::OursEcho | Self::OursChat => "serve-forever",
            Self::TokioEcho | Self::TokioChat => "tokio",
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
        matches!(self, Self::BareEcho | Self::BareChat)
    }

    /// What is compared here.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::OursEcho | Self::OursChat)
    }

    /// tokio as a careful user has it.
    pub(crate) const fn is_tokio(self) -> bool {
        matches!(self, Self::TokioEcho | Self::TokioChat)
    }

    /// Serves until the process is killed.
    ///
    /// # Errors
    ///
    /// Whatever a server cannot go on from.
    pub(crate) fn serve(self) -> Result<()> {
        match self {
            Self::BareEcho => bare_echo::serve(listen()?),
            Self::OursEcho => ours::echo(),
            Self::TokioEcho => tokio_echo::serve(listen()?),
            Self::MessageIoEcho => message_io::serve(),
            Self::BareChat => bare_chat::serve(listen()?),
            Self::OursChat => ours::chat(),
            Self::TokioChat => tokio_coalescing::serve(listen()?),
            Self::TokioChatPerLine => tokio_chat::serve(listen()?),
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
