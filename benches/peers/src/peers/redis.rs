//! A redis-server, if it is installed: behind the nodes of a bus, and beside
//! `examples/kv`.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::announce;
use crate::Result;

/// Whether there is one.
///
/// # Errors
///
/// There is not; the reason.
pub(crate) fn available() -> std::result::Result<(), String> {
    match Command::new("redis-server").arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("redis-server --version ended with {status}")),
        Err(error) => Err(format!("redis-server: {error}")),
    }
}

/// Becomes a redis-server that keeps nothing on a disk, at a port that is free now. It
/// listens a moment later.
pub(super) fn serve() -> Result<()> {
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    announce(address);
    let mut command = Command::new("redis-server");
    // It takes 127.0.1.1, where the load comes from, for another machine.
    command.args(["--bind", "127.0.0.1", "--protected-mode", "no", "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--loglevel", "warning"]);
    Err(format!("redis-server: {}", command.stdout(Stdio::null()).exec()).into())
}
