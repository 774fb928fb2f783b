//! Encoding of calls and outcomes, a tag before each.

use std::os::unix::process::ExitStatusExt;

use super::digest::Payloads;
use super::entry::{Call, Number, Outcome, Payload};
use super::primitive::Write;
use crate::Side;
use crate::driver::{Closing, Event, IncidentKind, Notice};
use crate::process::{Fate, Signal};

fn put_one(out: &mut Vec<u8>, tag: u8, number: Number) {
    out.put(tag);
    out.put_number(number.0);
}

fn put_two(out: &mut Vec<u8>, tag: u8, number: Number, second: u64) {
    out.put(tag);
    out.put_number(number.0);
    out.put_number(second);
}

/// Appends a call to the bytes of a segment.
pub(super) fn put_call(out: &mut Vec<u8>, call: &Call<'_>) {
    match call {
        Call::Began { short_means_blocked, payloads, max_streams } => {
            out.put(0);
            out.put_flag(*short_means_blocked);
            out.put_flag(*payloads == Payloads::Kept);
            out.put_number(max_streams.map_or(0, |most| most.saturating_add(1)));
        }
        Call::Now => out.put(1),
        Call::Wait { timeout } => {
            out.put(2);
            out.put_time(*timeout);
        }
        Call::Read { stream, space } => put_two(out, 3, *stream, *space),
        Call::Write { stream, offered } => put_two(out, 4, *stream, *offered),
        Call::Accept { listener } => put_one(out, 5, *listener),
        Call::Register { stream, token } => {
            put_one(out, 6, *stream);
            out.put_token(*token);
        }
        Call::Close { stream, how } => {
            put_one(out, 7, *stream);
            out.put_flag(*how == Closing::Reset);
        }
        Call::Shutdown { stream } => put_one(out, 8, *stream),
        Call::IsHungUp { stream } => put_one(out, 9, *stream),
        Call::Waker => out.put(10),
        Call::Listen { at, token } => {
            out.put(11);
            out.put_endpoint(at);
            out.put_token(*token);
        }
        Call::CloseListener { listener } => put_one(out, 12, *listener),
        Call::Connect { to } => {
            out.put(13);
            out.put_endpoint(to);
        }
        Call::Connected { stream } => put_one(out, 14, *stream),
        Call::SendFile { stream, offset, count } => {
            put_two(out, 15, *stream, *offset);
            out.put_number(*count);
        }
        Call::Bind { at, token } => {
            out.put(16);
            out.put_endpoint(at);
            out.put_token(*token);
        }
        Call::Receive { socket, space } => put_two(out, 17, *socket, *space),
        Call::SendTo { socket, to, data } => {
            put_one(out, 18, *socket);
            out.put_peer(to);
            out.put_digest(*data);
        }
        Call::IsOwn { peer } => {
            out.put(19);
            out.put_peer(peer);
        }
        Call::CloseSocket { socket } => put_one(out, 20, *socket),
        Call::Spawn { command, token } => {
            out.put(21);
            out.put_digest(*command);
            out.put_token(*token);
        }
        Call::Fate { child } => put_one(out, 22, *child),
        Call::Unread { pipe } => put_one(out, 23, *pipe),
        Call::Signal { child, signal } => {
            put_one(out, 24, *child);
            out.put_flag(*signal == Signal::Kill);
        }
        Call::Reap { child, within } => {
            put_one(out, 25, *child);
            out.put_time(Some(*within));
        }
        Call::Adopt => out.put(26),
        Call::AdoptOneWay { side } => {
            out.put(27);
            out.put(match side {
                Side::Both => 0,
                Side::Input => 1,
                Side::Output => 2,
            });
        }
        Call::AdoptListener { token } => {
            out.put(28);
            out.put_token(*token);
        }
        Call::Notice(notice) => put_notice(out, *notice),
    }
}

