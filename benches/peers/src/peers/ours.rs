//! The library that this is about, through its public API, with its defaults:
//! every limit, deadline and check is on.

use std::path::Path;
use std::time::Duration;

use serve_forever::services::{Command, Echo, Upload};
use serve_forever::{
    Config, Endpoint, LayerFactory, Limits, ListenOptions, Reactor, StreamHandler, WorkerOptions, Workers,
};

use super::kv::{self, commands::Kv};
use super::room::Room;
use super::{announce, ours_web};
use crate::Result;

/// More than the rows ask for; the default is made for small machines.
const MAX_CONNECTIONS: usize = 100_000;

/// For how long it looks for events before it sleeps, where it does: longer
/// than a client that is busy stays away.
pub(super) const LOOK: Duration = Duration::from_micros(200);

pub(super) fn echo(busy_poll: Option<Duration>) -> Result<()> {
    serve(Config { busy_poll, ..Config::default() }, Echo::new(), Echo::limits(), None)
}

pub(super) fn chat() -> Result<()> {
    serve(Config::default(), Room::default(), Limits::default(), None)
}

/// With the bound on its memory that it has by default.
pub(super) fn kv(busy_poll: Option<Duration>) -> Result<()> {
    serve(Config { busy_poll, ..Config::default() }, Kv::new(256 << 20), kv::limits(), None)
}

pub(super) fn upload(into: &Path) -> Result<()> {
    serve(Config::default(), Upload::into(into)?, Upload::limits(), None)
}

/// An echo, and an upload whose files a worker writes, at a Unix socket in the folder.
pub(super) fn files_on_a_worker(folder: &Path) -> Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    reactor.set_workers(&Workers::new(WorkerOptions { threads: 1, ..WorkerOptions::default() })?);
    let upload = Upload::into(folder.join("files"))?;
    let upload = reactor.add(upload, Upload::limits())?;
    reactor.listen(&upload, &Endpoint::Unix(folder.join("socket")))?;
    let echo = reactor.add(Echo::new(), Echo::limits())?;
    let listener = reactor.listen(&echo, &"127.0.0.1:0".parse()?)?;
    if let Some(Endpoint::Tcp(address)) = reactor.local(listener) {
        announce(*address);
    }
    Ok(reactor.serve_forever()?)
}

/// A chat, and an echo at a Unix socket in the folder.
pub(super) fn chat_beside_echo(folder: &Path) -> Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    let echo = reactor.add(Echo::new(), Echo::limits())?;
    reactor.listen(&echo, &Endpoint::Unix(folder.join("socket")))?;
    let chat = reactor.add(Room::default(), Limits::default())?;
    let listener = reactor.listen(&chat, &"127.0.0.1:0".parse()?)?;
    if let Some(Endpoint::Tcp(address)) = reactor.local(listener) {
        announce(*address);
    }
    Ok(reactor.serve_forever()?)
}

/// Everything on but the greeting, which the floor does not have.
pub(super) fn command() -> Result<()> {
    let command = Command::shell();
    let limits = command.limits();
    serve(Config::default(), command, limits, None)
}

pub(super) fn web() -> Result<()> {
    let (web, limits) = ours_web::web();
    serve(Config::default(), web, limits, None)
}

pub(super) fn serve<S: StreamHandler>(
    config: Config,
    handler: S,
    limits: Limits,
    layer: Option<LayerFactory>,
) -> Result<()> {
    let config = Config { max_connections: Some(MAX_CONNECTIONS), ..config };
    let mut reactor = Reactor::new(config)?;
    let service = reactor.add(handler, limits)?;
    let options = ListenOptions { layer, ..ListenOptions::default() };
    let listener = reactor.listen_with(&service, &"127.0.0.1:0".parse()?, &options)?;
    if let Some(Endpoint::Tcp(address)) = reactor.local(listener) {
        announce(*address);
    }
    Ok(reactor.serve_forever()?)
}
