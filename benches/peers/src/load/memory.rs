//! The memory of connections that are idle after one echo each.

use super::connect::{self, Connector};
use super::pattern::Pattern;
use super::{SETTLE, Target};
use crate::Result;

/// Connections before the first look: what the first of them make the server
/// allocate once belongs to no connection.
const FIRST: usize = 100;

/// Resident bytes for each of so many connections more. Those of the kernel,
/// which are the same for everybody, are not among them.
///
/// # Errors
///
/// A connection fails, or has no right echo.
pub(crate) fn run(connections: usize, target: &Target) -> Result<f64> {
    let mut connector = Connector::new(target.address);
    let pattern = Pattern::new();
    let first = connector.connect_idle(FIRST, &pattern)?;
    std::thread::sleep(SETTLE);
    let before = target.process.resident()?;
    let idle = connector.connect_idle(connections, &pattern)?;
    std::thread::sleep(SETTLE);
    let after = target.process.resident()?;
    connect::check_silent(&first)?;
    connect::check_silent(&idle)?;
    Ok((after as f64 - before as f64) / connections as f64)
}
