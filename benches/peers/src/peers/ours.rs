//! The library that this is about, through its public API, with its defaults:
//! every limit, deadline and check is on.

use serve_forever::bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{BoxError, Config, Endpoint, Error, GroupId, Io, Limits, Link, Reactor, StreamHandler};

use super::announce;
use crate::Result;

/// More than the rows ask for; the default is made for small machines.
const MAX_CONNECTIONS: usize = 100_000;

pub(super) fn echo() -> Result<()> {
    serve(Echo::new(), Echo::limits())
}

pub(super) fn chat() -> Result<()> {
    serve(Chat { members: None }, Limits::without_frames())
}

fn serve<S: StreamHandler>(handler: S, limits: Limits) -> Result<()> {
    let config = Config { max_connections: Some(MAX_CONNECTIONS), ..Config::default() };
    let mut reactor = Reactor::new(config)?;
    let service = reactor.add(handler, limits)?;
    let listener = reactor.listen(&service, &"127.0.0.1:0".parse()?)?;
    if let Some(Endpoint::Tcp(address)) = reactor.local(listener) {
        announce(*address);
    }
    Ok(reactor.serve_forever()?)
}

/// Each line goes to every other member.
struct Chat {
    members: Option<GroupId>,
}

impl Chat {
    fn members(&mut self, io: &mut Io<'_>) -> std::result::Result<GroupId, Error> {
        match self.members {
            Some(members) => Ok(members),
            None => Ok(*self.members.insert(io.group()?)),
        }
    }
}

impl StreamHandler for Chat {
    type Session = GroupId;

    fn open(&mut self, io: &mut Io<'_>, _: &Link) -> std::result::Result<GroupId, BoxError> {
        let members = self.members(io)?;
        io.join(members, io.id())?;
        Ok(members)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        members: &mut GroupId,
        input: &mut BytesMut,
    ) -> std::result::Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1).freeze();
            io.broadcast(*members, &line, Some(io.id()));
        }
        Ok(())
    }
}
