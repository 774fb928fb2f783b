//! The words that the tests are written in: a server on its own thread, its
//! clients, what its handler saw, and processes of its own.
//!
//! Nothing here waits for a time to pass. Everything waits for an event, and
//! gives up after [`PATIENCE`], which is only ever used up by a failing test.

#![allow(dead_code, unused_imports, reason = "each binary and each set of features uses its own part")]

#[cfg(feature = "tls")]
pub(crate) mod certificates;
mod client;
mod datagrams;
mod log;
mod process;
#[cfg(feature = "cli")]
pub(crate) mod program;
mod recorder;
mod server;

use std::time::{Duration, Instant};

pub(crate) use self::client::Client;
pub(crate) use self::datagrams::{
    DatagramClient, DatagramServer, Heard, Watcher, address, bind_anywhere, heard,
};
pub(crate) use self::log::captured_logs;
pub(crate) use self::process::{
    accepted_sockets, alone, bound_socket, have, open_files, resident_bytes, role, run_client, run_self,
    set_file_limit,
};
pub(crate) use self::recorder::{Call, Event, Events, Recorder, Take};
pub(crate) use self::server::{Server, listen_anywhere};

/// How long to wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// For deadlines that a test waits for: the shortest that is not over before
/// the other steps of the test are through.
pub(crate) const SOON: Duration = Duration::from_millis(60);

/// A deadline that no test lives to see.
pub(crate) const NEVER: Option<Duration> = None;

/// Looks again and again until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Bytes without a short period, so that a piece which is lost, doubled or
/// out of place shows.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
