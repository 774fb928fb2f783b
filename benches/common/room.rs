//! A chat that is nothing but its fan-out, by the API that the library has for
//! it, and without code of its own to make it fast.

use serve_forever::bytes::BytesMut;
use serve_forever::{BoxError, Error, GroupId, Io, Origin, StreamHandler};

/// Each line goes to every other member.
#[derive(Debug, Default)]
pub(crate) struct Room {
    members: Option<GroupId>,
}

impl Room {
    fn members(&mut self, io: &mut Io<'_>) -> Result<GroupId, Error> {
        match self.members {
            Some(members) => Ok(members),
            None => Ok(*self.members.insert(io.group()?)),
        }
    }
}

impl StreamHandler for Room {
    type Session = GroupId;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<GroupId, BoxError> {
        let members = self.members(io)?;
        io.join(members, io.id())?;
        Ok(members)
    }

    fn data(&mut self, io: &mut Io<'_>, members: &mut GroupId, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1).freeze();
            io.broadcast(*members, &line, Some(io.id()));
        }
        Ok(())
    }
}
