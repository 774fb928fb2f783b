//! Lines for people: calls and outcomes of a recording as text.

use std::fmt;
use std::time::Duration;

use super::entry::{Call, Entry, Outcome, Payload};
use crate::driver::{IncidentKind, Notice};

/// The most bytes of a payload that a line shows.
const SHOWN: usize = 48;

impl fmt::Display for Entry<'_> {
    /// One line: `read #5, space for 65536: 12 bytes "hello world\n"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Done => self.call.fmt(f),
            _ => write!(f, "{}: {}", self.call, self.outcome),
        }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { payloads, .. } => write!(f, "the recording begins, payloads {payloads:?}"),
            Self::Now => f.write_str("now"),
            Self::Wait { timeout: None } => f.write_str("wait"),
            Self::Wait { timeout: Some(timeout) } => write!(f, "wait for {timeout:?}"),
            Self::Read { stream, space } => write!(f, "read {stream}, space for {space}"),
            Self::Write { stream, offered } => write!(f, "write {stream}, {offered} bytes"),
            Self::Accept { listener } => write!(f, "accept from {listener}"),
            Self::Register { stream, token } => write!(f, "register {stream} as {:x}", token.to_bits()),
            Self::Close { stream, how } => write!(f, "close {stream}, {how:?}"),
            Self::Shutdown { stream } => write!(f, "send FIN on {stream}"),
            Self::IsHungUp { stream } => write!(f, "is {stream} hung up"),
            Self::Waker => f.write_str("make a waker"),
            Self::Listen { at, token } => write!(f, "listen on {at} as {:x}", token.to_bits()),
            Self::CloseListener { listener } => write!(f, "close listener {listener}"),
            Self::Connect { to } => write!(f, "connect to {to}"),
            Self::Connected { stream } => write!(f, "is {stream} connected"),
            Self::SendFile { stream, offset, count } => {
                write!(f, "send {count} bytes of a file from {offset} on {stream}")
            }
            Self::Bind { at, token } => write!(f, "bind {at} as {:x}", token.to_bits()),
            Self::Receive { socket, space } => write!(f, "receive on {socket}, space for {space}"),
            Self::SendTo { socket, to, data } => write!(f, "send {data} to {to} on {socket}"),
            Self::IsOwn { peer } => write!(f, "is {peer} our own"),
            Self::CloseSocket { socket } => write!(f, "close socket {socket}"),
            Self::Spawn { command, .. } => write!(f, "start a program, command of {command}"),
            Self::Fate { child } => write!(f, "has child {child} ended"),
            Self::Unread { pipe } => write!(f, "what is unread in {pipe}"),
            Self::Signal { child, signal } => write!(f, "send {signal:?} to child {child}"),
            Self::Reap { child, within } => write!(f, "reap child {child} within {within:?}"),
            Self::Adopt => f.write_str("take over a socket"),
            Self::AdoptOneWay { side } => write!(f, "take over a descriptor, {side:?}"),
            Self::AdoptListener { .. } => f.write_str("take over a listener"),
            Self::Notice(notice) => write_notice(f, *notice),
        }
    }
}

fn write_notice(f: &mut fmt::Formatter<'_>, notice: Notice) -> fmt::Result {
    match notice {
        Notice::Serving => f.write_str("serve_forever begins"),
        Notice::Turn(None) => f.write_str("a turn begins"),
        Notice::Turn(Some(wait)) => write!(f, "a turn begins, which waits for {wait:?} at most"),
        Notice::Shutdown(deadline) => write!(f, "the program asks for a shutdown within {deadline:?}"),
        Notice::Calls { count, shutdown } => {
            write!(f, "{count} calls of other threads")?;
            shutdown.map_or(Ok(()), |deadline| write!(f, ", which ask for a shutdown within {deadline:?}"))
        }
        Notice::Incident(incident) => {
            match incident.kind {
                IncidentKind::Failed => f.write_str("a callback failed")?,
                IncidentKind::Panicked => f.write_str("a callback panicked")?,
                IncidentKind::Slow(took) => write!(f, "a callback took {took:?}")?,
            }
            incident.connection.map_or(Ok(()), |connection| write!(f, ", of connection {connection}"))
        }
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Time(moment) => {
                write!(f, "{:.6} s", Duration::from_nanos(moment.as_nanos()).as_secs_f64())
            }
            Self::Waited { events, .. } => {
                write!(f, "{} events", events.len())?;
                events.iter().try_for_each(|event| {
                    let flag = |set, letter| if set { letter } else { "" };
                    let (read, write) = (flag(event.readable, "r"), flag(event.writable, "w"));
                    write!(f, " {:x}{read}{write}{}", event.token.to_bits(), flag(event.hangup, "h"))
                })
            }
            Self::Input(payload) if payload.len() == 0 => f.write_str("FIN"),
            Self::Input(payload) => payload.fmt(f),
            Self::Written(digest) => write!(f, "took {digest}"),
            Self::Made(number) => number.fmt(f),
            Self::MadeAt(number, at) => write!(f, "{number} at {at}"),
            Self::MadeWith(number, peer) => write!(f, "{number} from {peer}"),
            Self::Peer(None) => f.write_str("not yet"),
            Self::Peer(Some(peer)) => peer.fmt(f),
            Self::Answer(answer) => f.write_str(if *answer { "yes" } else { "no" }),
            Self::FileSent { written, offered } => write!(f, "took {written} bytes of {offered}"),
            Self::FileFailed(failure) => write!(f, "the file: {failure}"),
            Self::Datagram { data, len, from } => write!(f, "{data}, {len} long, from {from}"),
            Self::Spawned { child, pid, .. } => write!(f, "child {child}, process {pid}"),
            Self::Fate(fate) => write!(f, "{fate:?}"),
            Self::Count(count) => count.fmt(f),
            Self::Status(None) => f.write_str("no status"),
            Self::Status(Some(status)) => status.fmt(f),
        }
    }
}

impl fmt::Display for Payload<'_> {
    /// The length, and the hash or the first bytes, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashed(digest) => digest.fmt(f),
            Self::Kept(bytes) => {
                let shown = &bytes[..bytes.len().min(SHOWN)];
                let more = if shown.len() < bytes.len() { "…" } else { "" };
                write!(f, "{} bytes \"{}\"{more}", bytes.len(), shown.escape_ascii())
            }
        }
    }
}
