//! `Shrunk`: a test that was made of a recording, of one client and few bytes.

mod case;
mod print;
mod reduce;
mod shrinking;

use std::fmt;

pub use self::shrinking::{Expected, RightAnswer, Shrinking};

use self::case::Case;
use super::driver::Replay;
use crate::StreamHandler;
use crate::record::{Conversation, Dump};

impl<H: StreamHandler> Shrinking<H> {
    /// Finds the first client that fails alone, those of incidents before all others, and
    /// makes its script as small as it gets.
    ///
    /// # Errors
    ///
    /// [`Unshrunk::NoPayloads`] if the bytes of clients were not kept,
    /// [`Unshrunk::NothingFails`] if no client fails alone.
    pub fn shrink(&self, dump: &Dump) -> Result<Shrunk, Unshrunk> {
        let conversations = in_order_of_suspicion(dump);
        let cases: Vec<_> = conversations.iter().filter_map(Case::of).collect();
        if cases.is_empty() && !conversations.is_empty() {
            return Err(Unshrunk::NoPayloads);
        }
        let clients = cases.len();
        let mut trial = reduce::Trial::new(self);
        for (case, alternative) in cases {
            for case in [case, alternative] {
                if trial.fails(&case) {
                    let case = reduce::reduce(&mut trial, case);
                    return Ok(self.finish(case, trial.runs()));
                }
            }
        }
        Err(Unshrunk::NothingFails { clients })
    }

    /// Says what the smallest script must see.
    fn finish(&self, case: Case, runs: usize) -> Shrunk {
        let answer = match &self.expected {
            Expected::NoFailure => None,
            Expected::AsUncut => Some(self.play(&case.uncut()).received),
            Expected::Answer(answer) => Some(answer(&case.bytes())),
        };
        Shrunk { case, answer, runs }
    }
}

/// The conversations of a dump: first those that an incident names.
fn in_order_of_suspicion(dump: &Dump) -> Vec<Conversation> {
    let named: Vec<_> = dump.incidents().filter_map(|(_, incident)| incident.connection).collect();
    let mut conversations = dump.conversations();
    conversations.sort_by_key(|conversation| {
        let place = conversation.connection.and_then(|id| named.iter().position(|named| *named == id));
        place.unwrap_or(usize::MAX)
    });
    conversations
}

impl<const SHORT: bool> Replay<SHORT> {
    /// Makes a test of the recording: [`Shrinking::shrink`].
    ///
    /// # Errors
    ///
    /// As [`Shrinking::shrink`].
    pub fn shrink<H: StreamHandler>(&self, shrinking: &Shrinking<H>) -> Result<Shrunk, Unshrunk> {
        shrinking.shrink(self.dump())
    }
}

/// The smallest script that was found with which a handler fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    case: Case,
    answer: Option<Vec<u8>>,
    runs: usize,
}

impl Shrunk {
    /// The bytes that the client sends.
    #[must_use]
    pub fn sent(&self) -> Vec<u8> {
        self.case.bytes()
    }

    /// The places between them at which they are cut.
    #[must_use]
    pub fn cuts(&self) -> Vec<usize> {
        self.case.cuts()
    }

    /// What the client must receive, if its answers are compared.
    #[must_use]
    pub fn answer(&self) -> Option<&[u8]> {
        self.answer.as_deref()
    }

    /// The runs that it took to find it.
    #[must_use]
    pub const fn runs(&self) -> usize {
        self.runs
    }
}

/// The reason for which there is no smaller script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unshrunk {
    /// The recording has hashes of what clients have sent, and no bytes to send again.
    NoPayloads,
    /// None of the clients fails alone.
    NothingFails {
        /// The clients that were tried: those whose accept is in the dump.
        clients: usize,
    },
}

impl fmt::Display for Unshrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPayloads => f.write_str(
                "the recording has the hashes of what clients have sent, and no bytes to send again; record \
                 with Payloads::Kept to shrink",
            ),
            Self::NothingFails { clients } => write!(
                f,
                "none of the {clients} clients that were accepted in the recording fails alone; what fails \
                 may take two of them, or something that no driver sees: a clock, a random number, a thread"
            ),
        }
    }
}

impl std::error::Error for Unshrunk {}
