//! Decoding of calls and outcomes: the opposite of `encode.rs`.

use std::borrow::Cow;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::digest::Payloads;
use super::entry::{Call, Entry, Outcome, Payload};
use super::primitive::{Malformed, Reader};
use super::short;
use crate::driver::{Closing, Event, Incident, IncidentKind, Moment, Notice};
use crate::process::{Fate, Signal};
use crate::{ConnId, Side};

/// Reads one entry. `clock` is the last time before it, which becomes that of the entry.
pub(super) fn entry<'a>(from: &mut Reader<'a>, clock: &mut u64) -> Result<Entry<'a>, Malformed> {
    if from.rest.first().is_some_and(|tag| *tag >= short::FIRST) {
        return short::entry(from, clock);
    }
    Ok(Entry { call: call(from)?, outcome: outcome(from, clock)? })
}

fn call<'a>(from: &mut Reader<'a>) -> Result<Call<'a>, Malformed> {
    Ok(match from.byte()? {
        0 => Call::Began {
            short_means_blocked: from.flag()?,
            payloads: if from.flag()? { Payloads::Kept } else { Payloads::Hashed },
            max_streams: from.number()?.checked_sub(1),
        },
        1 => Call::Now,
        2 => Call::Wait { timeout: from.time()? },
        3 => Call::Read { stream: from.object()?, space: from.number()? },
        4 => Call::Write { stream: from.object()?, offered: from.number()? },
        5 => Call::Accept { listener: from.object()? },
        6 => Call::Register { stream: from.object()?, token: from.token()? },
        7 => Call::Close {
            stream: from.object()?,
            how: if from.flag()? { Closing::Reset } else { Closing::InOrder },
        },
        8 => Call::Shutdown { stream: from.object()? },
        9 => Call::IsHungUp { stream: from.object()? },
        10 => Call::Waker,
        11 => Call::Listen { at: Cow::Owned(from.endpoint()?), token: from.token()? },
        12 => Call::CloseListener { listener: from.object()? },
        13 => Call::Connect { to: Cow::Owned(from.endpoint()?) },
        14 => Call::Connected { stream: from.object()? },
        15 => Call::SendFile { stream: from.object()?, offset: from.number()?, count: from.number()? },
        16 => Call::Bind { at: Cow::Owned(from.endpoint()?), token: from.token()? },
        17 => Call::Receive { socket: from.object()?, space: from.number()? },
        18 => Call::SendTo { socket: from.object()?, to: Cow::Owned(from.peer()?), data: from.digest()? },
        19 => Call::IsOwn { peer: Cow::Owned(from.peer()?) },
        20 => Call::CloseSocket { socket: from.object()? },
        21 => Call::Spawn { command: from.digest()?, token: from.token()? },
        22 => Call::Fate { child: from.object()? },
        23 => Call::Unread { pipe: from.object()? },
        24 => Call::Signal {
            child: from.object()?,
            signal: if from.flag()? { Signal::Kill } else { Signal::Terminate },
        },
        25 => Call::Reap { child: from.object()?, within: from.time()?.ok_or(Malformed)? },
        26 => Call::Adopt,
        27 => Call::AdoptOneWay {
            side: match from.byte()? {
                0 => Side::Both,
                1 => Side::Input,
                2 => Side::Output,
                _ => return Err(Malformed),
            },
        },
        28 => Call::AdoptListener { token: from.token()? },
        29 => Call::Notice(Notice::Serving),
        30 => Call::Notice(Notice::Turn(from.time()?)),
        31 => Call::Notice(Notice::Shutdown(from.time()?.ok_or(Malformed)?)),
        32 => Call::Notice(Notice::Calls { count: from.small()?, shutdown: from.time()? }),
        33 => Call::Notice(Notice::Incident(incident(from)?)),
        _ => return Err(Malformed),
    })
}

fn incident(from: &mut Reader<'_>) -> Result<Incident, Malformed> {
    let kind = match (from.byte()?, from.time()?) {
        (0, None) => IncidentKind::Failed,
        (1, None) => IncidentKind::Panicked,
        (2, Some(took)) => IncidentKind::Slow(took),
        _ => return Err(Malformed),
    };
    let connection = Some(from.number()?).filter(|bits| *bits != 0).map(ConnId::from_bits);
    Ok(Incident { kind, connection })
}

fn outcome<'a>(from: &mut Reader<'a>, clock: &mut u64) -> Result<Outcome<'a>, Malformed> {
    Ok(match from.byte()? {
        0 => Outcome::Done,
        1 => Outcome::Failed(from.failure()?),
        2 => {
            *clock = clock.wrapping_add(from.number()?);
            Outcome::Time(Moment::from_nanos(*clock))
        }
        3 => {
            let reported_all = from.flag()?;
            let count: usize = from.small()?;
            // Each has three bytes at least, which bounds what a broken number reserves.
            let mut events = Vec::with_capacity(count.min(from.rest.len() / 3));
            for _ in 0..count {
                events.push(event(from)?);
            }
            Outcome::Waited { events: Cow::Owned(events), reported_all }
        }
        4 => Outcome::Input(payload(from)?),
        5 => Outcome::Written(from.digest()?),
        6 => Outcome::Made(from.object()?),
        7 => Outcome::MadeAt(from.object()?, from.endpoint()?),
        8 => Outcome::MadeWith(from.object()?, from.peer()?),
        9 => Outcome::Peer(if from.flag()? { Some(from.peer()?) } else { None }),
        10 => Outcome::Answer(from.flag()?),
        11 => Outcome::FileSent { written: from.number()?, offered: from.number()? },
        12 => Outcome::FileFailed(from.failure()?),
        13 => Outcome::Datagram { data: payload(from)?, len: from.number()?, from: from.peer()? },
        14 => {
            let (child, pid) = (from.object()?, from.small()?);
            let mut pipes = [None; 3];
            for pipe in &mut pipes {
                *pipe = Some(from.object()?).filter(|pipe| pipe.0 != 0);
            }
            Outcome::Spawned { child, pid, pipes, has_events: from.flag()? }
        }
        15 => Outcome::Fate(if from.flag()? { Fate::Exited(status(from)?) } else { Fate::Running }),
        16 => Outcome::Count(from.number()?),
        17 => Outcome::Status(status(from)?),
        _ => return Err(Malformed),
    })
}

fn event(from: &mut Reader<'_>) -> Result<Event, Malformed> {
    let flags = from.byte()?;
    let token = from.token()?;
    if flags > 7 {
        return Err(Malformed);
    }
    Ok(Event { token, readable: flags & 1 != 0, writable: flags & 2 != 0, hangup: flags & 4 != 0 })
}

fn payload<'a>(from: &mut Reader<'a>) -> Result<Payload<'a>, Malformed> {
    Ok(if from.flag()? {
        Payload::Kept(Cow::Borrowed(from.bytes()?))
    } else {
        Payload::Hashed(from.digest()?)
    })
}

fn status(from: &mut Reader<'_>) -> Result<Option<ExitStatus>, Malformed> {
    let raw = from.number()?.checked_sub(1).map(u32::try_from).transpose().map_err(|_| Malformed)?;
    Ok(raw.map(|raw| ExitStatus::from_raw(raw.cast_signed())))
}
