//! `RecordOptions`: what a recorder keeps, and when it writes a dump by itself.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::digest::Payloads;

/// The options of a [`Recorder`](super::Recorder).
///
/// Always end with `..RecordOptions::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The most bytes that the recording has in memory, and so the longest dump; the
    /// oldest entries make room for new ones. At least 64 KiB. Only the events of one wait,
    /// thousands of them, may be longer, and then the recording becomes as long as that.
    /// An echo of a short message takes some 80 bytes, and its own length if payloads are
    /// kept. A larger ring keeps more, and costs more with long payloads:
    /// docs/recording.md has figures. Default 1 MiB.
    pub bytes: usize,
    /// What is kept of the bytes that come in. Default: their hashes.
    pub payloads: Payloads,
    /// The file that dumps are written to which the recorder takes by itself: the first
    /// one to `FILE.1`, the next one to `FILE.2`. Files that are there stay. Default:
    /// none, and no dump is written but by
    /// [`Recorder::write_to`](super::Recorder::write_to).
    pub file: Option<PathBuf>,
    /// The most dumps that the recorder takes by itself; those of earlier processes
    /// count, as long as their files are there. Default 8.
    pub max_dumps: u32,
    /// The shortest time between two dumps by an incident. A dump for which the program
    /// asks ([`DumpRequest`]) does not wait. Default 60 s.
    pub pause: Duration,
    /// The incidents after which it takes a dump. Default: all of them.
    pub after: Incidents,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            payloads: Payloads::Hashed,
            file: None,
            max_dumps: 8,
            pause: Duration::from_secs(60),
            after: Incidents::ALL,
        }
    }
}

/// The smallest ring.
const LEAST: usize = 64 << 10;

impl RecordOptions {
    /// Checks the fields.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.bytes < LEAST {
            let message = format!("RecordOptions::bytes is {}; give {LEAST} or more", self.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(())
    }
}

/// The kinds of incidents after which a recorder takes a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incidents {
    /// A callback has returned an error.
    pub errors: bool,
    /// A callback has panicked, or the panic of a callback ends the reactor.
    pub panics: bool,
    /// A callback has taken
    /// [`Config::slow_callback`](crate::Config::slow_callback) or longer.
    pub slow: bool,
}

impl Incidents {
    /// All of them.
    pub const ALL: Self = Self { errors: true, panics: true, slow: true };
    /// None of them.
    pub const NONE: Self = Self { errors: false, panics: false, slow: false };
}

/// Has a recorder take a dump, from any thread. The recorder takes it before its next
/// wait for events; a loop that sleeps is to be woken, by
/// [`Handle::call`](crate::Handle::call) for instance.
#[derive(Clone, Debug, Default)]
pub struct DumpRequest(Arc<AtomicBool>);

impl DumpRequest {
    /// Asks for a dump. Several requests before it is taken are one.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// True once after a request.
    #[inline]
    pub(super) fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}
