//! Nodes of socket.io with its Redis adapter: a program of its own for node, if both are
//! installed (`npm ci --prefix benches/peers/src/peers/socket_io`).

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/socket_io");

/// Whether it can be started; said aloud if not.
pub(crate) fn is_installed() -> bool {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    let has_packages = Path::new(FOLDER).join("node_modules/socket.io").is_dir();
    let is_installed = has_packages && node.is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!(
            "skipped: socket.io is not installed (node, and npm ci --prefix benches/peers/src/peers/socket_io)"
        );
    }
    is_installed
}

/// Becomes node.
pub(super) fn serve(redis: SocketAddr) -> Result<()> {
    let mut command = Command::new("node");
    command.arg(Path::new(FOLDER).join("node.js")).arg(format!("redis://{redis}"));
    Err(format!("node: {}", command.exec()).into())
}
