//! `Conversation`: what one client has sent in a recording.

use std::collections::BTreeMap;

use super::dump::Dump;
use super::entry::{Call, Entry, Failure, Number, Outcome};
use crate::driver::{Incident, Moment, Notice};
use crate::{ConnId, Peer};

/// An accepted connection of a recording: what its client has sent, read by read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The number of its stream.
    pub stream: Number,
    /// Its id in the reactor; `None` if it was turned away.
    pub connection: Option<ConnId>,
    /// The client.
    pub peer: Peer,
    /// When it was accepted.
    pub accepted_at: Moment,
    /// What was read, piece by piece; `None` if a piece was not kept.
    pub pieces: Option<Vec<Piece>>,
    /// The number of bytes that were read.
    pub received: u64,
    /// The number of bytes that the system has taken for the client.
    pub written: u64,
    /// How its input has ended.
    pub end: InputEnd,
}

/// The bytes of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When it was read: the last time that the loop knew then.
    pub at: Moment,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The end of a client's input in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEnd {
    /// It has not come.
    Open,
    /// The client has sent its FIN.
    Fin,
    /// The connection was broken.
    Broken(Failure),
}

impl Dump {
    /// The connections that were accepted in this dump, in that order. One that was
    /// accepted before the dump begins is not among them, for its beginning is lost.
    #[must_use]
    pub fn conversations(&self) -> Vec<Conversation> {
        let mut found = BTreeMap::new();
        for (at, entry) in self.entries() {
            note(&mut found, at, entry);
        }
        found.into_values().collect()
    }

    /// The incidents of this dump, each with its time.
    pub fn incidents(&self) -> impl Iterator<Item = (Moment, Incident)> {
        self.entries().filter_map(|(at, entry)| match entry.call {
            Call::Notice(Notice::Incident(incident)) => Some((at, incident)),
            _ => None,
        })
    }
}

fn note(found: &mut BTreeMap<Number, Conversation>, at: Moment, entry: Entry<'_>) {
    match (entry.call, entry.outcome) {
        (Call::Accept { .. }, Outcome::MadeWith(stream, peer)) => {
            let conversation = Conversation {
                stream,
                connection: None,
                peer,
                accepted_at: at,
                pieces: Some(Vec::new()),
                received: 0,
                written: 0,
                end: InputEnd::Open,
            };
            found.insert(stream, conversation);
        }
        (Call::Register { stream, token }, Outcome::Done) => {
            if let Some(conversation) = found.get_mut(&stream) {
                conversation.connection = Some(ConnId::from_bits(token.to_bits()));
            }
        }
        (Call::Read { stream, .. }, outcome) => {
            if let Some(conversation) = found.get_mut(&stream) {
                conversation.note_read(at, &outcome);
            }
        }
        (Call::Write { stream, .. }, Outcome::Written(digest)) => {
            if let Some(conversation) = found.get_mut(&stream) {
                conversation.written += digest.len;
            }
        }
        _ => {}
    }
}

impl Conversation {
    fn note_read(&mut self, at: Moment, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Input(payload) if payload.len() == 0 => self.end = InputEnd::Fin,
            Outcome::Input(payload) => {
                self.received += payload.len();
                match (&mut self.pieces, payload.bytes()) {
                    (Some(pieces), Some(bytes)) => pieces.push(Piece { at, bytes: bytes.to_vec() }),
                    (pieces, _) => *pieces = None,
                }
            }
            Outcome::Failed(failure) if !is_passing(failure) => self.end = InputEnd::Broken(failure.clone()),
            _ => {}
        }
    }
}

/// Whether a read that has failed is tried again.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
}
