//! `Step`: one step of receiving a file, to be taken on a worker.

use bytes::Bytes;

use super::header::Header;
use super::refusal::Refusal;
use super::store::{Incoming, Store, Stored};
use crate::services::framing::Stream;

/// The file of a step.
#[derive(Debug)]
pub(super) enum Target {
    /// A file to begin.
    New(Header),
    /// A file that has begun.
    Begun(Incoming),
}

/// Data of a file that is to be written, and the file: begun with the first step, and
/// given its name with the last. Dropping it drops the file.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) store: Store,
    pub(super) target: Target,
    pub(super) data: Bytes,
}

/// The state of a file after a step.
#[derive(Debug)]
pub(super) enum Progress {
    /// More of it is to come.
    Incoming(Incoming),
    /// It is complete, and has its name.
    Stored(Stored),
}

impl Step {
    /// The name of the file, its size, and how much of it has come with this step.
    pub(super) fn came(&self) -> (&str, u64, u64) {
        let data = self.data.len() as u64;
        match &self.target {
            Target::New(header) => (&header.name, header.size, data),
            Target::Begun(incoming) => (&incoming.name, incoming.size, incoming.size - incoming.left + data),
        }
    }

    /// Takes the step. It blocks for as long as the disk does.
    pub(super) fn run(self) -> Result<Progress, Refusal> {
        let mut incoming = match self.target {
            Target::New(header) => self.store.begin(header)?,
            Target::Begun(incoming) => incoming,
        };
        incoming.write(&self.data)?;
        if incoming.left > 0 {
            Ok(Progress::Incoming(incoming))
        } else {
            self.store.finish(incoming).map(Progress::Stored)
        }
    }
}

/// A step that is with the workers, or waits for room there.
#[derive(Debug)]
pub(super) struct AtWork {
    pub(super) name: String,
    pub(super) size: u64,
    /// Bytes of the file that have come, those of this step included.
    pub(super) came: u64,
    /// The step, while it waits.
    pub(super) waiting: Option<Step>,
    /// Whether the client has ended its side.
    pub(super) stream: Stream,
}