fn put_notice(out: &mut Vec<u8>, notice: Notice) {
    match notice {
        Notice::Serving => out.put(29),
        Notice::Turn(max_wait) => {
            out.put(30);
            out.put_time(max_wait);
        }
        Notice::Shutdown(deadline) => {
            out.put(31);
            out.put_time(Some(deadline));
        }
        Notice::Calls { count, shutdown } => {
            out.put(32);
            out.put_number(count as u64);
            out.put_time(shutdown);
        }
        Notice::Incident(incident) => {
            out.put(33);
            let (kind, took) = match incident.kind {
                IncidentKind::Failed => (0, None),
                IncidentKind::Panicked => (1, None),
                IncidentKind::Slow(took) => (2, Some(took)),
            };
            out.put(kind);
            out.put_time(took);
            // No id of a connection is 0 in all its bits.
            out.put_number(incident.connection.map_or(0, |id| id.to_bits()));
        }
    }
}

fn put_event(out: &mut Vec<u8>, event: Event) {
    out.put(u8::from(event.readable) | u8::from(event.writable) << 1 | u8::from(event.hangup) << 2);
    out.put_token(event.token);
}

fn put_payload(out: &mut Vec<u8>, payload: &Payload<'_>) {
    match payload {
        Payload::Hashed(digest) => {
            out.put(0);
            out.put_digest(*digest);
        }
        Payload::Kept(bytes) => {
            out.put(1);
            out.put_bytes(bytes);
        }
    }
}

/// Appends an outcome. `clock` is the last time that was recorded, which becomes this
/// one.
pub(super) fn put_outcome(out: &mut Vec<u8>, clock: &mut u64, outcome: &Outcome<'_>) {
    match outcome {
        Outcome::Done => out.put(0),
        Outcome::Failed(failure) => {
            out.put(1);
            out.put_failure(failure);
        }
        Outcome::Time(moment) => {
            out.put(2);
            // A driver's time never goes backwards.
            out.put_number(moment.as_nanos().wrapping_sub(*clock));
            *clock = moment.as_nanos();
        }
        Outcome::Waited { events, reported_all } => {
            out.put(3);
            out.put_flag(*reported_all);
            out.put_number(events.len() as u64);
            events.iter().for_each(|event| put_event(out, *event));
        }
        Outcome::Input(payload) => {
            out.put(4);
            put_payload(out, payload);
        }
        Outcome::Written(digest) => {
            out.put(5);
            out.put_digest(*digest);
        }
        Outcome::Made(number) => put_one(out, 6, *number),
        Outcome::MadeAt(number, at) => {
            put_one(out, 7, *number);
            out.put_endpoint(at);
        }
        Outcome::MadeWith(number, peer) => {
            put_one(out, 8, *number);
            out.put_peer(peer);
        }
        Outcome::Peer(peer) => {
            out.put(9);
            out.put_flag(peer.is_some());
            if let Some(peer) = peer {
                out.put_peer(peer);
            }
        }
        Outcome::Answer(answer) => {
            out.put(10);
            out.put_flag(*answer);
        }
        Outcome::FileSent { written, offered } => {
            out.put(11);
            out.put_number(*written);
            out.put_number(*offered);
        }
        Outcome::FileFailed(failure) => {
            out.put(12);
            out.put_failure(failure);
        }
        Outcome::Datagram { data, len, from } => {
            out.put(13);
            put_payload(out, data);
            out.put_number(*len);
            out.put_peer(from);
        }
        Outcome::Spawned { child, pid, pipes, has_events } => {
            put_two(out, 14, *child, (*pid).into());
            pipes.iter().for_each(|pipe| out.put_number(pipe.map_or(0, |pipe| pipe.0)));
            out.put_flag(*has_events);
        }
        Outcome::Fate(fate) => {
            out.put(15);
            match fate {
                Fate::Running => out.put(0),
                Fate::Exited(status) => {
                    out.put(1);
                    put_status(out, *status);
                }
            }
        }
        Outcome::Count(count) => {
            out.put(16);
            out.put_number(*count);
        }
        Outcome::Status(status) => {
            out.put(17);
            put_status(out, *status);
        }
    }
}

fn put_status(out: &mut Vec<u8>, status: Option<std::process::ExitStatus>) {
    out.put_number(status.map_or(0, |status| u64::from(status.into_raw().cast_unsigned()) + 1));
}
