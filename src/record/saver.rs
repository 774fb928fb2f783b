//! `Saver`: writes the dumps that a recorder takes by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::dump::write_segments;
use super::options::{DumpRequest, RecordOptions};
use super::ring::Ring;
use crate::Printable;
use crate::driver::{IncidentKind, Moment};

/// The numbered files of one recorder, and when it may write the next one.
#[derive(Debug)]
pub(super) struct Saver {
    options: RecordOptions,
    pub(super) request: DumpRequest,
    /// The number of the last file that was written or found.
    last: u32,
    /// No dump by an incident before this moment.
    not_before: Moment,
    /// True once a warning has said that no further dump is written.
    is_exhausted: bool,
}

impl Saver {
    pub(super) fn new(options: RecordOptions) -> Self {
        let request = DumpRequest::default();
        Self { options, request, last: 0, not_before: Moment::ZERO, is_exhausted: false }
    }

    /// Whether an incident at this moment is one after which a dump is taken. If so, the
    /// pause before the next one begins.
    pub(super) fn is_due_after(&mut self, incident: IncidentKind, now: Moment) -> bool {
        let after = self.options.after;
        let is_meant = match incident {
            IncidentKind::Failed => after.errors,
            IncidentKind::Panicked => after.panics,
            IncidentKind::Slow(_) => after.slow,
        };
        let is_due = is_meant && self.options.file.is_some() && now >= self.not_before;
        if is_due {
            self.not_before = now.plus(self.options.pause);
        }
        is_due
    }

    pub(super) const fn is_due_after_panic(&self) -> bool {
        self.options.after.panics
    }

    /// Writes a dump to the next file, and says so in the log, or why it cannot.
    pub(super) fn save(&mut self, ring: &Ring, reason: &str) {
        let Some(base) = self.options.file.clone() else { return };
        match self.create(&base) {
            Ok(Some((path, file))) => {
                let shown = Printable(path.display());
                match write_segments(ring.segments(), &mut BufWriter::new(file)) {
                    Ok(()) => log::warn!("recording: wrote {} bytes to {shown}: {reason}", ring.len()),
                    Err(error) => log::error!("recording: {shown}: {error}; the dump is cut off"),
                }
            }
            Ok(None) if self.is_exhausted => {}
            Ok(None) => {
                self.is_exhausted = true;
                log::warn!(
                    "recording: no dump, for there are {} already; move them away",
                    self.options.max_dumps
                );
            }
            Err(error) => log::error!("recording: {}: {error}", Printable(base.display())),
        }
    }

    /// Makes the next file, which only its owner can read; `None` if there are enough.
    fn create(&mut self, base: &Path) -> io::Result<Option<(PathBuf, File)>> {
        while self.last < self.options.max_dumps {
            let mut path = base.as_os_str().to_owned();
            path.push(format!(".{}", self.last + 1));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.last += 1,
                outcome => {
                    let file = outcome?;
                    self.last += 1;
                    return Ok(Some((path.into(), file)));
                }
            }
        }
        Ok(None)
    }
}
