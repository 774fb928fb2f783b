//! The feature `ws`: handshakes, messages and closes, over the simulated network
//! and against another implementation.

mod arriving;
mod autobahn;
mod cutting;
mod handshakes;
mod metrics;
mod oracle;
mod rooms;
mod shutdown;
pub(crate) mod sockets;
