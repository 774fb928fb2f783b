//! `Reach`: how far a room reaches.

use std::fmt;

use bytes::BytesMut;

use super::audience::Wire;
use super::hall::Hall;
use crate::{BoxError, ConnId, Io, Peer, TimerId};

/// How far a room reaches: who its members are, and what becomes of their words. A
/// [`Local`](super::Local) room is in one reactor.
pub trait Reach: fmt::Debug + 'static {
    /// The members of this reactor, in order of joining: connection and name.
    fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)>;

    /// The connections of this reactor that may have something to say.
    fn connections(&self) -> impl Iterator<Item = ConnId>;

    /// The connection of a member, until it has left.
    fn connection(&self, number: u64) -> Option<ConnId>;

    /// The name of a member.
    fn name(&self, number: u64) -> Option<&str>;

    /// Begins the service.
    ///
    /// # Errors
    ///
    /// There is no room for it in the reactor.
    fn begin(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Lets the connection of this callback in.
    ///
    /// # Errors
    ///
    /// It is not let in.
    fn enter(&mut self, hall: &mut Hall, io: &mut Io<'_>, peer: &Peer, wire: Wire)
    -> Result<Entry, BoxError>;

    /// Whether a member may say its next line. One that may not is resumed when it may.
    fn takes_line(&mut self, io: &Io<'_>, number: u64) -> bool {
        let _ = (io, number);
        true
    }

    /// Keeps the last line of a member that may not say it yet.
    fn keep_last_line(&mut self, number: u64, line: BytesMut) {
        let _ = (number, line);
    }

    /// Whether a member's last line is kept, so that it leaves later.
    fn has_last_line(&self, number: u64) -> bool {
        let _ = number;
        false
    }

    /// Has a member say a text to all others. True if the member
    /// should be paused until it has read.
    fn say(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: &str) -> bool;

    /// Has a member say a text to another one. True if the member
    /// should be paused until it has read.
    fn whisper(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, to: &str, text: &str) -> bool;

    /// Gives a member another name. True if the member
    /// should be paused until it has read.
    fn rename(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, name: &str) -> bool;

    /// All names, in order of joining, as a line.
    fn who(&self) -> String;

    /// Removes a member, and announces that; a second call does nothing.
    fn leave(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: Option<&str>);

    /// A member has read what waited for it.
    fn drained(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        let _ = (hall, io, number);
    }

    /// Handles a timer.
    fn tick(&mut self, hall: &mut Hall, io: &mut Io<'_>, timer: TimerId) {
        let _ = (hall, io, timer);
    }

    /// A shutdown has begun.
    fn shutting_down(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        let _ = (hall, io);
    }
}

/// What a connection that was let in begins with.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub(super) number: u64,
    /// The member should be paused until it has read.
    pub(super) is_full: bool,
}
