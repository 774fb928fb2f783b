//! `Ask`: a name that a member asks for.

/// A name that was asked for, and is not given yet.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) choice: Choice,
    /// The rank that it is asked for with.
    pub(super) rank: u64,
}

impl Ask {
    pub(super) const fn new(name: String, choice: Choice) -> Self {
        Self { name, choice, rank: 0 }
    }
}

/// Whose choice a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The room's: the next guest name is as good.
    Room,
    /// The member's.
    Member,
}
