//! WebSockets by Bun, which has µWebSockets inside: a program of its own, if it is
//! installed (`npm install -g bun`).

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Result;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/bun.js");

/// Whether it can be started.
pub(crate) fn is_installed() -> bool {
    Command::new("bun").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Becomes Bun.
pub(super) fn serve() -> Result<()> {
    Err(format!("bun: {}", Command::new("bun").args(["run", SCRIPT]).exec()).into())
}
