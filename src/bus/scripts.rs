//! The scripts that a bus runs in Redis, each in one step for everybody.

/// A script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Publish,
    Read,
    Enter,
    Exit,
    Members,
    Beat,
    Depart,
}

impl Script {
    pub(super) const ALL: [Self; 7] =
        [Self::Publish, Self::Read, Self::Enter, Self::Exit, Self::Members, Self::Beat, Self::Depart];

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Publish => concat!(include_str!("lua/room.lua"), include_str!("lua/publish.lua")),
            Self::Read => concat!(include_str!("lua/room.lua"), include_str!("lua/read.lua")),
            Self::Enter => include_str!("lua/enter.lua"),
            Self::Exit => include_str!("lua/exit.lua"),
            Self::Members => include_str!("lua/members.lua"),
            Self::Beat => concat!(include_str!("lua/unlist.lua"), include_str!("lua/beat.lua")),
            Self::Depart => concat!(include_str!("lua/unlist.lua"), include_str!("lua/depart.lua")),
        }
    }
}
